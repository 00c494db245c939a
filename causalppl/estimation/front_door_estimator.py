"""Effects through a front door: plug-in, and one step along the efficient influence function.

With mediators M that carry the whole effect of X on Y and covariates C (often none),

    E[Y | do(x)] = E_C sum_m P(m | x, C) sum_x' E[Y | x', m, C] P(x' | C).

The influence function of Fulcher et al. (2020) needs ``P(X | C)``, ``E[Y | X, M, C]``, the ratio
``P(M | x, C) / P(M | X, C)`` and the mean of the outcome model over ``P(M | x, C)``. For mediators
with few values the last two come from a model of M; else the ratio comes from ``P(X | M, C)`` by
Bayes' rule, and the mean is a second regression: no density is fitted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from causalppl.estimation.estimate import Estimate
from causalppl.estimation.estimator import Estimator, Problem
from causalppl.estimation.front_door_interval import abc_draws
from causalppl.estimation.front_door_nuisance import Models, Nuisance
from causalppl.estimation.front_door_roles import Asked, Roles
from causalppl.estimation.front_door_sample import (
    Sample,
    check_varied,
    deal_folds,
    read_levels,
    read_outcome,
    resample,
)
from causalppl.estimation.propensity import MOST_CERTAIN
from causalppl.exceptions import AssumptionError, DataError, OverlapWarning, QueryError
from causalppl.user_warning import warn_user

__all__ = ["FrontDoor"]

Array: TypeAlias = NDArray[np.float64]

_MANY_ROWS = 20_000  # from where on terms of second order do not matter

_PLUG_IN = "the models of outcome and mediators are right"
_FINITE = "the mediator model is right, or the outcome and the treatment model are"
_CONTINUOUS = "the treatment model is right, or the outcome model is"


@dataclass(frozen=True)
class FrontDoor(Estimator):
    """Front-door estimates of ``E[Y | do(X=x)]``, ``P(Y=y | do(X=x))`` and of the ATE.

    The mediators are read off the diagram; the treatment has few values, all else may be discrete
    or continuous. With ``one_step``, nuisances are cross-fitted and errors are those of the
    influence function; up to 20,000 rows the interval also allows for curvature and skewness (see
    `causalppl.estimation.front_door_interval`). For mediators with few values the estimate is
    consistent if the mediator model is right, or else the outcome and the treatment model are;
    otherwise if the outcome model or the treatment model is wrong, but not both.

    Attributes:
        one_step: Correct the plug-in by the mean of the influence function. Otherwise the plug-in
            alone, with a bootstrap.
        mediators: None: found in the diagram.
        covariates: None: none, if the mediators are a front door without any, else causes of the
            variables that are not affected by the treatment, as few as needed.
        outcome_model: A scikit-learn regressor, fitted in each arm; None is ridge regression on
            squares and products.
        treatment_model: A scikit-learn classifier; None is logistic regression likewise.
        mediator_model: The same, for mediators with few values, fitted in each arm.
        folds: Number of folds.
        clip: Smallest probability that is divided by.
        num_bootstrap: Number of refits of the plug-in.

    Raises:
        DataError: A setting is out of range, or a learner lacks the methods of scikit-learn.

    References:
        Pearl (1995), Causal diagrams for empirical research; Fulcher, Shpitser, Marealle and
        Tchetgen Tchetgen (2020), Robust inference on population indirect causal effects; Guo,
        Benkeser and Nabi (2023), Targeted machine learning for average causal effect estimation
        using the front-door functional; DiCiccio and Efron (1992), More accurate confidence
        intervals in exponential families.

    Example:
        >>> from causalppl.data import Table
        >>> from causalppl.graphs import ADMG
        >>> from causalppl.identification import identify
        >>> rng = np.random.default_rng(0)
        >>> u = rng.random(2000) < 0.5
        >>> x = rng.random(2000) < 0.2 + 0.6 * u
        >>> m = rng.random(2000) < 0.1 + 0.7 * x
        >>> table = Table.from_any({"X": x, "M": m, "Y": 2.0 * m + u})
        >>> estimand = identify(ADMG.parse("X -> M -> Y; X <-> Y"), "ATE(X -> Y)")
        >>> estimate = FrontDoor().solve(Problem(estimand, table), seed=0)
        >>> abs(float(estimate) - 1.4) < 3 * float(estimate.standard_error)
        True
    """

    one_step: bool = True
    mediators: Sequence[str] | None = None
    covariates: Sequence[str] | None = None
    outcome_model: Any = None
    treatment_model: Any = None
    mediator_model: Any = None
    folds: int = 5
    clip: float = 0.01
    num_bootstrap: int = 200
    name: ClassVar[str] = "FrontDoor"

    def __post_init__(self) -> None:
        for name in ("folds", "num_bootstrap"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 2:
                raise DataError(f"{name} is {value!r}; expected an integer, at least 2")
        for name in ("mediators", "covariates"):
            if isinstance(getattr(self, name), str):
                raise DataError(f"{name} is {getattr(self, name)!r}; expected a list of names")
        if not 0 < self.clip < 0.5:
            raise DataError(f"clip is {self.clip!r}; expected a number between 0 and 0.5")
        for name, needed in (("outcome", "fit"), ("treatment", "predict_proba")):
            model = getattr(self, f"{name}_model")
            if model is not None and not hasattr(model, needed):
                raise DataError(f"{name}_model is {model!r}; expected a model with {needed}")

    def refusal(self, problem: Problem) -> str | None:
        """Say why the front door does not apply."""
        try:
            asked = Asked.read(problem)
            roles = Roles.find(problem, asked, self.mediators, self.covariates)
            read_levels(problem.table, asked.x), read_outcome(problem.table, asked)
            check_varied(problem.table, asked, roles)
        except (QueryError, DataError) as error:
            return str(error)
        if problem.weights or problem.policies:
            return "FrontDoor takes neither weights nor policies"
        return None

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Estimate:
        """Estimate by the one-step correction, or by the plug-in with a bootstrap.

        Raises:
            DataError: A value that the query names does not occur.
            AssumptionError: In more than 90 % of the rows, the other treatments hardly go with the
                mediators and covariates.

        Warns:
            OverlapWarning: Probabilities below ``clip`` were met in more than 1 % of the rows.
        """
        asked = Asked.read(problem)
        roles = Roles.find(problem, asked, self.mediators, self.covariates)
        case = _Case(problem, asked, roles, Sample.read(problem.table, asked, roles))
        if self.one_step:
            return self._corrected(case, seed)
        whole = Nuisance.fit(case.sample, case.sample, case.wanted, self._models, seed)
        _check_overlap(case.roles, float(whole.lacking.mean()))
        value = case.combine({level: whole.plug_in(level) for level in case.wanted})
        rng = np.random.default_rng(seed)
        draws = []
        for _ in tqdm(range(self.num_bootstrap), disable=not progress):
            again = case.sample.rows(resample(case.sample, rng))
            draws.append(case.combine(self._plug_in(again, case.wanted, seed)))
        return case.answer(
            "plug-in, bootstrap", right=_PLUG_IN, values=value, draws=np.array(draws)
        )

    @property
    def _models(self) -> Models:
        return Models(self.outcome_model, self.treatment_model, self.mediator_model)

    def _plug_in(self, sample: Sample, wanted: list[int], seed: int) -> dict[int, float]:
        nuisance = Nuisance.fit(sample, sample, wanted, self._models, seed)
        return {level: nuisance.plug_in(level) for level in wanted}

    def _corrected(self, case: "_Case", seed: int) -> Estimate:
        sample, rows = case.sample, len(case.sample.y)
        each = {level: np.empty(rows) for level in case.wanted}
        ratio = {level: np.empty(rows) for level in case.wanted}
        least, lacking = np.empty(rows), np.empty(rows)
        fold = deal_folds(sample, self.folds, np.random.default_rng(seed))
        for k in range(self.folds):
            train, test = (sample.rows(np.flatnonzero(part)) for part in (fold != k, fold == k))
            nuisance = Nuisance.fit(train, test, case.wanted, self._models, seed)
            least[fold == k], lacking[fold == k] = nuisance.least, nuisance.lacking
            for level in case.wanted:
                ratio[level][fold == k] = nuisance.ratio(level, self.clip)
                each[level][fold == k] = nuisance.contributions(level, self.clip)
        _check_overlap(case.roles, float(lacking.mean()))
        total = case.combine(each)
        influence = total - total.mean(axis=0)
        value = total.mean(axis=0)
        clipped = float((least < self.clip).mean())
        if clipped > 0.01:
            _warn_of_overlap(case.roles, clipped, self.clip)
        return case.answer(
            f"one step, {self.folds} folds",
            right=_FINITE if sample.cells is not None else _CONTINUOUS,
            values=value,
            draws=self._draws(case, value, influence, seed),
            error=influence.std(axis=0, ddof=1) / np.sqrt(rows),
            influence=influence,
            ess=min(float(w.sum() ** 2 / (w**2).sum()) for w in ratio.values()),
            diagnostics={"least_probability": float(least.min()), "clipped": clipped},
        )

    def _draws(self, case: "_Case", value: Array, influence: Array, seed: int) -> Array | None:
        """Quantiles of the second-order confidence distribution, ``(draws, *values)``."""
        rows = len(influence)
        if rows > _MANY_ROWS:
            return None

        def refit(weights: Array) -> Array:
            sample = case.sample
            fit = Nuisance.fit(sample, sample, case.wanted, Models(), seed, weights)
            each = {level: fit.plug_in(level, weights) for level in case.wanted}
            return case.combine(each).reshape(-1)

        def column(k: int) -> Array:
            own = influence.reshape(rows, -1)[:, k]
            return abc_draws(value.flat[k], own, lambda weights: float(refit(weights)[k]))

        columns = [column(k) for k in range(value.size)]
        return np.stack(columns, axis=1).reshape(-1, *value.shape)


def _check_overlap(roles: Roles, lacking: float) -> None:
    if lacking > MOST_CERTAIN:
        names = (*roles.m, *roles.c)
        raise AssumptionError(
            f"{', '.join(names)} {'tells' if len(names) == 1 else 'tell'} {roles.x}: other values "
            f"of it hardly go with what is seen in {lacking:.1%} of the rows (perfect separation, "
            "or nearly), and nothing shows what they would have done; expected overlap, coarsen "
            "the mediators or bound the effect"
        )


def _warn_of_overlap(roles: Roles, clipped: float, clip: float) -> None:
    warn_user(
        f"for {clipped:.1%} of the rows some value of {roles.x} hardly goes with their "
        f"{', '.join((*roles.m, *roles.c))} (probability below {clip:g}): models extrapolate "
        "there; coarsen the mediators or restrict the question",
        OverlapWarning,
    )


@dataclass(frozen=True, eq=False)
class _Case:
    """A problem with all that was read from it."""

    problem: Problem
    asked: Asked
    roles: Roles
    sample: Sample

    @property
    def wanted(self) -> list[int]:
        """List the values of the treatment that are asked about, as places among its levels."""
        if self.asked.is_open:
            return list(range(len(self.sample.levels)))
        return sorted({self.sample.place(value, self.asked.x) for _, value in self.asked.terms})

    def combine(self, each: dict[int, Any]) -> Array:
        """Add up the terms; open values become the last axis."""
        total: Any = 0.0
        for weight, value in self.asked.terms:
            if value is None:
                part = np.stack([each[level] for level in self.wanted], axis=-1)
            else:
                part = np.asarray(each[self.sample.place(value, self.asked.x)])
                part = part[..., None] if self.asked.is_open else part
            total = total + weight * part
        return np.asarray(total)

    def answer(self, way: str, *, right: str, **found: Any) -> Estimate:
        """Put the answer together."""
        estimand, m, c = self.problem.estimand, ", ".join(self.roles.m), ", ".join(self.roles.c)
        return Estimate(
            estimand.query,
            f"front door through {m}{f' given {c}' if c else ''} ({way})",
            axes={estimand.axes[0][0]: self.sample.levels} if self.asked.is_open else {},
            num_rows=len(self.sample.y),
            num_dropped=self.problem.table.dropped,
            estimand=estimand,
            assumptions=(*self.roles.assumptions, right),
            **found,
        )
