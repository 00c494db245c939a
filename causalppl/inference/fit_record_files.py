"""Records of fits in plain values and tensors.

| name | what it does | paper |
|---|---|---|
| `plain_record` | a record in plain values | - |
| `read_record` | and back | - |
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, cast

import torch

from causalppl.exceptions import DataError, FitError
from causalppl.inference.fit_method import FitMethod, FitRecord, FitTask, Fitted
from causalppl.inference.nuts_fit import NUTSFit
from causalppl.inference.svi_fit import SVIFit
from causalppl.inference.training_data import TrainingData

__all__ = ["SavedMethod", "plain_record", "read_record"]

_METHODS: dict[str, type[FitMethod]] = {kind.__name__: kind for kind in (SVIFit, NUTSFit)}


@dataclass(frozen=True)
class SavedMethod(FitMethod):
    """A way of fitting of which a file holds the name and the settings, but not the code.

    Attributes:
        called: Its name.
        settings: Its settings, as text where they are not plain.
    """

    called: str
    settings: Mapping[str, Any]

    @property
    def name(self) -> str:
        """See `FitMethod.name`."""
        return self.called

    def run(self, task: FitTask) -> Fitted:
        """Refuse.

        Raises:
            FitError: Always.
        """
        raise FitError(
            f"{self.called} was read from a file, which does not hold its code; make it anew"
        )


def plain_record(record: Any, *, with_data: bool) -> dict[str, Any] | None:
    """Turn a record into plain values and tensors.

    Raises:
        DataError: It is not the record of a fit.
    """
    if record is None:
        return None
    if not isinstance(record, FitRecord):
        raise DataError(
            f"the model's fit_record is a {type(record).__name__}, which a file cannot hold; leave "
            "it out: model.with_parameters(model.parameters)"
        )
    data = record.data if with_data else None
    return {
        "method": record.method.name,
        "settings": _plain(_settings(record.method)),
        "num_rows": record.num_rows,
        "seed": record.seed,
        "elbo": record.elbo.detach().clone(),
        "diagnostics": _plain(record.diagnostics),
        "notes": list(record.notes),
        "data": None if data is None else _plain(vars(data)),
    }


def read_record(plain: Mapping[str, Any] | None) -> FitRecord | None:
    """Invert `plain_record`."""
    if plain is None:
        return None
    data = plain["data"]
    if data is not None:
        categories = {name: tuple(known) for name, known in data["categories"].items()}
        data = TrainingData(**{**data, "categories": categories, "notes": tuple(data["notes"])})
    return FitRecord(
        method=_method(plain["method"], plain["settings"]),
        num_rows=plain["num_rows"],
        seed=plain["seed"],
        elbo=plain["elbo"],
        diagnostics=plain["diagnostics"],
        notes=tuple(plain["notes"]),
        data=data,
    )


def _settings(method: FitMethod) -> Mapping[str, Any]:
    if isinstance(method, SavedMethod):
        return method.settings
    # by the contract of FitMethod it is a dataclass
    return {each.name: getattr(method, each.name) for each in fields(cast(Any, method))}


def _method(name: str, settings: Mapping[str, Any]) -> FitMethod:
    """Make a known way of fitting anew; a guide is code, which is kept by name only."""
    if name not in _METHODS or settings.get("guide") is not None:
        return SavedMethod(name, settings)
    return _METHODS[name](**settings)


def _plain(value: Any) -> Any:
    """Keep tensors and plain values, go through containers, and turn the rest into text."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "tolist"):  # numpy
        return value.tolist()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return getattr(value, "__name__", type(value).__name__)
