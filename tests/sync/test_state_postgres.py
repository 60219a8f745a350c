"""The state on PostgreSQL: what differs from SQLite. All other tests run on it with `--state-backend`."""

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from connector_async import WireFormat
from connector_async.sync import (
    Calendar,
    Fate,
    State,
    StateDamagedError,
    StateError,
    StateUnavailableError,
    StateVersionError,
    backup,
    bulk_sync,
    find_damage,
)
from connector_async.sync.applying.executor import OperationExecutor
from connector_async.sync.planning.operations import Kind
from connector_async.sync.state import Transaction, inspection, staging
from connector_async.sync.state.db import postgres as engines
from connector_async.sync.state.db import retrying
from connector_async.sync.state.db.engine import read_serial
from connector_async.sync.state.db.errors import CommitLostError
from connector_async.sync.state.db.location import Location
from connector_async.sync.state.db.retrying import repeatable, repeatable_once
from connector_async.sync.state.left_out import read_left_out
from connector_async.sync.state.schema import REVISIONS, VERSION_TABLE, cells, desired, metadata
from tests.support.postgres import FLAVORS, PostgresServer, UnavailableError
from tests.support.sync_child import FORKS
from tests.support.syncing import EVERYTHING, ListSource, record, syncing

CELL = {
    "tenant_id": "acme",
    "domain_id": "",
    "ad_id": "",
    "window_start": "",
    "window_end": "",
    "done_run": None,
    "previewed_at": None,
}


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """An empty database."""
    name = f"test_{os.getpid()}"
    yield postgres.create(name)
    postgres.drop(name)


def database(url: str) -> str:
    return str(Location.parse(url).url.database)


async def put_cell(transaction: Transaction) -> None:
    await transaction.upsert(cells, [CELL])


async def put_without_waiting(state: State) -> None:
    async with state.writing() as transaction:
        await transaction.connection.exec_driver_sql("SET LOCAL lock_timeout = '10ms'")
        await put_cell(transaction)


def open_and_close(url: str) -> None:
    """Open a state in a process of its own."""

    async def main() -> None:
        await (await State.open(url, owner="child")).aclose()

    asyncio.run(main())


@pytest.mark.row("M2")
async def test_processes_that_open_an_empty_database_at_once_create_one_state(
    postgres: PostgresServer, url: str
) -> None:
    processes = [FORKS.Process(target=open_and_close, args=(url,)) for _ in range(4)]
    for process in processes:
        await asyncio.to_thread(process.start)
    for process in processes:
        await asyncio.to_thread(process.join)
    assert [process.exitcode for process in processes] == [0] * 4
    revisions = postgres.execute(f"SELECT version_num FROM {VERSION_TABLE}", database(url))
    states = postgres.execute("SELECT count(*) FROM target", database(url))
    assert (revisions, states) == ([(REVISIONS[-1],)], [(1,)])


@pytest.mark.row("M2")
@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_run_goes_on_after_a_restart_of_the_server(
    postgres: PostgresServer, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    executed = 0
    execute = OperationExecutor.execute

    async def restart_before_the_fifth(self: OperationExecutor, *args: object) -> Fate:
        nonlocal executed
        executed += 1
        if executed == 5:
            await asyncio.to_thread(postgres.stop, mode)
            await asyncio.to_thread(postgres.start)
        return await execute(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(OperationExecutor, "execute", restart_before_the_fifth)
    async with syncing(tmp_path / "unused.db") as sync:
        sync.location = url
        records = [record(f"k{number}") for number in range(12)]
        assert (await sync.run(records)).counts == {Fate.CREATED: 12}
        assert sync.requests() == {"create": 12}
        assert (await sync.run(records)).counts == {}


async def test_open_state_is_usable_after_a_restart_of_the_server(postgres: PostgresServer, url: str) -> None:
    async with await State.open(url, owner="test") as state:
        await state.serial()
        await asyncio.to_thread(postgres.stop, "fast")
        await asyncio.to_thread(postgres.start)
        await state.write(put_cell)
        async with state.writing() as transaction:
            transaction.bump("acme")
        assert await state.serial() == 1


async def test_write_whose_connection_is_ended_is_repeated(postgres: PostgresServer, url: str) -> None:
    attempts = 0

    async def write(transaction: Transaction) -> None:
        nonlocal attempts
        attempts += 1
        await put_cell(transaction)
        if attempts == 1:
            end_connections(postgres, url)
        transaction.bump("acme")

    async with await State.open(url, owner="test") as state:
        await state.write(write)
        assert (attempts, await state.serial()) == (2, 1)


async def test_connection_that_was_ended_while_it_was_idle_is_replaced(
    postgres: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_IDLE", 0.0)
    async with await State.open(url, owner="test") as state:
        await state.serial()
        end_connections(postgres, url)
        async with state.writing() as transaction:  # it is not repeated
            transaction.bump("acme")
        async with state.reading() as connection:
            assert await read_serial(connection) == 1


async def test_connection_that_was_ended_just_after_its_use_costs_an_attempt(
    postgres: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_IDLE", 60.0)
    async with await State.open(url, owner="test") as state:
        await state.serial()
        end_connections(postgres, url)
        await state.write(put_cell)
        assert await state.serial() == 0


def end_connections(postgres: PostgresServer, url: str) -> None:
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        f"WHERE datname = '{database(url)}' AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )


async def items_of(generator: AsyncGenerator[Any, None]) -> list[Any]:
    return [each async for each in generator]


async def test_reports_survive_the_end_of_their_connection(
    postgres: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: dict[str, Callable[[State], Awaitable[object]]] = {
        "status": inspection.read_status,
        "run": inspection.read_run,
        "dead letters": lambda state: items_of(inspection.read_dead_letters(state)),
        "key": lambda state: inspection.explain_key(state, "a"),
        "lost versions": lambda state: inspection.read_lost_versions(state, "a"),
        "left out": lambda state: items_of(read_left_out(state, with_conflicts=True)),
    }
    reading, due, interrupted = State.reading, list[str](), list[str]()

    @contextlib.asynccontextmanager
    async def interrupted_once(self: State) -> AsyncIterator[AsyncConnection]:
        async with reading(self) as connection:
            if due:
                interrupted.append(due.pop())
                await connection.execute(cells.select())
                end_connections(postgres, url)
            yield connection

    async with await State.open(url, owner="test") as state:
        monkeypatch.setattr(State, "reading", interrupted_once)
        for name, read in reads.items():
            due.append(name)
            await read(state)
    assert interrupted == list(reads)


@pytest.mark.parametrize("is_written", [True, False])
async def test_staging_survives_a_commit_whose_result_was_lost(
    state_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_written: bool,  # noqa: FBT001
) -> None:
    monkeypatch.setattr(staging, "_ROWS_PER_WRITE", 2)
    writing, commits = State.writing, itertools.count()

    @contextlib.asynccontextmanager
    async def losing_every_other(self: State, *tenant_ids: str) -> AsyncIterator[Transaction]:
        is_lost = tenant_ids != () and next(commits) % 2 == 0
        async with writing(self, *tenant_ids) as transaction:
            yield transaction
            if is_lost and not is_written:
                raise CommitLostError("the connection was lost")  # it is rolled back
        if is_lost:
            raise CommitLostError("the connection was lost")

    monkeypatch.setattr(State, "writing", losing_every_other)
    globex = Calendar("globex")
    records = [*(record(key) for key in "abac"), record("d", calendar=globex), *(record(key) for key in "ea")]
    async with await State.open(state_path, owner="test") as state:
        staged = await staging.stage(ListSource(records), state, WireFormat.GUIDE, lambda: None)
        async with state.reading() as connection:
            rows = await connection.execute(select(desired.c.key, desired.c.copies).order_by(desired.c.key))
            assert list(map(tuple, rows)) == [("a", 3), ("b", 1), ("c", 1), ("d", 1), ("e", 1)]
    assert next(commits) == 8  # four batches, each written or looked for twice
    assert staged.records == {"acme": 3, "globex": 1}


async def test_commit_whose_result_was_lost_is_repeated_only_if_twice_is_the_same_as_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = 0

    async def commit() -> int:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise CommitLostError("the connection was lost")
        return calls

    assert await repeatable(commit)() == 3
    calls = 0
    with pytest.raises(CommitLostError):
        await repeatable_once(commit)()
    assert calls == 1


async def test_repetition_ends_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "_LONGEST", 0.01)
    calls = 0

    async def read() -> None:
        nonlocal calls
        calls += 1
        raise StateUnavailableError("the server is stopping")

    with pytest.raises(StateUnavailableError, match="the server is stopping"):
        await repeatable_once(read)()
    assert calls >= 2


async def test_transaction_in_the_way_of_another_is_named(postgres: PostgresServer, url: str) -> None:
    async with await State.open(url, owner="test") as state:
        await state.write(put_cell)
        with psycopg.connect(url) as other:
            other.execute("LOCK TABLE cells IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(StateUnavailableError, match="another transaction holds a lock"):
                await put_without_waiting(state)


async def test_page_that_cannot_be_read_is_damage_and_names_no_command_for_files(url: str) -> None:
    async with await State.open(url, owner="test") as state:
        with pytest.raises(StateDamagedError, match=r"a page is not readable; restore a backup") as caught:
            async with state.writing() as transaction:
                await transaction.connection.exec_driver_sql(
                    "DO $$ BEGIN RAISE EXCEPTION 'invalid page' USING ERRCODE = 'XX001'; END $$"
                )
    assert "state check" not in str(caught.value)


async def test_reader_cannot_write_on_postgresql(url: str) -> None:
    async with await State.open(url, owner="test") as state:
        with pytest.raises(StateError, match="the server accepts no writes"):
            async with state.reading() as connection:
                await connection.execute(cells.insert(), [CELL])


async def test_read_only_open_of_an_empty_database_creates_nothing(postgres: PostgresServer, url: str) -> None:
    with pytest.raises(StateError, match="there is no state"):
        await State.open(url, owner="test", read_only=True)
    assert postgres.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", database(url)) == [(0,)]


@pytest.mark.parametrize("read_only", [False, True])
async def test_database_of_a_newer_version_is_unchanged(
    postgres: PostgresServer,
    url: str,
    read_only: bool,  # noqa: FBT001
) -> None:
    await (await State.open(url, owner="test")).aclose()
    postgres.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'", database(url))
    with pytest.raises(StateVersionError, match="a newer version has written it"):
        await State.open(url, owner="test", read_only=read_only)
    assert postgres.execute("SELECT count(*) FROM tenants", database(url)) == [(0,)]


async def test_database_with_tables_of_something_else_is_rejected(postgres: PostgresServer, url: str) -> None:
    postgres.execute("CREATE TABLE items (id int)", database(url))
    with pytest.raises(StateError, match="the table items is not of a state"):
        await State.open(url, owner="test")


async def test_strings_sort_by_code_point_and_integers_have_64_bits(postgres: PostgresServer, url: str) -> None:
    await (await State.open(url, owner="test")).aclose()
    columns = postgres.execute(
        "SELECT table_name || '.' || column_name, data_type, collation_name FROM information_schema.columns "
        f"WHERE table_schema = 'public' AND table_name <> '{VERSION_TABLE}'",
        database(url),
    )
    assert len(columns) == sum(len(table.c) for table in metadata.sorted_tables)
    assert {kind for _, kind, _ in columns} == {"text", "bigint", "double precision", "json", "bytea"}
    assert {collation for _, kind, collation in columns if kind == "text"} == {"C"}
    sequences = postgres.execute("SELECT DISTINCT data_type FROM information_schema.sequences", database(url))
    assert sequences == [("bigint",)]


@pytest.mark.parametrize(("records", "rows"), [(3, 3), (2, -1)])
async def test_statistics_are_renewed_when_many_records_are_staged(
    postgres: PostgresServer, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, records: int, rows: int
) -> None:
    monkeypatch.setattr(staging, "_ROWS_PER_WRITE", 2)
    async with syncing(tmp_path / "state.db") as sync:
        sync.location = url
        await sync.run([record(f"k{number}") for number in range(records)])
    found = postgres.execute("SELECT reltuples::int FROM pg_class WHERE relname = 'desired'", database(url))
    assert found == [(rows,)]  # -1: never counted


@pytest.fixture(params=list(FLAVORS))
def url_of_flavor(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty database of each build, one with the collation C, one with that of a language."""
    try:
        with PostgresServer.started(FLAVORS[request.param]) as server:
            yield server.create("state")
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.mark.row("M1")
async def test_keys_of_any_alphabet_are_synced_in_code_point_order_as_on_sqlite(
    url_of_flavor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_sync, "_BATCH", 3)  # so that there are pages
    keys = [*"aBäÄZ_éeEß9～😀", "z-1", "z1", "e\u0301", "ss", "10", "a b"]
    known, wanted = [record(key) for key in keys[::2]], [record(key, f"New {key}") for key in keys[:-4]]

    async def planned_and_done(url: str | None) -> tuple[list[tuple[Kind, str]], Mapping[Fate, int]]:
        async with syncing(tmp_path / "state.db") as sync:
            sync.location = url
            await sync.run(known)
            async with sync.opened() as (opened, _):
                opened._runner._quantum = 3  # type: ignore[attr-defined]
                options = sync._options({"max_delete": EVERYTHING})
                planned = [(each.kind, each.key) async for each in opened.plan(ListSource(wanted), options)]
                return planned, (await opened.run(ListSource(wanted), options)).counts

    planned, counts = await planned_and_done(url_of_flavor)
    assert (planned, counts) == await planned_and_done(None)
    of_each_kind = [[key for kind, key in planned if kind is each] for each in Kind]
    assert of_each_kind == [sorted(each) for each in of_each_kind]
    assert counts == {Fate.CREATED: 7, Fate.UPDATED: 8, Fate.DELETED: 2}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@127.0.0.1:9/state",
        "postgres://me@127.0.0.1:9/state?password=hunter2",
        "postgresql+asyncpg://me:hunter2@127.0.0.1:9/state",
    ],
)
async def test_password_is_in_no_message(url: str) -> None:
    location = Location.parse(url)
    assert "hunter2" not in f"{location} {location!r}"
    assert location.url.password == "hunter2"
    with pytest.raises(StateUnavailableError, match="Connection refused") as caught:
        await State.open(url, owner="test")
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in f"{error} {error!r}"
        traceback = error.__traceback__
        while traceback is not None:
            if "/connector_async/" in traceback.tb_frame.f_code.co_filename:
                assert "hunter2" not in repr(traceback.tb_frame.f_locals)
            traceback = traceback.tb_next
        error = error.__context__


def test_password_of_a_key_file_and_other_databases_are_rejected() -> None:
    with pytest.raises(ValueError, match="sslpassword"):
        Location.parse("postgresql://me@host/state?sslpassword=hunter2")
    with pytest.raises(ValueError, match="must start with postgresql://"):
        Location.parse("mysql://me@host/state")


async def test_missing_driver_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(StateError, match=r"psycopg is missing; install connector-async\[postgres\]"):
        await State.open("postgresql://me@host/state", owner="test")


async def test_commands_for_files_name_the_tools_of_postgresql(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pg_dump"):
        await backup("postgresql://me@host/state", tmp_path / "copy.db")
    with pytest.raises(ValueError, match="pg_amcheck"):
        await find_damage("postgresql://me@host/state")
