"""The form of a worked example from the literature: a diagram, a question, the published verdict.

Formulas are free text for the reader, in one notation throughout::

    P(Y | X, Z)            a probability; a name is a variable at the value of its own name
    X', X''                the same variable at another value, bound by a sum or free
    X=0                    the variable at a fixed value
    P_{X}(Y)               measured in an experiment on X (in the target population)
    P^{a}(Y), P^{a}_{X}(Y) measured in source domain a
    sum_{Z, X'} ... [...]  a sum reaches as far to the right as its bracket

A name that is free in a formula and not in the query may be set to any value ("pinned").
"""

from dataclasses import dataclass
from itertools import pairwise

Names = frozenset[str]
Edge = tuple[str, str]


def names(text: str = "") -> Names:
    """Read a set of names: ``names("X Z")``."""
    return frozenset(text.split())


def sets(*texts: str) -> tuple[Names, ...]:
    """Read several sets of names: ``sets("", "X", "X Z")``."""
    return tuple(map(names, texts))


def edges(text: str) -> frozenset[Edge]:
    """Read the edges of directed paths: ``edges("X -> M -> Y; X -> Y")``."""
    paths = [path.replace("->", " ").split() for path in text.split(";")]
    return frozenset(pair for path in paths for pair in pairwise(path))


@dataclass(frozen=True, kw_only=True)
class SourceDomain:
    """A population other than the target.

    Attributes:
        name: As in the formulas.
        shifted: The variables that a selection node points to: their mechanisms may differ.
        experiments: Sets of variables that were randomised there.
        observational: Whether the joint distribution of all variables is known there.
    """

    name: str
    shifted: Names
    experiments: tuple[Names, ...] = ()
    observational: bool = True


@dataclass(frozen=True, kw_only=True)
class Case:
    """One worked example.

    Attributes:
        name: A unique slug.
        source: Authors, year, title, and the figure or example; "after" marks a diagram that is
            built on the cited result, not copied from a figure.
        graph: An ADMG over the observed variables, latents projected to ``<->``.
        query: Text of a `Query`.
        identifiable: The verdict, for variables with any number of values.
        formula: The estimand, in the notation at the top of the module.
        experiments: Sets randomised in the target population.
        observational: Whether the target's own joint distribution is known.
        domains: Other populations.
        note: What to watch.
    """

    name: str
    source: str
    graph: str
    query: str
    identifiable: bool
    formula: str | None = None
    experiments: tuple[Names, ...] = ()
    observational: bool = True
    domains: tuple[SourceDomain, ...] = ()
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class CounterfactualCase(Case):
    """A counterfactual query.

    Attributes:
        value: The answer where it does not depend on the data: 0 or 1.
        is_undefined: The condition has probability zero in every model.
    """

    value: float | None = None
    is_undefined: bool = False


@dataclass(frozen=True, kw_only=True)
class PathSpecificCase(Case):
    """A path-specific effect; ``query`` is the same question as a nested counterfactual.

    Attributes:
        treatment: Set to 1 along the active edges, to 0 along all others.
        outcome: The variable read.
        paths: The edges that are active; a directed path is active if all its edges are.
        recanting: Recanting witnesses, if any (Avin, Shpitser and Pearl 2005).
    """

    treatment: str
    outcome: str
    paths: frozenset[Edge]
    recanting: Names = frozenset()


@dataclass(frozen=True, kw_only=True)
class Policy:
    """A soft intervention: ``variable`` is drawn from a law that depends on ``inputs`` only."""

    variable: str
    inputs: Names = frozenset()


@dataclass(frozen=True, kw_only=True)
class SoftCase(Case):
    """A query under policies; its text names what is asked under the policies, without ``do``.

    Attributes:
        policies: The mechanisms that are replaced by new, known, stochastic ones. In formulas
            ``pi(X | Z)`` is the policy of X.
    """

    policies: tuple[Policy, ...]


@dataclass(frozen=True, kw_only=True)
class AdjustmentCase(Case):
    """Covariate adjustment for ``P(Y | do(X))``; ``identifiable`` is the verdict of ID.

    Attributes:
        valid_sets: Sets Z with ``P(Y | do(X)) = sum_{Z} P(Y | X, Z) P(Z)`` in every model.
        invalid_sets: Sets for which this fails in some model.
        minimal_sets: All minimal valid sets, where the list is complete.
        optimal: The set of smallest asymptotic variance, where the source gives it.
        is_adjustable: Whether any valid set exists.
    """

    valid_sets: tuple[Names, ...] = ()
    invalid_sets: tuple[Names, ...] = ()
    minimal_sets: tuple[Names, ...] | None = None
    optimal: Names | None = None
    is_adjustable: bool = True


@dataclass(frozen=True, kw_only=True)
class FrontDoorCase(Case):
    """Sets that satisfy the front-door criterion for ``P(Y | do(X))``, and sets that do not.

    Attributes:
        valid_sets: Sets that satisfy Pearl's criterion.
        invalid_sets: Sets that do not.
        constraint: Only subsets of these are searched; all variables if None.
        all_sets: Every valid set, where the list is complete.
    """

    valid_sets: tuple[Names, ...] = ()
    invalid_sets: tuple[Names, ...] = ()
    constraint: Names | None = None
    all_sets: tuple[Names, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class InstrumentCase(Case):
    """Conditional instruments for the effect of X on Y in a linear model.

    ``identifiable`` is the non-parametric verdict on ``P(Y | do(X))``.

    Attributes:
        instruments: Pairs (instrument, conditioning set) that qualify.
        non_instruments: Pairs that do not.
        can_condition: Variables that qualify together with some conditioning set; None if the
            source does not list them all.
    """

    instruments: tuple[tuple[str, Names], ...] = ()
    non_instruments: tuple[tuple[str, Names], ...] = ()
    can_condition: Names | None = None


@dataclass(frozen=True, kw_only=True)
class ImitationCase(Case):
    """Imitation of an expert; ``identifiable`` says whether the expert's reward law is imitable.

    Attributes:
        action: What the imitator sets.
        reward: Its law under the imitator must equal the observed one; never seen if in ``latent``.
        policy_inputs: What the imitator may look at.
        latent: Nodes of the diagram that are not in the data.
        backdoor_sets: Inputs with which copying ``P(action | inputs)`` imitates.
        not_backdoor_sets: Inputs with which it does not.
    """

    action: str
    reward: str
    policy_inputs: Names
    latent: Names = frozenset()
    backdoor_sets: tuple[Names, ...] = ()
    not_backdoor_sets: tuple[Names, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SelectionCase(Case):
    """Recovery from data on selected units, ``P(. | S=1)``; the selection node is in the graph.

    Attributes:
        selected_on: The selection node; data on all other variables exist where it is 1.
        external: Sets of variables whose joint law is also known without selection.
    """

    selected_on: str = "S"
    external: tuple[Names, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MissingCase(Case):
    """Recovery from incomplete data; the indicator of ``X`` is the node ``R_X``, 1 if X is seen.

    Attributes:
        missing: The variables with an indicator; all others are always seen.
    """

    missing: Names
