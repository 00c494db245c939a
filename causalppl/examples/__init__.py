"""Programs with known answers, for tests, tutorials and the demonstration.

===================  =============================================  ===============================
name                 what it does                                   paper
===================  =============================================  ===============================
`Example`            a model, a question and its known answer       -
`smoking_cessation`  quitting smoking and weight gain, real data    Hernán and Robins (2020)
===================  =============================================  ===============================
"""

from causalppl.examples.example import Example
from causalppl.examples.nhefs import smoking_cessation

__all__ = ["Example", "smoking_cessation"]
