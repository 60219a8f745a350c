# ruff: noqa: ASYNC220, ASYNC221, ASYNC240 - a test may block
"""Upgrades of a state from revision to revision: atomic, once, and never back."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from sqlalchemy import insert, select
from sqlalchemy.exc import SQLAlchemyError

from connector_async.sync.exceptions import StateError, StateVersionError
from connector_async.sync.state import State
from connector_async.sync.state.db import upgrade
from connector_async.sync.state.db.sqlite import migration_engine, read_revision
from connector_async.sync.state.schema import REVISIONS, VERSION_TABLE, dead_letters, metadata

pytestmark = pytest.mark.sqlite

LETTER: dict[str, Any] = {
    "run_id": "r-1",
    "tenant_id": "acme",
    "domain_id": "",
    "ad_id": "",
    "key": "k-1",
    "operation": "create",
}
LETTER |= {"error": "InvalidRequestError", "reason": "title: too long", "at": 1_700_000_000.0, "content_hash": "0"}

FAILING = """
import os
import signal

import sqlalchemy as sa
from alembic import op

revision = "9999"
down_revision = "{last}"


def upgrade():
    op.create_table("halfway", sa.Column("number", sa.Integer))
    op.drop_table("items")
    {end}
"""

OPEN_WITH = """
import asyncio, pathlib, sys
from connector_async.sync.state import State
from connector_async.sync.state.db import upgrade

if len(sys.argv) > 2:
    upgrade.VERSION_LOCATIONS.append(pathlib.Path(sys.argv[2]))
    upgrade.REVISIONS = (*upgrade.REVISIONS, "9999")

async def main():
    async with await State.open(sys.argv[1], owner="a process", wait=20):
        pass

asyncio.run(main())
"""


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def make_older(path: Path) -> None:
    """Create a state of the first revision with a dead letter."""
    path.touch()
    engine = migration_engine(path)
    with engine.begin() as connection:
        config = Config()
        config.attributes["connection"] = connection
        scripts = upgrade.script_directory()
        steps = scripts._upgrade_revs("0001", None)  # type: ignore[arg-type]
        with EnvironmentContext(config, scripts, fn=lambda *_: steps):
            scripts.run_env()
        columns = ", ".join(LETTER)
        values = ", ".join(f":{name}" for name in LETTER)
        connection.exec_driver_sql(f"INSERT INTO dead_letters ({columns}) VALUES ({values})", LETTER)
    engine.dispose()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "100 % state.db"


@pytest.fixture
def older(path: Path) -> Path:
    make_older(path)
    return path


def inject(tmp_path: Path, end: str) -> Path:
    """Write one more revision with the given end, in a new folder."""
    folder = tmp_path / "injected"
    folder.mkdir()
    (folder / "9999_injected.py").write_text(FAILING.format(end=end, last=REVISIONS[-1]))
    return folder


def use_injected(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "VERSION_LOCATIONS", [*upgrade.VERSION_LOCATIONS, folder])
    monkeypatch.setattr(upgrade, "REVISIONS", (*REVISIONS, "9999"))


async def letters(path: Path) -> list[dict[str, Any]]:
    async with await State.open(path, owner="reader", read_only=True) as state, state.reading() as connection:
        return [dict(row) for row in (await connection.execute(select(dead_letters))).mappings()]


def test_listed_revisions_are_those_on_the_disk() -> None:
    scripts = upgrade.script_directory()
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(REVISIONS)


@pytest.mark.parametrize("upgraded", [False, True])
async def test_revisions_create_the_tables_of_the_schema(path: Path, upgraded: bool) -> None:  # noqa: FBT001
    if upgraded:
        make_older(path)
    await (await State.open(path, owner="first")).aclose()
    engine = migration_engine(path)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, metadata) == []
        sql = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'dead_letters'").scalar_one()
        assert "AUTOINCREMENT" in sql
    engine.dispose()


async def test_older_state_is_copied_and_upgraded(older: Path, tmp_path: Path) -> None:
    before = dump(older)
    await (await State.open(older, owner="first")).aclose()
    assert read_revision(older) == REVISIONS[-1]
    assert await letters(older) == [
        LETTER | {"dead_letter_id": 1, "status": None, "request_id": None, "resolved_at": None}
    ]
    copy = tmp_path / f"{older.name}.backup-0001"
    assert dump(copy) == before
    assert copy.stat().st_mode & 0o777 == 0o600
    assert older.stat().st_mode & 0o777 == 0o600


async def test_current_state_is_not_copied(path: Path, tmp_path: Path) -> None:
    for _ in range(2):
        await (await State.open(path, owner="first")).aclose()
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, f"{path.name}.lock"]


@pytest.mark.parametrize(
    "end",
    [
        "raise LookupError('in a revision')",
        "op.drop_table('absent')",
        "op.execute('INSERT INTO serial VALUES (NULL)')",
    ],
)
async def test_failed_upgrade_leaves_the_state_unchanged(
    older: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    before = dump(older)
    with monkeypatch.context() as patch:
        use_injected(inject(tmp_path, end), patch)
        with pytest.raises(StateError, match=r"the upgrade failed.*the state is unchanged") as caught:
            await State.open(older, owner="first")
        assert not isinstance(caught.value.__cause__, SQLAlchemyError)
        assert dump(older) == before
    await (await State.open(older, owner="first")).aclose()
    assert read_revision(older) == REVISIONS[-1]


async def test_failed_creation_of_a_state_can_be_repeated(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        use_injected(inject(tmp_path, "raise LookupError"), patch)
        with pytest.raises(StateError):
            await State.open(path, owner="first")
    assert read_revision(path) is None
    async with await State.open(path, owner="first") as state:
        assert await state.serial() == 0


async def test_process_killed_in_an_upgrade_leaves_the_state_unchanged(older: Path, tmp_path: Path) -> None:
    before = dump(older)
    folder = inject(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
    command = [sys.executable, "-c", OPEN_WITH, str(older), str(folder)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert dump(older) == before
    await (await State.open(older, owner="second")).aclose()
    assert read_revision(older) == REVISIONS[-1]
    assert len(await letters(older)) == 1


async def test_one_of_two_processes_upgrades_and_the_other_waits(older: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN_WITH, str(older)]
    processes = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert len(await letters(older)) == 1
    with closing(sqlite3.connect(older)) as connection:
        assert connection.execute("SELECT epoch FROM tenants").fetchall() == [(2,)]
    assert [file.name for file in tmp_path.glob("*backup*")] == [f"{older.name}.backup-0001"]


async def test_several_states_are_upgraded_concurrently_in_one_process(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.db" for number in range(4)]
    for path in paths[::2]:
        make_older(path)
    for state in await asyncio.gather(*(State.open(path, owner="first") for path in paths)):
        await state.aclose()
    assert {read_revision(path) for path in paths} == {REVISIONS[-1]}


async def test_cancelled_upgrade_keeps_the_lock_until_it_is_done(older: Path) -> None:
    task = asyncio.create_task(State.open(older, owner="first"))
    while not older.with_name(older.name + ".lock").exists():
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if task.cancelled():
        await (await State.open(older, owner="second")).aclose()
    else:
        await task.result().aclose()
    assert read_revision(older) == REVISIONS[-1]


@pytest.mark.parametrize("read_only", [False, True])
async def test_state_of_a_newer_version_is_unchanged(path: Path, read_only: bool) -> None:  # noqa: FBT001
    await (await State.open(path, owner="first")).aclose()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    path.chmod(0o644)
    before = path.read_bytes()
    with pytest.raises(StateVersionError, match="a newer version has written it"):
        await State.open(path, owner="first", read_only=read_only)
    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o644


async def test_read_only_open_does_not_upgrade(older: Path) -> None:
    before = dump(older)
    with pytest.raises(StateVersionError, match="must be upgraded"):
        await State.open(older, owner="first", read_only=True)
    assert dump(older) == before


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("CREATE TABLE alembic_version (version_num TEXT)", "not the state of a sync"),
        (f"CREATE TABLE {VERSION_TABLE} (version_num TEXT)", "the revision of its tables is missing"),
    ],
)
async def test_database_that_is_not_a_state_is_unchanged(path: Path, script: str, reason: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(script)
    before = path.read_bytes()
    for read_only in (False, True):
        with pytest.raises(StateError, match=reason):
            await State.open(path, owner="first", read_only=read_only)
    assert path.read_bytes() == before


@pytest.mark.parametrize("target", ["0001", "base"])
async def test_downgrade_is_not_possible(path: Path, target: str) -> None:
    await (await State.open(path, owner="first")).aclose()
    before = dump(path)
    scripts, config, engine = upgrade.script_directory(), Config(), migration_engine(path)

    def downgrade() -> None:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            with EnvironmentContext(
                config, scripts, fn=lambda revision, _: scripts._downgrade_revs(target, str(revision[0]))
            ):
                scripts.run_env()

    with pytest.raises(NotImplementedError, match="cannot be downgraded"):
        downgrade()
    engine.dispose()
    assert dump(path) == before


async def test_failed_copy_stops_the_upgrade(older: Path, tmp_path: Path) -> None:
    before = dump(older)
    (tmp_path / f"{older.name}.backup-0001").mkdir()
    with pytest.raises(StateError, match="backup-0001"):
        await State.open(older, owner="first")
    assert dump(older) == before
    assert sorted(tmp_path.glob(".*")) == []  # no partial copy


async def test_dead_letter_has_a_request_id(path: Path) -> None:
    async with await State.open(path, owner="first") as state, state.writing() as transaction:
        await transaction.connection.execute(insert(dead_letters), [LETTER | {"status": 400, "request_id": "q-1"}])
    assert [letter["request_id"] for letter in await letters(path)] == ["q-1"]
