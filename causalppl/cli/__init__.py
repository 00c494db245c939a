"""The command ``causalppl``, which `main` runs.

| command | what it does |
|---|---|
| `identify` | the formula of a query, or why there is none |
| `verify` | formulas against a program |
| `estimate` | a query from data and a diagram |
| `bound` | an interval, where there is no formula |
| `run` | agents in an environment |
| `demo` | a worked example on real data |
| `doctor` | versions, devices and optional packages |
| `datasets` | the data that ship with the package |

Every command takes ``--json``. Exit code: 0, answered; 1, answered "no" (not identifiable, a
formula that fails); 2, bad use, with one sentence on what is wrong.
"""

from causalppl.cli.command_line import main

__all__ = ["main"]
