"""One session in several event loops: one after another, in threads, and in forked children."""

import asyncio
import subprocess
import sys
import threading
from typing import Any

import pytest

from connector_async import AppointmentService, ClientCredentials, ConnectorSession, RateLimit, StaticToken
from connector_async.sandbox import Sandbox
from tests.support.hostile import HostileServer, hang
from tests.support.services import FOUND

LOOPS = """
import asyncio, sys, uvloop
from connector_async import AppointmentService, ClientCredentials, ConnectorSession
from connector_async.sandbox import Sandbox

session = None

async def use():
    global session
    # The default of 0.1 s would report slow callbacks on stderr while other tests keep the machine busy.
    asyncio.get_running_loop().slow_callback_duration = 2
    async with Sandbox(port=int(sys.argv[1])) as sandbox:
        if session is None:
            auth = ClientCredentials("sandbox", "sandbox-secret")
            session = ConnectorSession(sandbox.base_url, tenant_id="acme", auth=auth)
        async for appointment in AppointmentService(session).preview():
            pass
        print("done")

for _ in range(3):
    {run}(use())
"""


@pytest.mark.row("C1")
@pytest.mark.parametrize("run", ["asyncio.run", "uvloop.run"])
def test_session_in_three_event_loops_that_is_never_closed_leaves_no_warning(unused_tcp_port: int, run: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", LOOPS.format(run=run), str(unused_tcp_port)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["done"] * 3


@pytest.mark.row("C1")
async def test_event_loops_in_threads_share_a_session_its_tokens_and_its_rate_limit() -> None:
    async with Sandbox() as sandbox:
        session = ConnectorSession(
            sandbox.base_url,
            tenant_id="acme",
            auth=ClientCredentials("sandbox", "sandbox-secret"),
            rate_limit=RateLimit(limit=6_001, per=60, burst=1),
        )
        together = threading.Barrier(3)

        async def walk() -> None:
            appointments = AppointmentService(session)

            async def preview() -> None:
                async for _ in appointments.preview():
                    raise AssertionError

            await asyncio.gather(*(preview() for _ in range(20)))

        def run_in_own_loop() -> None:
            together.wait(10)
            asyncio.run(walk())

        started_at = asyncio.get_running_loop().time()
        await asyncio.gather(*(asyncio.to_thread(run_in_own_loop) for _ in range(3)))
        assert asyncio.get_running_loop().time() - started_at > 0.6
        assert sandbox.log.count(operation="preview", status=200) == 60
        assert sandbox.log.count(status=200) == sandbox.log.count()
        assert sandbox.log.count(operation="token") <= 3  # at most one for each loop
        await session.aclose()


async def test_closing_ends_connections_in_the_event_loops_of_other_threads() -> None:
    async with HostileServer(FOUND) as server:
        session = ConnectorSession(server.base_url, tenant_id="acme", auth=StaticToken("t"))
        opened, closed = threading.Barrier(3), threading.Event()

        async def get_and_stay() -> None:
            await AppointmentService(session).get("1")
            await asyncio.to_thread(opened.wait, 10)
            await asyncio.to_thread(closed.wait, 10)
            with pytest.raises(RuntimeError, match="closed"):
                await AppointmentService(session).get("1")

        staying = [asyncio.create_task(asyncio.to_thread(asyncio.run, get_and_stay())) for _ in range(2)]
        await AppointmentService(session).get("1")
        await asyncio.to_thread(opened.wait, 10)
        assert server.connections == 3
        await session.aclose()
        closed.set()
        async with asyncio.timeout(10):
            await asyncio.gather(*staying)


FORKS = """
import asyncio, gc, os, sys, traceback
import aiohttp
from connector_async import AppointmentService, ConnectorSession, StaticToken

base_url, moment = sys.argv[1:]
session = ConnectorSession(base_url, tenant_id="acme", auth=StaticToken("t"))

async def get():
    await AppointmentService(session).get("1")

async def in_child(actions):
    if "get" in actions:
        for _ in range(2):
            await get()
    if "close" in actions:
        await session.aclose()
        loop = asyncio.get_running_loop()
        sessions = [item for item in gc.get_objects() if isinstance(item, aiohttp.ClientSession)]
        assert not [item for item in sessions if item._loop is loop and not item.closed]
    gc.collect()

def fork():
    for actions in ("get", "close", "get, close"):
        pid = os.fork()
        if pid == 0:
            try:
                asyncio.run(in_child(actions))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0

async def main():
    for _ in range(2):
        await get()
    if moment == "running":
        fork()
    await get()

if moment == "built":
    fork()
if moment == "used":
    asyncio.run(main())
    fork()
asyncio.run(main())
print("done")
"""


@pytest.mark.row("C3")
@pytest.mark.parametrize(("moment", "connections"), [("built", 3), ("used", 4), ("running", 3)])
async def test_each_forked_child_has_its_own_connections(moment: str, connections: int) -> None:
    async with HostileServer(FOUND) as server:
        process = await asyncio.create_subprocess_exec(
            # Python 3.12 warns about the resolver's thread.
            *(
                sys.executable,
                "-W",
                "default",
                "-W",
                "ignore::DeprecationWarning",
                "-c",
                FORKS,
                server.base_url,
                moment,
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        async with asyncio.timeout(30):
            output, errors = await process.communicate()
        assert (output, errors) == (b"done\n", b"")
        assert server.connections == connections


@pytest.mark.row("C2")
async def test_closed_session_rejects_a_call_before_it_waits_for_a_slot() -> None:
    async with HostileServer(FOUND) as server:
        options: dict[str, Any] = {"tenant_id": "acme", "auth": StaticToken("t")}
        session = ConnectorSession(server.base_url, rate_limit=RateLimit(limit=2, per=3_600, burst=1), **options)
        await AppointmentService(session).get("1")
        await session.aclose()
        with pytest.raises(RuntimeError, match="the session is closed"):
            await AppointmentService(session).get("1")


FINISHED_LOOPS = """
import asyncio, gc, sys, weakref
from connector_async import AppointmentService, ConnectorSession, RateLimit, StaticToken

loops = weakref.WeakSet()
session = ConnectorSession(sys.argv[1], tenant_id="acme", auth=StaticToken("t"), rate_limit=RateLimit.unlimited())
appointments = AppointmentService(session)

async def get():
    loops.add(asyncio.get_running_loop())
    await appointments.get("123")

for _ in range(3_000):
    asyncio.run(get())
gc.collect()
print(len(loops))
"""


@pytest.mark.row("H14")
async def test_finished_event_loops_are_not_kept() -> None:
    async with HostileServer(FOUND) as server:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", FINISHED_LOOPS, server.base_url), stdout=asyncio.subprocess.PIPE
        )
        output, _ = await program.communicate()
    assert output == b"0\n"


LOOPS_NOT_SHUT_DOWN = """
import asyncio, sys
from connector_async import AppointmentService, ConnectorSession, StaticToken

session = ConnectorSession(sys.argv[1], tenant_id="acme", auth=StaticToken("t"))
for _ in range(3):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(AppointmentService(session).get("123"))
    loop.close()
    print(list(session._state.transport._opened) == [loop])
"""


@pytest.mark.row("H14")
async def test_event_loops_closed_without_a_shutdown_are_dropped() -> None:
    async with HostileServer(FOUND) as server:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", LOOPS_NOT_SHUT_DOWN, server.base_url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # aiohttp warns about open sessions
        )
        output, _ = await program.communicate()
    assert output.split() == [b"True"] * 3


FETCHES_NOT_ENDED = """
import asyncio, sys
from connector_async import ClientCredentials, ConnectorSession

credentials = ClientCredentials("id", "secret")
session = ConnectorSession(sys.argv[1], tenant_id="acme", auth=credentials)
for _ in range(3):
    loop = asyncio.new_event_loop()
    call = loop.create_task(session.request("GET", ("appointment",)))
    loop.run_until_complete(asyncio.sleep(0.02))
    loop.close()
    print(len(credentials._fetches), len(session._state._request_options.fetches))
"""


@pytest.mark.row("H14")
async def test_token_fetches_of_closed_event_loops_are_dropped() -> None:
    async with HostileServer(hang) as server:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", FETCHES_NOT_ENDED, server.base_url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # asyncio warns about pending tasks
        )
        output, _ = await program.communicate()
    assert output.split() == [b"1"] * 6


ENDING_LOOPS = """
import asyncio, sys, threading, time
from connector_async import AppointmentService, ConnectorSession, RateLimit, StaticToken

async def close(session, ready, pause):
    ready.wait()
    await asyncio.sleep(pause)
    await session.aclose()

async def use(session, ready, pause):
    await AppointmentService(session).get("123")
    ready.wait()
    await asyncio.sleep(pause)

for trial in range(150):
    session = ConnectorSession(sys.argv[1], tenant_id="acme", auth=StaticToken("t"), rate_limit=RateLimit.unlimited())
    ready = threading.Barrier(2)
    thread = threading.Thread(target=asyncio.run, args=(use(session, ready, trial % 10 * 0.0002),))
    thread.start()
    started_at = time.monotonic()
    asyncio.run(close(session, ready, trial // 15 * 0.0001))
    assert time.monotonic() - started_at < 2, "closing took too long"
    thread.join()
print("closed")
"""


@pytest.mark.row("H14")
async def test_closing_while_the_event_loops_of_other_threads_end_is_quick_and_quiet() -> None:
    async with HostileServer(FOUND) as server:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "always", "-c", ENDING_LOOPS, server.base_url),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await program.communicate()
    assert (output, errors) == (b"closed\n", b"")
