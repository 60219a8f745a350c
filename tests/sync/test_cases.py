"""The inputs in tests/cases are read as their expected.json says."""

import subprocess
import warnings

import pytest

from tests.support.cases import (
    CASES,
    FOLDERS,
    Limits,
    Reading,
    Result,
    case,
    entries,
    names,
    read_case,
    source,
    with_field,
)
from tests.support.measured_reading import measure

LIMITED = with_field("limits")
"""Read in a process of its own, which can be killed."""
EVERY = [(folder, name) for folder in FOLDERS for name in sorted(names(folder)) if (folder, name) not in LIMITED]
RECURRING = with_field("with_window")


def check_reading(reading: Reading, any_of: list[Result]) -> None:
    assert any(right.fits(reading) for right in any_of), f"{reading} is none of {any_of}"


def check_limits(folder: str, name: str, limits: Limits, any_of: list[Result], *, expand: bool = False) -> None:
    try:
        measured = measure(folder, name, expand=expand)
    except subprocess.TimeoutExpired:
        pytest.fail("killed, since it took too long")
    check_reading(measured.reading, any_of)
    assert measured.seconds <= limits.seconds
    assert measured.memory_mb <= limits.memory_mb


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_input_has_an_entry_and_each_entry_an_input(folder: str) -> None:
    assert entries(folder).keys() == names(folder)


@pytest.mark.parametrize(("folder", "name"), EVERY)
async def test_input_is_read_right(folder: str, name: str) -> None:
    expected = case(folder, name)
    with warnings.catch_warnings(record=True, action="always") as shown:
        reading = await read_case(source(CASES / folder / name, expected.assume_zone))
    check_reading(reading, expected.any_of)
    if expected.no_warning:
        assert [str(warning.message) for warning in shown] == []


@pytest.mark.parametrize(("folder", "name"), [each for each in RECURRING if each not in LIMITED])
async def test_recurring_events_of_an_input_are_expanded_right(folder: str, name: str) -> None:
    expected = case(folder, name)
    assert expected.with_window is not None
    path, expand = CASES / folder / name, expected.with_window.expand
    reading = await read_case(source(path, expected.assume_zone, expand=expand))
    check_reading(reading, expected.with_window.any_of)


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "name"), LIMITED)
def test_input_is_read_within_its_limits(folder: str, name: str) -> None:
    expected = case(folder, name)
    assert expected.limits is not None
    check_limits(folder, name, expected.limits, expected.any_of)


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "name"), [each for each in RECURRING if each in LIMITED])
def test_recurring_events_of_an_input_are_expanded_within_its_limits(folder: str, name: str) -> None:
    expected = case(folder, name)
    assert expected.limits is not None
    assert expected.with_window is not None
    check_limits(folder, name, expected.limits, expected.with_window.any_of, expand=True)
