"""Any formula on discrete data, with a Dirichlet posterior of the laws that it needs."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor

from causalppl.data import Factor
from causalppl.estimation.contingency import Contingency, find_not_discrete
from causalppl.estimation.dirichlet_laws import (
    LeafTables,
    fitted_policy,
    leaf_table,
    observed_law,
    plan_scopes,
)
from causalppl.estimation.drawn_chain import Chain, Scope
from causalppl.estimation.estimate import Estimate
from causalppl.estimation.estimator import Estimator, Problem
from causalppl.estimation.exact import expectation, is_number
from causalppl.estimation.strata import Reliance, find_reliance
from causalppl.exceptions import AssumptionError, DataError, OverlapWarning
from causalppl.identification.expression import Level, Probability, walk
from causalppl.inference.progress import progress_bar
from causalppl.queries import Contrast, Query, Value
from causalppl.seeding import spawn_seeds

__all__ = ["Dirichlet"]

_MOST_UNSEEN = 0.2
_MOST_LACKING = 0.2
_PILOT = 200  # draws that tell the variance well enough
_WARNED_UNSEEN = 0.05
_AT_ONCE = 2**20  # numbers held for one law at a time


@dataclass(frozen=True)
class Dirichlet(Estimator):
    """Bayesian estimation of any formula from counts: discrete columns, every kind of estimand.

    The laws that the formula needs, and no others, get a Dirichlet posterior; the formula is
    computed on each draw, so that all its parts see one law and probabilities add up to one. The
    estimate is the mean over draws, the posterior mean. Text, booleans and categories are
    discrete; numbers are if they take at most 20 values.

    The prior weighs as much as ``concentration`` rows in all, however many cells there are, spread
    evenly over them on average. It decides where there are no rows: what share of the answer rests
    on strata never seen is reported (``diagnostics["unseen_share"]``), the interval is as wide as
    this ignorance, from 5 % on a warning says so, and above 20 % the estimator refuses. It refuses
    too where more than 20 % of the variance (``diagnostics["thin_share"]``) comes from strata of
    one to three rows, so that no interval could be trusted.

    Attributes:
        concentration: The weight of the prior, in rows.
        num_draws: How many laws are drawn.
        unseen: What to do where a stratum that matters has no rows: ``"prior"`` or ``"refuse"``.

    Raises:
        DataError: A setting is out of range.

    References:
        Buntine (1991), Theory refinement on Bayesian networks (the prior); Rubin (1981), The
        Bayesian bootstrap.

    Example:
        >>> from causalppl.estimation.from_data import estimate
        >>> from causalppl.graphs import back_door
        >>> from causalppl.identification import identify
        >>> data = {"Z": [0, 0, 0, 1, 1, 1] * 50, "X": [0, 0, 1, 0, 1, 1] * 50,
        ...         "Y": [0, 1, 1, 0, 1, 0] * 50}
        >>> answer = estimate(identify(back_door(), "P(Y=1 | do(X=1))"), data, seed=0)
        >>> round(float(answer), 1), answer.num_rows
        (0.7, 300)
    """

    concentration: float = 1.0
    num_draws: int = 1_000
    unseen: Literal["prior", "refuse"] = "prior"
    name: ClassVar[str] = "Dirichlet"

    def __post_init__(self) -> None:
        if not 0 < self.concentration < np.inf:
            raise DataError(
                f"concentration is {self.concentration!r}; expected a positive number of rows"
            )
        if isinstance(self.num_draws, bool) or not isinstance(self.num_draws, int):
            raise DataError(f"num_draws is {self.num_draws!r}; expected a whole number")
        if self.num_draws < 2:
            raise DataError(f"num_draws is {self.num_draws}; expected at least 2, such as 1000")
        if self.unseen not in ("prior", "refuse"):
            raise DataError(f"unseen is {self.unseen!r}; expected 'prior' or 'refuse'")

    def refusal(self, problem: Problem) -> str | None:
        """Say why: a column that is not discrete, a table too large, too little overlap."""
        reason = find_not_discrete(problem)
        if reason is not None:
            return reason
        try:
            posterior = _Posterior.of(problem)
        except AssumptionError as error:
            return str(error)
        if constant := posterior.constant_outcome():
            return constant
        reliance = posterior.reliance()
        if self.unseen == "refuse" and reliance.strata:
            return f"{reliance.text}, and unseen is 'refuse'"
        if reliance.share > _MOST_UNSEEN:
            return f"{reliance.text}; expected at most {_MOST_UNSEEN:.0%}"
        lacking = posterior.lacking(self, reliance)
        if lacking > _MOST_LACKING:
            return (
                f"{lacking:.0%} of the variance comes from strata of one to three rows, which do "
                f"not show their own spread; expected at most {_MOST_LACKING:.0%}; condition on "
                "fewer variables, or coarser ones"
            )
        return None

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Estimate:
        """Draw laws, and compute the formula on each."""
        posterior = _Posterior.of(problem)
        reliance = posterior.reliance()
        if reliance.share > _WARNED_UNSEEN:
            warnings.warn(f"{reliance.text}; the interval allows for it", OverlapWarning, 3)
        draws = posterior.draw(self, seed, progress=progress)
        _check_mass(problem, draws)
        data = posterior.data
        return Estimate(
            query=problem.estimand.query,
            method=repr(self),
            values=draws.mean(axis=0),
            axes=posterior.axes,
            draws=draws,
            num_rows=sum(data.num_rows(source) for source in data.codes),
            ess=_ess(data),
            estimand=problem.estimand,
            assumptions=("the diagram is right", "rows are independent"),
            notes=(reliance.text,) if reliance.strata else (),
            diagnostics={
                "plug_in": posterior.plug_in().detach().numpy(),
                "unseen_share": reliance.share,
                "unseen": reliance.strata,
                "thin_share": reliance.lacking(draws),
                "seed": seed,
            },
        )


@dataclass(frozen=True, eq=False)
class _Posterior:
    """What one problem comes to: counts, the laws to be drawn, and the formula on them."""

    problem: Problem
    data: Contingency
    scopes: Mapping[Probability, Scope]
    policies: Mapping[str, Factor]

    @classmethod
    def of(cls, problem: Problem) -> "_Posterior":
        data = Contingency.of(problem)
        policies = {
            name: fitted_policy(name, law, data.states) for name, law in problem.policies.items()
        }
        return cls(problem, data, plan_scopes(problem.estimand, data), policies)

    @property
    def axes(self) -> dict[str, tuple[Value, ...]]:
        known = self.data.states
        return {
            label: known[s.variable]
            for label, s in self.problem.estimand.axes
            if s.variable in known
        }

    def constant_outcome(self) -> str | None:
        """Say that no outcome of the query varies, if so."""
        query = self.problem.estimand.query
        events = () if isinstance(query, Contrast) else query.outcomes
        names = {query.outcome} if isinstance(query, Contrast) else {e.name for e in events}
        states = {name: self.data.states.get(name, ()) for name in sorted(names)}
        if any(len(found) != 1 for found in states.values()):
            return None
        shown = ", ".join(f"the outcome {name} is {found[0]!r}" for name, found in states.items())
        return f"{shown} in all rows: no error can be estimated; expected an outcome that varies"

    def plug_in(self) -> Tensor:
        """Compute the formula at the observed frequencies."""
        return self._answer(self._tables(self._observed), 1)[0]

    def reliance(self) -> Reliance:
        """Find how much the answer rests on strata without rows."""
        leaves = {node: self._observed(node) for node in self.scopes}
        for node, table in leaves.items():
            values = table.values.clone().requires_grad_()
            leaves[node] = Factor(table.names, values, table.states)
        tables = self._tables(leaves.__getitem__)
        scale = 1.0
        if is_number(self.problem.estimand):
            nodes = walk(self.problem.estimand.body)
            levels = [tables.levels(node.symbol) for node in nodes if isinstance(node, Level)]
            scale = max((max(found) - min(found) for found in levels), default=1.0) or 1.0
        return find_reliance(self._answer(tables, 1)[0], leaves, self.data, scale)

    def lacking(self, settings: Dirichlet, reliance: Reliance) -> float:
        """Find the largest share of the variance that draws lack, by a pilot."""
        if not reliance.missing.any():
            return 0.0
        return reliance.lacking(self.draw(replace(settings, num_draws=_PILOT), 0, progress=False))

    def draw(self, settings: Dirichlet, seed: int, *, progress: bool) -> np.ndarray[Any, Any]:
        """Compute the formula on draws of the laws, shape ``(draws, *axes)``."""
        rng = np.random.default_rng(spawn_seeds(seed, 1)[0])
        cells = [self.data.cells((*s.do, *s.names)) for s in self.scopes.values()]
        at_once = max(1, _AT_ONCE // max(cells, default=1))
        found = []
        with progress_bar(settings.num_draws, "draws", progress=progress) as bar:
            for start in range(0, settings.num_draws, at_once):
                count = min(at_once, settings.num_draws - start)
                found.append(self._drawn(settings.concentration, count, rng).numpy())
                bar.update(count)
        return np.concatenate(found)

    def _drawn(self, concentration: float, count: int, rng: np.random.Generator) -> Tensor:
        leaves: dict[Probability, Factor] = {}
        for scope in dict.fromkeys(self.scopes.values()):
            own = [leaf for leaf, used in self.scopes.items() if used == scope]
            leaves |= Chain(scope, self.data, concentration).draw_leaves(own, count, rng)
        return self._answer(self._tables(leaves.__getitem__), count)

    def _observed(self, node: Probability) -> Factor:
        return leaf_table(node, observed_law(self.scopes[node], self.data))

    def _tables(self, leaf: Callable[[Probability], Factor]) -> LeafTables:
        return LeafTables({}, self.policies, data=self.data, leaf=leaf)

    def _answer(self, tables: LeafTables, count: int) -> Tensor:
        """Compute the formula, shape ``(count, *axes)``."""
        estimand = self.problem.estimand
        if is_number(estimand):
            values = expectation(estimand, tables)
        else:
            values = tables.labelled(tables.of(estimand.body), estimand).values
        shape = tuple(len(states) for states in self.axes.values())
        return values.expand((count, *shape))


def _ess(data: Contingency) -> float | None:
    """Add up the effective sample sizes, where rows are weighted."""
    if all(weights is None for weights in data.weights.values()):
        return None
    return sum(data.total(source) for source in data.codes)


def _check_mass(problem: Problem, draws: np.ndarray[Any, Any]) -> None:
    """Hold a law to its mass, where the query leaves all outcomes open."""
    query = problem.estimand.query
    if not isinstance(query, Query) or query.kind != "P":
        return
    if any(event.value is not None for event in query.outcomes):
        return
    mass = draws.sum(axis=tuple(range(1, 1 + len(query.outcomes))))
    if not np.allclose(mass, 1, rtol=0, atol=1e-6):
        raise AssumptionError(
            f"{query} adds up to {mass.min():.6g} to {mass.max():.6g} in the draws: it is given "
            "what never happens; ask about values that can occur"
        )
