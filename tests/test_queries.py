import ast
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from causalppl import queries
from causalppl.exceptions import QueryError
from causalppl.queries import Contrast, Event, Intervention, Query, Term, parse_query
from causalppl.queries.open_values import fill_open_values, label_open_values

X1, X0 = Intervention("X", 1), Intervention("X", 0)
Y, Z = Event(Term("Y")), Event(Term("Z"))


@pytest.mark.parametrize(
    ("text", "value", "rung"),
    [
        ("P(Y)", Query("P", (Y,)), 1),
        ("P(Y | X=1)", Query("P", (Y,), (Event(Term("X"), 1),)), 1),
        ("P(Y | do(X))", Query("P", (Y,), do=(Intervention("X"),)), 2),
        ("P(Y | do(X=1), Z)", Query("P", (Y,), (Z,), (X1,)), 2),
        ("P(Y_{X=1})", Query("P", (Event(Term("Y", (X1,))),)), 2),
        ("P(Y_{X=1} | Z_{X=1})", Query.parse("P(Y | do(X=1), Z)").worlds, 2),
        ("P(Y_{X=1} | Z)", Query("P", (Event(Term("Y", (X1,))),), (Z,)), 3),
        (
            "P(Y_{X=0}=0 | X=1, Y=1)",
            Query(
                "P",
                (Event(Term("Y", (X0,)), 0),),
                (Event(Term("X"), 1), Event(Term("Y"), 1)),
            ),
            3,
        ),
        (
            "P(Y_{X=1, M_{X=0}})",
            Query("P", (Event(Term("Y", (X1, Intervention("M", Term("M", (X0,)))))),)),
            3,
        ),
        ("P(Y_{X=1}=1, Y_{X=0}=0)", None, 3),
        ("E[Y_{X=0} | X=1, Y=2.3]", None, 3),
        (
            "E[Y_{X=1} - Y_{X=0}]",
            Query(
                "E",
                (Event(Term("Y", (X1,))), Event(Term("Y", (X0,)))),
                coefficients=(1.0, -1.0),
            ),
            2,
        ),
        ("E[Y_{X=1} - Y_{X=0} | Z=1]", None, 3),
        ("E[-0.5*Y + 2*Z]", Query("E", (Y, Z), coefficients=(-0.5, 2)), 1),
        ("P(Y > 1 | do(X=1))", Query("P", (Event(Term("Y"), 1, ">"),), do=(X1,)), 2),
        ("P(Y >= -1.5, Y < 2.0)", None, 1),
        ("P(Y | do(X=1, M_{X=0}))", None, 3),
        ("P(Z='it\\'s a \\\\ (b)')", Query("P", (Event(Term("Z"), "it's a \\ (b)"),)), 1),
        ("P(Z='True', W=True, V='1')", None, 1),
    ],
)
def test_text_value_and_rung(text, value, rung):
    query = Query.parse(text)
    assert str(query) == text
    assert Query.parse(str(query)) == query
    assert hash(Query.parse(str(query))) == hash(query)
    assert query.rung == rung
    if value is not None:
        assert query == value


@pytest.mark.parametrize(
    ("loose", "canonical"),
    [
        (" P (\tY_ { X = 1 } = 1|Z , W=a)", "P(Y_{X=1}=1 | W=a, Z)"),
        ("P(Y|Z,do(X=1),do(W))", "P(Y | do(W, X=1), Z)"),
        ("P(Y_{M_{X=0},X=1})", "P(Y_{X=1, M_{X=0}})"),
        ('P(Y | Z="north")', "P(Y | Z=north)"),
        ("E(2 Y - Z)", "E[2*Y - Z]"),
        ("P(Y≥2)", "P(Y >= 2)"),
        ("P(Y=-1.5e-3, Z=+2, W=.5)", "P(Y=-0.0015, Z=2, W=0.5)"),
        ("P(Y__{X=1} | Y_, a.b_1)", "P(Y__{X=1} | Y_, a.b_1)"),
        ("P(größe=2 | 変数)", "P(größe=2 | 変数)"),
        ("P(do | E, P)", "P(do | E, P)"),
    ],
)
def test_spaces_order_and_quotes_are_free(loose, canonical):
    assert str(Query.parse(loose)) == canonical
    assert str(Query.parse(canonical)) == canonical


def test_types_of_values():
    query = Query.parse("P(A=1, B=1.0, C=True, D=a, F='1', G=1e3)")
    values = [event.value for event in query.outcomes]
    assert values == [1, 1.0, True, "a", "1", 1000.0]
    assert [type(v) for v in values] == [int, float, bool, str, str, float]


def test_scalars_of_numpy_and_torch_become_plain_values():
    for value, kind in [
        (np.float32(1.5), float),
        (np.int64(2), int),
        (np.bool_(True), bool),
        (torch.tensor(3), int),
        (np.str_("a"), str),
    ]:
        cleaned = Event(Term("Y"), value).value
        assert type(cleaned) is kind
        assert cleaned == value
    with pytest.raises(QueryError, match="one number, not an array"):
        Event(Term("Y"), torch.ones(2))
    with pytest.raises(QueryError, match="finite"):
        Intervention("X", float("nan"))
    with pytest.raises(QueryError, match="expected a number"):
        Intervention("X", [1])


@pytest.mark.parametrize(
    ("text", "message", "column"),
    [
        ("", "found the end; expected P", 0),
        ("P()", "the name of a variable", 2),
        ("E[]", "the name of a variable", 2),
        ("P(Y", "found the end; expected '\\)'", 3),
        ("P[Y)", "expected ']'", 3),
        ("P(Y) - P(Z)", "expected the end of the text", 5),
        ("P(Y | )", "the name of a variable", 6),
        ("P(Y | do())", "the name of a variable", 9),
        ("P(Y@x0)", "found '@'", 3),
        ("P(Y_X=0}", "found '}'", 7),
        ("P(Y_{})", "the name of a variable", 5),
        ("P(Y==1)", "expected a value", 4),
        ("P(Y|X=3M)", "expected a value", 6),
        ("P(Y|X=nan)", "finite value", 6),
        ("P(Y='a)", "expected a value", 4),
        ("P(do(X=1))", "behind the bar", 2),
        ("P(X | do(X=1))", "X is set by do", 2),
        ("P(Y|do(X=1), X=0)", "use a subscript: P\\(Y_{X=1} | X=0\\)", 13),
        ("P(Y_{X=1}|do(X=0))", "set once, either by do or in a subscript", 2),
        ("P(Y_{M_{X=1}}|do(X=0))", "set once", 2),
        ("P(Y|do(X=1,X=2))", "X is set twice", 11),
        ("P(Y_{X=1,X_{Z=1}})", "X is set twice", 9),
        ("P(Y_{Y=1})", "itself is set", 5),
        ("P(Y, Y)", "Y is an outcome twice", 5),
        ("P(Y > 2, Y < 1)", "an outcome twice", 9),
        ("P(Y=1|Y=0)", "contradicts the given Y=0", 2),
        ("P(Y>1|Y=0)", "contradicts the given Y=0", 2),
        ("P(Y=a|Y=0)", "contradicts the given Y=0", 2),
        ("P(Y|Z>1)", "not supported yet", 4),
        ("P(Y|Z=1, Z=2)", "Z is given twice", 9),
        ("P(Y>'a')", "an inequality needs a number", 2),
        ("E[Y=1]", r"use P\(Y=1\)", 2),
        ("E[Y,Z]", "an expectation has one outcome", 3),
        ("E[0*Y]", "expected a number not 0", 0),
        ("Q(Y)", "no contrast is named 'Q'", 0),
        ("ATEE(X->Y)", "did you mean ATE", 0),
        ("ATE(X: 1 v 0 -> Y)", "'vs' between two values", 9),
        ("ATE(X: 1 vs 0, Y)", "'->' and the outcome", 13),
        ("ATE(X: 1 vs 1 -> Y)", "compared with itself", 0),
        ("ATE(X->X)", "two roles", 0),
        ("ATE(X->Y|Z)", "use CATE to condition", 9),
        ("ATE(X->Y; M)", "takes no mediators", 0),
        ("ATE(X->Y| do(M=1))", "takes no do", 0),
        ("ATE(X->Y: a vs b)", "takes no outcome values", 0),
        ("CATE(X->Y)", "CATE conditions on something", 0),
        ("CDE(X->Y)", "holds mediators fixed", 0),
        ("CDE(X->Y | do(X=1))", "X is set twice", 14),
        ("ETT(X->Y|X=1)", "X is given twice", 9),
    ],
)
def test_errors_point_at_the_place(text, message, column):
    with pytest.raises(QueryError, match=message) as caught:
        parse_query(text)
    _, shown, caret = str(caught.value).splitlines()
    assert shown == f"  {text}"
    assert caret == "  " + " " * column + "^"


def test_constructors_refuse_what_the_text_refuses():
    with pytest.raises(QueryError, match="no outcome"):
        Query("P", ())
    with pytest.raises(QueryError, match="expected 'P' or 'E'"):
        Query("Q", (Y,))
    with pytest.raises(QueryError, match="no coefficients"):
        Query("P", (Y,), coefficients=(1.0,))
    with pytest.raises(QueryError, match="2 outcomes have 1 coefficients"):
        Query("E", (Y, Z), coefficients=(1.0,))
    with pytest.raises(QueryError, match="same variable"):
        Intervention("M", Term("N", (X0,)))
    with pytest.raises(QueryError, match="rename the column"):
        Term("two words")
    with pytest.raises(QueryError, match="the comparison is '!='"):
        Event(Term("Y"), 1, "!=")
    with pytest.raises(QueryError, match="expected text"):
        Query.parse(3)


def test_values_are_frozen_and_order_of_sets_does_not_matter():
    query = Query.parse("P(Y | A, B, do(C, D))")
    assert query == Query.parse("P(Y | do(D), B, do(C), A)")
    assert Query.parse("P(Y, Z)") != Query.parse("P(Z, Y)")
    with pytest.raises(FrozenInstanceError):
        query.kind = "E"


def test_do_is_pushed_into_every_term_and_back():
    query = Query.parse("P(Y=1, V | do(X=1), Z=0, W)")
    assert str(query.worlds) == "P(Y_{X=1}=1, V_{X=1} | W_{X=1}, Z_{X=1}=0)"
    assert query.worlds.interventional() == query
    nested = Query.parse("P(Y_{X=1, M_{X=0}} | do(W=2), Z)").worlds
    assert str(nested) == "P(Y_{W=2, X=1, M_{W=2, X=0}} | Z_{W=2})"
    assert nested.variables == {"W", "X", "Y", "M", "Z"}
    with pytest.raises(QueryError, match="several worlds"):
        nested.interventional()


def test_expectation_splits_into_its_terms():
    parts = Query.parse("E[2*Y - Z | do(X=1)]").expand()
    assert [(weight, str(query)) for weight, query in parts] == [
        (2.0, "E[Y | do(X=1)]"),
        (-1.0, "E[Z | do(X=1)]"),
    ]


# Definitions: Pearl, Causality (2009), 9.2 for PN, PS, PNS; Pearl (2001) for direct and indirect.
@pytest.mark.parametrize(
    ("text", "expansion", "rung"),
    [
        ("ATE(X: 1 vs 0 -> Y)", "+E[Y_{X=1}] -E[Y_{X=0}]", 2),
        ("TE(X: 1 vs 0 -> Y | Z=1)", "+E[Y_{X=1} | Z=1] -E[Y_{X=0} | Z=1]", 3),
        ("CATE(X: a vs b -> Y | Z=1)", "+E[Y_{X=a} | Z=1] -E[Y_{X=b} | Z=1]", 3),
        ("ETT(X: 1 vs 0 -> Y)", "+E[Y_{X=1} | X=1] -E[Y_{X=0} | X=1]", 3),
        ("ATC(X: 1 vs 0 -> Y)", "+E[Y_{X=1} | X=0] -E[Y_{X=0} | X=0]", 3),
        ("CDE(X: 1 vs 0 -> Y | do(M=0))", "+E[Y_{M=0, X=1}] -E[Y_{M=0, X=0}]", 2),
        ("NDE(X: 1 vs 0 -> Y; M)", "+E[Y_{X=1, M_{X=0}}] -E[Y_{X=0}]", 3),
        ("NIE(X: 1 vs 0 -> Y; M)", "+E[Y_{X=0, M_{X=1}}] -E[Y_{X=0}]", 3),
        ("PN(X: 1 vs 0 -> Y)", "+P(Y_{X=0}=0 | X=1, Y=1)", 3),
        ("PS(X: 1 vs 0 -> Y)", "+P(Y_{X=1}=1 | X=0, Y=0)", 3),
        ("PNS(X: 1 vs 0 -> Y)", "+P(Y_{X=1}=1, Y_{X=0}=0)", 3),
        ("PN(X: a vs b -> Y: yes vs no)", "+P(Y_{X=b}=no | X=a, Y=yes)", 3),
    ],
)
def test_contrasts_follow_their_definitions(text, expansion, rung):
    contrast = Contrast.parse(text)
    assert str(contrast) == text
    assert Contrast.parse(str(contrast)) == contrast
    signs = {1.0: "+", -1.0: "-"}
    assert " ".join(signs[w] + str(query) for w, query in contrast.expand()) == expansion
    assert contrast.rung == rung


def test_queries_in_a_list_are_shown_as_their_text():
    contrast = Contrast.parse("ETT(X -> Y)")
    assert repr(contrast) == "Contrast(ETT(X: 1 vs 0 -> Y))"
    assert repr([*contrast.expand()]) == (
        "[(1.0, Query(E[Y_{X=1} | X=1])), (-1.0, Query(E[Y_{X=0} | X=1]))]"
    )


def test_contrast_defaults_aliases_and_names():
    assert Contrast.parse("ATT(X->Y)") == Contrast("ETT", "X", 1, 0, "Y")
    assert Contrast("ATT", "X", 1, 0, "Y").kind == "ETT"
    contrast = Contrast.parse("NDE(X -> Y | Z=1; N, M)")
    assert contrast.mediators == ("M", "N")
    assert contrast.variables == {"X", "Y", "Z", "M", "N"}
    assert str(contrast) == "NDE(X: 1 vs 0 -> Y | Z=1; M, N)"


def test_mediators_come_from_the_text_or_the_caller():
    open_contrast = Contrast.parse("NIE(M -> Y)")
    assert open_contrast.rung == 3
    with pytest.raises(QueryError, match="names no mediator"):
        open_contrast.expand()
    first, _ = open_contrast.expand(["B", "A"])
    assert str(first[1]) == "E[Y_{M=0, A_{M=1}, B_{M=1}}]"
    with pytest.raises(QueryError, match="one place"):
        Contrast.parse("NDE(X -> Y; M)").expand(["N"])
    assert Contrast.parse("ATE(X -> Y)").expand(["M"]) == Contrast.parse("ATE(X -> Y)").expand()


def test_parse_query_reads_both_and_returns_values_as_they_are():
    query, contrast = parse_query("P(Y)"), parse_query("ATE(X -> Y)")
    assert isinstance(query, Query)
    assert isinstance(contrast, Contrast)
    assert parse_query(query) is query
    assert parse_query(contrast) is contrast
    assert Query.parse(query) is query
    assert Contrast.parse(contrast) is contrast


def test_latex():
    assert Query.parse("P(Y=1 | do(X=1), Z)").to_latex() == (r"P(Y = 1 \mid \mathrm{do}(X = 1), Z)")
    assert Query.parse("P(wt_1 >= 2e-30, Z='a_b', W=True)").to_latex() == (
        r"P(\mathrm{wt\_1} \ge 2 \times 10^{-30}, Z = \text{a\_b}, W = \mathrm{True})"
    )
    assert Contrast.parse("NDE(X -> Y)")._repr_latex_() == (
        r"$\mathrm{NDE} = \mathbb{E}[Y_{X = 1, M_{X = 0}}] - \mathbb{E}[Y_{X = 0}]$"
    )
    assert Query.parse("E[2*Y - Z]").to_latex() == r"\mathbb{E}[2\,Y - Z]"


names = st.sampled_from(["X", "Y", "Z", "wt82_71", "a.b", "_q", "Ünï", "do", "P"])
values = st.one_of(
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
)
worlds = st.dictionaries(names, st.one_of(st.none(), values), max_size=2)


@st.composite
def terms(draw, depth=1):
    name = draw(names)
    world = {k: v for k, v in draw(worlds).items() if k != name}
    interventions = [Intervention(k, v) for k, v in world.items()]
    nested = draw(names)
    if depth and draw(st.booleans()) and nested != name and nested not in world:
        inner = draw(terms(depth=depth - 1))
        if inner.interventions and inner.name == nested:
            interventions.append(Intervention(nested, inner))
    return Term(name, tuple(interventions))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(terms(), values), min_size=1, max_size=3, unique_by=lambda pair: pair[0]),
    st.sampled_from("PE"),
)
def test_round_trip_of_random_queries(parts, kind):
    if kind == "P":
        events = [Event(term, value) for term, value in parts]
        query = Query("P", tuple(events[:1]), tuple(events[1:]))
    else:
        query = Query("E", tuple(Event(term) for term, _ in parts))
    again = Query.parse(str(query))
    assert again == query
    assert str(again) == str(query)
    assert query.to_latex()


def test_the_noun_imports_only_the_standard_library_and_the_errors():
    home = Path(queries.__file__)
    files = home.parent.glob("*.py") if home.name == "__init__.py" else [home]
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8")))]
    imported = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    imported |= {a.name for node in nodes if isinstance(node, ast.Import) for a in node.names}
    foreign = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    assert {name for name in foreign if not name.startswith("causalppl.queries")} == {
        "causalppl.exceptions"
    }


def test_open_values_are_filled_in_every_world():
    query = Query.parse("P(Y_{X, M_{X}}, Z | W, X=1)")
    labels = label_open_values([query])
    assert list(labels.values()) == ["Y", "Z", "W", "X"]
    filled = fill_open_values(query, labels, {"Y": 1, "Z": 0, "W": 2, "X": 0})
    assert str(filled) == "P(Y_{X=0, M_{X=0}}=1, Z=0 | W=2, X=1)"
    with pytest.raises(QueryError, match="leaves"):
        fill_open_values(query, labels, {"Y": 1})


def test_parts_of_one_question_share_the_labels_of_open_values():
    parts = [part for _, part in Query.parse("E[Y_{Z} - Y | Z_{X=0}]").expand()]
    assert list(label_open_values(parts).values()) == ["Z_{X=0}", "do(Z)"]
