from collections.abc import AsyncIterator

import aiohttp
import jwt
import pytest
from yarl import URL

from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Sandbox, TokenResponse
from tests.support.sandbox_user import CREDENTIALS, ManualClock, fetch_token

EPOCH = 1_700_000_000.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(EPOCH)


@pytest.fixture
async def sandbox(clock: ManualClock) -> AsyncIterator[Sandbox]:
    async with Sandbox(now=clock) as running:
        yield running


async def preview_status(session: aiohttp.ClientSession, token: str, tenant: str = "acme") -> int:
    headers = {"Authorization": f"Bearer {token}", "tenantId": tenant}
    async with session.get(f"/{tenant}/appointment/preview", headers=headers) as response:
        return response.status


async def test_token_response_has_the_body_of_the_reference(session: aiohttp.ClientSession) -> None:
    async with session.post("/acme/authentication/token", json=CREDENTIALS) as response:
        body = await response.json()

    assert body.keys() == {"accessToken", "refreshToken", "expiresIn"}
    assert body["expiresIn"] == 3600
    assert body["refreshToken"] != body["accessToken"]


async def test_token_response_can_have_the_body_of_the_authentication_guide() -> None:
    async with (
        Sandbox(token_response=TokenResponse.TOKEN, token_lifetime=60) as sandbox,
        aiohttp.ClientSession(sandbox.base_url) as session,
        session.post("/acme/authentication/token", json=CREDENTIALS) as response,
    ):
        body = await response.json()
        token = body.pop("token")
        assert body == {"expiresIn": 60, "tokenType": "Bearer"}
        assert await preview_status(session, token) == 200


async def test_token_is_a_jwt_with_tenant_client_and_times(session: aiohttp.ClientSession) -> None:
    first, second = await fetch_token(session), await fetch_token(session)

    claims = jwt.decode(first, options={"verify_signature": False})
    assert jwt.get_unverified_header(first)["alg"] == "HS256"
    assert (claims["tenant"], claims["sub"]) == ("acme", DEFAULT_CLIENT_ID)
    assert (claims["iat"], claims["exp"]) == (EPOCH, EPOCH + 3600)
    assert claims["jti"] != jwt.decode(second, options={"verify_signature": False})["jti"]


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"clientId": "sandbox"}, {"clientSecret": "The clientSecret field is required."}),
        ({"clientSecret": "x"}, {"clientId": "The clientId field is required."}),
        ({**CREDENTIALS, "clientId": 1}, {"clientId": "The clientId field must be a non-empty string."}),
        ({**CREDENTIALS, "scope": "all"}, {"scope": "The field scope is unknown."}),
    ],
)
async def test_token_request_with_invalid_fields_is_400(
    session: aiohttp.ClientSession, body: dict[str, object], errors: dict[str, str]
) -> None:
    async with session.post("/acme/authentication/token", json=body) as response:
        assert response.status == 400
        assert (await response.json())["errors"] == {name: [message] for name, message in errors.items()}


@pytest.mark.parametrize("wrong", [{"clientId": "nobody"}, {"clientSecret": "gueßt"}])
async def test_wrong_credentials_are_401_and_not_echoed(session: aiohttp.ClientSession, wrong: dict[str, str]) -> None:
    async with session.post("/acme/authentication/token", json={**CREDENTIALS, **wrong}) as response:
        body = await response.text()
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
    assert not any(value in body for value in (*wrong.values(), DEFAULT_CLIENT_SECRET))


async def test_given_clients_replace_the_default_one() -> None:
    async with (
        Sandbox(clients={"me": "mine"}) as sandbox,
        aiohttp.ClientSession(sandbox.base_url) as session,
    ):
        async with session.post("/acme/authentication/token", json=CREDENTIALS) as response:
            assert response.status == 401
        own = {"clientId": "me", "clientSecret": "mine"}
        async with session.post("/acme/authentication/token", json=own) as response:
            assert response.status == 200


async def test_tenant_that_does_not_exist_is_404() -> None:
    async with (
        Sandbox(tenants=["acme"]) as sandbox,
        aiohttp.ClientSession(sandbox.base_url) as session,
    ):
        token = await fetch_token(session)
        assert await preview_status(session, token) == 200
        assert await preview_status(session, token, tenant="other") == 404
        async with session.post("/other/authentication/token", json=CREDENTIALS) as response:
            assert response.status == 404


async def test_token_expires_by_the_given_clock(session: aiohttp.ClientSession, clock: ManualClock) -> None:
    token = await fetch_token(session)
    clock.time = EPOCH + 3599.9
    assert await preview_status(session, token) == 200
    clock.time = EPOCH + 3600
    assert await preview_status(session, token) == 401


async def test_token_issued_within_a_second_lives_its_whole_lifetime(
    session: aiohttp.ClientSession, clock: ManualClock
) -> None:
    clock.time = EPOCH + 0.9
    token = await fetch_token(session)
    clock.time = EPOCH + 3600.8
    assert await preview_status(session, token) == 200


async def test_revocation_affects_only_earlier_tokens_of_the_tenant(
    session: aiohttp.ClientSession, sandbox: Sandbox
) -> None:
    other, early = await fetch_token(session, "other"), await fetch_token(session)
    sandbox.revoke_tokens("acme")
    late = await fetch_token(session)

    assert await preview_status(session, early) == 401
    assert await preview_status(session, other, tenant="other") == 200
    assert await preview_status(session, late) == 200


async def test_token_of_another_server_is_401(session: aiohttp.ClientSession, clock: ManualClock) -> None:
    async with (
        Sandbox(now=clock) as other,
        aiohttp.ClientSession(other.base_url) as other_session,
    ):
        token = await fetch_token(other_session)
    assert await preview_status(session, token) == 401


async def test_unsigned_token_is_401(session: aiohttp.ClientSession) -> None:
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
async def test_missing_or_invalid_token_is_401_with_a_challenge(
    session: aiohttp.ClientSession, authorization: str | None, challenge: str
) -> None:
    headers = {"tenantId": "acme"} | ({"Authorization": authorization} if authorization else {})
    async with session.get("/acme/appointment/preview", headers=headers) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"] == challenge


async def test_authorization_scheme_is_case_insensitive(session: aiohttp.ClientSession) -> None:
    headers = {"Authorization": f"bearer {await fetch_token(session)}", "tenantId": "acme"}
    async with session.get("/acme/appointment/preview", headers=headers) as response:
        assert response.status == 200


async def test_token_of_another_tenant_is_403(session: aiohttp.ClientSession) -> None:
    assert await preview_status(session, await fetch_token(session, "other")) == 403


@pytest.mark.parametrize("tenant_headers", [[], ["other"], ["acme", "acme"], ["ACME"]])
async def test_tenant_header_must_repeat_the_tenant_of_the_path(
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
async def test_unusual_tenant_is_one_path_segment_decoded_once(
    session: aiohttp.ClientSession, sandbox: Sandbox, segment: str, tenant: str
) -> None:
    token_url = URL(f"/{segment}/authentication/token", encoded=True)
    async with session.post(token_url, json=CREDENTIALS) as response:
        token = (await response.json())["accessToken"]
    headers = {"Authorization": f"Bearer {token}", "tenantId": tenant}
    async with session.get(URL(f"/{segment}/appointment/preview", encoded=True), headers=headers) as response:
        assert response.status == 200
    assert sandbox.log.count(operation="preview", tenant=tenant, status=200) == 1
