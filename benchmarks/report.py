"""Write `README.md` from `results/*.json`; with ``--check``, only say whether it is up to date."""

import json
import sys
from pathlib import Path
from typing import Any

from _harness import RESULTS, Measured, Row, Target, met, show, show_target

README = Path(__file__).parent / "README.md"

_HEAD = """\
# Benchmarks

<!-- Written by report.py from results/*.json; do not edit. -->

One file for each question; each runs alone, and `make bench` runs all:

```
python benchmarks/worlds_overhead.py            # measures, writes results/, and this page
python benchmarks/worlds_overhead.py --quick    # a short look; writes nothing
```

All ways of doing one thing run in turn, round after round, in alternating order. A ratio is the
median over rounds of the ratio within a round; the bracket is its 95 % bootstrap interval over
rounds (or the range over seeds, where that is said). Peers run in the same rounds, and are left
out where they are not installed. One thread is timed by its processor time, several threads by
the clock on the wall. *met?* compares the median with the target, and says so where the interval
reaches across it. A row without a target is there to tell.
"""

_ORDER = (
    "do_overhead",
    "worlds_overhead",
    "identification_speed",
    "linear_gaussian",
    "additive_noise",
    "amortised",
    "rejection",
    "graph_from_program",
)


def render() -> str:
    """Return the page for the results that are there."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in RESULTS.glob("*.json")]
    records.sort(key=lambda record: (_rank(record["name"]), record["name"]))
    return "\n".join([_HEAD, *(_section(record) for record in records)])


def write_report() -> None:
    """Write the page."""
    README.write_text(render(), encoding="utf-8")


def _rank(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _section(record: dict[str, Any]) -> str:
    rows = [_row(row) for row in record["rows"]]
    peers = record.get("peers", {})  # name to version; many peers have a column each
    table = _columns(rows, peers) if len(peers) > 1 else _table(rows)
    remarks = [f"- {remark}" for remark in record.get("remarks", ())]
    lines = [
        f"## `{record['name']}.py`",
        "",
        *table,
        "",
        *([*remarks, ""] if remarks else []),
        _conditions(record),
        "",
    ]
    return "\n".join(lines)


def _table(rows: list[Row]) -> list[str]:
    head = ["| question | on | peer | target | here | met? |", "|---|---|---|---|---|---|"]
    return head + [_line(row) for row in rows]


def _columns(rows: list[Row], peers: dict[str, str]) -> list[str]:
    names = [f"{name} {version}" for name, version in peers.items()]
    table = [["question", "on", "target", "here", "met?", *names]]
    table.append(["---"] * len(table[0]))
    for row in rows:
        target = show_target(row.target, row.here.unit) if row.target else "-"
        cells = [show(row.peers[name]) if name in row.peers else "" for name in peers]
        table.append([row.question, row.setting, target, show(row.here), met(row) or "-", *cells])
    return ["| " + " | ".join(cells) + " |" for cells in table]


def _row(row: dict[str, Any]) -> Row:
    return Row(
        row["question"],
        row["setting"],
        Measured(**row["here"]),
        Target(**row["target"]) if row["target"] else None,
        {name: Measured(**peer) for name, peer in row["peers"].items()},
        row["seconds"],
    )


def _line(row: Row) -> str:
    peers = "; ".join(f"{name} {show(peer)}" for name, peer in row.peers.items()) or "-"
    target = show_target(row.target, row.here.unit) if row.target else "-"
    cells = (row.question, row.setting, peers, target, show(row.here), met(row) or "-")
    return "| " + " | ".join(cells) + " |"


def _conditions(record: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    threads = "one thread" if record["threads"] == 1 else f"{record['threads']} threads"
    return (
        f"{record['date']}; {threads} of {record['cores']} cores ({record['processor']}), load "
        f"{record['load']} at the start; Python {record['python']}, {versions}."
    )


def main() -> int:
    """Write the page, or check it."""
    if "--check" not in sys.argv[1:]:
        write_report()
        print(f"wrote {README}")
        return 0
    is_current = README.exists() and README.read_text(encoding="utf-8") == render()
    print("README.md is up to date" if is_current else "README.md is out of date: run report.py")
    return 0 if is_current else 1


if __name__ == "__main__":
    sys.exit(main())
