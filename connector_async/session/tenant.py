"""State that all sessions of one tenant share: URLs, rate limit, retry quota, and the way to the token endpoint.

It does not know the operations of the API.
"""

import asyncio
import contextlib
import functools
from collections.abc import Coroutine, Mapping
from typing import Any, Final

import attrs
from multidict import CIMultiDict, istr
from yarl import URL

from connector_async import _log
from connector_async._checks import check_parameters, check_path, check_query, is_unreserved
from connector_async._clock import Clock, Deadline
from connector_async._shared_lock import SharedLock
from connector_async._tracebacks import without_frames
from connector_async.auth import Token
from connector_async.exceptions import DecodingError, RateLimitStoreError
from connector_async.protocol import TOKEN_PATH, Response, error_for, quote_path, request_id, retry_after
from connector_async.rate_limit import Limiter
from connector_async.retry import THROTTLED_STATUSES, RetryQuota, SharedRetryQuota, with_jitter

from .client_request import complete_headers
from .middleware import OutgoingRequest
from .telemetry import Telemetry, note_wait, watched_request
from .transport import Transport

_MOST_URLS: Final = 16
_TENANT_ID: Final = istr("tenantId")
_quoted: Final = functools.lru_cache(_MOST_URLS)(quote_path)
_TOKEN_TEMPLATE: Final = "/{tenantId}/authentication/token"  # noqa: S105 - a path


@attrs.define
class Traffic:
    """The requests sent for one tenant, by all sessions that share its connections."""

    requests: int = 0
    """The number of requests that were started. Retries, replays after a 401 and token requests count, too."""
    waited: float = 0.0
    """The seconds during which at least one request waited for a rate-limit slot. It never exceeds the time that has
    passed, however many wait at once."""


class RequestOptions:
    """What the requests for all tenants of a session have in common.

    Args:
        base_url: The URL of the API.
        user_agent: The `User-Agent` header.
        extra_headers: The session's own headers. A gateway's key is a secret.
        transport: Sends the requests.
        clock: The clock of the session.
        telemetry: Watches the requests.
        adds_headers: Whether `headers` has the extra headers. Otherwise the middleware chain adds them.
    """

    def __init__(
        self,
        *,
        base_url: str,
        user_agent: str,
        extra_headers: Mapping[str, str],
        transport: Transport,
        clock: Clock,
        telemetry: Telemetry | None,
        adds_headers: bool,
    ) -> None:
        self.base_url = base_url
        self.extra_headers = extra_headers
        self.transport = transport
        self.clock = clock
        self.telemetry = telemetry
        self.fetches: set[asyncio.Task[Token]] = set()
        """The token fetches of all tenants. The session ends them when it is closed."""
        self.url = URL(base_url, encoded=True)
        self.origin = base_url.removesuffix(self.url.raw_path)
        """The base URL without its path."""
        headers = CIMultiDict(
            {
                _TENANT_ID: "",  # the guide: the tenant id is sent in the path and as a header
                "Accept": "application/json, application/problem+json",
                "User-Agent": user_agent,
            }
        )
        if adds_headers:
            headers.update(extra_headers)
        self.headers = complete_headers(headers, self.url)
        """The headers of each call, with an empty tenant id."""


@attrs.define(eq=False, repr=False)
class Tenant:
    """One tenant of one API. It sends the token requests of a provider, as a `TokenSend`."""

    tenant_id: str
    limiter: Limiter
    quota: RetryQuota | SharedRetryQuota
    options: RequestOptions
    requests: int = attrs.field(init=False, default=0)
    """See `Traffic`."""
    waited: float = attrs.field(init=False, default=0.0)
    """See `Traffic`."""
    _urls: dict[tuple[str, ...], URL] = attrs.field(init=False, factory=dict)
    _waiting: int = attrs.field(init=False, default=0)
    """How many requests wait for a slot."""
    _waits_counted_at: float = attrs.field(init=False, default=0.0)

    @property
    def base_url(self) -> str:
        """The URL of the API."""
        return self.options.base_url

    def url(self, path: tuple[str, ...], query: Mapping[str, str] | str | None = None) -> URL:
        """Return the URL of a path below the tenant, with a query.

        Raises:
            ValueError: If the path or the query breaks its rule; see `check_path`, `check_query` and
                `check_parameters`.
            TypeError: If one of them has another type.
        """
        try:
            url = self._urls.get(path)
        except TypeError:  # it cannot be hashed
            url = None
        if url is None:
            url = self._new_url(path)  # outside of the handler: the caught error may hold a value
        if query is None:
            return url
        if isinstance(query, str):
            return URL(f"{url}?{check_query('query', query)}", encoded=True)
        return url.with_query(_unreserved_query(query) or check_parameters(query))

    def _built_url(self, path: tuple[str, ...]) -> URL:
        # The key is the URL of the tenant. To parse it would take three times as long.
        path_of_tenant = self.limiter.key.removeprefix(self.options.origin)
        return self.options.url.with_path(path_of_tenant + _quoted(*path), encoded=True)

    def _new_url(self, path: tuple[str, ...]) -> URL:
        url = self._built_url(check_path(path))
        if len(self._urls) < _MOST_URLS:  # an application can use any number of paths
            self._urls[path] = url
        return url

    def headers(self) -> CIMultiDict[str]:
        """Return a new mapping with the headers that every request has."""
        headers = self.options.headers.copy()
        headers[_TENANT_ID] = self.tenant_id
        return headers

    async def post_token_request(self, body: bytes) -> Response:
        """Post `body` to the token endpoint; see `TokenSend`."""
        url = self._built_url(TOKEN_PATH)  # not kept: it would take a third of a tenant's memory, for one use an hour
        headers = self.headers()
        headers["Content-Type"] = "application/json"
        headers.update(self.options.extra_headers)
        try:
            # Ahead of the calls that wait for slots: without a token they could not use them.
            await self.wait_for_slot(None, ahead=True)
            self.requests += 1
            if self.options.telemetry is None:
                response = await self.options.transport.send("POST", url, headers, body)
            else:
                response = await self.transmit(self._token_request(url), url, headers, body)
            if response.status in THROTTLED_STATUSES:
                await self.apply_retry_after(response)
            self.raise_for_status("POST", url, response, from_token_endpoint=True)
            return response
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised below
            failed = error
        try:
            raise without_frames(failed)
        finally:
            del failed, body, headers  # a cycle, and secrets

    async def transmit(
        self,
        request: OutgoingRequest,
        url: URL,
        headers: CIMultiDict[str],
        body: bytes | None,
        deadline: Deadline | None = None,
    ) -> Response:
        """Send a request that has its token and its slot, with the telemetry around it."""
        send = self.options.transport.send
        if self.options.telemetry is None:
            return await send(request.method, url, headers, body, deadline)

        async def send_with_headers(observed: OutgoingRequest) -> Response:
            if observed is not request:
                headers.update(observed.headers)
            return await send(request.method, url, headers, body, deadline)

        headers = headers.copy()  # it is shared by all requests with the same token
        return await watched_request(self.options.telemetry, request, send_with_headers)

    def _token_request(self, url: URL) -> OutgoingRequest:
        """Return what the telemetry sees of a token request: not its body, which holds the client secret."""
        return OutgoingRequest(
            method="POST",
            url=str(url),
            template=_TOKEN_TEMPLATE,
            tenant_id=self.tenant_id,
            operation="token",
            attempt=1,
            headers={},
        )

    async def wait_for_slot(self, deadline: Deadline | None, *, ahead: bool = False) -> None:
        """Wait for a rate-limit slot; with `ahead`, before all calls that wait.

        Raises:
            ThrottledError: If the slot would come after the deadline.
        """
        self._count_waits(1)
        started_at = self.options.clock.monotonic()
        try:
            if isinstance(self.quota, SharedRetryQuota) and self.quota.is_refund_due:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None if deadline is None else deadline.remaining()):
                        await self.quota.send_refund()
            await self.limiter.acquire(deadline, ahead=ahead)
        finally:
            self._count_waits(-1)
            if (telemetry := self.options.telemetry) is not None:
                note_wait(telemetry, self.tenant_id, self.options.clock.monotonic() - started_at)

    def _count_waits(self, change: int) -> None:
        """Add the time since the last change if requests waited during it, and change their number."""
        with SharedLock.lock:  # the threads of several event loops share a tenant
            now = self.options.clock.monotonic()
            if self._waiting:
                self.waited += now - self._waits_counted_at
            self._waits_counted_at = now
            self._waiting += change

    async def apply_retry_after(self, response: Response) -> None:
        """Send nothing for the tenant for as long as the `Retry-After` of a 429 or 503 says."""
        seconds = retry_after(response.headers, self.options.clock.time())
        if seconds is None:
            return
        try:
            await self.limiter.penalize(with_jitter(seconds, self.options.clock))
        except RateLimitStoreError as failure:  # the error that the response becomes says more, and may have happened
            _log.hook_failure("penalize", failure)

    def raise_for_status(self, method: str, url: URL, response: Response, *, from_token_endpoint: bool = False) -> None:
        """Raise unless the status is 2xx and the body was read to its end.

        Raises:
            ResponseError: If the status is outside 2xx.
            DecodingError: If the body is longer than `max_body_size`.
        """
        if not 200 <= response.status < 300:
            raise error_for(
                method, url.raw_path, response, self.options.clock.time(), from_token_endpoint=from_token_endpoint
            )
        if response.oversized:
            raise DecodingError(
                "the body is longer than max_body_size",
                problems=["$: longer than max_body_size"],
                request_id=request_id(response.headers),
            )

    def create_task(self, fetch: Coroutine[Any, Any, Token]) -> asyncio.Task[Token]:
        """Run `fetch` in a task that ends when the session is closed; see `TokenSend`."""
        fetches = self.options.fetches
        for other in [other for other in list(fetches) if other.get_loop().is_closed()]:
            fetches.discard(other)  # its loop was closed without ending its tasks
        task = asyncio.create_task(fetch, name="connector_async token")
        fetches.add(task)
        task.add_done_callback(fetches.discard)
        return task


def _unreserved_query(query: Mapping[str, str]) -> str | None:
    """Return a query whose names and values are letters, digits and hyphens, which need no quoting; otherwise `None`.

    That is what ids are mostly made of, and saves half of the time that yarl takes for a mapping.
    """
    if type(query) is not dict:
        return None
    pairs = []
    for name, value in query.items():
        pair = name + value if type(name) is type(value) is str else ""
        if not is_unreserved(pair):
            return None
        pairs.append(f"{name}={value}")
    return "&".join(pairs)
