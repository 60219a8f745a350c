"""Operations: what to do with each key of a calendar, and why."""

import enum
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import Any, Final

import attrs

from connector_async._timestamps import parse_instant
from connector_async.exceptions import AuthenticationError, ConnectorError, SyncError
from connector_async.models import Appointment
from connector_async.sync.failures import HookError, is_permanent, reason_of
from connector_async.sync.records import (
    ABSENT,
    Calendar,
    LastSynced,
    UnusableIdError,
    content_hash,
    sortable,
    usable_id,
)
from connector_async.sync.state.diff import Entry
from connector_async.sync.state.journal import SyncedPair
from connector_async.sync.state.reader import PendingCreate

from .options import ConflictRules
from .snapshot import ServerSnapshot
from .three_way import Action, Conflict, decide, resolve_conflict

_SERVER_PREFIX: Final = "server:"


class Kind(enum.Enum):
    """What an operation does."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    AGREE = "agree"
    """Send nothing, and record in the state what both sides have."""
    PULL = "pull"
    """Write back to the source what the server has, or that the server has deleted it."""
    CONFLICT = "conflict"
    """Give up."""


@attrs.frozen(kw_only=True)
class Operation:
    """What to do with one key."""

    kind: Kind
    calendar: Calendar
    key: str
    reason: str
    """Why, in words."""
    base: LastSynced | None = None
    """What was last synced; `None` if the key is new."""
    local: str
    """The hash of what the source has, or `ABSENT`."""
    remote: str | None
    """The hash of what the server has, or `ABSENT`; `None` if the server was not looked at."""
    start_time: str
    """The start of the appointment; RFC 3339, in UTC."""
    end_time: str
    """The end of the appointment; RFC 3339, in UTC."""
    appointment_id: str | None = None
    """The id of the appointment; `None` if it does not exist yet."""
    body: bytes | None = attrs.field(default=None, repr=False)
    """The row of the source's record, as JSON; `None` if there is no record. Personal data."""
    appointment: Appointment | None = attrs.field(default=None, repr=False)
    """What the server has, where that is written back to the source."""

    @property
    def pending(self) -> frozenset[str]:
        """The hashes of what was sent before without a known result."""
        return frozenset() if self.base is None else self.base.pending

    @property
    def last_remote(self) -> str | None:
        """The hash of what the server has, or had when it was last looked at."""
        if self.remote is None and self.base is not None:
            return self.base.remote
        return self.remote

    def as_json(self) -> dict[str, Any]:
        """Return the operation as a JSON object, without the record to send: no personal data."""
        base = self.base
        return attrs.asdict(self.calendar) | {
            "kind": self.kind.value,
            "key": self.key,
            "reason": self.reason,
            "base": None if base is None else [base.local, base.remote, sorted(base.pending)],
            "local": self.local,
            "remote": self.remote,
            "appointment_id": self.appointment_id,
            "start_time": self.start_time,
            "end_time": self.end_time,
        }


Get = Callable[[str], Awaitable[Appointment | None]]
"""Reads one appointment; returns `None` if it does not exist."""


class Reconciler:
    """Decides what to do with each key of one calendar.

    Args:
        calendar: The calendar.
        snapshot: What a preview showed; `None` if the server was not looked at.
        rules: Who wins a conflict.
        get: Reads an appointment that the preview does not show.
        two_way: Whether what the server alone has changed is written back to the source. Otherwise it is a conflict.
    """

    def __init__(
        self,
        calendar: Calendar,
        snapshot: ServerSnapshot | None,
        rules: ConflictRules,
        get: Get,
        *,
        two_way: bool,
    ) -> None:
        self._calendar = calendar
        self._snapshot = snapshot
        self._rules = rules
        self._two_way = two_way
        self._get = get

    async def operation(self, entry: Entry) -> Operation | None:
        """Return what to do with an entry; `None` for nothing.

        Raises:
            ConnectorError: If an appointment that the preview did not show could not be read for a transient reason.
        """
        try:
            appointment_id, remote, appointment = await self._look_up(entry)
        except UnusableIdError as error:
            reason = f"not in the preview; {error}"
            return self._operation(entry, Kind.CONFLICT, reason, appointment_id=entry.appointment_id)
        except ConnectorError as error:
            if isinstance(error, AuthenticationError) or not is_permanent(error):
                raise
            reason = f"not in the preview; {reason_of(error)}"
            return self._operation(entry, Kind.CONFLICT, reason, appointment_id=entry.appointment_id)
        action = decide(entry.base, entry.local, remote)
        if action is Action.CONFLICT or (action is Action.PULL and not self._two_way):
            try:
                action = await self._resolve(entry, remote or ABSENT, appointment)
            except HookError as error:
                return self._operation(entry, Kind.CONFLICT, str(error), remote=remote, appointment_id=appointment_id)
        elif action is Action.NONE and remote is not None and _is_unseen(entry.base):
            action = Action.AGREE  # the first look at what the server has made of the last write
        if action is Action.NONE:
            return None
        return self._operation(
            entry,
            self._kind(action, entry, remote),
            _reason(entry, remote),
            remote=remote,
            appointment_id=appointment_id,
            appointment=appointment,
        )

    def untracked(self) -> Iterator[Operation]:
        """Yield a `PULL` for each untracked appointment, if the sync goes two ways."""
        if self._snapshot is None or not self._two_way:
            return
        for appointment_id, appointment in self._snapshot.untracked.items():
            yield Operation(
                kind=Kind.PULL,
                calendar=self._calendar,
                key=key_of_server(appointment_id),
                reason="new on the server",
                local=ABSENT,
                remote=content_hash(appointment),
                start_time=sortable(appointment.start_time),
                end_time=sortable(appointment.end_time),
                appointment_id=appointment_id,
                appointment=appointment,
            )

    def _operation(
        self,
        entry: Entry,
        kind: Kind,
        reason: str,
        *,
        remote: str | None = None,
        appointment_id: str | None,
        appointment: Appointment | None = None,
    ) -> Operation:
        return Operation(
            kind=kind,
            calendar=self._calendar,
            key=entry.key,
            reason=reason,
            base=entry.base,
            local=entry.local,
            remote=remote,
            start_time=entry.start_time,
            end_time=entry.end_time,
            appointment_id=appointment_id,
            body=entry.body,
            appointment=appointment,
        )

    async def _look_up(self, entry: Entry) -> tuple[str | None, str | None, Appointment | None]:
        """Return the id and the hash of what the server has under an entry's key, and its content where it differs."""
        appointment_id, snapshot = entry.appointment_id, self._snapshot
        if snapshot is None:
            return appointment_id, None, None
        if entry.base is None or entry.base.remote == ABSENT:
            return self._claim(entry, snapshot)
        if appointment_id in snapshot.unchanged:
            return appointment_id, entry.base.remote, None
        appointment = snapshot.changed.get(appointment_id or "")
        if appointment is None:
            if appointment_id is None or not snapshot.known[appointment_id].in_range:
                return appointment_id, None, None
            # It may have moved out of the range that was looked at, and a preview may lag behind.
            appointment = await self._get(usable_id(appointment_id))
            if appointment is None:
                return appointment_id, ABSENT, None
        return appointment_id, content_hash(appointment), appointment

    def _claim(self, entry: Entry, snapshot: ServerSnapshot) -> tuple[str | None, str, Appointment | None]:
        """Return the untracked appointment that a new record matches, and claim it for that record."""
        if entry.local == ABSENT:
            return None, ABSENT, None
        if entry.key.startswith(_SERVER_PREFIX):
            appointment = snapshot.claim_by_id(entry.key.removeprefix(_SERVER_PREFIX))
            if appointment is not None:
                return appointment.appointment_id, content_hash(appointment), appointment
        claimed = snapshot.claim(entry.local)
        return claimed, ABSENT if claimed is None else entry.local, None

    async def _resolve(self, entry: Entry, remote: str, appointment: Appointment | None) -> Action:
        conflict = Conflict(
            calendar=self._calendar,
            key=entry.key,
            local=entry.local,
            remote=remote,
            local_modified=None if entry.modified is None else parse_instant(entry.modified),
            remote_modified=_modified(appointment, self._rules.modified_field),
        )
        policy = self._rules.policy
        if self._rules.on_conflict is not None:
            try:
                policy = await self._rules.on_conflict(conflict)
            except SyncError:
                raise
            except Exception as error:  # noqa: BLE001 - the application's
                raise HookError("on_conflict", error) from None
        return resolve_conflict(conflict, policy)

    def _kind(self, action: Action, entry: Entry, remote: str | None) -> Kind:
        if action is Action.CONFLICT:
            return Kind.CONFLICT
        if action is Action.PULL:
            # In one direction, what the server has is recorded in the state, and no more.
            return Kind.PULL if self._two_way else Kind.AGREE
        if action is Action.AGREE:
            return Kind.AGREE
        if entry.local == ABSENT:
            return Kind.DELETE
        last_remote = remote if remote is not None or entry.base is None else entry.base.remote
        exists = last_remote != ABSENT and (entry.base is not None or remote is not None)
        return Kind.UPDATE if exists else Kind.CREATE


def key_of_server(appointment_id: str) -> str:
    """Return the key for an appointment that the source does not have. Its prefix marks it, even without a state."""
    return _SERVER_PREFIX + appointment_id


def synced_pair(pushed: Operation | PendingCreate, appointment_id: str, remote_hash: str | None) -> SyncedPair:
    """Return the pair to record once the server has what the source has.

    Args:
        pushed: The operation, or the pending create.
        appointment_id: The appointment.
        remote_hash: The hash of what the server has made of it; `None` if that is not known yet.
    """
    return SyncedPair(
        key=pushed.key,
        appointment_id=appointment_id,
        local_hash=pushed.local if isinstance(pushed, Operation) else pushed.content_hash,
        remote_hash=remote_hash,
        start_time=pushed.start_time,
        end_time=pushed.end_time,
    )


def pulled_pair(key: str, appointment_id: str, appointment: Appointment) -> SyncedPair:
    """Return the pair to record once the source has what the server has."""
    content = content_hash(appointment)
    return SyncedPair(
        key=key,
        appointment_id=appointment_id,
        local_hash=content,
        remote_hash=content,
        start_time=sortable(appointment.start_time),
        end_time=sortable(appointment.end_time),
    )


def _is_unseen(base: LastSynced | None) -> bool:
    """Return whether it is not known yet what the server has made of the last write."""
    return base is not None and (base.remote is None or bool(base.pending))


def _modified(appointment: Appointment | None, field: str) -> datetime | None:
    value = None if appointment is None else appointment.extra.get(field)
    try:
        return parse_instant(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _reason(entry: Entry, remote: str | None) -> str:
    base = entry.base
    changes = []
    if base is None or entry.local != base.local:
        changes.append(f"{_change(None if base is None else base.local, entry.local)} in the source")
    if base is not None and remote is not None and base.remote is not None and remote != base.remote:
        changes.append(f"{_change(base.remote, remote)} on the server")
    return ", ".join(changes) or "first seen on the server"


def _change(before: str | None, now: str) -> str:
    if now == ABSENT:
        return "deleted"
    return "new" if before in (None, ABSENT) else "changed"
