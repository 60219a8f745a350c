"""What is written down while a run works, each in a transaction of its own: intents, results, dead letters, the run.

It decides nothing and sends nothing.
"""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, Self

import attrs
from sqlalchemy import and_, delete, func, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from connector_async.deadline import Clock

from .decision import GONE, PENDING
from .exceptions import StateError
from .records import Calendar
from .report import RunReport
from .state import State, Transaction
from .state.schema import cells, dead_letters, intents, items, runs


@attrs.frozen(kw_only=True)
class Intent:
    """A create that was begun and of which nobody knows yet what became."""

    key: str
    content_hash: str
    """Of all that counts of what was sent."""
    summary_hash: str
    """Of the title and the times alone, for a preview that leaves descriptions out."""
    start_time: str
    """RFC 3339, in UTC."""
    end_time: str
    """RFC 3339, in UTC."""
    sent_at: float
    """Seconds since 1970 in UTC; just before it was sent."""


@attrs.frozen(kw_only=True)
class InStep:
    """What a key has come to on both sides."""

    key: str
    appointment_id: str
    local_hash: str
    """The hash of the source's side, or `GONE`."""
    remote_hash: str | None
    """The hash of the server's side, or `GONE`; `None`: not known yet."""
    start_time: str
    """RFC 3339, in UTC."""
    end_time: str
    """RFC 3339, in UTC."""


@attrs.frozen(kw_only=True)
class DeadLetter:
    """An operation that was given up."""

    key: str
    operation: str
    """`read`, `create`, `update`, `delete` or `conflict`."""
    error: str
    """The name of its class."""
    reason: str
    """What it says; no personal data."""
    content_hash: str = GONE
    """Of what the source had then: the same is not tried again by itself."""
    status: int | None = None
    """Of the server's answer."""
    request_id: str | None = None
    """How the server names the exchange."""


class Ledger:
    """Writes for one run."""

    def __init__(self, state: State, run_id: str, clock: Clock) -> None:
        self._state = state
        self.run_id: Final = run_id
        """Which run; empty for one that writes nothing down."""
        self.lineage = run_id
        """The run that this one goes on with, or itself, once it has begun."""
        self._clock = clock

    @classmethod
    def of_new_run(cls, state: State, clock: Clock) -> Self:
        """Return one for a run that nobody has heard of."""
        begun = datetime.fromtimestamp(clock.time(), UTC)
        return cls(state, f"{begun:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}", clock)

    async def begin_run(self, *, kind: str, mode: str) -> None:
        """Write down that the run has begun.

        Raises:
            StateError: The state is one of pulls and this is none, or the other way round: what one takes for known
                the other would take for wanted.
        """
        self.lineage = await self._lineage(kind, mode)
        other = select(runs.c.run_id).where((runs.c.kind == "pull") != (kind == "pull")).limit(1)
        async with self._state.reading() as connection:
            if (await connection.execute(other)).first() is not None:
                raise StateError("a state that has been pulled into is for pulls alone: use another one")
        begun: dict[str, Any] = {"run_id": self.run_id, "kind": kind, "mode": mode, "lineage": self.lineage}
        begun["started_at"] = self._clock.time()
        figures = {"status": "running", "requests_sent": 0, "requests_minimum": 0, "waited": 0.0, "counts": {}}
        async with self._state.writing() as transaction:
            await transaction.connection.execute(insert(runs).values(begun | figures))

    async def end_run(self, report: RunReport, status: str) -> None:
        """Write down how it ended."""
        ended = update(runs).where(runs.c.run_id == self.run_id)
        figures = {
            "requests_sent": report.requests,
            "requests_minimum": report.minimum,
            "waited": report.waited,
            "counts": {fate.value: number for fate, number in report.counts.items()},
        }
        async with self._state.writing() as transaction:
            await transaction.connection.execute(ended.values(ended_at=self._clock.time(), status=status, **figures))

    async def _lineage(self, kind: str, mode: str) -> str:
        """Return the lineage of the last run of the kind if that was ended early, and this one's own if not."""
        query = select(runs.c.mode, runs.c.status, runs.c.lineage).where(runs.c.kind == kind)
        async with self._state.reading() as connection:
            last = (await connection.execute(query.order_by(runs.c.started_at.desc()).limit(1))).first()
        goes_on = last is not None and last.mode == mode and last.status != "ended"
        return last.lineage if last is not None and goes_on else self.run_id

    async def intend(self, calendar: Calendar, intent: Intent) -> None:
        """Write down that a create is about to be sent; it has to be committed before that."""
        row = attrs.asdict(intent) | _names(calendar) | {"run_id": self.run_id}
        async with self._state.writing() as transaction:
            await transaction.upsert(intents, [row])

    async def open_intents(self, calendar: Calendar) -> list[Intent]:
        """Return the creates of a calendar of which nobody knows what became."""
        columns = [intents.c[field.name] for field in attrs.fields(Intent)]
        query = select(*columns).where(of_calendar(intents, calendar)).order_by(intents.c.key)
        async with self._state.reading() as connection:
            return [Intent(**row) for row in (await connection.execute(query)).mappings()]

    async def known(self, calendar: Calendar) -> dict[str, str | None]:
        """Return the ids of what the server had of a calendar, and the hashes of their contents as far as known."""
        query = select(items.c.appointment_id, items.c.remote_hash).where(*_there(calendar, None, None))
        async with self._state.reading() as connection:
            return {row.appointment_id: row.remote_hash for row in await connection.execute(query)}

    async def known_keys(
        self, calendar: Calendar, start: str | None, end: str | None
    ) -> dict[str, tuple[str, str | None]]:
        """Return what the server had of a calendar in a time: by id the key and the hash of the content."""
        query = select(items.c.appointment_id, items.c.key, items.c.remote_hash)
        query = query.where(*_there(calendar, start, end))
        async with self._state.reading() as connection:
            rows = await connection.execute(query)
            return {row.appointment_id: (row.key, row.remote_hash) for row in rows}

    async def count_known(self, calendar: Calendar, start: str | None, end: str | None) -> int:
        """Return how many appointments the server had of a calendar in a time, whose ends are texts as of `Intent`."""
        query = select(func.count()).select_from(items).where(*_there(calendar, start, end))
        async with self._state.reading() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def count_open(self, tenant_id: str) -> int:
        """Return how many creates of a tenant are open."""
        query = select(func.count()).select_from(intents).where(intents.c.tenant_id == tenant_id)
        async with self._state.reading() as connection:
            return int((await connection.execute(query)).scalar_one())

    async def drop_intents(self, calendar: Calendar, keys: Sequence[str]) -> None:
        """Write down that these creates have not happened."""
        async with self._state.writing() as transaction:
            await _drop_intents(transaction, calendar, keys)

    async def in_step(self, calendar: Calendar, results: Sequence[InStep]) -> None:
        """Write down what keys have come to; their intents are settled by it."""
        async with self._state.writing() as transaction:
            await self.write_in_step(transaction, calendar, results)

    async def deleted(self, calendar: Calendar, keys: Sequence[str]) -> None:
        """Write down that nothing is left under these keys on either side."""
        async with self._state.writing() as transaction:
            await self.write_deleted(transaction, calendar, keys)

    async def pending(self, calendar: Calendar, keys: Sequence[str]) -> None:
        """Write down that changes and deletes are about to be sent; it has to be committed before that."""
        sending = update(items).where(of_calendar(items, calendar), items.c.key.in_(keys))
        async with self._state.writing() as transaction:
            await transaction.connection.execute(sending.values(local_hash=PENDING, remote_hash=None))

    async def write_in_step(self, transaction: Transaction, calendar: Calendar, results: Sequence[InStep]) -> None:
        """Do what `in_step` does, within a transaction."""
        rows = [
            attrs.asdict(result) | _names(calendar) | {"run_id": self.run_id, "deleted_at": None} for result in results
        ]
        await transaction.upsert(items, rows)
        await _drop_intents(transaction, calendar, [result.key for result in results])
        await transaction.bump()

    async def write_deleted(self, transaction: Transaction, calendar: Calendar, keys: Sequence[str]) -> None:
        """Do what `deleted` does, within a transaction."""
        gone = update(items).where(of_calendar(items, calendar), items.c.key.in_(keys))
        values = {"deleted_at": self._clock.time(), "local_hash": GONE, "remote_hash": GONE, "run_id": self.run_id}
        await transaction.connection.execute(gone.values(values))
        await transaction.bump()

    async def give_up(self, letters: Sequence[tuple[Calendar | None, DeadLetter]]) -> None:
        """Write dead letters; the intents of their keys are settled by it."""
        async with self._state.writing() as transaction:
            await self._write_letters(transaction, letters)

    async def seen(
        self,
        calendar: Calendar,
        *,
        there: Sequence[InStep],
        gone: Sequence[str],
        letters: Sequence[tuple[Calendar | None, DeadLetter]],
    ) -> None:
        """Write down what a pull has seen of a calendar, and that it is done, as one."""
        async with self._state.writing() as transaction:
            if there:
                await self.write_in_step(transaction, calendar, there)
            if gone:
                await self.write_deleted(transaction, calendar, gone)
            if letters:
                await self._write_letters(transaction, letters)
            await self._write_done(transaction, calendar)

    async def done(self, calendar: Calendar) -> None:
        """Write down that the run has finished a calendar."""
        async with self._state.writing() as transaction:
            await self._write_done(transaction, calendar)

    async def _write_letters(
        self, transaction: Transaction, letters: Sequence[tuple[Calendar | None, DeadLetter]]
    ) -> None:
        at = self._clock.time()
        rows = [
            attrs.asdict(letter) | _names(calendar or Calendar("")) | {"run_id": self.run_id, "at": at}
            for calendar, letter in letters
        ]
        await transaction.connection.execute(insert(dead_letters), rows)
        for calendar, letter in letters:
            if calendar is not None:
                await _drop_intents(transaction, calendar, [letter.key])

    async def _write_done(self, transaction: Transaction, calendar: Calendar) -> None:
        row = {"window_start": "", "window_end": "", "done_run": self.lineage, "previewed_at": self._clock.time()}
        await transaction.upsert(cells, [row | _names(calendar)])


_CALENDAR: Final = ("tenant_id", "domain_id", "ad_id")


def _names(calendar: Calendar) -> dict[str, Any]:
    return attrs.asdict(calendar)


def of_calendar(table: Any, calendar: Calendar) -> ColumnElement[bool]:
    """Tell the rows of a calendar."""
    return and_(*(table.c[name] == getattr(calendar, name) for name in _CALENDAR))


def _there(calendar: Calendar, start: str | None, end: str | None) -> list[ColumnElement[bool]]:
    """Tell what the server had of a calendar in a time; `None`: to that side there is no end."""
    conditions = [of_calendar(items, calendar), items.c.deleted_at.is_(None)]
    conditions.append(items.c.remote_hash.is_distinct_from(GONE))
    if start is not None:
        conditions.append(items.c.end_time > start)
    if end is not None:
        conditions.append(items.c.start_time < end)
    return conditions


async def _drop_intents(transaction: Transaction, calendar: Calendar, keys: Sequence[str]) -> None:
    await transaction.connection.execute(delete(intents).where(of_calendar(intents, calendar), intents.c.key.in_(keys)))
