"""The sandbox as its user sees it: started and stopped, embedded in a test or served by a command line.

It puts the parts together and owns their lifetimes; what is answered is decided elsewhere.
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

from .delivery import Sleep
from .faults import FaultRates, Faults
from .handler import Handler, RateGate
from .limits import Limiter, SandboxLimit
from .operations import Operations
from .request_log import RequestLog
from .seeding import SeedAppointment, to_appointment
from .settings import BodyFormat, PreviewPaging, PutSemantics, Settings, UnknownId, WriteReply
from .storage import Storage, open_storage
from .token_store import open_token_store
from .tokens import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, TokenReply, Tokens

_DEFAULT_CLIENTS: Final = MappingProxyType({DEFAULT_CLIENT_ID: DEFAULT_CLIENT_SECRET})
# Seconds a request in flight may still take when the server stops; a client that never ends its body is cut off.
_SHUTDOWN_TIMEOUT: Final = 1.0
# Every integer below is exact in JSON as most parsers read it (RFC 8259, section 6).
_INTEGER_IDS: Final = 2**53


def _random_id() -> str:
    return str(uuid.uuid4())


def _random_integer_id() -> str:
    return str(secrets.randbelow(_INTEGER_IDS))


class Sandbox:
    """A local server of the Connector Public API in the running event loop.

    Use it as an async context manager, or call `start` and `aclose`. A client that gets 401 after `revoke_tokens`
    can fetch a new token at once. `GET /openapi.json`, without a token, tells what it accepts and answers.

    Where the API's documents leave a point open, a parameter chooses. In the reference's format, `adId` is required
    in the bodies of create and update too, and `showAs` is "Free", "Tentative", "Busy", "OutOfOffice" or
    "WorkingElsewhere": our reading of what could not be read.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        clients: Client id to secret, accepted for every tenant.
        tenants: The tenant ids that exist; None: every one does.
        token_lifetime: Seconds from issue to expiry, also answered as `expiresIn`.
        token_reply: Which of the two documented answers a token request gets.
        database: SQLite file of appointments, the key of the tokens and their revocations, created when missing;
            `:memory:` forgets everything on close.
        body_format: Which of the two documented body formats is spoken.
        put: Whether an update merges or replaces.
        write_reply: What every write answers; None: a create the id, an update the appointment, a delete a
            confirmation.
        unknown_id: What reading one appointment answers when there is none of that id.
        integer_ids: Whether ids are JSON integers in answers, and integers or their digits in requests.
        naive_times: Whether, in the reference's format, times are answered in their `timeZone` without an offset.
        paging: In what pages a preview comes, and how the next one is asked for.
        page_size: How many appointments a page has at most, from 1 to 2,147,483,647; an array has all there is.
        limit: How many requests a tenant may make; None: any number.
        fault_rates: Which share of the requests what fault hits; None: none.
        now: Wall clock in seconds since the epoch, by which tokens are issued and expire.
        monotonic: Clock in seconds since any moment, by which the limit counts.
        sleep: Waits for so many seconds; faults that delay use it.
        new_appointment_id: Makes the id of each created appointment, unique within its tenant, and of digits when ids
            are integers; random by default.

    Raises:
        TypeError: `paging` is no `PreviewPaging`, or `page_size` no integer.
        ValueError: `page_size` is less than 1, or more than that.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clients: Mapping[str, str] = _DEFAULT_CLIENTS,
        tenants: Collection[str] | None = None,
        token_lifetime: int = 3600,
        token_reply: TokenReply = TokenReply.ACCESS_TOKEN,
        database: str | Path = ":memory:",
        body_format: BodyFormat = BodyFormat.GUIDE,
        put: PutSemantics = PutSemantics.MERGE,
        write_reply: WriteReply | None = None,
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
        self._settings = Settings(
            clients=dict(clients),
            tenants=None if tenants is None else frozenset(tenants),
            token_lifetime=token_lifetime,
            token_reply=token_reply,
            new_appointment_id=new_appointment_id or (_random_integer_id if integer_ids else _random_id),
            body_format=body_format,
            put=put,
            write_reply=write_reply,
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
        self._gate = None if limit is None else RateGate(limit, Limiter(limit, monotonic=monotonic))
        self._faults = Faults(fault_rates)
        self._log = RequestLog()
        self._running: _Running | None = None

    @property
    def base_url(self) -> str:
        """Where it listens, without a trailing slash.

        Raises:
            RuntimeError: It is not running.
        """
        return self._require_running().base_url

    @property
    def log(self) -> RequestLog:
        """What was answered since the sandbox was made."""
        return self._log

    @property
    def faults(self) -> Faults:
        """What goes wrong with the requests to come."""
        return self._faults

    def revoke_tokens(self, tenant: str) -> None:
        """Answer 401 from now on, restarts included, to every token issued so far for the tenant.

        Raises:
            RuntimeError: It is not running.
            sqlite3.Error: The revocation cannot be written.
        """
        self._require_running().tokens.revoke(tenant)

    async def seed(self, tenant: str, appointments: Sequence[SeedAppointment]) -> list[str]:
        """Store appointments of the tenant and return their ids, in the same order.

        Raises:
            RuntimeError: It is not running.
            sqlite3.Error: They cannot be written; those before the one that failed are stored.
        """
        storage, settings = self._require_running().storage, self._settings
        new_id, body_format = settings.new_appointment_id, settings.body_format
        stored = [to_appointment(seed, appointment_id=new_id(), body_format=body_format) for seed in appointments]
        await storage.add_all(tenant, stored)
        return [appointment.appointment_id for appointment in stored]

    async def start(self) -> None:
        """Open the database and listen.

        Raises:
            RuntimeError: It is running already.
            OSError: The address cannot be listened on.
            sqlite3.Error: The database cannot be opened.
            ValueError: Ids are to be integers, but the database has others.
        """
        if self._running is not None:
            raise RuntimeError("the sandbox is running already")
        async with AsyncExitStack() as stack:
            storage = await stack.enter_async_context(open_storage(self._database))
            if self._settings.integer_ids and await storage.has_other_ids_than_integers():
                raise ValueError("the database has appointment ids that are not integers")
            store = stack.enter_context(open_token_store(self._database))
            tokens = Tokens(store=store, lifetime=self._settings.token_lifetime, now=self._now)
            runner = await self._listen(self._handler(storage, tokens), stack)
            base_url = _url(*runner.addresses[0][:2])
            self._running = _Running(base_url=base_url, storage=storage, tokens=tokens, open=stack.pop_all())

    async def aclose(self) -> None:
        """Stop listening, give requests in flight a second to end, and close the database; harmless twice."""
        running, self._running = self._running, None
        if running is not None:
            await running.open.aclose()

    def _require_running(self) -> "_Running":
        if self._running is None:
            raise RuntimeError("the sandbox is not running")
        return self._running

    def _handler(self, storage: Storage, tokens: Tokens) -> Handler:
        operations = Operations(settings=self._settings, storage=storage, tokens=tokens)
        return Handler(operations=operations, log=self._log, faults=self._faults, gate=self._gate, sleep=self._sleep)

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
    """What there is only between start and close."""

    base_url: str
    storage: Storage
    tokens: Tokens
    open: AsyncExitStack
    """What is closed with it."""


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
