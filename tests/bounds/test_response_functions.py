"""Response types, decided as far as they are asked."""

import numpy as np
import pytest

from causalppl.bounds.c_factor_rows import district_plan
from causalppl.bounds.district_types import independent_parts, meets_in_one_core
from causalppl.bounds.response_functions import ResponseTypes, Slots, Step, TooManyTypesError
from causalppl.graphs import ADMG
from causalppl.programs.finite_worlds import Fixed

IV = ADMG.parse("Z -> X -> Y; X <-> Y")


def instrument_types(states, monotone=()):
    slots = Slots.of(IV, ["X", "Y"], dict.fromkeys("ZXY", states), monotone)
    types = ResponseTypes.start(slots)
    for z in range(states):
        types, _ = types.decide(district_plan(IV, ["X", "Y"], {"Z": z}), 10**6)
    return types


@pytest.mark.parametrize(("states", "count"), [(2, 12), (3, 333), (4, 16720)])
def test_types_are_as_many_as_data_can_tell_apart(states, count):
    assert len(instrument_types(states)) == count


def test_deciding_all_gives_every_response_once():
    types = instrument_types(2).decide_all("X", 100).decide_all("Y", 100)
    assert len(types) == len(np.unique(types.table, axis=0)) == 16


def test_types_remember_what_they_were_split_from():
    types = instrument_types(2)
    finer, origin = types.decide((Step("Y", (Fixed(1),)),), 100)
    assert (np.diff(origin) >= 0).all()
    known = types.table[origin] >= 0
    assert (finer.table[known] == types.table[origin][known]).all()
    assert (finer.respond((Step("Y", (Fixed(1),)),))[0] >= 0).all()


def test_monotone_responses_never_fall():
    types = instrument_types(3, [("Z", "X")]).decide_all("X", 10**5)
    responses = np.unique(types.table[:, :3], axis=0)
    assert len(responses) == 10  # of 27, those that do not fall
    assert (np.diff(responses, axis=1) >= 0).all()


def test_monotone_in_two_parents_is_a_lattice():
    graph = ADMG.parse("A -> Y; B -> Y")
    slots = Slots.of(graph, ["Y"], dict.fromkeys("ABY", 2), [("A", "Y"), ("B", "Y")])
    assert len(ResponseTypes.start(slots).decide_all("Y", 100)) == 6  # Dedekind's number of 2


def test_more_types_than_allowed_are_refused():
    with pytest.raises(TooManyTypesError, match="more than 10 response types"):
        ResponseTypes.start(Slots.of(IV, ["X", "Y"], dict.fromkeys("ZXY", 3))).decide_all("X", 10)


def test_parts_that_no_edge_joins():
    chain = ADMG.parse("A <-> B <-> C <-> D")
    found = independent_parts(chain, frozenset("ABCD"))
    assert found == ((("A",), ("C", "D")), (("D",), ("A", "B")))
    assert independent_parts(ADMG.parse("A <-> B <-> C <-> A"), frozenset("ABC")) == ()


def test_stars_and_pairs_of_cliques_meet_in_one_core():
    assert meets_in_one_core(ADMG.parse("A <-> B; A <-> C; A <-> D"), frozenset("ABCD"))
    two = ADMG.parse("A <-> B <-> C <-> A; B <-> D; C <-> D")
    assert meets_in_one_core(two, frozenset("ABCD"))
    ring = ADMG.parse("A <-> B <-> C <-> D <-> A")
    assert not meets_in_one_core(ring, frozenset("ABCD"))
