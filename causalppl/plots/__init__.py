"""Pictures.

Every function draws on the axes it is given, or on a new figure, and returns the axes.

| name | what it draws | paper |
|---|---|---|
| `regret` | mean cumulative regret of agents, with its interval | - |
"""

from causalppl.agents.regret_plot import regret

__all__ = ["regret"]
