"""Randomness: repeatable inside the block, untouched outside it."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from causalppl.exceptions import DataError
from causalppl.seeding import forked_rng, fresh_seed, spawn_seeds

BAD_SEEDS = [-1, 1.0, "0", True, np.float64(1.0), np.bool_(True)]


def draws():
    """One value from each of the three global streams."""
    return torch.rand(()).item(), float(np.random.random()), random.random()


def state():
    return torch.get_rng_state().tolist(), repr(np.random.get_state()), random.getstate()


@given(st.integers(min_value=0, max_value=2**128))
def test_same_seed_gives_the_same_draws_in_every_stream(seed):
    with forked_rng(seed):
        first = draws()
    with forked_rng(seed):
        second = draws()
    assert first == second


def test_different_seeds_differ_in_every_stream():
    with forked_rng(0):
        first = draws()
    with forked_rng(1):
        second = draws()
    assert all(a != b for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("seed", [0, 7, None])
def test_global_state_is_left_as_it_was(seed):
    before = state()
    with forked_rng(seed):
        draws()
    assert state() == before


def test_global_state_is_restored_after_an_error():
    @forked_rng(0)
    def fails():
        draws()
        raise RuntimeError("inside")

    before = state()
    with pytest.raises(RuntimeError, match="inside"):
        fails()
    assert state() == before


def test_an_inner_block_does_not_disturb_the_outer_one():
    with forked_rng(3):
        expected = [draws(), draws()]
    with forked_rng(3):
        first = draws()
        with forked_rng(4):
            draws()
        second = draws()
    assert [first, second] == expected


def test_no_seed_ignores_the_global_seed():
    torch.manual_seed(0)
    with forked_rng():
        first = draws()
    torch.manual_seed(0)
    with forked_rng():
        second = draws()
    assert first != second


def test_the_seed_that_was_used_repeats_the_run():
    with forked_rng() as used:
        first = draws()
    with forked_rng(used) as again:
        assert draws() == first
    assert again == used


def test_numpy_integers_are_seeds():
    with forked_rng(np.int64(5)) as used:
        first = draws()
    with forked_rng(5):
        assert draws() == first
    assert type(used) is int


@pytest.mark.parametrize("seed", BAD_SEEDS, ids=repr)
def test_what_is_no_seed_is_named(seed):
    with pytest.raises(DataError, match="expected a non-negative integer or None"):
        with forked_rng(seed):
            pass
    with pytest.raises(DataError, match="expected a non-negative integer or None"):
        spawn_seeds(seed, 2)


@given(st.integers(min_value=0, max_value=2**64), st.integers(min_value=0, max_value=50))
def test_spawned_seeds_are_distinct_repeatable_and_valid(seed, count):
    seeds = spawn_seeds(seed, count)
    assert seeds == spawn_seeds(seed, count)
    assert len(set(seeds)) == count
    assert all(0 <= each < 2**63 for each in seeds)


def test_more_seeds_keep_the_first_ones():
    assert spawn_seeds(0, 5)[:3] == spawn_seeds(0, 3)


def test_seeds_spawned_without_a_seed_differ():
    assert spawn_seeds(None, 3) != spawn_seeds(None, 3)


def test_fresh_seed_leaves_the_streams_alone():
    before = state()
    seeds = {fresh_seed() for _ in range(20)}
    assert len(seeds) == 20
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert state() == before


@pytest.mark.gpu
def test_the_stream_of_a_gpu_is_forked_too():
    torch.rand((), device="cuda")  # the device has a state from here on
    before = torch.cuda.get_rng_state()
    values = []
    for _ in range(2):
        with forked_rng(0):
            values.append(torch.rand((), device="cuda").item())
    assert values[0] == values[1]
    assert torch.equal(torch.cuda.get_rng_state(), before)
