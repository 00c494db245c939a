"""Errors and warnings of the package.

::

    CausalPPLError
    ├── GraphError             (ValueError)  a diagram is malformed or lacks a node
    ├── QueryError             (ValueError)  a query cannot be parsed or asks for what is not there
    ├── ProgramError           (ValueError)  a Pyro program cannot be read as a causal model
    ├── DataError              (ValueError)  a table or an evidence value cannot be used
    ├── NotIdentifiableError                 there is no formula; carries the query and the hedge
    │   └── NotTransportableError            likewise, across populations
    ├── ImpossibleEvidenceError              the evidence has probability zero under the program
    ├── AssumptionError                      a method's stated assumption does not hold
    ├── FitError                             an optimiser or a sampler failed
    └── MissingExtraError      (ImportError) an optional package is needed and not installed

    CausalPPLWarning (UserWarning)
    ├── OverlapWarning                       some units have almost no chance of one treatment
    ├── ConvergenceWarning                   an approximate answer may not have converged
    └── HeuristicWarning                     an answer rests on a rule of thumb

Every message says what was found, what was expected and what to do.
"""

from typing import Any


class CausalPPLError(Exception):
    """Base class of all errors raised by the package."""


class GraphError(CausalPPLError, ValueError):
    """A diagram is malformed, or a node that was named is not in it."""


class QueryError(CausalPPLError, ValueError):
    """A query cannot be parsed, or asks for something that is not there."""


class ProgramError(CausalPPLError, ValueError):
    """A Pyro program cannot be read as a structural causal model."""


class DataError(CausalPPLError, ValueError):
    """A table, an evidence value or an intervention value cannot be used."""


class NotIdentifiableError(CausalPPLError):
    """A query has no formula in the data at hand.

    Attributes:
        query: The query that was asked.
        hedge: The witness; None when the error was raised without one.
    """

    def __init__(self, message: str, *, query: Any = None, hedge: Any = None) -> None:
        super().__init__(message)
        self.query = query
        self.hedge = hedge


class NotTransportableError(NotIdentifiableError):
    """A query cannot be carried over from the source populations."""


class ImpossibleEvidenceError(CausalPPLError):
    """The evidence has probability (or density) zero under the program."""


class AssumptionError(CausalPPLError):
    """An assumption that a method states does not hold for its input.

    Attributes:
        witness: What in the input contradicts it; None when the error was raised without one.
    """

    def __init__(self, message: str, *, witness: Any = None) -> None:
        super().__init__(message)
        self.witness = witness


class FitError(CausalPPLError):
    """An optimiser or a sampler did not produce a usable result."""


class MissingExtraError(CausalPPLError, ImportError):
    """An optional package is needed and not installed; the message names the extra."""


class CausalPPLWarning(UserWarning):
    """Base class of all warnings raised by the package."""


class OverlapWarning(CausalPPLWarning):
    """Some units have almost no chance of one of the treatments."""


class ConvergenceWarning(CausalPPLWarning):
    """An approximate answer may not have converged."""


class HeuristicWarning(CausalPPLWarning):
    """An answer rests on a rule of thumb rather than on a guarantee."""
