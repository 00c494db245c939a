"""A decision between two actions, and what it rests on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any, TypeAlias

import numpy as np

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.tipping import TippingPoint
from causalppl.exceptions import DataError, QueryError
from causalppl.queries import Contrast, Query
from causalppl.queries.open_values import label_open_values

__all__ = ["ABSTAIN", "Certificate", "Layer"]

Ends: TypeAlias = tuple[float, float]
ABSTAIN = "abstain"
_DIFFERENCES = ("ATE", "TE", "CATE", "ETT", "ATT", "ATC", "CDE")  # of means under two actions
_WORDS = ("added effect", "contribution")  # likewise, of answers to what is no `Query`


@dataclass(frozen=True)
class Layer:
    """One way to allow for confounding, and the interval of the contrast under it.

    Attributes:
        name: What it is.
        estimate: The contrast, if there is no confounding beyond what is adjusted for.
        bounds: Where it can lie with the stated confounding, before sampling error.
        interval: With sampling error.

    Example:
        >>> Layer("odds ratio 2", 0.3, (0.1, 0.5), (0.05, 0.55)).bounds
        (0.1, 0.5)
    """

    name: str
    estimate: float
    bounds: Ends
    interval: Ends


@dataclass(frozen=True)
class Certificate:
    """Which of two actions is better, if the data say so.

    The decision follows from the interval and from nothing else: an action is preferred where the
    whole interval of the contrast is on its side of 0, and otherwise the certificate abstains.

    Attributes:
        decision: ``"prefer action ..."`` or ``"abstain"``.
        actions: The two actions; the contrast is the first less the second, and more is better.
        estimate: The contrast without hidden confounding; None where it is only bounded.
        interval: Where the contrast lies, with the stated confounding and with sampling error.
        assumptions: What this rests on, one sentence each.
        level: How often, at most, an action is preferred that is not better, if neither is: each
            end of the interval is missed with probability ``level / 2``, so that this is the
            one-sided level at which a given action is wrongly preferred.
        sampling_error: The standard error of the ends; 0 for an exact law.
        tipping_point: The odds ratio of hidden confounding from which on the certificate would
            abstain; None where confounding was not stated as one.
        layers: The intervals under each way to allow for confounding, where there are several
            their hull is the interval.
        notes: What the reader should know.
        diagnostics: Numbers about the computation.
        is_sampled: Whether it rests on rows, rather than on an exact law.

    Raises:
        DataError: The decision contradicts the interval, or ends are not finite or crossed.

    Example:
        >>> found = Certificate.from_bounds(Bounds("ATE(X -> Y)", "hand", 0.1, 0.4))
        >>> found.decision, found.interval
        ('prefer action 1', (0.1, 0.4))
    """

    decision: str
    actions: tuple[Any, Any]
    estimate: float | None
    interval: Ends
    assumptions: tuple[str, ...]
    level: float = 0.05
    sampling_error: float = 0.0
    tipping_point: TippingPoint | None = None
    layers: tuple[Layer, ...] = ()
    notes: tuple[str, ...] = ()
    diagnostics: Mapping[str, Any] = field(default_factory=dict)
    is_sampled: bool = False

    def __post_init__(self) -> None:
        low, high = self.interval
        if not (np.isfinite([low, high]).all() and low <= high):
            raise DataError(f"the interval is ({low}, {high}); expected finite ends in order")
        if self.decision != decided(self.interval, self.actions):
            raise DataError(
                f"the decision is {self.decision!r} and the interval ({low:.4g}, {high:.4g}); "
                f"expected {decided(self.interval, self.actions)!r}, which follows from it"
            )

    @classmethod
    def from_bounds(
        cls, bounds: Bounds, *, actions: tuple[Any, Any] | None = None, level: float = 0.05
    ) -> "Certificate":
        """Decide between two actions from bounds by any method.

        It abstains where the rows, and more than half of the laws resampled from them, fit no model
        on the diagram, see `Canonical`.

        Args:
            bounds: Of the mean outcome under one action less that under another, as of an ATE; or
                of the mean under each of two actions, along one axis.
            actions: What the two are called, the one that the contrast favours where it is
                positive first; None: as in the query, or as on the axis, the later value first.
                To be given where the query does not say that it is such a contrast.
            level: How often, at most, an action is preferred that is not better.

        Raises:
            DataError: The bounds are of several values other than two actions, or of a number
                that says nothing of two actions, such as a probability or a p-value; or rows were
                used and the method gave no sampling error.

        Example:
            >>> both = Bounds("E[Y_{X}]", "hand", [0.1, 0.5], [0.4, 0.9], {"X": ("a", "b")})
            >>> Certificate.from_bounds(both).decision
            'prefer action b'
        """
        check_level(level)
        if not bounds.axes:
            names = actions or _actions_of(bounds)
            low, high = (float(end) for end in bounds.interval(1 - level))
            ends = float(bounds.lower), float(bounds.upper)
        else:
            names, (low, high), ends = _from_two(bounds, actions, level)
        notes = bounds.notes
        if _is_misfit(bounds):
            low, high = min(low, 0.0), max(high, 0.0)
            notes += ("as the rows fit no model, the interval was widened until it holds 0",)
        estimate = ends[0] if ends[0] == ends[1] else None
        return cls(
            decided((low, high), names),
            names,
            estimate,
            (low, high),
            bounds.assumptions,
            level,
            _largest_error(bounds),
            notes=notes,
            layers=(Layer(bounds.method, sum(ends) / 2, ends, (low, high)),),
            diagnostics=bounds.diagnostics,
            is_sampled=bounds.num_rows > 0,
        )

    @property
    def is_certified(self) -> bool:
        """Whether an action is preferred."""
        return self.decision != ABSTAIN

    @property
    def summary(self) -> str:
        """What was decided and why, in plain words."""
        low, high = self.interval
        first, second = self.actions
        found = (
            f"{self.decision[0].upper()}{self.decision[1:]}: the mean outcome under {first} less "
            f"that under {second} lies between {low:.4g} and {high:.4g}"
        )
        if self.estimate is not None:
            found += f" (without hidden confounding it is {self.estimate:.4g})"
        found += (
            f"; sampling error is allowed for with {100 * self.level / 2:g} % at each end."
            if self.sampling_error
            else "."
        )
        if not self.sampling_error and self.is_sampled:
            found += " No sampling error could be told from these rows, so the ends may be off."
        if not self.is_certified:
            found += " The interval holds 0, so neither action is shown to be better."
        if self.tipping_point is not None and self.is_certified:
            ratio = self.tipping_point.odds_ratio
            found += (
                f" From hidden confounding of odds ratio {ratio:.3g} on, it would abstain."
                if np.isfinite(ratio)
                else " No hidden confounding that was looked at would make it abstain."
            )
        rests = f" It rests on: {'; '.join(self.assumptions)}." if self.assumptions else ""
        notes = "".join(f" {note[:1].upper()}{note[1:].rstrip('.')}." for note in self.notes)
        return f"{found}{rests}{notes}"

    def interpret(self) -> str:
        """Say in plain words what was decided, why, and on what it rests."""
        return self.summary

    def plot(self, ax: Any = None) -> Any:
        """Draw the interval, and those of each layer, against 0; returns the axes.

        Args:
            ax: Axes to draw on; None: those of a new figure.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        from causalppl.bounds.certificate_plot import draw_certificate

        return draw_certificate(self, ax)

    def __repr__(self) -> str:
        low, high = self.interval
        return f"Certificate({self.decision}; contrast in [{low:.4g}, {high:.4g}])"

    def _repr_html_(self) -> str:
        return f"<p>{escape(self.summary)}</p>"


def decided(interval: Ends, actions: tuple[Any, Any]) -> str:
    """The decision that an interval of the contrast allows.

    Example:
        >>> decided((-0.2, -0.1), (1, 0)), decided((0.0, 0.3), (1, 0))
        ('prefer action 0', 'abstain')
    """
    low, high = interval
    if low > 0:
        return f"prefer action {actions[0]}"
    return f"prefer action {actions[1]}" if high < 0 else ABSTAIN


def check_level(level: Any) -> None:
    """Refuse a level that is no small probability."""
    is_number = isinstance(level, int | float | np.number) and not isinstance(level, bool)
    if not is_number or not 0 < level < 0.5:
        raise DataError(f"level is {level!r}; expected a number above 0 and below 0.5, as 0.05")


def _actions_of(bounds: Bounds) -> tuple[Any, Any]:
    """The two actions of a query whose value is the mean under one less that under the other."""
    query = bounds.query
    if isinstance(query, Contrast) and query.kind in _DIFFERENCES:
        return query.treated, query.control
    if isinstance(query, str) and query.split("(")[0] in (*_DIFFERENCES, *_WORDS):
        return _read_actions(query)
    raise DataError(
        f"the bounds are of {query}; expected the mean outcome under one action less that under "
        "another, such as an ATE; give actions=(first, second) if it is such a difference"
    )


def _read_actions(text: str) -> tuple[Any, Any]:
    """The actions that a contrast in words names; the arms 1 and 0 if it names none."""
    try:
        query = Contrast.parse(text)
    except QueryError:
        return 1, 0
    return query.treated, query.control


def _from_two(
    bounds: Bounds, actions: tuple[Any, Any] | None, level: float
) -> tuple[tuple[Any, Any], Ends, Ends]:
    """The contrast of two means that are bounded each by itself."""
    ((label, states), *others) = bounds.axes.items()
    if others or len(states) != 2:
        raise DataError(
            f"the bounds have the axes {dict(bounds.axes)}; expected one value, or one axis with "
            f"two actions: use at(), for example at({label}=...)"
        )
    if actions is None and not _is_set(bounds.query, label):
        raise DataError(
            f"the axis {label} of {bounds.query} holds no actions; expected a variable that is "
            "set, as X in E[Y_{X}]; give actions=(later value, earlier value) if these are actions"
        )
    # four ends, each missed with probability level / 4
    low, high = bounds.interval(1 - level / 2)
    contrast = float(low[1] - high[0]), float(high[1] - low[0])
    ends = (
        float(bounds.lower[1] - bounds.upper[0]),
        float(bounds.upper[1] - bounds.lower[0]),
    )
    return actions or (states[1], states[0]), contrast, ends


def _is_set(query: Query | Contrast | str, label: str) -> bool:
    """Whether an axis is that of a variable that is set, and what is asked is a mean."""
    if isinstance(query, str):
        try:
            query = Query.parse(query)
        except QueryError:
            return False
    if not isinstance(query, Query):
        return False
    openings = label_open_values([query])
    has_mean = query.kind == "E" or all(e.value is not None for e in query.outcomes)
    return has_mean and any(isinstance(w, str) and name == label for w, name in openings.items())


def _is_misfit(bounds: Bounds) -> bool:
    """Whether the rows and most laws resampled from them fit no model on the diagram."""
    moved = bounds.diagnostics.get("moved", ())
    count = 0 if bounds.draws is None else len(bounds.draws)
    return 0 in moved and len(moved) - 1 > count / 2


def _largest_error(bounds: Bounds) -> float:
    if bounds.draws is not None:
        return float(bounds.draws.std(axis=0).max())
    return 0.0 if bounds.error is None else float(np.max(bounds.error))
