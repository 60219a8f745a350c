"""The sandbox that users start and stop, embedded in a test or served by the command line.

This module builds the parts and owns their lifetimes. Requests are handled in `handler`.
"""

import asyncio
import secrets
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

from aiohttp import web
from attrs import frozen

from .browser_pages import BrowserPages
from .fault_injection import Sleep
from .faults import FaultRates, Faults
from .handler import Handler
from .operations import Operations
from .rate_limit import RequestLimiter, SandboxLimit
from .request_log import RequestLog
from .seeding import SeedAppointment, to_appointment
from .settings import (
    BodyFormat,
    PreviewPaging,
    PutSemantics,
    SandboxSettings,
    TokenResponse,
    UnknownId,
    WriteResponse,
)
from .storage import Storage, open_storage
from .tokens import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, TokenIssuer, open_token_store

_DEFAULT_CLIENTS: Final = MappingProxyType({DEFAULT_CLIENT_ID: DEFAULT_CLIENT_SECRET})
# Seconds that requests in flight get when the server stops. A client that never ends its body is then disconnected.
_SHUTDOWN_TIMEOUT: Final = 1.0
# Most JSON parsers read every integer below this bound exactly (RFC 8259, section 6).
_INTEGER_ID_BOUND: Final = 2**53


def _random_id() -> str:
    return str(uuid.uuid4())


def _random_integer_id() -> str:
    return str(secrets.randbelow(_INTEGER_ID_BOUND))


class Sandbox:
    """A local server of the Connector Public API in the running event loop.

    Use it as an async context manager, or call `start` and `aclose`. `GET /openapi.json` needs no token and describes
    the requests and responses. After `revoke_tokens`, a client that gets 401 can fetch a new token immediately.

    Where the API's documents leave a point open, a parameter selects a reading. Two readings are fixed: in the
    reference format, `adId` is required in the bodies of create and update, and `showAs` is "Free", "Tentative",
    "Busy", "OutOfOffice" or "WorkingElsewhere".

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 selects a free one.
        clients: Client ids and their secrets, accepted for every tenant.
        tenants: The tenant ids that exist; None for every id.
        token_lifetime: Seconds from issue to expiry, sent as `expiresIn`.
        token_response: Which of the two documented bodies a token response has.
        database: SQLite file of the appointments, the signing key of tokens and the revocations, created if it is
            missing; `:memory:` keeps nothing after the sandbox is closed.
        body_format: Which of the two documented body formats requests and responses use.
        put: Whether an update merges or replaces.
        write_response: Response to every write; None: a create returns the id, an update the appointment, a delete a
            confirmation.
        unknown_id: Response to reading an appointment id that does not exist.
        integer_ids: Whether ids are JSON integers in responses, and integers or strings of digits in requests.
        naive_times: Whether the reference format writes times in the appointment's `timeZone` without an offset.
        paging: Shape of preview pages, and how a client requests the next page.
        page_size: Maximum number of appointments on a page, from 1 to 2,147,483,647; an array has all appointments.
        limit: Rate limit of each tenant; None for no limit.
        fault_rates: Fraction of requests that each fault hits; None for no random faults.
        now: Wall clock in seconds since the epoch, for the issue and expiry of tokens.
        monotonic: Monotonic clock in seconds, for the rate limit.
        sleep: Waits the given number of seconds, for faults that delay.
        new_appointment_id: Returns the id for a created appointment: unique within its tenant, and a string of digits
            if ids are integers. Ids are random by default.

    Raises:
        TypeError: If `paging` is not a `PreviewPaging`, or `page_size` not an int.
        ValueError: If `page_size` is out of range.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clients: Mapping[str, str] = _DEFAULT_CLIENTS,
        tenants: Collection[str] | None = None,
        token_lifetime: int = 3600,
        token_response: TokenResponse = TokenResponse.ACCESS_TOKEN,
        database: str | Path = ":memory:",
        body_format: BodyFormat = BodyFormat.GUIDE,
        put: PutSemantics = PutSemantics.MERGE,
        write_response: WriteResponse | None = None,
        unknown_id: UnknownId = UnknownId.NOT_FOUND,
        integer_ids: bool = False,
        naive_times: bool = False,
        paging: PreviewPaging = PreviewPaging.ARRAY,
        page_size: int = 100,
        limit: SandboxLimit | None = None,
        fault_rates: FaultRates | None = None,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        new_appointment_id: Callable[[], str] | None = None,
    ) -> None:
        self._address = (host, port)
        self._database = database
        self._settings = SandboxSettings(
            clients=dict(clients),
            tenants=None if tenants is None else frozenset(tenants),
            token_lifetime=token_lifetime,
            token_response=token_response,
            new_appointment_id=new_appointment_id or (_random_integer_id if integer_ids else _random_id),
            body_format=body_format,
            put=put,
            write_response=write_response,
            unknown_id=unknown_id,
            integer_ids=integer_ids,
            naive_times=naive_times,
            paging=paging,
            page_size=page_size,
            limit=limit,
            fault_rates=fault_rates,
        )
        self._now = now
        self._sleep = sleep
        self._limiter = None if limit is None else RequestLimiter(limit, monotonic=monotonic)
        self._faults = Faults(fault_rates)
        self._log = RequestLog()
        self._running: _Running | None = None

    @property
    def base_url(self) -> str:
        """The URL of the server, without a trailing slash.

        Raises:
            RuntimeError: If the sandbox is not running.
        """
        return self._require_running().base_url

    @property
    def log(self) -> RequestLog:
        """The requests since the sandbox was created."""
        return self._log

    @property
    def faults(self) -> Faults:
        """The faults of the requests to come."""
        return self._faults

    def revoke_tokens(self, tenant: str) -> None:
        """Revoke every token that was issued for the tenant so far, even across restarts with the same database.

        Raises:
            RuntimeError: If the sandbox is not running.
            sqlite3.Error: If the revocation cannot be written.
        """
        self._require_running().tokens.revoke(tenant)

    async def seed(self, tenant: str, appointments: Sequence[SeedAppointment]) -> list[str]:
        """Store appointments of the tenant and return their ids in the same order.

        Raises:
            RuntimeError: If the sandbox is not running.
            sqlite3.Error: If an appointment cannot be written; those before it are stored.
        """
        storage, settings = self._require_running().storage, self._settings
        new_id, body_format = settings.new_appointment_id, settings.body_format
        stored = [to_appointment(seed, appointment_id=new_id(), body_format=body_format) for seed in appointments]
        await storage.add_all(tenant, stored)
        return [appointment.appointment_id for appointment in stored]

    async def start(self) -> None:
        """Open the database and listen.

        Raises:
            RuntimeError: If the sandbox is already running.
            OSError: If the address cannot be listened on.
            sqlite3.Error: If the database cannot be opened.
            ValueError: If ids are integers, but the database has other ids.
        """
        if self._running is not None:
            raise RuntimeError("the sandbox is already running")
        async with AsyncExitStack() as stack:
            storage = await stack.enter_async_context(open_storage(self._database))
            if self._settings.integer_ids and await storage.has_non_integer_ids():
                raise ValueError("the database has appointment ids that are not integers")
            store = stack.enter_context(open_token_store(self._database))
            tokens = TokenIssuer(store=store, lifetime=self._settings.token_lifetime, now=self._now)
            pages = BrowserPages(storage=storage, log=self._log, faults=self._faults)
            runner = await self._listen(self._handler(storage, tokens, pages), stack)
            stack.callback(pages.close)
            base_url = _url(*runner.addresses[0][:2])
            self._running = _Running(base_url=base_url, storage=storage, tokens=tokens, resources=stack.pop_all())

    async def aclose(self) -> None:
        """Stop listening, give requests in flight one second, and close the database. May be called repeatedly."""
        running, self._running = self._running, None
        if running is not None:
            await running.resources.aclose()

    def _require_running(self) -> "_Running":
        if self._running is None:
            raise RuntimeError("the sandbox is not running")
        return self._running

    def _handler(self, storage: Storage, tokens: TokenIssuer, pages: BrowserPages) -> Handler:
        return Handler(
            operations=Operations(settings=self._settings, storage=storage, tokens=tokens),
            pages=pages,
            log=self._log,
            faults=self._faults,
            limiter=self._limiter,
            sleep=self._sleep,
        )

    async def _listen(self, handler: Handler, stack: AsyncExitStack) -> web.ServerRunner:
        runner = web.ServerRunner(web.Server(handler, access_log=None), shutdown_timeout=_SHUTDOWN_TIMEOUT)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, *self._address).start()
        return runner

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


@frozen(kw_only=True)
class _Running:
    """The parts that exist only while the sandbox is running."""

    base_url: str
    storage: Storage
    tokens: TokenIssuer
    resources: AsyncExitStack
    """Closes the server and the databases."""


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
