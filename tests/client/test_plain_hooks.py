"""Hooks that are called as plain functions: a coroutine function is rejected by name before any I/O."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connector_async import (
    AppointmentService,
    BulkReport,
    Clock,
    ConnectorSession,
    MemoryRateLimitStore,
    PageNumbers,
    RetryPolicy,
    StaticToken,
    bulk,
    read_inputs,
)
from tests.support.hostile import HostileServer, http
from tests.support.services import open_service


async def return_nothing(*_: object) -> None: ...


async def yield_nothing(*_: object) -> Any:
    yield


class AsyncCallable:
    """An object that is called like a coroutine function."""

    async def __call__(self, *_: object) -> None: ...


def replaced(value: Any, method: str, by: Any = return_nothing) -> Any:
    setattr(value, method, by)
    return value


class Listener:
    """A listener that does nothing."""

    def begin(self, total: int | None) -> None: ...

    def advance(self, outcome: object) -> None: ...

    def end(self) -> None: ...


class AsyncInvalidate:
    """A token provider whose `invalidate` would have to be awaited."""

    token = StaticToken("hunter2").token

    async def invalidate(self, tenant: str, token: object) -> None: ...


class AsyncRequest(PageNumbers):
    """A paging style whose `request` would have to be awaited."""

    async def request(self, token: str | None) -> Any: ...  # type: ignore[override]


class AsyncRead(PageNumbers):
    """A paging style whose `read` would have to be awaited."""

    async def read(self, response: object, token: str | None) -> Any: ...  # type: ignore[override]


def session_with(**options: Any) -> ConnectorSession:
    arguments: dict[str, Any] = {"tenant_id": "acme", "auth": StaticToken("hunter2")}
    return ConnectorSession("https://api.example", **arguments | options)


def child_with(auth: Any) -> ConnectorSession:
    return session_with().for_tenant("globex", auth=auth)


def with_paging(style: Any) -> AppointmentService:
    return AppointmentService(session_with(), paging=style)


async def collect_with(listener: Any) -> None:
    async with HostileServer(http(200)) as server:
        try:
            await BulkReport().collect(open_service(server).delete_many(["1"]), progress=listener)
        finally:
            assert server.requests == []


@pytest.mark.parametrize(
    ("use", "name"),
    [
        (lambda: session_with(auth=AsyncInvalidate()), "auth.invalidate"),
        (lambda: child_with(AsyncInvalidate()), "auth.invalidate"),
        (lambda: session_with(auth=replaced(StaticToken("t"), "cached_token")), "auth.cached_token"),
        (lambda: session_with(auth=replaced(StaticToken("t"), "invalidate", yield_nothing)), "auth.invalidate"),
        (lambda: session_with(auth=replaced(StaticToken("t"), "invalidate", AsyncCallable())), "auth.invalidate"),
        (
            lambda: session_with(auth=replaced(StaticToken("t"), "invalidate", functools.partial(return_nothing, 1))),
            "auth.invalidate",
        ),
        (lambda: session_with(clock=replaced(Clock(), "monotonic")), "clock.monotonic"),
        (lambda: MemoryRateLimitStore(replaced(Clock(), "time")), "clock.time"),
        (lambda: MemoryRateLimitStore(replaced(Clock(), "random")), "clock.random"),
        (lambda: with_paging(AsyncRequest()), "paging.request"),
        (lambda: with_paging(AsyncRead()), "paging.read"),
        (lambda: read_inputs("x", decode=return_nothing), "decode"),
        (lambda: BulkReport().write_jsonl("x", encode=return_nothing), "encode"),
        (lambda: RetryPolicy(on_retry=AsyncCallable()), "on_retry"),
    ],
)
def test_coroutine_function_in_place_of_a_plain_function_is_rejected(
    use: Callable[[], object], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TypeError, match=f"^{name} must be a plain function, not a coroutine function$"):
        use()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["begin", "advance", "end"])
async def test_listener_with_a_coroutine_method_is_rejected_before_anything_is_sent(method: str) -> None:
    with pytest.raises(TypeError, match=f"progress.{method} must be a plain function"):
        await collect_with(replaced(Listener(), method))


async def test_plain_listener_is_accepted() -> None:
    report = await BulkReport().collect(bulk(return_nothing, [1], concurrency=1), progress=Listener())
    assert report.counts.total() == 1
