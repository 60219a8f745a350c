"""What is written down while a run works, each as a whole: intents, results, dead letters, the run.

It decides nothing and sends nothing.
"""

import secrets
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Self

import attrs
from sqlalchemy import Table, and_, bindparam, delete, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from connector_async._clock import Clock
from connector_async.sync.exceptions import StateError
from connector_async.sync.records import ABSENT, Calendar
from connector_async.sync.report import RunReport

from . import State, Transaction
from .reader import OF_READING, Intent, of_calendar, text_of
from .schema import CALENDAR, KEY, cells, dead_letters, intents, items, runs


@attrs.frozen(kw_only=True)
class SyncedPair:
    """What a key has come to on both sides."""

    key: str
    appointment_id: str
    local_hash: str
    """The hash of the source's side, or `GONE`."""
    remote_hash: str | None
    """The hash of the server's side, or `GONE`; `None`: not known yet."""
    start_time: str
    """As the state has instants."""
    end_time: str
    """As the state has instants."""


@attrs.frozen(kw_only=True)
class DeadLetter:
    """An operation that was given up."""

    key: str
    operation: str
    """`read`, `create`, `update`, `delete`, `conflict` or `pull`."""
    error: str
    """The name of its class."""
    reason: str
    """What it says; no personal data."""
    content_hash: str = ABSENT
    """Of what the source had then: the same is not tried again by itself."""
    status: int | None = None
    """Of the server's answer."""
    request_id: str | None = None
    """How the server names the exchange."""


class Journal:
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

    async def begin_run(self, *, kind: str, mode: str, conditions: str = "") -> None:
        """Write down that the run has begun.

        Args:
            kind: `run`, `apply` or `pull`.
            mode: What of the server is looked at.
            conditions: Whatever else has to be the same for a run to go on with the one before.

        Raises:
            StateError: The state is one of pulls and this is none, or the other way round: what one takes for known
                the other would take for wanted.
        """
        other = select(runs.c.run_id).where((runs.c.kind == "pull") != (kind == "pull")).limit(1)
        last = select(runs).where(runs.c.kind == kind).order_by(runs.c.started_at.desc()).limit(1)
        async with self._state.reading() as connection:
            if (await connection.execute(other)).first() is not None:
                raise StateError("a state that has been pulled into is for pulls alone: use another one")
            before = (await connection.execute(last)).first()
        # What has failed of itself is begun anew; what was killed, or ended by a limit or a signal, goes on.
        goes_on = before is not None and before.status not in {"ended", "failed"}
        if before is not None and goes_on and (before.mode, before.conditions) == (mode, conditions):
            self.lineage = before.lineage
        begun: dict[str, Any] = {"run_id": self.run_id, "kind": kind, "mode": mode, "conditions": conditions}
        begun |= {"lineage": self.lineage, "started_at": self._clock.time(), "status": "running"}
        figures = {"requests_sent": 0, "requests_minimum": 0, "waited": 0.0, "counts": {}}
        async with self._state.writing() as transaction:
            await transaction.connection.execute(insert(runs).values(begun | figures))

    async def end_run(self, report: RunReport, status: str) -> None:
        """Write down how it ended."""
        ended = update(runs).where(runs.c.run_id == self.run_id)
        figures = {
            "requests_sent": report.requests,
            "requests_minimum": report.minimum,
            "waited": report.waited,
            "counts": {fate.stored_name: number for fate, number in report.counts.items()},
        }
        async with self._state.writing() as transaction:
            await transaction.connection.execute(ended.values(ended_at=self._clock.time(), status=status, **figures))

    async def intend(self, calendar: Calendar, intent: Intent) -> None:
        """Write down that a create is about to be sent; it has to be committed before that."""
        row = attrs.asdict(intent) | attrs.asdict(calendar) | {"run_id": self.run_id}

        async def write(transaction: Transaction) -> None:
            await transaction.upsert(intents, [row])
            await transaction.bump()

        await self._state.write(write)

    async def drop_intents(self, calendar: Calendar, keys: Sequence[str]) -> None:
        """Write down that these creates have not happened."""

        async def write(transaction: Transaction) -> None:
            await _drop_intents(transaction, calendar, keys)
            await transaction.bump()

        await self._state.write(write)

    async def pending(self, calendar: Calendar, key: str, hashes: Collection[str], **known: str) -> None:
        """Write down that a change or a delete is about to be sent; it has to be committed before that.

        Args:
            calendar: Whose.
            key: Of what.
            hashes: Of all that was sent and may have happened, `GONE` for a delete; none: nothing has.
            known: Columns of which more is known by now.
        """
        sending = update(items).where(of_calendar(items, calendar), items.c.key == key)

        async def write(transaction: Transaction) -> None:
            await transaction.connection.execute(sending.values(pending_hashes=text_of(hashes), **known))
            await transaction.bump()

        await self._state.write(write)

    async def in_step(self, calendar: Calendar, results: Sequence[SyncedPair]) -> None:
        """Write down what keys have come to; their intents and dead letters are settled by it."""
        await self._state.write(lambda transaction: self.write_in_step(transaction, calendar, results))

    async def deleted(self, calendar: Calendar, keys: Sequence[str]) -> None:
        """Write down that nothing is left under these keys on either side."""
        await self._state.write(lambda transaction: self.write_deleted(transaction, calendar, keys))

    async def write_in_step(self, transaction: Transaction, calendar: Calendar, results: Sequence[SyncedPair]) -> None:
        """Do what `in_step` does, within a transaction."""
        common = attrs.asdict(calendar) | {"run_id": self.run_id, "deleted_at": None, "pending_hashes": None}
        keys = [result.key for result in results]
        await transaction.upsert(items, [attrs.asdict(result) | common for result in results])
        await _drop_intents(transaction, calendar, keys)
        await self._resolve(transaction, calendar, keys)
        await transaction.bump()

    async def write_deleted(self, transaction: Transaction, calendar: Calendar, keys: Sequence[str]) -> None:
        """Do what `deleted` does, within a transaction."""
        gone = update(items).where(of_calendar(items, calendar), items.c.key.in_(keys))
        values = {"local_hash": ABSENT, "remote_hash": ABSENT, "pending_hashes": None, "run_id": self.run_id}
        await transaction.connection.execute(gone.values(deleted_at=self._clock.time(), **values))
        await self._resolve(transaction, calendar, keys)
        await transaction.bump()

    async def give_up(self, letters: Sequence[tuple[Calendar | None, DeadLetter]]) -> None:
        """Write dead letters; the one that is there already of the same is brought up to date instead."""
        await self._state.write(lambda transaction: self._write_letters(transaction, letters))

    async def seen(
        self,
        calendar: Calendar,
        *,
        there: Sequence[SyncedPair],
        gone: Sequence[str],
        letters: Sequence[tuple[Calendar | None, DeadLetter]],
    ) -> None:
        """Write down what a pull has seen of a calendar, and that it is done, as one."""
        async with self._state.writing() as transaction:
            if there:
                await self.write_in_step(transaction, calendar, there)
            if gone:
                await self.write_deleted(transaction, calendar, gone)
            await self._write_letters(transaction, letters)
            await self._write_done(transaction, calendar)

    async def done(self, calendar: Calendar) -> None:
        """Write down that the run has finished a calendar."""
        await self._state.write(lambda transaction: self._write_done(transaction, calendar))

    async def _resolve(self, transaction: Transaction, calendar: Calendar, keys: Sequence[str]) -> None:
        if keys:
            now = {"now": self._clock.time()}
            await transaction.connection.execute(_RESOLVE, [place | now for place in _places(calendar, keys)])

    async def _write_letters(
        self, transaction: Transaction, letters: Sequence[tuple[Calendar | None, DeadLetter]]
    ) -> None:
        for calendar, letter in letters:
            row = attrs.asdict(letter) | {"run_id": self.run_id, "at": self._clock.time()}
            row |= dict.fromkeys(CALENDAR, "") if calendar is None else attrs.asdict(calendar)
            same = [dead_letters.c[name] == row[name] for name in KEY] + [dead_letters.c.resolved_at.is_(None)]
            if letter.operation in OF_READING:
                same += [dead_letters.c[name] == row[name] for name in ("operation", "reason")]
            else:  # what was sent of a key is given up for one reason, the last
                same.append(dead_letters.c.operation.not_in(OF_READING))
            again = await transaction.connection.execute(update(dead_letters).where(*same).values(row))
            if not again.rowcount:
                await transaction.connection.execute(insert(dead_letters).values(row))

    async def _write_done(self, transaction: Transaction, calendar: Calendar) -> None:
        row = {"window_start": "", "window_end": "", "done_run": self.lineage, "previewed_at": self._clock.time()}
        await transaction.upsert(cells, [row | attrs.asdict(calendar)])


async def _drop_intents(transaction: Transaction, calendar: Calendar, keys: Sequence[str]) -> None:
    if keys:
        await transaction.connection.execute(_DROP, _places(calendar, keys))


def _is_at_place(table: Table) -> ColumnElement[bool]:
    return and_(*(table.c[name] == bindparam(f"at_{name}") for name in KEY))


def _places(calendar: Calendar, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return the parameters of `_is_at_place`."""
    of = {f"at_{name}": value for name, value in attrs.asdict(calendar).items()}
    return [of | {"at_key": key} for key in keys]


# To build them takes longer than to execute them.
_DROP: Final = delete(intents).where(_is_at_place(intents))
_RESOLVE: Final = (
    update(dead_letters)
    .where(_is_at_place(dead_letters), dead_letters.c.resolved_at.is_(None))
    .values(resolved_at=bindparam("now"))
)
