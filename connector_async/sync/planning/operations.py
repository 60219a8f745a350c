"""What is to be done with each key of a calendar, and why, from its entry and from what a preview showed."""

import enum
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import Final

import attrs

from connector_async._checks import check_callable, check_type, validator
from connector_async._timestamps import parse_instant
from connector_async.models import Appointment
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

from .snapshot import ServerSnapshot
from .three_way import Action, Conflict, ConflictCallback, Policy, decide, settle

_OF_SERVER: Final = "server:"


class Kind(enum.Enum):
    """What is done."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    AGREE = "agree"
    """Nothing is sent: what both sides have is written down as in step."""
    PULL = "pull"
    """The source is to take over what the server has, or has not any more."""
    CONFLICT = "conflict"
    """It is given up."""


@attrs.frozen(kw_only=True)
class Operation:
    """What is to be done with one key."""

    kind: Kind
    calendar: Calendar
    key: str
    reason: str
    """Why, in words."""
    base: LastSynced | None = None
    """What was last in step; `None`: nothing."""
    local: str
    """The hash of what the source has, or `GONE`."""
    remote: str | None
    """The hash of what the server has, or `GONE`; `None`: it was not looked at."""
    start_time: str
    """When it begins, or began; RFC 3339, in UTC."""
    end_time: str
    """When it ends, or ended; RFC 3339, in UTC."""
    appointment_id: str | None = None
    """Which appointment; `None`: there is none yet."""
    body: bytes | None = attrs.field(default=None, repr=False)
    """The row of the source, as JSON; `None`: it has none. Personal data."""
    appointment: Appointment | None = attrs.field(default=None, repr=False)
    """What the server has, if it is to be taken over."""


@attrs.frozen(kw_only=True)
class ConflictRules:
    """Who wins.

    Raises:
        TypeError: A field is of another type; the message names it.
    """

    policy: Policy = attrs.field(default=Policy.LOCAL, validator=validator(check_type, Policy))
    """Who wins a conflict."""
    on_conflict: ConflictCallback | None = attrs.field(default=None, validator=validator(check_callable, optional=True))
    """Decides each conflict instead of the policy."""
    modified_field: str = attrs.field(default="lastModified", validator=validator(check_type, str))
    """The field, on the wire, in which the server says when an appointment was changed, for `Policy.NEWER`."""


Get = Callable[[str], Awaitable[Appointment | None]]
"""Reads one appointment; `None`: there is none of that id."""


class Reconciler:
    """Decides for one calendar.

    Args:
        calendar: Whose keys they are.
        remote: What a preview showed; `None`: the server was not looked at.
        rules: Who wins.
        two_way: Whether what the server alone has changed is taken over into the source. Otherwise it is a conflict.
        get: Reads one appointment; `None`: there is none of that id. Asked about what a preview does not show.
    """

    def __init__(
        self,
        calendar: Calendar,
        remote: ServerSnapshot | None,
        rules: ConflictRules,
        get: Get,
        *,
        two_way: bool,
    ) -> None:
        self._calendar = calendar
        self._remote = remote
        self._rules = rules
        self._two_way = two_way
        self._get = get

    async def operation(self, entry: Entry) -> Operation | None:
        """Return what is to be done with an entry; `None`: nothing.

        Raises:
            ConnectorError: An appointment that the preview did not show could not be asked about.
        """
        try:
            appointment_id, remote, appointment = await self._look_up(entry)
        except UnusableIdError as error:
            return self._unusable(entry, str(error))
        action = decide(entry.base, entry.local, remote)
        if action is Action.CONFLICT or (action is Action.PULL and not self._two_way):
            action = await self._settle(entry, remote or ABSENT, appointment)
        elif action is Action.NONE and remote is not None and _was_open(entry.base):
            action = Action.AGREE  # what the server has made of the last write is seen for the first time
        if action is Action.NONE:
            return None
        return Operation(
            kind=self._kind(action, entry, remote),
            calendar=self._calendar,
            key=entry.key,
            reason=_reason(entry, remote),
            base=entry.base,
            local=entry.local,
            remote=remote,
            start_time=entry.start_time,
            end_time=entry.end_time,
            appointment_id=appointment_id,
            body=entry.body,
            appointment=appointment,
        )

    def _unusable(self, entry: Entry, reason: str) -> Operation:
        """Give up an entry whose appointment the preview does not show, and which cannot be asked about by its id."""
        return Operation(
            kind=Kind.CONFLICT,
            calendar=self._calendar,
            key=entry.key,
            reason=f"not in the preview; {reason}",
            base=entry.base,
            local=entry.local,
            remote=None,
            start_time=entry.start_time,
            end_time=entry.end_time,
            appointment_id=entry.appointment_id,
            body=entry.body,
        )

    def untracked(self) -> Iterator[Operation]:
        """Yield what the server has and nobody knows, as far as the source is to take it over."""
        if self._remote is None or not self._two_way:
            return
        for appointment_id, appointment in self._remote.unknown.items():
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

    async def _look_up(self, entry: Entry) -> tuple[str | None, str | None, Appointment | None]:
        """Return the id, the hash and where it differs the content of what the server has under an entry's key."""
        appointment_id, remote = entry.appointment_id, self._remote
        if remote is None:
            return appointment_id, None, None
        if entry.base is None or entry.base.remote == ABSENT:
            return self._claim(entry, remote)
        if appointment_id in remote.unchanged:
            return appointment_id, entry.base.remote, None
        appointment = remote.changed.get(appointment_id or "")
        if appointment is None:
            if appointment_id is None or not remote.known[appointment_id].in_range:
                return appointment_id, None, None
            # It may have moved out of the time that was looked at, and a preview may lag behind.
            appointment = await self._get(usable_id(appointment_id))
            if appointment is None:
                return appointment_id, ABSENT, None
        return appointment_id, content_hash(appointment), appointment

    def _claim(self, entry: Entry, remote: ServerSnapshot) -> tuple[str | None, str, Appointment | None]:
        """Return what the server has that may be a new record's, which then is that one's alone."""
        if entry.local == ABSENT:
            return None, ABSENT, None
        by_key = remote.claim_by_id(entry.key.removeprefix(_OF_SERVER)) if entry.key.startswith(_OF_SERVER) else None
        if by_key is not None:
            return by_key.appointment_id, content_hash(by_key), by_key
        claimed = remote.claim(entry.local)
        return claimed, ABSENT if claimed is None else entry.local, None

    async def _settle(self, entry: Entry, remote: str, appointment: Appointment | None) -> Action:
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
            policy = await self._rules.on_conflict(conflict)
        return settle(conflict, policy)

    def _kind(self, action: Action, entry: Entry, remote: str | None) -> Kind:
        if action is Action.CONFLICT:
            return Kind.CONFLICT
        if action is Action.PULL:
            # In one direction what the server has is taken note of, and no more.
            return Kind.PULL if self._two_way else Kind.AGREE
        if action is Action.AGREE:
            return Kind.AGREE
        seen = remote if remote is not None or entry.base is None else entry.base.remote
        is_there = seen != ABSENT and (entry.base is not None or remote is not None)
        if entry.local == ABSENT:
            return Kind.DELETE
        return Kind.UPDATE if is_there else Kind.CREATE


def key_of_server(appointment_id: str) -> str:
    """Return the key of an appointment that the source has not known, by which it is known again without a state."""
    return _OF_SERVER + appointment_id


def _was_open(base: LastSynced | None) -> bool:
    """Tell whether it is not known what the server has made of the last write."""
    return base is not None and (base.remote is None or bool(base.pending))


def _modified(appointment: Appointment | None, field: str) -> datetime | None:
    value = None if appointment is None else appointment.extra.get(field)
    try:
        return parse_instant(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _reason(entry: Entry, remote: str | None) -> str:
    base = entry.base
    sides = []
    if base is None or entry.local != base.local:
        sides.append(_change("the source", None if base is None else base.local, entry.local))
    if base is not None and remote is not None and base.remote is not None and remote != base.remote:
        sides.append(_change("the server", base.remote, remote))
    return ", ".join(sides) or "first seen on the server"


def _change(side: str, before: str | None, now: str) -> str:
    if now == ABSENT:
        return f"gone from {side}"
    return f"new in {side}" if before in (None, ABSENT) else f"changed in {side}"
