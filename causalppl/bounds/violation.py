"""What in the data contradicts a diagram."""

from dataclasses import dataclass

__all__ = ["Violation"]


@dataclass(frozen=True)
class Violation:
    """A sum of probabilities that every model on a diagram limits, and that the data do not keep.

    It is the ``witness`` of an `AssumptionError` by `Canonical`.

    Attributes:
        weights: Each probability in words, and how often it is in the sum.
        value: What the sum is in the data.
        limit: What it is at most in every model.
        is_equality: Whether it is the limit in every model.

    Example:
        >>> print(Violation((("P(X=0, Y=0 | Z=0)", 1.0), ("P(X=0, Y=1 | Z=1)", 1.0)), 1.5, 1.0))
        P(X=0, Y=0 | Z=0) + P(X=0, Y=1 | Z=1) <= 1, and in the data this is 1.5
    """

    weights: tuple[tuple[str, float], ...]
    value: float
    limit: float
    is_equality: bool = False

    def __str__(self) -> str:
        text = ""
        for name, weight in self.weights:
            sign = " - " if weight < 0 else " + "
            size = "" if abs(abs(weight) - 1) < 1e-7 else f"{abs(weight):.3g} "
            text += f"{sign if text else sign.strip(' +')}{size}{name}"
        relation = "=" if self.is_equality else "<="
        return f"{text} {relation} {self.limit:.4g}, and in the data this is {self.value:.4g}"
