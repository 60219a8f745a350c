"""The operations with the status and the headers of their responses, and the record of a call."""

import pickle
from typing import assert_type

import pytest

from connector_async import (
    Appointment,
    AppointmentService,
    DecodingError,
    NewAppointment,
    NotFoundError,
    RawResponse,
    ServerError,
    found_by_preview,
    last_call,
)
from tests.support.exposure import exposed
from tests.support.hostile import HostileServer, drop, http
from tests.support.services import CREATED, FOUND, PREVIEW, open_service

DELETED = http(200, b"{}", X_Request_Id="r-2")


async def test_get_with_raw_response_has_status_headers_and_attempts() -> None:
    async with HostileServer(http(500), FOUND) as server:
        response = await open_service(server).with_raw_response.get("123")
    assert_type(response, RawResponse[Appointment])
    assert response.result.appointment_id == "123"
    assert (response.status, response.headers["x-request-id"], response.request_id) == (200, "r-1", "r-1")
    assert (response.attempts, response.elapsed) == (2, last_call.get().elapsed)


async def test_other_operations_have_the_same_form(draft: NewAppointment) -> None:
    async with HostileServer(CREATED, http(202), DELETED) as server:
        raw = open_service(server).with_raw_response
        created = await raw.create(draft)
        assert_type(created, RawResponse[Appointment])
        updated = await raw.update("123", title="Other")
        assert_type(updated, RawResponse[Appointment | None])
        deleted = await raw.delete("123", deadline=5)
        assert_type(deleted, RawResponse[None])
    assert (created.result.appointment_id, created.status) == ("123", 201)
    assert (updated.result, updated.status) == (None, 202)
    assert (deleted.result, deleted.status, deleted.request_id) == (None, 200, "r-2")


async def test_create_that_verify_found_has_the_status_of_its_own_response(draft: NewAppointment) -> None:
    async with HostileServer(drop, PREVIEW, http(502), PREVIEW) as server:
        raw = open_service(server).with_raw_response
        lost = await raw.create(draft, verify=found_by_preview(grace=0))
        refused = await raw.create(draft, verify=found_by_preview(grace=0))
    assert (lost.result.appointment_id, lost.status, dict(lost.headers)) == ("123", None, {})
    assert (refused.status, dict(refused.headers)) == (502, {})


async def test_delete_of_what_an_earlier_attempt_deleted_has_the_status_404() -> None:
    async with HostileServer(drop, http(404, X_Request_Id="r-3")) as server:
        deleted = await open_service(server).with_raw_response.delete("123")
    assert (deleted.status, deleted.request_id, deleted.attempts) == (404, "r-3", 2)


async def test_error_is_that_of_the_operation_and_hides_its_arguments() -> None:
    async with HostileServer(http(404)) as server:
        with pytest.raises(NotFoundError) as caught:
            await open_service(server).with_raw_response.update("123", title="Jané Doe", headers={"X-Key": "hunter3"})
    assert exposed(caught.value, "Jané Doe", "hunter3") == []


async def test_record_of_a_failed_call_has_the_status_of_its_last_response() -> None:
    async with HostileServer(http(500), http(200), http(404), http(502)) as server:
        service: AppointmentService = open_service(server)
        with pytest.raises(NotFoundError):
            await service.get("123")  # an empty body
        assert last_call.get().status == 200
        with pytest.raises(NotFoundError):
            await service.get("123")
        assert last_call.get().status == 404
        with pytest.raises(ServerError):
            await service.get("123")
        assert last_call.get().status == 502


async def test_record_of_a_response_that_cannot_be_decoded_has_its_headers() -> None:
    async with HostileServer(http(200, b"[", X_Request_Id="r-4")) as server:
        with pytest.raises(DecodingError):
            await open_service(server).get("123")
    assert (last_call.get().status, last_call.get().headers["X-REQUEST-ID"]) == (200, "r-4")


async def test_pickled_raw_response_is_equal() -> None:
    async with HostileServer(FOUND) as server:
        response = await open_service(server).with_raw_response.get("123")
    for value in (response, last_call.get()):
        copied = pickle.loads(pickle.dumps(value))
        assert copied == value
        assert copied.headers["X-REQUEST-ID"] == "r-1"
        assert "application/json" not in repr(copied)
