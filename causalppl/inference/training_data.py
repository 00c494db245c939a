"""A table brought to what a program's sites need to be fitted: one checked tensor per site."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch

from causalppl.data.column import Column
from causalppl.data.reading import joined_records
from causalppl.data.table import Table
from causalppl.exceptions import DataError
from causalppl.programs.scm import SCM
from causalppl.programs.structure import UNITS, Site

Missing: TypeAlias = Literal["refuse", "drop", "latent"]
"""What to do with missing values."""

_LOGGER = logging.getLogger("causalppl")


@dataclass(frozen=True)
class TrainingData:
    """Values of the sites that have data.

    Attributes:
        values: Site to values, shape ``(rows, *plates, *event)``; any number where missing.
        gaps: Site to a mask of the rows without a value, shape ``(rows,)``; only sites with some.
        num_rows: Number of rows.
        categories: Site to the names of its codes, the model's own ones included.
        notes: Sentences for the reader.
    """

    values: Mapping[str, torch.Tensor]
    gaps: Mapping[str, torch.Tensor]
    num_rows: int
    categories: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()

    @property
    def dtype(self) -> torch.dtype:
        """The widest floating type among the values and the default."""
        dtype = torch.get_default_dtype()
        for value in self.values.values():
            if value.is_floating_point():
                dtype = torch.promote_types(dtype, value.dtype)
        return dtype

    @property
    def device(self) -> torch.device:
        """Where the values are."""
        return next(iter(self.values.values())).device


def read_training_data(scm: SCM, data: Any, missing: Missing) -> TrainingData:
    """Match the columns of a table to the observed sites of a model.

    Args:
        scm: The model.
        data: Whatever `Table.from_any` reads.
        missing: What to do with missing values, see `fit`.

    Raises:
        DataError: An observed site has no column, a value is missing and may not be, a column does
            not fit its site, or the columns lie on different devices.
    """
    if missing not in ("refuse", "drop", "latent"):
        raise DataError(f"missing is {missing!r}; expected 'refuse', 'drop' or 'latent'")
    data = joined_records(data)
    wanted = _sites_with_data(scm)
    names = _column_names(data)
    known = [name for name in wanted if name in names]
    _check_lacking(scm, wanted, names, missing)
    table = Table.from_any(data, columns=known)
    if table.num_rows == 0:
        raise DataError("the data have no rows; expected at least one")
    notes = _left_out(scm, names, known)
    notes += [
        f"{name} has no column and was treated as latent"
        for name in wanted
        if name not in names and not scm.structure.sites[name].is_observed
    ]
    table, more = _without_missing(table, missing)
    notes += more
    for note in notes:
        _LOGGER.info(note)
    read = {name: _read(scm, scm.structure.sites[name], table.column(name)) for name in known}
    devices = {str(value.device) for value, _ in read.values()}
    if len(devices) > 1:
        raise DataError(f"the columns lie on {', '.join(sorted(devices))}; move them to one device")
    found = {name: categories for name, (_, categories) in read.items() if categories}
    for name, (first, second, *_) in ((n, c) for n, c in found.items() if len(c) > 1):
        if scm.structure.sites[name].family == "Bernoulli":
            notes.append(f"{name} is 0 for {first!r} and 1 for {second!r}")
    masks = {name: table.column(name).missing for name in known}
    return TrainingData(
        {name: value for name, (value, _) in read.items()},
        {name: mask for name, mask in masks.items() if mask is not None},
        table.num_rows,
        {**scm.categories, **found},
        tuple(notes),
    )


def _sites_with_data(scm: SCM) -> list[str]:
    sites = scm.structure.sites
    return [
        name
        for name in scm.observed
        # pyro.factor is a sample statement too, of the family Unit
        if sites[name].kind == "sample" and sites[name].family != "Unit"
    ]


def _column_names(data: Any) -> list[str]:
    """Return the names of the columns, without reading columns that a table cannot hold."""
    if isinstance(data, Mapping):
        return list(data)
    for attribute in ("column_names", "columns"):  # Arrow; pandas, polars, Table
        found = getattr(data, attribute, None)
        if found is not None and (attribute == "column_names" or not hasattr(data, "column_names")):
            return list(found)
    names = getattr(getattr(data, "dtype", None), "names", None)
    return list(names) if names else list(Table.from_any(data).names)


def _check_lacking(scm: SCM, wanted: list[str], names: list[str], missing: Missing) -> None:
    sites = scm.structure.sites
    lacking = [name for name in wanted if name not in names and not sites[name].is_observed]
    if lacking and (missing != "latent" or len(lacking) == len(wanted)):
        have = ", ".join(map(str, names[:40])) + (" ..." if len(names) > 40 else "")
        raise DataError(
            f"the data have no column for the observed site{'s' * (len(lacking) > 1)} "
            f"{', '.join(map(repr, lacking))}; the columns are {have}; rename a column, name the "
            "sites with data in SCM(..., observed=[...]), or treat it as latent with "
            "missing='latent'"
        )
    if not wanted:
        raise DataError("the model has no observed sample site, so data say nothing about it")


def _left_out(scm: SCM, names: list[str], known: list[str]) -> list[str]:
    extra = [str(name) for name in names if name not in known]
    latent = [name for name in extra if name in scm.latent]
    computed = [
        name
        for name in extra
        if name in scm.observed and scm.structure.sites[name].kind == "deterministic"
    ]
    others = [name for name in extra if name not in {*latent, *computed}]
    notes = []
    if others:
        notes.append(f"columns that are not sites of the program were left out: {_some(others)}")
    if latent:
        notes.append(f"columns of sites declared latent were left out: {_some(latent)}")
    if computed:
        notes.append(f"columns of deterministic sites were left out: {_some(computed)}")
    return notes


def _some(names: list[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def _without_missing(table: Table, missing: Missing) -> tuple[Table, list[str]]:
    counts = {name: count for name, count in table.count_missing().items() if count}
    if not counts:
        return table, []
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    if missing == "refuse":
        raise DataError(
            f"values are missing (by column: {listed}; rows: {table.num_rows}); drop incomplete "
            "rows with missing='drop', or infer the missing values with missing='latent'"
        )
    if missing == "drop":
        kept = table.drop_missing()
        gone = table.num_rows - kept.num_rows
        return kept, [f"{gone} of {table.num_rows} rows with missing values were dropped"]
    return table, [f"missing values were treated as unobserved (by column: {listed})"]


def _read(scm: SCM, site: Site, column: Column) -> tuple[torch.Tensor, tuple[str, ...] | None]:
    name, values = site.name, column.values
    categories: tuple[str, ...] | None = None
    if column.categories is not None:
        values, categories = _codes(scm, site, column)
    values = _shaped(site, values)
    gap = column.missing
    if gap is not None:
        empty = gap.reshape(-1, *[1] * (values.dim() - 1))
        values = values.masked_fill(empty, _filler(values, gap))
    if site.is_discrete:
        if values.is_floating_point() and bool((values != values.round()).any()):
            raise DataError(
                f"column {name!r} holds {_first(values, values != values.round())}, but the site "
                f"{name!r} ({site.family}) takes whole numbers; round or encode the column"
            )
        if name in scm.categories and column.categories is None:
            _check_codes(scm, name, values)
        return values.to(site.dtype), categories
    return (values if values.is_floating_point() else values.to(site.dtype)), categories


def _filler(values: torch.Tensor, gap: torch.Tensor) -> Any:
    """Return a value that the site can have, to stand where one is missing."""
    present = values[~gap]
    if not len(present):
        raise DataError("a column has no value at all; leave it out")
    return present.reshape(-1)[0].item()


def _codes(scm: SCM, site: Site, column: Column) -> tuple[torch.Tensor, tuple[str, ...]]:
    assert column.categories is not None
    names = tuple(str(category) for category in column.categories)
    declared = scm.categories.get(site.name)
    if not site.is_discrete:
        raise DataError(
            f"column {site.name!r} holds the categories {_some(list(names))}, but the site "
            f"{site.name!r} ({site.family}) is continuous; encode the column as numbers"
        )
    if site.family == "Bernoulli":
        _check_two(site.name, names, declared)
    if declared is None:
        return column.values, names
    unknown = [name for name in names if name not in declared]
    if unknown:
        raise DataError(
            f"column {site.name!r} has {_some(unknown)}, which the model does not declare; its "
            f"categories are {', '.join(declared)}"
        )
    order = torch.tensor([declared.index(name) for name in names], device=column.values.device)
    return order[column.values.clamp_min(0)], declared


def _check_two(name: str, names: tuple[str, ...], declared: tuple[str, ...] | None) -> None:
    """Raise unless text in a column of a Bernoulli site says which of two is 0 and which is 1."""
    known = names if declared is None else declared
    if len(known) == 2:
        return
    raise DataError(
        f"column {name!r} holds the categories {_some(list(map(repr, names)))}, but the site "
        f"{name!r} (Bernoulli) takes two values, and {len(known)} "
        f"{'category is' if len(known) == 1 else 'categories are'} known; merge categories, name "
        f"both in SCM(..., categories={{{name!r}: [of 0, of 1]}}), or choose Categorical"
    )


def _check_codes(scm: SCM, name: str, values: torch.Tensor) -> None:
    count = len(scm.categories[name])
    outside = (values < 0) | (values >= count)
    if bool(outside.any()):
        raise DataError(
            f"column {name!r} holds the code {_first(values, outside)}, but the model declares "
            f"{count} categories, with codes 0 to {count - 1}"
        )


def _shaped(site: Site, values: torch.Tensor) -> torch.Tensor:
    expected = len(site.plates) - 1 + site.event_dim
    rest = tuple(values.shape[1:])
    if len(rest) != expected or rest[len(rest) - site.event_dim :] != site.event_shape:
        plates = [f"<{plate}>" for plate in site.plates if plate != UNITS]
        shape = ", ".join(map(str, ["rows", *plates, *site.event_shape]))
        raise DataError(
            f"column {site.name!r} has shape {tuple(values.shape)}; expected ({shape}) for the "
            f"site {site.name!r}"
        )
    return values


def _first(values: torch.Tensor, where: torch.Tensor) -> str:
    return f"{values[where][0].item():g}"
