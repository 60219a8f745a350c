import asyncio
import itertools
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
from tests.support.sandbox_user import MEETING, Tenant, signed_in

# This check identifies a resource by its path. Here all appointments of a tenant share one path, because the id is in
# the query or the body. So the check mistakes every later read of another appointment for a read of the deleted one.
INAPPLICABLE_CHECK = "use_after_free"
OPERATIONS: tuple[SandboxOperation, ...] = ("create", "delete", "get", "preview", "token", "update")
ROOT = Path(__file__).parents[2]


async def fetch_document(sandbox: Sandbox) -> Any:
    async with aiohttp.ClientSession(sandbox.base_url) as session, session.get("/openapi.json") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        return await response.json()


async def run_schemathesis(sandbox: Sandbox, token: str, tmp_path: Path, *options: str) -> tuple[int, str]:
    """Run all checks that apply and return the exit code and the report."""
    # Measuring coverage would double the time, and no code of this package runs in the process.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", "run"),
        f"{sandbox.base_url}/openapi.json",
        *("--checks", "all", "--exclude-checks", INAPPLICABLE_CHECK, "--header", f"Authorization: Bearer {token}"),
        *("--max-examples", "5", "--seed", "1", "--generation-database", "none", "--no-color", *options),
        cwd=tmp_path,
        env={**inherited, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(300):
            report, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, report.decode()


async def check_conformance(body_format: BodyFormat, tmp_path: Path) -> None:
    sandbox = Sandbox(body_format=body_format, tenants=["acme"])
    async with signed_in(sandbox) as acme:
        code, report = await run_schemathesis(sandbox, acme.token, tmp_path)
    assert code == 0, report
    assert sandbox.log.count(status=500) == 0
    for operation in OPERATIONS:
        assert sandbox.log.count(operation=operation, status=200) > 0


async def test_both_formats_conform_to_their_documents(tmp_path: Path) -> None:
    async with asyncio.TaskGroup() as group:  # concurrently, since each takes seconds
        for body_format in BodyFormat:
            group.create_task(check_conformance(body_format, tmp_path))


async def check_page_conformance(sandbox: Sandbox, tmp_path: Path) -> None:
    async with signed_in(sandbox) as acme:
        await sandbox.seed("acme", synthetic_seeds(5))  # on the day that the examples request
        # No OpenAPI link leads to or from a preview, so there is nothing stateful to test.
        options = ("--include-operation-id", "previewAppointments", "--phases", "examples,coverage,fuzzing")
        code, report = await run_schemathesis(sandbox, acme.token, tmp_path, *options)
    assert code == 0, report
    assert sandbox.log.count(status=500) == 0
    assert sandbox.log.count(operation="preview", status=200) > 0


# Each style with one format, since the formats do not affect paging.
@pytest.mark.parametrize(("paging", "body_format"), [*zip(list(PreviewPaging)[1:], itertools.cycle(BodyFormat))])
async def test_pages_conform_to_their_document(paging: PreviewPaging, body_format: BodyFormat, tmp_path: Path) -> None:
    sandbox = Sandbox(body_format=body_format, tenants=["acme"], paging=paging, page_size=2)
    await check_page_conformance(sandbox, tmp_path)


async def test_schemathesis_detects_a_response_without_a_required_field(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    original_call = Handler.__call__

    async def omit_end_time(self: Handler, request: web.BaseRequest) -> web.StreamResponse:
        response = await original_call(self, request)
        if request.path == "/acme/appointment/preview" and response.status == 200:
            assert isinstance(response, web.Response)
            assert isinstance(response.body, bytes)
            items = [{k: v for k, v in item.items() if k != "endTime"} for item in orjson.loads(response.body)]
            response.body = orjson.dumps(items)
        return response

    monkeypatch.setattr(Handler, "__call__", omit_end_time)
    sandbox = Sandbox(tenants=["acme"])
    async with signed_in(sandbox) as acme:
        await acme.create(MEETING)
        code, report = await run_schemathesis(sandbox, acme.token, tmp_path, "--phases", "examples")
    assert code == 1, report
    assert "endTime" in report


# Each value of each setting occurs. Each write response occurs in both formats, since links and ids depend on both.
SETTINGS: list[tuple[BodyFormat, dict[str, Any]]] = [
    (BodyFormat.GUIDE, {}),
    (BodyFormat.REFERENCE, {"integer_ids": True, "paging": PreviewPaging.CURSOR}),
    (BodyFormat.GUIDE, {"write_response": WriteResponse.APPOINTMENT, "integer_ids": True}),
    (BodyFormat.REFERENCE, {"write_response": WriteResponse.APPOINTMENT, "paging": PreviewPaging.LINK_HEADER}),
    (BodyFormat.GUIDE, {"write_response": WriteResponse.ID_OBJECT, "paging": PreviewPaging.CURSOR}),
    (BodyFormat.REFERENCE, {"write_response": WriteResponse.ID_OBJECT, "unknown_id": UnknownId.EMPTY}),
    (BodyFormat.GUIDE, {"write_response": WriteResponse.BARE_ID, "paging": PreviewPaging.PAGE_NUMBERS}),
    (BodyFormat.REFERENCE, {"write_response": WriteResponse.BARE_ID, "integer_ids": True}),
    (BodyFormat.GUIDE, {"write_response": WriteResponse.EMPTY_200, "paging": PreviewPaging.NEXT_LINK}),
    (BodyFormat.REFERENCE, {"write_response": WriteResponse.EMPTY_200, "put": PutSemantics.REPLACE}),
    (BodyFormat.GUIDE, {"write_response": WriteResponse.EMPTY_201, "unknown_id": UnknownId.EMPTY}),
    (BodyFormat.REFERENCE, {"write_response": WriteResponse.EMPTY_201, "token_response": TokenResponse.TOKEN}),
    (BodyFormat.GUIDE, {"write_response": WriteResponse.EMPTY_204, "put": PutSemantics.REPLACE, "tenants": ["acme"]}),
    (BodyFormat.REFERENCE, {"write_response": WriteResponse.EMPTY_204, "paging": PreviewPaging.OFFSET}),
]


def resolved(root: Any, pointer: Any) -> Any:
    """Return a schema of the document that stands alone."""
    return {"components": root["components"], "$schema": "https://json-schema.org/draft/2020-12/schema", **pointer}


class Document:
    """Validates requests and responses against the document."""

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

    def check_response(self, method: str, path: str, status: int, body: object) -> None:
        response = self.operation(method, path)["responses"][str(status)]
        if body is None:
            assert "content" not in response or "an empty body" in response["description"]
            return
        (content,) = response["content"].values()
        jsonschema_rs.validator_for(resolved(self.root, content["schema"])).validate(body)


@pytest.mark.parametrize(("body_format", "settings"), SETTINGS)
async def test_examples_work_and_responses_are_as_described(body_format: BodyFormat, settings: dict[str, Any]) -> None:
    sandbox = Sandbox(body_format=body_format, page_size=1, new_appointment_id=lambda: "123", **settings)
    async with sandbox, aiohttp.ClientSession(sandbox.base_url) as session:
        document = Document(await fetch_document(sandbox))
        credentials = document.example("POST", "/authentication/token")
        async with session.post("/acme/authentication/token", json=credentials) as response:
            token = await response.json()
        document.check_response("POST", "/authentication/token", response.status, token)
        acme = Tenant(session, "acme", token.get("token") or token["accessToken"])
        for step in ("POST", "GET", "PUT", "GET /preview", "DELETE", "GET"):
            method, _, path = step.partition(" ")
            path = "/appointment" + path
            if method == "GET":
                options = {"params": document.query(path)}
            else:
                body = document.example(method, path)
                document.check_request(method, path, body)
                options = {"json": body}
            status, result = await acme.call(method, path.removeprefix("/appointment"), **options)
            document.check_response(method, path, status, result)
            assert status < 400 or (step, status) == ("GET", 404)
    assert sandbox.log.count(operation="get", status=200) >= 1


@pytest.mark.parametrize("naive_times", [True, False])
async def test_schema_of_times_depends_on_naive_times(*, naive_times: bool) -> None:
    sandbox = Sandbox(body_format=BodyFormat.REFERENCE, naive_times=naive_times)
    async with signed_in(sandbox) as acme:
        document = Document(await fetch_document(sandbox))
        await acme.create(document.example("POST", "/appointment"))
        status, shown = await acme.call("GET", "/preview", params=document.query("/appointment/preview"))
        document.check_response("GET", "/appointment/preview", status, shown)
        other = {**shown[0], "startTime": "2024-01-15T10:00:00" + ("Z" if naive_times else "")}
        with pytest.raises(jsonschema_rs.ValidationError):
            document.check_response("GET", "/appointment/preview", status, [other])


async def test_document_has_only_the_statuses_of_the_settings() -> None:
    rates = FaultRates({StatusFault(502): 0.0, StatusFault(409): 0.0})
    for options, expected in (
        ({}, set()),
        ({"limit": SandboxLimit()}, {"429"}),
        ({"limit": SandboxLimit(status=503), "fault_rates": rates}, {"503", "502", "409"}),
    ):
        async with Sandbox(**options) as sandbox:
            paths = (await fetch_document(sandbox))["paths"]
        for item in paths.values():
            for method in item.keys() - {"parameters"}:
                always = {"200", "400", "401", "403", "404", "413", "415", "417", "500"}
                assert item[method]["responses"].keys() - always == expected


@pytest.mark.parametrize(
    ("settings", "body"),
    [
        ({}, "In the body: appointmentId is $response.body#/appointmentId."),
        (
            {"body_format": BodyFormat.REFERENCE, "write_response": WriteResponse.BARE_ID},
            "In the body: appointmentId is $response.body, domainId is $request.body#/domainId,"
            " adId is $request.body#/adId.",
        ),
    ],
)
async def test_links_of_a_create_describe_bodies_since_openapi_generator_takes_none(
    settings: dict[str, Any], body: str
) -> None:
    async with Sandbox(**settings) as sandbox:
        document = Document(await fetch_document(sandbox))
    links = document.operation("POST", "/appointment")["responses"]["200"]["links"]
    assert {name: "requestBody" in link for name, link in links.items()} == dict.fromkeys(
        ("get", "update", "delete"), False
    )
    assert [links[name]["description"] for name in ("update", "delete")] == [body, body]


async def test_document_contains_no_secret_of_given_clients() -> None:
    async with Sandbox(clients={"me": "mine"}) as sandbox:
        document = json.dumps(await fetch_document(sandbox))
    assert not any(f'"{secret}"' in document for secret in ("mine", DEFAULT_CLIENT_SECRET))


async def test_document_needs_no_token_and_is_logged() -> None:
    async with Sandbox(tenants=["acme"]) as sandbox, aiohttp.ClientSession(sandbox.base_url) as session:
        assert (await fetch_document(sandbox))["openapi"] == "3.1.0"
        async with session.post("/openapi.json") as response:
            assert (response.status, response.headers["Allow"]) == (405, "GET")
        assert sandbox.log.count(operation="openapi", tenant="", status=200) == 1


def with_unknown_field(body: Any) -> Any:
    return {**body, "unknown": 1}


def with_null_id(body: Any) -> Any:
    return {**body, "appointmentId": None}


def with_nonexistent_date(body: Any) -> Any:
    return {**body, "startTime": "2024-02-30T10:00:00Z"}


@pytest.mark.parametrize(
    ("body_format", "change"),
    [
        (BodyFormat.GUIDE, with_unknown_field),
        (BodyFormat.REFERENCE, with_unknown_field),
        (BodyFormat.GUIDE, with_null_id),
        (BodyFormat.REFERENCE, with_nonexistent_date),
    ],
)
async def test_server_rejects_an_update_that_its_schema_rejects(
    body_format: BodyFormat, change: Callable[[Any], Any]
) -> None:
    sandbox = Sandbox(body_format=body_format)
    async with signed_in(sandbox) as acme:
        document = Document(await fetch_document(sandbox))
        body = change(document.example("PUT", "/appointment"))
        with pytest.raises(jsonschema_rs.ValidationError):
            document.check_request("PUT", "/appointment", body)
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
async def test_schema_accepts_exactly_the_existing_dates(date: str, *, exists: bool) -> None:
    sandbox = Sandbox()
    async with signed_in(sandbox) as acme:
        document = Document(await fetch_document(sandbox))
        body = {**MEETING, "startTime": f"{date}T10:00:00Z", "endTime": f"{date}T10:00:00Z"}
        assert (await acme.call("POST", json=body))[0] == (200 if exists else 400)
        if exists:
            document.check_request("POST", "/appointment", body)
        else:
            with pytest.raises(jsonschema_rs.ValidationError):
                document.check_request("POST", "/appointment", body)
