"""`ClientCredentials`: gets tokens for a client id and a secret, with one request for any number of callers.

A token is renewed in an advisory and in a mandatory window before it expires, as in botocore.
"""

import asyncio
import copy
import functools
import threading
from typing import Final

import attrs
import orjson

from connector_async import _log
from connector_async._checks import check_text
from connector_async._clock import Clock, checked_clock
from connector_async._recent import RecentlyUsed
from connector_async._tracebacks import hiding_arguments, without_frames
from connector_async.exceptions import AuthenticationError, ConnectorError

from .token_response import read_token
from .tokens import Secret, Token, TokenSend

# Parts of a token's lifetime. In the advisory window it is renewed in the background; in the mandatory window callers
# wait for the new token. A token that lives for an hour has windows of six minutes and of 72 seconds.
_ADVISORY_WINDOW: Final = 0.1
_MANDATORY_WINDOW: Final = 0.02
_RENEWAL_PAUSE: Final = 60.0
_REJECTION_LIFETIME: Final = 5.0
_RECENT: Final = 10_000


@attrs.define(eq=False)
class _CachedToken:
    """A token with the times at which it is renewed, by the clock's `monotonic`."""

    token: Token
    advisory_at: float
    """When the advisory window starts: the token is renewed in the background."""
    renewal_at: float
    """When the next renewal is due. After a failed renewal it is later than `advisory_at`."""
    mandatory_at: float
    """When the mandatory window starts: callers wait for the new token."""
    expires_at: float


_Key = tuple[str, str]  # base URL and tenant


class ClientCredentials:
    """Gets tokens for a client id and its secret from the tenant's token endpoint.

    Tokens are cached by base URL and tenant. When a tenth of its lifetime is left, a token is renewed in the
    background. When a fiftieth is left, callers wait for the new token. If a renewal fails, the old token is used until
    it expires, and the renewal is retried after a minute.

    Any number of callers share one token request. It runs in its own task, so that a cancelled caller does not affect
    the others. After rejected credentials, calls fail for 5 seconds without another request. Instances with the same id
    and secret are equal, and a session shares the tokens of equal instances.

    The most recently used tokens are cached: at least 10,000 and at most 20,000. Expired tokens are dropped first. Each
    takes 0.5 kB plus its own length. At most 10,000 rejections are kept.

    Raises:
        ValueError: If the id or the secret is empty or not printable.
        TypeError: If the id or the secret is not a str, or `clock` is not a `Clock`.
    """

    @hiding_arguments
    def __init__(self, client_id: str, client_secret: str, *, clock: Clock | None = None) -> None:
        check_text("client_id", client_id)
        check_text("client_secret", client_secret)
        self.client_id = client_id
        self._client_secret = Secret(client_secret)
        self._clock = checked_clock(clock)
        self._cache: RecentlyUsed[_Key, _CachedToken] = RecentlyUsed(_RECENT, is_expired=self._is_expired)
        self._base_urls: set[str] = set()
        """The base URLs in the keys of `_cache`."""
        self._rejections: dict[_Key, tuple[AuthenticationError, float]] = {}
        """Errors and when they expire, in the order in which they expire."""
        # By sender and event loop, not by `_Key`: sessions that share these credentials have timeouts of their own, and
        # are closed at different times.
        self._fetches: dict[tuple[TokenSend, asyncio.AbstractEventLoop], asyncio.Task[Token]] = {}
        self._lock = threading.RLock()  # reentrant: with an eager task factory, creating the task runs the fetch

    def __repr__(self) -> str:
        return f"ClientCredentials({self.client_id!r}, '…')"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ClientCredentials)
            and self.client_id == other.client_id
            and self._client_secret == other._client_secret
        )

    def __hash__(self) -> int:
        return hash((self.client_id, self._client_secret))

    def cached_token(self, tenant: str, send: TokenSend) -> Token | None:
        """Return the tenant's cached token, and start its renewal if that is due. `None`: callers have to wait."""
        key = (send.base_url, tenant)
        cached = self._cache.get(key)
        if cached is None:
            return None
        now = self._clock.monotonic()
        if now < cached.advisory_at:
            return cached.token
        if now >= cached.expires_at:
            return None
        if now >= cached.renewal_at:
            self._fetch_in_task(key, send)
            if now >= cached.mandatory_at:
                return None
        return cached.token

    async def token(self, tenant: str, send: TokenSend) -> Token:
        """Return the tenant's token. Fetch one if none is cached, or the cached one is about to expire.

        Raises:
            AuthenticationError: If the credentials are rejected, or were rejected within the last 5 seconds.
            DecodingError: If the response has no token.
            ConnectorError: If the token endpoint returns another error, or there is no response.
            RuntimeError: If the session is closed or its event loop ends meanwhile.
        """
        key = (send.base_url, tenant)
        token = self.cached_token(tenant, send)
        if token is not None:
            return token
        self._raise_rejection(key)
        task = self._fetch_in_task(key, send)
        # Unlike `await task`, asyncio.wait leaves the task running when this caller is cancelled.
        await asyncio.wait([task])
        if task.cancelled():
            raise RuntimeError("the session was closed while it fetched a token")
        error = task.exception()
        if error is None:
            return task.result()
        cached = self._cache.get(key)
        if cached is not None and not self._is_expired(cached):
            return cached.token
        if isinstance(error, ConnectorError):
            raise copy.copy(error)  # one for each caller, since raising sets the traceback of the object
        raise error

    def invalidate(self, tenant: str, token: Token) -> None:
        """Drop `token` from the cache if it is the tenant's current one."""
        for base_url in tuple(self._base_urls):
            key = (base_url, tenant)
            cached = self._cache.get(key)
            if cached is not None and cached.token is token:
                self._cache.remove(key, cached)

    def _is_expired(self, cached: _CachedToken) -> bool:
        return self._clock.monotonic() >= cached.expires_at

    def _raise_rejection(self, key: _Key) -> None:
        with self._lock:
            self._expire_rejections()
            error, _ = self._rejections.get(key, (None, 0.0))
        if error is not None:
            raise copy.copy(error)

    def _keep_rejection(self, key: _Key, error: AuthenticationError) -> None:
        with self._lock:
            self._rejections.pop(key, None)
            self._rejections[key] = (without_frames(error), self._clock.monotonic() + _REJECTION_LIFETIME)
            self._expire_rejections()

    def _expire_rejections(self) -> None:
        """Drop expired rejections, and the oldest ones if there are too many."""
        now = self._clock.monotonic()
        while self._rejections:
            key, (_, expires_at) = next(iter(self._rejections.items()))
            if now < expires_at and len(self._rejections) <= _RECENT:
                return
            del self._rejections[key]

    def _fetch_in_task(self, key: _Key, send: TokenSend) -> asyncio.Task[Token]:
        sender = (send, asyncio.get_running_loop())
        with self._lock:
            task = self._fetches.get(sender)
            if task is None or task.done():
                for other in [other for other in self._fetches if other[1].is_closed()]:
                    del self._fetches[other]  # its loop was closed before its tasks had ended
                task = self._fetches[sender] = send.create_task(self._fetch(key, send))
                task.add_done_callback(functools.partial(self._end_fetch, key, sender))
            return task

    def _end_fetch(
        self, key: _Key, sender: tuple[TokenSend, asyncio.AbstractEventLoop], task: asyncio.Task[Token]
    ) -> None:
        if self._fetches.get(sender) is task:
            del self._fetches[sender]
        # If no caller waits, asyncio would report the exception as never retrieved.
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if isinstance(error, AuthenticationError):
            self._keep_rejection(key, error)
        cached = self._cache.get(key)
        if cached is not None and not self._is_expired(cached):
            cached.renewal_at = self._clock.monotonic() + _RENEWAL_PAUSE
            _log.token_refresh_failure(tenant=key[1], retry_in=_RENEWAL_PAUSE, error=error)

    async def _fetch(self, key: _Key, send: TokenSend) -> Token:
        sent_at = self._clock.monotonic()
        try:
            secret, lifetime = read_token(await send.post_token_request(self._request()))
        except Exception as error:  # noqa: BLE001 - raised below
            failure = error
        else:
            return self._store(key, secret, sent_at, lifetime)
        try:
            raise without_frames(failure)
        finally:
            del failure  # its traceback refers to this frame: a reference cycle

    def _request(self) -> bytes:
        return orjson.dumps({"clientId": self.client_id, "clientSecret": self._client_secret.reveal()})

    def _store(self, key: _Key, secret: Secret, sent_at: float, lifetime: float) -> Token:
        token = Token(secret, sent_at + lifetime)
        advisory_at = sent_at + lifetime * (1 - _ADVISORY_WINDOW)
        cached = _CachedToken(
            token,
            advisory_at=advisory_at,
            renewal_at=advisory_at,
            mandatory_at=sent_at + lifetime * (1 - _MANDATORY_WINDOW),
            expires_at=sent_at + lifetime,
        )
        self._base_urls.add(key[0])
        self._cache.put(key, cached)
        _log.token_refresh(tenant=key[1], lifetime=lifetime)
        return token
