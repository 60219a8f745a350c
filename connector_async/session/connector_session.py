"""`ConnectorSession`: what a user opens. How a request is sent stands in `exchange`."""

import asyncio
import os
import ssl
from collections.abc import Mapping
from datetime import tzinfo
from typing import Any, Final, Self

import aiohttp
import attrs
from yarl import URL

from connector_async._checks import check_method, check_plain_methods, check_proxy, check_tenant_id
from connector_async._clock import Clock, Deadline, checked_clock
from connector_async._tracebacks import hiding_arguments, without_frames
from connector_async.auth import Secret, TokenProvider
from connector_async.exceptions import ConnectorError
from connector_async.protocol import Response, user_agent
from connector_async.rate_limit import MemoryRateLimitStore, RateLimit, RateLimitStore
from connector_async.retry import RetryQuota
from connector_async.wire import WireFormat

from .environment import from_environment
from .request_sender import RequestSender
from .session_state import SessionState, base_url_as_sent
from .tenant import Traffic, success
from .transport import Transport
from .transport_options import TransportOptions

_DOCUMENTED_LIMIT: Final = RateLimit()
_METHODS: Final = frozenset({"DELETE", "GET", "PATCH", "POST", "PUT"})


class ConnectorSession:
    """Sends requests for one tenant, and through `for_tenant` for others over the same connections.

    It may be built outside of an event loop, and used from several, one after another or at once in threads. Close it
    with `aclose` or as an asynchronous context manager; what it opened in a loop is closed at the latest when that loop
    shuts down.

    Args:
        base_url: Where the API is; it may have a path. `https`, unless the host is the loopback.
        tenant_id: The tenant, in printable ASCII: each request carries it in its path and in the `tenantId` header.
        auth: Where the tokens come from.
        wire_format: How bodies are written.
        rate_limit: How many requests each tenant may send; the 60 per minute that the API documents, unless told.
        rate_limit_store: Where the slots are kept; sessions that are handed the same one keep one pace. `None`: in this
            session, for itself and all that `for_tenant` makes of it.
        deadline: Seconds for each call, over its attempts and every wait. `None`: 60 for a single call, none for the
            calls of a bulk or a sync; `math.inf`: none.
        assume_zone: The zone of date-times that the server writes without an offset. `None`: they are refused.
        connect_timeout: Seconds for the handshakes of TCP and TLS with one address.
        attempt_timeout: Seconds for one attempt, from the wait for a connection to the last byte of the answer.
        session: A session of aiohttp to send through. It is never closed, serves in one event loop only, and decides
            about its pool and its cookies; its middlewares are not run.
        ssl_context: Whom to trust over TLS, and with which certificate to answer. `None`: what the machine trusts.
        proxy: The URL of a forward proxy, which may hold user information. `None`: none, whatever the environment says.
        pool_size: Connections at a time, in each event loop.
        keepalive_timeout: Seconds that an idle connection is kept. Common servers close one after 5, and of what is
            sent just then nobody can tell whether it was processed.
        max_body_size: Bytes of an answer that are read at most, after decompression.
        allow_http: Permits `http` to hosts that are not the loopback, where anybody on the way reads the token.
        user_agent_suffix: The caller's own product, for the `User-Agent` header (RFC 9110, section 10.1.5).
        clock: Time as the session reads it.

    Raises:
        ValueError: An argument breaks its rule; the message names both.
        TypeError: An argument is of another type; the message names it.
    """

    @hiding_arguments  # the proxy may have a password
    def __init__(
        self,
        base_url: str,
        *,
        tenant_id: str,
        auth: TokenProvider,
        wire_format: WireFormat = WireFormat.GUIDE,
        rate_limit: RateLimit = _DOCUMENTED_LIMIT,
        rate_limit_store: RateLimitStore | None = None,
        deadline: float | None = None,
        assume_zone: tzinfo | None = None,
        connect_timeout: float = 5,
        attempt_timeout: float = 30,
        session: aiohttp.ClientSession | None = None,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        pool_size: int = 100,
        keepalive_timeout: float = 4,
        max_body_size: int = 10 * 1024 * 1024,
        allow_http: bool = False,
        user_agent_suffix: str = "",
        clock: Clock | None = None,
    ) -> None:
        if session is not None and not isinstance(session, aiohttp.ClientSession):
            raise TypeError(f"session must be a ClientSession or None, not {type(session).__name__}")
        options = TransportOptions(
            connect_timeout=connect_timeout,
            attempt_timeout=attempt_timeout,
            keepalive_timeout=keepalive_timeout,
            pool_size=pool_size,
            max_body_size=max_body_size,
            ssl_context=ssl_context,
            proxy=None if proxy is None else Secret(check_proxy(proxy)),
        )
        clock = checked_clock(clock)
        shared = SessionState(
            base_url=base_url_as_sent(base_url, allow_http=allow_http),
            user_agent=user_agent(user_agent_suffix),
            wire_format=wire_format,
            assume_zone=assume_zone,
            clock=clock,
            transport=Transport(options, session),
            deadline=deadline,
            rate_limit=rate_limit,
            rate_limit_store=MemoryRateLimitStore(clock) if rate_limit_store is None else rate_limit_store,
        )
        self._serve(tenant_id, _checked_auth(auth), shared, owns=True)

    @classmethod
    @hiding_arguments
    def from_env(cls, **options: Any) -> Self:
        """Open a session as the environment says.

        It reads `CONNECTOR_BASE_URL` and `CONNECTOR_TENANT_ID`, and either `CONNECTOR_TOKEN` or `CONNECTOR_CLIENT_ID`
        and `CONNECTOR_CLIENT_SECRET`.

        Args:
            options: Arguments of the constructor, which come before what the environment says.

        Raises:
            ValueError: A variable is missing or empty, or both kinds of credentials are there; it names them.
        """
        return cls(**from_environment(os.environ, options.keys()) | options)

    def _serve(self, tenant_id: str, auth: TokenProvider, shared: "SessionState", *, owns: bool) -> None:
        self._shared = shared
        self._owns_shared = owns
        self._tenant = shared.tenant(check_tenant_id(tenant_id))
        self._exchange = RequestSender(self._tenant, shared.deduplicate(auth))

    def __repr__(self) -> str:
        return f"ConnectorSession({self.base_url!r}, tenant_id={self.tenant_id!r}, wire_format={self.wire_format})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    @property
    def base_url(self) -> str:
        """Where the API is, without a slash at its end."""
        return self._shared.base_url

    @property
    def tenant_id(self) -> str:
        """The tenant that the requests are for."""
        return self._tenant.tenant_id

    @property
    def wire_format(self) -> WireFormat:
        """How bodies are written."""
        return self._shared.wire_format

    @property
    def assume_zone(self) -> tzinfo | None:
        """The zone of date-times without an offset; `None`: they are refused."""
        return self._shared.assume_zone

    @property
    def clock(self) -> Clock:
        """Time as the session reads it."""
        return self._shared.clock

    @property
    def deadline(self) -> float | None:
        """Seconds for each call; `None`: 60 for a single call, none for a bulk call; `math.inf`: none."""
        return self._shared.deadline

    @property
    def retry_quota(self) -> RetryQuota:
        """What the retries of this tenant may cost, over all the sessions that share its connections."""
        return self._tenant.quota

    @property
    def traffic(self) -> Traffic:
        """What was sent for this tenant so far, over all the sessions that share its connections; a copy."""
        return attrs.evolve(self._tenant.traffic)

    @property
    def closed(self) -> bool:
        """Whether it was closed, or the one that it came from by `for_tenant`."""
        return self._shared.naps.closed

    async def sleep(self, seconds: float) -> None:
        """Wait by the session's clock.

        Raises:
            ValueError: `seconds` is negative, or no number.
            TypeError: `seconds` is neither an int nor a float.
            RuntimeError: The session was closed meanwhile.
        """
        await self._shared.naps.sleep(seconds)

    async def penalize(self, seconds: float) -> None:
        """Send nothing for this tenant for so many seconds, a day at most, because its server throttles.

        A response of 429 or 503 with `Retry-After` does so by itself. 0 seconds lift a penalty: the calls that wait are
        woken, and sent at their pace.

        Raises:
            ValueError: If `seconds` is negative or not a number.
            TypeError: If `seconds` is neither an int nor a float.
        """
        await self._tenant.limiter.penalize(seconds)

    def for_tenant(self, tenant_id: str, auth: TokenProvider | None = None) -> "ConnectorSession":
        """Return a session for another tenant over the same connections, with tokens of its own.

        It is cheap enough to be made for each request of a web service: all that are made for one tenant with equal
        credentials share their token. Closing it closes nothing.

        Args:
            tenant_id: The tenant, in printable ASCII.
            auth: Where its tokens come from; `None`: from this session's provider, asked for that tenant.

        Raises:
            ValueError: `tenant_id` cannot be carried in a path and a header.
            TypeError: `tenant_id` is no text, or `auth` no provider.
        """
        child = ConnectorSession.__new__(ConnectorSession)
        own = self._exchange.auth if auth is None else _checked_auth(auth)
        child._serve(tenant_id, own, self._shared, owns=False)  # noqa: SLF001 - its own
        return child

    def quoted_path(self, path: tuple[str, ...]) -> str:
        """Return a path below the tenant as it is sent, with that of `base_url` before it, and as errors name it.

        Raises:
            ValueError: As `request`.
            TypeError: As `request`.
        """
        return self._tenant.url(path).raw_path

    def url(self, path: tuple[str, ...], query: Mapping[str, str] | str | None = None) -> str:
        """Return what `request` sends a path and a query to.

        Raises:
            ValueError: As `request`.
            TypeError: As `request`.
        """
        return str(self._tenant.url(path, query))

    async def request(
        self,
        method: str,
        path: tuple[str, ...],
        *,
        query: Mapping[str, str] | str | None = None,
        body: bytes | None = None,
        deadline: Deadline | None = None,
    ) -> Response:
        """Make one attempt at a request below the tenant and return its 2xx answer.

        It waits for its turn under the rate limit. A token that is refused with 401 is given back to its provider, and
        if that has another one, the request is sent once more with it. When to try again is for others to decide.

        Args:
            method: The HTTP method.
            path: The segments below the tenant, unquoted.
            query: The query's parameters, unquoted; or a query that is quoted already, without its question mark.
            body: JSON.
            deadline: When the attempt must have ended; `None`: when `attempt_timeout` ends it.

        Raises:
            ThrottledError: If no rate-limit slot comes before the deadline.
            DeadlineExceededError: If the deadline came first.
            ResponseError: The answer is outside 2xx; the kinds say what it means.
            TransportError: There is no whole answer.
            DecodingError: The answer is longer than `max_body_size`.
            RuntimeError: The session is closed.
            ValueError: `method` is no token; a segment of `path` is empty, `.`, `..`, or not printable; or `query` is
                not quoted, or not encodable.
            TypeError: An argument is of another type.
        """
        url: URL | None = None
        try:
            self._shared.transport.check_open()
            if not (isinstance(method, str) and method in _METHODS):
                check_method(method)
            if body is not None and not isinstance(body, bytes):
                raise TypeError(f"body must be bytes or None, not {type(body).__name__}")
            if deadline is not None and not isinstance(deadline, Deadline):
                raise TypeError(f"deadline must be a Deadline or None, not {type(deadline).__name__}")
            url = self._tenant.url(path, query)
            response = await self._exchange.attempt(method, url, body, deadline)
            return success(method, url, response, self._shared.clock)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised below
            failed = error
        if isinstance(failed, ConnectorError):
            failed.operation = method
        try:
            raise without_frames(failed)
        finally:
            del failed, query, body, url  # what is personal, and a cycle

    async def aclose(self) -> None:
        """Close the connections, end the fetches of tokens, and wake those who wait; not if made by `for_tenant`."""
        if self._owns_shared:
            await self._shared.aclose()


def _checked_auth(auth: TokenProvider) -> TokenProvider:
    """Return `auth` if it is a provider, and its plain methods are not coroutine functions.

    Raises:
        TypeError: It is not, or it is the class of one.
    """
    if isinstance(auth, type) or not isinstance(auth, TokenProvider):
        raise TypeError(f"auth must be a TokenProvider, not {type(auth).__name__}")
    check_plain_methods("auth", auth, "invalidate", "cached_token")
    return auth
