import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import aiohttp
import pytest
from aiohttp import web

from connector_async.sandbox import LoggedRequest, Sandbox
from connector_async.sandbox.models import AppointmentPage, PageSelection
from connector_async.sandbox.storage import Storage
from tests.support.sandbox_user import CREDENTIALS, fetch_token

TOKEN_PATH = "/acme/authentication/token"
JSON = {"Content-Type": "application/json"}
LIMIT = 1024**2


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox() as running:
        yield running


async def connect(sandbox: Sandbox) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    url = urlsplit(sandbox.base_url)
    return await asyncio.open_connection(url.hostname, url.port)


async def exchange(sandbox: Sandbox, request: bytes) -> bytes:
    """Send raw bytes and read until the server closes the connection."""
    reader, writer = await connect(sandbox)
    writer.write(request)
    async with asyncio.timeout(5):
        response = await reader.read()
    writer.close()
    await writer.wait_closed()
    return response


async def test_error_is_a_problem_with_the_request_id_as_its_trace_id(
    session: aiohttp.ClientSession, sandbox: Sandbox
) -> None:
    async with session.get("/acme/appointment?appointmentId=1") as response:
        body = await response.json(content_type="application/problem+json")

    request_id = response.headers["x-request-id"]
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", request_id)
    assert body == {
        "type": "https://tools.ietf.org/html/rfc9110#section-15.5.2",
        "title": "Unauthorized",
        "status": 401,
        "detail": "A bearer token is required.",
        "instance": "/acme/appointment",
        "traceId": request_id,
    }
    assert sandbox.log.entries == (
        LoggedRequest(
            method="GET", path="/appointment", operation="get", tenant="acme", status=401, request_id=request_id
        ),
    )


async def test_success_is_logged_under_its_request_id(session: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    async with session.post(TOKEN_PATH, json=CREDENTIALS) as response:
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    assert [entry.request_id for entry in sandbox.log.entries] == [response.headers["x-request-id"]]
    assert sandbox.log.count(operation="token", tenant="acme", status=200) == 1


@pytest.mark.parametrize("path", ["/", "/acme", "/acme/nothing", "//appointment", "/acme/appointment/1"])
async def test_unknown_path_is_404(session: aiohttp.ClientSession, sandbox: Sandbox, path: str) -> None:
    async with session.get(sandbox.base_url + path) as response:
        assert response.status == 404
        assert response.content_type == "application/problem+json"
    assert sandbox.log.count(operation="unknown", status=404) == 1


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PATCH", "/acme/appointment", "DELETE, GET, POST, PUT"),
        ("HEAD", "/acme/appointment/preview", "GET"),
        ("GET", TOKEN_PATH, "POST"),
    ],
)
async def test_unsupported_method_is_405(
    session: aiohttp.ClientSession, sandbox: Sandbox, method: str, path: str, allow: str
) -> None:
    async with session.request(method, path) as response:
        assert (response.status, response.headers["Allow"]) == (405, allow)
        assert response.content_type == "application/problem+json"
    assert sandbox.log.count(operation="unknown", tenant="acme", status=405) == 1


@pytest.mark.parametrize("content_type", ["text/plain", "application/json-seq", "application/x-www-form-urlencoded"])
async def test_content_type_other_than_json_is_415(session: aiohttp.ClientSession, content_type: str) -> None:
    body, headers = json.dumps(CREDENTIALS), {"Content-Type": content_type}
    async with session.post(TOKEN_PATH, data=body, headers=headers) as response:
        assert response.status == 415


async def test_body_without_a_content_type_is_415(session: aiohttp.ClientSession) -> None:
    async with session.post(TOKEN_PATH, skip_auto_headers=["Content-Type"]) as response:
        assert response.status == 415


async def test_content_type_may_have_parameters(session: aiohttp.ClientSession) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    async with session.post(TOKEN_PATH, data=json.dumps(CREDENTIALS), headers=headers) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The body is not valid JSON."),
        (b'{"clientId": "a",}', "The body is not valid JSON."),
        (b'{"clientId": "\xff"}', "The body is not valid JSON."),
        (b'{"clientId": "\\ud800"}', "The body is not valid JSON."),
        (b'{"a":' * 5_000, "The body is not valid JSON."),
        (b"[]", "The body must be a JSON object."),
        (b"null", "The body must be a JSON object."),
    ],
)
async def test_body_that_is_not_a_json_object_is_400(session: aiohttp.ClientSession, body: bytes, message: str) -> None:
    async with session.post(TOKEN_PATH, data=body, headers=JSON) as response:
        assert response.status == 400
        assert (await response.json())["errors"] == {"$": [message]}


def padded(size: int) -> bytes:
    body = json.dumps(CREDENTIALS).encode()
    return body + b" " * (size - len(body))


async def chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 2**16):
        yield body[start : start + 2**16]


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 200), (LIMIT + 1, 413)])
@pytest.mark.parametrize("chunked", [False, True])
async def test_body_over_one_mebibyte_is_413(
    session: aiohttp.ClientSession, *, size: int, status: int, chunked: bool
) -> None:
    body = padded(size)
    data = chunks(body) if chunked else io.BytesIO(body)
    async with session.post(TOKEN_PATH, data=data, headers=JSON) as response:
        assert response.status == status


async def test_compressed_body_beyond_the_limit_is_413(session: aiohttp.ClientSession) -> None:
    body = io.BytesIO(padded(LIMIT + 1))
    async with session.post(TOKEN_PATH, data=body, headers=JSON, compress="gzip") as response:
        assert response.status == 413


async def test_client_that_expects_100_continue_gets_it(session: aiohttp.ClientSession) -> None:
    timeout = aiohttp.ClientTimeout(total=5)
    async with session.post(TOKEN_PATH, json=CREDENTIALS, expect100=True, timeout=timeout) as response:
        assert response.status == 200
        assert await response.json()


async def test_unsupported_expectation_is_417(session: aiohttp.ClientSession) -> None:
    async with session.post(TOKEN_PATH, json=CREDENTIALS, headers={"Expect": "200-ok"}) as response:
        assert response.status == 417


async def test_body_with_a_wrong_content_encoding_is_400(sandbox: Sandbox) -> None:
    head = f"POST {TOKEN_PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
    response = await exchange(sandbox, f"{head}Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope".encode())
    assert response.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in response


async def test_token_that_is_not_utf_8_is_401(sandbox: Sandbox) -> None:
    request = b"GET /acme/appointment/preview HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    response = await exchange(sandbox, request + b"Authorization: Bearer \xff.\xff.\xff\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 401 ")


async def test_path_that_is_not_utf_8_is_404(sandbox: Sandbox) -> None:
    request = b"GET /%FF/appointment HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    response = await exchange(sandbox, request)
    assert response.startswith(b"HTTP/1.1 404 ")
    assert b'"instance":"/%FF/appointment"' in response
    assert sandbox.log.count(operation="unknown", tenant="", status=404) == 1


@pytest.fixture
def logged(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Return an event that is set when the sandbox has logged a request."""
    event, record = asyncio.Event(), sandbox.log.record

    def record_and_set(entry: LoggedRequest) -> None:
        record(entry)
        event.set()

    monkeypatch.setattr(sandbox.log, "record", record_and_set)
    return event


async def test_request_is_logged_if_the_client_disconnects_within_its_body(
    sandbox: Sandbox, logged: asyncio.Event
) -> None:
    head = f"POST {TOKEN_PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    reader, writer = await connect(sandbox)
    writer.write(f"{head}Content-Length: 100\r\n\r\n".encode())
    async with asyncio.timeout(5):
        await reader.readuntil(b"\r\n\r\n")
    writer.write(b"{")
    writer.close()
    await writer.wait_closed()

    async with asyncio.timeout(5):
        await logged.wait()
    assert sandbox.log.count(operation="token", status=400) == 1


async def test_request_is_logged_if_the_client_disconnects_before_the_response(
    sandbox: Sandbox, session: aiohttp.ClientSession, logged: asyncio.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await fetch_token(session)
    logged.clear()
    reached, disconnected = asyncio.Event(), asyncio.Event()
    original_connection_lost = web.RequestHandler.connection_lost

    async def wait_for_disconnect(_storage: Storage, _tenant: str, _part: PageSelection) -> AppointmentPage:
        reached.set()
        await disconnected.wait()
        return AppointmentPage(appointments=[], next_after=None, total=0)

    def connection_lost(protocol: web.RequestHandler, error: BaseException | None) -> None:
        original_connection_lost(protocol, error)
        disconnected.set()

    monkeypatch.setattr(Storage, "list_without_user", wait_for_disconnect)
    monkeypatch.setattr(web.RequestHandler, "connection_lost", connection_lost)
    _, writer = await connect(sandbox)
    head = f"GET /acme/appointment/preview HTTP/1.1\r\nHost: x\r\ntenantId: acme\r\nAuthorization: Bearer {token}"
    writer.write(f"{head}\r\n\r\n".encode())
    async with asyncio.timeout(5):
        await reached.wait()
        writer.transport.abort()
        await logged.wait()
    assert sandbox.log.count(operation="preview", status=200) == 1
