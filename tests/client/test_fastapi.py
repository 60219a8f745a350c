"""The models in a real FastAPI application over a real server: body, response, and OpenAPI schema."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import jsonschema_rs
import pytest
from fastapi import Body, FastAPI, Request
from fastapi.responses import JSONResponse

from connector_async import (
    Appointment,
    AppointmentService,
    AppointmentUpdate,
    ConnectorError,
    NewAppointment,
    http_headers_for,
    http_status_for,
)

DRAFT = {"title": "Visit", "start_time": "2024-01-15T10:00:00+01:00", "end_time": "2024-01-15T10:00:00Z"}


def application(appointments: AppointmentService) -> FastAPI:
    app = FastAPI()

    @app.exception_handler(ConnectorError)
    def respond(_: Request, error: ConnectorError) -> JSONResponse:
        return JSONResponse({}, http_status_for(error), http_headers_for(error))

    @app.post("/appointments", status_code=201)
    async def create(draft: Annotated[NewAppointment, Body()]) -> Appointment:
        return await appointments.create(draft)

    @app.get("/appointments")
    async def preview() -> list[Appointment]:
        return await appointments.preview().collect()

    @app.get("/appointments/{appointment_id}")
    async def get(appointment_id: str) -> Appointment:
        return await appointments.get(appointment_id)

    @app.post("/updates")
    async def repeat(updates: list[AppointmentUpdate]) -> list[AppointmentUpdate]:
        return updates

    return app


@pytest.fixture
async def client(appointments: AppointmentService) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(application(appointments))
    async with httpx.AsyncClient(transport=transport, base_url="http://app.example") as client:
        yield client


async def test_body_becomes_a_model_and_a_model_the_response(client: httpx.AsyncClient) -> None:
    created = await client.post("/appointments", json=DRAFT)
    assert created.status_code == 201
    found = await client.get(f"/appointments/{created.json()['appointment_id']}")
    listed = await client.get("/appointments")
    assert [found.json()] == listed.json() == [created.json()]
    assert created.json()["start_time"] == "2024-01-15T09:00:00Z"
    assert Appointment.from_json(found.content).title == "Visit"


async def test_field_that_is_null_and_one_that_is_left_out_stay_different(client: httpx.AsyncClient) -> None:
    updates: list[dict[str, object]] = [
        {"appointment_id": "1", "description": None},
        {"appointment_id": "1", "title": "Other"},
    ]
    response = await client.post("/updates", json=updates)
    assert response.json() == [update | {"extra": {}} for update in updates]


@pytest.mark.parametrize(
    ("changes", "place", "rule"),
    [
        ({"title": " "}, ["body", "title"], "should match pattern"),
        ({"start_time": "2024-01-15T10:00:00"}, ["body", "start_time"], "no UTC offset"),
        ({"end_time": "2023-01-15T10:00:00Z"}, ["body"], "end_time must not be before start_time"),
    ],
)
async def test_invalid_body_is_reported_by_its_field(
    client: httpx.AsyncClient, changes: dict[str, str], place: list[str], rule: str
) -> None:
    response = await client.post("/appointments", json=DRAFT | changes)
    assert response.status_code == 422
    (problem,) = response.json()["detail"]
    assert problem["loc"] == place
    assert rule in problem["msg"]


async def test_error_of_the_api_has_its_status(client: httpx.AsyncClient) -> None:
    assert (await client.get("/appointments/unknown")).status_code == 404


async def test_openapi_schema_names_the_models_and_describes_what_is_sent_and_returned(
    client: httpx.AsyncClient,
) -> None:
    document: dict[str, Any] = (await client.get("/openapi.json")).json()
    post = document["paths"]["/appointments"]["post"]
    body = post["requestBody"]["content"]["application/json"]["schema"]
    response = post["responses"]["201"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/NewAppointment"}
    assert response == {"$ref": "#/components/schemas/Appointment"}
    created = (await client.post("/appointments", json=DRAFT)).json()
    for schema, value in ((body, DRAFT), (response, created)):
        validator = jsonschema_rs.validator_for({**schema, "components": document["components"]})
        validator.validate(value)
        assert not validator.is_valid({**value, "room": 3})
        assert not validator.is_valid({**value, "title": None})
