"""The one-step correction of nested expectations: residuals, weighted by density ratios.

Each regression in a nest is linear in what the next one averages, so the whole has for each a
weight ``alpha`` of its residuals: the density, in the world of the formula, of what is given, over
the observed one. The weights are found from the outermost regression inwards, each as the function
that gives the same average as the rest of the nest (a Riesz representer); no density is estimated.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.estimation.nested_fit import Columns, Fit, Learners
from causalppl.estimation.nested_formula import Expectation, Formula, Leaf, Linear
from causalppl.identification.expression import Symbol

__all__ = ["Link", "contributions", "find_chains"]

Array: TypeAlias = NDArray[np.float64]

_MOST_CROSSED = 12  # features whose squares and products are taken
_PENALTY = 1.0  # on squared coefficients of standardised terms, in rows


@dataclass(frozen=True, eq=False)
class Link:
    """One regression in a nest, and the one that averages it; the outermost has none."""

    step: Expectation
    above: "Link | None" = None


def find_chains(formula: Formula, few: frozenset[str]) -> list[tuple[float, list[Link]]] | None:
    """List the nests of a formula with their weights, each from the outside in.

    Args:
        formula: A formula without open values.
        few: The variables with few values.

    Returns:
        None where the formula is no weighted sum of plain nests.

    Example:
        >>> from causalppl.estimation.nested_formula import compile_formula
        >>> from causalppl.graphs import back_door
        >>> from causalppl.identification import identify
        >>> formula = compile_formula(identify(back_door(), "ATE(X -> Y)").body, frozenset("X"))
        >>> [(weight, len(links)) for weight, links in find_chains(formula, frozenset("X"))]
        [(1.0, 2), (-1.0, 2)]
    """
    parts = (
        list(zip(formula.weights, formula.parts, strict=True))
        if isinstance(formula, Linear)
        else [(1.0, formula)]
    )
    found = []
    for weight, part in parts:
        if not isinstance(part, Expectation) or not _is_plain(part, few):
            return None
        found.append((weight, _links(Link(part))))
    return found


def _is_plain(step: Expectation, few: frozenset[str]) -> bool:
    if step.parameters or any(
        s.value is not None and s.variable not in few for s in step.law.given
    ):
        return False
    inner = [part for part in step.payload if not isinstance(part, Leaf)]
    return all(isinstance(part, Expectation) and _is_plain(part, few) for part in inner)


def _links(top: Link) -> list[Link]:
    inner = [part for part in top.step.payload if isinstance(part, Expectation)]
    return [top, *(link for part in inner for link in _links(Link(part, top)))]


def contributions(
    chains: list[tuple[float, list[Link]]], train: Columns, test: Columns, learners: Learners
) -> tuple[Array, Array]:
    """Estimate the corrected contribution of each row of ``test`` by models of ``train``.

    Args:
        chains: From `find_chains`.
        train: The rows on which regressions and weights are fitted.
        test: The rows that are averaged.
        learners: The learners of the regressions.

    Returns:
        The contributions, shape ``(rows,)``, and for each regression the weights of its residuals,
        shape ``(regressions, rows)``.

    References:
        Tchetgen Tchetgen and Shpitser (2012), Semiparametric theory for causal mediation analysis;
        Chernozhukov, Newey, Singh and Syrgkanis (2022), Automatic debiased machine learning for
        dynamic treatment effects.

    Example:
        >>> from causalppl.data import Table
        >>> from causalppl.estimation.nested_formula import compile_formula
        >>> from causalppl.identification import identify
        >>> from causalppl import ADMG
        >>> estimand = identify(ADMG.parse("X -> Y"), "E[Y | do(X=1)]")
        >>> rows = Columns.read(Table.from_any({"X": [0, 1] * 20, "Y": [1, 4] * 20}), ("X", "Y"))
        >>> chains = find_chains(compile_formula(estimand.body, frozenset("XY")), frozenset("XY"))
        >>> each, weights = contributions(chains, rows, rows, Learners(None, None, 0))
        >>> round(float(each.mean()), 6), weights[0, :2].round(6).tolist()
        (4.0, [0.0, 2.0])
    """
    fit = Fit(train, learners)
    total, weights = np.zeros(test.num_rows), []
    for weight, links in chains:
        total += weight * fit.value(links[0].step, {}, 1)[0]
        representers = _representers(fit, links)
        for link in links:
            alpha = representers[link](test)
            weights.append(alpha)
            values = _observed(link.step, test)
            target = _target(fit, link.step, test)
            mean = fit.value(link.step, values, test.num_rows)
            total += weight * alpha * (target - mean)
    return total, np.stack(weights)


@dataclass(frozen=True, eq=False)
class _Representer:
    """The weight of residuals of a regression, as a function of what is given."""

    basis: "_Basis"
    slopes: Array

    def __call__(self, columns: Columns) -> Array:
        step = self.basis.step
        own = self.basis.at(columns, _observed(step, columns), columns.num_rows)
        return np.asarray((own @ self.slopes) * columns.inside(step.law))


@dataclass(frozen=True, eq=False)
class _Basis:
    """Squares and products of what is given to a regression, standardised, and 1."""

    step: Expectation
    centre: Array
    scale: Array

    @classmethod
    def of(cls, step: Expectation, columns: Columns) -> "_Basis":
        raw = _crossed(columns, step, _observed(step, columns), columns.num_rows)
        raw = raw[columns.inside(step.law)]
        spread = raw.std(axis=0)
        return cls(step, raw.mean(axis=0), np.where(spread > 1e-9, spread, 1.0))

    def at(self, columns: Columns, values: dict[Symbol, Array], count: int) -> Array:
        raw = _crossed(columns, self.step, values, count)
        return np.column_stack([np.ones(count), (raw - self.centre) / self.scale])


def _crossed(columns: Columns, step: Expectation, values: dict[Symbol, Array], count: int) -> Array:
    features = columns.features(values, tuple(s for s in step.law.given if s.value is None), count)
    if features.shape[1] > _MOST_CROSSED:
        return features
    first, second = np.triu_indices(features.shape[1])
    return np.column_stack([features, features[:, first] * features[:, second]])


def _representers(fit: Fit, links: list[Link]) -> dict[Link, _Representer]:
    """Find the weights from the outside in."""
    columns, rows = fit.columns, fit.columns.num_rows
    found: dict[Link, _Representer] = {}
    for link in links:
        basis = _Basis.of(link.step, columns)
        own = basis.at(columns, _observed(link.step, columns), rows)
        own = own * columns.inside(link.step.law)[:, None]
        bend = own.T @ own + _PENALTY * np.diag([0.0] + [1.0] * (own.shape[1] - 1))
        if link.above is None:
            moment = rows * basis.at(columns, {}, 1)[0]
        else:
            above = link.above.step
            values = _observed(above, columns)
            factor = found[link.above](columns) * _target(fit, above, columns, without=link.step)
            moment = basis.at(columns, values, rows).T @ factor
        found[link] = _Representer(basis, np.linalg.solve(bend, moment))
    return found


def _observed(step: Expectation, columns: Columns) -> dict[Symbol, Array]:
    return {s: columns.values[s.variable] for s in (*step.averaged, *step.given)}


def _target(
    fit: Fit, step: Expectation, columns: Columns, without: Expectation | None = None
) -> Array:
    """What a regression averages, on other rows; one factor can be left out."""
    kept = tuple(part for part in step.payload if part is not without)
    own = {s: columns.values[s.variable] for s in step.law.outcomes}
    reduced = Expectation(step.law, step.averaged, kept)
    return fit.target(reduced, _observed(step, columns), own, columns.num_rows)
