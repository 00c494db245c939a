"""Named effects as functions: each builds a `Contrast` and hands it to `infer`.

``ate(scm, "X", "Y")`` is ``infer(scm, "ATE(X: 1 vs 0 -> Y)")``; choose what reads better.
"""

from collections.abc import Mapping
from typing import Any

from causalppl.inference.infer import infer
from causalppl.inference.posterior import Posterior
from causalppl.programs.scm import SCM
from causalppl.queries import Contrast, Event, Intervention, Term, Value
from causalppl.typing import Program


def ate(scm: SCM | Program, treatment: str, outcome: str, **options: Any) -> Posterior:
    """Average treatment effect ``E[Y_x] - E[Y_x']``.

    Args:
        scm: The model, or a Pyro program.
        treatment: The variable that is set.
        outcome: The variable that responds.
        **options: ``treated=1`` and ``control=0``, the values compared, and those of `infer`.

    Returns:
        The posterior of the effect, named ``"ATE"``, in the outcome's units.

    Raises:
        QueryError: A name is not in the program.
        AssumptionError: The engine asked for cannot answer.
        ProgramError: ``scm`` cannot be read as a causal model.

    References:
        Pearl (2009), Causality, definition 3.2.1.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     x = pyro.sample("X", dist.Normal(0.0, 1.0))
        ...     return pyro.sample("Y", dist.Normal(2 * x, 1.0))
        >>> round(ate(SCM(program), "X", "Y").mean()["ATE"], 6)
        2.0
    """
    return contrast("ATE", scm, treatment, outcome, **options)


def ett(scm: SCM | Program, treatment: str, outcome: str, **options: Any) -> Posterior:
    """Effect of treatment on the treated ``E[Y_x - Y_x' | X=x]`` (ATT is another name).

    Args:
        scm: The model, or a Pyro program.
        treatment: The variable that is set.
        outcome: The variable that responds.
        **options: ``treated=1`` and ``control=0``, the values compared, and those of `infer`.

    Returns:
        The posterior of the effect, named ``"ETT"``, in the outcome's units.

    Raises:
        QueryError: A name is not in the program.
        ImpossibleEvidenceError: Nobody is treated.
        AssumptionError: The engine asked for cannot answer.
        ProgramError: ``scm`` cannot be read as a causal model.

    References:
        Pearl (2009), Causality, section 8.2.5.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     x = pyro.sample("X", dist.Bernoulli(0.5))
        ...     return pyro.sample("Y", dist.Normal(2 * x, 1.0))
        >>> round(ett(SCM(program), "X", "Y").mean()["ETT"], 5)
        2.0
    """
    return contrast("ETT", scm, treatment, outcome, **options)


def cate(
    scm: SCM | Program, treatment: str, outcome: str, *, given: Mapping[str, Value], **options: Any
) -> Posterior:
    """Conditional average effect ``E[Y_x - Y_x' | given]``.

    Args:
        scm: The model, or a Pyro program.
        treatment: The variable that is set.
        outcome: The variable that responds.
        given: What the units are seen with, by name; at least one.
        **options: ``treated=1`` and ``control=0``, the values compared, and those of `infer`.

    Returns:
        The posterior of the effect, named ``"CATE"``, in the outcome's units.

    Raises:
        QueryError: A name is not in the program, or ``given`` is empty.
        ImpossibleEvidenceError: No unit is seen with ``given``.
        AssumptionError: The engine asked for cannot answer.
        ProgramError: ``scm`` cannot be read as a causal model.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     z = pyro.sample("Z", dist.Bernoulli(0.5))
        ...     x = pyro.sample("X", dist.Bernoulli(0.5))
        ...     return pyro.sample("Y", dist.Normal(x * z, 1.0))
        >>> round(cate(SCM(program), "X", "Y", given={"Z": 1}).mean()["CATE"], 5)
        1.0
    """
    return contrast("CATE", scm, treatment, outcome, given=given, **options)


def nde(scm: SCM | Program, treatment: str, outcome: str, **options: Any) -> Posterior:
    """Natural direct effect ``E[Y_{x, M_x'} - Y_x']``; mediators are read from the program.

    Args:
        scm: The model, or a Pyro program.
        treatment: The variable that is set.
        outcome: The variable that responds.
        **options: ``treated=1`` and ``control=0``, the values compared; ``mediators``; those of
            `infer`.

    Returns:
        The posterior of the effect, named ``"NDE"``, in the outcome's units.

    Raises:
        QueryError: A name is not in the program, or no mediator lies between treatment and outcome.
        AssumptionError: The engine asked for cannot answer.
        ProgramError: ``scm`` cannot be read as a causal model.

    References:
        Pearl (2001), Direct and indirect effects.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     x = pyro.sample("X", dist.Normal(0.0, 1.0))
        ...     m = pyro.sample("M", dist.Normal(x, 1.0))
        ...     return pyro.sample("Y", dist.Normal(2 * x + m, 1.0))
        >>> round(nde(SCM(program), "X", "Y").mean()["NDE"], 5)
        2.0
    """
    return contrast("NDE", scm, treatment, outcome, **options)


def nie(scm: SCM | Program, treatment: str, outcome: str, **options: Any) -> Posterior:
    """Natural indirect effect ``E[Y_{x', M_x} - Y_x']``; mediators are read from the program.

    Args:
        scm: The model, or a Pyro program.
        treatment: The variable that is set.
        outcome: The variable that responds.
        **options: ``treated=1`` and ``control=0``, the values compared; ``mediators``; those of
            `infer`.

    Returns:
        The posterior of the effect, named ``"NIE"``, in the outcome's units.

    Raises:
        QueryError: A name is not in the program, or no mediator lies between treatment and outcome.
        AssumptionError: The engine asked for cannot answer.
        ProgramError: ``scm`` cannot be read as a causal model.

    References:
        Pearl (2001), Direct and indirect effects.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     x = pyro.sample("X", dist.Normal(0.0, 1.0))
        ...     m = pyro.sample("M", dist.Normal(x, 1.0))
        ...     return pyro.sample("Y", dist.Normal(2 * x + m, 1.0))
        >>> round(nie(SCM(program), "X", "Y").mean()["NIE"], 5)
        1.0
    """
    return contrast("NIE", scm, treatment, outcome, **options)


def cde(
    scm: SCM | Program, treatment: str, outcome: str, *, do: Mapping[str, Value], **options: Any
) -> Posterior:
    """Controlled direct effect ``E[Y_{x, m} - Y_{x', m}]``, the mediators held at ``do``.

    Args:
        scm: The model, or a Pyro program.
        treatment: The variable that is set.
        outcome: The variable that responds.
        do: The values at which mediators are held, by name; at least one.
        **options: ``treated=1`` and ``control=0``, the values compared, and those of `infer`.

    Returns:
        The posterior of the effect, named ``"CDE"``, in the outcome's units.

    Raises:
        QueryError: A name is not in the program, or ``do`` is empty.
        AssumptionError: The engine asked for cannot answer.
        ProgramError: ``scm`` cannot be read as a causal model.

    References:
        Pearl (2001), Direct and indirect effects.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     x = pyro.sample("X", dist.Normal(0.0, 1.0))
        ...     m = pyro.sample("M", dist.Normal(x, 1.0))
        ...     return pyro.sample("Y", dist.Normal(2 * x + m, 1.0))
        >>> round(cde(SCM(program), "X", "Y", do={"M": 0.0}).mean()["CDE"], 5)
        2.0
    """
    return contrast("CDE", scm, treatment, outcome, do=do, **options)


def pn(scm: SCM | Program, treatment: str, outcome: str, **options: Any) -> Posterior:
    """Probability of necessity ``P(Y_x'=0 | X=x, Y=1)``.

    Args:
        scm: The model, or a Pyro program.
        treatment: The variable that is set.
        outcome: The variable that responds, 0 or 1.
        **options: ``treated=1`` and ``control=0``, the values compared, and those of `infer`.

    Returns:
        The posterior of the probability, named ``"PN"``.

    Raises:
        QueryError: A name is not in the program, or the outcome is continuous.
        ImpossibleEvidenceError: No unit is treated and has the outcome.
        AssumptionError: The engine asked for cannot answer.
        ProgramError: ``scm`` cannot be read as a causal model.

    References:
        Pearl (2009), Causality, definition 9.2.1.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     x = pyro.sample("X", dist.Bernoulli(0.5))
        ...     return pyro.sample("Y", dist.Bernoulli(0.2 + 0.6 * x))
        >>> round(pn(SCM(program), "X", "Y").mean()["PN"], 5)
        0.75
    """
    return contrast("PN", scm, treatment, outcome, **options)


def ps(scm: SCM | Program, treatment: str, outcome: str, **options: Any) -> Posterior:
    """Probability of sufficiency ``P(Y_x=1 | X=x', Y=0)``.

    Args:
        scm: The model, or a Pyro program.
        treatment: The variable that is set.
        outcome: The variable that responds, 0 or 1.
        **options: ``treated=1`` and ``control=0``, the values compared, and those of `infer`.

    Returns:
        The posterior of the probability, named ``"PS"``.

    Raises:
        QueryError: A name is not in the program, or the outcome is continuous.
        ImpossibleEvidenceError: No unit is untreated and without the outcome.
        AssumptionError: The engine asked for cannot answer.
        ProgramError: ``scm`` cannot be read as a causal model.

    References:
        Pearl (2009), Causality, definition 9.2.2.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     x = pyro.sample("X", dist.Bernoulli(0.5))
        ...     return pyro.sample("Y", dist.Bernoulli(0.2 + 0.6 * x))
        >>> round(ps(SCM(program), "X", "Y").mean()["PS"], 5)
        0.75
    """
    return contrast("PS", scm, treatment, outcome, **options)


def pns(scm: SCM | Program, treatment: str, outcome: str, **options: Any) -> Posterior:
    """Probability of necessity and sufficiency ``P(Y_x=1, Y_x'=0)``.

    Args:
        scm: The model, or a Pyro program.
        treatment: The variable that is set.
        outcome: The variable that responds, 0 or 1.
        **options: ``treated=1`` and ``control=0``, the values compared, and those of `infer`.

    Returns:
        The posterior of the probability, named ``"PNS"``.

    Raises:
        QueryError: A name is not in the program, or the outcome is continuous.
        AssumptionError: The engine asked for cannot answer.
        ProgramError: ``scm`` cannot be read as a causal model.

    References:
        Pearl (2009), Causality, definition 9.2.3.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     x = pyro.sample("X", dist.Bernoulli(0.5))
        ...     return pyro.sample("Y", dist.Bernoulli(0.2 + 0.6 * x))
        >>> round(pns(SCM(program), "X", "Y").mean()["PNS"], 5)
        0.6
    """
    return contrast("PNS", scm, treatment, outcome, **options)


def contrast(
    kind: Any,
    scm: SCM | Program,
    treatment: str,
    outcome: str,
    *,
    treated: Value = 1,
    control: Value = 0,
    given: Mapping[str, Value] | None = None,
    mediators: tuple[str, ...] = (),
    do: Mapping[str, Value] | None = None,
    **options: Any,
) -> Posterior:
    """Answer a named contrast.

    Args:
        kind: ``"ATE"``, ``"ETT"``, ``"CATE"``, ``"NDE"``, ``"NIE"``, ``"CDE"``, ``"PN"``, ...
        scm: The model, or a Pyro program.
        treatment: The variable that is set.
        outcome: The variable that responds.
        treated: Its value in the treated world.
        control: Its value in the control world.
        given: What units are seen with.
        mediators: For NDE and NIE; by default those of the program.
        do: What the controlled direct effect holds fixed.
        **options: Passed on to `infer`.

    Returns:
        The posterior of one variable, named as the kind: an effect in the outcome's units, or a
        probability.

    Raises:
        QueryError: A name is unknown, or a part does not go with the kind.
        ImpossibleEvidenceError: No unit is as the kind or ``given`` asks.
        AssumptionError: The engine asked for cannot answer.
        ProgramError: ``scm`` cannot be read as a causal model.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def program():
        ...     x = pyro.sample("X", dist.Normal(0.0, 1.0))
        ...     return pyro.sample("Y", dist.Normal(2 * x, 1.0))
        >>> round(contrast("ATE", SCM(program), "X", "Y", treated=3).mean()["ATE"], 5)
        6.0
    """
    query = Contrast(
        kind,
        treatment,
        treated,
        control,
        outcome,
        given=tuple(Event(Term(name), value) for name, value in (given or {}).items()),
        mediators=mediators,
        do=tuple(Intervention(name, value) for name, value in (do or {}).items()),
    )
    return infer(scm, query, **options)
