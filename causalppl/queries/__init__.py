r"""Causal questions as values with a text form.

A `Query` is one probability or expectation, a `Contrast` is a named effect; both are frozen,
hashable, and survive the round trip ``parse(str(value)) == value``.

=====================================  ====================================================
text                                   meaning
=====================================  ====================================================
``P(Y | Z=1)``                         the law of Y among units seen with Z = 1
``P(Y=1 | do(X=1), Z)``                the whole question lives in the world where X is set to 1
``P(Y_{X=0}=0 | X=1, Y=1)``            Y had X been 0, for units seen with X = 1 and Y = 1
``P(Y_{X=1, M_{X=0}})``                X set to 1, M set to the value it has where X is 0
``P(Y > 1.5 | do(X=1))``               the probability of an inequality
``E[Y_{X=1} - Y_{X=0} | Z=north]``     an expectation; its outcome may be a signed sum
``ETT(X: 1 vs 0 -> Y)``                a contrast; ``expand()`` writes it as a sum of queries
=====================================  ====================================================

Grammar. Names hold letters, digits, ``_`` and ``.``; a subscript starts at ``_{``, so that ``Y_1``
and ``wt82_71`` are plain names. Values are numbers, ``True``, ``False``, bare words (categories)
or quoted strings. Brackets may be round or square: ``E(Y)`` is ``E[Y]``. A variable without a
value is symbolic: the answer is a function of it. Spaces are free. Subscripts, ``do(...)`` and the
given part are sets, kept sorted; outcomes keep their order.

==============  ==================================================  ==============================
name            what it does                                        paper
==============  ==================================================  ==============================
`Intervention`  one variable that is set                            Pearl (2009)
`Term`          a variable in a world                               Shpitser and Pearl (2008)
`Event`         what a term does                                    -
`Value`         a number, truth value or category                   -
`Query`         a probability or an expectation                     Pearl (2009)
`Contrast`      a named effect, as a signed sum of queries          Pearl (2001); Tian and Pearl
                                                                    (2000)
`parse_query`   from text to either of them                         -
==============  ==================================================  ==============================
"""

from causalppl.queries.contrast import Contrast
from causalppl.queries.grammar import parse_query
from causalppl.queries.query import Query
from causalppl.queries.terms import Event, Intervention, Term, Value

__all__ = ["Contrast", "Event", "Intervention", "Query", "Term", "Value", "parse_query"]
