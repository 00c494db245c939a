"""Effects through a front door: plug-in, and one step along the efficient influence function.

With mediators M that carry the whole effect of X on Y and covariates C (often none),

    E[Y | do(x)] = E_C sum_m P(m | x, C) sum_x' E[Y | x', m, C] P(x' | C).

The influence function of Fulcher et al. (2020) needs ``P(X | C)``, ``E[Y | X, M, C]``, the ratio
``P(M | x, C) / P(M | X, C)`` and the mean of the outcome model over ``P(M | x, C)``. For mediators
with few values the last two come from a model of M; else the ratio comes from ``P(X | M, C)`` by
Bayes' rule, and the mean is a second regression: no density is fitted.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from causalppl.data import Table
from causalppl.estimation.estimate import Estimate
from causalppl.estimation.estimator import Estimator, Problem
from causalppl.exceptions import DataError, OverlapWarning, QueryError
from causalppl.graphs import ADMG, is_separated
from causalppl.identification import find_front_door_set
from causalppl.queries import Contrast, Event, Query, Value
from causalppl.queries.terms import HOLDS

__all__ = ["FrontDoor"]

Array: TypeAlias = NDArray[np.float64]
Codes: TypeAlias = NDArray[np.int64]
Models: TypeAlias = tuple[Any, Any, Any]

_FEWEST_ROWS = 10  # of each value of the treatment
_MOST_LEVELS = 10  # of a treatment, or of a column that is coded by indicators
_MOST_CROSSED = 15  # features whose squares and products the default models see
_MOST_CELLS = 20  # of mediators that get a model of their own


_PLUG_IN = "the models of outcome and mediators are right"
_FINITE = "the mediator model is right, or the outcome and the treatment model are"
_CONTINUOUS = "the treatment model is right, or the outcome model is"


@dataclass(frozen=True)
class FrontDoor(Estimator):
    """Front-door estimates of ``E[Y | do(X=x)]``, ``P(Y=y | do(X=x))`` and of the ATE.

    The mediators are read off the diagram; the treatment has few values, all else may be discrete
    or continuous. With ``one_step``, nuisances are cross-fitted and errors are those of the
    influence function. For mediators with few values the estimate is consistent if the mediator
    model is right, or else the outcome and the treatment model are; otherwise if the outcome model
    or the treatment model is wrong, but not both.

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

    References:
        Pearl (1995), Causal diagrams for empirical research; Fulcher, Shpitser, Marealle and
        Tchetgen Tchetgen (2020), Robust inference on population indirect causal effects; Guo,
        Benkeser and Nabi (2023), Targeted machine learning for average causal effect estimation
        using the front-door functional.

    Example:
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
            asked = _Asked.read(problem)
            _Roles.find(problem, asked, self.mediators, self.covariates)
            _levels(problem.table, asked.x), _outcome(problem.table, asked)
        except (QueryError, DataError) as error:
            return str(error)
        if problem.weights or problem.policies:
            return "FrontDoor takes neither weights nor policies"
        return None

    def solve(self, problem: Problem, *, seed: int, progress: bool = False) -> Estimate:
        """Estimate by the one-step correction, or by the plug-in with a bootstrap.

        Raises:
            DataError: A value that the query names does not occur.

        Warns:
            OverlapWarning: Probabilities below ``clip`` were met in more than 1 % of the rows.
        """
        asked = _Asked.read(problem)
        roles = _Roles.find(problem, asked, self.mediators, self.covariates)
        case = _Case(problem, asked, roles, _Sample.read(problem.table, asked, roles))
        if self.one_step:
            return self._corrected(case, seed)
        value = case.combine(self._plug_in(case.sample, case.wanted, seed))
        rng = np.random.default_rng(seed)
        draws = []
        for _ in tqdm(range(self.num_bootstrap), disable=not progress):
            again = case.sample.rows(_resampled(case.sample, rng))
            draws.append(case.combine(self._plug_in(again, case.wanted, seed)))
        return case.answer(
            "plug-in, bootstrap", right=_PLUG_IN, values=value, draws=np.array(draws)
        )

    @property
    def _models(self) -> Models:
        return self.outcome_model, self.treatment_model, self.mediator_model

    def _plug_in(self, sample: "_Sample", wanted: list[int], seed: int) -> dict[int, Array]:
        nuisance = _Nuisance.fit(sample, sample, wanted, self._models, seed)
        rows = np.arange(len(sample.y))
        return {level: nuisance.mean[level][rows, sample.x].mean() for level in wanted}

    def _corrected(self, case: "_Case", seed: int) -> Estimate:
        sample, rows = case.sample, len(case.sample.y)
        each = {level: np.empty(rows) for level in case.wanted}
        ratio = {level: np.empty(rows) for level in case.wanted}
        least = np.empty(rows)
        fold = _folds(sample, self.folds, np.random.default_rng(seed))
        for k in range(self.folds):
            train, test = (sample.rows(np.flatnonzero(part)) for part in (fold != k, fold == k))
            nuisance = _Nuisance.fit(train, test, case.wanted, self._models, seed)
            least[fold == k] = nuisance.least
            for level in case.wanted:
                ratio[level][fold == k] = nuisance.ratio(level, self.clip)
                each[level][fold == k] = nuisance.contributions(level, self.clip)
        total = case.combine(each)
        influence = total - total.mean(axis=0)
        clipped = float((least < self.clip).mean())
        if clipped > 0.01:
            _warn_of_overlap(case.roles, clipped, self.clip)
        return case.answer(
            f"one step, {self.folds} folds",
            right=_FINITE if sample.cells is not None else _CONTINUOUS,
            values=total.mean(axis=0),
            error=influence.std(axis=0, ddof=1) / np.sqrt(rows),
            influence=influence,
            ess=min(float(w.sum() ** 2 / (w**2).sum()) for w in ratio.values()),
            diagnostics={"least_probability": float(least.min()), "clipped": clipped},
        )


def _warn_of_overlap(roles: "_Roles", clipped: float, clip: float) -> None:
    warnings.warn(
        f"for {clipped:.1%} of the rows some value of {roles.x} hardly goes with their "
        f"{', '.join((*roles.m, *roles.c))} (probability below {clip:g}): models extrapolate "
        "there; coarsen the mediators or restrict the question",
        OverlapWarning,
        stacklevel=4,
    )


@dataclass(frozen=True, eq=False)
class _Case:
    """A problem with all that was read from it."""

    problem: Problem
    asked: "_Asked"
    roles: "_Roles"
    sample: "_Sample"

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


@dataclass(frozen=True)
class _Asked:
    """A query taken apart: a weighted sum of means of one outcome under one treatment."""

    x: str
    y: str
    event: Event | None  # for a probability
    terms: tuple[tuple[float, Value | None], ...]  # weight and value; None: left open

    @property
    def is_open(self) -> bool:
        return any(value is None for _, value in self.terms)

    @classmethod
    def read(cls, problem: Problem) -> "_Asked":
        query = problem.estimand.query
        if isinstance(query, Contrast) and query.kind not in ("ATE", "TE"):
            raise QueryError(f"FrontDoor answers no {query.kind}; it answers ATE and E[Y | do(X)]")
        parts = [(w, q.interventional()) for w, q in query.expand()]
        names = {(q.outcomes[0].name, tuple(i.name for i in q.do)) for _, q in parts}
        first = parts[0][1]
        is_one = len(names) == 1 and len(first.outcomes) == 1 and len(first.do) == 1
        if not is_one or any(q.given for _, q in parts):
            raise QueryError(
                f"{query} is not about one outcome under one treatment alone; FrontDoor answers "
                "ATE, E[Y | do(X)] and P(Y=y | do(X))"
            )
        event = first.outcomes[0] if first.kind == "P" else None
        if event is not None and event.value is None:
            raise QueryError(f"{query} leaves {event.name} open; FrontDoor needs an event, Y=y")
        terms = tuple((w, _plain_value(q)) for w, q in parts)
        return cls(first.do[0].name, first.outcomes[0].name, event, terms)


def _plain_value(query: Query) -> Value | None:
    value = query.do[0].value
    assert value is None or isinstance(value, bool | int | float | str)
    return value


@dataclass(frozen=True)
class _Roles:
    """The treatment, the mediators and the covariates."""

    x: str
    y: str
    m: tuple[str, ...]
    c: tuple[str, ...]

    @classmethod
    def find(
        cls,
        problem: Problem,
        asked: _Asked,
        mediators: Iterable[str] | None,
        covariates: Iterable[str] | None,
    ) -> "_Roles":
        """Find the front door among the complete columns.

        Raises:
            DataError: There is none, or a column does not fit its role.
        """
        graph, missing = problem.estimand.graph, problem.table.count_missing()
        columns = [n for n in graph.nodes if n in problem.table and not missing[n]]
        x, y = asked.x, asked.y
        for m, c in _candidates(graph, x, y, columns, mediators, covariates):
            if m and _is_front_door(graph, x, y, m, c):
                kept = _as_few(graph, x, y, m, c) if covariates is None else c
                return cls(x, y, graph.in_order(m), graph.in_order(kept))
        raise DataError(
            f"the diagram shows no front door from {x} to {y} among the complete columns "
            f"({', '.join(columns)}); expected mediators that carry the whole effect and share no "
            f"unmeasured cause with {x}, nor, given {x}, with {y}"
        )

    @property
    def assumptions(self) -> tuple[str, ...]:
        """What the diagram says, in words."""
        m, given = ", ".join(self.m), f" given {', '.join(self.c)}" if self.c else ""
        return (
            f"{m} carries the whole effect of {self.x} on {self.y}",
            f"{self.x} and {m} share no unmeasured cause{given}",
            f"{m} and {self.y} share no unmeasured cause given {', '.join((self.x, *self.c))}",
            f"every value of {m} that occurs can occur at every value of {self.x}{given}",
        )


def _candidates(
    graph: ADMG,
    x: str,
    y: str,
    columns: list[str],
    mediators: Iterable[str] | None,
    covariates: Iterable[str] | None,
) -> Iterator[tuple[frozenset[str], frozenset[str]]]:
    """List pairs of mediators and covariates that may be a front door."""
    unaffected = [name for name in columns if name not in graph.descendants([x]) and name != y]
    on_path = graph.descendants([x]) & graph.ancestors([y]) & set(columns) - {x, y}
    above = frozenset(unaffected) & graph.ancestors([x, y, *on_path])
    adjusted = [frozenset(), above] if covariates is None else [frozenset(covariates)]
    if mediators is not None:
        carried = [frozenset(mediators)]
    else:
        plain = find_front_door_set(graph, x, y, within=[n for n in columns if n not in (x, y)])
        carried = [plain] if plain else []
        carried += [on_path & graph.children([x]), on_path & graph.parents([y]), on_path]
    for name in sorted(frozenset().union(*adjusted, *carried) - set(columns)):
        raise DataError(f"there is no complete column {name!r} of that name in data and diagram")
    yield from ((frozenset(m), frozenset(c)) for c in adjusted for m in carried)


def _is_front_door(graph: ADMG, x: str, y: str, m: frozenset[str], c: frozenset[str]) -> bool:
    """Check the front-door criterion within strata of covariates that X does not affect."""
    if (m | c) & {x, y} or m & c or not m <= graph.descendants([x]) or c & graph.descendants([x]):
        return False
    without = graph.subgraph([name for name in graph.nodes if name not in m])
    return (
        y not in without.descendants([x])
        and is_separated(graph.remove_outgoing([x]), [x], m, c)
        and is_separated(graph.remove_outgoing(m), m, [y], c | {x})
    )


def _as_few(graph: ADMG, x: str, y: str, m: frozenset[str], c: frozenset[str]) -> frozenset[str]:
    for name in graph.in_order(c):
        if _is_front_door(graph, x, y, m, c - {name}):
            c = c - {name}
    return c


@dataclass(frozen=True, eq=False)
class _Sample:
    """The data: codes of the treatment, features of mediators and covariates."""

    levels: tuple[Value, ...]
    x: Codes
    y: Array
    m: Array
    c: Array
    cells: Array | None  # the features of each combination of mediators; None if there are many
    cell: Codes  # of each row

    @classmethod
    def read(cls, table: Table, asked: _Asked, roles: _Roles) -> "_Sample":
        levels, x = _levels(table, asked.x)
        m, c = _features(table, roles.m), _features(table, roles.c)
        cells, cell = np.unique(m, axis=0, return_inverse=True)
        few = len(cells) <= _MOST_CELLS
        y = _outcome(table, asked)
        return cls(levels, x, y, m, c, cells if few else None, cell.reshape(-1))

    def place(self, value: Value | None, name: str) -> int:
        if value not in self.levels:
            raise DataError(f"{name} is never {value!r} in the data; it is one of {self.levels}")
        return self.levels.index(value)

    def rows(self, chosen: Codes) -> "_Sample":
        parts = (self.x[chosen], self.y[chosen], self.m[chosen], self.c[chosen])
        return _Sample(self.levels, *parts, self.cells, self.cell[chosen])


def _levels(table: Table, name: str) -> tuple[tuple[Value, ...], Codes]:
    """List the values of the treatment, and find the place of each row's among them."""
    column = table.column(name)
    found, places = np.unique(column.values.numpy(), return_inverse=True)
    if not 2 <= len(found) <= _MOST_LEVELS:
        raise DataError(
            f"column {name!r} has {len(found)} values; expected 2 to {_MOST_LEVELS}; cut it into "
            "classes"
        )
    if column.categories is not None:
        levels: tuple[Value, ...] = tuple(column.categories[int(code)] for code in found)
    else:
        numbers = map(float, found)
        levels = tuple(int(value) if value.is_integer() else value for value in numbers)
    sizes = np.bincount(places)
    if sizes.min() < _FEWEST_ROWS:
        raise DataError(
            f"column {name!r} is {levels[int(sizes.argmin())]!r} in {sizes.min()} rows; expected "
            f"at least {_FEWEST_ROWS} of each value; merge or leave out rare ones"
        )
    return levels, places


def _outcome(table: Table, asked: _Asked) -> Array:
    column = table.column(asked.y)
    values = column.values.double().numpy()
    if asked.event is not None:
        bound = column.encode(asked.event.value)
        return np.asarray(HOLDS[asked.event.op](values, bound), dtype=float)
    if column.categories is not None:
        raise DataError(f"column {asked.y!r} holds text; expected numbers, or ask for P(Y=y | ...)")
    return np.asarray(values)


def _features(table: Table, names: Iterable[str]) -> Array:
    """Code columns: indicators where there are few values, else standardised numbers."""
    parts = [np.zeros((table.num_rows, 0))]
    for name in names:
        column = table.column(name)
        values = column.values.double().numpy().reshape(table.num_rows, -1)
        levels = np.unique(values)
        if column.categories is not None or (values.shape[1] == 1 and len(levels) <= _MOST_LEVELS):
            parts.append((values == levels[None, 1:]).astype(float))
        else:
            spread = values.std(axis=0)
            parts.append((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0))
    return np.column_stack(parts)


def _folds(sample: _Sample, count: int, rng: np.random.Generator) -> Codes:
    """Deal the rows into folds, each treatment and mediator evenly."""
    shuffled = rng.permutation(len(sample.y))
    cell = np.zeros(len(shuffled)) if sample.cells is None else sample.cell[shuffled]
    order = shuffled[np.lexsort((cell, sample.x[shuffled]))]
    fold = np.empty(len(order), dtype=np.int64)
    fold[order] = np.arange(len(order)) % count
    return fold


def _resampled(sample: _Sample, rng: np.random.Generator) -> Codes:
    """Resample rows within arms, so that none is empty."""
    arms = [np.flatnonzero(sample.x == level) for level in range(len(sample.levels))]
    drawn = rng.integers(0, len(sample.y), len(sample.y))
    sizes = np.maximum(np.bincount(sample.x[drawn], minlength=len(arms)), 1)
    return np.concatenate([rng.choice(a, size) for a, size in zip(arms, sizes, strict=True)])


@dataclass(frozen=True, eq=False)
class _Nuisance:
    """What models fitted to some rows say of others; K values of the treatment."""

    sample: _Sample
    treatment: Array  # P(X=k | C), (rows, K)
    outcome: Array  # E[Y | X=k, M, C], (rows, K)
    mean: dict[int, Array]  # of the outcome model over P(M | level, C), each (rows, K)
    law: Array  # P(M | X=k, C), or P(X=k | M, C) where M has many values; (rows, K)

    @classmethod
    def fit(
        cls, train: _Sample, test: _Sample, wanted: list[int], models: Models, seed: int
    ) -> "_Nuisance":
        count, (outcome, treatment, mediator) = len(train.levels), models
        share = _classified(treatment, train.c, train.x, count, seed)(test.c)
        arms = [train.x == k for k in range(count)]
        both = np.column_stack([train.m, train.c])
        means = [_regressed(outcome, both[arm], train.y[arm], seed) for arm in arms]
        new = np.column_stack([test.m, test.c])
        fitted = np.stack([predict(new) for predict in means], axis=1)
        if train.cells is None:
            law = _classified(treatment, both, train.x, count, seed)(new)
            inside = [predict(both) for predict in means]
            averages = {
                level: np.stack(
                    [
                        _regressed(outcome, train.c[arms[level]], part[arms[level]], seed)(test.c)
                        for part in inside
                    ],
                    axis=1,
                )
                for level in wanted
            }
            return cls(test, share, fitted, averages, law)
        cells = len(train.cells)
        laws = [
            _classified(mediator, train.c[arm], train.cell[arm], cells, seed)(test.c)
            for arm in arms
        ]
        at_cells = [np.tile(cell, (len(test.y), 1)) for cell in train.cells]
        surface = np.stack(
            [[p(np.column_stack([m, test.c])) for m in at_cells] for p in means], axis=0
        )
        averages = {level: np.einsum("kjn,nj->nk", surface, laws[level]) for level in wanted}
        own = np.stack([part[np.arange(len(test.y)), test.cell] for part in laws], axis=1)
        return cls(test, share, fitted, averages, own)

    def _at_x(self, values: Array) -> Array:
        return np.asarray(values[np.arange(len(values)), self.sample.x])

    @property
    def least(self) -> Array:
        """The smallest probability of a treatment, or of these mediators, in each row."""
        cells = self.sample.cells
        scale = 1.0 if cells is None else float(len(cells))
        return np.asarray(np.minimum(self.treatment, scale * self.law).min(axis=1))

    def ratio(self, level: int, clip: float) -> Array:
        """``P(M | X=level, C) / P(M | X, C)``, shape ``(rows,)``."""
        cells, own = self.sample.cells, self._at_x(self.law)
        if cells is not None:
            return np.asarray(self.law[:, level] / np.maximum(own, clip / len(cells)))
        below = np.maximum(own, clip) * np.maximum(self.treatment[:, level], clip)
        return np.asarray(self.law[:, level] * self._at_x(self.treatment) / below)

    def contributions(self, level: int, clip: float) -> Array:
        """The influence function plus the mean, Fulcher et al. (2020), theorem 1."""
        mean, in_arm = self.mean[level], self.sample.x == level
        share = np.maximum(self.treatment[:, level], clip)
        mediated = (self.treatment * (self.outcome - mean)).sum(axis=1)
        residual = self.sample.y - self._at_x(self.outcome)
        return self.ratio(level, clip) * residual + in_arm / share * mediated + self._at_x(mean)


def _regressed(model: Any, features: Array, y: Array, seed: int) -> Callable[[Array], Array]:
    """Fit a mean; without features the average."""
    if not features.shape[1]:
        average = y.mean()
        return lambda new: np.full(len(new), average)
    from sklearn.linear_model import Ridge

    fitted = _prepared(model, Ridge(0.1), features, seed).fit(features, y)
    return lambda new: np.asarray(fitted.predict(new), dtype=float)


def _classified(
    model: Any, features: Array, codes: Codes, count: int, seed: int
) -> Callable[[Array], Array]:
    """Fit probabilities of ``count`` classes; without features or choice their frequencies."""
    present = np.unique(codes)
    if not features.shape[1] or len(present) == 1:
        frequency = np.bincount(codes, minlength=count) / len(codes)
        return lambda new: np.tile(frequency, (len(new), 1))
    from sklearn.linear_model import LogisticRegression

    fitted = _prepared(model, LogisticRegression(C=10.0, max_iter=1000), features, seed)
    fitted.fit(features, codes)

    def predict(new: Array) -> Array:
        found = np.zeros((len(new), count))
        found[:, fitted.classes_] = fitted.predict_proba(new)
        return found

    return predict


def _prepared(model: Any, default: Any, features: Array, seed: int) -> Any:
    """Copy a model, with a seed where it takes one; the default sees squares and products."""
    from sklearn.base import clone
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures, StandardScaler

    if model is None:
        degree = 2 if features.shape[1] <= _MOST_CROSSED else 1
        terms = PolynomialFeatures(degree, include_bias=False)
        return make_pipeline(terms, StandardScaler(), default)
    copy = clone(model)
    if copy.get_params().get("random_state", 0) is None:
        copy.set_params(random_state=seed % 2**32)
    return copy
