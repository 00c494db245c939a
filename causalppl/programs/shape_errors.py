"""What a program must write where its shapes leave no room for the units."""

import re
from collections.abc import Mapping
from typing import Any

from causalppl.exceptions import ProgramError
from causalppl.programs.provenance import failing_line

_OF_SHAPES = re.compile(
    r"size of tensor|(shape|size) mismatch|shapes? cannot be|tensor size|broadcast|must match|"
    r"out of bounds for dimension|dimension out of range|same (size|shape)|"
    r"invalid for input of size",
    re.IGNORECASE,
)


def failed_reading(
    error: Exception, num_units: int, dims: Mapping[str, int], sites: Mapping[str, Any]
) -> ProgramError:
    """Tell why a program failed while its structure was read; shapes are explained.

    Args:
        error: What it raised.
        num_units: How many units it was run for.
        dims: Plate to its batch dimension (negative); ``units`` first.
        sites: Site read so far to its ``plates`` and its ``event_shape``.

    Returns:
        An error that holds the first one's words and, where these speak of shapes, where the
        units stand and what to write.
    """
    if not isinstance(error, RuntimeError | ValueError | IndexError) or not _OF_SHAPES.search(
        str(error)
    ):
        return ProgramError(
            f"the program failed while its structure was read: {type(error).__name__}: {error}"
        )
    units = dims.get("units", -1)
    remedies = [_over_plate(p, dims, sites) for p in dims if p != "units"]
    remedies += [_of_vector(name, num_units, found) for name, found in sites.items()]
    written = "; ".join(filter(None, remedies)) or (
        "declare a vector of one unit with .to_event(1), join numbers with "
        "torch.stack([a, b], -1), and put a number beside a vector, or into a module, as "
        "z[..., None]"
    )
    return ProgramError(
        f"{failing_line(error)}: the program failed while its structure was read, as shapes do not "
        f"fit together; it is run for all units at once ({num_units} here), which stand on dim "
        f"{units} of each value, left of what .to_event makes a vector; {written} "
        f"({type(error).__name__}: {error})"
    )


def _over_plate(plate: str, dims: Mapping[str, int], sites: Mapping[str, Any]) -> str:
    inside = [name for name, found in sites.items() if plate in found["plates"]]
    if not inside:
        return ""
    dim = dims[plate] - len(sites[inside[0]]["event_shape"])
    # only the leftmost dimension can go without moving the others
    kept = "" if dims[plate] == min(dims.values()) else ", keepdim=True"
    return (
        f"the plate {plate!r} is on dim {dim} of {inside[0]!r}: reduce over it as in "
        f"{inside[0]}.sum({dim}{kept})"
    )


def _of_vector(name: str, num_units: int, found: Mapping[str, Any]) -> str:
    if found["plates"] != ("units",) or not found["event_shape"]:
        return ""
    entry = ", ".join("0" for _ in found["event_shape"])
    beside = ", ".join("None" for _ in found["event_shape"])
    return (
        f"{name!r} has shape {(num_units, *found['event_shape'])}: take its entries from the "
        f"right, as in {name}[..., {entry}], and put a number z of the unit beside it as "
        f"z[..., {beside}]"
    )
