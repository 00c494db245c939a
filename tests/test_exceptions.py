"""The tree of errors: as it is drawn, catchable at each level, able to cross processes."""

import inspect
import pickle
import re
import warnings

import pytest

from causalppl import exceptions

CLASSES = {
    name: thing
    for name, thing in vars(exceptions).items()
    if inspect.isclass(thing) and thing.__module__ == exceptions.__name__
}
ERRORS = [thing for thing in CLASSES.values() if issubclass(thing, exceptions.CausalPPLError)]
WARNINGS = [thing for thing in CLASSES.values() if issubclass(thing, Warning)]


def drawn_parents():
    """Name to parent's name, as the picture in the module's docstring has it."""
    above: dict[int, str] = {}
    parents = {}
    for line in inspect.cleandoc(exceptions.__doc__).splitlines():
        match = re.match(r"^    ([│├└─ ]*)(CausalPPL\w+|\w+Error|\w+Warning)\b", line)
        if match:
            depth, name = len(match[1]) // 4, match[2]
            above[depth] = name
            parents[name] = above[depth - 1] if depth else None
    return parents


def test_the_drawn_tree_is_the_real_one():
    real = {
        name: next((base.__name__ for base in thing.__bases__ if base.__name__ in CLASSES), None)
        for name, thing in CLASSES.items()
    }
    assert drawn_parents() == real


def test_the_drawing_marks_the_value_errors():
    marked = set(re.findall(r"(\w+Error)\s+\(ValueError\)", exceptions.__doc__))
    assert marked == {each.__name__ for each in ERRORS if issubclass(each, ValueError)}
    assert marked == {"GraphError", "QueryError", "ProgramError", "DataError"}


def test_a_missing_package_is_an_import_error_and_drawn_as_one():
    assert issubclass(exceptions.MissingExtraError, ImportError)
    assert re.findall(r"(\w+Error)\s+\(ImportError\)", exceptions.__doc__) == ["MissingExtraError"]
    with pytest.raises(ImportError, match="found; expected; do"):
        raise exceptions.MissingExtraError("found; expected; do")


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_one_clause_catches_every_error(error):
    with pytest.raises(exceptions.CausalPPLError, match="found; expected; do"):
        raise error("found; expected; do")


def test_not_identifiable_carries_query_and_witness():
    error = exceptions.NotIdentifiableError("no formula", query="P(Y | do(X))", hedge={"X", "Y"})
    assert (error.query, error.hedge) == ("P(Y | do(X))", {"X", "Y"})
    assert exceptions.NotIdentifiableError("no formula").hedge is None


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_errors_come_back_from_another_process(error):
    back = pickle.loads(pickle.dumps(error("message")))
    assert type(back) is error
    assert str(back) == "message"


def test_a_witness_comes_back_from_another_process():
    error = exceptions.NotTransportableError("message", query="P(Y)", hedge=frozenset({"S"}))
    back = pickle.loads(pickle.dumps(error))
    assert (back.query, back.hedge) == ("P(Y)", frozenset({"S"}))


@pytest.mark.parametrize("warning", WARNINGS, ids=lambda warning: warning.__name__)
def test_one_filter_governs_every_warning(warning):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", exceptions.CausalPPLWarning)
        warnings.warn("message", warning, stacklevel=1)
    assert caught == []
    assert issubclass(warning, UserWarning)
