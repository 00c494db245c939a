"""All sets between two bounds, when one can tell whether there is any."""

from collections.abc import Callable, Iterator


def sets_between(included: int, allowed: int, exists: Callable[[int, int], bool]) -> Iterator[int]:
    """List the sets, as bits, that hold ``included`` and are part of ``allowed``.

    Each node is decided in turn, first out, then in, and a branch is entered only if it holds a
    set: between one set and the next there are at most two questions per node.

    Args:
        included: Nodes that must be in the set.
        allowed: Nodes that may be in the set.
        exists: Says whether some set between two bounds is among those to be listed.

    Example:
        >>> holds_two = lambda low, high: high.bit_count() >= 2 >= low.bit_count()
        >>> [bin(found) for found in sets_between(0, 0b111, holds_two)]
        ['0b110', '0b101', '0b11']
    """
    pending = [(included, allowed)] if exists(included, allowed) else []
    while pending:
        low, high = pending.pop()
        node = high & ~low & -(high & ~low)
        if not node:
            yield low
            continue
        branches = ((low | node, high), (low, high & ~node))
        pending.extend(bounds for bounds in branches if exists(*bounds))
