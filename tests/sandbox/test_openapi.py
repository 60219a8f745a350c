import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema_rs
import orjson
import pytest
from aiohttp import web

from connector_async.sandbox import (
    DEFAULT_CLIENT_SECRET,
    BodyFormat,
    FaultRates,
    PreviewPaging,
    PutSemantics,
    Sandbox,
    SandboxLimit,
    SandboxOperation,
    StatusFault,
    TokenResponse,
    UnknownId,
    WriteResponse,
    synthetic_seeds,
)
from connector_async.sandbox.handler import Handler
from tests.support.sandbox_user import MEETING, Tenant, joined

# use_after_free takes a resource for its path. All appointments of a tenant share one path here, the id standing in
# the query or the body, so that it takes every later read of another appointment for one of the deleted.
NOT_FOR_THIS_API = "use_after_free"
OPERATIONS: tuple[SandboxOperation, ...] = ("create", "delete", "get", "preview", "token", "update")
ROOT = Path(__file__).parents[2]


async def document(sandbox: Sandbox) -> Any:
    async with aiohttp.ClientSession(sandbox.base_url) as session, session.get("/openapi.json") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        return await response.json()


async def schemathesis(sandbox: Sandbox, token: str, tmp_path: Path, *options: str) -> tuple[int, str]:
    """Run all its checks that apply and return its exit code and its report."""
    # Measuring its coverage would double its time, and nothing of this project runs in it.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"),
        f"{sandbox.base_url}/openapi.json",
        *("--checks", "all", "--exclude-checks", NOT_FOR_THIS_API, "--header", f"Authorization: Bearer {token}"),
        *("--max-examples", "5", "--seed", "1", "--generation-database", "none", "--no-color", *options),
        cwd=tmp_path,
        env={**inherited, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        report, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, report.decode()


async def conform(body_format: BodyFormat, tmp_path: Path) -> None:
    sandbox = Sandbox(body_format=body_format, tenants=["acme"])
    async with joined(sandbox) as acme:
        code, report = await schemathesis(sandbox, acme.token, tmp_path)
    assert code == 0, report
    assert sandbox.log.count(status=500) == 0
    for operation in OPERATIONS:
        assert sandbox.log.count(operation=operation, status=200) > 0


async def test_schemathesis_finds_both_formats_to_be_as_their_documents_say(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:  # at once, for it takes seconds
        for body_format in BodyFormat:
            group.create_task(conform(body_format, tmp_path))


async def conform_in_pages(sandbox: Sandbox, tmp_path: Path) -> None:
    async with joined(sandbox) as acme:
        await sandbox.seed("acme", synthetic_seeds(5))  # the examples ask for the day of all of them
        # No link leads from or to a preview, so that there is nothing stateful to test.
        options = ("--include-operation-id", "previewAppointments", "--phases", "examples,coverage,fuzzing")
        code, report = await schemathesis(sandbox, acme.token, tmp_path, *options)
    assert code == 0, report
    assert sandbox.log.count(status=500) == 0
    assert sandbox.log.count(operation="preview", status=200) > 0


@pytest.mark.parametrize("paging", list(PreviewPaging)[1:])
async def test_schemathesis_finds_the_pages_of_both_formats_to_be_as_their_documents_say(
    paging: PreviewPaging, tmp_path: Path
) -> None:
    async with asyncio.TaskGroup() as group:
        for body_format in BodyFormat:
            sandbox = Sandbox(body_format=body_format, tenants=["acme"], paging=paging, page_size=2)
            group.create_task(conform_in_pages(sandbox, tmp_path))


async def test_schemathesis_finds_an_answer_without_one_of_its_fields(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answer = Handler.__call__

    async def drop_the_end_time(self: Handler, request: web.BaseRequest) -> web.StreamResponse:
        response = await answer(self, request)
        if request.path == "/acme/appointment/preview" and response.status == 200:
            assert isinstance(response, web.Response)
            assert isinstance(response.body, bytes)
            items = [{k: v for k, v in item.items() if k != "endTime"} for item in orjson.loads(response.body)]
            response.body = orjson.dumps(items)
        return response

    monkeypatch.setattr(Handler, "__call__", drop_the_end_time)
    sandbox = Sandbox(tenants=["acme"])
    async with joined(sandbox) as acme:
        await acme.create(MEETING)
        code, report = await schemathesis(sandbox, acme.token, tmp_path, "--phases", "examples")
    assert code == 1, report
    assert "endTime" in report


SETTINGS: list[dict[str, Any]] = [
    {},
    {"token_response": TokenResponse.TOKEN, "put": PutSemantics.REPLACE, "tenants": ["acme"]},
    {"integer_ids": True},
    *({"write_response": reply} for reply in WriteResponse),
    {"unknown_id": UnknownId.EMPTY},
    *({"paging": paging, "page_size": 1} for paging in PreviewPaging),
]


def resolved(root: Any, pointer: Any) -> Any:
    """Make a schema of the document stand alone."""
    return {"components": root["components"], "$schema": "https://json-schema.org/draft/2020-12/schema", **pointer}


class Document:
    """Judges requests and answers by the document."""

    def __init__(self, root: Any) -> None:
        self.root = root

    def operation(self, method: str, path: str) -> Any:
        return self.root["paths"]["/{tenantId}" + path][method.lower()]

    def example(self, method: str, path: str) -> Any:
        return self.operation(method, path)["requestBody"]["content"]["application/json"]["example"]

    def query(self, path: str) -> dict[str, str]:
        return {item["name"]: item["example"] for item in self.operation("GET", path).get("parameters", [])}

    def check_request(self, method: str, path: str, body: object) -> None:
        schema = self.operation(method, path)["requestBody"]["content"]["application/json"]["schema"]
        jsonschema_rs.validator_for(resolved(self.root, schema)).validate(body)

    def check_answer(self, method: str, path: str, status: int, body: object) -> None:
        answer = self.operation(method, path)["responses"][str(status)]
        if body is None:
            assert "content" not in answer or "an empty body" in answer["description"]
            return
        (content,) = answer["content"].values()
        jsonschema_rs.validator_for(resolved(self.root, content["schema"])).validate(body)


@pytest.mark.parametrize("body_format", list(BodyFormat))
@pytest.mark.parametrize("settings", SETTINGS, ids=",".join)
async def test_the_examples_work_and_every_answer_is_as_described(
    body_format: BodyFormat, settings: dict[str, Any]
) -> None:
    sandbox = Sandbox(body_format=body_format, new_appointment_id=lambda: "123", **settings)
    async with sandbox, aiohttp.ClientSession(sandbox.base_url) as session:
        described = Document(await document(sandbox))
        credentials = described.example("POST", "/authentication/token")
        async with session.post("/acme/authentication/token", json=credentials) as response:
            token = await response.json()
        described.check_answer("POST", "/authentication/token", response.status, token)
        acme = Tenant(session, "acme", token.get("token") or token["accessToken"])
        steps = ("POST", "GET", "PUT", "GET /preview", "DELETE", "GET")
        for step in steps:
            method, _, path = step.partition(" ")
            path = "/appointment" + path
            if method == "GET":
                options = {"params": described.query(path)}
            else:
                body = described.example(method, path)
                described.check_request(method, path, body)
                options = {"json": body}
            status, answer = await acme.call(method, path.removeprefix("/appointment"), **options)
            described.check_answer(method, path, status, answer)
            assert status < 400 or (step, status) == ("GET", 404)
    assert sandbox.log.count(operation="get", status=200) >= 1


@pytest.mark.parametrize("naive_times", [True, False])
async def test_times_without_an_offset_are_described_as_they_are_answered(*, naive_times: bool) -> None:
    sandbox = Sandbox(body_format=BodyFormat.REFERENCE, naive_times=naive_times)
    async with joined(sandbox) as acme:
        described = Document(await document(sandbox))
        await acme.create(described.example("POST", "/appointment"))
        status, shown = await acme.call("GET", "/preview", params=described.query("/appointment/preview"))
        described.check_answer("GET", "/appointment/preview", status, shown)
        other = {**shown[0], "startTime": "2024-01-15T10:00:00" + ("Z" if naive_times else "")}
        with pytest.raises(jsonschema_rs.ValidationError):
            described.check_answer("GET", "/appointment/preview", status, [other])


async def test_only_the_statuses_that_the_settings_allow_are_described() -> None:
    rates = FaultRates({StatusFault(502): 0.0, StatusFault(409): 0.0})
    for options, expected in (
        ({}, set()),
        ({"limit": SandboxLimit()}, {"429"}),
        ({"limit": SandboxLimit(status=503), "fault_rates": rates}, {"503", "502", "409"}),
    ):
        async with Sandbox(**options) as sandbox:
            paths = (await document(sandbox))["paths"]
        for item in paths.values():
            for method in item.keys() - {"parameters"}:
                own = {"200", "400", "401", "403", "404", "413", "415", "417", "500"}
                assert item[method]["responses"].keys() - own == expected


async def test_no_secret_is_told_unless_it_is_the_published_one_and_works() -> None:
    async with Sandbox(clients={"me": "mine"}) as sandbox:
        told = json.dumps(await document(sandbox))
    assert not any(f'"{secret}"' in told for secret in ("mine", DEFAULT_CLIENT_SECRET))


async def test_the_document_needs_no_token_and_is_logged() -> None:
    async with Sandbox(tenants=["acme"]) as sandbox, aiohttp.ClientSession(sandbox.base_url) as session:
        assert (await document(sandbox))["openapi"] == "3.1.0"
        async with session.post("/openapi.json") as response:
            assert (response.status, response.headers["Allow"]) == (405, "GET")
        assert sandbox.log.count(operation="openapi", tenant="", status=200) == 1


CLOSED_BODIES: list[Callable[[Any], Any]] = [
    lambda body: {**body, "unknown": 1},
    lambda body: {**body, "appointmentId": None},
    lambda body: {**body, "startTime": "2024-02-30T10:00:00Z"},
]


@pytest.mark.parametrize("body_format", list(BodyFormat))
@pytest.mark.parametrize("change", CLOSED_BODIES)
async def test_what_the_schema_of_an_update_refuses_the_server_refuses(
    body_format: BodyFormat, change: Callable[[Any], Any]
) -> None:
    sandbox = Sandbox(body_format=body_format)
    async with joined(sandbox) as acme:
        described = Document(await document(sandbox))
        body = change(described.example("PUT", "/appointment"))
        with pytest.raises(jsonschema_rs.ValidationError):
            described.check_request("PUT", "/appointment", body)
        assert (await acme.call("PUT", json=body))[0] == 400


@pytest.mark.parametrize(
    ("date", "exists"),
    [
        ("2024-02-29", True),
        ("2023-02-29", False),
        ("2000-02-29", True),
        ("1900-02-29", False),
        ("2024-04-31", False),
        ("2024-12-31", True),
        ("2024-13-01", False),
        ("0000-01-01", False),
        ("0004-02-29", True),
        ("9998-12-31", True),
    ],
)
async def test_the_schema_knows_the_calendar(date: str, *, exists: bool) -> None:
    sandbox = Sandbox()
    async with joined(sandbox) as acme:
        described = Document(await document(sandbox))
        body = {**MEETING, "startTime": f"{date}T10:00:00Z", "endTime": f"{date}T10:00:00Z"}
        assert (await acme.call("POST", json=body))[0] == (200 if exists else 400)
        if exists:
            described.check_request("POST", "/appointment", body)
        else:
            with pytest.raises(jsonschema_rs.ValidationError):
                described.check_request("POST", "/appointment", body)
