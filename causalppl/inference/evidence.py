"""Evidence as users give it, brought to one tensor per site."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyro.poutine.messenger import Messenger

from causalppl.data.column import listed
from causalppl.data.table import Table
from causalppl.exceptions import DataError
from causalppl.given import told
from causalppl.inference.evidence_support import check_support
from causalppl.programs.scm import SCM
from causalppl.programs.structure import Site
from causalppl.seeding import forked_rng
from causalppl.spelling import spelling


@dataclass(frozen=True)
class Evidence:
    """Evidence on some sites, for a number of units.

    Attributes:
        values: Key (``"Y"`` or ``"Y@x0"``) to values, ``(num_units, *event)``; 0 where missing.
        missing: Key to a mask of the units whose value is missing; only keys that have some.
        num_units: Number of units.
        has_units: Whether the units were given (as rows); False for a single unnamed unit.
        notes: Sentences for the reader.
        labels: Names of the units, from a table's index.
    """

    values: Mapping[str, torch.Tensor]
    missing: Mapping[str, torch.Tensor]
    num_units: int
    has_units: bool
    notes: tuple[str, ...] = ()
    labels: tuple[Any, ...] | None = None

    def patterns(self) -> list[tuple[torch.Tensor | None, dict[str, torch.Tensor]]]:
        """Split the units by which of their values are missing.

        Returns:
            Pairs of unit indices (None: all of them) and the evidence these units have.
        """
        if not self.missing:
            return [(None, dict(self.values))]
        masks = torch.stack(list(self.missing.values()), 1)
        kinds, which = torch.unique(masks, dim=0, return_inverse=True)
        result: list[tuple[torch.Tensor | None, dict[str, torch.Tensor]]] = []
        for kind, absent in enumerate(kinds.tolist()):
            units = (which == kind).nonzero().squeeze(1)
            lacking = {key for key, gone in zip(self.missing, absent, strict=True) if gone}
            kept = {k: v[units] for k, v in self.values.items() if k not in lacking}
            result.append((units, kept))
        return result


def read_evidence(scm: SCM, source: Any, from_query: Mapping[str, Any]) -> Evidence:
    """Bring evidence to tensors.

    Args:
        scm: The model.
        source: None, a mapping from key to value (one value, or one per unit), a series of pandas
            (one unit), or a table or a list of mappings (one row per unit).
        from_query: Evidence that stands in the query: key to value.

    Raises:
        DataError: An unknown site, a category that is not there, units of unequal length, a shape
            that does not fit, an infinite value.
        ImpossibleEvidenceError: A value lies outside the support of its site.
    """
    raw, notes = _as_mapping(scm, source)
    for key, value in from_query.items():
        if key in raw:
            raise DataError(
                f"evidence on {key!r} stands both in the query and in evidence=; give it once"
            )
        raw[key] = value
    columns = {key: _tensor(scm, key, value) for key, value in raw.items()}
    lengths = {key: len(c.values) for key, c in columns.items() if c.has_units}
    if len(set(lengths.values())) > 1:
        raise DataError(
            f"evidence has units of unequal number: {lengths}; expected one value per unit for "
            "each site, or a single value"
        )
    num_units = next(iter(lengths.values()), 1)
    if num_units == 0:
        raise DataError("evidence has no rows; expected at least one unit")
    values, missing = {}, {}
    for key, column in columns.items():
        values[key] = column.values.expand(num_units, *column.values.shape[1:])
        absent = column.missing.expand(num_units)
        if bool(absent.any()):
            missing[key] = absent
            notes.extend(_partial_note(key, column, num_units))
            notes.append(
                f"{int(absent.sum())} of {num_units} units have no value of {key}, which was "
                "treated as unobserved for them"
            )
    _check_possible(scm, values, missing)
    _add_program_evidence(scm, values, num_units)
    labels = _labels(source) if lengths else None
    return Evidence(values, missing, num_units, bool(lengths), tuple(notes), labels)


@dataclass(frozen=True)
class _Column:
    values: torch.Tensor
    missing: torch.Tensor
    has_units: bool
    is_partial: torch.Tensor | None = None  # units that lack some entries of a vector, not all


def _partial_note(key: str, column: _Column, num_units: int) -> list[str]:
    if column.is_partial is None or not bool(column.is_partial.any()):
        return []
    count = int(column.is_partial.expand(num_units).sum())
    return [
        f"{count} of {num_units} units have only some of the entries of the vector {key}: for "
        "them the whole vector was left out, the entries that they have included; write its "
        "entries as sites of their own to use these"
    ]


def _as_mapping(scm: SCM, source: Any) -> tuple[dict[str, Any], list[str]]:
    if source is None:
        return {}, []
    if isinstance(source, Mapping):
        return {str(key): value for key, value in source.items()}, []
    row = _of_series(source)
    if row is not None:
        known, notes = _sites_among(scm, row, "entries (a series is taken for one unit)")
        return {name: row[name] for name in known}, notes
    table = source if isinstance(source, Table) else Table.from_any(source)
    known, notes = _sites_among(scm, table, "columns")
    return {name: table.column(name) for name in known}, notes


def _sites_among(scm: SCM, names: Iterable[str], what: str) -> tuple[list[str], list[str]]:
    """Return the names that are sites, and a note of the others."""
    sites = scm.structure.unit_sites
    known = [name for name in names if name.split("@")[0] in sites]
    left_out = [name for name in names if name not in known]
    if not known:
        raise DataError(
            f"the evidence has the {what} {listed(left_out)}, none of which is a site; the sites "
            f"are {', '.join(sites)}"
        )
    if not left_out:
        return known, []
    return known, [f"the {what} {', '.join(left_out)} are not sites and were not used"]


def _of_series(source: Any) -> dict[str, Any] | None:
    """Read a series of pandas, such as ``data.iloc[0]``, as one unit; None if it is none."""
    import pandas as pd

    if not isinstance(source, pd.Series):
        return None
    present = source.astype(object).where(source.notna(), np.nan)
    return {str(name): value for name, value in present.items()}


def _tensor(scm: SCM, key: str, value: Any) -> _Column:
    site = _site(scm, key)
    if hasattr(value, "missing") and hasattr(value, "categories"):  # a column of a table
        return _from_column(scm, key, site, value)
    if value is None or type(value).__name__ == "NAType":
        value = torch.full(site.event_shape, torch.nan)
    if isinstance(value, str):
        value = scm.encode({key: value})[key]
    if isinstance(value, list | tuple | np.ndarray) or hasattr(value, "to_numpy"):
        value = _from_sequence(scm, key, value)
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(
            f"the evidence on {key!r} is {told(value)}; expected a number, a category's name, or "
            "one of these for each unit"
        ) from None
    if tensor.dim() == len(site.event_shape):
        tensor, has_units = tensor.unsqueeze(0), False
    else:
        has_units = True
    if tuple(tensor.shape[1:]) != site.event_shape:
        raise DataError(
            f"the evidence on {key!r} has shape {tuple(tensor.shape)}; expected "
            f"{site.event_shape} for one unit, or {('units', *site.event_shape)}"
        )
    return _checked(key, site, tensor, has_units, keep_dtype=isinstance(value, torch.Tensor))


def _from_sequence(scm: SCM, key: str, value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype.kind in "OUS":
        texts = [v for v in array.ravel().tolist() if isinstance(v, str)]
        if texts:
            codes = {text: scm.encode({key: text})[key] for text in dict.fromkeys(texts)}
            flat = [codes[v] if isinstance(v, str) else np.nan for v in array.ravel().tolist()]
            return np.asarray(flat, dtype=float).reshape(array.shape)
        array = np.asarray([np.nan if v is None else v for v in array.ravel()], dtype=float)
    return np.ascontiguousarray(array)


def _from_column(scm: SCM, key: str, site: Site, column: Any) -> _Column:
    values, missing = column.values, column.missing
    if column.categories is not None:
        codes = [scm.encode({key: str(c)})[key] for c in column.categories]
        # a column in which nothing is seen has no categories
        values = torch.as_tensor(codes or [0], device=values.device)[values.clamp_min(0)]
    if values.is_floating_point() and missing is not None:
        values = torch.where(missing, torch.nan, values)
    checked = _checked(key, site, values, True, keep_dtype=False)
    if missing is not None:
        return _Column(checked.values, checked.missing | missing, True, checked.is_partial)
    return checked


def _checked(
    key: str, site: Site, tensor: torch.Tensor, has_units: bool, *, keep_dtype: bool
) -> _Column:
    missing = torch.zeros(len(tensor), dtype=torch.bool, device=tensor.device)
    partial = missing
    if tensor.is_floating_point():
        missing = torch.isnan(tensor)
        if tensor.dim() > 1:
            entries = missing.flatten(1)
            missing = entries.any(1)
            partial = missing & ~entries.all(1)
        tensor = torch.where(torch.isnan(tensor), 0.0, tensor)
        if bool(torch.isinf(tensor).any()):
            raise DataError(f"the evidence on {key!r} is infinite; give finite values")
    if not site.dtype.is_floating_point:
        whole = tensor.round() if tensor.is_floating_point() else tensor
        if bool((whole != tensor).any()):
            raise DataError(
                f"the evidence on {key!r} is not a whole number, but the site holds {site.dtype}"
            )
        tensor = whole.to(site.dtype)
    elif not (keep_dtype and tensor.is_floating_point()):
        tensor = tensor.to(torch.get_default_dtype())
    return _Column(tensor, missing, has_units, partial)


def _labels(source: Any) -> tuple[Any, ...] | None:
    """Return a pandas index, unless it only counts."""
    index = getattr(source, "index", None)
    if index is None or callable(index) or type(index).__name__ == "RangeIndex":
        return None
    return tuple(index.tolist()) if index.nlevels == 1 and index.is_unique else None


def _check_possible(
    scm: SCM, values: Mapping[str, torch.Tensor], missing: Mapping[str, torch.Tensor]
) -> None:
    for key, value in values.items():
        site = _site(scm, key)
        law = scm.laws.get(site.name)
        if site.kind == "sample" and len(site.plates) == 1 and law is not None:
            check_support(key, site, law, value, missing.get(key))


def _site(scm: SCM, key: str) -> Site:
    sites = scm.structure.sites
    name = key if key in sites else key.rpartition("@")[0] or key
    if name not in sites or not sites[name].is_unit:
        raise DataError(
            f"evidence names {key!r}, which is not a unit site of the program; it has "
            f"{', '.join(scm.structure.unit_sites)}{spelling(name, scm.structure.unit_sites)}"
        )
    site = sites[name]
    if len(site.plates) > 1:
        raise DataError(
            f"evidence on {key!r} is not supported: the site lies in the inner plate "
            f"{site.plates[0]!r}; write it as one vector-valued site with .to_event(1)"
        )
    return site


def _add_program_evidence(scm: SCM, values: dict[str, torch.Tensor], num_units: int) -> None:
    """Take over what the program itself observes (``obs=`` or ``pyro.condition``)."""
    names = [
        name
        for name, site in scm.structure.sites.items()
        if site.is_observed and site.is_unit and name not in values
    ]
    if not names:
        return
    reader = _ObservedReader(frozenset(names))
    with forked_rng(0), scm.running(), torch.no_grad(), reader:
        scm.program(num_units)
    for name, value in reader.values.items():
        event = scm.structure.sites[name].event_shape
        values[name] = value.expand(num_units, *event)


class _ObservedReader(Messenger):
    def __init__(self, names: frozenset[str]) -> None:
        super().__init__()
        self._names = names
        self.values: dict[str, torch.Tensor] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self._names:
            self.values[msg["name"]] = msg["value"]
