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

NO_TEXT: Any = 5


class Endpoint:
    """Stands for a session: a `TokenSend` that counts, and answers when it may."""

    def __init__(self, *answers: object, base_url: str = "https://api.example") -> None:
        self.base_url = base_url
        self.answers = list(answers)
        self.bodies: list[object] = []
        self.open = asyncio.Event()
        self.open.set()
        self.tasks: list[asyncio.Task[Token]] = []

    async def post_token_request(self, body: bytes) -> Response:
        self.bodies.append(orjson.loads(body))
        await self.open.wait()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        content = answer if isinstance(answer, bytes) else orjson.dumps(answer)
        return Response(status=200, headers={"X-Request-Id": "r-1"}, body=content)

    def create_task(self, fetch: Coroutine[Any, Any, Token]) -> asyncio.Task[Token]:
        task = asyncio.create_task(fetch)
        self.tasks.append(task)
        return task


def answers(*values: str, expires_in: object = 3600) -> list[dict[str, object]]:
    return [{"accessToken": value, "refreshToken": "r", "expiresIn": expires_in} for value in values]


@pytest.fixture
def credentials(clock: ManualClock) -> ClientCredentials:
    return ClientCredentials("id", "secret", clock=clock)


@pytest.mark.parametrize(
    "answer",
    [
        {"accessToken": "t", "refreshToken": "r", "expiresIn": 3600},  # the API reference
        {"token": "t", "expiresIn": 3600, "tokenType": "Bearer"},  # the authentication guide
    ],
)
async def test_both_documented_answers_hold_a_token(credentials: ClientCredentials, answer: object) -> None:
    endpoint = Endpoint(answer)
    token = await credentials.token("acme", endpoint)
    assert token.value.reveal() == "t"
    assert endpoint.bodies == [{"clientId": "id", "clientSecret": "secret"}]


@pytest.mark.parametrize(
    "answer",
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
async def test_an_answer_without_a_usable_token_is_a_decoding_error(
    credentials: ClientCredentials, answer: object
) -> None:
    with pytest.raises(DecodingError, match="token endpoint") as caught:
        await credentials.token("acme", Endpoint(answer))
    assert caught.value.problems[0].startswith("$: ")
    assert caught.value.request_id == "r-1"


async def test_a_token_is_renewed_in_the_background_when_a_tenth_of_its_life_is_left(
    credentials: ClientCredentials, clock: ManualClock
) -> None:
    endpoint = Endpoint(*answers("first", "second"))
    first = await credentials.token("acme", endpoint)
    clock.now += 3239
    assert await credentials.token("acme", endpoint) is first
    await asyncio.sleep(0)
    assert len(endpoint.bodies) == 1
    clock.now += 1
    endpoint.open.clear()
    for _ in range(3):
        assert await credentials.token("acme", endpoint) is first  # nobody waits
    endpoint.open.set()
    await asyncio.wait(endpoint.tasks)
    assert (await credentials.token("acme", endpoint)).value.reveal() == "second"
    assert len(endpoint.bodies) == 2


async def test_a_token_that_is_nearly_over_is_waited_for(credentials: ClientCredentials, clock: ManualClock) -> None:
    endpoint = Endpoint(*answers("first", "second"))
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


async def test_a6_a_renewal_that_fails_leaves_the_old_token_in_use_and_is_tried_again_after_a_minute(
    credentials: ClientCredentials, clock: ManualClock
) -> None:
    endpoint = Endpoint(*answers("first"), ServerError("down", status=503))
    first = await credentials.token("acme", endpoint)
    asked = []
    for moment in (3240, 3299.9, 3300, 3528, 3587.9, 3588, 3599.9):
        clock.now = 1_000 + moment
        assert await credentials.token("acme", endpoint) is first
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asked.append(len(endpoint.bodies))
    assert asked == [2, 2, 3, 4, 4, 5, 5]


async def test_a6_when_the_old_token_is_over_its_renewals_failure_is_told(
    credentials: ClientCredentials, clock: ManualClock
) -> None:
    endpoint = Endpoint(*answers("first"), ServerError("down", status=503), *answers("second"))
    await credentials.token("acme", endpoint)
    clock.now += 3600
    with pytest.raises(ServerError):
        await credentials.token("acme", endpoint)
    assert (await credentials.token("acme", endpoint)).value.reveal() == "second"


async def test_a6_a_token_that_is_over_is_not_used_even_when_its_renewal_has_just_failed(
    credentials: ClientCredentials, clock: ManualClock
) -> None:
    endpoint = Endpoint(*answers("first"), ServerError("down", status=503), *answers("second"))
    first = await credentials.token("acme", endpoint)
    clock.now += 3590
    assert await credentials.token("acme", endpoint) is first
    clock.now += 9.9
    assert await credentials.token("acme", endpoint) is first
    clock.now += 0.1
    assert (await credentials.token("acme", endpoint)).value.reveal() == "second"


async def test_a_renewal_that_failed_does_not_put_off_that_of_the_next_token(
    credentials: ClientCredentials, clock: ManualClock
) -> None:
    down = ServerError("down", status=503)
    endpoint = Endpoint(*answers("first", expires_in=30), down, *answers("second", "third", expires_in=30))
    await credentials.token("acme", endpoint)
    for seconds, value in ((29.5, "first"), (0.5, "second"), (29.5, "third")):
        clock.now += seconds
        assert (await credentials.token("acme", endpoint)).value.reveal() == value


async def test_credentials_that_are_rejected_ahead_of_a_tokens_end_leave_it_in_use(
    credentials: ClientCredentials, clock: ManualClock
) -> None:
    endpoint = Endpoint(*answers("first"), AuthenticationError("refused", status=401))
    first = await credentials.token("acme", endpoint)
    clock.now += 3528
    assert await credentials.token("acme", endpoint) is first
    credentials.invalidate("acme", first)
    with pytest.raises(AuthenticationError):
        await credentials.token("acme", endpoint)
    assert len(endpoint.bodies) == 2


async def test_a7_rejected_credentials_are_not_tried_again_for_a_short_while(
    credentials: ClientCredentials, clock: ManualClock
) -> None:
    endpoint = Endpoint(AuthenticationError("refused", status=401), *answers("t"))
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
        await credentials.token("acme", Endpoint(AuthenticationError("refused"), base_url="https://other.example"))
    clock.now += 0.1
    assert (await credentials.token("acme", endpoint)).value.reveal() == "t"
    assert len(endpoint.bodies) == 2


async def test_a8_a_token_is_over_by_the_monotonic_clock_whatever_the_wall_clock_says(
    credentials: ClientCredentials, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = Endpoint(*answers("t"))
    await credentials.token("acme", endpoint)
    monkeypatch.setattr(ManualClock, "time", lambda _: 1_700_003_600.0)
    await credentials.token("acme", endpoint)
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize("expires_in", [None, 0, -1, "3600", "soon", True, [3600]])
async def test_a8_a_lifetime_that_makes_no_sense_is_read_as_the_documented_hour(
    credentials: ClientCredentials, clock: ManualClock, expires_in: object
) -> None:
    endpoint = Endpoint(*answers("t", expires_in=expires_in))
    for _ in range(3):
        await credentials.token("acme", endpoint)
    clock.now += 3239
    await credentials.token("acme", endpoint)
    await asyncio.sleep(0)
    assert len(endpoint.bodies) == 1


async def test_a8_a_tiny_lifetime_is_a_second(credentials: ClientCredentials, clock: ManualClock) -> None:
    endpoint = Endpoint(*answers("t", expires_in=1e-300))
    await credentials.token("acme", endpoint)
    clock.now += 0.89
    await credentials.token("acme", endpoint)
    await asyncio.sleep(0)
    assert len(endpoint.bodies) == 1


async def test_a8_a_huge_lifetime_is_a_day(credentials: ClientCredentials, clock: ManualClock) -> None:
    endpoint = Endpoint(*answers("t", expires_in=1e300))
    await credentials.token("acme", endpoint)
    clock.now += 24 * 3600
    await credentials.token("acme", endpoint)
    assert len(endpoint.bodies) == 2


async def test_tokens_are_kept_apart_by_tenant_and_by_api(credentials: ClientCredentials) -> None:
    one, other = Endpoint(*answers("a", "b")), Endpoint(*answers("c"), base_url="https://other.example")
    tokens = [
        await credentials.token("acme", one),
        await credentials.token("globex", one),
        await credentials.token("acme", other),
    ]
    assert [token.value.reveal() for token in tokens] == ["a", "b", "c"]


async def test_a1_twenty_callers_share_one_request(credentials: ClientCredentials) -> None:
    endpoint = Endpoint(*answers("t"))
    endpoint.open.clear()
    callers = [asyncio.create_task(credentials.token("acme", endpoint)) for _ in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not any(caller.done() for caller in callers)
    endpoint.open.set()
    assert {token.value.reveal() for token in await asyncio.gather(*callers)} == {"t"}
    assert len(endpoint.bodies) == 1


async def test_a4_an_old_token_that_comes_back_late_does_not_revoke_its_successor(
    credentials: ClientCredentials,
) -> None:
    endpoint = Endpoint(*answers("old", "new"))
    old = await credentials.token("acme", endpoint)
    credentials.invalidate("acme", old)
    new = await credentials.token("acme", endpoint)
    credentials.invalidate("acme", old)
    assert await credentials.token("acme", endpoint) is new
    credentials.invalidate("globex", new)
    assert await credentials.token("acme", endpoint) is new


async def test_a5_a_first_caller_that_is_cancelled_takes_nothing_from_the_others(
    credentials: ClientCredentials,
) -> None:
    endpoint = Endpoint(*answers("t"))
    endpoint.open.clear()
    callers = [asyncio.create_task(credentials.token("acme", endpoint)) for _ in range(3)]
    await asyncio.sleep(0)
    callers[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await callers[0]
    endpoint.open.set()
    await asyncio.gather(*callers[1:])
    assert len(endpoint.bodies) == 1


async def test_each_caller_gets_an_error_of_its_own_and_the_next_one_asks_again(credentials: ClientCredentials) -> None:
    endpoint = Endpoint(ServerError("down", status=503), *answers("t"))
    endpoint.open.clear()
    callers = [asyncio.create_task(credentials.token("acme", endpoint)) for _ in range(2)]
    await asyncio.sleep(0)
    endpoint.open.set()
    errors = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(error) for error in errors] == [ServerError, ServerError]
    assert errors[0] is not errors[1]
    assert (await credentials.token("acme", endpoint)).value.reveal() == "t"


async def test_an_error_that_is_none_of_the_tree_reaches_the_caller(credentials: ClientCredentials) -> None:
    with pytest.raises(RuntimeError, match="closed"):
        await credentials.token("acme", Endpoint(RuntimeError("the session is closed")))


async def test_a_failure_that_nobody_waits_for_is_silent(credentials: ClientCredentials) -> None:
    endpoint = Endpoint(AuthenticationError("refused"))
    endpoint.open.clear()
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    caller = asyncio.create_task(credentials.token("acme", endpoint))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])
    endpoint.open.set()
    await asyncio.wait(endpoint.tasks)
    # What the task is reported by is its end as an object.
    endpoint.tasks.clear()
    credentials._fetches.clear()
    del caller
    gc.collect()
    assert reported == []


async def test_a_fetch_that_the_session_ended_is_no_cancellation_of_the_caller(credentials: ClientCredentials) -> None:
    endpoint = Endpoint(*answers("t"))
    endpoint.open.clear()
    caller = asyncio.create_task(credentials.token("acme", endpoint))
    await asyncio.sleep(0)
    endpoint.tasks[0].cancel()
    with pytest.raises(RuntimeError, match="closed"):
        await caller


def test_a_fetch_left_by_an_event_loop_that_ended_is_not_waited_for(credentials: ClientCredentials) -> None:
    async def ask(endpoint: Endpoint) -> Token:
        return await asyncio.wait_for(credentials.token("acme", endpoint), 0.05)

    async def leave() -> None:
        endpoint = Endpoint(*answers("lost"))
        endpoint.open.clear()
        asyncio.get_running_loop().call_later(0.01, asyncio.get_running_loop().stop)
        await ask(endpoint)

    loop = asyncio.new_event_loop()
    left = loop.create_task(leave())
    loop.run_forever()

    async def ask_again() -> str:
        return (await ask(Endpoint(*answers("t")))).value.reveal()

    assert asyncio.run(ask_again()) == "t"
    left.cancel()
    loop.run_until_complete(asyncio.gather(left, return_exceptions=True))
    for task in asyncio.all_tasks(loop):
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()


def test_equal_credentials_are_equal() -> None:
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
        (lambda: ClientCredentials("i", NO_TEXT), TypeError, "client_secret must be a str"),
        (lambda: StaticToken(""), ValueError, "token must not be empty"),
        (lambda: StaticToken("a\r\nX: y"), ValueError, "token must be printable"),
        (lambda: StaticToken("a b"), ValueError, "token must not have spaces"),
        (lambda: Secret(NO_TEXT), TypeError, "value must be a str, not int"),
        (lambda: Token(NO_TEXT), TypeError, "value must be a str, not int"),
        (lambda: Token(""), ValueError, "value must be printable ASCII without spaces, and not empty"),
        (lambda: Token("hunter2\r\nX: y"), ValueError, "value must be printable ASCII without spaces"),
        (lambda: Token(Secret("hunter2 3")), ValueError, "value must be printable ASCII without spaces"),
        (lambda: Token("hunter2\ud800"), ValueError, "value must be printable ASCII without spaces"),
        (lambda: Token("t", cast("Any", "soon")), TypeError, "expires_at must be a number or None, not str"),
        (lambda: Token("t", cast("Any", datetime.now)), TypeError, "expires_at must be a number or None, not builtin"),
        (lambda: Token("t", expires_at=True), TypeError, "expires_at must be a number or None, not bool"),
        (lambda: Token("t", math.nan), ValueError, "expires_at must be a number of seconds, and is none"),
        (lambda: ClientCredentials("i", "s", clock=cast("Any", time)), TypeError, "clock must be a Clock or None"),
        (lambda: ClientCredentials("i", "s", clock=cast("Any", Clock)), TypeError, "clock must be a Clock or None"),
        (lambda: ClientCredentials("i", "s", clock=cast("Any", 0)), TypeError, "clock must be a Clock or None"),
        (lambda: StaticToken("é"), ValueError, "token must be printable ASCII"),
        (lambda: StaticToken(NO_TEXT), TypeError, "token must be a str"),
    ],
)
def test_bad_credentials_are_refused_by_name(build: Any, error: type[Exception], rule: str) -> None:
    with pytest.raises(error, match=rule) as caught:
        build()
    assert "hunter2" not in str(caught.value)


async def test_a_static_token_is_always_the_same() -> None:
    provider = StaticToken("t")
    endpoint = Endpoint(b"")
    token = await provider.token("acme", endpoint)
    provider.invalidate("acme", token)
    assert await provider.token("globex", endpoint) is token
    assert token.value.reveal() == "t"
    assert token.expires_at is None
    assert endpoint.bodies == []


def test_the_providers_are_token_providers() -> None:
    assert isinstance(StaticToken("t"), TokenProvider)
    assert isinstance(ClientCredentials("id", "secret"), TokenProvider)


def test_a_secret_shows_itself_nowhere() -> None:
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
    assert not [text for text in shown if "hunter2" in text]
    for holder in (Secret("hunter2"), token, StaticToken("hunter2"), ClientCredentials("id", "hunter2")):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(holder)


def test_the_text_of_a_token_becomes_a_secret() -> None:
    assert Token("hunter2").value == Secret("hunter2")


def test_secrets_are_compared_by_their_text() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert hash(Secret("a")) == hash(Secret("a"))
