"""Token providers: caching, renewal, rejected credentials, and secrets that never show."""

import asyncio
import gc
import math
import pickle
import time
from collections.abc import Coroutine
from datetime import datetime
from typing import Any, cast

import attrs
import orjson
import pytest

from connector_async import (
    AuthenticationError,
    ClientCredentials,
    Clock,
    DecodingError,
    Secret,
    ServerError,
    StaticToken,
    Token,
    TokenProvider,
)
from connector_async.protocol import Response
from tests.conftest import ManualClock

NOT_A_STR: Any = 5


class Endpoint:
    """A `TokenSend` that records requests, and sends the next response while `open` is set."""

    def __init__(self, *responses: object, base_url: str = "https://api.example") -> None:
        self.base_url = base_url
        self.responses = list(responses)
        self.bodies: list[object] = []
        self.open = asyncio.Event()
        self.open.set()
        self.tasks: list[asyncio.Task[Token]] = []

    async def post_token_request(self, body: bytes) -> Response:
        self.bodies.append(orjson.loads(body))
        await self.open.wait()
        response = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        if isinstance(response, Exception):
            raise response
        body = response if isinstance(response, bytes) else orjson.dumps(response)
        return Response(status=200, headers={"X-Request-Id": "r-1"}, body=body)

    def create_task(self, fetch: Coroutine[Any, Any, Token]) -> asyncio.Task[Token]:
        task = asyncio.create_task(fetch)
        self.tasks.append(task)
        return task


def token_responses(*values: str, expires_in: object = 3600) -> list[dict[str, object]]:
    return [{"accessToken": value, "refreshToken": "r", "expiresIn": expires_in} for value in values]


@pytest.fixture
def credentials(clock: ManualClock) -> ClientCredentials:
    return ClientCredentials("id", "secret", clock=clock)


@pytest.mark.parametrize(
    "response",
    [
        {"accessToken": "t", "refreshToken": "r", "expiresIn": 3600},  # the API reference
        {"token": "t", "expiresIn": 3600, "tokenType": "Bearer"},  # the authentication guide
    ],
)
async def test_token_is_read_from_both_documented_responses(credentials: ClientCredentials, response: object) -> None:
    endpoint = Endpoint(response)
    token = await credentials.token("acme", endpoint)
    assert token.value.reveal() == "t"
    assert endpoint.bodies == [{"clientId": "id", "clientSecret": "secret"}]


@pytest.mark.parametrize(
    "response",
    [
        {},
        {"accessToken": None},
        {"accessToken": 5},
        {"accessToken": ""},
        {"token": "a\r\nb"},
        {"token": " "},
        {"token": "a b"},
        {"token": "é"},
        [],
        b"",
        b"<",
    ],
)
async def test_response_without_usable_token_raises_decoding_error(
    credentials: ClientCredentials, response: object
) -> None:
    with pytest.raises(DecodingError, match="token endpoint") as caught:
        await credentials.token("acme", Endpoint(response))
    assert caught.value.problems[0].startswith("$: ")
    assert caught.value.request_id == "r-1"


async def test_token_is_renewed_in_the_background_when_a_tenth_of_its_lifetime_is_left(
    credentials: ClientCredentials, clock: ManualClock
) -> None:
    endpoint = Endpoint(*token_responses("first", "second"))
    first = await credentials.token("acme", endpoint)
    clock.now += 3239
    assert await credentials.token("acme", endpoint) is first
    await asyncio.sleep(0)
    assert len(endpoint.bodies) == 1
    clock.now += 1
    endpoint.open.clear()
    for _ in range(3):
        assert await credentials.token("acme", endpoint) is first  # no caller waits
    endpoint.open.set()
    await asyncio.wait(endpoint.tasks)
    assert (await credentials.token("acme", endpoint)).value.reveal() == "second"
    assert len(endpoint.bodies) == 2


async def test_callers_wait_for_the_new_token_in_the_mandatory_window(
    credentials: ClientCredentials, clock: ManualClock
) -> None:
    endpoint = Endpoint(*token_responses("first", "second"))
    first = await credentials.token("acme", endpoint)
    clock.now += 3527
    endpoint.open.clear()
    assert await credentials.token("acme", endpoint) is first
    clock.now += 1  # a fiftieth is left
    callers = [asyncio.create_task(credentials.token("acme", endpoint)) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not any(caller.done() for caller in callers)
    endpoint.open.set()
    assert {token.value.reveal() for token in await asyncio.gather(*callers)} == {"second"}
    assert len(endpoint.bodies) == 2


@pytest.mark.row("A6")
async def test_failed_renewal_keeps_the_old_token_and_is_retried_after_a_minute(
    credentials: ClientCredentials, clock: ManualClock
) -> None:
    endpoint = Endpoint(*token_responses("first"), ServerError("down", status=503))
    first = await credentials.token("acme", endpoint)
    requests = []
    for moment in (3240, 3299.9, 3300, 3528, 3587.9, 3588, 3599.9):
        clock.now = 1_000 + moment
        assert await credentials.token("acme", endpoint) is first
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        requests.append(len(endpoint.bodies))
    assert requests == [2, 2, 3, 4, 4, 5, 5]


@pytest.mark.row("A6")
async def test_failed_renewal_is_raised_once_the_old_token_has_expired(
    credentials: ClientCredentials, clock: ManualClock
) -> None:
    endpoint = Endpoint(*token_responses("first"), ServerError("down", status=503), *token_responses("second"))
    await credentials.token("acme", endpoint)
    clock.now += 3600
    with pytest.raises(ServerError):
        await credentials.token("acme", endpoint)
    assert (await credentials.token("acme", endpoint)).value.reveal() == "second"


@pytest.mark.row("A6")
async def test_expired_token_is_not_used_even_if_its_renewal_has_just_failed(
    credentials: ClientCredentials, clock: ManualClock
) -> None:
    endpoint = Endpoint(*token_responses("first"), ServerError("down", status=503), *token_responses("second"))
    first = await credentials.token("acme", endpoint)
    clock.now += 3590
    assert await credentials.token("acme", endpoint) is first
    clock.now += 9.9
    assert await credentials.token("acme", endpoint) is first
    clock.now += 0.1
    assert (await credentials.token("acme", endpoint)).value.reveal() == "second"


async def test_failed_renewal_does_not_delay_the_renewal_of_the_next_token(
    credentials: ClientCredentials, clock: ManualClock
) -> None:
    down = ServerError("down", status=503)
    endpoint = Endpoint(
        *token_responses("first", expires_in=30), down, *token_responses("second", "third", expires_in=30)
    )
    await credentials.token("acme", endpoint)
    for seconds, value in ((29.5, "first"), (0.5, "second"), (29.5, "third")):
        clock.now += seconds
        assert (await credentials.token("acme", endpoint)).value.reveal() == value


async def test_rejected_renewal_keeps_the_old_token(credentials: ClientCredentials, clock: ManualClock) -> None:
    endpoint = Endpoint(*token_responses("first"), AuthenticationError("rejected", status=401))
    first = await credentials.token("acme", endpoint)
    clock.now += 3528
    assert await credentials.token("acme", endpoint) is first
    credentials.invalidate("acme", first)
    with pytest.raises(AuthenticationError):
        await credentials.token("acme", endpoint)
    assert len(endpoint.bodies) == 2


@pytest.mark.row("A7")
async def test_rejected_credentials_fail_fast_for_five_seconds(
    credentials: ClientCredentials, clock: ManualClock
) -> None:
    endpoint = Endpoint(AuthenticationError("rejected", status=401), *token_responses("t"))
    errors = []
    for _ in range(3):
        with pytest.raises(AuthenticationError) as caught:
            await credentials.token("acme", endpoint)
        errors.append(caught.value)
    assert len(set(map(id, errors))) == 3
    assert len(endpoint.bodies) == 1
    clock.now += 4.9
    with pytest.raises(AuthenticationError):
        await credentials.token("acme", endpoint)
    with pytest.raises(AuthenticationError):
        await credentials.token("acme", Endpoint(AuthenticationError("rejected"), base_url="https://other.example"))
    clock.now += 0.1
    assert (await credentials.token("acme", endpoint)).value.reveal() == "t"
    assert len(endpoint.bodies) == 2


@pytest.mark.row("A8")
async def test_token_expires_by_the_monotonic_clock(
    credentials: ClientCredentials, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Endpoint(*token_responses("t"))
    await credentials.token("acme", endpoint)
    monkeypatch.setattr(ManualClock, "time", lambda _: 1_700_003_600.0)
    await credentials.token("acme", endpoint)
    assert len(endpoint.bodies) == 1


@pytest.mark.row("A8")
@pytest.mark.parametrize("expires_in", [None, 0, -1, "3600", "soon", True, [3600]])
async def test_unusable_lifetime_is_read_as_the_documented_hour(
    credentials: ClientCredentials, clock: ManualClock, expires_in: object
) -> None:
    endpoint = Endpoint(*token_responses("t", expires_in=expires_in))
    for _ in range(3):
        await credentials.token("acme", endpoint)
    clock.now += 3239
    await credentials.token("acme", endpoint)
    await asyncio.sleep(0)
    assert len(endpoint.bodies) == 1


@pytest.mark.row("A8")
async def test_tiny_lifetime_is_raised_to_one_second(credentials: ClientCredentials, clock: ManualClock) -> None:
    endpoint = Endpoint(*token_responses("t", expires_in=1e-300))
    await credentials.token("acme", endpoint)
    clock.now += 0.89
    await credentials.token("acme", endpoint)
    await asyncio.sleep(0)
    assert len(endpoint.bodies) == 1


@pytest.mark.row("A8")
async def test_huge_lifetime_is_capped_at_one_day(credentials: ClientCredentials, clock: ManualClock) -> None:
    endpoint = Endpoint(*token_responses("t", expires_in=1e300))
    await credentials.token("acme", endpoint)
    clock.now += 24 * 3600
    await credentials.token("acme", endpoint)
    assert len(endpoint.bodies) == 2


async def test_tokens_are_cached_by_tenant_and_base_url(credentials: ClientCredentials) -> None:
    one, other = Endpoint(*token_responses("a", "b")), Endpoint(*token_responses("c"), base_url="https://other.example")
    tokens = [
        await credentials.token("acme", one),
        await credentials.token("globex", one),
        await credentials.token("acme", other),
    ]
    assert [token.value.reveal() for token in tokens] == ["a", "b", "c"]


@pytest.mark.row("A1")
async def test_twenty_callers_share_one_token_request(credentials: ClientCredentials) -> None:
    endpoint = Endpoint(*token_responses("t"))
    endpoint.open.clear()
    callers = [asyncio.create_task(credentials.token("acme", endpoint)) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not any(caller.done() for caller in callers)
    endpoint.open.set()
    assert {token.value.reveal() for token in await asyncio.gather(*callers)} == {"t"}
    assert len(endpoint.bodies) == 1


@pytest.mark.row("A4")
async def test_late_401_of_an_old_token_does_not_revoke_the_new_one(
    credentials: ClientCredentials,
) -> None:
    endpoint = Endpoint(*token_responses("old", "new"))
    old = await credentials.token("acme", endpoint)
    credentials.invalidate("acme", old)
    new = await credentials.token("acme", endpoint)
    credentials.invalidate("acme", old)
    assert await credentials.token("acme", endpoint) is new
    credentials.invalidate("globex", new)
    assert await credentials.token("acme", endpoint) is new


@pytest.mark.row("A5")
async def test_cancelled_first_caller_does_not_affect_the_others(
    credentials: ClientCredentials,
) -> None:
    endpoint = Endpoint(*token_responses("t"))
    endpoint.open.clear()
    callers = [asyncio.create_task(credentials.token("acme", endpoint)) for _ in range(3)]
    await asyncio.sleep(0)
    callers[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await callers[0]
    endpoint.open.set()
    await asyncio.gather(*callers[1:])
    assert len(endpoint.bodies) == 1


async def test_each_caller_gets_its_own_error_and_the_next_caller_sends_a_new_request(
    credentials: ClientCredentials,
) -> None:
    endpoint = Endpoint(ServerError("down", status=503), *token_responses("t"))
    endpoint.open.clear()
    callers = [asyncio.create_task(credentials.token("acme", endpoint)) for _ in range(2)]
    await asyncio.sleep(0)
    endpoint.open.set()
    errors = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(error) for error in errors] == [ServerError, ServerError]
    assert errors[0] is not errors[1]
    assert (await credentials.token("acme", endpoint)).value.reveal() == "t"


async def test_error_outside_the_error_tree_reaches_the_caller(credentials: ClientCredentials) -> None:
    with pytest.raises(RuntimeError, match="closed"):
        await credentials.token("acme", Endpoint(RuntimeError("the session is closed")))


async def test_failed_fetch_without_callers_is_not_reported_by_asyncio(credentials: ClientCredentials) -> None:
    endpoint = Endpoint(AuthenticationError("rejected"))
    endpoint.open.clear()
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    caller = asyncio.create_task(credentials.token("acme", endpoint))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])
    endpoint.open.set()
    await asyncio.wait(endpoint.tasks)
    # asyncio reports a task when the task object is deleted.
    endpoint.tasks.clear()
    credentials._fetches.clear()
    del caller
    gc.collect()
    assert reported == []


async def test_fetch_cancelled_by_the_session_raises_runtime_error_in_the_caller(
    credentials: ClientCredentials,
) -> None:
    endpoint = Endpoint(*token_responses("t"))
    endpoint.open.clear()
    caller = asyncio.create_task(credentials.token("acme", endpoint))
    await asyncio.sleep(0)
    endpoint.tasks[0].cancel()
    with pytest.raises(RuntimeError, match="closed"):
        await caller


def test_fetch_of_a_stopped_event_loop_is_not_waited_for(credentials: ClientCredentials) -> None:
    async def ask(endpoint: Endpoint) -> Token:
        return await asyncio.wait_for(credentials.token("acme", endpoint), 0.05)

    async def leave() -> None:
        endpoint = Endpoint(*token_responses("lost"))
        endpoint.open.clear()
        asyncio.get_running_loop().call_later(0.01, asyncio.get_running_loop().stop)
        await ask(endpoint)

    loop = asyncio.new_event_loop()
    left = loop.create_task(leave())
    loop.run_forever()

    async def ask_again() -> str:
        return (await ask(Endpoint(*token_responses("t")))).value.reveal()

    assert asyncio.run(ask_again()) == "t"
    left.cancel()
    loop.run_until_complete(asyncio.gather(left, return_exceptions=True))
    for task in asyncio.all_tasks(loop):
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()


def test_credentials_are_compared_by_value() -> None:
    assert ClientCredentials("id", "secret") == ClientCredentials("id", "secret")
    assert hash(ClientCredentials("id", "secret")) == hash(ClientCredentials("id", "secret"))
    assert ClientCredentials("id", "secret") != ClientCredentials("id", "other")
    assert ClientCredentials("id", "secret") != ClientCredentials("other", "secret")
    assert ClientCredentials("id", "secret") != "id"


@pytest.mark.parametrize(
    ("build", "error", "rule"),
    [
        (lambda: ClientCredentials("", "s"), ValueError, "client_id must not be empty"),
        (lambda: ClientCredentials("i", ""), ValueError, "client_secret must not be empty"),
        (lambda: ClientCredentials("i", "s\n"), ValueError, "client_secret must be printable"),
        (lambda: ClientCredentials("i", "\ud800"), ValueError, "client_secret must be printable"),
        (lambda: ClientCredentials("i", NOT_A_STR), TypeError, "client_secret must be a str"),
        (lambda: StaticToken(""), ValueError, "token must be printable ASCII without spaces, and not empty"),
        (lambda: StaticToken("hunter2\r\nX: y"), ValueError, "token must be printable ASCII without spaces"),
        (lambda: StaticToken("hunter2 3"), ValueError, "token must be printable ASCII without spaces"),
        (lambda: Secret(NOT_A_STR), TypeError, "value must be a str, not int"),
        (lambda: Token(NOT_A_STR), TypeError, "value must be a str, not int"),
        (lambda: Token(""), ValueError, "value must be printable ASCII without spaces, and not empty"),
        (lambda: Token("hunter2\r\nX: y"), ValueError, "value must be printable ASCII without spaces"),
        (lambda: Token(Secret("hunter2 3")), ValueError, "value must be printable ASCII without spaces"),
        (lambda: Token("hunter2\ud800"), ValueError, "value must be printable ASCII without spaces"),
        (lambda: Token("t", cast("Any", "soon")), TypeError, "expires_at must be a number, not str"),
        (lambda: Token("t", cast("Any", datetime.now)), TypeError, "expires_at must be a number, not builtin"),
        (lambda: Token("t", expires_at=True), TypeError, "expires_at must be a number, not bool"),
        (lambda: Token("t", math.nan), ValueError, "expires_at must not be NaN"),
        (lambda: ClientCredentials("i", "s", clock=cast("Any", time)), TypeError, "clock must be a Clock or None"),
        (lambda: ClientCredentials("i", "s", clock=cast("Any", Clock)), TypeError, "clock must be a Clock or None"),
        (lambda: ClientCredentials("i", "s", clock=cast("Any", 0)), TypeError, "clock must be a Clock or None"),
        (lambda: StaticToken("é"), ValueError, "token must be printable ASCII"),
        (lambda: StaticToken(NOT_A_STR), TypeError, "token must be a str"),
    ],
)
def test_invalid_credentials_are_rejected_by_name(build: Any, error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=rule) as caught:
        build()
    assert "hunter2" not in str(caught.value)


async def test_static_token_is_the_same_for_every_tenant() -> None:
    provider = StaticToken("t")
    endpoint = Endpoint(b"")
    token = await provider.token("acme", endpoint)
    provider.invalidate("acme", token)
    assert await provider.token("globex", endpoint) is token
    assert token.value.reveal() == "t"
    assert token.expires_at is None
    assert endpoint.bodies == []


def test_both_providers_implement_the_protocol() -> None:
    assert isinstance(StaticToken("t"), TokenProvider)
    assert isinstance(ClientCredentials("id", "secret"), TokenProvider)


def test_secret_never_shows_and_is_not_pickled() -> None:
    token = Token(Secret("hunter2"))
    shown = [
        repr(Secret("hunter2")),
        str(Secret("hunter2")),
        f"{Secret('hunter2')}",
        repr(token),
        repr(attrs.asdict(token)),
        repr(StaticToken("hunter2")),
        repr(ClientCredentials("id", "hunter2")),
    ]
    assert not [string for string in shown if "hunter2" in string]
    for holder in (Secret("hunter2"), token, StaticToken("hunter2"), ClientCredentials("id", "hunter2")):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(holder)


def test_token_turns_a_str_into_a_secret() -> None:
    assert Token("hunter2").value == Secret("hunter2")


def test_secrets_are_compared_by_value() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert hash(Secret("a")) == hash(Secret("a"))
