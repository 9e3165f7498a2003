"""The error tree: as its docstring draws it, each with a status and a code, and whole across processes."""

import inspect
import pickle
import re

import pytest

from evident_core import errors
from evident_core.errors import EvidentError, InvalidInput, MissingExtra, NotFound
from evident_core.services import Vertical, find, installed

TREE = [each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, EvidentError)]


def test_the_picture_in_the_docstring_is_the_tree() -> None:
    drawn = dict(re.findall(r"[├└]── (\w+)\s+(\d{3})", errors.__doc__ or ""))
    assert drawn == {each.__name__: str(each.status) for each in TREE if each is not EvidentError}
    for line in (errors.__doc__ or "").splitlines():
        if match := re.search(r"│   [├└]── (\w+)", line):
            assert issubclass(getattr(errors, match[1]), InvalidInput)


def test_codes_are_told_apart() -> None:
    codes = [each.code for each in TREE]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("kind", TREE)
def test_an_error_crosses_processes_with_its_details(kind: type[EvidentError]) -> None:
    again = pickle.loads(pickle.dumps(kind("series 1.2.3 has 4 slices; at least 8 are needed.", slices=4)))
    assert type(again) is kind
    assert again.message == str(again) == "series 1.2.3 has 4 slices; at least 8 are needed."
    assert again.details == {"slices": 4}


def test_a_missing_extra_answers_with_the_pip_command() -> None:
    vertical = Vertical(
        name="credit",
        title={},
        summary={},
        app="a_package_that_is_not_there.app:create_app",
        cli="math:no_such_name",
        requires=("a_package_that_is_not_there",),
    )
    with pytest.raises(MissingExtra, match=r"pip install 'evident\[credit\]'"):
        vertical.load(vertical.app)
    with pytest.raises(AttributeError):
        vertical.load(vertical.cli)
    with pytest.raises(ModuleNotFoundError):
        vertical.load("another_package_that_is_not_there:x")


def test_an_unknown_service_is_refused_with_those_there_are() -> None:
    assert "finance" in installed()
    with pytest.raises(NotFound, match=r"'credits'.*finance"):
        find("credits")
