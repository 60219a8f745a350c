"""Ids that no request can name: that record is reported, and everything else of five tenants is synced."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from connector_async import AppointmentService, PageRequest, PageResponse, RetryPolicy
from connector_async.cli.options import DisplayOptions
from connector_async.cli.output import Printer
from connector_async.sync import (
    BulkSync,
    Calendar,
    Fate,
    MaxDelete,
    Mode,
    Pull,
    PullOptions,
    RunReport,
    SourceRecord,
    State,
    SyncOptions,
    SyncSettings,
    file_mirror,
    read_dead_letters,
)
from tests.support.hostile import HostileServer, http
from tests.support.services import open_service
from tests.support.syncing import ListSource, record

pytestmark = pytest.mark.row("H17")

TENANTS = ["t0", "t1", "t2", "t3", "t4"]
BAD = "a\x00\x9b\xa0"
"""NUL, the start of a terminal's escape sequence, and a no-break space."""
ESCAPED = r"a\x00\x9b\xa0"
ANY = MaxDelete(number=100)


class Calendars(HostileServer):
    """Has a list of appointments for each tenant. New ids start with the tenant's entry in `prefixes`."""

    def __init__(self) -> None:
        self.kept: dict[str, list[dict[str, Any]]] = {tenant: [] for tenant in TENANTS}
        self.prefixes: dict[str, str] = {}
        self._given = 0
        super().__init__(self._respond)

    async def _respond(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = self.requests[-1]
        tenant = request.target.split("/")[1]
        kept = self.kept[tenant]
        body = orjson.loads(request.body) if request.body else {}
        found = [each for each in kept if each["appointmentId"] == body.get("appointmentId")]
        match request.method:
            case "POST":
                self._given += 1
                body["appointmentId"] = f"{self.prefixes.get(tenant, '')}{self._given}"
                kept.append(body)
            case "PUT":
                found[0].update(body)
            case "DELETE":
                kept.remove(found[0])
            case _ if "preview" not in request.target:
                writer.write(http(404, b"{}"))
                return
        writer.write(http(200, orjson.dumps(kept if request.method == "GET" else body)))

    def add(self, tenant: str, appointment_id: str, like: SourceRecord) -> None:
        start, end = (f"{each:%Y-%m-%dT%H:%M:%SZ}" for each in (like.appointment.start_time, like.appointment.end_time))
        fields = {"appointmentId": appointment_id, "title": like.appointment.title, "description": None}
        self.kept[tenant].append(fields | {"startTime": start, "endTime": end})

    def titles(self, tenant: str) -> list[str]:
        return sorted(each["title"] for each in self.kept[tenant])


class Runs:
    """Runs over one state, and pulls over another."""

    def __init__(self, server: Calendars, folder: Path) -> None:
        self._session = open_service(server).session
        self._folder = folder
        self.letters: dict[str, dict[str, Any]] = {}

    def service(self, calendar: Calendar) -> AppointmentService:
        return AppointmentService(self._session.for_tenant(calendar.tenant_id), retry=RetryPolicy.none())

    async def sync(self, records: list[SourceRecord], mode: Mode) -> RunReport:
        async with await State.open(self._folder / "state.db", owner="test") as state:
            settings = SyncSettings(grace=0, pause=0, passes=1)
            options = SyncOptions(mode=mode, max_delete=ANY, allow_empty=True)
            (self._folder / "source.jsonl").touch()
            mirror = file_mirror(self._folder / "source.jsonl") if mode is Mode.TWO_WAY else None
            report = await BulkSync(state, self.service, settings).run(ListSource(records), options, mirror=mirror)
            await self._read_letters(state)
            return report

    async def pull(self) -> RunReport:
        async with await State.open(self._folder / "pulls.db", owner="test") as state:
            options = PullOptions(calendars=[Calendar(tenant) for tenant in TENANTS], max_delete=ANY)
            pull = Pull(state, self.service, options, mirror=file_mirror(self._folder / "mirror.jsonl"))
            self.changes = [change.kind.value async for change in pull]
            await self._read_letters(state)
            return pull.report

    async def _read_letters(self, state: State) -> None:
        self.letters = {letter["key"]: letter async for letter in read_dead_letters(state)}


def records(prefix: str = "Visit", numbers: range = range(2)) -> list[SourceRecord]:
    return [
        record(f"{tenant}-{number}", f"{prefix} {number}", calendar=Calendar(tenant))
        for tenant in TENANTS
        for number in numbers
    ]


def counts_of(report: RunReport, *tenants: str) -> dict[Fate, int]:
    counts: Counter[Fate] = Counter()
    for tenant in tenants:
        counts += report.tenants[tenant].counts
    return dict(counts)


def counts_of_others(report: RunReport) -> dict[Fate, int]:
    """Return the counts of the four tenants with usable ids."""
    return counts_of(report, "t0", "t1", "t3", "t4")


@pytest.mark.parametrize("mode", list(Mode))
async def test_created_appointment_with_an_unusable_id_is_reported_and_not_created_again(
    tmp_path: Path, mode: Mode
) -> None:
    async with Calendars() as server:
        server.prefixes["t2"] = BAD
        runs = Runs(server, tmp_path)
        report = await runs.sync(records(), mode)
        assert counts_of_others(report) == {Fate.CREATED: 8}
        assert (report.tenants["t2"].in_sync, counts_of(report, "t2")) == (0, {Fate.REFUSED: 2})
        assert set(runs.letters) == {"t2-0", "t2-1"}
        reason = runs.letters["t2-0"]["reason"]
        assert reason.startswith(f"appointment_id must be printable, and the server has given it the id '{ESCAPED}")
        assert reason.isprintable()
        again = await runs.sync(records(), mode)
        assert again.counts == {Fate.SKIPPED: 2}
        assert server.titles("t2") == ["Visit 0", "Visit 1"]


@pytest.mark.parametrize("mode", list(Mode))
async def test_update_and_delete_of_an_unusable_id_are_reported(tmp_path: Path, mode: Mode) -> None:
    async with Calendars() as server:
        server.prefixes["t2"] = BAD
        runs = Runs(server, tmp_path)
        await runs.sync(records(), mode)
        report = await runs.sync(records("New"), mode)
        assert counts_of_others(report) == {Fate.UPDATED: 8}
        assert counts_of(report, "t2") == {Fate.REFUSED: 2}
        report = await runs.sync(records("New", range(1)), mode)
        assert counts_of_others(report) == {Fate.DELETED: 4}
        assert report.tenants["t2"].counts[Fate.REFUSED] == 1
        assert {letter["operation"] for letter in runs.letters.values()} == {"update", "delete"}
        assert server.titles("t1") == ["New 0"]
        assert server.titles("t2") == ["Visit 0", "Visit 1"]


@pytest.mark.parametrize("mode", [Mode.CHECK, Mode.TWO_WAY])
async def test_missing_appointment_with_an_unusable_id_is_reported(tmp_path: Path, mode: Mode) -> None:
    async with Calendars() as server:
        first = records()
        server.add("t2", f"{BAD}1", first[4])  # the first run adopts it
        runs = Runs(server, tmp_path)
        report = await runs.sync(first, mode)
        assert counts_of(report, "t2") == {Fate.UNCHANGED: 1, Fate.CREATED: 1}
        del server.kept["t2"][0]
        report = await runs.sync(records("New"), mode)
        assert counts_of_others(report) == {Fate.UPDATED: 8}
        assert counts_of(report, "t2") == {Fate.CONFLICT: 1, Fate.UPDATED: 1}
        assert runs.letters["t2-0"]["reason"].startswith("not in the preview; appointment_id must be printable")
        assert server.titles("t2") == ["New 1"]


async def test_new_appointment_with_an_unusable_id_is_reported_and_not_written_back(tmp_path: Path) -> None:
    async with Calendars() as server:
        runs = Runs(server, tmp_path)
        await runs.sync(records(), Mode.TWO_WAY)
        for tenant in TENANTS:
            server.add(tenant, f"{BAD if tenant == 't2' else ''}new", record("x"))
        report = await runs.sync(records(), Mode.TWO_WAY)
        assert counts_of_others(report) == {Fate.PULLED: 4}
        assert counts_of(report, "t2") == {Fate.REFUSED: 1}
        assert runs.letters[f"server:{BAD}new"]["reason"].startswith("appointment_id must be printable")


async def test_pull_reports_an_unusable_id_and_mirrors_everything_else(tmp_path: Path) -> None:
    async with Calendars() as server:
        for tenant in TENANTS:
            server.add(tenant, "1", record("a"))
            server.add(tenant, BAD if tenant == "t2" else "2", record("b"))
        runs = Runs(server, tmp_path)
        report = await runs.pull()
        assert (report.counts[Fate.REFUSED], len(runs.changes)) == (1, 10)
        assert ESCAPED in runs.letters[f"server:{BAD}"]["reason"]
        mirror = tmp_path / "mirror.jsonl"
        assert len(mirror.read_bytes().splitlines()) == 9
        del server.kept["t2"][1]
        await runs.pull()
        assert runs.changes == ["deleted"]
        await runs.pull()
        assert runs.changes == []
        assert len(mirror.read_bytes().splitlines()) == 9


class Raises:
    """A custom paging style that raises for one tenant's response."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def request(self, _: str | None) -> PageRequest:
        return PageRequest()

    def read(self, response: PageResponse, _: str | None) -> tuple[list[Any], str | None]:
        if "/t2/" in response.url:
            raise self._error
        return response.body, None


@pytest.mark.parametrize("error", [ValueError("x"), TypeError("x")], ids=lambda error: type(error).__name__)
async def test_error_of_a_paging_style_fails_its_calendar_alone(tmp_path: Path, error: Exception) -> None:
    class Styled(Runs):
        def service(self, calendar: Calendar) -> AppointmentService:
            session = super().service(calendar).session
            return AppointmentService(session, paging=Raises(error), retry=RetryPolicy.none())

    async with Calendars() as server:
        runs = Styled(server, tmp_path)
        report = await runs.sync(records(), Mode.CHECK)
        assert counts_of_others(report) == {Fate.CREATED: 8}
        assert report.tenants["t2"].calendars_refused == 1
        report = await runs.pull()
        assert [report.tenants[tenant].calendars_refused for tenant in TENANTS] == [0, 0, 1, 0, 0]


def test_json_output_escapes_terminal_control_characters(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    record = {"key": f"server:{BAD}\x7f\u202e\U000e0001é"}
    Printer(DisplayOptions(json=True), ()).add(record)
    line = capsysbinary.readouterr().out
    assert line == rb'{"key":"server:a\u0000\u009b\u00a0\u007f\u202e\udb40\udc01' + "é".encode() + b'"}\n'
    assert orjson.loads(line) == record
