import asyncio
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

import connector_async.sandbox
from connector_async.sandbox import Sandbox
from tests.support.sandbox_user import fetch_token
from tests.support.threads import assert_no_thread_is_left

MEETING = {"title": "x", "startTime": "2024-01-15T10:00:00Z", "endTime": "2024-01-15T11:00:00Z"}


async def assert_alive(sandbox: Sandbox) -> None:
    async with aiohttp.ClientSession(sandbox.base_url) as session:
        assert await fetch_token(session)


def test_exported_names_exist_and_are_sorted() -> None:
    names = connector_async.sandbox.__all__
    assert all(hasattr(connector_async.sandbox, name) for name in names)
    assert [*names] == sorted(names, key=lambda name: (not name.isupper(), name))


async def test_default_address_is_loopback_with_a_free_port() -> None:
    async with Sandbox() as one, Sandbox() as other:
        assert urlsplit(one.base_url).hostname == "127.0.0.1"
        assert one.base_url != other.base_url
        await assert_alive(one)
        await assert_alive(other)


async def test_base_url_of_an_ipv6_host_has_brackets() -> None:
    async with Sandbox(host="::1") as sandbox:
        assert sandbox.base_url.startswith("http://[::1]:")
        await assert_alive(sandbox)


async def test_base_url_requires_a_running_sandbox() -> None:
    sandbox = Sandbox()
    with pytest.raises(RuntimeError, match="not running"):
        _ = sandbox.base_url
    async with sandbox:
        pass
    with pytest.raises(RuntimeError, match="not running"):
        _ = sandbox.base_url


async def test_sandbox_starts_once_at_a_time_and_closes_any_number_of_times() -> None:
    sandbox = Sandbox()
    await sandbox.aclose()
    await sandbox.start()
    with pytest.raises(RuntimeError, match="already running"):
        await sandbox.start()
    await assert_alive(sandbox)
    await sandbox.aclose()
    await sandbox.aclose()
    await sandbox.start()
    await assert_alive(sandbox)
    await sandbox.aclose()


async def test_closing_with_an_open_connection_leaves_no_task_and_no_thread() -> None:
    threads = set(threading.enumerate())
    async with aiohttp.ClientSession() as session:
        async with Sandbox() as sandbox:
            async with session.get(sandbox.base_url) as response:
                assert response.status == 404
            # Not a count of threads: one of an earlier test may be about to end.
            assert set(threading.enumerate()) - threads
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert_no_thread_is_left(threads)


async def test_endless_request_does_not_keep_the_sandbox_from_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector_async.sandbox.server._SHUTDOWN_TIMEOUT", 0.01)
    async with Sandbox() as sandbox:
        host, port = urlsplit(sandbox.base_url).hostname, urlsplit(sandbox.base_url).port
        reader, writer = await asyncio.open_connection(host, port)
        head = "POST /acme/authentication/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Expect: 100-continue\r\nContent-Length: 9\r\n\r\n".encode())
        async with asyncio.timeout(5):
            await reader.readuntil(b"\r\n\r\n")
    assert asyncio.all_tasks() == {asyncio.current_task()}
    writer.close()
    await writer.wait_closed()
    assert sandbox.log.count() == 0


async def test_port_in_use_raises_os_error_and_leaves_nothing_open() -> None:
    threads = set(threading.enumerate())
    async with Sandbox() as first:
        port = urlsplit(first.base_url).port
        assert port is not None
        second = Sandbox(port=port)
        with pytest.raises(OSError, match="address already in use"):
            await second.start()
        await assert_alive(first)
    assert_no_thread_is_left(threads)


async def test_file_that_is_not_a_database_is_rejected(tmp_path: Path) -> None:
    threads = set(threading.enumerate())
    file = tmp_path / "notes.txt"
    file.write_text("not a database, but as long as one\n" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        await Sandbox(database=file).start()
    assert_no_thread_is_left(threads)


@pytest.mark.parametrize("in_file", [True, False])
async def test_appointments_survive_only_in_a_database_file(tmp_path: Path, *, in_file: bool) -> None:
    database = tmp_path / "appointments.db" if in_file else ":memory:"
    for expected in ([], ["x"] if in_file else []):
        async with Sandbox(database=database) as sandbox, aiohttp.ClientSession(sandbox.base_url) as session:
            headers = {"Authorization": f"Bearer {await fetch_token(session)}", "tenantId": "acme"}
            async with session.get("/acme/appointment/preview", headers=headers) as response:
                assert [item["title"] for item in await response.json()] == expected
            async with session.post("/acme/appointment", json=MEETING, headers=headers) as response:
                assert response.status == 200


FAILED_STARTS = """
import asyncio, sqlite3, sys
from connector_async.sandbox import Sandbox

async def start():
    try:
        await Sandbox(database=sys.argv[1]).start()
    except sqlite3.OperationalError:
        return "failed"

print(*[asyncio.run(start()) for _ in range(50)])
"""


def test_database_that_cannot_be_opened_leaves_no_thread_after_the_event_loop(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FAILED_STARTS, str(tmp_path / "missing" / "sandbox.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["failed"] * 50, "")
