"""From query and data to an interval, and from an interval to a decision.

=================  ==============================================  =========================
name               what it does                                    paper
=================  ==============================================  =========================
`Bounds`           an interval, and what it rests on               -
`BoundMethod`,     the contract of bounding methods                -
`BoundProblem`
=================  ==============================================  =========================
"""

from causalppl.bounds.bounds import Bounds
from causalppl.bounds.method import BoundMethod, BoundProblem

__all__ = ["BoundMethod", "BoundProblem", "Bounds"]
