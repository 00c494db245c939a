"""Shapes that leave no room for the units: the message says what to write, and that works."""

import pyro
import pyro.distributions as dist
import pytest
import torch

from causalppl import SCM
from causalppl.exceptions import ProgramError


def items(reduced):
    def program():
        u = pyro.sample("U", dist.Normal(0.0, 1.0))
        with pyro.plate("items", 3):
            m = pyro.sample("M", dist.Normal(u, 1.0))
        pyro.sample("Y", dist.Normal(reduced(m), 1.0))

    return program


def items_right_of_units(reduced):
    def program(n):
        with pyro.plate("units", n, dim=-2):
            with pyro.plate("items", 3, dim=-1):
                m = pyro.sample("M", dist.Normal(0.0, 1.0))
            pyro.sample("Y", dist.Normal(reduced(m), 1.0))

    return program


def vectors_in_items(reduced):
    def program():
        with pyro.plate("items", 3):
            m = pyro.sample("M", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("Y", dist.Normal(reduced(m)[..., 0], 1.0))

    return program


def vector(entry):
    def program():
        x = pyro.sample("X", dist.MultivariateNormal(torch.zeros(2), torch.eye(2)))
        pyro.sample("Y", dist.Normal(entry(x), 1.0))

    return program


def beside(number):
    def program():
        x = pyro.sample("X", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        z = pyro.sample("Z", dist.Normal(0.0, 1.0))
        pyro.sample("Y", dist.Normal((x * number(z)).sum(-1), 1.0))

    return program


@pytest.mark.parametrize(
    ("program", "wrong", "right", "remedy"),
    [
        (items, lambda m: m.sum(-1), lambda m: m.sum(-2), "M.sum(-2)"),
        (
            items_right_of_units,
            lambda m: m @ torch.ones(2),
            lambda m: m.sum(-1, keepdim=True),
            "M.sum(-1, keepdim=True)",
        ),
        (vectors_in_items, lambda m: m.sum(-2), lambda m: m.sum(-3), "M.sum(-3)"),
        (vector, lambda x: x[0], lambda x: x[..., 0], "X[..., 0]"),
        (beside, lambda z: z, lambda z: z[..., None], "z[..., None]"),
    ],
    ids=["plate", "plate-right", "plate-of-vectors", "vector", "vector-by-number"],
)
def test_what_the_message_says_to_write_is_right(program, wrong, right, remedy):
    with pytest.raises(ProgramError, match="for all units at once") as found:
        SCM(program(wrong))
    assert remedy in str(found.value)
    assert f"{__file__}:" in str(found.value)
    cause = found.value.__cause__
    assert f"({type(cause).__name__}: {cause})" in str(found.value)
    assert SCM(program(right)).structure.sites["Y"].event_shape == ()


def test_a_vector_that_was_not_declared_is_told_of_to_event():
    def program():
        pyro.sample("X", dist.Normal(torch.zeros(4), 1.0))

    with pytest.raises(ProgramError, match=r"declare a vector of one unit with \.to_event\(1\)"):
        SCM(program)


def test_other_failures_keep_their_own_words():
    def program():
        pyro.sample("X", dist.Normal({}["mean"], 1.0))

    with pytest.raises(ProgramError, match="structure was read: KeyError: 'mean'"):
        SCM(program)
