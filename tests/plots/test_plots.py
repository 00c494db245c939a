"""Pictures show what they are given, on the axes they are given."""

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from causalppl import Contrast, Estimate, Posterior, examples, infer, plots
from causalppl.bounds import Bounds
from causalppl.exceptions import DataError, GraphError
from causalppl.inference import LeaveOneOut, ModelComparison
from causalppl.inference.laws import NormalLaw
from causalppl.inference.training_data import TrainingData

EFFECT = Contrast.parse("ATE(X -> Y)")


@pytest.fixture
def ax() -> Any:
    return Figure().subplots()


def left_out(elpd: float, khat: float = 0.1) -> LeaveOneOut:
    rows = torch.full((100,), elpd / 100).double()
    rows[::2] += 0.1
    rows[1::2] -= 0.1
    khats = torch.full((100,), 0.1).double()
    khats[7] = khat
    return LeaveOneOut(rows, khats, 1.0, 1000, TrainingData({}, {}, 100, {}))


def lines_at(ax: Any) -> list[float]:
    """Heights of all horizontal lines."""
    return [segment[0, 1] for c in ax.collections for segment in c.get_segments()]


def test_answers_of_all_kinds_stand_side_by_side(ax: Any) -> None:
    answers: dict[str, Any] = {
        "adjusted": Estimate(EFFECT, "hand", np.array(2.0), error=np.array(0.5)),
        "bounds": Bounds(EFFECT, "hand", np.array(1.0), np.array(3.0)),
        "program": infer(examples.instrument().scm, "ATE(X -> Y)"),
        "crude": 3.5,
    }
    assert plots.effects(answers, truth=2.1, ax=ax) is ax
    assert [label.get_text() for label in ax.get_yticklabels()] == list(answers)
    assert sorted(set(lines_at(ax))) == [0, 1]
    points = [tuple(line.get_xydata()[0]) for line in ax.lines if line.get_marker() == "o"]
    assert points == [(2.0, 0.0), (pytest.approx(0.3), 2.0), (3.5, 3.0)]


def test_bounds_have_a_thick_bar_and_thin_sampling_error(ax: Any) -> None:
    found = Bounds(EFFECT, "hand", np.array(0.0), np.array(1.0), error=np.array([0.1, 0.2]))
    plots.effects({"bounds": found}, ax=ax)
    thin, thick = (c.get_segments()[0][:, 0] for c in ax.collections)
    assert thick.tolist() == [0.0, 1.0]
    assert thin.tolist() == pytest.approx([-0.196, 1.392], abs=1e-3)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({}, "at least one"),
        ({"a": "text"}, "expected an Estimate"),
        ({"a": Estimate(EFFECT, "hand", np.zeros(2), {"Z": (0, 1)}, np.ones(2))}, "use at"),
    ],
)
def test_what_is_no_single_answer_is_refused(answers: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        plots.effects(answers)


def test_a_program_shows_its_latent_causes_and_what_is_set(ax: Any) -> None:
    scm = examples.front_door().scm
    plots.graph(scm, do="X", ax=ax)
    assert ax.get_title() == "do(X)"
    with pytest.raises(GraphError, match="W"):
        plots.graph(scm, do="W")


def test_worlds_are_drawn_as_a_twin_network(ax: Any) -> None:
    plots.worlds(examples.back_door().scm, {"x0": {"X": 0}, "x1": {"X": 1}}, ax=ax)
    assert ax.get_title() == "x0: do(X=0); x1: do(X=1)"
    with pytest.raises(GraphError, match="no world"):
        plots.worlds("X -> Y", {})


def test_naive_answers_are_drawn_beside_a_posterior(ax: Any) -> None:
    laws = {"ATE": NormalLaw(2.0, 0.5)}
    answer = Posterior.from_draws({}, laws=laws, is_exact=True)
    plots.against_naive(answer, {"crude": 3.5, "other": 1.0}, ax=ax)
    upright = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"]
    assert upright == [3.5, 1.0]


def test_one_unit_of_many_is_shown_in_each_world(ax: Any) -> None:
    draws = {"Y": np.arange(12.0).reshape(1, 4, 3)}
    answer = Posterior.from_draws(draws, dims={"Y": ("units",)})
    plots.unit_worlds(answer, unit=2, ax=ax)
    (mean,) = (line.get_xdata()[0] for line in ax.lines)
    assert mean == pytest.approx(6.5)
    with pytest.raises(DataError, match="choose one with unit="):
        plots.unit_worlds(answer)
    with pytest.raises(DataError, match="expected 0 to 2"):
        plots.unit_worlds(answer, unit=3)


def test_khat_sorts_units_by_how_far_they_can_be_trusted(ax: Any) -> None:
    answer = Posterior.from_draws({"Y": [[0.0, 1.0]]}, diagnostics={"khat": [0.2, 0.6, 0.9, 0.1]})
    plots.khat(answer, ax=ax)
    shown = {line.get_label(): list(line.get_xdata()) for line in ax.lines}
    assert shown["good"] == [0, 3]
    assert shown["usable"] == [1]
    assert shown["not to be trusted"] == [2]
    with pytest.raises(DataError, match="gave no k-hat"):
        plots.khat(Posterior.from_draws({"Y": [[0.0, 1.0]]}))


def test_a_fit_shows_its_bound_and_the_running_mean(ax: Any) -> None:
    plots.elbo(np.arange(100.0), ax=ax)
    steps, smooth = ax.lines
    assert steps.get_ydata().tolist() == list(range(100))
    assert smooth.get_ydata()[0] == pytest.approx(24.5)
    with pytest.raises(DataError, match="SVIFit"):
        plots.elbo(examples.bow().scm)


def test_models_stand_beside_each_other_with_their_distance_from_the_best(ax: Any) -> None:
    models = {"best": left_out(-100.0), "other": left_out(-120.0)}
    found = ModelComparison(models, {"best": 1.0, "other": 0.0})
    assert plots.compare(found, ax=ax) is ax
    assert [label.get_text() for label in ax.get_yticklabels()] == ["best", "other"]
    points = [tuple(line.get_xydata()[0]) for line in ax.lines if line.get_marker() in "o^"]
    assert points == [(pytest.approx(x), y) for x, y in ((-100, 0), (-120, 1), (-120, 1.25))]
    bars = [segment[:, 0] for c in ax.collections for segment in c.get_segments()]
    assert bars[0] == pytest.approx([-101, -99])  # 0.1 each way, of 100 rows
    assert bars[2] == pytest.approx([-120, -120])  # the same in each row


def test_a_row_that_cannot_be_trusted_is_marked(ax: Any) -> None:
    assert left_out(-100.0, khat=np.inf).plot(ax) is ax
    good, bad = (line.get_xydata() for line in ax.lines[:2])
    assert len(good) == 99
    assert bad.tolist() == [[7.0, 1.0]]
    assert [text.get_text() for text in ax.texts] == ["7"]


def test_one_answer_needs_no_label(ax: Any) -> None:
    found = Estimate(EFFECT, "hand", np.array(2.0), error=np.array(0.5))
    for draw in (plots.effects, plots.bounds):
        drawn = draw(found, ax=Figure().subplots())
        assert [label.get_text() for label in drawn.get_yticklabels()] == [str(EFFECT)]
    answer = Posterior.from_draws({}, laws={"ATE": NormalLaw(2.0, 0.5)}, is_exact=True)
    (dot,) = [line for line in plots.effects(answer, ax=ax).lines if line.get_marker() == "o"]
    assert dot.get_xydata().tolist() == [[2.0, 0.0]]


ANSWER = Posterior.from_draws({}, laws={"ATE": NormalLaw(2.0, 0.5)}, is_exact=True)
ESTIMATE = Estimate(EFFECT, "hand", np.array(2.0), error=np.array(0.5))


@pytest.mark.parametrize(
    ("draw", "told"),
    [
        (
            lambda: plots.effects([ESTIMATE]),
            r"the answers are \[Est.*; expected one answer, or a map",
        ),
        (lambda: plots.bounds("wide"), "the answers are 'wide'; expected one answer, or a mapping"),
        (lambda: plots.bounds(ESTIMATE, naive=[3.0]), r"naive is \[3.0\]; expected a mapping"),
        (lambda: plots.tipping(ESTIMATE), "bound_at is .*; expected bounds along an axis"),
        (lambda: plots.khat(ESTIMATE), r"the posterior is .*; expected what infer\(\) returned"),
        (lambda: plots.unit_worlds(ESTIMATE), r"expected what infer\(\) returned"),
        (lambda: plots.against_naive(ESTIMATE, {}), r"expected what infer\(\) returned"),
        (lambda: plots.against_naive(ANSWER, 3.1), "naive is 3.1; expected a mapping"),
        (lambda: plots.elbo(ESTIMATE), "the trace is .*; expected a fitted model, or numbers"),
        (lambda: plots.overlap(ESTIMATE), r"expected what balance\(\) returned"),
        (lambda: plots.regret(ESTIMATE), r"a record is .*; expected what run\(\) returned"),
        (lambda: plots.regret({"a": 3}), r"a record is 3; expected what run\(\) returned"),
        (lambda: plots.loo(ESTIMATE), r"expected what loo\(\) returned"),
        (lambda: plots.compare(ESTIMATE), r"expected what compare\(\) returned"),
    ],
)
def test_what_cannot_be_drawn_is_told(draw: Any, told: str) -> None:
    with pytest.raises(DataError, match=told):
        draw()


@pytest.mark.parametrize("wrong", [3, [Figure().subplots()]], ids=["number", "list"])
@pytest.mark.parametrize(
    "draw",
    [
        lambda ax: plots.effects(ESTIMATE, ax=ax),
        lambda ax: plots.bounds(ESTIMATE, ax=ax),
        lambda ax: plots.tipping(lambda r: (0.3 - 0.1 * r, 0.1 + 0.1 * r), ax=ax),
        lambda ax: plots.khat(ANSWER, ax=ax),
        lambda ax: plots.unit_worlds(ANSWER, ax=ax),
        lambda ax: plots.against_naive(ANSWER, {}, ax=ax),
        lambda ax: plots.elbo([1.0, 2.0], ax=ax),
        lambda ax: plots.overlap(ESTIMATE, ax=ax),  # type: ignore[arg-type]
        lambda ax: plots.regret([], ax=ax),
        lambda ax: plots.loo(left_out(1.0), ax=ax),
        lambda ax: plots.graph("X -> Y", ax=ax),
        lambda ax: plots.worlds("X -> Y", {"x0": "X"}, ax=ax),
        lambda ax: ESTIMATE.plot(ax=ax),
    ],
)
def test_what_is_no_axes_is_told(draw: Any, wrong: Any) -> None:
    with pytest.raises(DataError, match=r"^ax is .*; expected one matplotlib axes, or None"):
        draw(wrong)


def test_pictures_of_worlds_need_their_names() -> None:
    with pytest.raises(GraphError, match=r"the worlds are .*; expected a mapping.*'x0': {'X': 0}"):
        plots.worlds("X -> Y", [{"X": 0}])  # type: ignore[arg-type]
    with pytest.raises(GraphError, match=r"is 3; expected an ADMG.* first: graph\(drawn\)"):
        plots.graph(3)  # type: ignore[arg-type]
