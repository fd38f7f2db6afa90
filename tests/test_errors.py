"""Errors are one line each, and belong to the family a Python caller would catch."""

from __future__ import annotations

import inspect

import pytest

from probeline import errors


def test_a_line_says_what_where_expected_got_and_what_next() -> None:
    error = errors.BadData("a file is short", where="a.bin", expected="3 bytes", got="2\nbytes", remedy="fetch it")
    assert str(error) == "a file is short: a.bin (expected 3 bytes, got 2 bytes); fetch it"
    assert error.exit_code == 2


def test_an_unknown_name_lists_the_valid_ones() -> None:
    assert str(errors.UnknownName("verb", "exract", ["extract", "probe"])) == (
        "unknown verb 'exract' (expected one of: extract, probe); did you mean extract?"
    )
    assert str(errors.UnknownName("verb", "xyz", ["extract", "probe"])) == (
        "unknown verb 'xyz' (expected one of: extract, probe)"
    )


def test_of_many_names_the_nearest_are_suggested() -> None:
    names = [f"resnet{n}" for n in range(100)]
    assert str(errors.UnknownName("backbone", "resnt18", names)).startswith("unknown backbone 'resnt18'; did you mean ")
    assert "resnet99" in str(errors.UnknownName("backbone", "xyz", names)), "all are listed if none is near"


KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", KINDS)
def test_each_error_is_ours(kind: type[Exception]) -> None:
    assert issubclass(kind, errors.ProbelineError)
    if kind is not errors.ProbelineError:
        family = next(base for base in kind.__mro__ if len(base.__bases__) > 1)  # of which it is a special case
        assert len(family.__bases__) == 2
