"""`EndpointService`: requests to any endpoint below the tenant, and the way that all calls of a service are made."""

import functools
import math
from collections.abc import Awaitable, Mapping
from typing import Any, Final, TypeVar, get_args

from connector_async._checks import check_parameters, check_plain_methods, check_seconds, check_type
from connector_async._clock import SINGLE_CALL_DEADLINE
from connector_async._tracebacks import hiding_arguments
from connector_async.exceptions import InvalidArgumentError
from connector_async.models import DirectoryUser
from connector_async.pagination import AsyncPager, AutoDetectPaging, Page, PagingStyle
from connector_async.protocol import Response
from connector_async.rate_limit import Priority, priority
from connector_async.retry import Call, RetryingCaller, RetryPolicy
from connector_async.session import ConnectorSession
from connector_async.session.telemetry import watching_call

from .context import CallContext, Endpoint
from .listing import Listing, OnInvalid, PageCall
from .request_call import RequestCall

T = TypeVar("T")

_DEFAULT_POLICY: Final = RetryPolicy()
AUTO_DETECT: Final = AutoDetectPaging()


class EndpointService:
    """Requests of a session's tenant, with a policy, a deadline and headers. `AppointmentService` has the arguments."""

    def __init__(
        self,
        session: ConnectorSession,
        user: DirectoryUser | None,
        *,
        retry: RetryPolicy | None,
        deadline: float | None,
        headers: Mapping[str, str] | None,
    ) -> None:
        check_type("session", session, ConnectorSession)
        check_options(retry, deadline)
        self.session = session
        """The session that sends the requests."""
        self.retry = _DEFAULT_POLICY if retry is None else retry
        """When a call is retried."""
        self.deadline = session.deadline if deadline is None else deadline
        """Seconds for each call; `None`: 60 for a single call, none for a bulk call; `math.inf`: none."""
        self._context = CallContext(session, user)
        if headers is not None:
            self._context = self._context.with_headers(headers)
        self._caller = RetryingCaller(
            tenant=session.tenant_id,
            clock=session.clock,
            quota=session.retry_quota,
            throttle=session.penalize,
            sleep=session.sleep,
            is_closed=lambda: session.closed,
            observe=None if session.telemetry is None else functools.partial(watching_call, session.telemetry),
        )

    async def sleep(self, seconds: float) -> None:
        """Wait by the session's clock, for instance in a custom `verify`.

        Raises:
            RuntimeError: If the session is closed, or is closed meanwhile.
        """
        await self.session.sleep(seconds)

    async def request(
        self,
        method: str,
        path: str,
        *,
        path_parameters: Mapping[str, str] | None = None,
        query: Mapping[str, str] | str | None = None,
        json: Any = None,
        idempotent: bool | None = None,
        headers: Mapping[str, str] | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> Response:
        """Send a request to any endpoint below the tenant, and return its 2xx response, whatever its body is.

        The token, the rate limit, the retries, the deadline and the errors are those of the operations. The user of the
        service is not added. A request that is not idempotent is treated like a create without `verify`.

        Args:
            method: The HTTP method. Its case does not matter.
            path: The unquoted path below the tenant, such as `/appointment`. A segment `{name}` is replaced.
            path_parameters: The values for the names in braces. Each is quoted as one segment. If given, errors,
                middleware and traces show `path` and not the values.
            query: The unquoted parameters of the query, or a quoted query without its question mark.
            json: The body: JSON values alone, since date-times and models have more than one form. `None`: no body.
            idempotent: Whether the request may be sent again although it may have been processed. `None`: as RFC 9110
                says of the method: all but `POST`, `PATCH` and unknown ones.
            headers: Extra headers.
            retry: The policy; `None`: the service's.
            deadline: Seconds; `None`: the service's.

        Raises:
            OutcomeUnknownError: If the request is not idempotent, was sent, and its outcome is unknown.
            DeadlineExceededError: If the deadline expires first.
            ConnectorError: If the call fails otherwise; see the tree in `connector_async.exceptions`.
            ValueError: If an argument breaks its rule. The message names both, and no value.
            TypeError: If an argument has another type.
        """
        check_type("retry", retry, RetryPolicy, optional=True)
        policy = self.retry if retry is None else retry
        try:
            call = RequestCall(
                self._context if headers is None else self._context.with_headers(headers),
                method,
                Endpoint.parse(path, path_parameters),
                query=query,
                json=json,
                idempotent=idempotent,
                unavailable_means_refused=policy.unavailable_means_refused,
            )
        except (TypeError, ValueError) as error:
            error.__traceback__ = None  # its frames hold the body
            raise
        finally:
            del path, path_parameters, query, json, headers  # every later error has this frame in its traceback
        return await self._make(call, policy, deadline)

    @hiding_arguments
    def pages(
        self,
        path: str,
        item_type: type[T],
        *,
        paging: PagingStyle = AUTO_DETECT,
        path_parameters: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        prefetch: int = 0,
        on_invalid: OnInvalid = "raise",
        headers: Mapping[str, str] | None = None,
        retry: RetryPolicy | None = None,
        deadline: float | None = None,
    ) -> AsyncPager[T]:
        """Return the items of a list at any endpoint below the tenant, page by page, by the rules of `preview`.

        Args:
            path: The path; see `request`.
            item_type: The type of an item; see `Response.structure`.
            paging: How the server pages the list. By default an array and the common envelopes are recognized.
            path_parameters: The values for the names in braces; see `request`.
            query: The unquoted parameters of each page. A link of the server replaces all of them.
            prefetch: How many pages are fetched while the caller works on one: 0 or 1.
            on_invalid: What to do with an item that is not a valid `item_type`; see `preview`.
            headers: Extra headers.
            retry: The policy for each page; `None`: the service's.
            deadline: Seconds for each page; `None`: the service's.

        Returns:
            A pager, which sends nothing before its first item is asked for. It raises the errors of `request`.

        Raises:
            ValueError: If an argument breaks its rule. The message names both, and no value.
            TypeError: If an argument has another type.
        """
        check_paging(paging)
        check_on_invalid(on_invalid)
        check_type("query", query, Mapping, optional=True)
        self.session.wire_format.check_type(item_type, self.session.assume_zone)
        listing = Listing(
            context=self._context if headers is None else self._context.with_headers(headers),
            operation=RequestCall.operation,
            endpoint=Endpoint.parse(path, path_parameters),
            query=check_parameters({} if query is None else query),
            style=paging,
            item_type=item_type,
            on_invalid=on_invalid,
        )
        return self._pager(listing, prefetch, retry, deadline)

    def _pager(
        self, listing: Listing[T], prefetch: int, retry: RetryPolicy | None, deadline: float | None
    ) -> AsyncPager[T]:
        check_options(retry, deadline)  # now, not with the first page

        def fetch(token: str | None) -> Awaitable[Page[T]]:
            return self._make(PageCall(listing, token), retry, deadline)

        return AsyncPager(fetch, prefetch=prefetch)

    def _make(self, call: Call[T], retry: RetryPolicy | None, deadline: float | None) -> Awaitable[T]:
        """Make a call with its own policy and deadline, or else the service's."""
        if retry is not None or deadline is not None:
            check_options(retry, deadline)
        seconds = self.deadline if deadline is None else deadline
        if seconds is None and priority.get() is not Priority.BULK:
            seconds = SINGLE_CALL_DEADLINE
        return self._caller.make(call, retry or self.retry, None if seconds == math.inf else seconds)


def check_paging(paging: PagingStyle) -> None:
    """Reject anything but an instance of a paging style with plain methods.

    Raises:
        TypeError: If `paging` is not a style, is a class, or has a method that is a coroutine function.
    """
    if paging is AUTO_DETECT:  # an application may make a service for each of its requests
        return
    if isinstance(paging, type):
        raise TypeError("paging must be an instance, such as PageNumbers(), not a class")
    check_type("paging", paging, PagingStyle)
    check_plain_methods("paging", paging, "request", "read")


def check_on_invalid(on_invalid: OnInvalid) -> None:
    """Reject anything but the two ways to treat an invalid item.

    Raises:
        ValueError: If `on_invalid` is neither.
    """
    if on_invalid not in get_args(OnInvalid):
        raise InvalidArgumentError("on_invalid must be 'raise' or 'skip'", argument="on_invalid")


def check_options(retry: RetryPolicy | None, deadline: float | None) -> None:
    """Reject options that no call can be made with. `None` means the service's.

    Raises:
        ValueError: If `deadline` is not above zero.
        TypeError: If an option has another type.
    """
    if retry is not None:
        check_type("retry", retry, RetryPolicy, optional=True)
    if deadline is not None:
        check_seconds("deadline", deadline, above_zero=True, finite=False)
