"""The exact joint law of what is seen and observed, for every arm, as a list of cells."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from pyro.poutine.messenger import Messenger
from torch import Tensor

from causalppl.envs.arms import Arms, Settings
from causalppl.envs.running import run_units
from causalppl.envs.shown import Shown
from causalppl.estimation.program_law import why_infinite
from causalppl.exceptions import AssumptionError, ProgramError
from causalppl.programs import SCM
from causalppl.programs.do import NATURAL

__all__ = ["Cells", "count_cells", "enumerate_cells", "fits_table", "number_rows"]

MOST_CELLS = 2**22
_CELLS_AT_ONCE = 2**17

Column: TypeAlias = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Cells:
    """The values that units can have, under each arm, given what is seen before acting.

    Cells of one pair of view and arm stand together; pairs are numbered ``view * arms + arm``.

    Attributes:
        views: Key to the values seen, shape ``(views,)`` each; empty where nothing is seen.
        view_weights: Probability of each view.
        values: Observed variable to its values, shape ``(cells,)`` each.
        pair: The pair that each cell belongs to, increasing.
        weights: Probability of each cell within its pair.
        num_arms: How many arms there are.
    """

    views: Mapping[str, Column]
    view_weights: NDArray[np.float64]
    values: Mapping[str, Column]
    pair: NDArray[np.int64]
    weights: NDArray[np.float64]
    num_arms: int

    def means(self, name: str) -> NDArray[np.float64]:
        """Compute the mean of a variable for each view and arm, shape ``(views, arms)``."""
        size = len(self.view_weights) * self.num_arms
        sums: Any = np.bincount(self.pair, self.weights * self.values[name], size)
        means: NDArray[np.float64] = sums.reshape(-1, self.num_arms)
        return means


def count_cells(scm: SCM, arms: Arms) -> int | None:
    """Count the combinations of an arm and values of all sample sites; None if infinite."""
    if not arms.is_finite or why_infinite(scm) is not None:
        return None
    return len(arms) * math.prod(len(values) for values in _supports(scm).values())


def fits_table(count: int | None, tabulate: bool | None) -> bool:
    """Whether units are drawn from a table of all combinations, or by running the program.

    Args:
        count: How many combinations there are; None: infinitely many.
        tabulate: What was asked for; None: a table if it is not too large.

    Raises:
        AssumptionError: A table was asked for, and there is none.
    """
    if tabulate and count is None:
        raise AssumptionError(
            "tabulate is True, but the program is not finite or an action has an open value; "
            "expected None or False"
        )
    return count is not None and (count <= MOST_CELLS if tabulate is None else tabulate)


def enumerate_cells(scm: SCM, arms: Arms, shown: Shown) -> Cells:
    """Run a finite program on all combinations of values, under each arm.

    Raises:
        ProgramError: There are more than 4 million combinations.
    """
    supports = _supports(scm)
    sizes = [len(arms), *(len(values) for values in supports.values())]
    if math.prod(sizes) > MOST_CELLS:
        raise ProgramError(
            f"{len(arms)} arms and the sites {', '.join(supports)} have {math.prod(sizes):,} "
            f"combinations; expected at most {MOST_CELLS:,}; set tabulate=False"
        )
    settings = arms.fixed(arms.arms)
    names = [*shown.keys, *scm.observed]
    parts = []
    for start in range(0, math.prod(sizes), _CELLS_AT_ONCE):
        flat = np.arange(start, min(start + _CELLS_AT_ONCE, math.prod(sizes)))
        parts.append(_run(scm, settings, supports, names, np.unravel_index(flat, sizes)))
    arm, weights, columns = (np.concatenate(p, -1) for p in zip(*parts, strict=True))
    kept = weights > 0
    named = {n: _plain(c) for n, c in zip(names, columns[:, kept], strict=True)}
    return _grouped(arm[kept], weights[kept], named, shown, scm.observed, len(arms))


def _run(
    scm: SCM,
    settings: Settings,
    supports: Mapping[str, Tensor],
    names: list[str],
    codes: tuple[NDArray[np.int64], ...],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Weigh some cells; arms, weights, and values of shape ``(names, cells)``."""
    arm, count = codes[0], len(codes[0])
    chosen = Settings(settings.names, settings.mask[arm], settings.values[arm])
    drawn = {n: torch.from_numpy(c) for n, c in zip(supports, codes[1:], strict=True)}
    weighing = _Weights(drawn, supports, settings.names)
    held = {name: supports[name][code] for name, code in drawn.items()}
    found = run_units(scm, count, chosen, held=held, keep_natural=True, weighing=weighing)
    values = [_of_units(found, name).to(torch.float64).numpy() for name in names]
    return arm, weighing.total.expand(count).numpy(), np.stack(values)


def _of_units(found: Mapping[str, Tensor], key: str) -> Tensor:
    """Take a value; what is never set is its own natural value."""
    return found[key] if key in found else found[key.removesuffix(NATURAL)]


def _grouped(
    arm: NDArray[np.int64],
    weights: NDArray[np.float64],
    columns: Mapping[str, Column],
    shown: Shown,
    observed: tuple[str, ...],
    num_arms: int,
) -> Cells:
    """Add up the weights of equal cells."""
    view, first_of_view = number_rows([columns[key] for key in shown.keys], len(arm))
    row, first_of_row = number_rows([columns[name] for name in observed], len(arm))
    pair = view * num_arms + arm
    keys, inverse = np.unique(pair * len(first_of_row) + row, return_inverse=True)
    totals = np.bincount(inverse, weights)
    pair, row = keys // len(first_of_row), keys % len(first_of_row)
    sums = np.bincount(pair, totals, len(first_of_view) * num_arms)
    seen = sums.reshape(-1, num_arms).mean(1)
    return Cells(
        views={key: columns[key][first_of_view] for key in shown.keys},
        view_weights=seen / seen.sum(),
        values={name: columns[name][first_of_row][row] for name in observed},
        pair=pair,
        weights=totals / sums[pair],
        num_arms=num_arms,
    )


def number_rows(columns: list[Column], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the distinct rows in the order of their values; also where each first stands."""
    code, first = np.zeros(count, dtype=np.int64), np.zeros(1, dtype=np.int64)
    for column in columns:
        levels, place = np.unique(column, return_inverse=True)
        _, first, code = np.unique(
            code * len(levels) + place, return_index=True, return_inverse=True
        )
    return code, first


def _plain(column: NDArray[np.float64]) -> Column:
    """Return integers where all values are."""
    is_whole = (column == np.round(column)) & (np.abs(column) < 2**53)
    return column.astype(np.int64) if bool(is_whole.all()) else column


def _supports(scm: SCM) -> dict[str, Tensor]:
    sites = scm.structure.sites
    return {
        name: scm.laws[name].enumerate_support(expand=False).reshape(-1)
        for name in scm.structure.unit_sites
        if sites[name].kind == "sample"
    }


class _Weights(Messenger):
    """Multiply the probabilities of the values that sites have by nature."""

    def __init__(
        self,
        codes: Mapping[str, Tensor],
        supports: Mapping[str, Tensor],
        settable: tuple[str, ...],
    ) -> None:
        super().__init__()
        self._sites = {
            name + NATURAL if name in settable else name: (codes[name], supports[name])
            for name in supports
        }
        self.total = torch.ones((), dtype=torch.float64)

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] not in self._sites:
            return
        code, support = self._sites[msg["name"]]
        raw = msg["fn"].log_prob(support.unsqueeze(-1)).expand(len(support), len(code))
        law = raw.to(torch.float64).softmax(0)
        # torch keeps probabilities of zero at the resolution of their type
        law = torch.where(law <= 2 * torch.finfo(raw.dtype).eps, 0.0, law)
        self.total = self.total * (law / law.sum(0)).gather(0, code.unsqueeze(0)).squeeze(0)
