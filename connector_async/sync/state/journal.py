"""Writing the progress of a run: pending creates, results, dead letters, and the run itself. Each write is atomic.

The journal neither decides nor sends anything.
"""

import secrets
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Self

import attrs
from sqlalchemy import Table, and_, bindparam, delete, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from connector_async._clock import Clock
from connector_async.sync.exceptions import StateError
from connector_async.sync.failures import Failure
from connector_async.sync.records import ABSENT, Calendar
from connector_async.sync.report import RunReport

from .db.engine import State, Transaction
from .db.retrying import repeatable
from .failure_log import delete_failures, delete_other_failures, write_failure
from .lost_versions import LostVersion, write_lost_versions
from .reader import (
    IS_ON_SERVER,
    KEYS_PER_QUERY,
    READ_OPERATIONS,
    REPLACED_PREFIX,
    PendingCreate,
    format_hashes,
    in_calendar,
)
from .schema import CALENDAR, KEY, PER_TENANT, cells, dead_letters, intents, items, runs
from .stored_report import stored_counts, stored_report

_Failure = tuple[str, ...]
_LETTERS_AT_A_TIME: Final = 5_000
"""Dead letters for which the rows are in memory. A source may have more problems than that."""


@attrs.frozen(kw_only=True)
class SyncedPair:
    """A key with a record in the source and an appointment on the server that are in sync."""

    key: str
    appointment_id: str
    local_hash: str
    """The hash of the record, or `ABSENT`."""
    remote_hash: str | None
    """The hash of the appointment, or `ABSENT`; `None`: not known yet."""
    start_time: str
    """An instant, as the state stores it."""
    end_time: str
    """An instant, as the state stores it."""
    summary_hash: str | None = None
    """The hash of the title and the times that the server has; `None`: not known."""
    written_at: float | None = None
    """When the key was last written to the server, in seconds since 1970 in UTC; `None`: not known."""
    replaced_hashes: str | None = None
    """The hashes of what the last writes have replaced on the server, as the state stores them; `None`: not known."""
    is_confirmed: bool = False
    """Whether a look has shown what the server has."""


@attrs.frozen(kw_only=True)
class DeadLetter:
    """An operation that failed permanently."""

    key: str
    operation: str
    """`read`, `create`, `update`, `delete`, `conflict` or `pull`."""
    error: str
    """The class name of the error."""
    reason: str
    """The message of the error, without personal data."""
    content_hash: str = ABSENT
    """The hash of the record in the source. The same content is not retried automatically."""
    status: int | None = None
    """The HTTP status of the response."""
    request_id: str | None = None
    """The request id that the server has given."""


class Journal:
    """Writes the progress of one run.

    Args:
        state: The state.
        run_id: The id of the run; empty for a journal without a run.
        clock: The clock for the times in the state.
    """

    def __init__(self, state: State, run_id: str, clock: Clock) -> None:
        self._state = state
        self.run_id: Final = run_id
        """The id of the run."""
        self.lineage = run_id
        """The id of the first of the runs that this one resumes, or of this one. Set by `start_run`."""
        self._clock = clock

    @classmethod
    def for_new_run(cls, state: State, clock: Clock) -> Self:
        """Return a journal for a run with a new id."""
        now = datetime.fromtimestamp(clock.time(), UTC)
        return cls(state, f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}", clock)

    @repeatable
    async def start_run(self, *, kind: str, mode: str, conditions: str = "") -> None:
        """Record the start of the run.

        Args:
            kind: `run`, `apply` or `pull`.
            mode: The mode of the run.
            conditions: Everything else that must be equal for a run to resume the one before it.

        Raises:
            StateError: If the state belongs to pulls and this run is not one, or the reverse. A pull records all
                appointments of the server; a run would delete those that its source lacks.
        """
        other_kind = select(runs.c.run_id).where((runs.c.kind == "pull") != (kind == "pull")).limit(1)
        latest = select(runs).where(runs.c.kind == kind, runs.c.run_id != self.run_id)
        latest = latest.order_by(runs.c.started_at.desc()).limit(1)
        async with self._state.reading() as connection:
            if (await connection.execute(other_kind)).first() is not None:
                ours, theirs = ("a pull", "runs") if kind == "pull" else ("a run", "pulls")
                raise StateError(f"{self._state.location} is a state of {theirs}: {ours} needs another one")
            before = (await connection.execute(latest)).first()
        # A run that was killed, or stopped by a limit or a signal, is resumed. One that failed by itself starts anew.
        is_interrupted = before is not None and before.status not in {"ended", "failed"}
        if before is not None and is_interrupted and (before.mode, before.conditions) == (mode, conditions):
            self.lineage = before.lineage
        row: dict[str, Any] = {"run_id": self.run_id, "kind": kind, "mode": mode, "conditions": conditions}
        row |= {"lineage": self.lineage, "started_at": self._clock.time(), "status": "running"}
        row |= {"requests_sent": 0, "requests_minimum": 0, "waited": 0.0, "counts": {}}
        async with self._state.writing() as transaction:
            await transaction.upsert(runs, [row | {"ended_at": None}])

    @repeatable
    async def end_run(self, report: RunReport, status: str) -> None:
        """Record the end of the run, with its status and its report."""
        ended = update(runs).where(runs.c.run_id == self.run_id)
        figures = {
            "requests_sent": report.requests,
            "requests_minimum": report.minimum,
            "waited": report.waited,
            "counts": stored_counts(report.counts)
            | {PER_TENANT: {tenant_id: stored_report(tenant) for tenant_id, tenant in report.tenants.items()}},
        }
        async with self._state.writing() as transaction:
            await transaction.connection.execute(ended.values(ended_at=self._clock.time(), status=status, **figures))

    async def record_pending_create(self, calendar: Calendar, create: PendingCreate) -> None:
        """Record a create before it is sent."""
        row = attrs.asdict(create) | attrs.asdict(calendar) | {"run_id": self.run_id}

        async def write(transaction: Transaction) -> None:
            await transaction.upsert(intents, [row])
            transaction.bump(calendar.tenant_id)

        await self._state.write(write, calendar.tenant_id)

    async def drop_pending_creates(self, calendar: Calendar, keys: Sequence[str]) -> None:
        """Record that these creates have not happened."""

        async def write(transaction: Transaction) -> None:
            await _delete_pending_creates(transaction, calendar, keys)
            transaction.bump(calendar.tenant_id)

        await self._state.write(write, calendar.tenant_id)

    async def record_pending_change(
        self, calendar: Calendar, key: str, hashes: Collection[str], **columns: str | None
    ) -> None:
        """Record a change or a delete before it is sent.

        Args:
            calendar: The calendar of the key.
            key: The key.
            hashes: The hashes of all changes that were sent with an unknown result, `ABSENT` for a delete; empty: no
                result is unknown.
            columns: Other columns of the item with new values.
        """
        item = update(items).where(in_calendar(items, calendar), items.c.key == key)

        async def write(transaction: Transaction) -> None:
            await transaction.connection.execute(item.values(pending_hashes=format_hashes(hashes), **columns))
            transaction.bump(calendar.tenant_id)

        await self._state.write(write, calendar.tenant_id)

    async def record_synced(self, calendar: Calendar, pairs: Sequence[SyncedPair]) -> None:
        """Record keys that are in sync. Their pending creates are removed, and their dead letters are resolved."""
        await self._state.write(lambda transaction: self.write_synced(transaction, calendar, pairs), calendar.tenant_id)

    async def record_confirmed(self, calendar: Calendar, keys: Sequence[str]) -> None:
        """Record that a look has shown what the server has made of the last write of these keys."""
        rows = [parameters | {"now": self._clock.time()} for parameters in _key_parameters(calendar, keys)]

        async def write(transaction: Transaction) -> None:
            await transaction.connection.execute(_CONFIRM, rows)

        await self._state.write(write, calendar.tenant_id)

    async def record_written(self, calendar: Calendar, pair: SyncedPair, *, replaced_id: str | None = None) -> bool:
        """Record the key of a create or an update, unless another key has its appointment; return whether it was.

        A create is not pending any more in either case.

        Args:
            calendar: The calendar.
            pair: The key and its appointment.
            replaced_id: The id of the appointment before an update has changed it. It is recorded as deleted.
        """
        is_own = True

        async def write(transaction: Transaction) -> None:
            nonlocal is_own
            is_own = not await _is_of_another_key(transaction, calendar, pair.key, pair.appointment_id)
            if is_own:
                await self.write_synced(transaction, calendar, [pair])
                if replaced_id is not None:
                    replaced = attrs.evolve(pair, key=REPLACED_PREFIX + replaced_id, appointment_id=replaced_id)
                    await self.write_synced(transaction, calendar, [replaced])
                    await self.write_deleted(transaction, calendar, [replaced.key])
            else:
                await _delete_pending_creates(transaction, calendar, [pair.key])
                transaction.bump(calendar.tenant_id)

        await self._state.write(write, calendar.tenant_id)
        return is_own

    @repeatable
    async def has_appointment(self, calendar: Calendar, appointment_id: str) -> bool:
        """Return whether a key of a calendar has an appointment."""
        of_appointment = select(items.c.key).where(
            in_calendar(items, calendar), items.c.appointment_id == appointment_id
        )
        async with self._state.reading() as connection:
            return (await connection.execute(of_appointment.limit(1))).first() is not None

    async def release_shared(self, calendar: Calendar, key: str, appointment_id: str) -> bool:
        """Record a key as deleted if another key has its appointment; return whether that is so."""
        is_shared = False

        async def write(transaction: Transaction) -> None:
            nonlocal is_shared
            is_shared = await _is_of_another_key(transaction, calendar, key, appointment_id)
            if is_shared:
                await self.write_deleted(transaction, calendar, [key])

        await self._state.write(write, calendar.tenant_id)
        return is_shared

    async def record_deleted(self, calendar: Calendar, keys: Sequence[str]) -> None:
        """Record keys with neither a record in the source nor an appointment on the server."""
        await self._state.write(lambda transaction: self.write_deleted(transaction, calendar, keys), calendar.tenant_id)

    async def write_synced(self, transaction: Transaction, calendar: Calendar, pairs: Sequence[SyncedPair]) -> None:
        """Do the same as `record_synced`, in an open transaction."""
        common = attrs.asdict(calendar) | {"run_id": self.run_id, "deleted_at": None, "pending_hashes": None}
        keys = [pair.key for pair in pairs]
        rows = []
        for pair in pairs:
            row = attrs.asdict(pair) | common
            row["confirmed_at"] = self._clock.time() if row.pop("is_confirmed") else None
            rows.append(row)
        await transaction.upsert(items, rows)
        await _delete_pending_creates(transaction, calendar, keys)
        await self._resolve_dead_letters(transaction, calendar, keys)
        transaction.bump(calendar.tenant_id)

    async def write_deleted(self, transaction: Transaction, calendar: Calendar, keys: Sequence[str]) -> None:
        """Do the same as `record_deleted`, in an open transaction."""
        deleted = update(items).where(in_calendar(items, calendar), items.c.key.in_(keys))
        values = {"local_hash": ABSENT, "remote_hash": ABSENT, "pending_hashes": None, "run_id": self.run_id}
        await transaction.connection.execute(deleted.values(deleted_at=self._clock.time(), **values))
        await self._resolve_dead_letters(transaction, calendar, keys)
        transaction.bump(calendar.tenant_id)

    async def record_dead_letters(self, letters: Sequence[tuple[Calendar | None, DeadLetter]]) -> None:
        """Record dead letters. An open dead letter about the same failure is updated instead."""
        tenant_ids = {calendar.tenant_id for calendar, _ in letters if calendar is not None}

        async def write(transaction: Transaction) -> None:
            for first in range(0, len(letters), _LETTERS_AT_A_TIME):
                await self._write_dead_letters(transaction, letters[first : first + _LETTERS_AT_A_TIME])

        await self._state.write(write, *tenant_ids)

    async def record_failure(self, calendar: Calendar, failure: Failure) -> None:
        """Record why a key or a calendar could not be synced, until it is."""
        at = self._clock.time()

        async def write(transaction: Transaction) -> None:
            await write_failure(transaction, calendar, failure, run_id=self.run_id, at=at)

        await self._state.write(write, calendar.tenant_id)

    async def drop_failure(self, calendar: Calendar) -> None:
        """Record that a calendar has not failed any more as a whole."""
        await self._state.write(
            lambda transaction: delete_failures(transaction, _key_parameters(calendar, [""])), calendar.tenant_id
        )

    async def drop_other_failures(self, tenant_id: str) -> None:
        """Record that nothing of a tenant has failed but what failed in this run."""
        await self._state.write(
            lambda transaction: delete_other_failures(transaction, tenant_id, self.run_id), tenant_id
        )

    @repeatable
    async def record_pull(
        self,
        calendar: Calendar,
        *,
        synced: Sequence[SyncedPair],
        deleted: Sequence[str],
        letters: Sequence[tuple[Calendar | None, DeadLetter]],
    ) -> None:
        """Record everything that a pull has found in a calendar, and that the calendar is done, in one transaction."""
        async with self._state.writing(calendar.tenant_id) as transaction:
            if synced:
                await self.write_synced(transaction, calendar, synced)
            if deleted:
                await self.write_deleted(transaction, calendar, deleted)
            await self._write_dead_letters(transaction, letters)
            await delete_failures(transaction, _key_parameters(calendar, [""]))
            await self._write_calendar_done(transaction, calendar)

    async def record_calendar_done(self, calendar: Calendar) -> None:
        """Record that the run has finished a calendar."""
        await self._state.write(
            lambda transaction: self._write_calendar_done(transaction, calendar), calendar.tenant_id
        )

    async def record_lost_version(self, version: LostVersion) -> None:
        """Archive what is about to be overwritten on the server."""
        await self._state.write(
            lambda transaction: self.write_lost_versions(transaction, [version]), version.calendar.tenant_id
        )

    async def write_lost_versions(self, transaction: Transaction, versions: Sequence[LostVersion]) -> None:
        """Archive what is about to be overwritten, in an open transaction."""
        await write_lost_versions(transaction, versions, run_id=self.run_id, at=self._clock.time())

    async def record_look(self, calendar: Calendar, *, is_complete: bool) -> None:
        """Record the first look at a calendar: that it has started, or that all that it has shown is recorded.

        A look that was interrupted is repeated by the next run, since what else it has shown is not known.
        """
        previewed_at = self._clock.time() if is_complete else None
        row = {"window_start": "", "window_end": "", "done_run": None, "previewed_at": previewed_at}
        await self._state.write(
            lambda transaction: transaction.upsert(cells, [row | attrs.asdict(calendar)]), calendar.tenant_id
        )

    async def _resolve_dead_letters(self, transaction: Transaction, calendar: Calendar, keys: Sequence[str]) -> None:
        if keys:
            now, parameters = {"now": self._clock.time()}, _key_parameters(calendar, keys)
            await transaction.connection.execute(_RESOLVE, [each | now for each in parameters])
            await delete_failures(transaction, parameters)

    async def _write_dead_letters(
        self, transaction: Transaction, letters: Sequence[tuple[Calendar | None, DeadLetter]]
    ) -> None:
        common = {"run_id": self.run_id, "at": self._clock.time()}
        rows = {}
        for calendar, letter in letters:
            row = {name: getattr(letter, name) for name in _LETTER_FIELDS} | common
            row |= {name: getattr(calendar, name, "") for name in CALENDAR} | {"key": letter.key}
            rows[_failure_of(row)] = row
        keys = [
            parameters
            for calendar, letter in letters
            if calendar is not None and letter.key
            for parameters in _key_parameters(calendar, [letter.key])
        ]
        if keys:
            await delete_failures(transaction, keys)
        existing = await _open_dead_letters(transaction, rows)
        updated = [rows[failure] | {"at_id": number} for failure, numbers in existing.items() for number in numbers]
        inserted = [row for failure, row in rows.items() if failure not in existing]
        if updated:
            await transaction.connection.execute(_UPDATE_DEAD_LETTER, updated)
        if inserted:
            await transaction.connection.execute(insert(dead_letters), inserted)

    async def _write_calendar_done(self, transaction: Transaction, calendar: Calendar) -> None:
        row = {"window_start": "", "window_end": "", "done_run": self.lineage, "previewed_at": self._clock.time()}
        await transaction.upsert(cells, [row | attrs.asdict(calendar)])


async def _is_of_another_key(transaction: Transaction, calendar: Calendar, key: str, appointment_id: str) -> bool:
    parameters = attrs.asdict(calendar) | {"appointment_id": appointment_id, "own_key": key}
    return (await transaction.connection.execute(_OTHER_KEY, parameters)).first() is not None


def _failure_of(row: Mapping[Any, Any]) -> _Failure:
    """Return what makes two dead letters about the same failure.

    Of a key that could not be sent, only the last failure counts. A source may have several problems with one key.
    """
    is_read = row["operation"] in READ_OPERATIONS
    return (*(row[name] for name in KEY), *((row["operation"], row["reason"]) if is_read else ()))


async def _open_dead_letters(transaction: Transaction, failures: Collection[_Failure]) -> dict[_Failure, list[int]]:
    """Return the ids of the dead letters about some failures, without the resolved ones."""
    keys = list(dict.fromkeys(failure[len(CALENDAR)] for failure in failures))
    found: dict[_Failure, list[int]] = {}
    names = ("dead_letter_id", *KEY, "operation", "reason")
    for first in range(0, len(keys), KEYS_PER_QUERY):
        query = select(*(dead_letters.c[name] for name in names)).where(
            dead_letters.c.key.in_(keys[first : first + KEYS_PER_QUERY]), dead_letters.c.resolved_at.is_(None)
        )
        for row in (await transaction.connection.execute(query)).mappings():
            failure = _failure_of(row)
            if failure in failures:
                found.setdefault(failure, []).append(row["dead_letter_id"])
    return found


async def _delete_pending_creates(transaction: Transaction, calendar: Calendar, keys: Sequence[str]) -> None:
    if keys:
        await transaction.connection.execute(_DELETE_PENDING_CREATE, _key_parameters(calendar, keys))


def _has_key(table: Table) -> ColumnElement[bool]:
    return and_(*(table.c[name] == bindparam(f"at_{name}") for name in KEY))


def _key_parameters(calendar: Calendar, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return the parameters of `_has_key` for each key."""
    common = {f"at_{name}": getattr(calendar, name) for name in CALENDAR}
    return [common | {"at_key": key} for key in keys]


# Built once, since building them takes longer than executing them.
_OTHER_KEY: Final = (
    select(items.c.key)
    .where(*(items.c[name] == bindparam(name) for name in (*CALENDAR, "appointment_id")))
    .where(items.c.key != bindparam("own_key"), IS_ON_SERVER)
    .limit(1)
)
_LETTER_FIELDS: Final = [field.name for field in attrs.fields(DeadLetter) if field.name != "key"]
_UPDATE_DEAD_LETTER: Final = (
    update(dead_letters)
    .where(dead_letters.c.dead_letter_id == bindparam("at_id"))
    .values({name: bindparam(name) for name in ("run_id", "at", *_LETTER_FIELDS)})
)
_DELETE_PENDING_CREATE: Final = delete(intents).where(_has_key(intents))
_CONFIRM: Final = update(items).where(_has_key(items)).values(confirmed_at=bindparam("now"))
_RESOLVE: Final = (
    update(dead_letters)
    .where(_has_key(dead_letters), dead_letters.c.resolved_at.is_(None))
    .values(resolved_at=bindparam("now"))
)
