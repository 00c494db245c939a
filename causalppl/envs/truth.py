"""Which oracle an environment has: a table or a function, exact or by draws."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from causalppl.envs.arms import Arms
from causalppl.envs.context_oracle import ContextOracle
from causalppl.envs.drawn_table import draw_table
from causalppl.envs.function_oracle import FunctionOracle, drawn_mean, known_mean
from causalppl.envs.oracle import Oracle, TableOracle
from causalppl.envs.shown import Shown
from causalppl.envs.streams import OneStream
from causalppl.envs.units import TabulatedUnits, UnitSource
from causalppl.exceptions import AssumptionError
from causalppl.programs import SCM

__all__ = ["Truth", "find_oracle"]

Truth: TypeAlias = Callable[[Mapping[str, Any]], Any]
"""From the variables that are set, and what is seen, to the mean outcome; shape ``(n,)`` each."""

_DRAWS_OF_AN_ARM = 20_000
_DRAWS_OF_A_TABLE = 200_000
_SEED = 0


def find_oracle(
    scm: SCM,
    arms: Arms,
    shown: Shown,
    units: UnitSource,
    outcome: str,
    sign: float,
    truth: Truth | None,
) -> Oracle:
    """Choose the oracle: by enumeration, by a function that is known, or by draws.

    Raises:
        AssumptionError: Something is seen before acting, and its means are not known: it is
            continuous and no truth was given, or some arms have open values.
    """
    if isinstance(units, TabulatedUnits):
        cells = units.cells
        return TableOracle(sign * cells.means(outcome), cells.views, cells.view_weights)
    if truth is None and arms.is_finite:
        return draw_table(scm, arms, shown, outcome, sign, num_draws=_DRAWS_OF_A_TABLE, seed=_SEED)
    if truth is not None and arms.is_finite and not shown.is_empty:
        chance = OneStream(np.random.default_rng(_SEED), _DRAWS_OF_A_TABLE)
        return ContextOracle(truth, arms, sign, units.begin(_DRAWS_OF_A_TABLE, chance)[1])
    if not shown.is_empty:
        raise AssumptionError(
            f"{', '.join(shown.keys)} is seen before acting, and some arms have open values; "
            "expected arms without open values, or nothing that is seen"
        )
    mean = known_mean(truth, arms) if truth else drawn_mean(scm, outcome, _DRAWS_OF_AN_ARM)
    if not arms.is_finite:
        return FunctionOracle(mean, arms, sign)
    return TableOracle(sign * mean(arms.fixed(arms.arms))[None], {}, np.ones(1))
