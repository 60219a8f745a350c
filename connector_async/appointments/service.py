"""`AppointmentService`: the operations on appointments as coroutines, with their policies and deadlines.

`calls` and `listing` have the requests and the meaning of their responses.
"""

import functools
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from connector_async._checks import check_appointment_id, check_int, check_iterable, check_time_range, check_type
from connector_async._tracebacks import hiding_arguments
from connector_async.exceptions import AuthenticationError, ConnectorError, InvalidArgumentError
from connector_async.models import UNSET, Appointment, AppointmentUpdate, DirectoryUser, NewAppointment, Unset
from connector_async.pagination import AsyncPager, PagingStyle
from connector_async.retry import RetryPolicy
from connector_async.session import ConnectorSession

from .calls import CreateCall, DeleteCall, GetCall, UpdateCall
from .context import CallContext
from .endpoint_service import AUTO_DETECT, EndpointService, check_on_invalid, check_options, check_paging
from .listing import OnInvalid, preview_listing
from .verification import Verify, bind_verify, check_verify

if TYPE_CHECKING:
    from connector_async.bulk_calls import Bulk

    from .raw_response import RawResponses
    from .watch import Watch

In = TypeVar("In")
Out = TypeVar("Out")

_CONCURRENCY: Final = 16


class AppointmentService(EndpointService):
    """The appointments of a session's tenant.

    Each coroutine raises an error of the `ConnectorError` tree for a failure of the network or the server, with the
    attempts and the seconds that it took, and `ValueError` or `TypeError` for an invalid argument before anything is
    sent. After a success, `last_call` has the attempts and the seconds.

    Each coroutine, and `preview` for each page, takes `retry`, the policy of that call, and `deadline`, its seconds
    with all attempts and waits included. `None` means the service's, and `math.inf` no deadline. Where no deadline is
    set, a single call has 60 seconds, and the calls of `bulk`, of the `*_many` methods and of the sync have none.
    `headers` are sent with the requests of that call, in addition to the service's. They replace those of the same
    names.

    Each `*_many` method returns a `Bulk`, an async iterable with one `Outcome` for each input. Nothing is sent before
    the first outcome is asked for. An invalid argument is raised at once; an invalid input is reported in its outcome.
    Rejected credentials end the whole bulk, since all inputs are of one tenant: the remaining inputs are `NOT_STARTED`.
    A high concurrency is no faster under a rate limit.

    Args:
        session: Sends the requests. It is not closed with the service, which has nothing to close.
        user: The owner of the appointments. `WireFormat.REFERENCE` needs one, `WireFormat.GUIDE` has none.
        paging: How the server pages its preview. By default an array and the common envelopes are recognized.
        retry: When to retry; `None`: `RetryPolicy()`, three attempts.
        deadline: Seconds for each call; `None`: the session's, `math.inf`: none.
        headers: Extra headers of each request, such as a gateway's key. They replace the session's of the same names.

    Raises:
        ValueError: If `user` is missing, or the session's wire format does not carry it, `deadline` is not above zero,
            or `headers` has a name that the SDK sets itself, or what no header can carry.
        TypeError: If an argument has another type.
    """

    @hiding_arguments  # a header may be a key
    def __init__(
        self,
        session: ConnectorSession,
        *,
        user: DirectoryUser | None = None,
        paging: PagingStyle = AUTO_DETECT,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        check_paging(paging)
        check_type("user", user, DirectoryUser, optional=True)
        super().__init__(session, user, retry=retry, deadline=deadline, headers=headers)
        self.user = user
        """The owner of the appointments; `None` if the wire format has no user."""
        self.paging = paging
        """How the server pages its preview."""

    def __repr__(self) -> str:
        return f"AppointmentService({self.session!r})"

    @property
    def with_raw_response(self) -> "RawResponses":
        """`get`, `create`, `update` and `delete`, with the status and the headers of the response beside the result."""
        from .raw_response import RawResponses  # noqa: PLC0415 - see `connector_async.appointments`

        return RawResponses(self)

    @hiding_arguments
    def with_options(
        self,
        *,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> "AppointmentService":
        """Return a service over the same session and for the same user, with another policy, deadline or headers.

        Args:
            retry: When to retry; `None`: as this service.
            deadline: Seconds for each call; `None`: as this service, `math.inf`: none.
            headers: Extra headers of each request, in addition to this service's. They replace those of the same names.

        Raises:
            ValueError: If `deadline` is not above zero, or `headers` breaks a rule of the constructor.
            TypeError: If an argument has another type.
        """
        context = self._context if headers is None else self._context.with_headers(headers)
        return AppointmentService(
            self.session,
            user=self.user,
            paging=self.paging,
            retry=self.retry if retry is None else retry,
            deadline=self.deadline if deadline is None else deadline,
            headers=context.headers,
        )

    async def get(
        self,
        appointment_id: str,
        *,
        headers: Mapping[str, str] | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> Appointment:
        """Return one appointment.

        Raises:
            NotFoundError: If no appointment has that id.
            DeadlineExceededError: If the deadline expires first.
            DecodingError: If the response is not an appointment.
            ConnectorError: If the call fails otherwise; see the tree in `connector_async.exceptions`.
            ValueError: If `appointment_id` is empty, `.`, `..`, or not printable.
        """
        try:
            context = self._context if headers is None else self._context.with_headers(headers)
        finally:
            del headers  # every later error has this frame in its traceback
        return await self._make(GetCall(context, check_appointment_id(appointment_id)), retry, deadline)

    async def create(
        self,
        new: NewAppointment,
        *,
        verify: Verify | None = None,
        headers: Mapping[str, str] | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> Appointment:
        """Create an appointment and return it with its id. Fields that the response leaves out are taken from `new`.

        The create is sent again only if it cannot have happened: it was never sent, or was refused with 429, or with
        503 and `Retry-After`. If its outcome is unknown, `verify` is asked. If `verify` finds the appointment, that is
        returned; if not, the create is sent again as the policy says. If `verify` raises, the outcome stays unknown,
        and an error other than `ConnectorError` is logged.

        Args:
            new: The appointment to create.
            verify: Finds out whether a create with an unknown outcome has happened, such as `found_by_preview()`.
                `None`: such a create ends in `OutcomeUnknownError`.
            headers: Extra headers of the requests, those of `verify` included.
            retry: The policy; `None`: the service's.
            deadline: Seconds; `None`: the service's.

        Raises:
            OutcomeUnknownError: If the create was sent and its outcome is unknown: the response was lost, late or cut
                off, or its status does not refuse the create. Those that do are 4xx, 501, 307, 308, and 503 with
                `Retry-After`.
            DeadlineExceededError: If the deadline expires first. Nothing was created.
            InvalidRequestError: If the server refuses the appointment.
            DecodingError: If the appointment was created, and the response has no id or is malformed. If `sent` is
                `False`, the response to the token request was malformed, and nothing was created.
            ConnectorError: If the call fails otherwise. Nothing was created.
            ValueError: If the wire format does not carry a field that is set.
            TypeError: If `new` is not a `NewAppointment`, or `verify` is not callable or is a class.
        """
        check_type("retry", retry, RetryPolicy, optional=True)
        policy = self.retry if retry is None else retry
        try:
            check_type("new", new, NewAppointment)
            service = self if headers is None else self.with_options(headers=headers)
            call = CreateCall(
                service._context,  # noqa: SLF001 - of this class
                new,
                bind_verify(service, verify, new),
                unavailable_means_refused=policy.unavailable_means_refused,
            )
        except (TypeError, ValueError) as error:
            error.__traceback__ = None  # its frames hold the fields
            raise
        finally:
            del headers
        return await self._make(call, policy, deadline)

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
        headers: Mapping[str, str] | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> Appointment | None:
        """Change the given fields of an appointment. Only they are sent, and the type of a given description.

        The fields are those of `AppointmentUpdate`. With `read_first` each attempt first reads the appointment, and
        sends all its fields along, unknown ones included and as the server wrote them. Use it if the server's PUT
        replaces the whole appointment (contract, open point 9). It overwrites changes that others make in between.

        Returns:
            The appointment as the server now has it, or `None` if the response has none.

        Raises:
            NotFoundError: If no appointment has that id.
            DeadlineExceededError: If the deadline expires first.
            InvalidRequestError: If the server refuses the change.
            DecodingError: If the appointment was changed, and the response is malformed. If `sent` is `False`, an
                earlier response was malformed, and nothing was changed.
            ConnectorError: If the call fails otherwise; see the tree in `connector_async.exceptions`.
            ValueError: If no field is given, or a value breaks a rule of `AppointmentUpdate`.
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
            context = self._context if headers is None else self._context.with_headers(headers)
        except (TypeError, ValueError) as error:
            error.__traceback__ = None  # its frames hold the fields
            raise
        finally:
            del title, description, extra, headers  # every later error has this frame in its traceback
        return await self._update(update, context, read_first=read_first, retry=retry, deadline=deadline)

    async def delete(
        self,
        appointment_id: str,
        *,
        headers: Mapping[str, str] | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> None:
        """Delete an appointment. If the response was lost and a retry does not find the appointment, it is deleted.

        Raises:
            NotFoundError: If no appointment has that id.
            DeadlineExceededError: If the deadline expires first.
            ConnectorError: If the call fails otherwise; see the tree in `connector_async.exceptions`.
            ValueError: If `appointment_id` is empty, `.`, `..`, or not printable.
        """
        try:
            context = self._context if headers is None else self._context.with_headers(headers)
        finally:
            del headers
        await self._make(DeleteCall(context, check_appointment_id(appointment_id)), retry, deadline)

    @hiding_arguments
    def preview(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        window: timedelta | None = None,
        concurrency: int = 1,
        prefetch: int = 0,
        on_invalid: OnInvalid = "raise",
        headers: Mapping[str, str] | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> AsyncPager[Appointment]:
        """Return the appointments that overlap the time from `start` (included) to `end` (excluded), page by page.

        The guide's preview takes no parameters: the server sends all appointments, and those that overlap are kept. The
        reference's preview takes both ends.

        Args:
            start: The start, aware. `None`: no start, only with `WireFormat.GUIDE`.
            end: The end, aware, not before `start`. `None`: no end, only with `WireFormat.GUIDE`.
            window: The length of the time range of one request. Each window is a page, and an appointment in two
                windows is in the first one's page. `None`: the whole time. `WireFormat.GUIDE` does not support it.
            concurrency: How many windows are fetched at a time. If more than one, as many pages again are kept ready.
            prefetch: How many pages are fetched while the caller works on one: 0 or 1.
            on_invalid: What to do with an item that is not a valid appointment: `"raise"` raises `DecodingError`;
                `"skip"` leaves the item out, logs how many were, and reports them in `Page.problems` and
                `Page.skipped`.
            headers: Extra headers.
            retry: The policy for each page; `None`: the service's.
            deadline: Seconds for each page; `None`: the service's.

        Returns:
            A pager, which sends nothing before its first item is asked for. It raises the errors of `get`.

        Raises:
            ValueError: If a date-time is naive, `end` is before `start`, the wire format needs an end that is `None`,
                `window` is not above zero or not supported, `concurrency` is not 1 without a window, or `on_invalid` is
                neither of the two.
            TypeError: If an argument has another type.
        """
        start, end = check_time_range(start, end)
        check_on_invalid(on_invalid)
        context = self._context if headers is None else self._context.with_headers(headers)

        def pager(start: datetime | None, end: datetime | None) -> AsyncPager[Appointment]:
            listing = preview_listing(context, start, end, self.paging, on_invalid)
            return self._pager(listing, prefetch, retry, deadline)

        whole = pager(start, end)  # checks its arguments now, not with the first window
        if window is None:
            check_int("concurrency", concurrency)
            if concurrency != 1:
                raise InvalidArgumentError(
                    "concurrency must be 1: only windows are fetched several at a time", argument="concurrency"
                )
            return whole
        if not self.session.wire_format.carries_user:
            raise InvalidArgumentError(
                f"window must be None: {self.session.wire_format} previews have no time range", argument="window"
            )
        from .windows import WindowedPager  # noqa: PLC0415 - see `connector_async.appointments`

        return WindowedPager(pager, start=start, end=end, window=window, concurrency=concurrency)

    def watch(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        interval: float = 60,
        snapshot: str | None = None,
        initial: Literal["known", "created"] = "known",
        on_error: Callable[[ConnectorError], object] | None = None,
        window: timedelta | None = None,
        on_invalid: OnInvalid = "raise",
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> "Watch":
        """Return what changes on the server, for `async for event in appointments.watch(…)`.

        It polls the preview and yields `Created`, `Updated` and `Deleted`, each at least once; see `Watch`. Each
        deletion takes one request more, which makes sure of it.

        Args:
            start: The start of the time range, as in `preview`.
            end: The end of the time range, as in `preview`.
            interval: Seconds from the start of a poll to the start of the next one.
            snapshot: The `snapshot` of an earlier watch of the same range, to deliver what that one has not. `None`:
                the first poll finds out what there is.
            initial: What the appointments of that first poll are: `"known"`, and not delivered, or `"created"`.
            on_error: Is called with each error after which the watch goes on, which is logged as well. What it raises
                ends the loop.
            window: The length of the time range of one request, as in `preview`.
            on_invalid: What to do with a malformed item, as in `preview`. With `"skip"`, an appointment whose item was
                skipped counts as unchanged.
            retry: The policy for each request; `None`: the service's.
            deadline: Seconds for each request; `None`: the service's, or else none.

        Returns:
            A watch, which sends nothing before its first event is asked for.

        Raises:
            ValueError: If `preview` rejects an argument, `interval` is not above zero, `initial` is neither of the two,
                or `snapshot` is not that of a watch of the same server, wire format, tenant, user and range.
            TypeError: If an argument has another type.
        """
        from .watch import Watch, WatchScope  # noqa: PLC0415 - see `connector_async.appointments`

        start, end = check_time_range(start, end)
        return Watch(
            self.preview(start, end, window=window, on_invalid=on_invalid, retry=retry, deadline=deadline),
            functools.partial(self.get, retry=retry, deadline=deadline),
            WatchScope.of(self.session, self.user, start, end),
            interval=interval,
            snapshot=snapshot,
            initial=initial,
            on_error=on_error,
            clock=self.session.clock,
            sleep=self.sleep,
        )

    def get_many(
        self,
        appointment_ids: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int = _CONCURRENCY,
        ordered: bool = False,
        max_errors: int | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> "Bulk[str, Appointment]":
        """Read appointments by their ids.

        Args:
            appointment_ids: The ids, which are taken one by one.
            concurrency: The most calls in flight at a time.
            ordered: Whether outcomes come in the order of their inputs, rather than as calls end.
            max_errors: The number of failed or unknown outcomes after which no more calls are started. `None`: any
                number.
            retry: The policy of each call; `None`: the service's.
            deadline: Seconds for each call; `None`: the service's, `math.inf`: none.

        Returns:
            The outcomes, each with the appointment, or with the error that `get` raised.

        Raises:
            ValueError: If `concurrency`, `max_errors` or `deadline` is not above zero.
            TypeError: If an argument has another type, or `appointment_ids` is a str.
        """
        check_iterable("appointment_ids", appointment_ids)
        check_options(retry, deadline)
        return _make_many(
            functools.partial(self.get, retry=retry, deadline=deadline),
            appointment_ids,
            concurrency=concurrency,
            ordered=ordered,
            max_errors=max_errors,
        )

    def create_many(
        self,
        drafts: Iterable[NewAppointment] | AsyncIterable[NewAppointment],
        *,
        verify: Verify | None = None,
        concurrency: int = _CONCURRENCY,
        ordered: bool = False,
        max_errors: int | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> "Bulk[NewAppointment, Appointment]":
        """Create appointments from drafts, which are taken one by one.

        `verify` is that of `create`; without it a create with an unknown outcome is `UNKNOWN`. The other arguments are
        those of `get_many`.

        Returns:
            The outcomes, each with the appointment and its id, or with the error that `create` raised. After a
            `DecodingError` the outcome is `UNKNOWN`: the appointment was created, and the error has its
            `appointment_id` if the response has one.

        Raises:
            ValueError: If `concurrency`, `max_errors` or `deadline` is not above zero.
            TypeError: If an argument has another type, or `verify` is not callable or is a class.
        """
        check_iterable("drafts", drafts)
        if verify is not None:
            check_verify(verify)
        check_options(retry, deadline)
        return _make_many(
            functools.partial(self.create, verify=verify, retry=retry, deadline=deadline),
            drafts,
            concurrency=concurrency,
            ordered=ordered,
            max_errors=max_errors,
        )

    def update_many(
        self,
        updates: Iterable[AppointmentUpdate] | AsyncIterable[AppointmentUpdate],
        *,
        read_first: bool = False,
        concurrency: int = _CONCURRENCY,
        ordered: bool = False,
        max_errors: int | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> "Bulk[AppointmentUpdate, Appointment | None]":
        """Change appointments. The updates are taken one by one, and two of one appointment may be sent in any order.

        `read_first` is that of `update`. The other arguments are those of `get_many`.

        Returns:
            The outcomes, each with the appointment as the server now has it (`None` if the response has none), or with
            the error that `update` raised.

        Raises:
            ValueError: If `concurrency`, `max_errors` or `deadline` is not above zero.
            TypeError: If an argument has another type.
        """
        check_iterable("updates", updates)
        check_type("read_first", read_first, bool)
        check_options(retry, deadline)
        return _make_many(
            functools.partial(
                self._update, context=self._context, read_first=read_first, retry=retry, deadline=deadline
            ),
            updates,
            concurrency=concurrency,
            ordered=ordered,
            max_errors=max_errors,
        )

    def delete_many(
        self,
        appointment_ids: Iterable[str] | AsyncIterable[str],
        *,
        concurrency: int = _CONCURRENCY,
        ordered: bool = False,
        max_errors: int | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> "Bulk[str, None]":
        """Delete appointments by their ids, which are taken one by one. The arguments are those of `get_many`.

        Returns:
            The outcomes, without a result, or with the error that `delete` raised.

        Raises:
            ValueError: If `concurrency`, `max_errors` or `deadline` is not above zero.
            TypeError: If an argument has another type, or `appointment_ids` is a str.
        """
        check_iterable("appointment_ids", appointment_ids)
        check_options(retry, deadline)
        return _make_many(
            functools.partial(self.delete, retry=retry, deadline=deadline),
            appointment_ids,
            concurrency=concurrency,
            ordered=ordered,
            max_errors=max_errors,
        )

    async def _update(
        self,
        update: AppointmentUpdate,
        context: CallContext,
        *,
        read_first: bool,
        retry: RetryPolicy | None,
        deadline: float | None,
    ) -> Appointment | None:
        try:
            check_type("update", update, AppointmentUpdate)
            call = UpdateCall(context, update, read_first=read_first)
        except (TypeError, ValueError) as error:
            error.__traceback__ = None  # its frames hold the fields
            raise
        return await self._make(call, retry, deadline)


def _make_many(
    call: Callable[[In], Awaitable[Out]],
    inputs: Iterable[In] | AsyncIterable[In],
    *,
    concurrency: int,
    ordered: bool,
    max_errors: int | None,
) -> "Bulk[In, Out]":
    """Return the outcomes of a call for each input. All are of one tenant: rejected credentials end the bulk."""
    from connector_async.bulk_calls import bulk  # noqa: PLC0415 - see `connector_async.appointments`

    return bulk(
        call, inputs, concurrency=concurrency, ordered=ordered, max_errors=max_errors, ends_on=AuthenticationError
    )
