"""Counterfactuals of the units in files, batch by batch, from Parquet to Parquet.

| name | what it does | paper |
|---|---|---|
| `map_units` | stream units through `infer`; resumes where it was stopped | - |
| `MappedUnits` | what was written, and how to read it | - |
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch

from causalppl.data import Table
from causalppl.data.counts import find_files
from causalppl.data.reading import checked_names
from causalppl.exceptions import CausalPPLError, DataError
from causalppl.inference.engine import Engine
from causalppl.inference.infer import infer
from causalppl.inference.map_units_manifest import appearing, checked_folder, claim, file_mark
from causalppl.inference.map_units_model import model_mark
from causalppl.inference.map_units_rows import ParquetRows, checked_source, pyarrow
from causalppl.inference.posterior import Posterior
from causalppl.inference.question import read_question
from causalppl.inference.settings import check_counts
from causalppl.parallel import ParallelEngine, parallel_map
from causalppl.programs.scm import SCM
from causalppl.queries import Contrast, Query
from causalppl.seeding import checked_seed, spawn_seeds
from causalppl.typing import Program

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MappedUnits", "map_units"]

Support: TypeAlias = list[tuple[str, Any]] | None  # names and values, where they are finitely many

_LONGEST_SPAN = 16  # batches read in one go: a row group is decoded from its start
_MOST_STATES = 64  # of a variable whose probabilities are written one by one


@dataclass(frozen=True)
class MappedUnits:
    """The counterfactuals of many units, in files.

    Attributes:
        rows: Number of units.
        batches: Number of files.
        destination: Their folder.
        seconds: How long this call took.
        computed: Batches that this call computed; the others were there.

    Example:
        >>> import tempfile
        >>> import pandas as pd, pyro, pyro.distributions as dist, torch
        >>> def program():
        ...     x = pyro.sample("X", dist.Normal(0.0, 1.0))
        ...     pyro.sample("Y", dist.Normal(2 * x, 1.0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     units = pd.DataFrame({"X": [1.0, 2.0], "Y": [3.0, 4.0]})
        ...     units.to_parquet(f"{folder}/units.parquet")
        ...     record = map_units(
        ...         program, "E[Y_{X=0}]", f"{folder}/units.parquet", f"{folder}/out", seed=0
        ...     )
        >>> record.rows, record.computed
        (2, 1)
    """

    rows: int
    batches: int
    destination: Path
    seconds: float
    computed: int

    @property
    def files(self) -> list[Path]:
        """One file for each batch, in the order of the units."""
        return [_batch_file(self.destination, number) for number in range(self.batches)]

    def to_dataset(self) -> Any:
        """The files as one Arrow dataset; nothing is read yet.

        Raises:
            MissingExtraError: pyarrow is not installed.
        """
        return pyarrow("pyarrow.dataset").dataset([str(file) for file in self.files])

    def to_arrow(self, columns: Sequence[str] | None = None) -> Any:
        """Read all, or some columns, as an Arrow table in the order of the units.

        Args:
            columns: Names of the columns; None: all.

        Raises:
            MissingExtraError: pyarrow is not installed.
        """
        return self.to_dataset().to_table(columns=None if columns is None else list(columns))

    def to_pandas(self, columns: Sequence[str] | None = None) -> "pd.DataFrame":
        """Read all, or some columns, as a pandas frame in the order of the units.

        Args:
            columns: Names of the columns; None: all.

        Raises:
            MissingExtraError: pyarrow is not installed.
        """
        return self.to_arrow(columns).to_pandas()


def map_units(
    fitted: SCM | Program,
    query: str | Query | Contrast,
    source: "str | PathLike[str] | Sequence[str | PathLike[str]]",
    destination: "str | PathLike[str]",
    *,
    columns: Sequence[str] | None = None,
    keep: Sequence[str] = (),
    batch_rows: int = 65_536,
    engine: Engine | None = None,
    num_draws: int | None = None,
    seed: int | None = None,
    parallel: ParallelEngine = "local",
    num_workers: int = 1,
    progress: bool | None = None,
) -> MappedUnits:
    """Answer a query for every unit of a Parquet file, within bounded memory.

    Each batch of rows goes through ``infer(fitted, query, evidence=batch)`` and becomes one file
    of ``destination``, which appears whole or not at all. A call that was stopped is taken up by
    the same call with the same model: finished batches are kept. A model is known by its source and
    what that uses, its parameters, simulated units with their log densities, and the versions of
    Python, torch, Pyro, numpy and this library (see `causalppl.inference.map_units_model`); where
    one of them differs, the folder is refused. The numbers depend on the arguments alone, not on
    interruptions, workers or threads: each batch has a seed by its position and runs on one thread.
    The units do not update the parameters of the model.

    The columns written are ``row`` (the place in the source, from 0), those of ``keep``, and for
    an expectation, a contrast or a probability ``mean(...)`` and ``sd(...)``; for a law
    (``"P(Y_{X=0})"``) these of each variable, and ``P(Y=y)`` for each value of a finite one.

    Args:
        fitted: The model, from ``fit`` or with known parameters; or a Pyro program.
        query: As for `infer`.
        source: A Parquet file, a folder of them, or a glob, whose files are taken in the order of
            their names; or a list of these. For a frame in memory call `infer` with
            ``evidence=frame``.
        destination: A folder; made where it does not exist.
        columns: The columns that are evidence; None: all that are sites of the program. A missing
            value is unobserved for that unit.
        keep: Columns to copy, such as a key.
        batch_rows: Rows of a batch.
        engine: How to infer, see `infer`.
        num_draws: Draws for each unit, see `infer`.
        seed: Seed of all draws; None: that of the call that is taken up, else a fresh one.
        parallel: Who computes batches, see `parallel_map`.
        num_workers: Number of processes. With more than one, a script must make the call under
            ``if __name__ == "__main__":``, as each process starts by importing the script; a
            notebook need not.
        progress: Show a progress bar; None: only at a terminal or in a notebook.

    Returns:
        Where the results are.

    Raises:
        DataError: There is no file or no row, a column is unknown, files differ in types, or the
            folder holds something else: results of another source, query, seed, batch size,
            model or version; the source is no path, the destination a file; a process ended
            before its answer, as without the main guard.
        ImpossibleEvidenceError: A unit has a value that its site cannot take.
        MissingExtraError: pyarrow is not installed.
        QueryError: The query names what is not there.
        ProgramError: ``scm`` cannot be read as a causal model.

    Example:
        >>> import tempfile, pandas as pd, pyro, pyro.distributions as dist
        >>> def program():
        ...     x = pyro.sample("X", dist.Normal(0.0, 1.0))
        ...     return pyro.sample("Y", dist.Normal(2 * x, 1.0))
        >>> folder = tempfile.mkdtemp()
        >>> pd.DataFrame({"X": [1.0, 2.0], "Y": [3.0, 3.0]}).to_parquet(f"{folder}/units.parquet")
        >>> done = map_units(program, "E[Y_{X=0}]", f"{folder}/units.parquet", f"{folder}/out")
        >>> done.to_pandas()["mean(Y)"].tolist()
        [1.0, -1.0]
    """
    started = time.perf_counter()
    check_counts(batch_rows=batch_rows, num_workers=num_workers)
    seed = None if seed is None else checked_seed(seed)
    folder = checked_folder(destination)
    scm = fitted if isinstance(fitted, SCM) else SCM(fitted)
    files = ParquetRows.of(find_files(checked_source(source)))
    evidence = _evidence_columns(scm, files, columns)
    kept = checked_names(keep, dict.fromkeys(files.columns))
    if "row" in kept:
        raise DataError("a column to keep is named 'row', as the place in the source is; rename it")
    supports = _supports(scm, query)
    wanted = {
        "format": 2,
        "query": str(query),
        "batch_rows": batch_rows,
        "num_draws": num_draws,
        "engine": _name_of(engine),
        "evidence": evidence,
        "keep": kept,
        "source": [file_mark(path) for path in files.paths],
        "model": model_mark(scm),
    }
    used_seed = claim(folder, wanted, seed)
    options = {"engine": engine, "num_draws": num_draws}
    job = _Job(scm, query, files, evidence, kept, batch_rows, folder, options, supports)
    seeds = spawn_seeds(used_seed, job.num_batches)
    todo = [number for number in range(job.num_batches) if not job.is_done(number)]
    workers = num_workers if parallel == "local" else max(num_workers, os.cpu_count() or 1)
    spans = [[(number, seeds[number]) for number in span] for span in _spans(todo, workers)]
    with _explained(num_workers):
        parallel_map(job.run, spans, parallel, num_workers=num_workers, progress=progress)
    for leftover in folder.glob(".*.tmp"):  # of calls that were stopped
        leftover.unlink(missing_ok=True)
    seconds = time.perf_counter() - started
    return MappedUnits(files.num_rows, job.num_batches, folder, seconds, len(todo))


@contextmanager
def _explained(num_workers: int) -> Iterator[None]:
    """Say why processes may have ended before their answers."""
    try:
        yield
    except BrokenProcessPool as error:
        raise DataError(
            f"one of {num_workers} processes ended before its answer; expected in a script that "
            'the call stands under if __name__ == "__main__":, as each process starts by '
            "importing the script: put it there, or use num_workers=1; if it does, memory may have "
            "run out: use fewer workers or smaller batch_rows"
        ) from error


def _spans(numbers: Sequence[int], workers: int) -> Iterator[list[int]]:
    """Runs of consecutive numbers, short enough that all workers have some."""
    longest = min(_LONGEST_SPAN, max(1, len(numbers) // (4 * workers)))
    span: list[int] = []
    for number in numbers:
        if span and (number != span[-1] + 1 or len(span) == longest):
            yield span
            span = []
        span.append(number)
    if span:
        yield span


# What is asked.


def _evidence_columns(scm: SCM, files: ParquetRows, columns: Sequence[str] | None) -> list[str]:
    if columns is not None:
        return checked_names(columns, dict.fromkeys(files.columns))
    sites = scm.structure.unit_sites
    found = [name for name in files.columns if name.split("@")[0] in sites]
    if not found:
        raise DataError(
            f"the files have the columns {', '.join(files.columns)}, none of which is a site; the "
            f"sites are {', '.join(sites)}; rename the columns"
        )
    return found


def _supports(scm: SCM, query: str | Query | Contrast) -> dict[str, Support]:
    """For each result its finite values with their names; None where it is a number."""
    question = read_question(scm, query, None, has_unit_evidence=True)
    if question.label:
        return {question.label: None}
    return {
        name: _support(scm, key.rpartition("@")[0] or key)
        for name, key in question.variables.items()
    }


def _support(scm: SCM, site: str) -> Support:
    if site in scm.categories:
        return [(str(label), label) for label in scm.categories[site]]
    law = scm.laws.get(site)
    if law is None or len(law.event_shape) or not law.has_enumerate_support:
        return None
    try:
        values = law.enumerate_support(expand=False).flatten().tolist()
    except NotImplementedError:  # a number of trials that differs between units
        return None
    return [(f"{v:g}", v) for v in values] if len(values) <= _MOST_STATES else None


def _name_of(engine: Engine | None) -> str | None:
    text = repr(engine)
    return None if engine is None else type(engine).__name__ if " at 0x" in text else text


# The work.


@dataclass(frozen=True)
class _Job:
    scm: SCM
    query: str | Query | Contrast
    files: ParquetRows
    evidence: list[str]
    keep: list[str]
    batch_rows: int
    folder: Path
    options: dict[str, Any]
    supports: dict[str, Support]

    @property
    def num_batches(self) -> int:
        return -(-self.files.num_rows // self.batch_rows)

    def is_done(self, number: int) -> bool:
        """Whether a batch was written, whole."""
        path = _batch_file(self.folder, number)
        first = number * self.batch_rows
        expected = min(self.batch_rows, self.files.num_rows - first)
        try:
            return bool(pyarrow("pyarrow.parquet").read_metadata(path).num_rows == expected)
        except (OSError, ValueError):  # not there, or damaged by the disk
            return False

    def run(self, span: list[tuple[int, int]]) -> None:
        """Compute and write consecutive batches, given by their numbers and seeds."""
        start, stop = span[0][0] * self.batch_rows, (span[-1][0] + 1) * self.batch_rows
        columns = list(dict.fromkeys([*self.evidence, *self.keep]))
        with _one_thread():
            tables = self.files.read(columns, start, stop, self.batch_rows)
            for (number, seed), table in zip(span, tables, strict=True):
                results = self._answered(number, table, seed)
                with appearing(_batch_file(self.folder, number)) as hidden:
                    pyarrow("pyarrow.parquet").write_table(results, hidden)

    def _answered(self, number: int, table: Any, seed: int) -> Any:
        first = number * self.batch_rows
        try:
            posterior = infer(
                self.scm,
                self.query,
                evidence=Table.from_any({name: _filled(table[name]) for name in self.evidence}),
                update_parameters=False,
                seed=seed,
                progress=False,
                **self.options,
            )
        except CausalPPLError as error:
            error.add_note(f"in map_units, at rows {first} to {first + len(table) - 1}")
            raise
        results = {"row": np.arange(first, first + len(table))}
        results |= {name: table[name] for name in self.keep}
        for name, support in self.supports.items():
            results |= _summary(posterior, name, support)
        said = ("query", "engine", "is_exact", "notes", "seed")
        about = {name: getattr(posterior, name) for name in said}
        return pyarrow("pyarrow").table(results, metadata={"causalppl": json.dumps(about)})


def _filled(column: Any) -> Any:
    """A column as pandas has it; without any value it is of numbers, as text needs categories."""
    if column.null_count == len(column):
        return np.full(len(column), np.nan)
    return column.to_pandas()


def _summary(posterior: Posterior, name: str, support: Support) -> dict[str, Any]:
    """Columns of one variable of a posterior."""
    law = posterior.law(name)
    found: dict[str, Any] = {}
    if support is None or not isinstance(support[0][1], str):  # codes of text have no mean
        mean, sd = law.mean(), law.sd()
        for place in np.ndindex(*mean.shape[1:]):
            entry = name + (f"[{','.join(map(str, place))}]" if place else "")
            found[f"mean({entry})"] = mean[(slice(None), *place)].cpu().numpy()
            found[f"sd({entry})"] = sd[(slice(None), *place)].cpu().numpy()
    for text, value in support or ():
        found[f"P({name}={text})"] = law.probability(value).cpu().numpy()
    return found


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums do not depend on the number of cores, and workers do not get in each other's way."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _batch_file(folder: Path, number: int) -> Path:
    return folder / f"batch-{number:08d}.parquet"
