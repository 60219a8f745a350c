"""One attempt at a request: its token, its rate-limit slot, the sending, and one replay after a 401.

It knows neither the operations of the API nor when to retry.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from multidict import CIMultiDict, istr
from yarl import URL

from connector_async._checks import check_header_text
from connector_async._clock import Deadline, is_cancelled
from connector_async.auth import Token, TokenProvider, TokenSend
from connector_async.exceptions import ConnectorError, DeadlineExceededError
from connector_async.protocol import Response
from connector_async.retry import THROTTLED_STATUSES

from .tenant import Tenant

Transmit = Callable[[str, URL, CIMultiDict[str], bytes | None, Deadline | None], Awaitable[Response]]
"""Sends a request that has its token and its slot."""

correlation_id: ContextVar[str | None] = ContextVar("connector_async.correlation_id", default=None)
"""The `X-Correlation-Id` of the requests of this context, in printable ASCII. `None`: the header is not sent."""

_before_write: ContextVar[Callable[[], Awaitable[None]] | None] = ContextVar(
    "connector_async.before_write", default=None
)

_AUTHORIZATION: Final = istr("Authorization")
_CONTENT_TYPE: Final = istr("Content-Type")


@contextmanager
def before_each_write(hook: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """Await `hook` before each request with a body that is made in the block, retries and replays after a 401 included.

    It is awaited when the request has its rate-limit slot, directly before it is sent. If it raises, nothing is sent.
    """
    token = _before_write.set(hook)
    try:
        yield
    finally:
        _before_write.reset(token)


class RequestSender:
    """Sends the requests of one tenant with the tokens of one provider."""

    def __init__(self, tenant: Tenant, auth: TokenProvider) -> None:
        self.auth = auth
        self._tenant = tenant
        # Not by `isinstance` with the protocol, which would take a quarter of the time of `for_tenant`.
        self._cached_token: Callable[[str, TokenSend], Token | None] = getattr(auth, "cached_token", _no_cached_token)
        # The latest token with its headers, for requests without a body and with one. Both are replaced together, since
        # threads share them.
        self._latest: list[tuple[Token, CIMultiDict[str]] | None] = [None, None]

    async def send(
        self,
        method: str,
        url: URL,
        body: bytes | None,
        deadline: Deadline | None,
        extra_headers: Mapping[str, str] | None = None,
        transmit: Transmit | None = None,
    ) -> Response:
        """Send a request and return its response of any status.

        If its token is refused with 401 and the provider has another one, the request is sent a second time.

        Args:
            method: The HTTP method.
            url: The URL.
            body: JSON.
            deadline: When the attempt must have ended.
            extra_headers: Headers in addition, which take precedence over those of the session.
            transmit: Sends the request once it has its token and its slot. `None`: the transport.

        Raises:
            ThrottledError: If no rate-limit slot comes before the deadline.
            DeadlineExceededError: If the deadline expires first.
            ConnectorError: If there is no token or no whole response.
            ValueError: If a header cannot carry `correlation_id`.
            Exception: What the hook of `before_each_write` raises.
        """
        correlation = correlation_id.get()
        if correlation is not None:
            check_header_text("correlation_id", correlation)
        tenant = self._tenant
        # The token comes first. Otherwise calls that hold their slots could wait for a token, and be sent at once.
        token = self._cached_token(tenant.tenant_id, tenant) or await self._fetch_token(deadline)
        if not tenant.limiter.take():
            token = await self._wait_for_slot(deadline)
        send = transmit or tenant.options.transport.send
        if body is not None and (hook := _before_write.get()) is not None:
            await hook()
        tenant.requests += 1
        response = await send(method, url, self._headers(token, body, correlation, extra_headers), body, deadline)
        if response.status == 401:
            self.auth.invalidate(tenant.tenant_id, token)
            new_token = self._cached_token(tenant.tenant_id, tenant) or await self._fetch_token(deadline)
            if new_token is not token:
                if self._cached_token is not _no_cached_token:
                    new_token = await self._wait_for_slot(deadline)
                else:
                    await tenant.wait_for_slot(deadline)
                if body is not None and (hook := _before_write.get()) is not None:
                    await hook()
                tenant.requests += 1
                headers = self._headers(new_token, body, correlation, extra_headers)
                response = await send(method, url, headers, body, deadline)
        if response.status in THROTTLED_STATUSES:
            await tenant.apply_retry_after(response)
        return response

    async def _wait_for_slot(self, deadline: Deadline | None) -> Token:
        """Wait for a rate-limit slot, and return the token to send then: it may have been renewed or refused meanwhile.

        If a new token has to be fetched, the slot is given up for another one. Otherwise all calls that hold slots
        would wait for that token, and be sent at once.
        """
        tenant = self._tenant
        await tenant.wait_for_slot(deadline)
        token = self._cached_token(tenant.tenant_id, tenant)
        if token is None and self._cached_token is not _no_cached_token:
            await self._fetch_token(deadline)
            await tenant.wait_for_slot(deadline)
            token = self._cached_token(tenant.tenant_id, tenant)
        return token or await self._fetch_token(deadline)

    async def _fetch_token(self, deadline: Deadline | None) -> Token:
        try:
            return await self._await_token(deadline)
        except ConnectorError as error:
            # Whatever happened to the token request, the operation's own request was not sent.
            error.sent = False
            raise
        except asyncio.CancelledError:
            if is_cancelled():
                raise
        # A task that the provider awaits was cancelled. A task that callers share is cancelled with the first of them.
        raise RuntimeError(f"{type(self.auth).__name__}.token was cancelled, although the call was not")

    async def _await_token(self, deadline: Deadline | None) -> Token:
        tenant = self._tenant
        if deadline is None:
            return await self.auth.token(tenant.tenant_id, tenant)
        limit = asyncio.timeout(deadline.remaining())
        try:
            async with limit:
                return await self.auth.token(tenant.tenant_id, tenant)
        except TimeoutError:  # errors of this package can be timeouts, too
            if not limit.expired():
                raise
        raise DeadlineExceededError("the deadline expired before a token was fetched")

    def _headers(
        self, token: Token, body: bytes | None, correlation: str | None, extra: Mapping[str, str] | None
    ) -> CIMultiDict[str]:
        has_body = body is not None
        latest = self._latest[has_body]
        if latest is None or latest[0] is not token:
            if not isinstance(token, Token):
                raise TypeError(f"{type(self.auth).__name__} must return a Token, not {type(token).__name__}")
            headers = self._tenant.headers()
            headers[_AUTHORIZATION] = f"Bearer {token.value.reveal()}"
            if has_body:
                headers[_CONTENT_TYPE] = "application/json"
            self._latest[has_body] = (token, headers)
        else:
            headers = latest[1]
        if correlation is None and not extra:
            return headers
        headers = headers.copy()
        if extra:
            headers.update(extra)
        if correlation is not None:
            headers["X-Correlation-Id"] = correlation
        return headers


def _no_cached_token(_: str, __: TokenSend) -> None:
    """Return `None`, for a provider without `cached_token`."""
