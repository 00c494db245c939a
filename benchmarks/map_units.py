"""Counterfactuals from Parquet to Parquet: units per second, and memory that does not grow."""

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from _harness import Measured, Row, Target, benchmark, compare
from additive_noise import program

from causalppl import SCM, infer
from causalppl.inference.map_units import map_units

UNITS, FEW = 200_000, 20_000
TIMES = 8  # as many units for the second look at memory
BATCH = 16_384
QUERY = "E[Y_{X=0}]"
PEAK = """
import sys
sys.path.insert(0, {here!r})
from pathlib import Path
from additive_noise import program
from causalppl.inference.map_units import map_units
map_units(program, {query!r}, {source!r}, {out!r}, batch_rows={batch}, seed=0)
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


def peak(source: Path, out: Path) -> float:
    """Largest resident memory of a fresh process that maps the units, in MiB."""
    here = str(Path(__file__).parent)
    script = PEAK.format(here=here, query=QUERY, source=str(source), out=str(out), batch=BATCH)
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    return int(told.stdout) / 1024


def main() -> None:
    with benchmark("map_units") as run, tempfile.TemporaryDirectory() as temporary:
        folder, number = Path(temporary), itertools.count()
        rows = FEW if run.quick else UNITS
        scm = SCM(program)
        data = pd.DataFrame({k: v.numpy() for k, v in scm.sample(rows, seed=0).items()})
        few, many = folder / "few.parquet", folder / "many.parquet"
        data.to_parquet(few)
        with pq.ParquetWriter(many, pa.Schema.from_pandas(data)) as writer:
            for _ in range(TIMES):
                writer.write_table(pa.Table.from_pandas(data))

        def mapped() -> Any:
            out = folder / f"out-{next(number)}"
            return map_units(scm, QUERY, few, out, batch_rows=BATCH, seed=0)

        done = mapped()
        batches = [data[first : first + BATCH] for first in range(0, rows, BATCH)]
        ways = {
            "files": mapped,
            "memory": lambda: [infer(scm, QUERY, evidence=part, seed=0) for part in batches],
            "again": lambda: map_units(scm, QUERY, few, done.destination, batch_rows=BATCH, seed=0),
        }
        times = compare(ways, budget=run.budget(60), least=5, most=40)
        setting = f"{rows:.0e} units, 5 sites, batches of {BATCH}, one thread".replace("e+0", "e")
        here, peers = times.seconds("files").per_second(rows), times.seconds("memory")
        peers = {"`infer` in memory": peers.per_second(rows)}
        run.add(Row("units from Parquet to Parquet", setting, here, None, peers, times.medians))
        run.add(
            Row(
                "taking up a call that had finished, over the whole call",
                setting,
                times.ratio("again", "files"),
                None,
                {},
                times.medians,
            )
        )
        small, large = peak(few, folder / "small"), peak(many, folder / "large")
        ratio = Measured.exactly(large / small, "x")
        target = Target("at most", 1.1)
        setting = f"{TIMES} times the units ({large:.0f} MiB over {small:.0f} MiB)"
        run.add(Row("peak memory of the process", setting, ratio, target))


if __name__ == "__main__":
    main()
