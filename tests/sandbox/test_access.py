from collections.abc import AsyncIterator

import aiohttp
import jwt
import pytest
from yarl import URL

from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Sandbox, TokenResponse

CREDENTIALS = {"clientId": DEFAULT_CLIENT_ID, "clientSecret": DEFAULT_CLIENT_SECRET}
EPOCH = 1_700_000_000.0


class Clock:
    def __init__(self) -> None:
        self.time = EPOCH

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def sandbox(clock: Clock) -> AsyncIterator[Sandbox]:
    async with Sandbox(now=clock) as running:
        yield running


@pytest.fixture
async def session(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sandbox.base_url) as opened:
        yield opened


async def fetch_token(session: aiohttp.ClientSession, segment: str = "acme") -> str:
    url = URL(f"/{segment}/authentication/token", encoded=True)
    async with session.post(url, json=CREDENTIALS) as response:
        assert response.status == 200
        return str((await response.json())["accessToken"])


async def preview_status(session: aiohttp.ClientSession, token: str, tenant: str = "acme") -> int:
    headers = {"Authorization": f"Bearer {token}", "tenantId": tenant}
    async with session.get(f"/{tenant}/appointment/preview", headers=headers) as response:
        return response.status


async def test_a_token_request_answers_the_shape_of_the_reference(session: aiohttp.ClientSession) -> None:
    async with session.post("/acme/authentication/token", json=CREDENTIALS) as response:
        body = await response.json()

    assert body.keys() == {"accessToken", "refreshToken", "expiresIn"}
    assert body["expiresIn"] == 3600
    assert body["refreshToken"] != body["accessToken"]


async def test_a_token_request_can_answer_the_shape_of_the_authentication_guide() -> None:
    async with (
        Sandbox(token_response=TokenResponse.TOKEN, token_lifetime=60) as sandbox,
        aiohttp.ClientSession(sandbox.base_url) as session,
        session.post("/acme/authentication/token", json=CREDENTIALS) as response,
    ):
        body = await response.json()
        token = body.pop("token")
        assert body == {"expiresIn": 60, "tokenType": "Bearer"}
        assert await preview_status(session, token) == 200


async def test_a_token_is_a_jwt_that_names_its_tenant_client_and_times(session: aiohttp.ClientSession) -> None:
    first, second = await fetch_token(session), await fetch_token(session)

    claims = jwt.decode(first, options={"verify_signature": False})
    assert jwt.get_unverified_header(first)["alg"] == "HS256"
    assert (claims["tenant"], claims["sub"]) == ("acme", DEFAULT_CLIENT_ID)
    assert (claims["iat"], claims["exp"]) == (EPOCH, EPOCH + 3600)
    assert claims["jti"] != jwt.decode(second, options={"verify_signature": False})["jti"]


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"clientId": "sandbox"}, {"clientSecret": "The clientSecret field is required."}),
        ({"clientSecret": "x"}, {"clientId": "The clientId field is required."}),
        ({**CREDENTIALS, "clientId": 1}, {"clientId": "The clientId field must be a non-empty string."}),
        ({**CREDENTIALS, "scope": "all"}, {"scope": "The field scope is unknown."}),
    ],
)
async def test_a_token_request_with_wrong_fields_is_400(
    session: aiohttp.ClientSession, body: dict[str, object], wrong: dict[str, str]
) -> None:
    async with session.post("/acme/authentication/token", json=body) as response:
        assert response.status == 400
        assert (await response.json())["errors"] == {name: [message] for name, message in wrong.items()}


@pytest.mark.parametrize("wrong", [{"clientId": "nobody"}, {"clientSecret": "gueßt"}])
async def test_wrong_credentials_are_401_and_not_repeated(
    session: aiohttp.ClientSession, wrong: dict[str, str]
) -> None:
    async with session.post("/acme/authentication/token", json={**CREDENTIALS, **wrong}) as response:
        text = await response.text()
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
    assert not any(value in text for value in (*wrong.values(), DEFAULT_CLIENT_SECRET))


async def test_other_clients_replace_the_default_pair() -> None:
    async with (
        Sandbox(clients={"me": "mine"}) as sandbox,
        aiohttp.ClientSession(sandbox.base_url) as session,
    ):
        async with session.post("/acme/authentication/token", json=CREDENTIALS) as response:
            assert response.status == 401
        own = {"clientId": "me", "clientSecret": "mine"}
        async with session.post("/acme/authentication/token", json=own) as response:
            assert response.status == 200


async def test_tenants_that_do_not_exist_are_404() -> None:
    async with (
        Sandbox(tenants=["acme"]) as sandbox,
        aiohttp.ClientSession(sandbox.base_url) as session,
    ):
        token = await fetch_token(session)
        assert await preview_status(session, token) == 200
        assert await preview_status(session, token, tenant="other") == 404
        async with session.post("/other/authentication/token", json=CREDENTIALS) as response:
            assert response.status == 404


async def test_a_token_expires_by_the_clock_it_was_given(session: aiohttp.ClientSession, clock: Clock) -> None:
    token = await fetch_token(session)
    clock.time = EPOCH + 3599.9
    assert await preview_status(session, token) == 200
    clock.time = EPOCH + 3600
    assert await preview_status(session, token) == 401


async def test_a_token_issued_within_a_second_lives_its_whole_lifetime(
    session: aiohttp.ClientSession, clock: Clock
) -> None:
    clock.time = EPOCH + 0.9
    token = await fetch_token(session)
    clock.time = EPOCH + 3600.8
    assert await preview_status(session, token) == 200


async def test_revoking_refuses_earlier_tokens_of_that_tenant_only(
    session: aiohttp.ClientSession, sandbox: Sandbox
) -> None:
    other, early = await fetch_token(session, "other"), await fetch_token(session)
    sandbox.revoke_tokens("acme")
    late = await fetch_token(session)

    assert await preview_status(session, early) == 401
    assert await preview_status(session, other, tenant="other") == 200
    assert await preview_status(session, late) == 200


async def test_a_token_of_another_server_is_401(session: aiohttp.ClientSession, clock: Clock) -> None:
    async with (
        Sandbox(now=clock) as other,
        aiohttp.ClientSession(other.base_url) as its_session,
    ):
        token = await fetch_token(its_session)
    assert await preview_status(session, token) == 401


async def test_an_unsigned_token_is_401(session: aiohttp.ClientSession) -> None:
    claims = jwt.decode(await fetch_token(session), options={"verify_signature": False})
    assert await preview_status(session, jwt.encode(claims, "", algorithm="none")) == 401


@pytest.mark.parametrize(
    ("authorization", "challenge"),
    [
        (None, "Bearer"),
        ("Basic c2FuZGJveDpzYW5kYm94", "Bearer"),
        ("Bearer", 'Bearer error="invalid_token"'),
        ("Bearer not.a.token", 'Bearer error="invalid_token"'),
        ("Bearer ü.ü.ü", 'Bearer error="invalid_token"'),
        (f"Bearer {jwt.utils.base64url_encode(b'[' * 4_000).decode()}.e30.e30", 'Bearer error="invalid_token"'),
    ],
)
async def test_no_or_a_bad_token_is_401_with_a_challenge(
    session: aiohttp.ClientSession, authorization: str | None, challenge: str
) -> None:
    headers = {"tenantId": "acme"} | ({"Authorization": authorization} if authorization else {})
    async with session.get("/acme/appointment/preview", headers=headers) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == challenge


async def test_the_scheme_is_matched_in_any_case(session: aiohttp.ClientSession) -> None:
    headers = {"Authorization": f"bearer {await fetch_token(session)}", "tenantId": "acme"}
    async with session.get("/acme/appointment/preview", headers=headers) as response:
        assert response.status == 200


async def test_a_token_of_another_tenant_is_403(session: aiohttp.ClientSession) -> None:
    assert await preview_status(session, await fetch_token(session, "other")) == 403


@pytest.mark.parametrize("tenant_headers", [[], ["other"], ["acme", "acme"], ["ACME"]])
async def test_the_tenant_header_must_repeat_the_tenant_of_the_path(
    session: aiohttp.ClientSession, tenant_headers: list[str]
) -> None:
    headers = [("Authorization", f"Bearer {await fetch_token(session)}")]
    headers += [("tenantId", value) for value in tenant_headers]
    async with session.get("/acme/appointment/preview", headers=headers) as response:
        assert response.status == 400
        assert (await response.json())["errors"].keys() == {"tenantId"}


@pytest.mark.parametrize(
    ("segment", "tenant"),
    [("a%20b", "a b"), ("a%2Fb", "a/b"), ("a%252Fb", "a%2Fb"), ("%2E%2E", ".."), ("%C3%A9", "é"), ("%20a", " a")],
)
async def test_unusual_tenants_are_one_segment_decoded_once(
    session: aiohttp.ClientSession, sandbox: Sandbox, segment: str, tenant: str
) -> None:
    headers = {"Authorization": f"Bearer {await fetch_token(session, segment)}", "tenantId": tenant}
    url = URL(f"{sandbox.base_url}/{segment}/appointment/preview", encoded=True)
    async with session.get(url, headers=headers) as response:
        assert response.status == 200
    assert sandbox.log.count(operation="preview", tenant=tenant, status=200) == 1
