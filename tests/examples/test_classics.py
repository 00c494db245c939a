"""Small programs from the books have the answers that are printed there."""

import pytest

from causalppl import examples, infer
from causalppl.estimation import ProgramLaw
from causalppl.examples import Example


@pytest.mark.parametrize(
    "example",
    [examples.back_door(), examples.front_door(), examples.bow(), examples.instrument()],
    ids=["back door", "front door", "bow", "instrument"],
)
def test_the_program_gives_the_known_answer(example: Example) -> None:
    (answer,) = infer(example.scm, example.query).mean().values()
    assert answer == pytest.approx(example.answer, abs=1e-12)


def test_smokers_have_cancer_more_often_and_smoking_prevents_it() -> None:
    scm = examples.front_door().scm
    law = ProgramLaw(scm).law()
    for x, seen, done in ((0, 0.0975, 0.4975), (1, 0.8525, 0.4525)):
        given = law.condition({"X": x}).marginalise(["Z"]).normalise()
        assert float(given.probability({"Y": 1})) == pytest.approx(seen)
        (answer,) = infer(scm, f"P(Y=1 | do(X={x}))").mean().values()
        assert answer == pytest.approx(done)
