"""Candidates for the effect given covariates, and the choice among them by R-loss."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from causalppl.estimation.effect_sample import Effect, EffectSample, Rows
from causalppl.estimation.estimate import Array
from causalppl.estimation.outcome_surfaces import MANY, EffectProcess, find_bases

__all__ = ["EffectChoice"]

HALVES = 20


@dataclass(frozen=True, eq=False)
class EffectChoice:
    """The candidate that was chosen, how it is fitted to rows, and its cross-fitted effects."""

    sample: EffectSample
    learner: Any
    name: str
    fit: Callable[[Rows], Effect]
    losses: Mapping[str, float]
    out_of_fold: Array

    @classmethod
    def made(cls, sample: EffectSample, learner: Any) -> "EffectChoice":
        """Cross-fit all candidates and take the best."""
        found = {name: g[:, 1] - g[:, 0] for name, (_, g) in sample.surfaces.items()}
        fits: dict[str, Callable[[Rows], Effect]] = {
            name: partial(_refit, sample, surface) for name, (surface, _) in sample.surfaces.items()
        }
        for name, fit in _second_stages(sample, learner).items():
            fits[name], found[name] = fit, np.zeros(len(sample.y))
            for train, test in sample.folds:
                effect = fit(np.flatnonzero(train & (sample.arm >= 0)))
                found[name][test] = effect(sample.matrix[test])
        rows = {name: sample.losses(effects) for name, effects in found.items()}
        losses = {name: float(loss.mean()) for name, loss in rows.items()}
        best = min(losses, key=lambda name: losses[name])
        gain = rows["constant"] - rows[best]
        if gain.mean() <= gain.std() / math.sqrt(len(gain)):
            best = "constant"
        return cls(sample, learner, best, fits[best], losses, found[best])

    def fitted(self, units: Array, rng: np.random.Generator) -> tuple[Effect, Array, str]:
        """The effect, its errors for units, and what kind of errors these are."""
        arm = self.sample.arm
        effect = self.fit(np.flatnonzero(arm >= 0))
        surface = self.sample.surfaces.get(self.name, (None,))[0]
        if isinstance(surface, EffectProcess):
            return effect, surface.spread(units), "standard deviations of the posterior"
        if self.name == "constant":
            outcome, treatment = self.sample.residuals
            moved = treatment * (outcome - treatment * self.out_of_fold)
            error = float(np.sqrt((moved**2).sum()) / (treatment**2).sum())
            return effect, np.full(len(units), error), "of one effect for all"
        squares, full = np.zeros(len(units)), effect(units)
        repeats = HALVES if len(arm) <= MANY else HALVES // 2
        for _ in range(repeats):
            order = rng.permutation(len(arm))
            halves = [order[arm[order] == a][: math.ceil((arm == a).sum() / 2)] for a in (0, 1)]
            half = np.sort(np.concatenate(halves))
            squares += (self._on_half(half)(units) - full) ** 2 / repeats
        kind = f"from {repeats} half samples (the spread of the learner, not its bias)"
        return self.fit(np.flatnonzero(arm >= 0)), np.sqrt(squares), kind

    def _on_half(self, half: Rows) -> Effect:
        """The effect from half of the rows, with the outcome models that it starts from."""
        if self.name in self.sample.surfaces:
            return self.fit(half)
        return _second_stages(self.sample.guessed_from(half), self.learner)[self.name](half)


def _refit(sample: EffectSample, surface: Any, rows: Rows) -> Effect:
    fitted = surface.fit(sample.matrix[rows], sample.arm[rows], sample.y[rows])
    return lambda matrix: np.diff(fitted.predict(matrix), axis=1)[:, 0]


def _second_stages(sample: EffectSample, learner: Any) -> dict[str, Callable[[Rows], Effect]]:
    """Learners of effects that start from cross-fitted guesses of the outcomes."""
    from sklearn.base import clone

    outcome, treatment = sample.residuals
    arm, matrix, guesses = sample.arm, sample.matrix, sample.guesses
    imputed = np.where(arm == 1, sample.y - guesses[:, 0], guesses[:, 1] - sample.y)

    def constant(rows: Rows) -> Effect:
        value = (outcome[rows] @ treatment[rows]) / (treatment[rows] ** 2).sum()
        return lambda matrix: np.full(len(matrix), value)

    def x_learner(base: Any, rows: Rows) -> Effect:
        share = float((arm[rows] == 1).mean())
        parts = [rows[arm[rows] == a] for a in (0, 1)]
        own = [clone(base).fit(matrix[part], imputed[part]) for part in parts]
        return lambda matrix: share * own[0].predict(matrix) + (1 - share) * own[1].predict(matrix)

    def dr_learner(base: Any, rows: Rows) -> Effect:
        predict: Effect = clone(base).fit(matrix[rows], sample.scores[rows]).predict
        return predict

    found: dict[str, Callable[[Rows], Effect]] = {"constant": constant}
    for name, base in find_bases(matrix, learner).items():
        found[f"X-learner, {name}"] = partial(x_learner, base)
        found[f"DR-learner, {name}"] = partial(dr_learner, base)
    return found
