"""`ConnectorSession`, the object that an application opens and keeps. `RequestSender` sends its requests."""

import asyncio
import os
import ssl
from collections.abc import Iterable, Mapping
from datetime import tzinfo
from typing import Any, ClassVar, Final, Self

import aiohttp
from yarl import URL

from connector_async._checks import (
    check_headers,
    check_method,
    check_plain_methods,
    check_proxy,
    check_tenant_id,
    check_type,
)
from connector_async._clock import Clock, Deadline, checked_clock
from connector_async._tracebacks import hiding_arguments, without_frames
from connector_async.auth import ClientCredentials, Secret, StaticToken, Token, TokenProvider
from connector_async.exceptions import ConnectorError
from connector_async.protocol import Response, user_agent
from connector_async.rate_limit import MemoryRateLimitStore, RateLimit, RateLimitStore
from connector_async.retry import RetryQuota, SharedRetryQuota
from connector_async.wire import WireFormat

from .middleware import Middleware, OutgoingRequest, check_middlewares, merged
from .middleware_chain import MiddlewareChain
from .request_sender import RequestSender
from .session_state import SessionState, normalize_base_url
from .telemetry import Telemetry
from .tenant import Traffic
from .transport import Transport, TransportOptions

_DOCUMENTED_LIMIT: Final = RateLimit()
_METHODS: Final = frozenset({"DELETE", "GET", "PATCH", "POST", "PUT"})


class ConnectorSession:
    """Sends requests for one tenant, and through `for_tenant` for others over the same connections.

    It may be built outside an event loop, and used from several, one after another or at once in threads. Close it with
    `aclose` or as an async context manager. What it opened in an event loop is closed at the latest when that loop
    shuts down.

    Args:
        base_url: The URL of the API, which may have a path. It must be `https`, unless the host is the loopback.
        tenant_id: The tenant, in printable ASCII. Each request carries it in its path and in the `tenantId` header.
        auth: The provider of the tokens.
        wire_format: The format of the bodies.
        rate_limit: The most requests of each tenant; by default the 60 per minute that the API documents.
        rate_limit_store: The store of the rate-limit slots. Sessions with the same store share one limit. `None`: a new
            store, for this session and those that `for_tenant` returns.
        deadline: Seconds for each call, all attempts and waits included. `None`: 60 for a single call, none for the
            calls of a bulk or a sync. `math.inf`: none.
        assume_zone: The time zone of date-times without a UTC offset in responses. `None`: they are rejected.
        connect_timeout: Seconds for the TCP and TLS handshakes with one address.
        attempt_timeout: Seconds for one attempt, from the wait for a connection to the last byte of the response.
        session: An aiohttp session to send through. It is never closed, works in one event loop only, and decides about
            its pool and its cookies. Its middlewares are not run.
        ssl_context: The trusted certificate authorities and the client certificate. `None`: the machine's authorities.
        proxy: The URL of a forward proxy, which may hold user information. `None`: no proxy, whatever the environment
            says.
        pool_size: The most connections at a time, in each event loop.
        keepalive_timeout: Seconds that an idle connection is kept. Common servers close one after 5. Whether a request
            sent at that moment was processed cannot be known.
        max_body_size: The most bytes of a response body, after decompression.
        allow_http: Whether `http` is allowed to hosts other than the loopback. Anybody on the way can read the token.
        user_agent_suffix: The application's own product, for the `User-Agent` header (RFC 9110, section 10.1.5).
        headers: Extra headers of each request, token requests included, such as the key of a gateway. Headers that the
            SDK sets itself cannot be among them; `correlation_id` sets `X-Correlation-Id`.
        middlewares: Async callables around each attempt; the first is outermost. Token requests do not pass through.
        telemetry: Watches calls and requests, such as `connector_async.otel.OpenTelemetry()`.
        clock: The clock, the sleep and the random source. `None`: the machine's.

    Raises:
        ValueError: If an argument breaks its rule. The message names both.
        TypeError: If an argument has another type. The message names it.
    """

    _transport: ClassVar[type[Transport]] = Transport
    """What sends the requests. The fake of `connector_async.testing` has one without a network."""

    @hiding_arguments  # the proxy may have a password, and a header may be a key
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
        headers: Mapping[str, str] | None = None,
        middlewares: Iterable[Middleware] = (),
        telemetry: Telemetry | None = None,
        clock: Clock | None = None,
    ) -> None:
        check_type("session", session, aiohttp.ClientSession, optional=True)
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
        state = SessionState(
            base_url=normalize_base_url(base_url, allow_http=allow_http),
            user_agent=user_agent(user_agent_suffix),
            wire_format=wire_format,
            assume_zone=assume_zone,
            clock=clock,
            transport=self._transport(options, session),
            deadline=deadline,
            rate_limit=rate_limit,
            rate_limit_store=MemoryRateLimitStore(clock) if rate_limit_store is None else rate_limit_store,
            headers={} if headers is None else check_headers("headers", headers),
            middlewares=check_middlewares(middlewares),
            telemetry=telemetry,
        )
        self._bind(state, tenant_id, _checked_auth(auth), owns_state=True)

    @classmethod
    @hiding_arguments
    def from_env(cls, **options: Any) -> Self:
        """Return a session with arguments from environment variables.

        The variables are `CONNECTOR_BASE_URL`, `CONNECTOR_TENANT_ID`, and either `CONNECTOR_TOKEN` or both of
        `CONNECTOR_CLIENT_ID` and `CONNECTOR_CLIENT_SECRET`.

        Args:
            options: Arguments of the constructor. They take precedence over the environment.

        Raises:
            ValueError: If a variable is missing or empty, or both kinds of credentials are set. The message names the
                variables.
        """
        if "base_url" not in options:
            options["base_url"] = _variable("CONNECTOR_BASE_URL")
        if "tenant_id" not in options:
            options["tenant_id"] = _variable("CONNECTOR_TENANT_ID")
        if "auth" not in options:
            options["auth"] = _auth_from_env()
        return cls(**options)

    def _bind(self, state: SessionState, tenant_id: str, auth: TokenProvider, *, owns_state: bool) -> None:
        self._state = state
        self._owns_state = owns_state
        self._tenant = state.tenant(check_tenant_id(tenant_id))
        self._chain: MiddlewareChain | None = None
        auth = state.deduplicate_credentials(auth)
        self._sender = RequestSender(self._tenant, auth)
        if state.has_chain:
            self._chain = MiddlewareChain(state.middlewares, self._sender, self._tenant)

    def __repr__(self) -> str:
        return f"ConnectorSession({self.base_url!r}, tenant_id={self.tenant_id!r}, wire_format={self.wire_format})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    @property
    def base_url(self) -> str:
        """The URL of the API, without a trailing slash."""
        return self._state.base_url

    @property
    def tenant_id(self) -> str:
        """The tenant that the requests are for."""
        return self._tenant.tenant_id

    @property
    def wire_format(self) -> WireFormat:
        """The format of the bodies."""
        return self._state.wire_format

    @property
    def assume_zone(self) -> tzinfo | None:
        """The time zone of date-times without a UTC offset. `None`: they are rejected."""
        return self._state.assume_zone

    @property
    def clock(self) -> Clock:
        """The clock of the session."""
        return self._state.clock

    @property
    def deadline(self) -> float | None:
        """Seconds for each call; `None`: 60 for a single call, none for a bulk call; `math.inf`: none."""
        return self._state.deadline

    @property
    def telemetry(self) -> Telemetry | None:
        """What watches the calls and requests of the session."""
        return self._state.telemetry

    @property
    def retry_quota(self) -> RetryQuota | SharedRetryQuota:
        """The retry quota of the tenant, for all sessions that share its connections.

        It is a `SharedRetryQuota` if the store of the rate-limit slots keeps retry quotas, too.
        """
        return self._tenant.quota

    @property
    def traffic(self) -> Traffic:
        """A copy of the tenant's traffic so far, of all sessions that share its connections."""
        return Traffic(self._tenant.requests, self._tenant.waited)

    @property
    def closed(self) -> bool:
        """Whether this session was closed, or the one that it came from by `for_tenant`."""
        return self._state.interruptible_sleep.closed

    async def sleep(self, seconds: float) -> None:
        """Wait by the session's clock.

        Raises:
            ValueError: If `seconds` is negative or NaN.
            TypeError: If `seconds` is neither an int nor a float.
            RuntimeError: If the session is closed, or is closed meanwhile.
        """
        await self._state.interruptible_sleep.sleep(seconds)

    @property
    def rate_limit(self) -> RateLimit:
        """The most requests of each tenant."""
        return self._tenant.limiter.limit

    async def penalize(self, seconds: float) -> None:
        """Send nothing for this tenant for a number of seconds, a day at most, because the server throttles.

        A response of 429 or 503 with `Retry-After` does so by itself. 0 seconds lift a penalty: the calls that wait are
        woken, and get their rate-limit slots.

        Raises:
            ValueError: If `seconds` is negative or NaN.
            TypeError: If `seconds` is neither an int nor a float.
        """
        await self._tenant.limiter.penalize(seconds)

    def for_tenant(self, tenant_id: str, auth: TokenProvider | None = None) -> "ConnectorSession":
        """Return a session for another tenant over the same connections, with its own tokens.

        It is cheap enough to be called for each request of a web service. All sessions of one tenant with equal
        credentials share their token. Closing the returned session closes nothing.

        Args:
            tenant_id: The tenant, in printable ASCII.
            auth: The provider of its tokens. `None`: this session's provider, which is asked for that tenant.

        Raises:
            ValueError: If a path and a header cannot carry `tenant_id`.
            TypeError: If `tenant_id` is not a str, or `auth` is not a provider.
        """
        session = ConnectorSession.__new__(ConnectorSession)
        auth = self._sender.auth if auth is None else _checked_auth(auth)
        session._bind(self._state, tenant_id, auth, owns_state=False)  # noqa: SLF001 - of this class
        return session

    def quoted_path(self, path: tuple[str, ...]) -> str:
        """Return a path below the tenant as it is sent and as errors name it: quoted, after the path of `base_url`.

        Raises:
            ValueError: If a segment of `path` is empty, `.`, `..`, or not printable.
            TypeError: If `path` is not a tuple, or a segment is not a str.
        """
        return self._tenant.url(path).raw_path

    def url(self, path: tuple[str, ...], query: Mapping[str, str] | str | None = None) -> str:
        """Return the URL that `request` sends a path and a query to.

        Raises:
            ValueError: If a segment of `path` is empty, `.`, `..`, or not printable; or `query` is not quoted, or
                cannot be encoded.
            TypeError: If an argument has another type.
        """
        return str(self._tenant.url(path, query))

    async def fetch_token(self) -> Token:
        """Return the token that the next request would carry, fetching one if there is none.

        Raises:
            AuthenticationError: If the credentials are rejected.
            ConnectorError: If the token request fails otherwise.
            RuntimeError: If the session is closed.
        """
        if self._state.transport.closed:
            raise RuntimeError("the session is closed")
        return await self._sender.auth.token(self.tenant_id, self._tenant)

    async def request(
        self,
        method: str,
        path: tuple[str, ...],
        *,
        query: Mapping[str, str] | str | None = None,
        body: bytes | None = None,
        deadline: Deadline | None = None,
        headers: Mapping[str, str] | None = None,
        operation: str | None = None,
        template: str | None = None,
        attempt: int = 1,
        idempotent: bool | None = None,
    ) -> Response:
        """Make one attempt at a request below the tenant, and return its 2xx response. It does not retry.

        It waits for a rate-limit slot. If the token is refused with 401 and its provider has another one, the request
        is sent once more with that.

        Args:
            method: The HTTP method.
            path: The unquoted segments below the tenant.
            query: The unquoted parameters of the query, or a quoted query without its question mark.
            body: JSON.
            deadline: When the attempt must have ended. `None`: `attempt_timeout` ends it.
            headers: Extra headers of this request. They take precedence over those of the session.
            operation: The name of the operation that the request belongs to. `None`: none that the SDK models.
            template: The path with names instead of values, such as `/{tenantId}/appointment`.
            attempt: The number of this attempt; the first is 1.
            idempotent: Whether the request may be repeated although it may have been processed, as an error of a
                middleware must not hide. `None`: as RFC 9110 says of the method.

        Raises:
            ThrottledError: If no rate-limit slot comes before the deadline.
            DeadlineExceededError: If the deadline expires first.
            ResponseError: If the status is outside 2xx. The subclasses say what it means.
            TransportError: If there is no whole response.
            DecodingError: If the response body is longer than `max_body_size`.
            RuntimeError: If the session is closed.
            Exception: What a middleware raises.
            ValueError: If `method` is not an HTTP token; a segment of `path` is empty, `.`, `..`, or not printable;
                `query` is not quoted, or cannot be encoded; or `headers` has a name that the SDK sets itself, or that
                is not an HTTP token, or a value that is not printable ASCII.
            TypeError: If an argument has another type.
        """
        url: URL | None = None
        try:
            if self._state.transport.closed:
                raise RuntimeError("the session is closed")
            if not (isinstance(method, str) and method in _METHODS):
                check_method(method)
            if body is not None and not isinstance(body, bytes):
                raise TypeError(f"body must be bytes or None, not {type(body).__name__}")
            if deadline is not None and not isinstance(deadline, Deadline):
                raise TypeError(f"deadline must be a Deadline or None, not {type(deadline).__name__}")
            if headers is not None:
                headers = check_headers("headers", headers)
            url = self._tenant.url(path, query)
            if self._chain is None:
                response = await self._sender.send(method, url, body, deadline, headers)
            else:
                response = await self._chain.send(
                    OutgoingRequest(
                        method=method,
                        url=str(url),
                        template=template,
                        tenant_id=self.tenant_id,
                        operation=operation,
                        attempt=attempt,
                        headers=merged(self._state.headers, headers or {}),
                        body=body,
                    ),
                    url,
                    deadline,
                    idempotent=idempotent,
                )
            self._tenant.raise_for_status(method, url, response)
            return response
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - raised below
            failed = error
        if isinstance(failed, ConnectorError):
            failed.operation = method
        try:
            raise without_frames(failed)
        finally:
            del failed, query, body, url, headers  # a cycle, and personal data or secrets

    async def aclose(self) -> None:
        """Close the connections, end the token fetches, and wake the calls that wait.

        It does nothing for a session from `for_tenant`.
        """
        if self._owns_state:
            await self._state.aclose()


def _checked_auth(auth: TokenProvider) -> TokenProvider:
    """Return `auth`, which must be a token provider.

    Raises:
        TypeError: If `auth` is not a provider, is a class, or `invalidate` or `cached_token` is a coroutine function.
    """
    if isinstance(auth, type) or not isinstance(auth, TokenProvider):
        raise TypeError(f"auth must be a TokenProvider, not {type(auth).__name__}")
    check_plain_methods("auth", auth, "invalidate", "cached_token")
    return auth


def _auth_from_env() -> TokenProvider:
    if not os.environ.get("CONNECTOR_TOKEN"):
        client_id = _variable("CONNECTOR_CLIENT_ID")
        return ClientCredentials(client_id, _variable("CONNECTOR_CLIENT_SECRET"))
    if os.environ.get("CONNECTOR_CLIENT_ID") or os.environ.get("CONNECTOR_CLIENT_SECRET"):
        raise ValueError("CONNECTOR_TOKEN must not be set together with CONNECTOR_CLIENT_ID or CONNECTOR_CLIENT_SECRET")
    return StaticToken(_variable("CONNECTOR_TOKEN"))


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise ValueError(f"{name} must be set in the environment")
    return value
