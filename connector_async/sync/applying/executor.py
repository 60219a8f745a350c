"""The executor: one operation is recorded, sent, and recorded again with its result."""

import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
import orjson

from connector_async import _log
from connector_async._clock import Clock
from connector_async.appointments import AppointmentService
from connector_async.exceptions import (
    AuthenticationError,
    ConnectorError,
    DecodingError,
    ForbiddenError,
    NotFoundError,
    OutcomeUnknownError,
    SyncError,
)
from connector_async.models import UNSET, Appointment, NewAppointment, Unset
from connector_async.retry import may_have_happened
from connector_async.session import before_each_write
from connector_async.sync.exceptions import FencedError, StateError
from connector_async.sync.failures import (
    ApplicationError,
    Failure,
    concerns_calendar,
    containing_errors,
    hide,
    is_permanent,
    reason_of,
)
from connector_async.sync.planning.operations import Kind, Operation, written_pair
from connector_async.sync.planning.options import SyncOptions, SyncSettings
from connector_async.sync.planning.three_way import Policy
from connector_async.sync.records import (
    ABSENT,
    Calendar,
    appointment_from_row,
    as_carried,
    summary_hash,
    usable_id,
)
from connector_async.sync.report import Fate
from connector_async.sync.state.journal import DeadLetter, Journal
from connector_async.sync.state.reader import PendingCreate

from .recovery import PendingCreateResolver
from .writeback import server_version

_MAX_DELAY: Final = 5.0  # seconds between the time in a record and the request
_MAX_RECORDS: Final = 3
_FORBIDDEN_IN_A_ROW: Final = 3

_SHARED_ID: Final = "the server returned the id of another record; it may treat equal appointments as one"


@attrs.frozen(kw_only=True)
class UnrecordedCreate:
    """A create that happened after another process had taken over its tenant, so that it could not be recorded."""

    calendar: Calendar
    key: str
    appointment_id: str
    sent_at: float
    """When it was recorded as pending, in seconds since 1970 in UTC."""


def warn_of(create: UnrecordedCreate) -> None:
    """Log that a create may exist twice."""
    _log.unrecorded_create(tenant=create.calendar.tenant_id, appointment_id=create.appointment_id)


class OperationExecutor:
    """Executes the operations of one run.

    Args:
        journal: Records what is sent and what came of it.
        resolver: Keeps the times at which creates are sent.
        clock: The clock for the times in the state.
        options: Say who wins if an appointment that is to be updated does not exist any more.
        settings: Say whether an update reads the appointment first.
        on_unrecorded: Called with a create that could not be recorded, unless the process that has taken over the
            tenant has found it already.
    """

    def __init__(
        self,
        journal: Journal,
        resolver: PendingCreateResolver,
        clock: Clock,
        options: SyncOptions,
        settings: SyncSettings,
        on_unrecorded: Callable[[UnrecordedCreate], None] = warn_of,
    ) -> None:
        self._on_unrecorded = on_unrecorded
        self._journal = journal
        self._resolver = resolver
        self._clock = clock
        self._options = options
        self._settings = settings
        self._forbidden: Counter[Calendar] = Counter()

    async def execute(self, service: AppointmentService, operation: Operation) -> Fate:
        """Execute an operation that sends something or gives up, and return what became of it.

        Raises:
            AuthenticationError: If the credentials were rejected.
            ConnectorError: If the server refuses creates in this calendar, or all writes. Nothing was written.
            StateError: If the state cannot be written, or another run has taken it over.
        """
        if operation.overwrites and operation.kind is not Kind.CONFLICT:
            await self._journal.record_lost_version(server_version(operation))
        try:
            fate = await self._execute(service, operation)
        except (AuthenticationError, SyncError):
            raise
        except (
            ConnectorError,
            ValueError,
            TypeError,
        ) as error:  # the last two: a request breaks a rule, and is not sent
            await self._record_out_of_sync(operation)
            hide(error, _texts(operation))
            if concerns_calendar(error) or self._refuses_everything(operation.calendar, error):
                raise
            if isinstance(error, ConnectorError) and not is_permanent(error):
                await self._journal.record_failure(operation.calendar, Failure.of(error, key=operation.key))
                return Fate.RETRYABLE
            await self.give_up(operation, operation.kind.value, type(error).__name__, reason_of(error), cause=error)
            return Fate.REFUSED
        if fate is not Fate.CONFLICT:
            self._forbidden.pop(operation.calendar, None)
        return fate

    async def _execute(self, service: AppointmentService, operation: Operation) -> Fate:
        match operation.kind:
            case Kind.CREATE:
                return await self._create(service, operation)
            case Kind.UPDATE:
                return await self._update(service, operation)
            case Kind.DELETE:
                return await self._delete(service, operation)
            case _:
                await self._record_out_of_sync(operation)
                await self.give_up(operation, "conflict", "Conflict", operation.reason)
                return Fate.CONFLICT

    def _refuses_everything(self, calendar: Calendar, error: Exception) -> bool:
        """Count an error, and return whether a calendar seems to forbid every write: several in a row were forbidden.

        The first ones are taken for refusals of their records.
        """
        if not isinstance(error, ForbiddenError):
            return False
        self._forbidden[calendar] += 1
        return self._forbidden[calendar] >= _FORBIDDEN_IN_A_ROW

    async def give_up(
        self, operation: Operation, name: str, error: str, reason: str, *, cause: Exception | None = None
    ) -> None:
        """Record a dead letter.

        Args:
            operation: The operation.
            name: What the operation would have done.
            error: The name of the error's class.
            reason: What the error says.
            cause: The error, if there is one; its status and request id are recorded as well.
        """
        letter = DeadLetter(
            key=operation.key,
            operation=name,
            error=error,
            reason=reason,
            content_hash=operation.local,
            status=getattr(cause, "status", None),
            request_id=getattr(cause, "request_id", None),
        )
        await self._journal.record_dead_letters([(operation.calendar, letter)])

    async def _create(self, service: AppointmentService, operation: Operation) -> Fate:
        new = _content(operation, service)

        sent_at = 0.0

        async def record() -> None:
            nonlocal sent_at
            pending = self._pending_create(operation, new)
            sent_at = pending.sent_at
            await self._journal.record_pending_create(operation.calendar, pending)
            self._resolver.sent(operation.calendar, operation.key)

        recording = _Recording(record, self._clock)
        try:
            with before_each_write(recording), containing_errors():
                created = await service.create(new)
        except SyncError:
            raise
        except ConnectorError as error:
            is_unknown = isinstance(error, OutcomeUnknownError) or (isinstance(error, DecodingError) and error.sent)
            if is_unknown or (isinstance(error, ApplicationError) and recording.has_started):
                # Pending until a preview shows what became of it. The server may have got the request only now.
                self._resolver.sent(operation.calendar, operation.key)
                hide(error, _texts(operation))
                await self._journal.record_failure(operation.calendar, Failure.of(error, key=operation.key))
                return Fate.UNKNOWN
            if recording.has_started:  # and the create has not happened
                await self._journal.drop_pending_creates(operation.calendar, [operation.key])
                self._resolver.resolved(operation.calendar, operation.key)
            raise
        pair = written_pair(operation, created.appointment_id, created, self._clock.time())
        try:
            is_own = await self._journal.record_written(operation.calendar, pair)
        except FencedError:
            # This process was stopped between the check of its lease and the response. Unless the other one finds the
            # appointment, it sends the create as well.
            if not await self._journal.has_appointment(operation.calendar, created.appointment_id):
                self._on_unrecorded(
                    UnrecordedCreate(
                        calendar=operation.calendar,
                        key=operation.key,
                        appointment_id=created.appointment_id,
                        sent_at=sent_at,
                    )
                )
            raise
        self._resolver.resolved(operation.calendar, operation.key)
        if not is_own:
            await self.give_up(operation, "create", "SharedId", _SHARED_ID)
            return Fate.REFUSED
        usable_id(created.appointment_id)  # only now: an appointment that is recorded is not created again
        return Fate.CREATED

    async def _update(self, service: AppointmentService, operation: Operation) -> Fate:
        new, appointment_id = _content(operation, service), usable_id(operation.appointment_id)
        description = _description(operation, new)
        updated: Appointment | None
        recording = self._recording_pending(operation)
        try:
            with before_each_write(recording), containing_errors():
                updated = await service.update(
                    appointment_id,
                    title=new.title,
                    start_time=new.start_time,
                    end_time=new.end_time,
                    description=description,
                    description_type=UNSET if description is UNSET else new.description_type,
                    time_zone=new.time_zone,
                    read_first=self._settings.read_first,
                )
        except SyncError:
            raise
        except DecodingError as error:
            if not error.sent:
                raise
            updated = None  # it was updated, and the response is malformed
        except NotFoundError:
            may_be_deleted_by_us = ABSENT in operation.pending
            if self._options.rules.policy is not Policy.LOCAL and not may_be_deleted_by_us:
                raise  # it stays recorded as pending, so that it is out of sync when the source reverts the change
            return await self._create(service, operation)
        except ConnectorError as error:
            if recording.has_started:
                await self._record_not_sent(operation, error)
            raise
        # An id that differs in case alone is the same id.
        is_same_id = updated is None or updated.appointment_id.casefold() == appointment_id.casefold()
        new_id = appointment_id if updated is None or is_same_id else updated.appointment_id
        pair = written_pair(operation, new_id, updated, self._clock.time())
        replaced_id = None if is_same_id else appointment_id
        if not await self._journal.record_written(operation.calendar, pair, replaced_id=replaced_id):
            await self.give_up(operation, "update", "SharedId", _SHARED_ID)
            return Fate.REFUSED
        usable_id(new_id)  # only now: what is recorded is not created again
        return Fate.UPDATED

    async def _delete(self, service: AppointmentService, operation: Operation) -> Fate:
        appointment_id = usable_id(operation.appointment_id)
        if await self._journal.release_shared(operation.calendar, operation.key, appointment_id):
            return Fate.UNCHANGED  # it stays, for the other record
        recording = self._recording_pending(operation)
        try:
            # Not found: someone else has deleted it.
            with before_each_write(recording), contextlib.suppress(NotFoundError), containing_errors():
                await service.delete(appointment_id)
        except SyncError:
            raise
        except ConnectorError as error:
            if recording.has_started:
                await self._record_not_sent(operation, error)
            raise
        await self._journal.record_deleted(operation.calendar, [operation.key])
        return Fate.DELETED

    def _recording_pending(self, operation: Operation) -> "_Recording":
        return _Recording(lambda: self._record_pending(operation), self._clock)

    async def _record_pending(self, operation: Operation) -> None:
        """Record that an update or a delete is about to be sent."""
        hashes = operation.pending
        known: dict[str, str | None] = {}
        if operation.remote in hashes:
            # An earlier write is seen to have taken effect. Whatever comes next, that is what was last synced.
            known = {"local_hash": operation.remote, "remote_hash": operation.remote, "summary_hash": None}
        await self._journal.record_pending_change(
            operation.calendar, operation.key, {*hashes, operation.local}, **known
        )

    async def _record_out_of_sync(self, operation: Operation) -> None:
        """Record what is still to be sent where only a look at the server has shown the difference."""
        base = operation.base
        if base is not None and operation.remote is not None and operation.local == base.local:
            hashes = base.pending | {operation.local}
            await self._journal.record_pending_change(operation.calendar, operation.key, hashes)

    async def _record_not_sent(self, operation: Operation, error: ConnectorError) -> None:
        """Record that an update or a delete has not happened, if the error says so."""
        # An error after several attempts describes the last one alone.
        if error.attempts == 1 and not may_have_happened(error):
            await self._journal.record_pending_change(operation.calendar, operation.key, operation.pending)

    def _pending_create(self, operation: Operation, new: NewAppointment) -> PendingCreate:
        return PendingCreate(
            key=operation.key,
            content_hash=operation.local,
            summary_hash=summary_hash(new),
            start_time=operation.start_time,
            end_time=operation.end_time,
            sent_at=self._clock.time(),
        )


@attrs.define
class _Recording:
    """Records in the state that a request is about to be sent; for `before_each_write`.

    A process that was stopped, and wakes up when another run has taken over its state, sends nothing: the record fails.
    """

    _record: Callable[[], Awaitable[None]]
    """Writes the record, with the current time."""
    _clock: Clock
    has_started: bool = False
    """Whether there may be a record."""

    async def __call__(self) -> None:
        """Write the record, once more if it is old before the request can be sent.

        Raises:
            FencedError: If another run has taken over.
            StateError: If the state cannot be written, or takes too long each time.
        """
        self.has_started = True
        for _ in range(_MAX_RECORDS):
            before = self._clock.monotonic(), self._clock.time()
            await self._record()
            # A clock that stands still while the machine sleeps shows nothing; the other one may jump.
            delays = self._clock.monotonic() - before[0], abs(self._clock.time() - before[1])
            if max(delays) <= _MAX_DELAY:
                return
        raise StateError(f"the state took longer than {_MAX_DELAY:g} s for a write, {_MAX_RECORDS} times in a row")


def _description(operation: Operation, new: NewAppointment) -> str | Unset:
    """Return the description to send with an update.

    A description that the source has removed is removed on the server. If the source had none before, the server may
    have one that previews omit, and keeps it.
    """
    if isinstance(new.description, str):
        return new.description
    base, shown = operation.base, operation.appointment
    if base is not None:
        return UNSET if base.local == base.summary_hash else ""
    return UNSET if shown is not None and shown.description is None else ""


def _texts(operation: Operation) -> list[str]:
    """Return the texts of the record, which are personal data."""
    row = orjson.loads(operation.body or b"{}")
    return [text for name in ("title", "description") if isinstance(text := row.get(name), str)]


def _content(operation: Operation, service: AppointmentService) -> NewAppointment:
    """Return what to send, as the wire format carries it."""
    return as_carried(appointment_from_row(orjson.loads(operation.body or b"{}")), service.session.wire_format)
