"""The same list from every engine: order, seeds, failures."""

import importlib.util
import os
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

from causalppl.exceptions import DataError, ImpossibleEvidenceError, MissingExtraError
from causalppl.parallel import parallel_map

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra scale)"
)


def draw(item, seed):
    return item, float(np.random.default_rng(seed).normal())


def test_results_come_in_the_order_of_the_items():
    assert parallel_map(lambda x: x * x, range(50)) == [x * x for x in range(50)]
    assert parallel_map(str, []) == []


def test_seeds_depend_on_the_position_alone():
    results = parallel_map(draw, "abcd", seed=7)
    assert parallel_map(draw, "abcd", seed=7) == results
    assert parallel_map(draw, "abcdefg", seed=7)[:4] == results
    assert parallel_map(draw, "abcd", seed=8) != results
    assert len({number for _, number in results}) == 4


def test_an_executor_gives_the_same_and_stays_open():
    with ThreadPoolExecutor(3) as pool:
        assert parallel_map(draw, range(40), pool, seed=7) == parallel_map(draw, range(40), seed=7)
        assert pool.submit(int, "3").result() == 3


def fail_at_three(item):
    if item >= 3:
        raise ImpossibleEvidenceError(f"no {item}")
    return item


def test_a_failure_names_the_first_item_that_failed():
    with pytest.raises(ImpossibleEvidenceError, match="no 3") as caught:
        parallel_map(fail_at_three, range(9))
    assert caught.value.__notes__ == ["in parallel_map, at item 3 of 9: 3"]
    with (
        ThreadPoolExecutor(2) as pool,
        pytest.raises(ImpossibleEvidenceError, match="at item 3 of 9: 3"),
    ):
        parallel_map(fail_at_three, range(9), pool)


def test_what_follows_a_failure_is_not_begun():
    begun = []

    def fail(item):
        begun.append(item)
        raise ValueError(item)

    with pytest.raises(ValueError, match="0"):
        parallel_map(fail, range(9))
    assert begun == [0]


def test_a_long_item_is_cut_in_the_message():
    with pytest.raises(ValueError, match="invalid") as caught:
        parallel_map(int, ["x" * 10_000])
    assert len(caught.value.__notes__[0]) < 130


@pytest.mark.parametrize("num_workers", [0, -1, 1.5, True])
def test_the_number_of_workers_is_checked(num_workers):
    with pytest.raises(DataError, match="num_workers"):
        parallel_map(str, [1], num_workers=num_workers)


def test_an_unknown_engine_is_refused():
    with pytest.raises(DataError, match="'local', 'ray' or a concurrent"):
        parallel_map(str, [1], "threads")


def test_a_missing_ray_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"causalppl\[scale\]"):
        parallel_map(str, [1], "ray")


@pytest.mark.slow
def test_processes_give_the_same_as_this_one():
    offset = 5  # a closure: sent by value

    def shifted(item, seed):
        return draw(item + offset, seed), os.getpid()

    alone = parallel_map(shifted, range(20), seed=7)
    many = parallel_map(shifted, range(20), num_workers=2, seed=7)
    assert [value for value, _ in many] == [value for value, _ in alone]
    assert os.getpid() not in {process for _, process in many}


@pytest.mark.slow
def test_a_pool_of_processes_is_sent_closures_and_returns_failures():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert parallel_map(lambda x: x + 1, range(9), pool) == list(range(1, 10))
        with pytest.raises(ImpossibleEvidenceError, match="at item 3 of 9: 3"):
            parallel_map(fail_at_three, range(9), pool)
        with pytest.raises(DataError, match="cannot be sent to another process"):
            parallel_map(lambda x: (x, pool), range(2), pool)


@needs_ray
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_ray_gives_the_same_and_the_same_failures():
    assert parallel_map(draw, range(40), "ray", seed=7) == parallel_map(draw, range(40), seed=7)
    with pytest.raises(ImpossibleEvidenceError, match="at item 3 of 9: 3"):
        parallel_map(fail_at_three, range(9), "ray", num_workers=2)
