"""One attempt at a request: its turn, its token, the sending, and one replay after a 401.

It does not know what is asked of the API, nor when to try again.
"""

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Final

from multidict import CIMultiDict, istr
from yarl import URL

from connector_async._checks import check_header_text
from connector_async._clock import Deadline, is_cancelled
from connector_async.auth import CachingTokenProvider, Token, TokenProvider, TokenSend
from connector_async.exceptions import ConnectorError, DeadlineExceededError
from connector_async.protocol import Response
from connector_async.retry import THROTTLED_STATUSES

from .tenant import Tenant

correlation_id: ContextVar[str | None] = ContextVar("connector_async.correlation_id", default=None)
"""What the requests of this context are part of, in printable ASCII: sent as `X-Correlation-Id`. `None`: not sent."""

_AUTHORIZATION: Final = istr("Authorization")
_CONTENT_TYPE: Final = istr("Content-Type")
_NO_TOKEN: Final = object()


class RequestSender:
    """Makes attempts for one tenant, with the tokens of one provider."""

    def __init__(self, tenant: Tenant, auth: TokenProvider) -> None:
        self.auth = auth
        self._tenant = tenant
        self._cached_token: Callable[[str, TokenSend], Token | None] = _none_at_hand
        if isinstance(auth, CachingTokenProvider):
            self._cached_token = auth.cached_token
        # A token, and the headers that carry it without a body and with one: replaced as one, since threads share it.
        self._ready: tuple[object, CIMultiDict[str], CIMultiDict[str]] = (_NO_TOKEN, CIMultiDict(), CIMultiDict())

    async def attempt(self, method: str, url: URL, body: bytes | None, deadline: Deadline | None) -> Response:
        """Send a request, twice if its token is refused with 401 and there is another one; return the answer.

        Raises:
            ThrottledError: If no rate-limit slot comes before the deadline.
            DeadlineExceededError: If the deadline came first.
            ConnectorError: No token was had, or there is no whole answer.
            ValueError: `correlation_id` cannot be carried in a header.
        """
        correlation = correlation_id.get()
        if correlation is not None:
            check_header_text("correlation_id", correlation)
        tenant = self._tenant
        # The token first: those who had their turns already, and then waited for one, would all be sent at once.
        token = self._cached_token(tenant.tenant_id, tenant) or await self._token(deadline)
        if not tenant.limiter.take():
            token = await self._token_after_slot(deadline)
        send = tenant.transport.send
        tenant.traffic.requests += 1
        response = await send(method, url, self._headers_with(token, body, correlation), body, deadline)
        if response.status == 401:
            self.auth.invalidate(tenant.tenant_id, token)
            fresh = self._cached_token(tenant.tenant_id, tenant) or await self._token(deadline)
            if fresh is not token:
                if self._cached_token is not _none_at_hand:
                    fresh = await self._token_after_slot(deadline)
                else:
                    await tenant.wait_for_slot(deadline)
                tenant.traffic.requests += 1
                response = await send(method, url, self._headers_with(fresh, body, correlation), body, deadline)
        if response.status in THROTTLED_STATUSES:
            await tenant.apply_retry_after(response)
        return response

    async def _token_after_slot(self, deadline: Deadline | None) -> Token:
        """Wait for a rate-limit slot, and return the token to send then: it may have been renewed or refused meanwhile.

        If it has to be fetched, the slot is given up for another one: all calls that had their slots would otherwise
        wait for the same token, and be sent at once.
        """
        tenant = self._tenant
        await tenant.wait_for_slot(deadline)
        token = self._cached_token(tenant.tenant_id, tenant)
        if token is None and self._cached_token is not _none_at_hand:
            await self._token(deadline)
            await tenant.wait_for_slot(deadline)
            token = self._cached_token(tenant.tenant_id, tenant)
        return token or await self._token(deadline)

    async def _token(self, deadline: Deadline | None) -> Token:
        try:
            return await self._await_token(deadline)
        except ConnectorError as error:
            # Whatever became of the token's request, the operation's own has not happened.
            error.sent = False
            raise
        except asyncio.CancelledError:
            if is_cancelled():
                raise
        # A task that the provider awaits was cancelled, as one that callers share is with the first of them.
        raise RuntimeError(f"{type(self.auth).__name__}.token was cancelled, although the call was not")

    async def _await_token(self, deadline: Deadline | None) -> Token:
        tenant = self._tenant
        if deadline is None:
            return await self.auth.token(tenant.tenant_id, tenant)
        limit = asyncio.timeout(deadline.remaining())
        try:
            async with limit:
                return await self.auth.token(tenant.tenant_id, tenant)
        except TimeoutError:  # some of our own errors are timeouts as well
            if not limit.expired():
                raise
        raise DeadlineExceededError("the deadline came before a token was had")

    def _headers_with(self, token: Token, body: bytes | None, correlation: str | None) -> CIMultiDict[str]:
        ready, headers, json_headers = self._ready
        if token is not ready:
            if not isinstance(token, Token):
                raise TypeError(f"{type(self.auth).__name__} must give a Token, not {type(token).__name__}")
            headers = self._tenant.headers()
            headers[_AUTHORIZATION] = f"Bearer {token.value.reveal()}"
            json_headers = headers.copy()
            json_headers[_CONTENT_TYPE] = "application/json"
            self._ready = (token, headers, json_headers)
        if body is not None:
            headers = json_headers
        if correlation is None:
            return headers
        headers = headers.copy()
        headers["X-Correlation-Id"] = correlation
        return headers


def _none_at_hand(_: str, __: TokenSend) -> None:
    """Stand for a provider that has to be awaited each time."""
