"""The inputs in tests/cases lead to the runs that their expected.json says."""

from datetime import datetime
from pathlib import Path

import pytest

from connector_async import AppointmentService
from connector_async._timestamps import format_instant
from connector_async.sandbox import Sandbox
from tests.support.cases import CASES, case, with_field
from tests.support.cli_syncing import call_server
from tests.support.command_line import CommandLine


def starts(sandbox: Sandbox) -> list[str]:
    """Return the start times of the appointments on the server, in order."""
    appointments = call_server(sandbox, "acme", lambda service: service.preview().collect())
    return sorted(format_instant(appointment.start_time) for appointment in appointments)


def retitle(sandbox: Sandbox, start: datetime, title: str) -> None:
    """Give the appointment that starts at a time a new title on the server."""

    async def retitle_it(service: AppointmentService) -> None:
        (found,) = [item for item in await service.preview().collect() if item.start_time == start]
        await service.update(found.appointment_id, title=title)

    call_server(sandbox, "acme", retitle_it)


@pytest.mark.parametrize(("folder", "name"), with_field("run"))
def test_run_of_an_input_ends_right(
    command: CommandLine, sandbox: Sandbox, tmp_path: Path, folder: str, name: str
) -> None:
    expected = case(folder, name).run
    assert expected is not None
    file = tmp_path / f"source{Path(name).suffix}"
    if expected.after is not None:
        file.write_bytes((CASES / folder / expected.after).read_bytes())
        assert command("sync", "run", str(file)).code == 0
    file.write_bytes((CASES / folder / name).read_bytes())
    code = command("sync", "run", str(file)).code
    assert (code, starts(sandbox)) in [(right.exit_code, sorted(right.starts_on_server)) for right in expected.any_of]


@pytest.mark.parametrize(("folder", "name"), with_field("two_way"))
def test_two_way_run_keeps_what_it_does_not_change(
    command: CommandLine, sandbox: Sandbox, tmp_path: Path, folder: str, name: str
) -> None:
    expected = case(folder, name)
    assert expected.two_way is not None
    file = tmp_path / f"source{Path(name).suffix}"
    content = (CASES / folder / name).read_bytes()
    file.write_bytes(content)
    two_way = ("sync", "run", str(file), "--mode", "two-way", "--grace", "0")
    assert command(*two_way).code == 0
    assert file.read_bytes() == content
    change = expected.two_way.change_on_server
    (start,) = [start for key, _, start, _ in expected.any_of[0].records if key == change.key]
    retitle(sandbox, datetime.fromisoformat(start), change.title)
    assert command(*two_way).code == 0
    lines = file.read_text(encoding="utf-8").splitlines()
    assert set(expected.two_way.must_appear) <= set(lines)
    remaining = iter(lines)
    lost = next((line for line in expected.two_way.must_survive if line not in remaining), None)
    assert lost is None
