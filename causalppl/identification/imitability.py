"""Imitation: can an agent with other senses than the expert's do as well as the expert?

The expert's behaviour is in the data: ``action`` is drawn by a mechanism that may use what the
imitator does not see. The imitator replaces it by a policy that may use ``policy_inputs`` only. The
aim is a policy under which the reward has the law that it has under the expert, though the reward
itself may never be observed.

Two answers, one after the other:

- *By the diagram alone.* A policy that imitates in every model of the diagram exists exactly if
  the action does not affect the reward, or a set Z of policy inputs separates the action from the
  reward once the arrows out of the action are cut (the pi-backdoor criterion); the policy is then
  ``P(action | Z)``. The criterion is complete if the reward is not observed (the paper takes
  it that the action affects the reward).
- *By the diagram and the law of the data.* Where that fails, a pair of a surrogate S and a space of
  policies may do (an *imitation instrument*): any policy of the space under which S has the law
  that it has under the expert imitates, and from the data one can tell which policies do. Here
  every minimal surrogate that can be part of one is found, with one space of policies that cannot
  be made larger; whether it holds the policy that is needed depends on the numbers.

References:
    Zhang, Kumor and Bareinboim (2020), Causal imitation learning with unobserved confounders.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from causalppl.exceptions import GraphError
from causalppl.graphs import (
    ADMG,
    Nodes,
    Path,
    find_minimal_separator,
    find_open_path,
    is_separated,
    minimal_separators,
)
from causalppl.graphs.checked import takes_diagram
from causalppl.graphs.components import district_masks
from causalppl.graphs.mixed import closure, iterate_bits, union
from causalppl.identification.arguments import causes_and_effects, covariates, refuse_overlap
from causalppl.identification.causal_paths import reach


@takes_diagram
def find_imitation_policy_set(
    graph: ADMG, action: str, reward: str, policy_inputs: Nodes
) -> frozenset[str] | None:
    """Find the inputs of a policy that imitates the expert in every model of the diagram.

    Args:
        graph: The diagram under the expert; the reward may be a node that no data shows.
        action: What the agent sets.
        reward: What is to have the same law.
        policy_inputs: What the policy may use; nothing that the action affects.

    Returns:
        A set Z, of which no smaller part will do, such that the policy ``P(action | Z)`` imitates;
        None if no policy imitates in every model: ``explain_imitability`` then shows a path.

    Raises:
        GraphError: A node is not in the graph, the roles overlap, or the action affects an input.

    References:
        Zhang, Kumor and Bareinboim (2020).

    Example:
        >>> graph = ADMG.parse("Z -> {X, L}; L -> {X, Y}; X -> Y; L -> W")
        >>> sorted(find_imitation_policy_set(graph, "X", "Y", {"Z", "L"}))
        ['L']
        >>> find_imitation_policy_set(graph, "X", "Y", "Z") is None
        True
    """
    inputs = _policy_inputs(graph, action, reward, policy_inputs)
    if reward not in graph.descendants(action):
        return frozenset()
    cut = graph.remove_outgoing(action)
    return find_minimal_separator(cut, (action,), (reward,), (), graph.names_in_order(inputs))


@takes_diagram
def explain_imitability(graph: ADMG, action: str, reward: str, policy_inputs: Nodes) -> Path | None:
    """Show a path by which the expert uses what the imitator cannot make up for.

    Args:
        graph: The diagram under the expert.
        action: What the agent sets.
        reward: What is to have the same law.
        policy_inputs: What the policy may use.

    Returns:
        A back-door path from the action to the reward that is open given those policy inputs that
        affect one of the two; if these do not close all such paths, no inputs do. None exactly if
        ``find_imitation_policy_set`` finds a set.

    Raises:
        GraphError: As for ``find_imitation_policy_set``.

    References:
        Zhang, Kumor and Bareinboim (2020).

    Example:
        >>> graph = ADMG.parse("Z -> {X, L}; L -> {X, Y}; X -> Y; L -> W")
        >>> print(explain_imitability(graph, "X", "Y", "Z"))
        X <- L -> Y
    """
    inputs = _policy_inputs(graph, action, reward, policy_inputs)
    if reward not in graph.descendants(action):
        return None
    cut = graph.remove_outgoing(action)
    above = union(graph.mask((action, reward)), cut.ancestor_masks)
    return find_open_path(cut, (action,), (reward,), graph.names_in_order(inputs & above))


def _policy_inputs(graph: ADMG, action: str, reward: str, policy_inputs: Nodes) -> int:
    x, y = causes_and_effects(graph, (action,), (reward,))
    inputs = covariates(graph, x, y, policy_inputs, "policy_inputs")
    if affected := inputs & closure(x, graph.child_masks):
        names = ", ".join(graph.names_in_order(affected))
        raise GraphError(
            f"the action {action} affects {names}; a policy can only use what comes before; "
            "leave that out of policy_inputs"
        )
    return inputs


# with the numbers


@dataclass(frozen=True)
class ImitationInstrument:
    """A surrogate of the reward, and policies whose effect on it can be told from the data.

    A policy with these inputs imitates if ``P(surrogate | do(policy)) = P(surrogate)``. There is
    an estimand for the left side; whether some policy solves the equation depends on the numbers.

    Attributes:
        surrogate: Observed variables that separate the choice of policy from the reward; the
            reward itself if it is observed.
        policy_inputs: What the policies use.

    Example:
        >>> ImitationInstrument(surrogate=("S",), policy_inputs=("Z",)).surrogate
        ('S',)
    """

    surrogate: tuple[str, ...]
    policy_inputs: tuple[str, ...]


@takes_diagram
def imitation_instruments(
    graph: ADMG,
    action: str,
    reward: str,
    policy_inputs: Nodes,
    *,
    latent: Nodes | None = None,
) -> Iterator[ImitationInstrument]:
    """List imitation instruments: one for each minimal surrogate that can be part of one.

    If there is any instrument, one with a minimal surrogate is listed. The space of policies that
    goes with it is grown input by input, in the graph's order, until it cannot be made larger. The
    time per surrogate is polynomial; there can be exponentially many surrogates, and not each
    leads to an instrument.

    Args:
        graph: The diagram under the expert.
        action: What the agent sets.
        reward: What is to have the same law.
        policy_inputs: What a policy may use; nothing that the action affects.
        latent: Nodes without data; None means that the reward is the only one.

    Raises:
        GraphError: A node is not in the graph, the roles overlap, the action affects an input, or
            the action or an input is latent.

    References:
        Zhang, Kumor and Bareinboim (2020); Correa and
        Bareinboim (2020), A calculus for stochastic interventions, for the effects of policies.

    Example:
        >>> graph = ADMG.parse("Z -> X -> M -> S -> Y; X <-> S")
        >>> find_imitation_policy_set(graph, "X", "Y", "Z") is None
        True
        >>> next(imitation_instruments(graph, "X", "Y", "Z"))
        ImitationInstrument(surrogate=('S',), policy_inputs=('Z',))
    """
    inputs = _policy_inputs(graph, action, reward, policy_inputs)
    hidden = graph.mask((reward,) if latent is None else latent)
    refuse_overlap(graph, action=graph.mask((action,)), latent=hidden)
    refuse_overlap(graph, policy_inputs=inputs, latent=hidden)
    return _instruments(graph, action, reward, inputs, graph.all_mask & ~hidden)


def _instruments(
    graph: ADMG, action: str, reward: str, inputs: int, observed: int
) -> Iterator[ImitationInstrument]:
    seen = graph.latent_projection(graph.names_in_order(observed))
    switched, switch = _with_switch(graph, action, 0)
    surrogates = minimal_separators(
        switched, (switch,), (reward,), (), graph.names_in_order(observed & ~graph.mask((reward,)))
    )
    if reward in seen:
        yield from _grown(graph, seen, action, reward, inputs, frozenset((reward,)))
    for surrogate in surrogates:
        yield from _grown(graph, seen, action, reward, inputs, surrogate)


def _grown(
    graph: ADMG, seen: ADMG, action: str, reward: str, inputs: int, surrogate: frozenset[str]
) -> Iterator[ImitationInstrument]:
    """Give a surrogate the policies that go with it, if any do."""

    def is_instrument(chosen: int) -> bool:
        names = graph.names_in_order(chosen)
        if not is_policy_effect_identifiable(seen, action, names, surrogate):
            return False
        switched, switch = _with_switch(graph, action, chosen)
        return reward in surrogate or is_separated(switched, (switch,), (reward,), surrogate)

    if not is_instrument(0):
        return
    chosen = 0
    # more inputs never help a set to be a surrogate or its law to be identified
    for i in iterate_bits(inputs):
        if is_instrument(chosen | 1 << i):
            chosen |= 1 << i
    yield ImitationInstrument(graph.in_order(surrogate), graph.names_in_order(chosen))


def _with_switch(graph: ADMG, action: str, inputs: int) -> tuple[ADMG, str]:
    """Add arrows from the inputs to the action, and a node that says who acts: expert or policy."""
    switch = "switch"
    while switch in graph:
        switch += "'"
    edges = [(name, action) for name in (switch, *graph.names_in_order(inputs))]
    nodes = (*graph.nodes, switch)
    return ADMG(nodes, (*graph.directed_edges, *edges), graph.bidirected_edges), switch


@takes_diagram
def is_policy_effect_identifiable(
    graph: ADMG, action: str, policy_inputs: Nodes, outcome: Nodes
) -> bool:
    """Say whether the law of some outcomes under any policy with these inputs follows from data.

    Args:
        graph: A diagram over observed variables.
        action: What the policy sets.
        policy_inputs: What it uses.
        outcome: The variables whose law is asked; the action may be one.

    References:
        Tian (2008), Identifying dynamic sequential plans; Correa and Bareinboim (2020) for
        completeness.

    Example:
        >>> graph = ADMG.parse("X -> Z -> Y; X <-> Y; C -> {X, Y}")
        >>> is_policy_effect_identifiable(graph, "X", "C", "Y")
        True
        >>> is_policy_effect_identifiable(ADMG.parse("X -> Y; X <-> Y"), "X", (), "Y")
        False
    """
    x = graph.mask((action,))
    parents = list(graph.parent_masks)
    parents[x.bit_length() - 1] = graph.mask(policy_inputs)
    needed = closure(graph.mask(outcome), parents) & ~x
    districts = district_masks(graph.sibling_masks, needed)
    return all(_is_c_factor_identifiable(graph, district) for district in districts)


def _is_c_factor_identifiable(graph: ADMG, target: int) -> bool:
    """Follow Tian's recursion, without its formula."""
    region = graph.all_mask
    while True:
        kept = reach(target, graph.parent_masks, graph.all_mask & ~region)
        if kept == target:
            return True
        (district,) = (d for d in district_masks(graph.sibling_masks, kept) if d & target)
        if district == region:
            return False
        region = district
