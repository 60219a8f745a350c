"""`Watch`: polls a preview and yields what has changed on the server as `Created`, `Updated` and `Deleted`.

It keeps a hash of each field of each appointment and never their content. What a preview does not show is looked up by
its id before it is taken for deleted. It sends nothing itself: it gets a pager of the preview and a function to get one
appointment.
"""

import hashlib
import math
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from datetime import datetime
from typing import Any, Final, Literal, Self, TypeGuard, get_args

import attrs
import orjson

from connector_async import _log
from connector_async._checks import check_callable, check_plain_callable, check_seconds, check_type
from connector_async._clock import Clock
from connector_async._timestamps import format_instant
from connector_async.exceptions import (
    AuthenticationError,
    ConnectorError,
    InvalidArgumentError,
    NotFoundError,
    ResponseError,
)
from connector_async.models import Appointment, DirectoryUser
from connector_async.pagination import AsyncPager
from connector_async.rate_limit import bulk_priority
from connector_async.session import ConnectorSession

from .listing import Overlap

Initial = Literal["known", "created"]
"""Whether the appointments that the first poll shows are known already, or are `Created`."""

OnError = Callable[[ConnectorError], object]
"""Is called with each error after which the watch goes on."""

_FORMAT: Final = 1
_FIELDS: Final = ("title", "start_time", "end_time", "description", "description_type", "time_zone")
_DESCRIPTION: Final = _FIELDS.index("description")
_HASH_BYTES: Final = 8
_UNKNOWN: Final = ""
"""The hash of a field that the server did not send."""
_NEW: Final = " " * (len(_FIELDS) - 1)
"""The fingerprint of an appointment without any known field."""
_TRANSIENT_STATUSES: Final = frozenset({408, 423, 425, 429})


@attrs.frozen
class Created:
    """An appointment that is new: it was created, or has moved into the time range of the watch."""

    appointment: Appointment
    """The appointment as the server now has it."""

    @property
    def appointment_id(self) -> str:
        """The server's id."""
        return self.appointment.appointment_id


@attrs.frozen
class Updated:
    """An appointment that has changed. If it has moved out of the time range, it is not watched any more."""

    appointment: Appointment
    """The appointment as the server now has it."""
    changed: tuple[str, ...]
    """The names of the fields that have changed, or that the server shows for the first time. Empty if the event is
    delivered again, and the change was taken back meanwhile."""

    @property
    def appointment_id(self) -> str:
        """The server's id."""
        return self.appointment.appointment_id


@attrs.frozen
class Deleted:
    """An appointment that the server does not have any more."""

    appointment_id: str
    """The server's id."""


AppointmentEvent = Created | Updated | Deleted
"""What has happened to one appointment."""


@attrs.frozen(kw_only=True)
class WatchScope:
    """What a watch looks at. A snapshot belongs to one scope."""

    base_url: str
    tenant_id: str
    wire_format: str
    user: DirectoryUser | None = None
    start: datetime | None = None
    """The start of the time range, in UTC. `None`: open."""
    end: datetime | None = None
    """The end of the time range, in UTC. `None`: open."""

    @classmethod
    def of(
        cls, session: ConnectorSession, user: DirectoryUser | None, start: datetime | None, end: datetime | None
    ) -> Self:
        """Return the scope of a service and a time range in UTC."""
        return cls(
            base_url=session.base_url,
            tenant_id=session.tenant_id,
            wire_format=session.wire_format.value,
            user=user,
            start=start,
            end=end,
        )

    def hash(self) -> str:
        """Return a hash that tells this scope from others."""
        user = () if self.user is None else (self.user.ad_id, self.user.domain_id)
        ends = [None if end is None else format_instant(end) for end in (self.start, self.end)]
        return _hash(orjson.dumps([self.base_url, self.tenant_id, self.wire_format, user, ends]))


@attrs.frozen
class _Finding:
    """An appointment that differs from what is known, or is missing."""

    appointment_id: str
    shown: Appointment | None
    """What the preview has shown. `None`: nothing."""


class Watch:
    """The changes of a preview, for `async for event in watch`. It ends only by an error.

    A preview is read to its end before it is compared with what is known. A poll that fails changes nothing: its error
    is logged, and handed to `on_error`, and the next poll finds the same changes. 4xx other than 408, 423, 425 and 429
    are raised. Polls are bulk calls: single calls of the tenant go first.

    An event is delivered at least once. It counts as handled when the next one is asked for, or when `acknowledge` is
    called. `snapshot` has the events that were handled, and names the one that was delivered and may not have been: a
    watch that starts with it delivers that one again, as what has become of its appointment, even if the change was
    taken back. Another loop over the same watch does so as well. Save the snapshot before each event is handled, or
    together with it and after `acknowledge` in one transaction; then no crash loses an event.

    Nothing is kept open between two events, so a loop may be left at any time.

    Only one task at a time may wait for an event.

    Args:
        preview: The pages of the scope.
        get: Returns the appointment of an id. Its `NotFoundError` alone is a deletion.
        scope: What is watched.
        interval: Seconds from the start of a poll to the start of the next one. If a poll or the handling of its events
            takes longer, the next poll starts as soon as an event is asked for.
        snapshot: The `snapshot` of an earlier watch. `None`: the first poll finds out what there is.
        initial: What the appointments of that first poll are: `"known"` or `"created"`.
        on_error: Is called with each error after which the watch goes on. What it raises ends the loop.
        clock: Measures the interval.
        sleep: Waits for a number of seconds.

    Raises:
        ValueError: If `interval` is not above zero and finite, `initial` is neither of the two, or `snapshot` is not
            the snapshot of a watch of this scope.
        TypeError: If an argument has another type, or `on_error` is a coroutine function.
    """

    def __init__(
        self,
        preview: AsyncPager[Appointment],
        get: Callable[[str], Awaitable[Appointment]],
        scope: WatchScope,
        *,
        interval: float = 60,
        snapshot: str | None = None,
        initial: Initial = "known",
        on_error: OnError | None = None,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        check_seconds("interval", interval, above_zero=True)
        if initial not in get_args(Initial):
            raise InvalidArgumentError("initial must be 'known' or 'created'", argument="initial")
        if on_error is not None:
            check_callable("on_error", on_error)
            check_plain_callable("on_error", on_error)
        self._preview = preview
        self._get = get
        self._scope = scope
        self._interval = interval
        self._initial = initial
        self._on_error = on_error
        self._clock = clock
        self._sleep = sleep
        self._next_poll_at = -math.inf
        self._known: dict[str, str] | None = None
        """The fingerprint of each appointment, by id, after the events that were handled. `None`: no poll succeeded."""
        self._in_doubt: set[str] = set()
        """The ids of events that were delivered and may not have been handled."""
        if snapshot is not None:
            self._known, self._in_doubt = _read_snapshot(snapshot, scope)
        self._findings: deque[_Finding] = deque()
        self._delivered: tuple[str | None] | None = None
        """The fingerprint that is known once the event of the first finding is handled. `None`: it is not delivered."""
        self._is_waiting = False

    def __aiter__(self) -> Self:
        self._delivered = None  # an event that was not handled is delivered again
        return self

    async def __anext__(self) -> AppointmentEvent:
        """Return the next event, and take the one before for handled.

        Raises:
            ResponseError: If the server refuses a poll with 4xx other than 408, 423, 425 and 429.
            RuntimeError: If the session is closed, or another task waits for an event of this watch.
        """
        with self._waiting():
            self.acknowledge()
            while True:
                while self._findings:
                    explained = await self._examine(self._findings[0])
                    if explained is None:
                        self._findings.popleft()  # the next poll finds it again
                        continue
                    event, fingerprint = explained
                    self._delivered = (fingerprint,)
                    if event is not None:
                        self._in_doubt.add(self._findings[0].appointment_id)
                        return event
                    self.acknowledge()
                await self._poll()

    @property
    def snapshot(self) -> str:
        """What is known after the events that were handled: JSON with ids and hashes, to start another watch with."""
        in_doubt = sorted(self._in_doubt)
        value = {"format": _FORMAT, "scope": self._scope.hash(), "known": self._known, "in_doubt": in_doubt}
        return orjson.dumps(value).decode()

    def acknowledge(self) -> None:
        """Take the event that was delivered last for handled, so that `snapshot` has it."""
        if self._delivered is None or self._known is None:
            return
        (fingerprint,), self._delivered = self._delivered, None
        appointment_id = self._findings.popleft().appointment_id
        self._in_doubt.discard(appointment_id)
        if fingerprint is None:
            self._known.pop(appointment_id, None)
        else:
            self._known[appointment_id] = fingerprint

    async def start(self) -> str:
        """Poll until a poll has succeeded, unless there is a snapshot, and return the snapshot.

        Save it before the first event: what changes after that is found even if this process ends.

        Raises:
            ResponseError: If the server refuses a poll with 4xx other than 408, 423, 425 and 429.
            RuntimeError: If the session is closed, or another task waits for an event of this watch.
        """
        with self._waiting():
            while self._known is None:
                await self._poll()
        return self.snapshot

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        if self._is_waiting:
            raise RuntimeError("another task waits for an event of this watch")
        self._is_waiting = True
        try:
            yield
        finally:
            self._is_waiting = False

    async def _poll(self) -> None:
        """Wait until the next poll is due, and find what differs. After a transient error there are no findings."""
        wait = self._next_poll_at - self._clock.monotonic()
        if wait > 0:
            await self._sleep(wait)
        self._next_poll_at = self._clock.monotonic() + self._interval
        try:
            with bulk_priority():
                self._findings = await self._look()
        except ConnectorError as error:
            if _is_permanent(error):
                raise
            self._report(error)

    async def _look(self) -> "deque[_Finding]":
        """Return what the preview shows that differs from what is known, and then what it does not show."""
        is_first, known, in_doubt = self._known is None, self._known or {}, self._in_doubt
        takes_all = is_first and self._initial == "known"
        seen: dict[str, str] = {}
        differing: dict[str, Appointment] = {}
        async with aclosing(self._preview.pages()) as pages:
            async for page in pages:
                for appointment in page.items:
                    appointment_id = appointment.appointment_id
                    seen[appointment_id] = fingerprint = _fingerprint(appointment)
                    is_known = not _differs(known.get(appointment_id, _NEW), fingerprint)
                    if not takes_all and (not is_known or appointment_id in in_doubt):
                        differing[appointment_id] = appointment
                    else:  # pages that shift while they are read show one twice
                        differing.pop(appointment_id, None)
        if is_first:
            self._known = seen if takes_all else {}
        missing = dict.fromkeys(each for each in (*known, *sorted(in_doubt)) if each not in seen)
        same = _match_ids_without_case([each for each in differing if each not in known], missing)
        findings = deque[_Finding]()
        for appointment_id, appointment in differing.items():
            known_id = same.get(appointment_id, appointment_id)
            missing.pop(known_id, None)
            if known_id in in_doubt or _differs(known.get(known_id, _NEW), seen[appointment_id]):
                findings.append(_Finding(known_id, appointment))
        findings.extend(_Finding(appointment_id, None) for appointment_id in missing)
        return findings

    async def _examine(self, finding: _Finding) -> tuple[AppointmentEvent | None, str | None] | None:
        """Return the event of a finding, if any, and the fingerprint that is known after it, if any.

        Returns `None` if it could not be looked up.
        """
        appointment_id, shown = finding.appointment_id, finding.shown
        known, is_in_doubt = (self._known or {}).get(appointment_id, _NEW), appointment_id in self._in_doubt
        if shown is not None and not _lacks_description(known, _fingerprint(shown)):
            return _compare(known, shown, _fingerprint(shown), is_in_doubt=is_in_doubt)
        try:
            with bulk_priority():
                found = await self._get(appointment_id)
        except NotFoundError:
            return Deleted(appointment_id), None
        except InvalidArgumentError:  # no request can name the id: the preview alone decides
            if shown is None:
                return Deleted(appointment_id), None
            return _compare(known, shown, _fingerprint(shown), is_in_doubt=is_in_doubt)
        except AuthenticationError:
            self._findings.clear()  # the next poll finds them again
            raise
        except ConnectorError as error:
            self._report(error)
            return None
        event, fingerprint = _compare(known, found, _as_previewed(known, found), is_in_doubt=is_in_doubt)
        if not Overlap(self._scope.start, self._scope.end)(found):
            return event, None
        hides_description = shown is not None or found.description is None
        return event, _with_description(fingerprint, _UNKNOWN) if hides_description else fingerprint

    def _report(self, error: ConnectorError) -> None:
        retry_in = max(0.0, self._next_poll_at - self._clock.monotonic())
        _log.poll_failure(tenant=self._scope.tenant_id, retry_in=retry_in, error=error)
        if self._on_error is not None:
            self._on_error(error)


def _is_permanent(error: ConnectorError) -> bool:
    return isinstance(error, ResponseError) and 400 <= error.status < 500 and error.status not in _TRANSIENT_STATUSES


def _compare(
    known: str, appointment: Appointment, fingerprint: str, *, is_in_doubt: bool
) -> tuple[AppointmentEvent | None, str]:
    """Return the event that explains an appointment, if any, and its fingerprint with what it leaves out as before."""
    changed = _changed(known, fingerprint)
    parts = zip(known.split(" "), fingerprint.split(" "), strict=True)
    merged = " ".join(after or before for before, after in parts)
    if known == _NEW:
        return Created(appointment), merged
    return Updated(appointment, changed) if changed or is_in_doubt else None, merged


def _differs(known: str, fingerprint: str) -> bool:
    if known == fingerprint:
        return False
    return bool(_changed(known, fingerprint)) or _lacks_description(known, fingerprint)


def _changed(known: str, fingerprint: str) -> tuple[str, ...]:
    """Return the fields that have another hash. What is left out is unknown, and so has not changed."""
    parts = zip(_FIELDS, known.split(" "), fingerprint.split(" "), strict=True)
    return tuple(field for field, before, after in parts if after != _UNKNOWN and before != after)


def _lacks_description(known: str, fingerprint: str) -> bool:
    """Return whether a description that was shown before is left out: it was removed, or is merely omitted."""
    before, after = known.split(" ")[_DESCRIPTION], fingerprint.split(" ")[_DESCRIPTION]
    return before != _UNKNOWN and after == _UNKNOWN


def _as_previewed(known: str, found: Appointment) -> str:
    """Return the fingerprint of an appointment that was looked up, without the fields that previews do not show."""
    fingerprint = _fingerprint(found)
    if found.description is None:
        fingerprint = _with_description(fingerprint, _hash(b""))  # here, what is left out is not there
    parts = zip(known.split(" "), fingerprint.split(" "), strict=True)
    return " ".join(after if before != _UNKNOWN or known == _NEW else _UNKNOWN for before, after in parts)


def _with_description(fingerprint: str, part: str) -> str:
    parts = fingerprint.split(" ")
    parts[_DESCRIPTION] = part
    return " ".join(parts)


def _fingerprint(appointment: Appointment) -> str:
    """Return the hashes of the fields that this version knows, with a space between two."""
    return " ".join(
        _UNKNOWN if value is None else _hash(value.encode())
        for value in (
            appointment.title,
            appointment.start_time.isoformat(),  # in UTC; format_instant takes twice as long
            appointment.end_time.isoformat(),
            appointment.description,
            appointment.description_type,
            appointment.time_zone,
        )
    )


def _hash(value: bytes) -> str:
    return hashlib.blake2b(value, digest_size=_HASH_BYTES).hexdigest()


def _match_ids_without_case(new: list[str], missing: Mapping[str, object]) -> dict[str, str]:
    """Return the missing id of each new one that differs from it in case alone, if there is one of each."""
    if not new or not missing:
        return {}
    folded = defaultdict[str, tuple[list[str], list[str]]](lambda: ([], []))
    for appointment_id in new:
        folded[appointment_id.casefold()][0].append(appointment_id)
    for appointment_id in missing:
        folded[appointment_id.casefold()][1].append(appointment_id)
    return {shown[0]: known[0] for shown, known in folded.values() if len(shown) == len(known) == 1}


def _read_snapshot(snapshot: str, scope: WatchScope) -> tuple[dict[str, str] | None, set[str]]:
    """Return the fingerprints in a snapshot, and the ids of events that may not have been handled.

    Raises:
        ValueError: If it is not the snapshot of a watch of this scope.
        TypeError: If it is not a str.
    """
    check_type("snapshot", snapshot, str)
    value = _parsed(snapshot)
    known, in_doubt = value.get("known"), value.get("in_doubt")
    if value.get("format") != _FORMAT or not _are_fingerprints(known) or not _are_ids(in_doubt):
        raise InvalidArgumentError("snapshot must be that of a watch of this version", argument="snapshot")
    if value.get("scope") != scope.hash():
        raise InvalidArgumentError(
            "snapshot must be that of a watch of the same server, wire format, tenant, user and time range",
            argument="snapshot",
        )
    return known, set(in_doubt)


def _parsed(snapshot: str) -> dict[str, Any]:
    try:
        value = orjson.loads(snapshot)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _are_fingerprints(known: object) -> TypeGuard[dict[str, str] | None]:
    return known is None or (
        isinstance(known, dict)
        and all(isinstance(each, str) and each.count(" ") == len(_FIELDS) - 1 for each in known.values())
    )


def _are_ids(in_doubt: object) -> TypeGuard[list[str]]:
    return isinstance(in_doubt, list) and all(isinstance(each, str) for each in in_doubt)
