from importlib.resources import files

import pytest

from causalppl import data
from causalppl.data import Table

SHAPES = {
    "ihdp": (747, 35),
    "kidney_stones": (8, 4),
    "lalonde": (18927, 11),
    "nhefs": (1629, 27),
    "obd_women": (20000, 9),
    "sachs": (7466, 14),
    "sachs_edges": (22, 4),
    "ucb_admissions": (24, 4),
}


def test_available_lists_what_is_shipped():
    assert data.available() == sorted(SHAPES)


@pytest.mark.parametrize("name", SHAPES)
def test_shape_table_and_licence(name):
    frame = getattr(data, f"load_{name}")()
    assert frame.shape == SHAPES[name]
    assert Table.from_any(frame).num_rows == len(frame)
    licences = (files("causalppl.data") / "csv" / "LICENCES.md").read_text(encoding="utf-8")
    assert f"`{name}.csv` | {SHAPES[name][0]} x {SHAPES[name][1]}" in licences


def test_each_load_is_a_fresh_frame():
    first = data.load_nhefs()
    first["qsmk"] = 7
    assert data.load_nhefs()["qsmk"].max() == 1


def test_nhefs_complete_rows():
    table = Table.from_any(data.load_nhefs(), columns=["qsmk", "wt82_71"])
    complete = table.drop_missing()
    assert (complete.num_rows, complete.dropped) == (1566, 63)
    treated = complete["qsmk"] == 1
    assert float(complete["wt82_71"][treated].mean()) == pytest.approx(4.525, abs=1e-3)
    assert float(complete["wt82_71"][~treated].mean()) == pytest.approx(1.984, abs=1e-3)


def test_kidney_stones_by_factors():
    # Peters, Janzing and Schölkopf (2017), example 6.16: 0.832 and 0.782 from rounded rates
    frame = data.load_kidney_stones()
    names = ("stone_size", "treatment", "success")
    cells = frame.set_index(list(names))["count"].sort_index()
    states = {name: tuple(sorted(frame[name].unique())) for name in names}
    joint = data.Factor(names, cells.to_numpy().reshape(2, 2, 2), states).normalise()
    success = joint.normalise(["success"])
    size = joint.marginalise(["treatment", "success"])
    done = data.contract([size, success], ["treatment", "success"])
    assert float(done.probability({"treatment": "open", "success": "yes"})) == pytest.approx(
        0.83255, abs=1e-5
    )
    assert float(done.probability({"treatment": "pn", "success": "yes"})) == pytest.approx(
        0.77888, abs=1e-5
    )
