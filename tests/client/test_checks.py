"""Argument checks: what they accept, and how they name what they reject."""

import math
from typing import Any

import attrs
import pytest

from connector_async._checks import check_iterable, check_number, check_seconds, check_sequence, check_type, validator


@pytest.mark.parametrize("value", [0, 0.0, 1, 2.5])
def test_check_seconds_returns_a_valid_duration(value: float) -> None:
    assert check_seconds("wait", value) == value


@pytest.mark.parametrize(
    ("value", "options", "error", "rule"),
    [
        (-1, {}, ValueError, "wait must be zero or more"),
        (math.nan, {}, ValueError, "wait must be zero or more"),
        (math.inf, {}, ValueError, "wait must be finite"),
        (0, {"above_zero": True}, ValueError, "wait must be above zero"),
        (-1, {"above_zero": True}, ValueError, "wait must be above zero"),
        (-math.inf, {"finite": False}, ValueError, "wait must be zero or more"),
        ("1", {}, TypeError, "wait must be a number of seconds, not str"),
        (None, {}, TypeError, "wait must be a number of seconds, not NoneType"),
        (True, {}, TypeError, "wait must be a number of seconds, not bool"),
    ],
)
def test_check_seconds_rejects_an_invalid_duration_by_name(
    value: Any, options: dict[str, bool], error: type[Exception], rule: str
) -> None:
    with pytest.raises(error, match=rule):
        check_seconds("wait", value, **options)


def test_check_seconds_accepts_infinity_unless_finite() -> None:
    assert check_seconds("wait", math.inf, finite=False) == math.inf


@pytest.mark.parametrize(
    ("value", "error", "rule"),
    [
        ("1", TypeError, "at must be a number, not str"),
        (True, TypeError, "at must be a number, not bool"),
        (math.nan, ValueError, "at must not be NaN"),
    ],
)
def test_check_number_rejects_other_types_and_nan(value: Any, error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=rule):
        check_number("at", value)
    assert check_number("at", -1.5) == -1.5


@pytest.mark.parametrize(
    ("value", "options", "rule"),
    [
        ("x", {}, "^field must be an int, not str$"),
        (int, {}, "^field must be an int, not the class int$"),
        (None, {}, "^field must be an int, not NoneType$"),
        ("x", {"optional": True}, "^field must be an int or None, not str$"),
    ],
)
def test_check_type_rejects_other_types_and_classes(value: Any, options: Any, rule: str) -> None:
    with pytest.raises(TypeError, match=rule):
        check_type("field", value, int, **options)
    check_type("field", None, int, optional=True)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("ab", "^names must be a sequence of str, not str$"),
        ({"a"}, "^names must be a sequence of str, not set$"),
        (["a", 1], "^names must be a sequence of str, not of int$"),
    ],
)
def test_check_sequence_rejects_strings_other_iterables_and_other_items(value: Any, rule: str) -> None:
    with pytest.raises(TypeError, match=rule):
        check_sequence("names", value, str)
    check_sequence("names", ("a", "b"), str)


@pytest.mark.parametrize("value", ["ab", b"ab", bytearray(b"ab"), memoryview(b"ab"), 5])
def test_check_iterable_rejects_strings_and_bytes(value: Any) -> None:
    with pytest.raises(TypeError, match=f"must be an iterable or an async iterable, not {type(value).__name__}$"):
        check_iterable("inputs", value)


def test_validator_runs_a_check_on_an_attrs_field() -> None:
    @attrs.define
    class Options:
        wait: float | None = attrs.field(default=None, validator=validator(check_seconds, optional=True, finite=False))

    assert Options().wait is None
    assert Options(math.inf).wait == math.inf
    with pytest.raises(ValueError, match="wait must be zero or more"):
        Options(-1)
