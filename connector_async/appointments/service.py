"""`AppointmentService`: the operations on appointments as coroutines, with their policies and deadlines.

What is sent, and what an answer means, stands in `attempts`.
"""

import functools
import math
from collections.abc import Awaitable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from connector_async._checks import check_appointment_id, check_time_range, check_type
from connector_async._clock import SINGLE_CALL_DEADLINE
from connector_async.models import UNSET, Appointment, AppointmentUpdate, DirectoryUser, NewAppointment, Unset
from connector_async.pagination import AsyncPager, AutoDetectPaging, Page, PagingStyle
from connector_async.rate_limit import Priority, priority
from connector_async.retry import Attempt, Operation, RetryingCaller, RetryPolicy
from connector_async.session import ConnectorSession

from .arguments import OnInvalid, check_alone, check_on_invalid, check_paging, checked_deadline, checked_policy
from .attempts import Attempts
from .bulk_operations import ManyAppointments
from .verification import Verify, bind_verify
from .windows import WindowedPager

T = TypeVar("T")

_GET: Final = Operation("get", idempotent=True)
_CREATE: Final = Operation("create", idempotent=False)
_UPDATE: Final = Operation("update", idempotent=True)
_DELETE: Final = Operation("delete", idempotent=True)
_PREVIEW_PAGE: Final = Operation("preview", idempotent=True)

_DEFAULT_POLICY: Final = RetryPolicy()
_RECOGNIZED: Final = AutoDetectPaging()


class AppointmentService(ManyAppointments):
    """The appointments of a session's tenant.

    Each coroutine raises an error of the `ConnectorError` tree for whatever the network or the server does, with the
    attempts and the seconds it took, and `ValueError` or `TypeError` for a bad argument before anything is sent. What
    a call that succeeded took is in `last_call`.

    Each coroutine, and `preview` for each page, takes `retry`, the policy of that call, and `deadline`, the seconds it
    may take over its attempts and every wait; `None` is the service's, and `math.inf` no deadline. Where nothing names
    one, a single call has 60 seconds, and the calls of `bulk`, of the `*_many` operations and of the sync have none.

    Args:
        session: Sends the requests; it is not closed with the service, which has nothing to close.
        user: Whose appointments are meant; `WireFormat.REFERENCE` needs one, `WireFormat.GUIDE` carries none.
        paging: How the server pages its preview. Unless told, an array and the common envelopes are recognized.
        retry: When to try again; `None`: `RetryPolicy()`, three attempts.
        deadline: Seconds for each call; `None`: the session's, `math.inf`: none.

    Raises:
        ValueError: `user` is missing or too much for the session's wire format, or `deadline` is not above zero.
        TypeError: An argument is of another type.
    """

    def __init__(
        self,
        session: ConnectorSession,
        *,
        user: DirectoryUser | None = None,
        paging: PagingStyle = _RECOGNIZED,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> None:
        check_type("session", session, ConnectorSession)
        check_paging(paging)
        if user is not None and not isinstance(user, DirectoryUser):
            raise TypeError(f"user must be a DirectoryUser or None, not {type(user).__name__}")
        self.session = session
        """What sends the requests."""
        self.user = user
        """Whose appointments are meant; `None` where the wire format carries no user."""
        self.paging = paging
        """How the server pages its preview."""
        self.retry = _DEFAULT_POLICY if retry is None else checked_policy(retry)
        """When a call is tried again."""
        self.deadline = session.deadline if deadline is None else checked_deadline(deadline)
        """Seconds for each call; `None`: 60 for a single call, none for a bulk call; `math.inf`: none."""
        self._attempts = Attempts(session, user)
        self._caller = RetryingCaller(
            tenant=session.tenant_id,
            clock=session.clock,
            quota=session.retry_quota,
            throttle=session.penalize,
            sleep=session.sleep,
            is_closed=lambda: session.closed,
        )

    def __repr__(self) -> str:
        return f"AppointmentService({self.session!r})"

    async def sleep(self, seconds: float) -> None:
        """Wait by the session's clock; for a `verify` of the caller's own.

        Raises:
            RuntimeError: The session was closed meanwhile.
        """
        await self.session.sleep(seconds)

    def with_options(self, *, retry: RetryPolicy | None = None, deadline: float | None = None) -> "AppointmentService":
        """Return a service over the same session and for the same user, with a policy or a deadline of its own.

        Args:
            retry: When to try again; `None`: as this one.
            deadline: Seconds for each call; `None`: as this one, `math.inf`: none.

        Raises:
            ValueError: `deadline` is not above zero.
            TypeError: An argument is of another type.
        """
        return AppointmentService(
            self.session,
            user=self.user,
            paging=self.paging,
            retry=self.retry if retry is None else retry,
            deadline=self.deadline if deadline is None else deadline,
        )

    async def get(
        self, appointment_id: str, *, retry: RetryPolicy | None = None, deadline: float | None = None
    ) -> Appointment:
        """Return one appointment.

        Raises:
            NotFoundError: There is none with that id.
            DeadlineExceededError: The deadline came first.
            DecodingError: The answer is no appointment.
            ConnectorError: Any other failure; see the tree in `connector_async.exceptions`.
            ValueError: `appointment_id` is empty, `.`, `..`, or not printable.
        """
        return await self._call(_GET, self._attempts.get(check_appointment_id(appointment_id)), retry, deadline)

    async def create(
        self,
        new: NewAppointment,
        *,
        verify: Verify | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> Appointment:
        """Create an appointment and return it with its id: what the answer leaves out is taken from `new`.

        It is sent again only when it cannot have happened: it never left, or was refused with 429, or with 503 and
        `Retry-After`. When nothing tells whether it happened, `verify` is asked; if it finds the appointment, that is
        returned, and if not, the create is sent again as the policy says. When it raises, the outcome stays unknown;
        what is no `ConnectorError` is logged.

        Args:
            new: What to create.
            verify: Looks whether a create whose answer was lost has happened, such as `found_by_preview()`. `None`:
                such a create ends in `OutcomeUnknownError`.
            retry: The policy; `None`: the service's.
            deadline: Seconds; `None`: the service's.

        Raises:
            OutcomeUnknownError: It was sent, and nothing tells whether it happened: the answer was lost, late or cut,
                or a status that does not refuse. Those that do are 4xx, 501, 307, 308, and 503 with `Retry-After`.
            DeadlineExceededError: The deadline came first, and nothing was created.
            InvalidRequestError: The server refuses it.
            DecodingError: It was created, and the answer has no id or is malformed. When `sent` is `False`, it was not:
                the answer to the token's request was.
            ConnectorError: Any other failure, after which nothing was created.
            ValueError: The wire format does not carry a field that is set.
            TypeError: `new` is no `NewAppointment`; or `verify` cannot be called, or is a class and no instance.
        """
        policy = self.retry if retry is None else checked_policy(retry)
        try:
            check_type("new", new, NewAppointment)
            attempt = self._attempts.create(
                new, bind_verify(self, verify, new), unavailable_means_refused=policy.unavailable_means_refused
            )
        except (TypeError, ValueError) as error:
            error.__traceback__ = None  # its frames hold the fields
            raise
        return await self._call(_CREATE, attempt, policy, deadline)

    async def update(
        self,
        appointment_id: str,
        *,
        title: str | Unset = UNSET,
        start_time: datetime | Unset = UNSET,
        end_time: datetime | Unset = UNSET,
        description: str | Unset | None = UNSET,
        description_type: str | Unset = UNSET,
        time_zone: str | Unset = UNSET,
        extra: Mapping[str, Any] | None = None,
        read_first: bool = False,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> Appointment | None:
        """Change the given fields of an appointment, and send no others, but for the type of a text.

        The fields are those of `AppointmentUpdate`. With `read_first` the appointment is got first, and what it has is
        sent along with the given fields, unknown fields included and as the server wrote it: for servers whose PUT
        replaces the whole (contract, open point 9). What others change in between is overwritten. Each attempt then
        reads anew.

        Returns:
            The appointment as the server then has it; `None` when its answer holds none.

        Raises:
            NotFoundError: There is none with that id.
            DeadlineExceededError: The deadline came first.
            InvalidRequestError: The server refuses the change.
            DecodingError: It was changed, and the answer is malformed. When `sent` is `False`, it was not: another
                answer that was needed first was.
            ConnectorError: Any other failure; see the tree in `connector_async.exceptions`.
            ValueError: Nothing is given, or a value breaks a rule of `AppointmentUpdate`.
        """
        try:
            update = AppointmentUpdate(
                appointment_id=check_appointment_id(appointment_id),
                title=title,
                start_time=start_time,
                end_time=end_time,
                description=description,
                description_type=description_type,
                time_zone=time_zone,
                **({} if extra is None else {"extra": extra}),
            )
        except (TypeError, ValueError) as error:
            error.__traceback__ = None  # its frames hold the fields
            raise
        finally:
            del title, description, extra  # this frame is in the traceback of whatever comes later
        return await self._apply(update, read_first=read_first, retry=retry, deadline=deadline)

    async def delete(
        self, appointment_id: str, *, retry: RetryPolicy | None = None, deadline: float | None = None
    ) -> None:
        """Delete an appointment. One that is not there any more after an answer was lost counts as deleted.

        Raises:
            NotFoundError: There is none with that id.
            DeadlineExceededError: The deadline came first.
            ConnectorError: Any other failure; see the tree in `connector_async.exceptions`.
            ValueError: `appointment_id` is empty, `.`, `..`, or not printable.
        """
        await self._call(_DELETE, self._attempts.delete(check_appointment_id(appointment_id)), retry, deadline)

    def preview(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        window: timedelta | None = None,
        concurrency: int = 1,
        prefetch: int = 0,
        on_invalid: OnInvalid = "raise",
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> AsyncPager[Appointment]:
        """Return the tenant's appointments that overlap the time from `start` (included) to `end` (excluded).

        The guide's preview takes no parameters: the server sends all, and what overlaps is kept here. The reference's
        takes both ends.

        Args:
            start: Aware; `None`: from the beginning of time, with `WireFormat.GUIDE` alone.
            end: Aware, not before `start`; `None`: to its end, with `WireFormat.GUIDE` alone.
            window: How long a time is asked for at once; each is a page, and what two of them show is in the first.
                `None`: the whole. `WireFormat.GUIDE` asks for no time, and takes none.
            concurrency: How many windows are fetched at a time; with more than one, as many again wait for the caller.
            prefetch: How many pages are fetched while the caller works on one: 0 or 1.
            on_invalid: What becomes of a page with an item that is not a valid appointment: `"raise"` raises
                `DecodingError`; `"skip"` leaves the item out, logs how many were, and reports them in `Page.problems`
                and `Page.skipped`.
            retry: The policy for each page; `None`: the service's.
            deadline: Seconds for each page; `None`: the service's.

        Returns:
            A pager that sends nothing before its first item is asked for. It raises what `get` raises.

        Raises:
            ValueError: A date-time is naive, `end` is before `start`, the wire format needs the one that is `None`,
                `window` is not above zero or not for the wire format, `concurrency` is not 1 without one, or
                `on_invalid` is neither of the two.
            TypeError: An argument is of another type.
        """
        start, end = check_time_range(start, end)
        check_on_invalid(on_invalid)
        service = self.with_options(retry=retry, deadline=deadline)
        self.session.wire_format.preview_query(self.user, start, end)  # refuses what the first page would

        def pager(start: datetime | None, end: datetime | None) -> AsyncPager[Appointment]:
            return AsyncPager(functools.partial(service._fetch, start, end, on_invalid), prefetch=prefetch)  # noqa: SLF001

        whole = pager(start, end)  # refuses what the one of the first window would
        if window is None:
            check_alone(concurrency)
            return whole
        if not self.session.wire_format.carries_user:
            raise ValueError(f"window must be None: {self.session.wire_format} asks the server for no time")
        return WindowedPager(pager, start=start, end=end, window=window, concurrency=concurrency)

    def _fetch(
        self, start: datetime | None, end: datetime | None, on_invalid: OnInvalid, token: str | None
    ) -> Awaitable[Page[Appointment]]:
        attempt = self._attempts.preview(start, end, self.paging, token, on_invalid=on_invalid)
        return self._call(_PREVIEW_PAGE, attempt, None, None)

    async def _apply(
        self, update: AppointmentUpdate, *, read_first: bool, retry: RetryPolicy | None, deadline: float | None
    ) -> Appointment | None:
        try:
            check_type("update", update, AppointmentUpdate)
            attempt = self._attempts.update(update, read_first=read_first)
        except (TypeError, ValueError) as error:
            error.__traceback__ = None  # its frames hold the fields
            raise
        return await self._call(_UPDATE, attempt, retry, deadline)

    def _call(
        self, operation: Operation, attempt: Attempt[T], retry: RetryPolicy | None, seconds: float | None
    ) -> Awaitable[T]:
        policy = self.retry if retry is None else checked_policy(retry)
        seconds = self.deadline if seconds is None else checked_deadline(seconds)
        if seconds is None and priority.get() is not Priority.BULK:
            seconds = SINGLE_CALL_DEADLINE
        return self._caller.call(operation, attempt, policy, None if seconds == math.inf else seconds)
