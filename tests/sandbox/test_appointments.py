from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest

from connector_async.sandbox import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, Sandbox

CREDENTIALS = {"clientId": DEFAULT_CLIENT_ID, "clientSecret": DEFAULT_CLIENT_SECRET}
MEETING = {
    "title": "Meeting with Client",
    "startTime": "2024-01-15T10:00:00Z",
    "endTime": "2024-01-15T11:00:00Z",
    "description": "Quarterly review meeting",
}
NO_DATE_TIME = "field must be an RFC 3339 date-time with an offset."
ODD_ID = "a/b c+d&e=%2F?é"


class Tenant:
    """One tenant's view of the server: each call answers the status and the body."""

    def __init__(self, session: aiohttp.ClientSession, name: str, token: str) -> None:
        self._session = session
        self._path = f"/{name}/appointment"
        self._headers = {"Authorization": f"Bearer {token}", "tenantId": name}

    async def call(self, method: str, path: str = "", **options: Any) -> tuple[int, Any]:
        async with self._session.request(method, self._path + path, headers=self._headers, **options) as response:
            return response.status, await response.json()

    async def create(self, **changes: object) -> str:
        status, body = await self.call("POST", json={**MEETING, **changes})
        assert status == 200
        assert list(body) == ["appointmentId"]
        return str(body["appointmentId"])

    async def get(self, appointment_id: str) -> tuple[int, Any]:
        return await self.call("GET", params={"appointmentId": appointment_id})


@pytest.fixture
def new_ids() -> list[str]:
    return [ODD_ID, *(str(number) for number in range(1, 10))]


@pytest.fixture
async def session(new_ids: list[str]) -> AsyncIterator[aiohttp.ClientSession]:
    ids: Iterator[str] = iter(new_ids)
    async with (
        Sandbox(new_appointment_id=lambda: next(ids)) as sandbox,
        aiohttp.ClientSession(sandbox.base_url) as opened,
    ):
        yield opened


async def join(session: aiohttp.ClientSession, name: str) -> Tenant:
    async with session.post(f"/{name}/authentication/token", json=CREDENTIALS) as response:
        return Tenant(session, name, (await response.json())["accessToken"])


@pytest.fixture
async def acme(session: aiohttp.ClientSession) -> Tenant:
    return await join(session, "acme")


async def test_a_created_appointment_is_read_back_under_an_id_of_any_characters(acme: Tenant) -> None:
    appointment_id = await acme.create()
    assert appointment_id == ODD_ID
    assert await acme.get(appointment_id) == (200, {"appointmentId": ODD_ID, **MEETING})


async def test_ids_are_random_unless_told_otherwise() -> None:
    async with Sandbox() as sandbox, aiohttp.ClientSession(sandbox.base_url) as session:
        acme = await join(session, "acme")
        assert await acme.create() != await acme.create()


async def test_date_times_are_answered_in_utc_as_dotnet_writes_them(acme: Tenant) -> None:
    appointment_id = await acme.create(
        startTime="2024-01-15T10:00:00+02:00", endTime="2024-01-15T10:00:00.1234567-01:00"
    )
    _, body = await acme.get(appointment_id)
    assert (body["startTime"], body["endTime"]) == ("2024-01-15T08:00:00Z", "2024-01-15T11:00:00.1234560Z")


@pytest.mark.parametrize("description", [None, "", "zwei\nZeilen, \U0001f4c5 \u0000"])
async def test_a_description_may_be_null_or_any_text(acme: Tenant, description: str | None) -> None:
    _, body = await acme.get(await acme.create(description=description))
    assert body["description"] == description


async def test_a_missing_description_reads_as_null(acme: Tenant) -> None:
    _, created = await acme.call("POST", json={name: MEETING[name] for name in ("title", "startTime", "endTime")})
    _, body = await acme.get(created["appointmentId"])
    assert body["description"] is None


async def test_an_appointment_may_end_when_it_starts(acme: Tenant) -> None:
    status, _ = await acme.get(await acme.create(endTime=MEETING["startTime"]))
    assert status == 200


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"title": ""}, {"title": "The title field must be a non-empty string."}),
        ({"title": 1}, {"title": "The title field must be a non-empty string."}),
        (
            {"startTime": "2024-01-15"},
            {"startTime": f"The startTime {NO_DATE_TIME}"},
        ),
        ({"endTime": None}, {"endTime": f"The endTime {NO_DATE_TIME}"}),
        ({"description": []}, {"description": "The description field must be a string or null."}),
        ({"subject": "x"}, {"subject": "The field subject is unknown."}),
        ({"appointmentId": "1"}, {"appointmentId": "The field appointmentId is unknown."}),
        ({"endTime": "2024-01-15T09:59:59Z"}, {"endTime": "The endTime field must not be before startTime."}),
    ],
)
async def test_a_create_with_wrong_fields_is_400(
    acme: Tenant, changes: dict[str, object], messages: dict[str, str]
) -> None:
    status, body = await acme.call("POST", json={**MEETING, **changes})
    assert status == 400
    assert body["title"] == "One or more validation errors occurred."
    assert body["errors"] == {name: [message] for name, message in messages.items()}
    assert await acme.call("GET", "/preview") == (200, [])


async def test_every_wrong_field_is_listed_and_order_is_judged_of_right_times_only(acme: Tenant) -> None:
    status, body = await acme.call("POST", json={"startTime": "9999-01-01T00:00:00Z", "endTime": "soon", "x": 1})
    assert status == 400
    assert body["errors"] == {
        "x": ["The field x is unknown."],
        "title": ["The title field is required."],
        "endTime": [f"The endTime {NO_DATE_TIME}"],
    }


async def test_the_preview_is_an_array_in_order_of_start_then_creation(acme: Tenant) -> None:
    starts = ["2024-01-15T10:30:00Z", "2024-01-15T10:00:00Z", "2024-01-15T12:00:00+02:00"]
    ids = [await acme.create(startTime=start) for start in starts]

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
async def test_an_update_merges_the_given_fields_and_answers_the_result(
    acme: Tenant, changes: dict[str, object]
) -> None:
    appointment_id = await acme.create()
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
async def test_an_update_with_wrong_fields_is_400_and_changes_nothing(
    acme: Tenant, changes: dict[str, object], field: str
) -> None:
    appointment_id = await acme.create()
    status, body = await acme.call("PUT", json={"appointmentId": appointment_id, **changes})
    assert (status, body["errors"].keys()) == (400, {field})
    assert await acme.get(appointment_id) == (200, {"appointmentId": appointment_id, **MEETING})


async def test_a_deleted_appointment_is_gone(acme: Tenant) -> None:
    appointment_id = await acme.create()
    answer = {"appointmentId": appointment_id, "deleted": True}
    assert await acme.call("DELETE", json={"appointmentId": appointment_id}) == (200, answer)
    assert (await acme.get(appointment_id))[0] == 404
    assert (await acme.call("DELETE", json={"appointmentId": appointment_id}))[0] == 404


@pytest.mark.parametrize("body", [{}, {"appointmentId": ""}, {"appointmentId": "1", "adId": "2"}])
async def test_a_delete_with_wrong_fields_is_400(acme: Tenant, body: dict[str, str]) -> None:
    assert (await acme.call("DELETE", json=body))[0] == 400


async def test_an_unknown_id_is_404(acme: Tenant) -> None:
    assert (await acme.get("nothing"))[0] == 404
    assert (await acme.call("PUT", json={"appointmentId": "nothing", "title": "x"}))[0] == 404


@pytest.mark.parametrize("query", ["", "?appointmentId=", "?AppointmentId=1", "?appointmentId=%FF"])
async def test_a_get_without_a_readable_id_is_400(acme: Tenant, query: str) -> None:
    assert (await acme.call("GET", query))[0] == 400


async def test_other_query_parameters_are_ignored(acme: Tenant) -> None:
    appointment_id = await acme.create()
    assert (await acme.call("GET", params={"appointmentId": appointment_id, "adId": "x"}))[0] == 200


async def test_a_failed_write_of_the_storage_is_500_and_logged(
    acme: Tenant, new_ids: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    await acme.create(title="private title")
    new_ids.insert(1, ODD_ID)
    status, body = await acme.call("POST", json={**MEETING, "title": "private title"})

    assert (status, body["title"]) == (500, "Internal Server Error")
    assert body["traceId"] in caplog.text
    assert "IntegrityError" in caplog.text
    assert "private title" not in caplog.text


async def test_two_tenants_can_have_an_appointment_of_the_same_id(
    session: aiohttp.ClientSession, acme: Tenant, new_ids: list[str]
) -> None:
    other = await join(session, "other")
    new_ids.insert(1, ODD_ID)
    await acme.create()
    await other.create(title="theirs")

    assert await other.call("PUT", json={"appointmentId": ODD_ID, "title": "changed"}) != await acme.get(ODD_ID)
    assert await acme.get(ODD_ID) == (200, {"appointmentId": ODD_ID, **MEETING})
    await other.call("DELETE", json={"appointmentId": ODD_ID})
    assert (await acme.get(ODD_ID))[0] == 200


async def test_tenants_do_not_see_each_others_appointments(session: aiohttp.ClientSession, acme: Tenant) -> None:
    other = await join(session, "other")
    appointment_id = await acme.create()

    assert await other.call("GET", "/preview") == (200, [])
    assert (await other.get(appointment_id))[0] == 404
    assert (await other.call("PUT", json={"appointmentId": appointment_id, "title": "x"}))[0] == 404
    assert (await other.call("DELETE", json={"appointmentId": appointment_id}))[0] == 404
    assert await acme.get(appointment_id) == (200, {"appointmentId": appointment_id, **MEETING})
