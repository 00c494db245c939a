"""One-step correction of what a fitted program says, by its influence function, automatically.

For a smooth functional psi of a program with parameters theta, the influence of a row is

    phi(row) = gradient of psi . inverse Fisher information . score of the row,

each by Monte Carlo: the program is run under ``do`` for the gradient, and on its own simulated rows
for the information. The corrected estimate is ``psi(theta) + mean of phi`` over the data.

This is the influence function *within the parametric model* that the program is. It takes out the
error of the fit to first order (a prior's pull, an early stop, a posterior approximated badly) and
gives an interval that is efficient if the program is right. It is not the nonparametric influence
function: where the program is wrong, nothing here is doubly robust. A program that is flexible
enough makes the two the same in the limit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyro
import torch
from torch import Tensor
from torch.distributions import biject_to

from causalppl.estimation.estimate import Estimate
from causalppl.exceptions import AssumptionError, DataError, ProgramError, QueryError
from causalppl.inference.log_density import defaults_of
from causalppl.inference.training_data import read_training_data
from causalppl.programs.scm import SCM, Given, Recorder
from causalppl.queries import Contrast, Query, parse_query
from causalppl.seeding import forked_rng, spawn_seeds

__all__ = ["one_step"]

Functional: TypeAlias = Callable[[Mapping[str, Tensor]], Tensor]

_LEAST_INFORMATION = 1e-6  # smallest over largest eigenvalue of the scaled information


def one_step(
    fitted: SCM,
    functional: str | Query | Contrast | Functional,
    data: Any,
    *,
    query: str | Query | Contrast | None = None,
    num_samples: int = 50_000,
    seed: int | None = None,
) -> Estimate:
    """Correct a functional of a fitted program, with an interval.

    Args:
        fitted: A model with parameters, as `fit` returns it, without latent unit sites. The point
            is the mean of their draws (on the unconstrained scale).
        functional: A query under ``do``, such as ``"E[Y | do(X=1)]"``, ``"P(Y=1 | do(X=0))"`` or
            ``"ATE(X -> Y)"``; or a function from parameters (name to tensor) to a number.
        data: The rows to correct by, a table of any kind; best other rows than those fitted to, at
            whose maximum of the likelihood the correction is zero.
        query: What a function of parameters answers, for the result.
        num_samples: Simulated rows, for the functional and for the information.
        seed: Seed of the simulation.

    Returns:
        The corrected estimate. ``diagnostics`` hold the ``plug_in``, the ``correction`` and the
        ``monte_carlo_error``, which is part of the error.

    Raises:
        ProgramError: The program has latent units, ``pyro.param`` statements, discrete parameters,
            further plates, or no parameters.
        QueryError: The query is not one under ``do``, or conditions on something.
        DataError: The data do not fit the program.
        AssumptionError: The data carry no information on some direction of the parameters.

    References:
        Agrawal, Witty, Zane and Bingham (2024), Automated efficient estimation using Monte Carlo
        efficient influence functions; Bickel, Klaassen, Ritov and Wellner (1993), chapter 2.

    Example:
        >>> import pyro.distributions as dist
        >>> def program(n):
        ...     mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
        ...     with pyro.plate("units", n):
        ...         return pyro.sample("Y", dist.Normal(mean, 1.0))
        >>> rough = SCM(program).with_parameters({"mean": torch.tensor([1.8])})
        >>> estimate = one_step(rough, "E[Y]", {"Y": torch.tensor([1.0, 2.0, 3.0, 2.0])}, seed=0)
        >>> round(float(estimate), 2)
        2.0
    """
    _check_program(fitted)
    asked = _asked(functional, query)
    read = read_training_data(fitted, data, "refuse")
    simulated_seed, functional_seed = spawn_seeds(seed, 2)
    with defaults_of(read):
        point = _Point.of(fitted)
        if callable(functional):
            value, gradient, noise = _of_parameters(functional, point)
        else:
            value, gradient, noise = _of_query(asked, fitted, point, num_samples, functional_seed)
        scores = point.scores(fitted, read.values, read.num_rows)
        with forked_rng(simulated_seed):
            simulated = point.simulate(fitted, num_samples)
        information = _information(point.scores(fitted, simulated, num_samples))
    influence = scores @ np.linalg.solve(information, gradient)
    correction = float(influence.mean())
    error = np.sqrt(influence.var(ddof=1) / read.num_rows + noise**2)
    return Estimate(
        asked,
        f"one step from the fitted program ({num_samples:,} simulated rows)",
        np.array(value + correction),
        error=np.array(error),
        num_rows=read.num_rows,
        influence=influence - correction,
        assumptions=(
            "the program is right: its family holds the law of the data and of the interventions "
            "(the influence function is that of the parametric model)",
            "the fit is near the truth, so that errors of second order do not matter",
            "the rows are independent",
        ),
        notes=read.notes,
        diagnostics={"plug_in": value, "correction": correction, "monte_carlo_error": noise},
    )


def _check_program(fitted: SCM) -> None:
    if not isinstance(fitted, SCM) or not fitted.parameters:
        raise ProgramError(
            f"{fitted!r} has no fitted parameters; expected the model that fit(...) returns"
        )
    structure = fitted.structure
    latent = [n for n in fitted.latent if structure.sites[n].kind == "sample"]
    if latent:
        raise ProgramError(
            f"the unit sites {', '.join(latent)} are latent, so a row has no score in closed form; "
            "expected all of them to be observed; use infer for such a program"
        )
    if structure.learnable:
        raise ProgramError(
            f"the program has pyro.param statements ({', '.join(structure.learnable)}); expected "
            "parameters that are sample sites; give them a prior"
        )
    if structure.plate_nesting > 1:
        raise ProgramError("the program has plates beside 'units'; expected that one alone")
    for name in fitted.parameters:
        if structure.sites[name].is_discrete:
            raise ProgramError(f"parameter {name!r} is discrete; expected continuous parameters")


def _asked(functional: Any, query: Any) -> Query | Contrast:
    chosen = query if callable(functional) else functional
    if chosen is None:
        raise QueryError("a function of the parameters needs query=, what it answers: 'E[Y]', say")
    asked = parse_query(chosen) if isinstance(chosen, str) else chosen
    if not isinstance(asked, Query | Contrast):
        raise QueryError(f"functional is {functional!r}; expected a query, or a function")
    return asked


@dataclass(frozen=True, eq=False)
class _Point:
    """A point in the unconstrained space of the parameters."""

    vector: Tensor  # (D,)
    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]  # unconstrained
    transforms: tuple[Any, ...]

    @classmethod
    def of(cls, fitted: SCM) -> "_Point":
        """Average the draws, unconstrained."""
        names = tuple(fitted.parameters)
        recorder = Recorder(names, laws=True)
        first = {name: draws[0] for name, draws in fitted.parameters.items()}
        with forked_rng(0), torch.no_grad(), pyro.validation_enabled(False), Given(first), recorder:
            fitted.program(1)
        transforms = tuple(biject_to(recorder.values[name].support) for name in names)
        means = [
            transform.inv(fitted.parameters[name]).mean(dim=0)
            for name, transform in zip(names, transforms, strict=True)
        ]
        vector = torch.cat([mean.reshape(-1) for mean in means])
        return cls(
            vector.to(torch.get_default_dtype()).detach().requires_grad_(),
            names,
            tuple(mean.shape for mean in means),
            transforms,
        )

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Return the parameters, differentiable in the vector."""
        sizes = [shape.numel() for shape in self.shapes]
        parts = zip(self.names, self.vector.split(sizes), self.shapes, self.transforms, strict=True)
        return {name: transform(part.reshape(shape)) for name, part, shape, transform in parts}

    def traced(self, program: Any, values: Mapping[str, Tensor], num_rows: int) -> Any:
        """Run a program with these parameters and some units' values; return its trace."""
        with pyro.validation_enabled(False), Given({**self.parameters, **values}):
            trace = pyro.poutine.trace(program).get_trace(num_rows)
            trace.compute_log_prob(lambda name, site: site["name"] not in self.names)
        return trace

    def simulate(self, scm: SCM, num_rows: int) -> dict[str, Tensor]:
        """Draw units' values of the sample sites."""
        with torch.no_grad():
            trace = self.traced(scm.program, {}, num_rows)
        sites = scm.structure.sites
        return {n: trace.nodes[n]["value"] for n in trace.nodes if _is_drawn(sites.get(n))}

    def scores(self, scm: SCM, values: Mapping[str, Tensor], num_rows: int) -> np.ndarray:
        """Differentiate each row's log density; shape ``(rows, D)``."""
        trace = self.traced(scm.program, values, num_rows)
        names = [name for name in values if _is_drawn(scm.structure.sites.get(name))]
        total = sum((trace.nodes[name]["log_prob"] for name in names), torch.zeros(num_rows))
        # forward derivatives, as the derivative of a backward pass that is linear in `weight`
        weight = torch.zeros_like(total, requires_grad=True)
        (back,) = torch.autograd.grad(total, self.vector, weight, create_graph=True)
        columns = [torch.autograd.grad(entry, weight, retain_graph=True)[0] for entry in back]
        return torch.stack(columns, dim=1).double().numpy()

    def gradient(self, value: Tensor) -> np.ndarray:
        """Differentiate a number; shape ``(D,)``."""
        if not value.requires_grad:
            return np.zeros(len(self.vector))
        (found,) = torch.autograd.grad(value, self.vector, allow_unused=True)
        return np.zeros(len(self.vector)) if found is None else found.double().numpy()


def _is_drawn(site: Any) -> bool:
    return site is not None and site.is_unit and site.kind == "sample"


def _information(scores: np.ndarray) -> np.ndarray:
    """Average the products of scores; shape ``(D, D)``."""
    information = scores.T @ scores / len(scores)
    scale = np.sqrt(np.maximum(np.diag(information), 1e-300))
    values = np.linalg.eigvalsh(information / np.outer(scale, scale))
    if not values[0] > _LEAST_INFORMATION * values[-1] or scale.min() < 1e-12:
        raise AssumptionError(
            "the information that a row has on the parameters is singular: data cannot tell some "
            "of them apart; expected parameters that data determine; write the program with fewer"
        )
    return np.asarray(information)


def _of_parameters(functional: Functional, point: _Point) -> tuple[float, np.ndarray, float]:
    value = functional(point.parameters)
    if not isinstance(value, Tensor) or value.dim() or not torch.isfinite(value):
        raise DataError(f"the functional returned {value!r}; expected one finite number, a tensor")
    return float(value.detach()), point.gradient(value), 0.0


def _of_query(
    asked: Query | Contrast, scm: SCM, point: _Point, num_samples: int, seed: int
) -> tuple[float, np.ndarray, float]:
    """Return the query's value, its gradient, and the Monte Carlo error of the value."""
    each: Any = 0.0
    smooth: Any = 0.0
    for weight, part in asked.expand():
        term = part.interventional()
        # worlds share their draws
        with forked_rng(seed):
            values, surrogate = _under_do(term, scm, point, num_samples)
        each, smooth = each + weight * values, smooth + weight * surrogate
    error = float(each.double().std()) / num_samples**0.5
    return float(each.double().mean()), point.gradient(smooth), error


def _under_do(term: Query, scm: SCM, point: _Point, num_samples: int) -> tuple[Tensor, Tensor]:
    """Return what each simulated row says of the query, and a number with the right gradient.

    The row's own law of the outcome is averaged over exactly; the causes of the outcome are drawn,
    and their part of the gradient comes from their scores, which is right for discrete ones too.
    """
    set_to = {i.name: i.value for i in term.do}
    if term.given or None in set_to.values() or len(term.outcomes) != 1:
        raise QueryError(
            f"{term} conditions on something or leaves a value open; expected one outcome under "
            "do(...) with values, such as E[Y | do(X=1)]"
        )
    outcome = term.outcomes[0].name
    if outcome not in scm.structure.unit_sites:
        raise QueryError(f"{term} asks about {outcome!r}; the sites are {scm.structure.unit_sites}")
    model = scm.intervened(set_to) if set_to else scm
    drawn = {n: v for n, v in point.simulate(model, num_samples).items() if n not in set_to}
    trace = point.traced(model.program, drawn, num_samples)
    rows = _row_values(term, scm, trace.nodes[outcome])
    causes = model.diagram.ancestors([outcome]) - {outcome, *set_to}
    parts = [trace.nodes[n]["log_prob"] for n in drawn if n in causes]
    score: Any = sum(parts) if parts else torch.zeros(())
    centred = (rows - rows.mean()).detach()
    return rows.detach(), (rows + centred * score).mean()


def _row_values(term: Query, scm: SCM, node: Any) -> Tensor:
    event, law = term.outcomes[0], node["fn"]
    is_drawn = scm.structure.sites[event.name].kind == "sample"
    if term.kind == "E":
        return law.mean if is_drawn else node["value"]
    if event.value is None or not is_drawn:
        raise QueryError(
            f"{term} is no event of a drawn site; expected P({event.name}=value | ...)"
        )
    value = torch.as_tensor(scm.encode({event.name: event.value})[event.name])
    discrete = scm.structure.sites[event.name].is_discrete
    if event.op == "=" and discrete:
        return law.log_prob(value.to(node["value"].dtype)).exp()
    if event.op == "=" or discrete:
        raise QueryError(
            f"{term}: expected an equality for a discrete site, an inequality for a continuous one"
        )
    below = law.cdf(value.to(node["value"].dtype))
    return below if event.op.startswith("<") else 1 - below
