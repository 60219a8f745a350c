import sqlite3
from contextlib import closing
from pathlib import Path

from connector_async import AppointmentService
from connector_async.sandbox import Sandbox, StatusFault
from tests.support.example_process import EXAMPLES, ExampleProcess, running

HEADER = "key,tenant_id,title,start_time,end_time\n"
ROW = "{},{},Visit,2024-01-15T10:00:00Z,2024-01-15T10:30:00Z\n"
TABLE = "CREATE TABLE visits (id TEXT PRIMARY KEY, tenant_id TEXT, title TEXT, start_time TEXT, end_time TEXT)"
TIMES = ("2024-01-15 10:00:00.000000", "2024-01-15 10:30:00.000000")


async def titles(appointments: AppointmentService, tenant: str) -> list[str]:
    service = AppointmentService(appointments.session.for_tenant(tenant))
    return sorted([found.title async for found in service.preview()])


async def test_csv_sync_brings_two_tenants_in_sync_and_repeats_nothing(
    sandbox: Sandbox, appointments: AppointmentService, tmp_path: Path
) -> None:
    async def sync() -> tuple[int, ExampleProcess]:
        async with running(sandbox, str(EXAMPLES / "csv_sync.py"), "visits.csv", folder=tmp_path) as process:
            return await process.ended(), process

    source = tmp_path / "visits.csv"
    source.write_text(HEADER + ROW.format("v-1", "acme") + ROW.format("v-2", "globex"))
    in_sync = ["acme 1 of 1 in sync", "globex 1 of 1 in sync"]
    for _ in range(2):
        code, process = await sync()
        assert (code, process.out, process.err) == (0, in_sync, [])
    assert sandbox.log.count(operation="create") == 2
    assert [await titles(appointments, tenant) for tenant in ("acme", "globex")] == [["Visit"], ["Visit"]]


async def test_csv_sync_names_what_is_left_and_ends_with_1(sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "visits.csv").write_text(HEADER + ROW.format("v-1", "acme") + "v-2,acme,Visit,soon,later\n")
    sandbox.faults.script(StatusFault(403), operation="create")
    async with running(sandbox, str(EXAMPLES / "csv_sync.py"), "visits.csv", folder=tmp_path) as process:
        assert await process.ended() == 1
    refused, problem = process.out
    assert refused.startswith("acme 0 of 1 in sync ")
    assert "403" in refused
    assert problem.startswith("visits.csv")
    assert "start_time" in problem


async def test_database_sync_streams_the_rows_and_sends_only_the_differences(
    sandbox: Sandbox, appointments: AppointmentService, tmp_path: Path
) -> None:
    async def sync() -> ExampleProcess:
        environment = {"DATABASE_URL": "sqlite+aiosqlite:///clinic.db"}
        async with running(
            sandbox, str(EXAMPLES / "database_sync.py"), folder=tmp_path, environment=environment
        ) as process:
            assert await process.ended() == 0
        assert process.err == []
        return process

    rows = [(f"v-{number}", "acme" if number % 2 else "globex", f"Visit {number}", *TIMES) for number in range(6)]
    with closing(sqlite3.connect(tmp_path / "clinic.db")) as database, database:
        database.execute(TABLE)
        database.executemany("INSERT INTO visits VALUES (?, ?, ?, ?, ?)", rows)
    assert (await sync()).out == ["{'created': 6}"]
    with closing(sqlite3.connect(tmp_path / "clinic.db")) as database, database:
        database.execute("UPDATE visits SET title = 'Moved' WHERE id = 'v-1'")
        database.execute("UPDATE visits SET title = '' WHERE id = 'v-2'")
        database.execute("DELETE FROM visits WHERE id = 'v-3'")
    counts, problem = (await sync()).out
    assert counts == "{'updated': 1, 'deleted': 1, 'unreadable': 1}"
    assert "title" in problem
    assert await titles(appointments, "acme") == ["Moved", "Visit 5"]
    assert await titles(appointments, "globex") == ["Visit 0", "Visit 2", "Visit 4"]
    assert sandbox.log.count(operation="create") == 6
