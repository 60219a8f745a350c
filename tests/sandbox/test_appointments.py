from collections.abc import AsyncIterator, Iterator

import pytest

from connector_async.sandbox import Sandbox
from tests.support.sandbox_user import MEETING, Tenant, fetch_token, signed_in

INVALID_DATE_TIME = "field must be an RFC 3339 date-time with an offset."
UNUSUAL_ID = "a/b c+d&e=%2F?é"


@pytest.fixture
def new_ids() -> list[str]:
    return [UNUSUAL_ID, *(str(number) for number in range(1, 10))]


@pytest.fixture
async def acme(new_ids: list[str]) -> AsyncIterator[Tenant]:
    ids: Iterator[str] = iter(new_ids)
    async with signed_in(Sandbox(new_appointment_id=lambda: next(ids))) as tenant:
        yield tenant


@pytest.fixture
async def other(acme: Tenant) -> Tenant:
    return Tenant(acme.session, "other", await fetch_token(acme.session, "other"))


async def test_created_appointment_can_be_read_by_an_id_of_any_characters(acme: Tenant) -> None:
    appointment_id = await acme.create(MEETING)
    assert appointment_id == UNUSUAL_ID
    assert await acme.get(appointment_id) == (200, {"appointmentId": UNUSUAL_ID, **MEETING})


async def test_ids_are_random_by_default() -> None:
    async with signed_in(Sandbox()) as acme:
        assert await acme.create(MEETING) != await acme.create(MEETING)


async def test_date_times_are_sent_in_utc_as_dotnet_formats_them(acme: Tenant) -> None:
    appointment_id = await acme.create(
        MEETING, startTime="2024-01-15T10:00:00+02:00", endTime="2024-01-15T10:00:00.1234567-01:00"
    )
    _, body = await acme.get(appointment_id)
    assert (body["startTime"], body["endTime"]) == ("2024-01-15T08:00:00Z", "2024-01-15T11:00:00.1234560Z")


@pytest.mark.parametrize("description", [None, "", "zwei\nZeilen, \U0001f4c5 \u0000"])
async def test_description_may_be_null_or_any_string(acme: Tenant, description: str | None) -> None:
    _, body = await acme.get(await acme.create(MEETING, description=description))
    assert body["description"] == description


async def test_missing_description_reads_as_null(acme: Tenant) -> None:
    _, created = await acme.call("POST", json={name: MEETING[name] for name in ("title", "startTime", "endTime")})
    _, body = await acme.get(created["appointmentId"])
    assert body["description"] is None


async def test_appointment_may_end_when_it_starts(acme: Tenant) -> None:
    status, _ = await acme.get(await acme.create(MEETING, endTime=MEETING["startTime"]))
    assert status == 200


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"title": ""}, {"title": "The title field must be a non-empty string."}),
        ({"title": 1}, {"title": "The title field must be a non-empty string."}),
        ({"startTime": "2024-01-15"}, {"startTime": f"The startTime {INVALID_DATE_TIME}"}),
        ({"endTime": None}, {"endTime": f"The endTime {INVALID_DATE_TIME}"}),
        ({"description": []}, {"description": "The description field must be a string or null."}),
        ({"subject": "x"}, {"subject": "The field subject is unknown."}),
        ({"appointmentId": "1"}, {"appointmentId": "The field appointmentId is unknown."}),
        ({"endTime": "2024-01-15T09:59:59Z"}, {"endTime": "The endTime field must not be before startTime."}),
    ],
)
async def test_create_with_an_invalid_field_is_400(
    acme: Tenant, changes: dict[str, object], messages: dict[str, str]
) -> None:
    status, body = await acme.call("POST", json={**MEETING, **changes})
    assert status == 400
    assert body["title"] == "One or more validation errors occurred."
    assert body["errors"] == {name: [message] for name, message in messages.items()}
    assert await acme.call("GET", "/preview") == (200, [])


async def test_one_400_lists_every_invalid_field_and_compares_only_valid_times(acme: Tenant) -> None:
    status, body = await acme.call("POST", json={"startTime": "9999-01-01T00:00:00Z", "endTime": "soon", "x": 1})
    assert status == 400
    assert body["errors"] == {
        "x": ["The field x is unknown."],
        "title": ["The title field is required."],
        "endTime": [f"The endTime {INVALID_DATE_TIME}"],
    }


async def test_preview_is_ordered_by_start_then_creation(acme: Tenant) -> None:
    starts = ["2024-01-15T10:30:00Z", "2024-01-15T10:00:00Z", "2024-01-15T12:00:00+02:00"]
    ids = [await acme.create(MEETING, startTime=start) for start in starts]

    status, body = await acme.call("GET", "/preview")

    assert status == 200
    assert [item["appointmentId"] for item in body] == [ids[1], ids[2], ids[0]]
    assert body[0] == {"appointmentId": ids[1], **MEETING}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"title": "Updated Meeting Title"},
        {"startTime": "2024-01-15T10:30:00Z", "endTime": "2024-01-15T11:30:00Z"},
        {"endTime": "2024-01-15T12:00:00Z"},
        {"description": None},
        {"description": "new"},
    ],
)
async def test_update_merges_the_given_fields_and_returns_the_result(acme: Tenant, changes: dict[str, object]) -> None:
    appointment_id = await acme.create(MEETING)
    merged = {"appointmentId": appointment_id, **MEETING, **changes}
    assert await acme.call("PUT", json={"appointmentId": appointment_id, **changes}) == (200, merged)
    assert await acme.get(appointment_id) == (200, merged)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"appointmentId": 1}, "appointmentId"),
        ({"title": None}, "title"),
        ({"startTime": None}, "startTime"),
        ({"endTime": ""}, "endTime"),
        ({"description": 1}, "description"),
        ({"subject": "x"}, "subject"),
        ({"startTime": "2024-01-15T11:00:00.000001Z"}, "endTime"),
        ({"startTime": "2024-01-16T00:00:00Z", "endTime": "2024-01-15T00:00:00Z"}, "endTime"),
    ],
)
async def test_update_with_an_invalid_field_is_400_and_changes_nothing(
    acme: Tenant, changes: dict[str, object], field: str
) -> None:
    appointment_id = await acme.create(MEETING)
    status, body = await acme.call("PUT", json={"appointmentId": appointment_id, **changes})
    assert (status, body["errors"].keys()) == (400, {field})
    assert await acme.get(appointment_id) == (200, {"appointmentId": appointment_id, **MEETING})


async def test_deleted_appointment_is_404(acme: Tenant) -> None:
    appointment_id = await acme.create(MEETING)
    confirmation = {"appointmentId": appointment_id, "deleted": True}
    assert await acme.call("DELETE", json={"appointmentId": appointment_id}) == (200, confirmation)
    assert (await acme.get(appointment_id))[0] == 404
    assert (await acme.call("DELETE", json={"appointmentId": appointment_id}))[0] == 404


@pytest.mark.parametrize("body", [{}, {"appointmentId": ""}, {"appointmentId": "1", "adId": "2"}])
async def test_delete_with_an_invalid_field_is_400(acme: Tenant, body: dict[str, str]) -> None:
    assert (await acme.call("DELETE", json=body))[0] == 400


async def test_unknown_id_is_404(acme: Tenant) -> None:
    assert (await acme.get("nothing"))[0] == 404
    assert (await acme.call("PUT", json={"appointmentId": "nothing", "title": "x"}))[0] == 404


@pytest.mark.parametrize("query", ["", "?appointmentId=", "?AppointmentId=1", "?appointmentId=%FF"])
async def test_get_without_a_readable_id_is_400(acme: Tenant, query: str) -> None:
    assert (await acme.call("GET", query))[0] == 400


async def test_get_ignores_other_query_parameters(acme: Tenant) -> None:
    appointment_id = await acme.create(MEETING)
    assert (await acme.get(appointment_id, adId="x"))[0] == 200


async def test_failed_storage_write_is_500_and_logged(
    acme: Tenant, new_ids: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    await acme.create(MEETING, title="private title")
    new_ids.insert(1, UNUSUAL_ID)
    status, body = await acme.call("POST", json={**MEETING, "title": "private title"})

    assert (status, body["title"]) == (500, "Internal Server Error")
    assert body["traceId"] in caplog.text
    assert "IntegrityError" in caplog.text
    assert "private title" not in caplog.text


async def test_two_tenants_can_have_appointments_with_the_same_id(
    acme: Tenant, other: Tenant, new_ids: list[str]
) -> None:
    new_ids.insert(1, UNUSUAL_ID)
    await acme.create(MEETING)
    await other.create(MEETING, title="theirs")

    assert await other.call("PUT", json={"appointmentId": UNUSUAL_ID, "title": "changed"}) != await acme.get(UNUSUAL_ID)
    assert await acme.get(UNUSUAL_ID) == (200, {"appointmentId": UNUSUAL_ID, **MEETING})
    await other.call("DELETE", json={"appointmentId": UNUSUAL_ID})
    assert (await acme.get(UNUSUAL_ID))[0] == 200


async def test_tenants_do_not_see_each_others_appointments(acme: Tenant, other: Tenant) -> None:
    appointment_id = await acme.create(MEETING)

    assert await other.call("GET", "/preview") == (200, [])
    assert (await other.get(appointment_id))[0] == 404
    assert (await other.call("PUT", json={"appointmentId": appointment_id, "title": "x"}))[0] == 404
    assert (await other.call("DELETE", json={"appointmentId": appointment_id}))[0] == 404
    assert await acme.get(appointment_id) == (200, {"appointmentId": appointment_id, **MEETING})
