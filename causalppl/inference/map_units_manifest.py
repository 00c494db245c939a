"""What a folder of results was begun with, so that only the same call goes on with it."""

import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

from causalppl.exceptions import DataError
from causalppl.inference.map_units_model import find_difference
from causalppl.seeding import checked_seed

_MANIFEST = "manifest.json"


def checked_folder(destination: Any) -> Path:
    """Return the folder that a destination is or can become; nothing is made.

    Raises:
        DataError: It is no path, or a file is in the way.
    """
    if not isinstance(destination, str | PathLike):
        raise DataError(
            f"the destination is a {type(destination).__name__}; expected the path of a folder"
        )
    folder = Path(destination)
    files = [path for path in (folder, *folder.parents) if path.is_file()]
    if files:
        raise DataError(
            f"the destination {folder} cannot be a folder, as {files[0]} is a file; expected a "
            "folder, or a path that is free"
        )
    return folder


def claim(folder: Path, wanted: dict[str, Any], seed: int | None) -> int:
    """Begin in a folder, or go on with what was begun there.

    Args:
        folder: Where; made if need be.
        wanted: What the results depend on, in plain values; ``"model"`` is a `model_mark`.
        seed: The seed, if one is asked for.

    Returns:
        The seed to use.

    Raises:
        DataError: The folder was begun with something else, or holds other things.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _MANIFEST
    if path.exists():
        return _resumed(path, wanted, seed)
    others = sorted(file.name for file in folder.iterdir() if not file.name.endswith(".tmp"))
    if others:
        raise DataError(
            f"the folder {folder} holds {others[0]!r} and no manifest of an earlier call; expected "
            "an empty or a new folder"
        )
    used_seed = checked_seed(seed)
    text = json.dumps({"seed": used_seed, **wanted}, indent=1, ensure_ascii=False)
    with appearing(path) as hidden:
        hidden.write_text(text, encoding="utf-8")
    return used_seed


def _resumed(path: Path, wanted: dict[str, Any], seed: int | None) -> int:
    try:
        begun = json.loads(path.read_text(encoding="utf-8"))
        used_seed = int(begun["seed"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no manifest ({error}); expected a new folder") from error
    asked = {"seed": used_seed if seed is None else seed, **wanted}
    for name, value in asked.items():
        found = begun.get(name)
        difference = None
        if name == "model":
            difference = find_difference(found, value)
        elif found != value:
            difference = " now ".join(f"{json.dumps(each)[:120]}," for each in (found, value))
        if difference is not None:
            raise DataError(
                f"the folder {path.parent} was begun with another {name}: "
                f"{difference.rstrip(',')}; expected the same call, or a new folder"
            )
    return used_seed


def file_mark(path: Path) -> dict[str, Any]:
    """Describe a file by its name, size and digest."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "blake2b").hexdigest()[:32]
    return {"file": path.name, "bytes": path.stat().st_size, "digest": digest}


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """A hidden file to write; it gets its name when it is whole and on the disk."""
    hidden = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    yield hidden
    with hidden.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(hidden, path)
