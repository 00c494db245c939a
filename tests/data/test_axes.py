"""Tables with an axis for each open value."""

import numpy as np
import pytest

from causalppl.data.axes import fixed_place, open_values, rows_by_axes
from causalppl.exceptions import DataError

AXES = {"X": (0, 1, 2), "Z": ("a", "b")}
VALUES = np.arange(6.0).reshape(3, 2)


def test_a_fixed_value_leaves_the_other_axes():
    assert VALUES[fixed_place(AXES, {"X": 2}, "it has")].tolist() == [4, 5]
    assert VALUES[fixed_place(AXES, {"X": 2, "Z": "b"}, "it has")] == 5


def test_what_is_not_there_is_named():
    with pytest.raises(DataError, match="it has no axis 'W'; expected one of"):
        fixed_place(AXES, {"W": 1}, "it has")
    with pytest.raises(DataError, match="Z has no value 'c'"):
        fixed_place(AXES, {"Z": "c"}, "it has")


def test_rows_stand_in_the_order_of_the_values():
    frame = rows_by_axes({"value": VALUES}, AXES, "P(Y)")
    for place, told in open_values(AXES):
        labels = tuple(states[i] for states, i in zip(AXES.values(), place, strict=True))
        assert frame.loc[labels, "value"] == VALUES[place]
        assert told == f"X={labels[0]}, Z={labels[1]}"
    assert list(open_values({})) == [((), "")]
