"""Read a Bayesian network in BIF."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from causalppl.data import Factor


@dataclass(frozen=True)
class Network:
    states: dict[str, tuple[str, ...]]
    parents: dict[str, tuple[str, ...]]
    factors: list[Factor]


def read_bif(path: Path) -> Network:
    text = path.read_text(encoding="utf-8")
    states = {
        name: tuple(re.split(r"\s*,\s*", values.strip()))
        for name, values in re.findall(
            r"variable (\S+) \{\s*type discrete \[ \d+ \] \{(.*?)\};", text
        )
    }
    parents: dict[str, tuple[str, ...]] = {}
    factors = []
    for head, body in re.findall(r"probability \(\s*(.*?)\s*\) \{(.*?)\n\}", text, flags=re.DOTALL):
        name, _, above = (part.strip() for part in head.partition("|"))
        parents[name] = tuple(above.replace(" ", "").split(",")) if above else ()
        factors.append(_table(name, parents[name], states, body))
    return Network(states, parents, factors)


def _table(
    name: str, parents: tuple[str, ...], states: dict[str, tuple[str, ...]], body: str
) -> Factor:
    names = (*parents, name)
    values = torch.zeros([len(states[n]) for n in names], dtype=torch.float64)
    for row in filter(None, (line.strip() for line in body.split(";"))):
        key, _, numbers = row.partition(")") if row.startswith("(") else ("", "", row[5:])
        cell = tuple(
            states[parent].index(state)
            for parent, state in zip(
                parents, key.strip("( ").replace(" ", "").split(","), strict=False
            )
        )
        values[cell] = torch.tensor([float(n) for n in numbers.split(",")], dtype=torch.float64)
    values = values / values.sum(-1, keepdim=True)
    return Factor(names, values, {n: states[n] for n in names})
