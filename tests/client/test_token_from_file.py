"""Tokens from a file that is rotated."""

import asyncio
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from connector_async import (
    AuthenticationError,
    ConnectorSession,
    RateLimit,
    TokenFromFile,
    TokenUnavailableError,
)
from connector_async.auth import token_from_file
from connector_async.sandbox import Sandbox
from tests.conftest import ManualClock
from tests.support.exposure import exposed
from tests.support.hostile import HostileServer, http
from tests.support.services import open_session


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first\n")
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths that are read."""
    paths: list[Path] = []
    read = token_from_file._read

    def recording_read(path: Path) -> bytes:
        paths.append(path)
        return read(path)

    monkeypatch.setattr(token_from_file, "_read", recording_read)
    return paths


def session_of(path: Path, clock: ManualClock | None = None, **options: Any) -> ConnectorSession:
    """Return a session that sends nothing: its tokens are fetched by `fetch_token`."""
    auth = TokenFromFile(path, clock=clock, **options)
    return ConnectorSession("https://api.example", tenant_id="acme", auth=auth)


async def value_of(session: ConnectorSession) -> str:
    return (await session.fetch_token()).value.reveal()


def write(path: Path, text: str) -> None:
    path.write_text(text)


async def wait_for_value(session: ConnectorSession, value: str) -> None:
    """Wait for a reading in the background."""
    async with asyncio.timeout(5):
        while await value_of(session) != value:
            await asyncio.sleep(0.001)


async def test_token_that_kubernetes_rotates_is_read_again_when_the_old_one_is_refused(
    sandbox: Sandbox, session: ConnectorSession, tmp_path: Path
) -> None:
    def project(version: str, token: str) -> None:
        """Write a token as the kubelet does: into a new folder, to which a link is moved."""
        (tmp_path / version).mkdir()
        (tmp_path / version / "token").write_text(token)
        (tmp_path / "..data_tmp").symlink_to(version)
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")

    first = await session.fetch_token()
    project("1", first.value.reveal())
    (tmp_path / "token").symlink_to("..data/token")
    async with ConnectorSession(
        sandbox.base_url, tenant_id="acme", auth=TokenFromFile(tmp_path / "token"), rate_limit=RateLimit.unlimited()
    ) as used:
        await used.request("GET", ("appointment", "preview"))
        sandbox.revoke_tokens("acme")
        session._sender.auth.invalidate("acme", first)
        project("2", (await session.fetch_token()).value.reveal())
        await asyncio.gather(*(used.request("GET", ("appointment", "preview")) for _ in range(20)))
    assert sandbox.log.count(operation="preview", status=200) == 21


async def test_rotated_file_is_read_in_the_background(path: Path, clock: ManualClock, reads: list[Path]) -> None:
    session = session_of(path, clock, reread_after=30)
    first = await session.fetch_token()
    write(path, "second")
    clock.now += 29.9
    assert await session.fetch_token() is first
    assert len(reads) == 1
    clock.now += 0.1
    assert await session.fetch_token() is first
    await wait_for_value(session, "second")


async def test_callers_wait_for_the_file_if_it_has_not_been_read_for_twice_as_long(
    path: Path, clock: ManualClock
) -> None:
    session = session_of(path, clock, reread_after=30)
    await session.fetch_token()
    write(path, "second")
    clock.now += 60
    assert await value_of(session) == "second"


async def test_unchanged_file_keeps_its_token_and_is_not_logged(
    path: Path, clock: ManualClock, reads: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "connector_async")
    session = session_of(path, clock)
    first = await session.fetch_token()
    clock.now += 120
    assert await session.fetch_token() is first
    assert len(reads) == 2
    assert [record.getMessage() for record in caplog.records] == ["tenant acme has a new token until it is refused"]


async def test_refused_token_is_sent_again_only_by_the_next_call(path: Path, reads: list[Path]) -> None:
    async with HostileServer(http(401)) as server, open_session(server, auth=TokenFromFile(path)) as session:
        for _ in range(2):
            with pytest.raises(AuthenticationError):
                await session.request("GET", ("appointment",))
        assert [request.headers["authorization"] for request in server.requests] == ["Bearer first"] * 2
        assert len(reads) == 3


def write_nothing(path: Path) -> None:
    path.write_bytes(b"")


def remove(path: Path) -> None:
    path.unlink()


def write_half(path: Path) -> None:
    path.write_bytes(b"hunter2\0\0\0\0")


def write_two_lines(path: Path) -> None:
    path.write_bytes(b"hunter2\nhunter2\n")


def write_utf16(path: Path) -> None:
    path.write_bytes("hunter2".encode("utf-16"))


def write_too_much(path: Path) -> None:
    path.write_bytes(b"hunter2" * 10_000)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (write_nothing, "must be a token: printable ASCII without spaces, and not empty"),
        (write_half, "must be a token"),
        (write_two_lines, "must be a token"),
        (write_utf16, "must be a token"),
        (write_too_much, "cannot be read: it is longer than 64 KiB"),
        (remove, "cannot be read: No such file or directory"),
        (make_folder, "cannot be read: Is a directory"),
        (make_pipe, "must be a regular file"),
    ],
)
async def test_file_without_a_token_keeps_the_old_one_and_is_an_error_only_without_one(
    path: Path, clock: ManualClock, damage: Any, rule: str
) -> None:
    session = session_of(path, clock)
    first = await session.fetch_token()
    damage(path)
    clock.now += 120
    assert await session.fetch_token() is first
    session._sender.auth.invalidate("acme", first)
    clock.now += 5
    with pytest.raises(TokenUnavailableError, match=rule) as caught:
        await session.fetch_token()
    assert str(path) in str(caught.value)
    assert caught.value.sent is False
    assert exposed(caught.value, "hunter2") == []


async def test_missing_file_is_looked_for_again_after_five_seconds(path: Path, clock: ManualClock) -> None:
    remove(path)
    session = session_of(path, clock)
    for text in ("", "late"):
        with pytest.raises(TokenUnavailableError):
            await session.fetch_token()
        write(path, text)
    clock.now += 5
    assert await value_of(session) == "late"


async def test_all_tenants_share_one_reading_and_equal_providers_too(path: Path, reads: list[Path]) -> None:
    session = session_of(path)
    first = await session.fetch_token()
    assert await session.for_tenant("globex").fetch_token() is first
    assert await session.for_tenant("globex", TokenFromFile(str(path))).fetch_token() is first
    assert len(reads) == 1
    assert TokenFromFile(path) != TokenFromFile(path, reread_after=1)


async def test_slow_disk_does_not_block_the_event_loop(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted = threading.Event()

    def read_slowly(path: Path) -> bytes:
        assert mounted.wait(5)
        return path.read_bytes()

    monkeypatch.setattr(token_from_file, "_read", read_slowly)
    session = session_of(path)
    caller = asyncio.create_task(value_of(session))
    await asyncio.sleep(0.01)
    assert not caller.done()
    mounted.set()
    assert await caller == "first"


async def test_relative_path_starts_from_the_folder_at_that_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent)
    session = session_of(Path("token"))
    monkeypatch.chdir("/")
    assert await value_of(session) == "first"


@pytest.mark.parametrize(
    ("build", "error", "rule"),
    [
        (lambda: TokenFromFile(""), ValueError, "path must not be empty"),
        (lambda: TokenFromFile("a\0b"), ValueError, "path must not be empty or have a null character"),
        (lambda: TokenFromFile(b"token"), TypeError, "path must be a str or a path, not bytes"),  # type: ignore[arg-type]
        (lambda: TokenFromFile("token", reread_after=0), ValueError, "reread_after must be above zero"),
    ],
)
def test_invalid_argument_is_rejected_by_name(build: Any, error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=rule):
        build()


def test_provider_shows_its_path() -> None:
    assert repr(TokenFromFile("/run/token")) == "TokenFromFile('/run/token')"
