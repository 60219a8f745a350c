"""Operations: what to do with each key of a calendar, and why."""

import enum
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime
from typing import Any, Final

import attrs
import orjson

from connector_async._timestamps import format_instant, parse_instant
from connector_async.exceptions import AuthenticationError, ConnectorError, SyncError
from connector_async.models import Appointment, NewAppointment
from connector_async.sync.failures import HookError, is_permanent, reason_of
from connector_async.sync.records import (
    ABSENT,
    Calendar,
    LastSynced,
    UnusableIdError,
    appointment_from_row,
    content_hash,
    is_usable_id,
    sortable,
    summary_hash,
    usable_id,
)
from connector_async.sync.state.diff import Entry
from connector_async.sync.state.journal import SyncedPair
from connector_async.sync.state.reader import PendingCreate, format_hashes

from .normalization import is_normalization_of
from .options import ConflictRules
from .snapshot import AmbiguousMatchError, ServerSnapshot
from .three_way import Action, Conflict, decide, resolve_conflict

_HOUR: Final = 3_600.0
_SERVER_PREFIX: Final = "server:"
_REPLACED: Final = "an update has given the appointment another id, and the server has kept this one as well"
_AMBIGUOUS: Final = "several appointments on the server may be this record"


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
    """What the server has, where it differs from what was last synced."""

    overwrites: bool = False
    """Whether the other side has changed as well, and loses: its version is archived before it is overwritten."""

    overwritten: bytes | None = attrs.field(default=None, repr=False)
    """The appointment that loses, as JSON; `None` if there is none. Personal data."""

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
            "base": None if base is None else [base.local, base.remote, sorted(base.pending), base.summary_hash],
            "local": self.local,
            "remote": self.remote,
            "appointment_id": self.appointment_id,
            "start_time": self.start_time,
            "end_time": self.end_time,
        }


Get = Callable[[str], Awaitable[Appointment | None]]
"""Reads one appointment; returns `None` if it does not exist."""


@attrs.frozen
class _Found:
    """What the server has under the key of an entry."""

    appointment_id: str | None
    remote: str | None
    """The hash of its content, or `ABSENT`; `None`: not known."""
    appointment: Appointment | None = None
    """Its content, where that is not as the state knows it."""
    is_version: bool = False
    """Whether it is the server's version of what the source has, so that both are in sync."""


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
            found = await self._look_up(entry)
        except UnusableIdError as error:
            reason = f"not in the preview; {error}"
            return self._operation(entry, Kind.CONFLICT, reason, _Found(entry.appointment_id, None))
        except AmbiguousMatchError:
            return self._operation(entry, Kind.CONFLICT, _AMBIGUOUS, _Found(entry.appointment_id, None))
        except ConnectorError as error:
            if isinstance(error, AuthenticationError) or not is_permanent(error):
                raise
            reason = f"not in the preview; {reason_of(error)}"
            return self._operation(entry, Kind.CONFLICT, reason, _Found(entry.appointment_id, None))
        remote = found.remote
        action = Action.AGREE if found.is_version else decide(entry.base, entry.local, remote)
        is_conflict = action is Action.CONFLICT or (action is Action.PULL and not self._two_way)
        if is_conflict:
            try:
                action = await self._resolve(entry, remote or ABSENT, found.appointment)
            except HookError as error:
                return self._operation(entry, Kind.CONFLICT, str(error), found)
        elif action is Action.NONE and remote is not None and _is_news(entry, found):
            action = Action.AGREE
        if action is Action.PULL and self._two_way and found.appointment is not None:
            found, action = await self._complete(entry, found, found.appointment)
        if action is Action.NONE:
            return None
        kind, reason = self._kind(action, entry, found.remote), _reason(entry, found.remote)
        return self._operation(entry, kind, reason, found, overwrites=is_conflict)

    async def untracked(self) -> AsyncGenerator[Operation, None]:
        """Yield a `PULL` for each untracked appointment, if the sync goes two ways.

        Raises:
            ConnectorError: If an appointment that the preview showed without a description could not be read.
        """
        if self._snapshot is None or not self._two_way:
            return
        for appointment_id, shown in self._snapshot.untracked.items():
            appointment = await self._read_omitted(shown, appointment_id)
            appointment = attrs.evolve(appointment, appointment_id=appointment_id)  # the preview has the last word
            yield self._of_server(Kind.PULL, key_of_server(appointment_id), "new on the server", appointment)

    def replaced(self) -> list[Operation]:
        """Return a `CONFLICT` for each appointment that an update has given a new id, and that has kept the old one."""
        snapshot = self._snapshot
        if snapshot is None:
            return []
        return [
            self._of_server(Kind.CONFLICT, snapshot.known[appointment_id].key, _REPLACED, appointment)
            for appointment_id, appointment in snapshot.changed.items()
            if snapshot.known[appointment_id].is_replaced
        ]

    def _of_server(self, kind: Kind, key: str, reason: str, appointment: Appointment) -> Operation:
        """Return the operation for an appointment that the source does not have."""
        return Operation(
            kind=kind,
            calendar=self._calendar,
            key=key,
            reason=reason,
            local=ABSENT,
            remote=content_hash(appointment),
            start_time=sortable(appointment.start_time),
            end_time=sortable(appointment.end_time),
            appointment_id=appointment.appointment_id,
            appointment=appointment,
        )

    def _operation(
        self, entry: Entry, kind: Kind, reason: str, found: _Found, *, overwrites: bool = False
    ) -> Operation:
        base, appointment = entry.base, found.appointment
        return Operation(
            kind=kind,
            calendar=self._calendar,
            key=entry.key,
            reason=reason,
            base=base,
            local=entry.local,
            remote=found.remote,
            start_time=entry.start_time,
            end_time=entry.end_time,
            appointment_id=found.appointment_id,
            body=entry.body,
            appointment=appointment,
            overwrites=overwrites,
            overwritten=_as_json(appointment) if overwrites and appointment is not None else None,
        )

    async def _look_up(self, entry: Entry) -> _Found:
        """Return what the server has under an entry's key.

        Raises:
            ConnectorError: If an appointment could not be read.
            UnusableIdError: If it could not be, because no request can name its id.
            AmbiguousMatchError: If several appointments may be that of a new record.
        """
        base, appointment_id, snapshot = entry.base, entry.appointment_id, self._snapshot
        if snapshot is None:
            return _Found(appointment_id, None)
        if base is None or base.remote == ABSENT:
            return self._claim(entry, snapshot)
        if appointment_id is None:
            return _Found(None, None)
        if appointment_id in snapshot.unchanged:
            return _Found(appointment_id, base.remote)
        if appointment_id in snapshot.changed:
            return self._compare(entry, appointment_id, snapshot.changed[appointment_id])
        last_seen = snapshot.known[appointment_id]
        if last_seen.may_be_missing or not last_seen.in_range or appointment_id in snapshot.outdated:
            return _Found(appointment_id, None)
        return await self._look_up_missing(entry, appointment_id, base.remote, snapshot)

    async def _look_up_missing(
        self, entry: Entry, appointment_id: str, remote: str | None, snapshot: ServerSnapshot
    ) -> _Found:
        """Return what the server has of an appointment that the preview does not show.

        It may have moved out of the range that was looked at, and a preview may lag behind.
        """
        appointment = await self._get(usable_id(appointment_id))
        recreated = snapshot.recreated.pop(appointment_id, None)
        if appointment is None and recreated is not None:
            return _Found(recreated.appointment_id, remote, recreated)
        if appointment is None:
            return _Found(appointment_id, ABSENT)
        if recreated is not None:
            snapshot.add(recreated)
        if snapshot.known[appointment_id].may_be_outdated(appointment):
            return _Found(appointment_id, None)
        return self._compare(entry, appointment_id, appointment)

    def _compare(self, entry: Entry, appointment_id: str, shown: Appointment) -> _Found:
        """Return what the server has under a key, compared with what the source has sent."""
        base, sent, content = entry.base, _content(entry), content_hash(shown)
        if base is not None and base.remote == content:
            return _Found(appointment_id, content)
        is_first_look = base is None or not (base.is_confirmed or base.pending or entry.local != base.local)
        if is_first_look and sent is not None and is_normalization_of(shown, sent):
            return _Found(appointment_id, content, shown, is_version=True)
        return _Found(appointment_id, content, shown)

    async def _complete(self, entry: Entry, found: _Found, shown: Appointment) -> tuple[_Found, Action]:
        """Return what the server has, with the description that a preview may have omitted, and what to do then.

        If the server does not show a description when the appointment is read either, the source keeps its own.
        """
        sent = _content(entry)
        own = sent.description if sent is not None and isinstance(sent.description, str) else ""
        appointment = await self._read_omitted(shown, found.appointment_id or "", is_needed=bool(own))
        if appointment.description is None and sent is not None and own:
            kind = sent.description_type if isinstance(sent.description_type, str) else None
            appointment = attrs.evolve(appointment, description=own, description_type=kind)
        if appointment is shown:
            return found, Action.PULL
        content = content_hash(appointment)
        action = Action.AGREE if content == entry.local else Action.PULL
        if entry.base is not None and content == entry.base.remote:
            action = Action.NONE
        return _Found(found.appointment_id, content, appointment), action

    async def _read_omitted(self, shown: Appointment, appointment_id: str, *, is_needed: bool = False) -> Appointment:
        """Return an appointment as `get` shows it, if the preview may have omitted its description.

        A preview that shows other descriptions has omitted none, which is not relied on if it `is_needed`.
        """
        shows_descriptions = self._snapshot is not None and self._snapshot.shows_descriptions
        if shown.description is not None or (shows_descriptions and not is_needed) or not is_usable_id(appointment_id):
            return shown
        return await self._get(appointment_id) or shown

    def _claim(self, entry: Entry, snapshot: ServerSnapshot) -> _Found:
        """Return the untracked appointment that a new record matches, and claim it for that record.

        Equal content comes first, then one without a description, then the server's version of what the source has.
        """
        sent = _content(entry)
        if sent is None:
            return _Found(None, ABSENT)
        if entry.key.startswith(_SERVER_PREFIX):
            appointment = snapshot.claim_by_id(entry.key.removeprefix(_SERVER_PREFIX))
            if appointment is not None:
                return self._compare(entry, appointment.appointment_id, appointment)
        claimed = snapshot.claim(entry.local)
        if claimed is not None:
            return _Found(claimed.appointment_id, entry.local, claimed)
        appointment = snapshot.claim_without_description(summary_hash(sent)) or snapshot.claim_normalization(sent)
        if appointment is None:
            return _Found(None, ABSENT)
        return _Found(appointment.appointment_id, content_hash(appointment), appointment, is_version=True)

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


def written_pair(
    pushed: Operation | PendingCreate, appointment_id: str, appointment: Appointment | None, written_at: float
) -> SyncedPair:
    """Return the pair to record once the server has been sent what the source has.

    Args:
        pushed: The operation, or the pending create.
        appointment_id: The appointment.
        appointment: What the server has made of it; `None` if that is not known yet.
        written_at: When it was sent, in seconds since 1970 in UTC.
    """
    return SyncedPair(
        key=pushed.key,
        appointment_id=appointment_id,
        local_hash=pushed.local if isinstance(pushed, Operation) else pushed.content_hash,
        remote_hash=None if appointment is None else content_hash(appointment),
        start_time=pushed.start_time,
        end_time=pushed.end_time,
        summary_hash=None if appointment is None else summary_hash(appointment),
        written_at=written_at,
        replaced_hashes=_replaced(pushed, written_at),
    )


def _replaced(pushed: Operation | PendingCreate, written_at: float) -> str | None:
    """Return the hashes of what a write has replaced on the server; `None` if that is not known.

    What the writes of the hour before have replaced is kept. An hour is longer than a server may take to show a write.
    """
    base = pushed.base if isinstance(pushed, Operation) else None
    if base is None or base.remote == ABSENT:
        return format_hashes({ABSENT})
    if base.remote is None or not base.is_confirmed:
        return None
    replaced = {base.remote, *base.pending}
    if base.summary_hash is not None:
        replaced.add(base.summary_hash)  # for previews without descriptions
    if isinstance(pushed, Operation) and pushed.remote is not None:
        replaced.add(pushed.remote)
    is_recent = base.written_at is not None and abs(written_at - base.written_at) < _HOUR
    return format_hashes(replaced | (base.replaced or set()) if is_recent else replaced)


def observed_pair(operation: Operation) -> SyncedPair:
    """Return the pair to record once both sides are seen to be in sync, without a write."""
    base, appointment = operation.base, operation.appointment
    summary = None if base is None else base.summary_hash
    if appointment is not None:
        summary = summary_hash(appointment)
    return SyncedPair(
        key=operation.key,
        appointment_id=operation.appointment_id or "",
        local_hash=operation.local,
        remote_hash=operation.last_remote,
        start_time=operation.start_time,
        end_time=operation.end_time,
        summary_hash=summary,
        written_at=None if base is None else base.written_at,
        replaced_hashes=None if base is None or base.replaced is None else format_hashes(base.replaced),
        is_confirmed=True,
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
        summary_hash=summary_hash(appointment),
        is_confirmed=True,
    )


def _content(entry: Entry) -> NewAppointment | None:
    return None if entry.body is None else appointment_from_row(orjson.loads(entry.body))


def _is_news(entry: Entry, found: _Found) -> bool:
    """Return whether a look has shown for the first time what became of a write, or another id."""
    return _is_unseen(entry.base) or found.appointment_id != entry.appointment_id


def _as_json(appointment: Appointment) -> bytes:
    fields = attrs.asdict(appointment, recurse=False) | {"extra": dict(appointment.extra)}
    times = {"start_time": format_instant(appointment.start_time), "end_time": format_instant(appointment.end_time)}
    return json.dumps(fields | times).encode()  # orjson rejects integers beyond 64 bits, which unknown fields may have


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
