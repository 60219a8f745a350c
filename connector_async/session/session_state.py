"""What a session and all that `for_tenant` makes of it have in common. It knows no requests."""

import asyncio
import contextlib
import threading
import weakref
from datetime import tzinfo
from typing import Final

import attrs
from yarl import URL

from connector_async._checks import check_base_url, check_seconds, check_time_zone, check_type, validator
from connector_async._clock import Clock
from connector_async._recent import RecentlyUsed
from connector_async.auth import ClientCredentials, Token, TokenProvider
from connector_async.protocol import quote_path
from connector_async.rate_limit import Limiter, RateLimit, RateLimitStore
from connector_async.wire import WireFormat

from .interruptible_sleep import InterruptibleSleep
from .tenant import Tenant
from .transport import Transport

_RECENT: Final = 10_000


@attrs.define(eq=False, kw_only=True)
class SessionState:
    """What a session and all that `for_tenant` makes of it have in common.

    A tenant is one object for as long as anybody holds a session of it. Of the others those are kept that were used
    last, 10,000 at least and 20,000 at most, each of which takes 2 kB; so are credentials.

    Raises:
        ValueError: An option is out of its range; the message names it.
        TypeError: An option is of another type; the message names it.
    """

    base_url: str
    user_agent: str
    wire_format: WireFormat = attrs.field(validator=validator(check_type, WireFormat))
    assume_zone: tzinfo | None = attrs.field(validator=validator(check_time_zone, optional=True))
    clock: Clock
    transport: Transport
    deadline: float | None = attrs.field(
        validator=validator(check_seconds, optional=True, above_zero=True, finite=False)
    )
    """Seconds for each call; `None`: 60 for a single call, none for a bulk call; `math.inf`: none."""
    rate_limit: RateLimit = attrs.field(validator=validator(check_type, RateLimit))
    rate_limit_store: RateLimitStore = attrs.field(validator=validator(check_type, RateLimitStore))
    naps: InterruptibleSleep = attrs.field(
        init=False, default=attrs.Factory(lambda self: InterruptibleSleep(self.clock), takes_self=True)
    )
    _tenants: weakref.WeakValueDictionary[str, Tenant] = attrs.field(init=False, factory=weakref.WeakValueDictionary)
    """Those that anybody holds, `_recent` included."""
    _recent: RecentlyUsed[str, Tenant] = attrs.field(init=False, factory=lambda: RecentlyUsed(_RECENT))
    _credentials: RecentlyUsed[ClientCredentials, ClientCredentials] = attrs.field(
        init=False, factory=lambda: RecentlyUsed(_RECENT)
    )
    _fetches: set[asyncio.Task[Token]] = attrs.field(init=False, factory=set)
    _lock: threading.Lock = attrs.field(init=False, factory=threading.Lock)

    def tenant(self, tenant_id: str) -> Tenant:
        """Return the tenant of that id, the same one for as long as anybody holds it."""
        tenant = self._recent.get(tenant_id)
        if tenant is None:
            with self._lock:
                tenant = self._tenants.get(tenant_id)
                if tenant is None:
                    tenant = self._tenants[tenant_id] = self._new_tenant(tenant_id)
                self._recent.put(tenant_id, tenant)
        return tenant

    def _new_tenant(self, tenant_id: str) -> Tenant:
        key = self.base_url + quote_path(tenant_id)
        limiter = Limiter(key, self.rate_limit, self.rate_limit_store, self.naps.sleep)
        return Tenant(tenant_id, self.base_url, self.user_agent, limiter, self.transport, self.clock, self._fetches)

    def deduplicate(self, auth: TokenProvider) -> TokenProvider:
        """Return the provider to use for `auth`: one for equal credentials, so that they share their tokens."""
        return self._credentials.setdefault(auth, auth) if isinstance(auth, ClientCredentials) else auth

    async def aclose(self) -> None:
        """End the fetches of tokens, and close the connections."""
        self.naps.close()
        try:
            await self._end_fetches()
        finally:
            await self.transport.aclose()

    async def _end_fetches(self) -> None:
        """End the fetches of tokens; those of this event loop have ended then."""
        here = []
        for task in list(self._fetches):
            if task.get_loop() is asyncio.get_running_loop():
                task.cancel()
                here.append(task)
            else:
                with contextlib.suppress(RuntimeError):  # its loop is closed by now
                    task.get_loop().call_soon_threadsafe(task.cancel)
        if here:
            await asyncio.wait(here)


def base_url_as_sent(base_url: str, *, allow_http: bool) -> str:
    """Return `base_url` with its host in IDNA, and its path quoted and without dot segments.

    Raises:
        ValueError: See `check_base_url`.
        TypeError: See `check_base_url`.
    """
    checked = check_base_url(base_url, allow_http=allow_http)
    try:
        url = URL(checked)
        (url.raw_host or "").encode("idna")  # an empty label would fail with the first request only
        return str(url).rstrip("/")
    except ValueError:  # UnicodeError is one
        pass
    raise ValueError("base_url is not a valid URL")
