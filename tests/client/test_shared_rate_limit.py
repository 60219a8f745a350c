"""The stores of rate limits on a server. What slots they give is checked in `tests/testing`."""

import asyncio
import math
import os
import pickle
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from connector_async import RateLimit, RateLimitStore, RateLimitStoreError, Reservation, ThrottledError
from connector_async._clock import Clock, Deadline
from connector_async._remote_store import PerLoop
from connector_async.rate_limit import Limiter, PostgresRateLimitStore, RedisRateLimitStore, postgres_store
from connector_async.retry import RetryQuotaStore
from connector_async.session.session_state import InterruptibleSleep
from tests.support.command_line import in_development_mode
from tests.support.exposure import exposed
from tests.support.postgres import FLAVORS, PostgresServer
from tests.support.redis_server import RedisServer

PACED = RateLimit(limit=61, per=60, burst=1)  # a second apart

SharedStore = PostgresRateLimitStore | RedisRateLimitStore
OpenStore = Callable[..., SharedStore]


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer.started(FLAVORS["pgserver"]) as server:
        yield server


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer.started() as server:
        yield server


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty database."""
    yield postgres.create("limits")
    postgres.drop("limits")


@pytest.fixture(params=["postgres", "redis"])
def server(request: pytest.FixtureRequest) -> Any:
    """A server of each kind, with `url`, `start` and `stop`."""
    if request.param == "redis":
        return request.getfixturevalue("redis_server")
    return request.getfixturevalue("postgres")


@pytest.fixture
def server_url(server: PostgresServer | RedisServer) -> str:
    return server.url("postgres") if isinstance(server, PostgresServer) else server.url


def open_store(url: str, **options: Any) -> SharedStore:
    kind = PostgresRateLimitStore if url.startswith("postgresql") else RedisRateLimitStore
    return kind(url, **options)


async def reserve(store: RateLimitStore, key: str = "acme", limit: RateLimit = PACED) -> Reservation:
    reserved = await store.reserve(key, limit, math.inf)
    assert isinstance(reserved, Reservation)
    return reserved


def test_stores_implement_the_protocols(server_url: str) -> None:
    store = open_store(server_url)
    assert isinstance(store, RateLimitStore)
    assert isinstance(store, RetryQuotaStore)


@pytest.mark.parametrize("kind", [PostgresRateLimitStore, RedisRateLimitStore])
@pytest.mark.parametrize(
    ("arguments", "error", "argument"),
    [
        ({"url": 5}, TypeError, "url"),
        ({"url": "sqlite:///hunter2"}, ValueError, "url"),
        ({"url": "hunter2"}, ValueError, "url"),
        ({"pool_size": 0}, ValueError, "pool_size"),
        ({"timeout": 0}, ValueError, "timeout"),
    ],
)
def test_invalid_argument_of_a_store_is_rejected(
    kind: Any, arguments: dict[str, Any], error: type[Exception], argument: str
) -> None:
    valid = "postgresql://u@h/d" if kind is PostgresRateLimitStore else "redis://h"
    with pytest.raises(error, match=f"^{argument} must") as caught:
        kind(**{"url": valid} | arguments)
    assert exposed(caught.value, "hunter2") == []


def test_url_with_unknown_options_is_rejected_without_its_password() -> None:
    with pytest.raises(ValueError, match="url must be a URL as libpq defines it") as caught:
        PostgresRateLimitStore("postgresql://u:hunter2@h/d?hunter2=x")
    assert exposed(caught.value, "hunter2") == []


@pytest.mark.parametrize(
    "url",
    [
        "postgres://u@h/d",
        "postgresql+psycopg://u@h/d",
        "rediss://u:p@h:6379/0",
        "valkey://h",
        "valkeys://h",
        "unix:///run/socket",
    ],
)
def test_urls_of_other_programs_are_accepted(url: str) -> None:
    kind = PostgresRateLimitStore if url.startswith("postgres") else RedisRateLimitStore
    assert isinstance(kind(url), RateLimitStore)


async def test_slots_and_penalties_survive_a_crash_of_the_server(
    server: PostgresServer | RedisServer, server_url: str
) -> None:
    async with open_store(server_url) as store:
        await store.penalize("crash", PACED, 1_000)
        await reserve(store, "crash")
        server.stop()
        server.start()
        assert 1_001 - 30 < (await reserve(store, "crash")).wait <= 1_001


async def test_server_that_is_down_is_an_error_of_its_own(
    server: PostgresServer | RedisServer, server_url: str
) -> None:
    async with open_store(server_url, timeout=0.1) as store:
        server.stop()
        try:
            with pytest.raises(RateLimitStoreError, match=r"did not respond in 0\.1 seconds") as caught:
                await reserve(store)
        finally:
            server.start()
    assert caught.value.sent is False
    assert pickle.loads(pickle.dumps(caught.value)).sent is False


@pytest.mark.parametrize("url", ["postgresql://u:hunter2@127.0.0.1:1/d", "redis://u:hunter2@127.0.0.1:1"])
async def test_password_is_in_no_error(url: str) -> None:
    async with open_store(url, timeout=0.1) as store:
        assert "hunter2" not in repr(store)
        with pytest.raises(RateLimitStoreError) as caught:
            await reserve(store)
    assert exposed(caught.value, "hunter2") == []


async def test_closed_store_cannot_be_used(server_url: str) -> None:
    store = open_store(server_url)
    await reserve(store, "closing")
    await store.aclose()
    await store.aclose()
    with pytest.raises(RuntimeError, match="the store is closed"):
        await reserve(store, "closing")


PROGRAM = """
import asyncio, gc, sys
from connector_async import RateLimit
from connector_async.rate_limit import PostgresRateLimitStore, RedisRateLimitStore

async def reserve():
    reserved = await asyncio.gather(*(store.reserve("loops", RateLimit.unlimited(), 5) for _ in range(4)))
    assert [each.wait for each in reserved] == [0] * 4

url = sys.argv[1]
store = (PostgresRateLimitStore if url.startswith("postgresql") else RedisRateLimitStore)(url)
for _ in range(3):
    asyncio.run(reserve())
    gc.collect()
"""


def test_store_that_is_never_closed_works_in_one_event_loop_after_another(server_url: str) -> None:
    command = [*in_development_mode(PROGRAM), server_url]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_store_works_in_event_loops_of_several_threads(server_url: str) -> None:
    store = open_store(server_url)
    waits: list[float] = []

    def run() -> None:
        waits.append(asyncio.run(reserve(store, "threads")).wait)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == pytest.approx([0, 1, 2, 3], abs=0.9)


def test_nothing_of_an_event_loop_that_did_not_shut_down_is_kept() -> None:
    async def close(_: object) -> None:
        pass

    per_loop = PerLoop(object, close)
    for _ in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(per_loop.get())
        loop.close()
    assert list(per_loop._opened) == [loop]


async def test_connections_are_bounded_and_closed(url: str, postgres: PostgresServer) -> None:
    def connections() -> int:
        [(count,)] = postgres.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = 'limits'")
        assert isinstance(count, int)
        return count

    async with PostgresRateLimitStore(url, pool_size=3) as store:
        await asyncio.gather(*(reserve(store, f"key-{number}") for number in range(50)))
        assert connections() == 3
    for _ in range(50):  # the server notices it a little later
        if not connections():
            break
        await asyncio.sleep(0.02)
    assert connections() == 0


async def test_table_is_created_once_by_several_processes_at_once(url: str) -> None:
    stores = [PostgresRateLimitStore(url) for _ in range(8)]
    waits = [each.wait for each in await asyncio.gather(*(reserve(store) for store in stores))]
    assert sorted(waits) == pytest.approx(range(8), abs=0.9)
    for store in stores:
        await store.aclose()


async def test_deadline_holds_while_the_database_does_not_respond(url: str, postgres: PostgresServer) -> None:
    clock = Clock()
    async with PostgresRateLimitStore(url, pool_size=1) as store:
        limiter = Limiter("acme", PACED, store, InterruptibleSleep(clock).sleep)
        await limiter.acquire(None)
        [(backend,)] = postgres.execute("SELECT pid FROM pg_stat_activity WHERE datname = 'limits'")
        assert isinstance(backend, int)
        os.kill(backend, signal.SIGSTOP)
        try:
            started_at = time.monotonic()
            with pytest.raises(ThrottledError):
                await limiter.acquire(Deadline(0.05, clock))
            assert time.monotonic() - started_at < 3  # psycopg waits for five seconds after it has asked to cancel
        finally:
            os.kill(backend, signal.SIGCONT)
        assert (await reserve(store)).wait < 3  # its connection is free again


async def test_deadline_holds_while_redis_does_not_respond(redis_server: RedisServer) -> None:
    clock = Clock()
    async with RedisRateLimitStore(redis_server.url) as store:
        limiter = Limiter("paused", PACED, store, InterruptibleSleep(clock).sleep)
        await limiter.acquire(None)
        with redis_server.client() as client:
            client.client_pause(500)
            started_at = time.monotonic()
            with pytest.raises(ThrottledError):
                await limiter.acquire(Deadline(0.05, clock))
            assert time.monotonic() - started_at < 0.4
            client.client_unpause()
        assert (await reserve(store, "paused")).wait < 3  # its connection was replaced


async def test_transient_errors_of_the_database_are_retried(url: str, postgres: PostgresServer) -> None:
    async with PostgresRateLimitStore(url) as store:
        await reserve(store)
        postgres.execute("CREATE SEQUENCE failures", "limits")
        postgres.execute(
            """
            CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                CASE nextval('failures')
                    WHEN 1 THEN RAISE EXCEPTION 'x' USING ERRCODE = '40001';
                    WHEN 2 THEN RAISE EXCEPTION 'x' USING ERRCODE = '40P01';
                    WHEN 3 THEN PERFORM pg_terminate_backend(pg_backend_pid());
                    ELSE NULL;
                END CASE;
                RETURN NEW;
            END $$
            """,
            "limits",
        )
        postgres.execute(
            "CREATE TRIGGER failing BEFORE UPDATE ON connector_rate_limits FOR EACH ROW EXECUTE FUNCTION fail()",
            "limits",
        )
        await reserve(store)
        assert postgres.execute("SELECT last_value FROM failures", "limits") == [(4,)]


async def test_permanent_error_of_the_database_is_raised_at_once(url: str, postgres: PostgresServer) -> None:
    async with PostgresRateLimitStore(url) as store:
        await reserve(store)
        postgres.execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '53100'; END $$",
            "limits",
        )
        postgres.execute(
            "CREATE TRIGGER failing BEFORE UPDATE ON connector_rate_limits FOR EACH ROW EXECUTE FUNCTION fail()",
            "limits",
        )
        with pytest.raises(RateLimitStoreError, match=r"the store of the rate limits failed \(DiskFull\)") as caught:
            await reserve(store)
        assert isinstance(caught.value.__cause__, psycopg.errors.DiskFull)


async def test_rejected_password_of_redis_is_an_error_at_once(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        client.config_set("requirepass", "hunter2")
        try:
            async with RedisRateLimitStore(redis_server.url.replace("unix://", "unix://:hunter3@")) as store:
                with pytest.raises(RateLimitStoreError, match="the store of the rate limits failed") as caught:
                    await reserve(store)
        finally:
            client.config_set("requirepass", "")
    assert exposed(caught.value, "hunter3") == []


def test_only_slots_are_committed_without_waiting_for_the_disk(url: str) -> None:
    parameters = {"key": "acme", "interval": 1.0, "tolerance": 0.0, "max_wait": 1.0, "ahead": False, "seconds": 1.0}
    with psycopg.connect(url) as connection:
        connection.execute(postgres_store._CREATE)
        for query, default, expected in (
            (postgres_store._RESERVE, "on", "off"),
            (postgres_store._PENALIZE, "off", "on"),
        ):
            connection.execute("SELECT set_config('synchronous_commit', %s, false)", [default])
            connection.execute(query, parameters)
            assert connection.execute("SHOW synchronous_commit").fetchone() == (expected,)
            connection.commit()
        persistence = "SELECT relpersistence::text FROM pg_class WHERE relname = 'connector_rate_limits'"
        assert connection.execute(persistence).fetchone() == ("p",)


async def test_keys_that_were_not_used_for_a_day_are_deleted_once_an_hour(url: str, postgres: PostgresServer) -> None:
    async with PostgresRateLimitStore(url) as store:
        for key in ("idle", "penalized", "waiting", "recent"):
            await reserve(store, key)
        postgres.execute(
            "UPDATE connector_rate_limits SET next_slot = next_slot - 90000 WHERE key <> 'recent'", "limits"
        )
        await store.penalize("penalized", PACED, 60)
        postgres.execute("UPDATE connector_rate_limits SET stopped = 86400 WHERE key = 'waiting'", "limits")
        store._clean_at = time.monotonic()
        for _ in range(2):
            await reserve(store, "recent")
        keys = postgres.execute("SELECT key FROM connector_rate_limits ORDER BY key", "limits")
        assert keys == [("penalized",), ("recent",), ("waiting",)]
        assert store._clean_at > time.monotonic() + 3_000


async def test_call_does_not_depend_on_the_deletion_of_idle_keys(
    url: str, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with PostgresRateLimitStore(url) as store:
        await reserve(store)
        postgres.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'x'; END $$",
            "limits",
        )
        postgres.execute(
            "CREATE TRIGGER refusing BEFORE DELETE ON connector_rate_limits EXECUTE FUNCTION refuse()", "limits"
        )
        store._clean_at = time.monotonic()
        await reserve(store)
    assert "delete_idle_keys raised" in {line.getMessage() for line in caplog.records}


async def test_keys_that_were_not_used_for_a_day_expire_in_redis(redis_server: RedisServer) -> None:
    async with RedisRateLimitStore(redis_server.url) as store:
        await store.penalize("expiring", PACED, 1_000)
    with redis_server.client() as client:
        assert 86_400 + 900 < client.ttl("connector_async:rate_limit:expiring") <= 86_400 + 1_001


async def test_slots_given_back_are_remembered_up_to_a_thousand(server_url: str) -> None:
    async with open_store(server_url) as store:
        reserved = [await reserve(store, "many") for _ in range(1_103)]
        for reservation in reserved[1:-1]:
            await store.cancel("many", reservation)
        await store.cancel("many", reserved[-1])
        assert 60 < (await reserve(store, "many")).wait < 1_103 - 400  # otherwise more than 1,000 or fewer than 500
