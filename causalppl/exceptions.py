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
    """Base class of all errors raised by the package.

    Example:
        >>> import causalppl as cp
        >>> from causalppl.exceptions import CausalPPLError
        >>> try:
        ...     cp.identify("X -> Y", "P(Y | do(Z))")
        ... except CausalPPLError as error:  # whatever kind of mistake it is
        ...     print(type(error).__name__)
        QueryError
    """


class GraphError(CausalPPLError, ValueError):
    """A diagram is malformed, or a node that was named is not in it.

    Example:
        >>> import causalppl as cp
        >>> cp.ADMG.parse("X -> Y -> X")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        causalppl.exceptions.GraphError: directed cycle X -> Y -> X found; ...
    """


class QueryError(CausalPPLError, ValueError):
    """A query cannot be parsed, or asks for something that is not there.

    Example:
        >>> import causalppl as cp
        >>> cp.parse_query("P(Y | do(X)")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        causalppl.exceptions.QueryError: found the end; expected ')'...
    """


class ProgramError(CausalPPLError, ValueError):
    """A Pyro program cannot be read as a structural causal model.

    Example:
        >>> import causalppl as cp, pyro, pyro.distributions as dist
        >>> def program():
        ...     x = pyro.sample("X", dist.Normal(0.0, 1.0))
        ...     pyro.sample("Y", dist.Normal(float(x), 1.0))  # a plain number has no causes
        >>> cp.SCM(program)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        causalppl.exceptions.ProgramError: ...the value of X goes through float(...)...
    """


class DataError(CausalPPLError, ValueError):
    """A table, an evidence value or an intervention value cannot be used.

    Example:
        >>> import causalppl as cp
        >>> cp.estimate(cp.identify("X -> Y", "E[Y | do(X=1)]"), {"X": [0, 1]})
        Traceback (most recent call last):
            ...
        causalppl.exceptions.DataError: there is no column 'Y'; the table has X
    """


class NotIdentifiableError(CausalPPLError):
    """A query has no formula in the data at hand.

    Attributes:
        query: The query that was asked.
        hedge: The witness; None when the error was raised without one.

    Example:
        >>> import causalppl as cp
        >>> from causalppl.exceptions import NotIdentifiableError
        >>> try:
        ...     cp.identify("X -> Y; X <-> Y", "P(Y | do(X))")
        ... except NotIdentifiableError as refusal:
        ...     print(refusal.hedge)
        in observation, {Y} cannot be told from {X, Y}, which latent causes hold together
    """

    def __init__(self, message: str, *, query: Any = None, hedge: Any = None) -> None:
        super().__init__(message)
        self.query = query
        self.hedge = hedge


class NotTransportableError(NotIdentifiableError):
    """A query cannot be carried over from the source populations.

    Example:
        >>> import causalppl as cp
        >>> trial = cp.Domain("trial", shifted={"Y"}, experiments=[{"X"}], observational=False)
        >>> cp.identify("X -> Y; X <-> Y", "P(Y | do(X))", domains=[trial])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        causalppl.exceptions.NotTransportableError: P(Y | do(X)) is not identifiable ...
    """


class ImpossibleEvidenceError(CausalPPLError):
    """The evidence has probability (or density) zero under the program.

    Example:
        >>> import causalppl as cp, pyro, pyro.distributions as dist
        >>> def program():
        ...     x = pyro.sample("X", dist.Bernoulli(0.5))
        ...     pyro.deterministic("Y", 2 * x)
        >>> cp.infer(program, "P(X | Y=1)")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        causalppl.exceptions.ImpossibleEvidenceError: the evidence Y = 1.0 of unit 0 ...
    """


class AssumptionError(CausalPPLError):
    """An assumption that a method states does not hold for its input.

    Attributes:
        witness: What in the input contradicts it; None when the error was raised without one.

    Example:
        >>> import causalppl as cp, pyro, pyro.distributions as dist
        >>> def program():
        ...     pyro.sample("X", dist.Bernoulli(0.5))
        >>> cp.infer(program, "E[X]", engine=cp.Gaussian())  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        causalppl.exceptions.AssumptionError: the engine Gaussian cannot answer: ...
    """

    def __init__(self, message: str, *, witness: Any = None) -> None:
        super().__init__(message)
        self.witness = witness


class FitError(CausalPPLError):
    """An optimiser or a sampler did not produce a usable result.

    Example:
        >>> import causalppl as cp, pyro, pyro.distributions as dist
        >>> def program(n):
        ...     level = pyro.sample("level", dist.Normal(0.0, 1.0))
        ...     with pyro.plate("units", n):
        ...         pyro.sample("Y", dist.LogNormal(level / 0.0, 1.0))
        >>> cp.fit(program, {"Y": [1.0, 2.0]}, method=cp.SVIFit(num_steps=10))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        causalppl.exceptions.FitError: ...
    """


class MissingExtraError(CausalPPLError, ImportError):
    """An optional package is needed and not installed; the message names the extra.

    Example:
        >>> from causalppl.exceptions import MissingExtraError
        >>> issubclass(MissingExtraError, ImportError)
        True
    """


class CausalPPLWarning(UserWarning):
    """Base class of all warnings raised by the package.

    Example:
        >>> import warnings
        >>> from causalppl.exceptions import CausalPPLWarning
        >>> warnings.simplefilter("error", CausalPPLWarning)  # be stopped instead of told
    """


class OverlapWarning(CausalPPLWarning):
    """Some units have almost no chance of one of the treatments.

    Example:
        >>> import warnings
        >>> from causalppl.bounds import msm_mean
        >>> with warnings.catch_warnings(record=True) as told:
        ...     warnings.simplefilter("always")
        ...     bounds = msm_mean([0.0, 1.0] * 50, [0.0001] + [0.5] * 99, odds_ratio=2.0)
        >>> told[0].category.__name__
        'OverlapWarning'
    """


class ConvergenceWarning(CausalPPLWarning):
    """An approximate answer may not have converged.

    Example:
        >>> import warnings
        >>> import causalppl as cp, pyro, pyro.distributions as dist
        >>> def program(n):
        ...     level = pyro.sample("level", dist.Normal(0.0, 10.0))
        ...     with pyro.plate("units", n):
        ...         pyro.sample("Y", dist.Normal(level, 1.0))
        >>> with warnings.catch_warnings(record=True) as told:
        ...     warnings.simplefilter("always")
        ...     fitted = cp.fit(program, {"Y": [5.0] * 9}, method=cp.SVIFit(num_steps=3), seed=0)
        >>> sorted({warning.category.__name__ for warning in told})
        ['ConvergenceWarning']
    """


class HeuristicWarning(CausalPPLWarning):
    """An answer rests on a rule of thumb rather than on a guarantee.

    Example:
        >>> import warnings
        >>> import causalppl as cp, pyro, pyro.distributions as dist
        >>> def program():
        ...     with pyro.plate("classes", 3):
        ...         pyro.sample("Y", dist.Normal(0.0, 1.0))
        >>> with warnings.catch_warnings(record=True) as told:
        ...     warnings.simplefilter("always")
        ...     scm = cp.SCM(program)  # are the classes the units, or part of one?
        >>> told[0].category.__name__
        'HeuristicWarning'
    """
