"""State that a session shares with those from its `for_tenant`, and the sleep that closing the session ends.

It knows no requests.
"""

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import tzinfo
from typing import Final

import attrs
from yarl import URL

from connector_async._checks import check_base_url, check_seconds, check_time_zone, check_type, validator
from connector_async._clock import Clock, resolve, wake
from connector_async._recent import RecentlyUsed
from connector_async.auth import TokenProvider
from connector_async.auth.renewing import RenewingTokenProvider
from connector_async.exceptions import InvalidArgumentError
from connector_async.protocol import quote_segment
from connector_async.rate_limit import Limiter, RateLimit, RateLimitStore
from connector_async.rate_limit.limiter import Sleep
from connector_async.retry import RetryQuota, RetryQuotaStore, SharedRetryQuota
from connector_async.wire import WireFormat

from .middleware import Middleware
from .telemetry import Telemetry
from .tenant import RequestOptions, Tenant
from .transport import Transport

_RECENT: Final = 10_000


class InterruptibleSleep:
    """Sleeps on a clock. Closing it wakes every sleeper, in any event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # A subclass may override the coroutine. The default needs no task, which would cost more than all the rest.
        self._has_own_sleep = getattr(clock.sleep, "__func__", None) is not Clock.sleep
        self._sleepers: set[asyncio.Future[None]] = set()
        self.closed = False
        """Whether `close` was called. Every later `sleep` raises."""

    async def sleep(self, seconds: float, others: set[asyncio.Future[None]] | None = None) -> None:
        """Wait for a number of seconds.

        Args:
            seconds: How long to wait.
            others: A set that holds the future of this wait meanwhile. `wake` ends the waits of such a set.

        Raises:
            ValueError: If `seconds` is negative or NaN.
            TypeError: If `seconds` is neither an int nor a float.
            RuntimeError: If the session is closed, or is closed meanwhile.
        """
        check_seconds("seconds", seconds, finite=False)  # a NaN among the timers of a loop breaks their order
        loop = asyncio.get_running_loop()
        sleeper: asyncio.Future[None] = loop.create_future()
        groups = (self._sleepers,) if others is None else (self._sleepers, others)
        for group in groups:
            group.add(sleeper)
        try:
            if self.closed:  # checked only now, when `close` can see the sleeper
                raise RuntimeError("the session is closed")
            timer = self._start_timer(seconds, sleeper, loop)
            try:
                await sleeper
            finally:
                timer.cancel()
        finally:
            for group in groups:
                group.discard(sleeper)
        if self.closed:
            raise RuntimeError("the session was closed while a call waited")

    def close(self) -> None:
        """Wake every sleeper."""
        self.closed = True
        wake(self._sleepers)

    def _start_timer(
        self, seconds: float, sleeper: asyncio.Future[None], loop: asyncio.AbstractEventLoop
    ) -> asyncio.TimerHandle | asyncio.Task[None]:
        if not self._has_own_sleep:
            return loop.call_later(seconds, resolve, sleeper)
        task = loop.create_task(self._clock.sleep(seconds), name="connector_async wait")
        task.add_done_callback(lambda task: _pass_on_result(task, sleeper))
        return task


def _pass_on_result(clock_sleep: "asyncio.Task[None]", sleeper: asyncio.Future[None]) -> None:
    if sleeper.done():
        if not clock_sleep.cancelled():
            clock_sleep.exception()  # otherwise asyncio reports that it was never retrieved
    elif clock_sleep.cancelled():
        sleeper.set_exception(RuntimeError("the clock cancelled its own sleep"))
    elif (error := clock_sleep.exception()) is not None:
        sleeper.set_exception(error)
    else:
        sleeper.set_result(None)


@attrs.define(eq=False, repr=False, kw_only=True)
class SessionState:
    """The options, tenants and connections that a session shares with those from its `for_tenant`.

    A tenant is one object for as long as a session of it exists. Of the other tenants those used last are kept: 10,000
    at least and 20,000 at most, at 1 kB each. The same holds for credentials.

    Raises:
        ValueError: If an option is out of its range. The message names the option.
        TypeError: If an option has another type. The message names the option.
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
    headers: Mapping[str, str]
    """Extra headers of each request. A gateway's key is a secret."""
    middlewares: tuple[Middleware, ...]
    telemetry: Telemetry | None = attrs.field(validator=validator(check_type, Telemetry, optional=True))
    interruptible_sleep: InterruptibleSleep = attrs.field(
        init=False, default=attrs.Factory(lambda self: InterruptibleSleep(self.clock), takes_self=True)
    )
    _sleep: Sleep = attrs.field(
        init=False, default=attrs.Factory(lambda self: self.interruptible_sleep.sleep, takes_self=True)
    )
    """One bound method for all tenants, which would take a tenth of the memory of each."""
    _tenants: RecentlyUsed[str, Tenant] = attrs.field(
        init=False, factory=lambda: RecentlyUsed(_RECENT, keeps_used=True)
    )
    _credentials: RecentlyUsed[RenewingTokenProvider, RenewingTokenProvider] = attrs.field(
        init=False, factory=lambda: RecentlyUsed(_RECENT)
    )
    _request_options: RequestOptions = attrs.field(
        init=False, default=attrs.Factory(lambda self: self._new_request_options(), takes_self=True)
    )
    _quota_store: RetryQuotaStore | None = attrs.field(
        init=False, default=attrs.Factory(lambda self: _quota_store(self.rate_limit_store), takes_self=True)
    )
    """The store of the rate-limit slots if it keeps retry quotas, too. To ask for each tenant would take 10 µs."""

    def tenant(self, tenant_id: str) -> Tenant:
        """Return the tenant with an id. It is the same object for as long as a session of the tenant exists."""
        return self._tenants.get_or_make(tenant_id, self._new_tenant)

    def _new_tenant(self, tenant_id: str) -> Tenant:
        key = f"{self.base_url}/{quote_segment(tenant_id)}"
        limiter = Limiter(key, self.rate_limit, self.rate_limit_store, self._sleep)
        quota = RetryQuota() if self._quota_store is None else SharedRetryQuota(key, self._quota_store)
        return Tenant(tenant_id, limiter, quota, self._request_options)

    def _new_request_options(self) -> RequestOptions:
        return RequestOptions(
            base_url=self.base_url,
            user_agent=self.user_agent,
            extra_headers=self.headers,
            transport=self.transport,
            clock=self.clock,
            telemetry=self.telemetry,
            adds_headers=not self.has_chain,
        )

    @property
    def has_chain(self) -> bool:
        """Whether calls go through a `MiddlewareChain`."""
        return bool(self.middlewares) or self.telemetry is not None

    def deduplicate_credentials(self, auth: TokenProvider) -> TokenProvider:
        """Return the provider to use for `auth`. Equal providers get the same one, and so share their tokens."""
        return self._credentials.get_or_make(auth, _itself) if isinstance(auth, RenewingTokenProvider) else auth

    async def aclose(self) -> None:
        """Wake the calls that wait, end the token fetches, and close the connections."""
        self.interruptible_sleep.close()
        try:
            await self._end_fetches()
        finally:
            await self.transport.aclose()

    async def _end_fetches(self) -> None:
        """Cancel the token fetches, and wait until those of this event loop have ended."""
        in_this_loop = []
        for task in list(self._request_options.fetches):
            if task.get_loop() is asyncio.get_running_loop():
                task.cancel()
                in_this_loop.append(task)
            else:
                with contextlib.suppress(RuntimeError):  # its loop is closed by now
                    task.get_loop().call_soon_threadsafe(task.cancel)
        if in_this_loop:
            await asyncio.wait(in_this_loop)


def _itself(auth: RenewingTokenProvider) -> RenewingTokenProvider:
    return auth


def _quota_store(store: RateLimitStore) -> RetryQuotaStore | None:
    return store if isinstance(store, RetryQuotaStore) else None


def normalize_base_url(base_url: str, *, allow_http: bool) -> str:
    """Return `base_url` as it is sent: its host in IDNA, its path quoted and without dot segments.

    Raises:
        ValueError: If `check_base_url` rejects `base_url`, or its host cannot be encoded in IDNA.
        TypeError: If `base_url` is not a str, or `allow_http` is not a bool.
    """
    checked = check_base_url(base_url, allow_http=allow_http)
    try:
        url = URL(checked)
        (url.raw_host or "").encode("idna")  # otherwise an empty label would fail only in the first request
        return str(url).rstrip("/")
    except ValueError:  # UnicodeError is one
        pass
    raise InvalidArgumentError("base_url is not a valid URL", argument="base_url")
