"""`RenewingTokenProvider`: caches tokens and renews them, with one fetch for any number of callers.

A token is renewed in an advisory and in a mandatory window before it expires, as in botocore. Subclasses fetch.
"""

import abc
import asyncio
import copy
import functools
import math
import threading
from collections.abc import Hashable
from typing import Final

import attrs

from connector_async import _log
from connector_async._clock import Clock, checked_clock
from connector_async._recent import RecentlyUsed
from connector_async._tracebacks import without_frames
from connector_async.exceptions import AuthenticationError, ConnectorError, TokenUnavailableError

from .tokens import Secret, Token, TokenSend

# Parts of a token's lifetime. In the advisory window it is renewed in the background; in the mandatory window callers
# wait for the new token. A token that lives for an hour has windows of six minutes and of 72 seconds.
_ADVISORY_WINDOW: Final = 0.1
MANDATORY_WINDOW: Final = 0.02
MIN_LIFETIME: Final = 1.0
MAX_LIFETIME: Final = 24 * 3600.0
_RENEWAL_PAUSE: Final = 60.0
_REJECTION_LIFETIME: Final = 5.0
_TOKENS: Final = 100_000  # an id from outside gets into the table only if there is a token for it
_REJECTIONS: Final = 10_000
_REFUSED: Final = -math.inf


@attrs.frozen(eq=False, repr=False)
class FetchedToken:
    """What a fetch has found."""

    value: Secret
    lifetime: float | None = None
    """Seconds from the start of the fetch, raised to one second and capped at a day. `None`: unknown. The token is then
    used until the server refuses it."""
    renew_after: float | None = None
    """Seconds after which the token is renewed in the background; after twice as long, callers wait. `None`: when a
    tenth and a fiftieth of the lifetime are left."""


@attrs.define(eq=False, repr=False)
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


_Key = tuple[str, str]  # base URL and tenant; the tenant is empty if all tenants have the same token


class RenewingTokenProvider(abc.ABC):
    """Caches the tokens that a subclass fetches, by base URL and tenant, and renews them before they expire.

    When a tenth of its lifetime is left, a token is renewed in the background. When a fiftieth is left, callers wait
    for the new token. If a renewal fails, the old token is used until it expires, and the renewal is retried after a
    minute. A token of unknown lifetime is used until the server refuses it.

    Any number of callers share one fetch. It runs in its own task, so that a cancelled caller does not affect the
    others. After an `AuthenticationError`, calls fail for 5 seconds without another fetch.

    The most recently used tokens are cached: at least 100,000 and at most 200,000. Expired tokens are dropped first.
    Each takes 0.5 kB plus its own length. At most 10,000 rejections are kept.

    Args:
        identity: Providers of one class with equal identities are equal, and a session shares the tokens of equal
            providers. `None`: the provider is equal to itself only.
        per_tenant: Whether each tenant has a token of its own.
        timeout: Seconds after which a fetch is cancelled. `None`: it ends by itself.
        clock: The clock that tokens expire by. `None`: the machine's.

    Raises:
        TypeError: If `clock` is not a `Clock`.
    """

    def __init__(
        self,
        *,
        identity: Hashable = None,
        per_tenant: bool = True,
        timeout: float | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._identity = object() if identity is None else identity
        self._per_tenant = per_tenant
        self._timeout = timeout
        self._clock = checked_clock(clock)
        self._cache: RecentlyUsed[_Key, _CachedToken] = RecentlyUsed(_TOKENS, is_expired=self._is_expired)
        self._base_urls: set[str] = set()
        """The base URLs in the keys of `_cache`."""
        self._rejections: dict[_Key, tuple[AuthenticationError, float]] = {}
        """Errors and when they expire, in the order in which they expire."""
        # By sender and event loop, not by `_Key`: sessions that share a provider have timeouts of their own, and are
        # closed at different times.
        self._fetches: dict[tuple[TokenSend, asyncio.AbstractEventLoop], asyncio.Task[Token]] = {}
        self._lock = threading.RLock()  # reentrant: with an eager task factory, creating the task runs the fetch

    @abc.abstractmethod
    async def _fetch_token(self, tenant: str, send: TokenSend) -> FetchedToken:
        """Fetch a token.

        Raises:
            AuthenticationError: If there is none, and another fetch would not help for now.
            Exception: If the fetch fails otherwise.
        """

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._identity == getattr(other, "_identity", None)

    def __hash__(self) -> int:
        return hash((type(self), self._identity))

    def cached_token(self, tenant: str, send: TokenSend) -> Token | None:
        """Return the tenant's cached token, and start its renewal if that is due. `None`: callers have to wait."""
        cached = self._cache.get((send.base_url, tenant if self._per_tenant else ""))
        if cached is None:
            return None
        now = self._clock.monotonic()
        if now < cached.advisory_at:
            return cached.token
        if now >= cached.expires_at:
            return None
        if now >= cached.renewal_at:
            self._fetch_in_task(tenant, send)
            if now >= cached.mandatory_at:
                return None
        return cached.token

    async def token(self, tenant: str, send: TokenSend) -> Token:
        """Return the tenant's token. Fetch one if none is cached, or the cached one is about to expire.

        Raises:
            AuthenticationError: If there is no token: the credentials were rejected, or their source has none. It is
                raised again for 5 seconds.
            ConnectorError: If the fetch fails otherwise.
            RuntimeError: If the session is closed or its event loop ends meanwhile.
        """
        token = self.cached_token(tenant, send)
        if token is not None:
            return token
        key = self._key(tenant, send.base_url)
        self._raise_rejection(key)
        task = self._fetch_in_task(tenant, send)
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
        """Stop using `token` if it is the tenant's current one."""
        for base_url in tuple(self._base_urls):
            cached = self._cache.get(self._key(tenant, base_url))
            if cached is not None and cached.token is token:
                cached.advisory_at = cached.expires_at = _REFUSED

    def _held_value(self, tenant: str, base_url: str) -> Secret | None:
        """Return the token that a fetch is to replace, also if it was refused or has expired."""
        cached = self._cache.get(self._key(tenant, base_url))
        return None if cached is None else cached.token.value

    def _is_refused(self, tenant: str, base_url: str) -> bool:
        """Return whether a fetch is to replace a token that the server refused."""
        cached = self._cache.get(self._key(tenant, base_url))
        return cached is not None and cached.expires_at == _REFUSED

    def _key(self, tenant: str, base_url: str) -> _Key:
        return (base_url, tenant if self._per_tenant else "")

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
            if now < expires_at and len(self._rejections) <= _REJECTIONS:
                return
            del self._rejections[key]

    def _fetch_in_task(self, tenant: str, send: TokenSend) -> asyncio.Task[Token]:
        sender = (send, asyncio.get_running_loop())
        with self._lock:
            task = self._fetches.get(sender)
            if task is None or task.done():
                for other in [other for other in self._fetches if other[1].is_closed()]:
                    del self._fetches[other]  # its loop was closed before its tasks had ended
                task = self._fetches[sender] = send.create_task(self._fetch(tenant, send))
                task.add_done_callback(functools.partial(self._end_fetch, tenant, sender))
            return task

    def _end_fetch(
        self, tenant: str, sender: tuple[TokenSend, asyncio.AbstractEventLoop], task: asyncio.Task[Token]
    ) -> None:
        if self._fetches.get(sender) is task:
            del self._fetches[sender]
        # If no caller waits, asyncio would report the exception as never retrieved.
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        key = self._key(tenant, sender[0].base_url)
        if isinstance(error, AuthenticationError):
            self._keep_rejection(key, error)
        cached = self._cache.get(key)
        if cached is not None and not self._is_expired(cached):
            cached.renewal_at = self._clock.monotonic() + _RENEWAL_PAUSE
            _log.token_refresh_failure(tenant=tenant, retry_in=_RENEWAL_PAUSE, error=error)

    async def _fetch(self, tenant: str, send: TokenSend) -> Token:
        started_at = self._clock.monotonic()
        try:
            fetched = await self._fetch_in_time(tenant, send)
        except Exception as error:  # noqa: BLE001 - raised below
            failure = error
        else:
            return self._store(tenant, send.base_url, fetched, started_at)
        try:
            raise without_frames(failure)
        finally:
            del failure  # its traceback refers to this frame: a reference cycle

    async def _fetch_in_time(self, tenant: str, send: TokenSend) -> FetchedToken:
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                return await self._fetch_token(tenant, send)
        except TimeoutError:  # errors of a fetch can be timeouts, too
            if not limit.expired():
                raise
        raise TokenUnavailableError(f"{self!r} had no token within {self._timeout:g} s", sent=False)

    def _store(self, tenant: str, base_url: str, fetched: FetchedToken, started_at: float) -> Token:
        """Cache a token, and return it.

        A token of unknown lifetime that is fetched again stays the same object, so that a call does not send it a
        second time after a 401. One with a lifetime was issued anew, and is tried.
        """
        bounded = None if fetched.lifetime is None else min(max(fetched.lifetime, MIN_LIFETIME), MAX_LIFETIME)
        lifetime = math.inf if bounded is None else bounded
        advisory_after, mandatory_after = lifetime * (1 - _ADVISORY_WINDOW), lifetime * (1 - MANDATORY_WINDOW)
        if fetched.renew_after is not None:
            advisory_after, mandatory_after = fetched.renew_after, 2 * fetched.renew_after
        key = self._key(tenant, base_url)
        token = Token(fetched.value, None if bounded is None else started_at + bounded)
        previous = self._cache.get(key)
        is_same = previous is not None and previous.token.value == token.value
        if previous is not None and is_same and token.expires_at is None:
            token = previous.token
        self._base_urls.add(base_url)
        self._cache.put(
            key,
            _CachedToken(
                token,
                advisory_at=started_at + advisory_after,
                renewal_at=started_at + advisory_after,
                mandatory_at=started_at + mandatory_after,
                expires_at=started_at + lifetime,
            ),
        )
        if not is_same:
            _log.token_refresh(tenant=tenant, lifetime=bounded)
        return token
