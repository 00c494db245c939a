"""One question to a model, one posterior."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from causalppl.exceptions import CausalPPLError, DataError, ProgramError, QueryError
from causalppl.given import check_kind, told
from causalppl.inference.answers import assemble, merge_patterns
from causalppl.inference.choose import choose_engine
from causalppl.inference.engine import Answer, Engine, Problem
from causalppl.inference.evidence import Evidence, read_evidence
from causalppl.inference.parameter_weights import ParameterWeights, weigh_parameters
from causalppl.inference.posterior import Posterior
from causalppl.inference.prior import with_prior_parameters
from causalppl.inference.progress import is_shown
from causalppl.inference.question import Question, read_question
from causalppl.inference.settings import check_counts
from causalppl.programs.interventions import Interventions
from causalppl.programs.scm import SCM
from causalppl.programs.world_specs import split_world
from causalppl.queries import Contrast, Query
from causalppl.seeding import checked_seed
from causalppl.typing import Program

_DRAWS = 1_000  # of a law, for each unit
_SIMULATED = 1_000_000  # values of a variable behind one expectation
_KEPT = 20_000_000  # draws of a variable that are held at once, over all units
_WIDTH = 4_000_000  # parameter draws times units in one run
_FEWEST_PARAMETER_DRAWS = 100
_ONE_BY_ONE = (
    "the program was run for each draw on its own, which is slow, as it does not take several at "
    "once; a product W @ b with parameters b does not, (W * b).sum(-1) does"
)


def infer(
    scm: SCM | Program,
    query: str | Query | Contrast | Sequence[str],
    *,
    evidence: Any = None,
    worlds: Mapping[str, Interventions] | None = None,
    engine: Engine | None = None,
    average: bool = False,
    update_parameters: bool | None = None,
    num_draws: int | None = None,
    seed: int | None = None,
    progress: bool | None = None,
) -> Posterior:
    """Answer a causal query with a model.

    The latents of the program are inferred from the evidence, each site's noise is abducted
    exactly, and the values under the interventions are predicted with the same noise. Nothing is
    rejected.

    Args:
        scm: The model, or a Pyro program.
        query: For example ``"E[Y | do(X=1)]"``, ``"P(Y_{X=0} | X=1, Y=2.3)"``,
            ``"ETT(X: 1 vs 0 -> Y)"`` (see `causalppl.queries`); or a list of keys such as
            ``["Y", "Y@x0"]`` with ``worlds``.
        evidence: Beside the query: a mapping from site to value (one, or one per unit), a row of a
            pandas frame (one unit), or a table or list of mappings with one row per unit. The
            factual world is meant, unless a key names another (``"Y@x0"``). A missing value (NaN)
            is unobserved for that unit.
        worlds: World name to interventions, for a list of keys; anything that `do` takes, and
            `World`.
        engine: How to compute; None takes the first exact engine that applies, else `Importance`
            where a pilot shows the evidence to be common, else `Variational`, else `Importance`.
        average: Average an expectation over the units of the evidence.
        update_parameters: Whether the evidence updates the draws of fitted parameters, which are
            then weighted by its likelihood (Pareto-smoothed; ``parameter_khat`` and
            ``parameter_ess`` are among the diagnostics). None: where at most ten units were given
            that the model was not fitted to (and there are 100 draws or more), as ``evidence`` or
            as conditions of a law (``P(Y | X=1)``); conditions of an expectation or probability
            define a group, whose mean is a function of the parameters. A unit is known as one
            that was fitted to by equal values, a continuous one among them.
            Notes say what was done.
        num_draws: Draws for each unit and parameter draw; None chooses.
        seed: Seed of all draws.
        progress: Show progress bars; None: only for long work at a terminal or in a notebook.

    Returns:
        The posterior. An ``E`` query or contrast gives the posterior of the expectation: its
        spread is that of the parameters (if the model has draws of them) or, for a model without
        parameters, Monte Carlo error only (none with an exact engine). A ``P`` query gives the law
        of the outcome, or the probability of an event.

    Raises:
        QueryError: The query names what is not there, or leaves a value open.
        DataError: The evidence does not fit the program, or ``engine`` is none.
        ImpossibleEvidenceError: The evidence has probability zero.
        AssumptionError: ``engine`` cannot answer this query.
        ProgramError: ``scm`` cannot be read as a causal model.

    References:
        Pearl (2009), Causality, chapter 7; Balke and Pearl (1994).

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     x = pyro.sample("X", dist.Normal(0.0, 1.0))
        ...     return pyro.sample("Y", dist.Normal(2 * x, 1.0))
        >>> infer(program, "E[Y_{X=0} | X=1, Y=3]").mean()["Y"]
        1.0
    """
    if num_draws is not None:
        check_counts(num_draws=num_draws)
    if not callable(scm) and not isinstance(scm, SCM):
        raise ProgramError(
            f"the model is {told(scm)}; expected an SCM or a Pyro program, first: infer(scm, query)"
        )
    if engine is not None:
        check_kind(engine, Engine, "engine", "an engine, such as NUTS(), or None")
    model = scm if isinstance(scm, SCM) else SCM(scm)
    used_seed = checked_seed(seed)
    question = read_question(
        model, query, worlds, has_unit_evidence=evidence is not None or _observes(model)
    )
    if average and not question.label:
        raise QueryError("average=True is for expectations and probabilities, not for laws")
    question, named = _term_keys(question, evidence)
    read = read_evidence(question.scm, named, question.evidence)
    _check_worlds_of(question, read)
    is_fitted = bool(question.scm.parameters)
    question, notes = _with_parameters(question, read, used_seed)
    updated = ParameterWeights()
    if is_fitted and read.values:
        is_unit = evidence is not None or not question.label
        updated = weigh_parameters(
            question,
            read,
            update_parameters,
            is_unit=is_unit,
            seed=used_seed,
            progress=is_shown(progress),
        )
    parts = []
    before = question.scm._simulated_one_by_one
    chosen: Engine | None = None
    for units, values in read.patterns():
        problem = _problem(question, values, units, read, num_draws, average)
        try:
            chosen = choose_engine(problem, engine)
            answer = chosen.solve(problem, seed=used_seed, progress=is_shown(progress))
        except CausalPPLError:
            raise
        except (ValueError, RuntimeError, IndexError) as error:
            raise ProgramError(
                f"the program fails on the values of this question ({question.text}): "
                f"{type(error).__name__}: {str(error).strip().splitlines()[0]} A mechanism may not "
                "be defined where evidence or interventions take it (a negative scale, an index "
                "out of range); check them, or the program"
            ) from error
        parts.append((units, chosen.name, answer))
    engines = tuple(dict.fromkeys(name for _, name, _ in parts))
    merged: Answer = merge_patterns([(u, a) for u, _, a in parts], read.num_units, question.events)
    slow = (_ONE_BY_ONE,) if question.scm._simulated_one_by_one > before else ()
    saying = (*question.notes, *notes, *updated.notes, *read.notes, *merged.notes, *slow)
    diagnostics = {**merged.diagnostics, **updated.diagnostics}
    merged = replace(merged, notes=tuple(map(question.readable, saying)), diagnostics=diagnostics)
    return assemble(
        question,
        merged,
        engine=" and ".join(engines),
        has_units=read.has_units,
        labels=read.labels,
        average=average,
        seed=used_seed,
        parameter_weights=updated.log_weights,
    )


def _check_worlds_of(question: Question, read: Evidence) -> None:
    sites = question.scm.structure.sites
    for key in read.values:
        world = split_world(key, sites)[1]
        if world and world not in question.worlds:
            raise DataError(
                f"evidence names {key!r}, but there is no world {world!r}; the worlds are "
                f"{', '.join(question.worlds) or 'none'}; name the term instead, as in 'Y_{{X=0}}'"
            )


def _problem(
    question: Question,
    values: Mapping[str, torch.Tensor],
    units: torch.Tensor | None,
    read: Evidence,
    num_draws: int | None,
    average: bool,
) -> Problem:
    problem = Problem(
        question.scm,
        read.num_units if units is None else len(units),
        {w: question.of_units(w, units, read.num_units) for w in question.worlds},
        values,
        question.targets,
        question.events,
    )
    draws = problem.num_parameter_draws
    # as many for each pattern of missing values, so that their draws can stand side by side
    wanted = num_draws or _default_draws(question, draws, read.num_units, average)
    return replace(problem, num_draws=wanted)


def _default_draws(question: Question, parameter_draws: int, num_units: int, average: bool) -> int:
    """Spend about the same work on every question, and never fewer draws than a law needs."""
    if not question.label:
        wanted = max(1, _DRAWS // parameter_draws)
        return max(min(wanted, _KEPT // (num_units * parameter_draws)), min(wanted, 20))
    width = parameter_draws * num_units
    if parameter_draws == 1:
        return max(_DRAWS, min(_SIMULATED // width, _SIMULATED // 10))
    # at least two, so that the error of the inner average is known and can be taken out
    least = 2 if average else min(25, max(2, 10 * _KEPT // (4 * width)))
    return max(least, 3 * _SIMULATED // width)


def _term_keys(question: Question, evidence: Any) -> tuple[Question, Any]:
    """Let evidence in another world be named by its term, as in ``{"Y_{X=0}": 1.0}``."""
    if not isinstance(evidence, Mapping) or not any("_{" in str(key) for key in evidence):
        return question, evidence
    return question.with_terms(evidence)


def _with_parameters(
    question: Question, read: Evidence, seed: int
) -> tuple[Question, tuple[str, ...]]:
    scm, notes = with_prior_parameters(question.scm, read.values, seed)
    draws = max((len(value) for value in scm.parameters.values()), default=1)
    kept = max(_WIDTH // read.num_units, _FEWEST_PARAMETER_DRAWS)
    if draws > kept:
        every = torch.linspace(0, draws - 1, kept).round().long()
        scm = scm.with_parameters({name: v[every] for name, v in scm.parameters.items()})
        notes = (*notes, f"{kept} of the {draws} parameter draws were used, to bound memory")
    return replace(question, scm=scm), notes


def _observes(scm: SCM) -> bool:
    return any(site.is_observed for site in scm.structure.sites.values())
