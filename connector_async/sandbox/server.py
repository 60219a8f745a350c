"""The sandbox as its user sees it: started and stopped, embedded in a test or served by a command line.

It puts the parts together and owns their lifetimes; what is answered is decided elsewhere.
"""

import time
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Final, Self

from aiohttp import web

from connector_async.sandbox.handler import Handler
from connector_async.sandbox.operations import Operations, Settings
from connector_async.sandbox.request_log import RequestLog
from connector_async.sandbox.storage import open_storage
from connector_async.sandbox.tokens import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, TokenReply, Tokens

_DEFAULT_CLIENTS: Final = MappingProxyType({DEFAULT_CLIENT_ID: DEFAULT_CLIENT_SECRET})
# Seconds a request in flight may still take when the server stops; a client that never ends its body is cut off.
_SHUTDOWN_TIMEOUT: Final = 1.0


def _random_id() -> str:
    return str(uuid.uuid4())


class Sandbox:
    """A local server of the Connector Public API in the running event loop.

    Use it as an async context manager, or call `start` and `aclose`. A client that gets 401 after `revoke_tokens`
    can fetch a new token at once.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        clients: Client id to secret, accepted for every tenant.
        tenants: The tenant ids that exist; None: every one does.
        token_lifetime: Seconds from issue to expiry, also answered as `expiresIn`.
        token_reply: Which of the two documented answers a token request gets.
        database: SQLite file, created when missing; `:memory:` forgets everything on close.
        now: Wall clock in seconds since the epoch, by which tokens are issued and expire.
        new_appointment_id: Makes the id of each created appointment, unique within its tenant; random by default.
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
        now: Callable[[], float] = time.time,
        new_appointment_id: Callable[[], str] = _random_id,
    ) -> None:
        self._host = host
        self._port = port
        self._database = database
        self._settings = Settings(
            clients=dict(clients),
            tenants=None if tenants is None else frozenset(tenants),
            token_lifetime=token_lifetime,
            token_reply=token_reply,
            new_appointment_id=new_appointment_id,
        )
        self._tokens = Tokens(lifetime=token_lifetime, now=now)
        self._log = RequestLog()
        self._open = AsyncExitStack()
        self._base_url: str | None = None

    @property
    def base_url(self) -> str:
        """Where it listens, without a trailing slash.

        Raises:
            RuntimeError: It is not running.
        """
        if self._base_url is None:
            raise RuntimeError("the sandbox is not running")
        return self._base_url

    @property
    def log(self) -> RequestLog:
        """What was answered since the sandbox was made."""
        return self._log

    def revoke_tokens(self, tenant: str) -> None:
        """Answer 401 from now on to every token issued so far for the tenant."""
        self._tokens.revoke(tenant)

    async def start(self) -> None:
        """Open the database and listen.

        Raises:
            RuntimeError: It is running already.
            OSError: The address cannot be listened on.
            sqlite3.Error: The database cannot be opened.
        """
        if self._base_url is not None:
            raise RuntimeError("the sandbox is running already")
        async with AsyncExitStack() as stack:
            storage = await stack.enter_async_context(open_storage(self._database))
            operations = Operations(settings=self._settings, storage=storage, tokens=self._tokens)
            runner = await self._listen(Handler(operations=operations, log=self._log), stack)
            self._open = stack.pop_all()
        self._base_url = _url(*runner.addresses[0][:2])

    async def aclose(self) -> None:
        """Stop listening, give requests in flight a second to end, and close the database; harmless twice."""
        self._base_url = None
        await self._open.aclose()

    async def _listen(self, handler: Handler, stack: AsyncExitStack) -> web.ServerRunner:
        runner = web.ServerRunner(web.Server(handler, access_log=None), shutdown_timeout=_SHUTDOWN_TIMEOUT)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, self._host, self._port).start()
        return runner

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
