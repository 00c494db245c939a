"""What a worked example consists of."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from causalppl.programs.scm import SCM

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Example:
    """A model, a question, and its known answer.

    Attributes:
        scm: The model.
        query: The question.
        answer: The answer.
        source: Where the answer comes from.
        data: Data for `fit`; None where the program has no parameters.

    Example:
        >>> from causalppl.examples import smoking_cessation
        >>> smoking_cessation().answer
        3.5
    """

    scm: SCM
    query: str
    answer: float
    source: str
    data: "pd.DataFrame | None" = None
