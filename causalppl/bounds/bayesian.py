"""Bounds as a posterior: draws of the effect over all models that fit the data."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from numpy.typing import NDArray

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.canonical import Canonical
from causalppl.bounds.method import OBSERVED, BoundMethod, BoundProblem
from causalppl.bounds.question import Question
from causalppl.bounds.type_model import District, TypeModel, count_types, why_not_cliques
from causalppl.bounds.type_sampler import draw_laws, split_rhat
from causalppl.estimation.contingency import occurring
from causalppl.estimation.settings import check_count
from causalppl.exceptions import ConvergenceWarning, DataError
from causalppl.graphs import ADMG
from causalppl.user_warning import warn_user

__all__ = ["ResponseFunctionPosterior"]

Array: TypeAlias = NDArray[np.float64]
_LARGEST_RHAT = 1.05
_TAIL = 0.025


@dataclass(frozen=True)
class ResponseFunctionPosterior(BoundMethod):
    """The posterior of an effect over latent response types, beside the sharp bounds.

    Each district of the diagram has a law over the response types of its variables, with a
    symmetric Dirichlet prior. Given counts, laws are drawn from their posterior, and with each the
    value of the query. Draws fall between the sharp ends; how they are spread there is not learned
    from data, however many there are: it is the prior. So the bounds that are returned are the
    sharp ones, the draws stand in ``diagnostics["posterior"]``, shape ``(draws, *values)``, and
    ``diagnostics["prior_sensitivity"]`` tells their mean and central 95 % under other priors.

    Attributes:
        concentration: Dirichlet parameter of each type; 1: all laws of types alike.
        num_draws: Draws of the effect, over all chains.
        num_chains: Chains that run side by side.
        warmup: Steps of each chain before its first draw is kept.
        max_types: The most response types of a district.

    Raises:
        DataError: A setting is out of range.

    References:
        Chickering and Pearl (1996), A clinician's tool for analyzing non-compliance; Zhang, Tian
        and Bareinboim (2022), Partial counterfactual identification from observational and
        experimental data.

    Example:
        >>> from causalppl.data import Table
        >>> from causalppl.queries import Contrast
        >>> rows = Table.from_any({"X": [0] * 50 + [1] * 50, "Y": [0] * 40 + [1] * 60})
        >>> problem = BoundProblem(
        ...     ADMG.parse("X -> Y; X <-> Y"), Contrast.parse("ATE(X -> Y)"), {OBSERVED: rows}
        ... )
        >>> found = ResponseFunctionPosterior().solve(problem, seed=0)
        >>> round(float(found.lower), 2), round(float(found.upper), 2)
        (-0.1, 0.9)
        >>> round(float(found.diagnostics["posterior"].mean()), 1)
        0.4
    """

    concentration: float = 1.0
    num_draws: int = 2_000
    num_chains: int = 50
    warmup: int = 50
    max_types: int = 4_096
    name: ClassVar[str] = "posterior over response functions"

    def __post_init__(self) -> None:
        for setting, least, example in (
            ("num_draws", 100, 2_000), ("num_chains", 2, 50), ("warmup", 0, 50),
            ("max_types", 1, 4_096),
        ):  # fmt: skip
            check_count(setting, getattr(self, setting), least, example)
        is_number = isinstance(self.concentration, int | float)
        if (
            not is_number
            or isinstance(self.concentration, bool)
            or not 0 < self.concentration < 1e6
        ):
            raise DataError(f"concentration is {self.concentration!r}; expected a positive number")

    def refusal(self, problem: BoundProblem) -> str | None:
        """Say why the method cannot answer; None if it can."""
        if OBSERVED not in problem.tables:
            return "it needs rows of observed data, to count"
        if len(problem.sources) > 1:
            return "it reads observed data only, not experiments"
        if (reason := Canonical().refusal(problem)) is not None:
            return reason
        graph = _relevant(problem)
        for name in graph.nodes:
            if occurring(problem.tables[OBSERVED].column(name)) is None:
                return f"{name} is a measurement with many values; bin it"
        if (reason := why_not_cliques(graph)) is not None:
            return reason
        sizes = {name: len(problem.states(name)) for name in graph.nodes}
        for district in graph.districts():
            if count_types(graph, sizes, sorted(district)) > self.max_types:
                return (
                    f"the district of {', '.join(graph.in_order(district))} has more than "
                    f"{self.max_types:,} response types; coarsen its variables"
                )
        return None

    def solve(self, problem: BoundProblem, *, seed: int, progress: bool = False) -> Bounds:
        """Answer the problem; see `BoundMethod.solve`.

        Raises:
            AssumptionError: The data contradict the diagram.

        Warns:
            ConvergenceWarning: Chains disagree about the effect.
        """
        sharp = Canonical().solve(problem, seed=seed, progress=progress)
        draws = self._effects(problem, self.concentration, seed)
        rhat = max(split_rhat(part) for part in _cells(draws))
        # what chains as short as these would show by chance is let pass
        if rhat > _LARGEST_RHAT + 3 / (np.sqrt(len(draws)) * draws.shape[1]):
            warn_user(
                f"the chains disagree about {problem.query} (R-hat {rhat:.3g}); expected at most "
                f"{_LARGEST_RHAT}; raise warmup or num_draws",
                ConvergenceWarning,
            )
        sensitivity, prior = {}, self.concentration
        short = replace(self, num_draws=max(self.num_draws // 2, 100))
        for factor in (0.5, 1.0, 2.0):
            other = draws if factor == 1 else short._effects(problem, factor * prior, seed)
            flat = other.reshape(-1, *other.shape[2:])
            low, high = np.quantile(flat, [_TAIL, 1 - _TAIL], axis=0)
            sensitivity[factor * prior] = (flat.mean(0), low, high)
        note = (
            "between the ends the posterior is the prior: more data do not move it; see "
            "diagnostics['prior_sensitivity']"
        )
        return replace(
            sharp,
            method=self.name,
            notes=(*sharp.notes, note) if bool((sharp.width > 1e-6).any()) else sharp.notes,
            assumptions=(
                *sharp.assumptions,
                f"for the posterior: all response types have a Dirichlet prior of parameter "
                f"{self.concentration:g} each",
            ),
            diagnostics={
                **sharp.diagnostics,
                "posterior": draws.reshape(-1, *draws.shape[2:]),
                "rhat": rhat,
                "prior_sensitivity": sensitivity,
                "seed": seed,
            },
        )

    def program(self, problem: BoundProblem) -> Callable[[], torch.Tensor]:
        """Write the model as a Pyro program, for other engines.

        Its sites are the laws of types (``types_X_Y``), the counts of what was seen in each
        context, which are observed, and the deterministic ``effect``.

        Args:
            problem: A problem without open values that the method does not refuse.

        Raises:
            DataError: The query leaves values open.
        """
        asked = Question.of(problem)
        if asked.axes:
            raise DataError(f"{problem.query} leaves {', '.join(asked.axes)} open; give values")
        ((_, parts),) = asked.cells()
        model, counts = _read(problem)
        seen = {
            each.name: (torch.tensor(each.cells), torch.tensor(counts[each.name]))
            for each in model.districts
        }

        def program() -> torch.Tensor:
            laws = {}
            for name, (cells, found) in seen.items():
                prior = torch.full((cells.shape[-1],), float(self.concentration)).double()
                laws[name] = law = pyro.sample(name, dist.Dirichlet(prior))
                for context, (cell, count) in enumerate(zip(cells, found, strict=True)):
                    if count.sum() > 0:
                        chances = cell @ law
                        seen_here = dist.Multinomial(int(count.sum()), chances / chances.sum())
                        pyro.sample(f"{name}_seen_{context}", seen_here, obs=count)
            batch = {name: law.reshape(-1, law.shape[-1]) for name, law in laws.items()}
            return pyro.deterministic("effect", model.effect(parts, batch).squeeze(0))

        return program

    def _effects(self, problem: BoundProblem, concentration: float, seed: int) -> Array:
        """Draws of the query, shape ``(chains, draws, *values)``."""
        model, counts = _read(problem)
        rng = np.random.default_rng(seed)
        per_chain = -(-self.num_draws // self.num_chains)
        laws = {
            each.name: draw_laws(
                each.cells,
                counts[each.name],
                concentration,
                num_chains=self.num_chains,
                draws_per_chain=per_chain,
                warmup=self.warmup,
                rng=rng,
            ).reshape(self.num_chains * per_chain, -1)
            for each in model.districts
        }
        asked = Question.of(problem)
        found = [model.effect(parts, laws) for _, parts in asked.cells()]
        return np.stack(found, -1).reshape(self.num_chains, per_chain, *asked.shape)


def _relevant(problem: BoundProblem) -> ADMG:
    """The diagram over the causes of the query's variables, as far as these are columns."""
    known = problem.graph.latent_projection(
        [name for name in problem.graph.nodes if name in problem.tables[OBSERVED].names]
    )
    return known.subgraph(known.ancestors(problem.query.variables))


def _read(problem: BoundProblem) -> tuple[TypeModel, dict[str, Array]]:
    graph = _relevant(problem)
    model = TypeModel.of(graph, {name: problem.states(name) for name in graph.nodes})
    law = problem.law()
    weights = problem.weights.get(OBSERVED, np.ones(problem.tables[OBSERVED].num_rows))
    is_whole = bool((weights == np.floor(weights)).all())
    size = weights.sum() if is_whole else weights.sum() ** 2 / (weights @ weights)
    counts = {}
    for district in model.districts:
        counts[district.name] = _counted(district, law, float(size))
    return model, counts


def _counted(district: District, law: Any, size: float) -> Array:
    names = (*district.inputs, *district.members)
    kept = law.marginalise([name for name in law.names if name not in names]).align(names)
    return np.round(kept.values.numpy() * size).reshape(district.cells.shape[:2])


def _cells(draws: Array) -> list[Array]:
    flat = draws.reshape(*draws.shape[:2], -1)
    return [flat[..., place] for place in range(flat.shape[-1])]
