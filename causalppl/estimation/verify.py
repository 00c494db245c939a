"""Formulas checked against programs: one derivation against another.

``identify`` sees a diagram and no program; the program knows no formula. `verify` evaluates the
formula on the laws that the program gives to data, and asks the program itself under ``do``.
"""

import itertools
from collections.abc import Iterable, Mapping

from causalppl.data import Factor
from causalppl.estimation.estimator import Estimator
from causalppl.estimation.exact_check import ExactCheck
from causalppl.estimation.program_law import why_infinite
from causalppl.estimation.sampled_check import check_by_samples
from causalppl.estimation.verification import Verification, VerificationReport
from causalppl.exceptions import AssumptionError, ImpossibleEvidenceError, NotIdentifiableError
from causalppl.identification import Estimand, identify
from causalppl.inference.progress import is_shown, progress_bar
from causalppl.programs import SCM
from causalppl.queries import Contrast, Query, parse_query
from causalppl.seeding import checked_seed
from causalppl.typing import Program

__all__ = ["verify", "verify_all"]


def verify(
    estimand: Estimand,
    scm: SCM | Program,
    query: str | Query | Contrast | None = None,
    *,
    domains: Mapping[str, SCM] | None = None,
    policies: Mapping[str, Factor] | None = None,
    tolerance: float | None = None,
    estimator: Estimator | None = None,
    num_samples: int = 20_000,
    false_alarm: float = 1e-3,
    seed: int | None = None,
) -> Verification:
    """Check a formula against a program.

    A finite program is checked exactly. The formula is evaluated on the laws that the program
    gives to data: its observed law, and those of the experiments that the formula uses. The
    program answers by itself: queries in one world by its ``do`` handler, by summing over all
    values of its sites; counterfactuals by exact inference in its twin worlds.

    Any other program is checked by samples: the formula is estimated from units drawn from it, and
    compared with units drawn under ``do``. How often a right formula fails is then stated.

    Args:
        estimand: From ``identify``.
        scm: The program. If it has infinitely many values, the query must give all its values.
        query: What the formula is said to answer; None: the estimand's own query.
        domains: Other populations that the formula uses: name to program.
        policies: For a plan: variable to its law, a table over what the plan looks at and the
            variable.
        tolerance: The largest difference that passes. None: 1e-10; 1e-6 for counterfactuals of a
            program that computes in single precision. For finite programs only.
        estimator: For other programs, how the formula is estimated; see `estimate`.
        num_samples: How many units are drawn, once for the formula and once for the program.
        false_alarm: How often a right formula may fail, if the estimator is consistent.
        seed: Seed of the samples.

    Returns:
        Both answers at all values that the query leaves open; true if they agree.

    Raises:
        ProgramError: The program has random parameters.
        AssumptionError: The formula needs what never happens under the program's law.
        QueryError: The query names what the program does not observe.
        DataError: A setting, such as the seed, is none.

    Example:
        >>> from causalppl.graphs import front_door
        >>> from causalppl.programs.finite import random_finite_model
        >>> scm = random_finite_model(front_door(), seed=0).scm()
        >>> verify(identify(scm.graph, "P(Y | do(X))"), scm).passed
        True
        >>> from causalppl.graphs import ADMG
        >>> verify(identify(ADMG.parse("X -> Z -> Y"), "P(Y | do(X))"), scm).passed
        False
    """
    used = checked_seed(seed)
    model = scm if isinstance(scm, SCM) else SCM(scm)
    if why_infinite(model) is None:
        check = ExactCheck(model, dict(domains or {}), dict(policies or {}), tolerance)
        return check.run(estimand, query)
    if domains or policies:
        raise AssumptionError(
            f"{why_infinite(model)}; formulas over other populations or plans are checked exactly "
            "only, so expected a finite program"
        )
    return check_by_samples(
        model,
        estimand,
        query,
        estimator=estimator,
        num_samples=num_samples,
        false_alarm=false_alarm,
        seed=used,
    )


def verify_all(
    scm: SCM | Program,
    queries: Iterable[str | Query | Contrast] | None = None,
    *,
    tolerance: float | None = None,
    progress: bool | None = None,
) -> VerificationReport:
    """Check the formula of every identifiable query of a finite program.

    Args:
        scm: The program, finite.
        queries: What to check; None: ``P(Y | do(X))`` for all pairs of observed variables.
        tolerance: As for `verify`.
        progress: Show a progress bar; None: at a terminal or in a notebook.

    Returns:
        The checks, and the queries that have no formula; true if all checks pass.

    Raises:
        ProgramError: The program is not finite.
        QueryError: A query cannot be read, or names what is not in the diagram.

    Example:
        >>> from causalppl.graphs import front_door
        >>> from causalppl.programs.finite import random_finite_model
        >>> verify_all(random_finite_model(front_door(), seed=0).scm())
        6 of 6 formulas agree with the program (largest difference ...); 0 queries are not ...
    """
    model = scm if isinstance(scm, SCM) else SCM(scm)
    if queries is None:
        pairs = itertools.permutations(model.observed, 2)
        queries = [f"P({_quoted(y)} | do({_quoted(x)}))" for x, y in pairs]
    asked = [parse_query(query) if isinstance(query, str) else query for query in queries]
    checker = ExactCheck(model, {}, {}, tolerance)
    checks: dict[str, Verification] = {}
    refused: dict[str, str] = {}
    skipped: dict[str, str] = {}
    with progress_bar(len(asked), "verifying", progress=is_shown(progress)) as bar:
        for query in asked:
            try:
                checks[str(query)] = checker.run(identify(model.graph, query))
            except NotIdentifiableError as error:
                refused[str(query)] = str(error)
            except (AssumptionError, ImpossibleEvidenceError) as error:
                skipped[str(query)] = str(error)
            bar.update()
    return VerificationReport(checks, refused, skipped)


def _quoted(name: str) -> str:
    return name if name.isidentifier() else f'"{name}"'
