"""The demonstration against the published answers, and an exact regression."""

import numpy as np
import pytest
import torch

from causalppl.demo import PEOPLE, run_demo
from causalppl.examples import smoking_cessation
from causalppl.examples.nhefs import CATEGORIES, CONFOUNDERS, NUM_TERMS, load


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    lines = []
    output = tmp_path_factory.mktemp("demo") / "pictures"
    results = run_demo(output, seed=0, progress=False, say=lines.append)
    return results, "\n".join(lines), output


def regression():
    """Least squares with the book's terms: the effect by standardisation and its standard error."""
    data = load()

    def terms(quit_):
        smoke = data["smokeintensity"]
        columns = [np.ones(len(data)), quit_, quit_ * smoke, data["sex"], data["race"]]
        for name in ("age", "smokeintensity", "smokeyrs", "wt71"):
            columns += [data[name], data[name] ** 2]
        for name, names in CATEGORIES.items():
            columns += [data[name] == k for k in range(1, len(names))]
        return np.stack([np.asarray(column, dtype=float) for column in columns], 1)

    x, y = terms(data["qsmk"]), data["wt82_71"].to_numpy()
    size = np.abs(x).max(0)
    inverse = np.linalg.inv((x / size).T @ (x / size))
    slopes = inverse @ (x / size).T @ y
    variance = ((y - x / size @ slopes) ** 2).sum() / (len(y) - x.shape[1])
    shift = (terms(np.ones(len(y))) - terms(np.zeros(len(y)))).mean(0) / size
    return shift @ slopes, np.sqrt(variance * shift @ inverse @ shift)


def test_rows_and_graph():
    example = smoking_cessation()
    assert len(example.data) == 1566
    graph = example.scm.graph
    assert set(graph.parents("qsmk")) == set(CONFOUNDERS)
    assert set(graph.parents("wt82_71")) == {*CONFOUNDERS, "qsmk"}
    assert graph.bidirected_edges == ()


def test_codes_are_within_their_categories():
    data = load()
    for name, names in CATEGORIES.items():
        assert sorted(data[name].unique()) == list(range(len(names)))


def test_the_program_has_the_terms_that_it_says():
    draws = smoking_cessation().scm.sample(3, seed=0)
    assert set(draws) == {*CONFOUNDERS, "qsmk", "wt82_71"}
    assert all(bool(torch.isfinite(value).all()) for value in draws.values())
    assert NUM_TERMS == 2 + 4 * 2 + sum(len(names) - 1 for names in CATEGORIES.values())


@pytest.mark.slow
class TestDemo:
    def test_the_effect_is_the_published_one(self, report):
        ate = report[0]["ate"]
        assert 3.2 < ate.mean < 3.8
        assert 1.7 < ate.high - ate.low < 2.1
        assert report[0]["naive"] == pytest.approx(2.541, abs=1e-3)

    def test_the_effect_is_that_of_least_squares(self, report):
        effect, error = regression()
        ate = report[0]["ate"]
        assert effect == pytest.approx(3.517, abs=1e-3)
        assert ate.mean == pytest.approx(effect, abs=0.1 * error)
        assert (ate.high - ate.low) / (2 * 1.96 * error) == pytest.approx(1, abs=0.08)

    def test_standardised_means_are_the_published_ones(self, report):
        assert report[0]["all_quit"].mean == pytest.approx(5.27, abs=0.1)
        assert report[0]["none_quit"].mean == pytest.approx(1.76, abs=0.1)
        assert 3.0 < report[0]["ett"].mean < 3.8

    def test_other_lives_keep_the_persons_own_noise(self, report):
        people = report[0]["people"]
        rows = load().set_index("seqn").loc[list(PEOPLE)]
        assert list(people) == list(PEOPLE)
        for seqn, row in rows.iterrows():
            shift = people[seqn].mean - row["wt82_71"]
            assert 2 < (shift if row["qsmk"] == 0 else -shift) < 5
            assert 1 < people[seqn].high - people[seqn].low < 3

    def test_the_report_says_it_all(self, report):
        text = report[1]
        for part in ("qsmk            <- sex", "(ATE)", "published 5.27", "seqn 428", "effect.png"):
            assert part in text

    def test_pictures_are_written(self, report):
        output = report[2]
        assert (output / "graph.svg").read_text(encoding="utf-8").startswith("<svg")
        for name in ("graph.png", "effect.png"):
            assert (output / name).read_bytes().startswith(b"\x89PNG")
            assert (output / name).stat().st_size > 10_000
