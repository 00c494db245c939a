"""What do `counts` and `estimate` add to a bare group-by of DuckDB over a file, in what memory?

The file has six columns of integers and one of weights, and is made anew. ``--full`` takes the
30 million rows of the target; the ratio of `counts` is the same from some millions on, and the
memory too. An estimate needs all six columns; its posterior draws take as long for any number of
rows, so its ratio falls as rows are added, and has its target at 30 million.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from _harness import Measured, Row, Target, benchmark, compare

from causalppl.data.counts import counts
from causalppl.estimation import Dirichlet, estimate
from causalppl.graphs import ADMG
from causalppl.identification import identify

FULL, LESS, FEW = 30_000_000, 3_000_000, 300_000
THREADS = 2
STATES = {"a": 2, "b": 3, "c": 4, "d": 5, "e": 8, "f": 10}
EFFECT = identify(ADMG.parse("{c, d, e, f} -> a; {a, c, d, e, f} -> b"), "P(b=1 | do(a=1))")
COUNT = """
from causalppl.data.counts import counts
counts({path!r}, {columns!r}, weights={weights!r})
"""
ESTIMATE = """
from causalppl import ADMG, estimate, identify
from causalppl.estimation import Dirichlet
estimand = identify(ADMG.parse("{{c, d, e, f}} -> a; {{a, c, d, e, f}} -> b"), "P(b=1 | do(a=1))")
estimate(estimand, {path!r}, method=Dirichlet(), seed=0)
"""
PEAK = """
from pathlib import Path
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


def write(path: str, rows: int) -> None:
    """Write the file; values are hashes of their place, weights are not whole."""
    import duckdb

    columns = ", ".join(
        f"CAST(hash(i * 7 + {place}) % {size} AS INTEGER) AS {name}"
        for place, (name, size) in enumerate(STATES.items())
    )
    weight = "CAST(hash(i * 7 + 6) % 1000 AS DOUBLE) / 999 AS w"
    query = f"SELECT {columns}, {weight} FROM range({rows}) AS rows(i)"
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet)")


def bare(path: str, what: str) -> Callable[[], Any]:
    """The group-by alone, to arrays of numpy."""
    import duckdb

    columns = ", ".join(STATES)
    query = f"SELECT {columns}, {what} AS n FROM '{path}' GROUP BY {columns}"

    def run() -> Any:
        with duckdb.connect() as connection:
            return connection.sql(query).fetchnumpy()

    return run


def head(path: str, rows: int) -> pd.DataFrame:
    """The first rows, in memory."""
    import duckdb

    with duckdb.connect() as connection:
        return connection.sql(f"SELECT * FROM '{path}' LIMIT {rows}").df()


def peak(path: str, work: str, weights: str | None = None) -> Measured:
    """Largest resident memory of a fresh process that imports the package and works."""
    script = work.format(path=path, columns=list(STATES), weights=weights) + PEAK
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    return Measured.exactly(int(told.stdout) / 1024, " MiB")


def main() -> None:
    is_full = "--full" in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != "--full"]
    with (
        benchmark("counts_scale", threads=THREADS) as run,
        tempfile.TemporaryDirectory() as folder,
    ):
        rows = FEW if run.quick else FULL if is_full else LESS
        path = str(Path(folder) / "data.parquet")
        write(path, rows)
        columns = list(STATES)
        for weights, what in ((None, "count(*)"), ("w", "sum(w)")):
            ways = {
                "here": lambda weights=weights: counts(path, columns, weights=weights),
                "bare": bare(path, what),
            }
            times = compare(ways, budget=run.budget(40), least=5, most=40)
            setting = f"{rows:.0e} rows of Parquet, 6 integer columns, `{what}`".replace("e+0", "e")
            target = Target("at most", 2.0) if weights is None else None
            here = times.ratio("here", "bare")
            run.add(Row("`counts`, over DuckDB", setting, here, target, {}, times.medians))
            target = Target("at most", 500.0)
            most = peak(path, COUNT, weights)
            run.add(Row("peak memory of the process", setting, most, target))
        ways = {
            "here": lambda: estimate(EFFECT, path, method=Dirichlet(), seed=0),
            "bare": bare(path, "count(*)"),
        }
        times = compare(ways, budget=run.budget(40), least=3, most=10)
        setting = f"{rows:.0e} rows of Parquet, 6 integer columns, 1,000 draws".replace("e+0", "e")
        target = Target("at most", 2.0) if is_full else None
        here = times.ratio("here", "bare")
        run.add(Row("`estimate`, over DuckDB", setting, here, target, {}, times.medians))
        target = Target("at most", 500.0)
        run.add(Row("peak memory of the process", setting, peak(path, ESTIMATE), target))
        frame = head(path, LESS)
        ways = {
            "here": lambda: counts(frame, columns),
            "pandas": lambda: frame.groupby(columns).size(),
        }
        times = compare(ways, budget=run.budget(30), least=5, most=40)
        setting = f"{len(frame):.0e} rows in memory".replace("e+0", "e")
        here, peers = times.seconds("here"), {"pandas `groupby`": times.seconds("pandas")}
        run.add(Row("`counts`", setting, here, None, peers, times.medians))


if __name__ == "__main__":
    main()
