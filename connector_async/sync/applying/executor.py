"""Doing one operation: what is sent, what is written down before and after, and what became of it."""

import contextlib
from collections.abc import Callable
from typing import Final

import orjson

from connector_async.appointments import AppointmentService
from connector_async.exceptions import (
    AuthenticationError,
    ConflictError,
    ConnectorError,
    DecodingError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    OutcomeUnknownError,
    ResponseError,
)
from connector_async.models import UNSET, Appointment, NewAppointment
from connector_async.retry import may_have_happened
from connector_async.sync.planning.operations import Kind, Operation
from connector_async.sync.planning.three_way import Policy
from connector_async.sync.records import ABSENT, as_carried, content_hash, record_from_row, usable_id
from connector_async.sync.report import Fate
from connector_async.sync.state.journal import DeadLetter, Journal, SyncedPair
from connector_async.sync.state.reader import PendingCreate

# What the same request will get again, whenever it is sent.
_REFUSALS: Final = (InvalidRequestError, ForbiddenError, ConflictError, NotFoundError)


class OperationExecutor:
    """Does operations of one run.

    Args:
        ledger: Where it is written down.
        clock_time: Returns the seconds since 1970 in UTC.
        policy: Who wins when what is to be updated is not there any more.
        read_first: Whether an update reads the appointment first, for servers whose PUT replaces the whole.
        intended: Is told of each create, just before it is sent.
    """

    def __init__(
        self,
        ledger: Journal,
        clock_time: Callable[[], float],
        *,
        policy: Policy,
        read_first: bool,
        intended: Callable[[Operation], None],
    ) -> None:
        self._ledger = ledger
        self._time = clock_time
        self._policy = policy
        self._read_first = read_first
        self._intended = intended

    async def perform(self, service: AppointmentService, operation: Operation) -> Fate:
        """Do one operation that sends something, and tell what became of it.

        Raises:
            AuthenticationError: The credentials were rejected.
            StateError: It could not be written down.
        """
        try:
            match operation.kind:
                case Kind.CREATE:
                    return await self._create(service, operation)
                case Kind.UPDATE:
                    return await self._update(service, operation)
                case Kind.DELETE:
                    return await self._delete(service, operation)
                case _:
                    await self._note_out_of_step(operation)
                    await self.refuse(operation, "conflict", "Conflict", operation.reason)
                    return Fate.CONFLICT
        except AuthenticationError:
            raise
        except ConnectorError as error:
            await self._note_out_of_step(operation)
            if not _is_refusal(error):
                return Fate.RETRYABLE
            await self.refuse(operation, operation.kind.value, type(error).__name__, str(error), error)
            return Fate.REFUSED
        except (ValueError, TypeError) as error:  # what breaks a rule of a request, before it is sent
            await self._note_out_of_step(operation)
            await self.refuse(operation, operation.kind.value, type(error).__name__, str(error))
            return Fate.REFUSED

    async def _create(self, service: AppointmentService, operation: Operation) -> Fate:
        new = _new(operation, service)
        await self._ledger.record_pending_create(operation.calendar, self._intent(operation, new))
        self._intended(operation)
        try:
            created = await service.create(new)
        except (OutcomeUnknownError, DecodingError):
            return Fate.UNKNOWN  # the intent stays open, until a preview tells
        except ConnectorError:
            await self._ledger.drop_pending_creates(operation.calendar, [operation.key])  # it has not happened
            raise
        await self._ledger.record_synced(operation.calendar, [_in_step(operation, created)])
        usable_id(created.appointment_id)  # it is known from now on, so that it is not created again
        return Fate.CREATED

    async def _update(self, service: AppointmentService, operation: Operation) -> Fate:
        new, appointment_id = _new(operation, service), usable_id(operation.appointment_id)
        changed: Appointment | None
        await self._pend(operation)
        try:
            changed = await service.update(
                appointment_id,
                title=new.title,
                start_time=new.start_time,
                end_time=new.end_time,
                # What the source does not have any more, the server is not to have either.
                description="" if new.description is UNSET else new.description or "",
                description_type=new.description_type,
                time_zone=new.time_zone,
                read_first=self._read_first,
            )
        except DecodingError as error:
            if not error.sent:
                raise
            changed = None  # it was changed, and its answer is malformed
        except NotFoundError:
            may_be_deleted = ABSENT in _pending(operation)
            if self._policy is not Policy.LOCAL and not may_be_deleted:
                raise  # the change stays noted, so that it is not taken for in step when the source takes it back
            return await self._create(service, operation)
        except ConnectorError as error:
            await self._take_back(operation, error)
            raise
        await self._ledger.record_synced(operation.calendar, [_in_step(operation, changed)])
        return Fate.UPDATED

    async def _delete(self, service: AppointmentService, operation: Operation) -> Fate:
        appointment_id = usable_id(operation.appointment_id)
        await self._pend(operation)
        try:
            with contextlib.suppress(NotFoundError):  # somebody else was faster
                await service.delete(appointment_id)
        except ConnectorError as error:
            await self._take_back(operation, error)
            raise
        await self._ledger.record_deleted(operation.calendar, [operation.key])
        return Fate.DELETED

    async def _pend(self, operation: Operation) -> None:
        """Note that a change or a delete is about to be sent."""
        hashes = _pending(operation)
        known = {}
        if operation.remote in hashes:
            # An earlier one is seen to have happened: whatever comes next, it is what was last in step.
            known = {"local_hash": operation.remote, "remote_hash": operation.remote}
        await self._ledger.record_pending_change(operation.calendar, operation.key, {*hashes, operation.local}, **known)

    async def _note_out_of_step(self, operation: Operation) -> None:
        """Note that what the source has is still to be sent, where only a look at the server has told so."""
        base = operation.base
        if base is not None and operation.remote is not None and operation.local == base.local:
            hashes = base.pending | {operation.local}
            await self._ledger.record_pending_change(operation.calendar, operation.key, hashes)

    async def _take_back(self, operation: Operation, error: ConnectorError) -> None:
        """Note that a change or a delete has not happened, if the error says so."""
        # Of several attempts the error tells of the last one alone.
        if error.attempts == 1 and not may_have_happened(error):
            await self._ledger.record_pending_change(operation.calendar, operation.key, _pending(operation))

    def _intent(self, operation: Operation, new: NewAppointment) -> PendingCreate:
        bare = NewAppointment(title=new.title, start_time=new.start_time, end_time=new.end_time)
        return PendingCreate(
            key=operation.key,
            content_hash=operation.local,
            summary_hash=content_hash(bare),
            start_time=operation.start_time,
            end_time=operation.end_time,
            sent_at=self._time(),
        )

    async def refuse(
        self, operation: Operation, name: str, error: str, reason: str, cause: ConnectorError | None = None
    ) -> None:
        """Write a dead letter of an operation: what it would have done, the class of its error, and what that says."""
        letter = DeadLetter(
            key=operation.key,
            operation=name,
            error=error,
            reason=reason,
            content_hash=operation.local,
            status=getattr(cause, "status", None),
            request_id=getattr(cause, "request_id", None),
        )
        await self._ledger.record_dead_letters([(operation.calendar, letter)])


def _pending(operation: Operation) -> frozenset[str]:
    return frozenset() if operation.base is None else operation.base.pending


def agreed(operation: Operation) -> SyncedPair:
    """Return what is written down of an operation that sends nothing."""
    return SyncedPair(
        key=operation.key,
        appointment_id=operation.appointment_id or "",
        local_hash=operation.local,
        remote_hash=seen_of(operation),
        start_time=operation.start_time,
        end_time=operation.end_time,
    )


def seen_of(operation: Operation) -> str | None:
    """Return the hash of what the server has, or of what it had when it was last looked at."""
    if operation.remote is None and operation.base is not None:
        return operation.base.remote
    return operation.remote


def _new(operation: Operation, service: AppointmentService) -> NewAppointment:
    record = record_from_row(orjson.loads(operation.body or b"{}"))
    return as_carried(record.appointment, service.session.wire_format)


def _in_step(operation: Operation, answer: Appointment | None) -> SyncedPair:
    return SyncedPair(
        key=operation.key,
        appointment_id=(operation.appointment_id or "") if answer is None else answer.appointment_id,
        local_hash=operation.local,
        # A server may write what it is sent in its own way: without an answer that is not known.
        remote_hash=None if answer is None else content_hash(answer),
        start_time=operation.start_time,
        end_time=operation.end_time,
    )


def _is_refusal(error: ConnectorError) -> bool:
    """Tell what the same request will get again from what may pass."""
    return isinstance(error, _REFUSALS) or (isinstance(error, ResponseError) and error.status in {501, 505})
