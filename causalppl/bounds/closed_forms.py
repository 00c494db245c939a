"""Bounds that have a formula: Balke and Pearl's for a binary instrument, Tian and Pearl's causes.

They are special cases of `Canonical`, for tables at hand and as checks of it.
"""

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from causalppl.bounds.violation import Violation
from causalppl.exceptions import AssumptionError, DataError, ImpossibleEvidenceError

__all__ = [
    "balke_pearl_ate_bounds",
    "balke_pearl_do_bounds",
    "instrumental_inequality",
    "tian_pearl_bounds",
]

Array: TypeAlias = NDArray[np.float64]
_ROUNDING = 1e-9


def balke_pearl_ate_bounds(given_instrument: Any) -> tuple[float, float]:
    """Bound the average effect of a binary treatment by a binary instrument.

    Args:
        given_instrument: ``P(X=x, Y=y | Z=z)`` at ``[z, x, y]``, shape ``(2, 2, 2)``.

    Returns:
        The sharp lower and upper bound of ``E[Y_{X=1}] - E[Y_{X=0}]``.

    Raises:
        DataError: The table is not a law at each value of the instrument.
        AssumptionError: It violates the instrumental inequality.

    References:
        Balke and Pearl (1997), Bounds on treatment effects from studies with imperfect
        compliance; Pearl (2009), Causality, equation 8.14.

    Example:
        >>> table = [[[0.55, 0.45], [0.0, 0.0]], [[0.1, 0.1], [0.1, 0.7]]]
        >>> [round(end, 3) for end in balke_pearl_ate_bounds(table)]
        [0.25, 0.45]
    """
    p = _instrument_table(given_instrument, (2, 2, 2))
    p00, p01, p10, p11 = p[:, 0, 0], p[:, 1, 0], p[:, 0, 1], p[:, 1, 1]  # p_{yx.z}, as in Pearl
    lower = max(
        p11[1] + p00[0] - 1,
        p11[0] + p00[1] - 1,
        p11[0] - p11[1] - p10[1] - p01[0] - p10[0],
        p11[1] - p11[0] - p10[0] - p01[1] - p10[1],
        -p01[1] - p10[1],
        -p01[0] - p10[0],
        p00[1] - p01[1] - p10[1] - p01[0] - p00[0],
        p00[0] - p01[0] - p10[0] - p01[1] - p00[1],
    )
    upper = min(
        1 - p01[1] - p10[0],
        1 - p01[0] - p10[1],
        -p01[0] + p01[1] + p00[1] + p11[0] + p00[0],
        -p01[1] + p11[1] + p00[1] + p01[0] + p00[0],
        p11[1] + p00[1],
        p11[0] + p00[0],
        -p10[1] + p11[1] + p00[1] + p11[0] + p10[0],
        -p10[0] + p11[0] + p00[0] + p11[1] + p10[1],
    )
    return float(lower), float(upper)


def balke_pearl_do_bounds(given_instrument: Any, treatment: int) -> tuple[float, float]:
    """Bound ``P(Y=1 | do(X=x))`` by a binary instrument.

    Args:
        given_instrument: ``P(X=x, Y=y | Z=z)`` at ``[z, x, y]``, shape ``(2, 2, 2)``.
        treatment: 0 or 1, what X is set to.

    Returns:
        The sharp lower and upper bound.

    Raises:
        DataError: The table is not a law at each value of the instrument.
        AssumptionError: It violates the instrumental inequality.

    References:
        Balke and Pearl (1997); Pearl (2009), section 8.2.

    Example:
        >>> table = [[[0.55, 0.45], [0.0, 0.0]], [[0.1, 0.1], [0.1, 0.7]]]
        >>> [round(end, 3) for end in balke_pearl_do_bounds(table, 1)]
        [0.7, 0.9]
    """
    p = _instrument_table(given_instrument, (2, 2, 2))
    if treatment == 0:
        p = p[:, ::-1]  # the treatment's names are exchanged
    p00, p01, p10, p11 = p[:, 0, 0], p[:, 1, 0], p[:, 0, 1], p[:, 1, 1]
    lower = max(
        p11[0],
        p11[1],
        -p00[0] - p01[0] + p00[1] + p11[1],
        -p01[0] - p10[0] + p10[1] + p11[1],
    )
    upper = min(
        1 - p01[1],
        1 - p01[0],
        p00[0] + p11[0] + p10[1] + p11[1],
        p10[0] + p11[0] + p00[1] + p11[1],
    )
    return float(lower), float(upper)


def instrumental_inequality(given_instrument: Any) -> float:
    """Measure how a table stands to the instrumental inequality: at most 1 for an instrument.

    Args:
        given_instrument: ``P(X=x, Y=y | Z=z)`` at ``[z, x, y]``, of any numbers of states.

    Returns:
        ``max_x sum_y max_z P(x, y | z)``; above 1, Z is no instrument.

    Raises:
        DataError: The table is not a law at each value of the instrument.

    References:
        Pearl (1995), On the testability of causal models with latent and instrumental variables.

    Example:
        >>> round(instrumental_inequality([[[0.8, 0.0], [0.1, 0.1]], [[0.0, 0.7], [0.2, 0.1]]]), 3)
        1.5
    """
    table = _law_table(given_instrument)
    return float(table.max(0).sum(-1).max())


def tian_pearl_bounds(
    kind: Literal["PN", "PS", "PNS"],
    joint: Any | None = None,
    *,
    experiments: tuple[float, float] | None = None,
    exogenous: bool = False,
    monotone: bool = False,
) -> tuple[float, float]:
    """Bound the probability that a binary cause was necessary, sufficient, or both.

    Args:
        kind: ``"PN"``, ``"PS"`` or ``"PNS"``.
        joint: ``P(X=x, Y=y)`` at ``[x, y]``, shape ``(2, 2)``; PNS can do without.
        experiments: ``P(Y=1 | do(X=0))`` and ``P(Y=1 | do(X=1))``.
        exogenous: Nothing confounds X and Y, so that the experiments follow from ``joint``; both
            values of X must then occur.
        monotone: The cause prevents the effect in no unit.

    Returns:
        The sharp lower and upper bound; equal where the number is identified.

    Raises:
        DataError: A table is not a law, or neither ``joint`` nor ``experiments`` is given, or
            ``exogenous`` is set and a value of X never occurs.
        AssumptionError: The numbers contradict each other, or the effect is not monotone.
        ImpossibleEvidenceError: The units that are asked about do not exist.

    References:
        Tian and Pearl (2000), Probabilities of causation: bounds and identification.

    Example:
        >>> legal = [[0.491, 0.009], [0.499, 0.001]]  # a drug, X; deaths, Y
        >>> tian_pearl_bounds("PN", legal, exogenous=True)
        (0.0, 1.0)
        >>> low, high = tian_pearl_bounds("PN", [[0.486, 0.014], [0.499, 0.001]],
        ...                               experiments=(0.014, 0.016))
        >>> round(low, 3), round(high, 3)
        (1.0, 1.0)
    """
    if kind not in ("PN", "PS", "PNS"):
        raise DataError(f"the kind is {kind!r}; expected 'PN', 'PS' or 'PNS'")
    table = None if joint is None else _law_table(joint, axes=2)
    if exogenous and table is not None:
        experiments = _without_confounding(table, experiments)
    if table is None and (experiments is None or kind != "PNS"):
        raise DataError(f"{kind} was asked without a joint law of X and Y; give one")
    _check_consistent(table, experiments)
    both = _necessary_and_sufficient(table, experiments, monotone)
    if kind == "PNS":
        return both
    assert table is not None
    return _one_sided(kind, table, experiments, monotone)


def _without_confounding(
    table: Array, experiments: tuple[float, float] | None
) -> tuple[float, float]:
    """The experiments that follow from a joint law if nothing confounds it."""
    shares = table.sum(1)
    if not (shares > 0).all():
        raise DataError(
            f"P(X={int(shares.argmin())}) is 0, so the joint law does not say what that value of X "
            "does, confounded or not; give experiments, without exogenous"
        )
    implied = float(table[0, 1] / shares[0]), float(table[1, 1] / shares[1])
    if experiments is not None and not np.allclose(experiments, implied, atol=1e-6):
        raise AssumptionError(
            f"the experiments are {tuple(map(float, experiments))}; with exogenous they follow "
            f"from the joint law as {implied[0]:.4g} and {implied[1]:.4g}; drop one of both"
        )
    return implied


def _necessary_and_sufficient(
    table: Array | None, experiments: tuple[float, float] | None, monotone: bool
) -> tuple[float, float]:
    lower, upper = [0.0], [1.0]
    if table is not None:
        upper.append(table[1, 1] + table[0, 0])
    if experiments is not None:
        without, treated = experiments
        lower.append(treated - without)
        upper += [treated, 1 - without]
        if table is not None:
            present = table[:, 1].sum()
            lower += [present - without, treated - present]
            upper.append(treated - without + table[1, 0] + table[0, 1])
        if monotone:
            upper.append(treated - without)
    return _checked(max(lower), min(upper))


def _one_sided(
    kind: str, table: Array, experiments: tuple[float, float] | None, monotone: bool
) -> tuple[float, float]:
    units = table[1, 1] if kind == "PN" else table[0, 0]
    if units <= 0:
        raise ImpossibleEvidenceError(f"{kind} is about units that have probability zero")
    if experiments is None:
        return 0.0, 1.0
    without, treated = experiments
    present = table[:, 1].sum()
    if kind == "PN":
        ends = (present - without, 1 - without - table[0, 0])
    else:
        ends = (treated - present, treated - table[1, 1])
    high = ends[0] if monotone else ends[1]
    return _checked(max(0.0, ends[0] / units), min(1.0, high / units))


def _check_consistent(table: Array | None, experiments: tuple[float, float] | None) -> None:
    if experiments is None:
        return
    for x, chance in enumerate(experiments):
        low, high = (0.0, 1.0) if table is None else (table[x, 1], 1 - table[x, 0])
        if not low - _ROUNDING <= chance <= high + _ROUNDING:
            raise AssumptionError(
                f"P(Y=1 | do(X={x})) is {chance:.4g}; with the joint law it is between {low:.4g} "
                f"and {high:.4g}; check that both are of one population"
            )


def _checked(low: float, high: float) -> tuple[float, float]:
    if low > high + _ROUNDING:
        raise AssumptionError(
            f"the bounds cross, {low:.4g} above {high:.4g}: the effect is not monotone; drop that"
        )
    return float(low), float(max(low, high))


def _instrument_table(given: Any, shape: tuple[int, ...]) -> Array:
    table = _law_table(given)
    if table.shape != shape:
        raise DataError(f"the table has shape {table.shape}; expected {shape}: [z, x, y]")
    if (value := instrumental_inequality(table)) > 1 + _ROUNDING:
        raise AssumptionError(
            f"max_x sum_y max_z P(x, y | z) is {value:.4g}; for an instrument it is at most 1; "
            "Z has another way to Y than through X, or shares causes with it",
            witness=_instrumental_violation(table),
        )
    return table


def _instrumental_violation(table: Array) -> Violation:
    x = int(table.max(0).sum(1).argmax())
    cells = [(int(table[:, x, y].argmax()), y) for y in range(table.shape[2])]
    return Violation(
        tuple((f"P(X={x}, Y={y} | Z={z})", 1.0) for z, y in cells),
        float(sum(table[z, x, y] for z, y in cells)),
        1.0,
    )


def _law_table(given: Any, axes: int = 3) -> Array:
    table = np.asarray(given, dtype=float)
    total = table.sum((-2, -1)) if table.ndim == axes else np.array(np.nan)
    if not (np.abs(total - 1) < 1e-6).all() or (table < 0).any():
        raise DataError(
            f"a table of shape {table.shape} was given; expected {axes} axes and probabilities "
            "that sum to 1" + (" at each value of the instrument" if axes == 3 else "")
        )
    return table
