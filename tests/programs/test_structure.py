import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.nn import PyroModule, PyroSample

from causalppl.exceptions import DataError, ProgramError
from causalppl.programs import SCM, read_structure


def parents(program):
    return {name: site.parents for name, site in SCM(program).structure.sites.items()}


def test_direct_parents_are_read_through_deterministic_sites():
    def program():
        z = pyro.sample("Z", dist.Normal(0.0, 1.0))
        w = pyro.deterministic("W", 2 * z)
        pyro.sample("Y", dist.Normal(w, 1.0))

    assert parents(program) == {"Z": (), "W": ("Z",), "Y": ("W",)}


def test_the_expression_given_to_a_deterministic_site_is_not_the_site():
    def program():
        z = pyro.sample("Z", dist.Normal(0.0, 1.0))
        w = 2 * z
        pyro.deterministic("W", w)
        pyro.sample("Y", dist.Normal(w, 1.0))  # uses the expression, which do(W) does not change

    assert parents(program)["Y"] == ("Z",)


def test_in_place_writes_and_masks_keep_their_edges():
    def program():
        z = pyro.sample("Z", dist.Normal(0.0, 1.0))
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        buffer = torch.zeros(2, *z.shape)
        buffer[0] = z
        level = torch.zeros_like(z)
        level[x > 0] = 1.0
        pyro.sample("Y", dist.Normal(buffer.sum(0), 1.0))
        pyro.sample("W", dist.Normal(level, 1.0))

    found = parents(program)
    assert found["Y"] == ("Z",)
    assert found["W"] == ("X",)


def test_a_write_through_a_view_reaches_the_base():
    def program():
        z = pyro.sample("Z", dist.Normal(0.0, 1.0))
        buffer = torch.zeros(2, *z.shape)
        row = buffer[1]
        row.copy_(z)
        pyro.sample("Y", dist.Normal(buffer[1], 1.0))

    assert parents(program)["Y"] == ("Z",)


def lose_by_item(z):
    return z.sum().item()


def lose_by_float(z):
    return float(z.sum())


def lose_by_math(z):
    return math.exp(z.sum())


def lose_by_numpy(z):
    return torch.from_numpy(z.numpy())


def lose_by_numpy_function(z):
    return torch.as_tensor(np.exp(z))


def lose_by_tensor(z):
    return torch.tensor([z[0], z[1]]).sum()


def lose_by_index(z):
    return [0.0, 1.0][(z.sum() > 0).long()]


def lose_by_if(z):
    return 1.0 if z.sum() > 0 else 0.0


def lose_by_while(z):
    level = 0.0
    while level < z.abs().sum():
        level += 1.0
    return level


def lose_by_and(z):
    return 1.0 if (z.sum() > 0 and True) else 0.0


def lose_by_max(z):
    return max(z)


def lose_by_in(z):
    return 1.0 if 0.25 in z else 0.0


def lose_by_tolist(z):
    return sum(z.tolist())


def lose_by_equal(z):
    return 1.0 if torch.equal(z, z + 1) else 0.0


ESCAPES = [value for name, value in sorted(globals().items()) if name.startswith("lose_by")]


@pytest.mark.parametrize("lose", ESCAPES, ids=lambda f: f.__name__)
def test_losing_an_edge_is_an_error_with_site_file_and_line(lose):
    def program():
        z = pyro.sample("Z", dist.Normal(0.0, 1.0))
        pyro.sample("Y", dist.Normal(lose(z), 1.0))

    with pytest.raises(ProgramError, match=r"test_structure\.py:\d+.*\bZ\b"):
        SCM(program)


def test_a_mask_by_value_is_an_error():
    def program():
        z = pyro.sample("Z", dist.Normal(0.0, 1.0))
        with pyro.poutine.mask(mask=z > 0):
            pyro.sample("Y", dist.Normal(0.0, 1.0))

    with pytest.raises(ProgramError, match="masked by the value of Z"):
        SCM(program)


def test_an_edge_the_guard_cannot_see_is_found_by_moving_the_parent():
    kept = {}

    def program():
        z = pyro.sample("Z", dist.Normal(0.0, 1.0))
        with torch._C.DisableTorchFunction():
            kept["z"] = z * 1.0
        pyro.sample("Y", dist.Normal(kept["z"], 1.0))

    with pytest.raises(ProgramError, match="'Y' moves when 'Z' is moved"):
        SCM(program)


@pytest.mark.parametrize("spill", [lambda x: x.mean(), lambda x: x[0], lambda x: x.cumsum(0)])
def test_interference_between_units_is_refused_by_name(spill):
    def program():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        pyro.sample("Y", dist.Normal(spill(x), 1.0))

    with pytest.raises(ProgramError, match="'Y' of one unit depends on the values of other units"):
        SCM(program)


def test_sites_outside_the_plate_are_parameters():
    def program(n):
        a = pyro.sample("a", dist.Normal(0.0, 1.0))
        with pyro.plate("units", n):
            x = pyro.sample("X", dist.Normal(a, 1.0))
            pyro.sample("Y", dist.Normal(x, 1.0))

    scm = SCM(program)
    assert scm.structure.parameters == ("a",)
    assert scm.structure.unit_sites == ("X", "Y")
    assert scm.structure.sites["X"].parents == ("a",)
    assert str(scm.graph) == "X -> Y"


def test_nested_plates_vectors_params_and_modules():
    class Net(PyroModule):
        def __init__(self):
            super().__init__()
            self.weight = PyroSample(dist.Normal(0.0, 1.0).expand([3]).to_event(1))

        def forward(self, v):
            return (v * self.weight).sum(-1)

    net = Net()

    def mechanism(v):
        return net(v) + pyro.param("bias", torch.tensor(0.5))

    def program(n):
        with pyro.plate("groups", 2, dim=-2):
            g = pyro.sample("g", dist.Normal(0.0, 1.0))
        net.weight  # noqa: B018 - a PyroSample parameter must be drawn outside the plate
        with pyro.plate("units", n, dim=-1):
            v = pyro.sample("V", dist.Normal(0.0, 1.0).expand([3]).to_event(1))
            x = pyro.sample("X", dist.Normal(v.sum(-1), 1.0))
            with pyro.plate("groups_again", 2, dim=-2):
                pyro.sample("R", dist.Normal(g + x, 1.0))
            pyro.sample("Y", dist.Normal(mechanism(v) + x, 1.0))

    structure = SCM(program).structure
    assert structure.sites["V"].event_shape == (3,)
    assert structure.sites["R"].plates == ("groups_again", "units")
    assert set(structure.sites["Y"].parents) == {"V", "X", "weight"}
    assert structure.learnable == ("bias",)
    assert "bias" not in pyro.get_param_store()


def test_event_dimensions_of_deterministic_sites_are_found():
    def program():
        z = pyro.sample("Z", dist.Normal(0.0, 1.0))
        pyro.deterministic("S", 2 * z)
        pyro.deterministic("V", torch.stack([z, z], -1))
        pyro.deterministic("C", torch.tensor(1.0))

    sites = SCM(program).structure.sites
    assert [sites[name].event_shape for name in "SVC"] == [(), (2,), ()]


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (lambda n, m: None, "requires 2 arguments"),
        (lambda n: pyro.sample("X", dist.Normal(0.0, 1.0)), "opens no plate named 'units'"),
        (3, "expected a Pyro program"),
        (lambda: pyro.sample("X@a", dist.Normal(0.0, 1.0)), "has an '@'"),
        (lambda: pyro.sample("X", dist.Normal(torch.ones(2) @ torch.ones(3), 1.0)), "failed while"),
    ],
)
def test_programs_that_cannot_be_read(program, message):
    with pytest.raises(ProgramError, match=message):
        SCM(program)


def test_unknown_names_are_listed_with_the_sites():
    def program():
        pyro.sample("X", dist.Normal(0.0, 1.0))

    with pytest.raises(ProgramError, match=r"observed names 'Q'.*it has X"):
        SCM(program, observed=["Q"])
    with pytest.raises(ProgramError, match="expected a sequence"):
        SCM(program, observed="X")


def test_reading_leaves_param_store_and_random_state_alone():
    def program():
        pyro.sample("X", dist.Normal(pyro.param("m", torch.tensor(0.0)), 1.0))

    before = torch.get_rng_state()
    SCM(program)
    assert torch.equal(before, torch.get_rng_state())
    assert "m" not in pyro.get_param_store()


@settings(max_examples=40)
@given(st.integers(1, 8), st.data())
def test_random_linear_programs_give_back_their_graph(size, data):
    edges = {
        (i, j) for j in range(size) for i in range(j) if data.draw(st.booleans(), label=f"{i}{j}")
    }

    def program():
        values = []
        for j in range(size):
            mean = sum((0.7 * values[i] for i in range(j) if (i, j) in edges), torch.zeros(()))
            values.append(pyro.sample(f"x{j}", dist.Normal(mean, 1.0)))

    found = SCM(program).diagram.directed_edges
    assert set(found) == {(f"x{i}", f"x{j}") for i, j in edges}


def test_read_structure_of_a_program_with_arguments():
    def program(scale, *, shift):
        x = pyro.sample("X", dist.Normal(shift, scale))
        return pyro.sample("Y", dist.Normal(x, 1.0))

    structure = read_structure(program, 2.0, shift=1.0)
    assert structure.sites["Y"].parents == ("X",)
    assert structure.units_dim is None


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: torch.randn(x.shape),
        lambda x: dist.Normal(0.0, 1.0).sample(x.shape),
        lambda x: torch.nn.functional.dropout(torch.ones_like(x)),
    ],
)
def test_random_numbers_outside_sample_statements_are_refused(draw):
    def program():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        pyro.sample("Y", dist.Normal(x + draw(x), 0.1))

    with pytest.raises(ProgramError, match="'Y' takes another value when the program runs again"):
        SCM(program)


def test_factors_masks_and_scales_are_refused():
    def factor():
        x = pyro.sample("X", dist.Bernoulli(0.5))
        pyro.factor("f", 3 * x)

    def mask():
        x = pyro.sample("X", dist.Bernoulli(0.5))
        with pyro.poutine.mask(mask=False):
            pyro.sample("Y", dist.Bernoulli(0.1 + 0.8 * x))

    def scale():
        x = pyro.sample("X", dist.Bernoulli(0.5))
        with pyro.poutine.scale(scale=3.0):
            pyro.sample("Y", dist.Bernoulli(0.1 + 0.8 * x))

    with pytest.raises(ProgramError, match=r"pyro\.factor"):
        SCM(factor)
    for program in (mask, scale):
        with pytest.raises(ProgramError, match="'Y' is masked or scaled"):
            SCM(program)


def test_an_escape_that_the_program_catches_is_raised_all_the_same():
    def program():
        x = pyro.sample("X", dist.Normal(0.0, 1.0))
        try:
            y = 1.0 if bool((x > 0).all()) else 0.0
        except Exception:
            y = 2.0
        pyro.sample("Y", dist.Normal(y, 1.0))

    with pytest.raises(ProgramError, match="an `if`"):
        SCM(program)


def test_a_subsampled_units_plate_is_run_in_full():
    def program(n):
        with pyro.plate("units", n, subsample_size=min(n, 3)) as index:
            x = pyro.sample("X", dist.Normal(torch.zeros(n)[index], 1.0))
            pyro.sample("Y", dist.Normal(x, 1.0))

    scm = SCM(program)
    assert str(scm.graph) == "X -> Y"
    assert scm.sample(10, seed=0)["Y"].shape == (10,)


@pytest.mark.parametrize(
    ("draws", "message"),
    [
        ({"b": torch.zeros(5, 3), "s": torch.ones(5)}, r"'b' have shape \(5, 3\)"),
        ({"b": torch.zeros(5, 2), "s": -torch.ones(5)}, "'s' lie outside its support"),
        ({"b": torch.zeros(5, 2), "s": torch.ones(5, 1)}, "'s' have shape"),
        ({"b": torch.zeros(5, 2), "s": 1.0}, "'s' have shape"),
        ({"b": torch.zeros(5, 2)}, r"lack \['s'\]"),
    ],
)
def test_parameter_draws_of_the_wrong_shape_or_support_are_named(draws, message):
    def program(n):
        b = pyro.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        s = pyro.sample("s", dist.LogNormal(0.0, 0.1))
        with pyro.plate("units", n):
            pyro.sample("Y", dist.Normal(b[..., 0], s))

    with pytest.raises(DataError, match=message):
        SCM(program).with_parameters(draws)


def test_every_category_of_a_site_has_to_be_named():
    def program():
        pyro.sample("T", dist.Categorical(torch.ones(3) / 3))

    with pytest.raises(ProgramError, match=r"names 2 of 'T' \(low, high\), which has 3"):
        SCM(program, categories={"T": ["low", "high"]})
    SCM(program, categories={"T": ["low", "middle", "high"]})


@pytest.mark.parametrize("value", [2.0, torch.tensor(2.0), torch.tensor([2.0])], ids=repr)
def test_a_number_fixes_a_parameter(value):
    def program(n):
        b = pyro.sample("b", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        s = pyro.sample("s", dist.LogNormal(0.0, 0.1))
        with pyro.plate("units", n):
            pyro.sample("Y", dist.Normal(b[..., 0], s))

    one = torch.tensor([[30.0, 0.0]])
    fixed = SCM(program).with_parameters({"b": one, "s": value})
    assert fixed.parameters["s"].tolist() == [2.0]
    draws = fixed.sample(4_000, seed=0)["Y"]
    assert float(draws.mean()) == pytest.approx(30, abs=0.2)
    assert float(draws.std()) == pytest.approx(2, abs=0.1)
    with pytest.raises(DataError, match=r"'b' have shape \(\); expected \('draws', 2\)"):
        SCM(program).with_parameters({"b": 3.0, "s": value})
