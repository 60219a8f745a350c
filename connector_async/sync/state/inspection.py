"""Reports about a state, also while a run is using it: its runs, its dead letters, and everything about one key."""

import json
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from sqlalchemy import RowMapping, Table, func, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.elements import ColumnElement

from connector_async._timestamps import format_instant
from connector_async.sync.report import Fate

from .db.engine import State
from .db.errors import value_errors
from .db.retrying import repeatable
from .schema import CALENDAR, PER_TENANT, archived, dead_letters, desired, failures, intents, items, pulled, runs

_TIMES: Final = frozenset(
    {"started_at", "ended_at", "deleted_at", "written_at", "confirmed_at", "sent_at", "at", "resolved_at"}
)
"""The columns with seconds since 1970, which are shown as RFC 3339 strings."""


@repeatable
async def read_status(state: State, *, limit: int = 10) -> dict[str, Any]:
    """Return the number of rows of each kind, and the latest runs, as JSON values.

    Args:
        state: The state. It may be opened read-only while a run is using it.
        limit: The number of runs, latest first.

    Raises:
        StateError: If the state cannot be read.
    """
    async with state.reading() as connection:
        latest = select(runs).order_by(runs.c.started_at.desc()).limit(limit)
        with value_errors(state.location):
            latest_runs = [_run_as_json(row) for row in (await connection.execute(latest)).mappings()]
        return {
            "items": await _count(connection, items, items.c.deleted_at.is_(None)),
            "deleted": await _count(connection, items, items.c.deleted_at.is_not(None)),
            "pending_creates": await _count(connection, intents),
            "dead_letters": await _count(connection, dead_letters, dead_letters.c.resolved_at.is_(None)),
            "resolved_dead_letters": await _count(connection, dead_letters, dead_letters.c.resolved_at.is_not(None)),
            "failures": await _count(connection, failures),
            "awaiting_writeback": await _count(connection, pulled),
            "runs": latest_runs,
        }


@repeatable
async def read_run(state: State, run_id: str | None = None) -> dict[str, Any] | None:
    """Return a run, or the latest one, as JSON values without personal data; `None` if there is no such run.

    `tenants` has the report of each tenant, with a `timeline` of its requests; it is empty until the run has ended.
    `failures` has the distinct reasons of what is not in sync since the run, with the number of keys and calendars.

    Raises:
        StateError: If the state cannot be read.
    """
    query = select(runs).order_by(runs.c.started_at.desc()).limit(1)
    if run_id is not None:
        query = query.where(runs.c.run_id == run_id)
    names = [failures.c[name] for name in ("tenant_id", "error", "status", "reason")]
    count = func.count().label("count")
    async with state.reading() as connection:
        row = (await connection.execute(query)).mappings().first()
        if row is None:
            return None
        reasons = select(*names, count).where(failures.c.run_id == row["run_id"]).group_by(*names)
        failed = (await connection.execute(reasons.order_by(count.desc(), *names))).mappings().all()
    with value_errors(state.location):
        tenants = {
            tenant_id: tenant | {"counts": _counts(tenant["counts"])}
            for tenant_id, tenant in row["counts"].get(PER_TENANT, {}).items()
        }
        return _run_as_json(row) | {"tenants": tenants, "failures": [_as_json(reason) for reason in failed]}


async def read_dead_letters(state: State, run_id: str | None = None) -> AsyncGenerator[dict[str, Any], None]:
    """Yield the dead letters of a run, or of all runs, oldest first, as JSON values without personal data.

    Raises:
        StateError: If the state cannot be read.
    """
    for letter in await _dead_letters(state, run_id):
        yield letter


@repeatable
async def _dead_letters(state: State, run_id: str | None) -> list[dict[str, Any]]:
    query = select(dead_letters).order_by(dead_letters.c.dead_letter_id)
    if run_id is not None:
        query = query.where(dead_letters.c.run_id == run_id)
    async with state.reading() as connection:
        rows = (await connection.execute(query)).mappings()
        with value_errors(state.location):
            return [_as_json(row) for row in rows]


@repeatable
async def explain_key(state: State, key: str) -> list[dict[str, Any]]:
    """Return all rows about a key in any calendar, as JSON values without personal data.

    The `what` of each is `synced`, `deleted`, `in the source`, `pending create`, `awaiting write-back`, `dead letter`,
    `archived`: a version that lost a conflict, or `failure`: the latest one of the key, of its calendar, or of its
    tenant.

    Raises:
        StateError: If the state cannot be read.
    """
    rows: list[dict[str, Any]] = []
    async with state.reading() as connection:
        for table, what in (
            (items, "synced"),
            (desired, "in the source"),
            (intents, "pending create"),
            (pulled, "awaiting write-back"),
            (dead_letters, "dead letter"),
            (archived, "archived"),
            (failures, "failure"),
        ):
            columns = [column for column in table.c if column.name != "body"]
            found = (await connection.execute(select(*columns).where(table.c.key == key))).mappings()
            with value_errors(state.location):
                rows += [{"what": "deleted" if row.get("deleted_at") else what} | _as_json(row) for row in found]
        for owner in sorted(_owners(rows)):
            of_owner = [failures.c[name] == value for name, value in zip((*CALENDAR, "key"), (*owner, ""), strict=True)]
            whole = (await connection.execute(select(failures).where(*of_owner))).mappings()
            with value_errors(state.location):
                rows += [{"what": "failure"} | _as_json(row) for row in whole]
    return rows


def _owners(rows: Iterable[Mapping[str, Any]]) -> set[tuple[str, ...]]:
    """Return the calendars of some rows, and their tenants as calendars without a user."""
    calendars = {tuple(row[name] for name in CALENDAR) for row in rows}
    return calendars | {(tenant_id, "", "") for tenant_id, *_ in calendars if tenant_id}


@repeatable
async def read_lost_versions(state: State, key: str) -> list[dict[str, Any]]:
    """Return the versions of a key that lost a conflict, oldest first, with their content: personal data.

    Each has the run, the calendar, the key, the `side` (`source` or `server`), the time, and the `content`: a row of
    the source, or the fields of an appointment; `None` if that side had deleted it.

    Raises:
        StateError: If the state cannot be read.
    """
    query = select(archived).where(archived.c.key == key).order_by(archived.c.archived_id)
    async with state.reading() as connection:
        rows = (await connection.execute(query)).mappings().all()
    with value_errors(state.location):
        return [
            {name: value for name, value in _as_json(row).items() if name not in {"archived_id", "body"}}
            | {"content": None if row["body"] is None else json.loads(row["body"])}
            for row in rows
        ]


def _as_json(row: RowMapping) -> dict[str, Any]:
    # Column names are of a subclass of str, which orjson does not accept as a key.
    return {str(name): _instant(value) if name in _TIMES else value for name, value in row.items()}


def _instant(seconds: float | None) -> str | None:
    return None if seconds is None else format_instant(datetime.fromtimestamp(seconds, UTC))


def _run_as_json(row: RowMapping) -> dict[str, Any]:
    return _as_json(row) | {"conditions": _conditions(row["conditions"]), "counts": _counts(row["counts"])}


def _counts(stored: Mapping[str, Any]) -> dict[str, int]:
    names = {fate.stored_name: fate.value for fate in Fate}
    return {names.get(name, name): number for name, number in stored.items() if name != PER_TENANT}


def _conditions(stored: str) -> Any:
    """Return the JSON value of the conditions; the string itself if an older version stored them in its own way."""
    with suppress(orjson.JSONDecodeError):
        return orjson.loads(stored)
    return stored or None


async def _count(connection: AsyncConnection, table: Table, *conditions: ColumnElement[bool]) -> int:
    query = select(func.count()).select_from(table).where(*conditions)
    return int((await connection.execute(query)).scalar_one())
