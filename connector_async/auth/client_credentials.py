"""`ClientCredentials`: one token request for however many callers, renewed ahead of its end.

The two windows in which a token is renewed are botocore's model.
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

# Shares of a token's life. When the first is left, it is renewed in the background; when the second is, callers wait
# for the new one: an hour's token has then six minutes, or 72 seconds.
_ADVISORY_WINDOW: Final = 0.1
_MANDATORY_WINDOW: Final = 0.02
_RENEWAL_PAUSE: Final = 60.0
_REJECTION_LIFETIME: Final = 5.0
_RECENT: Final = 10_000


@attrs.define(eq=False)
class _Kept:
    """A token, and the moments that its life has, by the clock's `monotonic`."""

    token: Token
    advisory_at: float
    """From when on it is renewed in the background."""
    renewal_at: float
    """When that is tried next: later than `advisory_at` when it has failed."""
    mandatory_at: float
    """From when on callers wait for the new one."""
    expires_at: float


_Key = tuple[str, str]  # base URL and tenant


class ClientCredentials:
    """Exchanges a client id and its secret for tokens, at the tenant's token endpoint.

    Tokens are kept by (base URL, tenant). When a tenth of its life is left, a token is renewed in the background; when
    a fiftieth is, callers wait for the new one. A renewal that fails leaves the old one in use for as long as it lives,
    and is tried again after a minute. However many callers wait for a token, one request fetches it, in a task of its
    own: a caller that is cancelled takes nothing from the others. Credentials that are rejected are not tried again for
    5 seconds. Instances with the same id and secret are equal, and a session lets equal ones share their tokens.

    The tokens that were used last are kept, 10,000 at least and 20,000 at most; expired ones are dropped first. Each
    takes 0.5 kB beside its own length. At most 10,000 rejections are kept.

    Raises:
        ValueError: The id or the secret is empty, or has a control character.
        TypeError: The id or the secret is no text, or `clock` no `Clock`.
    """

    @hiding_arguments
    def __init__(self, client_id: str, client_secret: str, *, clock: Clock | None = None) -> None:
        check_text("client_id", client_id)
        check_text("client_secret", client_secret)
        self.client_id = client_id
        self._client_secret = Secret(client_secret)
        self._clock = checked_clock(clock)
        self._kept: RecentlyUsed[_Key, _Kept] = RecentlyUsed(_RECENT, is_expired=self._is_expired)
        self._base_urls: set[str] = set()
        """Of the keys of `_kept`."""
        self._rejections: dict[_Key, tuple[AuthenticationError, float]] = {}
        """By when they end, the first one first."""
        # By who sends, and where: sessions with these credentials have timeouts and ends of their own, and so have
        # event loops.
        self._fetches: dict[tuple[TokenSend, asyncio.AbstractEventLoop], asyncio.Task[Token]] = {}
        self._lock = threading.RLock()  # an eager task factory runs a fetch within what creates its task

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
        """Return the tenant's token while it need not be waited for, and begin to renew it when that is due."""
        key = (send.base_url, tenant)
        kept = self._kept.get(key)
        if kept is None:
            return None
        now = self._clock.monotonic()
        if now < kept.advisory_at:
            return kept.token
        if now >= kept.expires_at:
            return None
        if now >= kept.renewal_at:
            self._fetch_in_task(key, send)
            if now >= kept.mandatory_at:
                return None
        return kept.token

    async def token(self, tenant: str, send: TokenSend) -> Token:
        """Return the tenant's token, fetching one when there is none or the kept one is about to expire.

        Raises:
            AuthenticationError: The credentials are rejected, now or a moment ago.
            DecodingError: The answer has no token.
            ConnectorError: The endpoint answered otherwise, or not at all.
            RuntimeError: The session was closed, or its event loop shut down.
        """
        key = (send.base_url, tenant)
        at_hand = self.cached_token(tenant, send)
        if at_hand is not None:
            return at_hand
        self._raise_rejection(key)
        task = self._fetch_in_task(key, send)
        # Unlike awaiting the task, asyncio.wait leaves it running when this caller is cancelled.
        await asyncio.wait([task])
        if task.cancelled():
            raise RuntimeError("the session was closed while it fetched a token")
        error = task.exception()
        if error is None:
            return task.result()
        kept = self._kept.get(key)
        if kept is not None and not self._is_expired(kept):
            return kept.token
        if isinstance(error, ConnectorError):
            raise copy.copy(error)  # each caller's own, since a traceback is written into what is raised
        raise error

    def invalidate(self, tenant: str, token: Token) -> None:
        """Forget `token` if it is still the tenant's current one."""
        for base_url in tuple(self._base_urls):
            key = (base_url, tenant)
            kept = self._kept.get(key)
            if kept is not None and kept.token is token:
                self._kept.remove(key, kept)

    def _is_expired(self, kept: _Kept) -> bool:
        return self._clock.monotonic() >= kept.expires_at

    def _raise_rejection(self, key: _Key) -> None:
        with self._lock:
            self._drop_rejections()
            error, _ = self._rejections.get(key, (None, 0.0))
        if error is not None:
            raise copy.copy(error)

    def _keep_rejection(self, key: _Key, error: AuthenticationError) -> None:
        with self._lock:
            self._rejections.pop(key, None)
            self._rejections[key] = (without_frames(error), self._clock.monotonic() + _REJECTION_LIFETIME)
            self._drop_rejections()

    def _drop_rejections(self) -> None:
        """Drop those that have ended, and the first ones of too many."""
        now = self._clock.monotonic()
        while self._rejections:
            key, (_, until) = next(iter(self._rejections.items()))
            if now < until and len(self._rejections) <= _RECENT:
                return
            del self._rejections[key]

    def _fetch_in_task(self, key: _Key, send: TokenSend) -> asyncio.Task[Token]:
        place = (send, asyncio.get_running_loop())
        with self._lock:
            task = self._fetches.get(place)
            if task is None or task.done():
                for other in [other for other in self._fetches if other[1].is_closed()]:
                    del self._fetches[other]  # its loop was closed without ending its tasks
                task = self._fetches[place] = send.create_task(self._fetch(key, send))
                task.add_done_callback(functools.partial(self._end_fetch, key, place))
            return task

    def _end_fetch(
        self, key: _Key, place: tuple[TokenSend, asyncio.AbstractEventLoop], task: asyncio.Task[Token]
    ) -> None:
        if self._fetches.get(place) is task:
            del self._fetches[place]
        # To ask for the exception keeps asyncio from reporting it as never retrieved when no caller waited.
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if isinstance(error, AuthenticationError):
            self._keep_rejection(key, error)
        kept = self._kept.get(key)
        if kept is not None and not self._is_expired(kept):
            kept.renewal_at = self._clock.monotonic() + _RENEWAL_PAUSE
            _log.token_refresh_failure(tenant=key[1], retry_in=_RENEWAL_PAUSE, error=error)

    async def _fetch(self, key: _Key, send: TokenSend) -> Token:
        asked_at = self._clock.monotonic()
        try:
            secret, lifetime = read_token(await send.post_token_request(self._request()))
        except Exception as error:  # noqa: BLE001 - raised below
            failed = error
        else:
            return self._keep(key, secret, asked_at, lifetime)
        try:
            raise without_frames(failed)
        finally:
            del failed  # its traceback has this frame: a cycle

    def _request(self) -> bytes:
        return orjson.dumps({"clientId": self.client_id, "clientSecret": self._client_secret.reveal()})

    def _keep(self, key: _Key, secret: Secret, asked_at: float, lifetime: float) -> Token:
        token = Token(secret, asked_at + lifetime)
        advisory_at = asked_at + lifetime * (1 - _ADVISORY_WINDOW)
        kept = _Kept(
            token,
            advisory_at=advisory_at,
            renewal_at=advisory_at,
            mandatory_at=asked_at + lifetime * (1 - _MANDATORY_WINDOW),
            expires_at=asked_at + lifetime,
        )
        self._base_urls.add(key[0])
        self._kept.put(key, kept)
        _log.token_refresh(tenant=key[1], lifetime=lifetime)
        return token
