"""The inputs in tests/cases are read as their expected.json says."""

import subprocess
import warnings

import pytest

from connector_async.sync import Scope
from tests.support.cases import CASES, FOLDERS, case, entries, names, read_case, source, with_field
from tests.support.measured_reading import measure

LIMITED = with_field("limits")
"""Read in a process of its own, which can be killed."""
EVERY = [(folder, name) for folder in FOLDERS for name in sorted(names(folder)) if (folder, name) not in LIMITED]


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_input_has_an_entry_and_each_entry_an_input(folder: str) -> None:
    assert entries(folder).keys() == names(folder)


@pytest.mark.parametrize(("folder", "name"), EVERY)
async def test_input_is_read_right(folder: str, name: str) -> None:
    expected = case(folder, name)
    with warnings.catch_warnings(record=True, action="always") as shown:
        reading = await read_case(source(CASES / folder / name, expected.assume_zone))
    assert any(right.fits(reading) for right in expected.any_of), reading
    if expected.no_warning:
        assert [str(warning.message) for warning in shown] == []


@pytest.mark.parametrize(("folder", "name"), with_field("with_window"))
async def test_recurring_events_of_an_input_are_expanded_right(folder: str, name: str) -> None:
    expected = case(folder, name)
    assert expected.with_window is not None
    expand = Scope(start=expected.with_window.start, end=expected.with_window.end)
    reading = await read_case(source(CASES / folder / name, expected.assume_zone, expand=expand))
    assert expected.with_window.fits(reading), reading


@pytest.mark.parametrize(("folder", "name"), LIMITED)
def test_input_is_read_within_its_limits(folder: str, name: str) -> None:
    expected = case(folder, name)
    assert expected.limits is not None
    try:
        measured = measure(folder, name)
    except subprocess.TimeoutExpired:
        pytest.fail("killed, since it took too long")
    assert any(right.fits(measured.reading) for right in expected.any_of), measured.reading
    assert measured.seconds <= expected.limits.seconds
    assert measured.memory_mb <= expected.limits.memory_mb
