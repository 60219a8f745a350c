from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from connector_async.sandbox import BodyFormat, PutSemantics, Sandbox
from tests.support.sandbox_user import ANN, BOB, REFERENCE_MEETING, Tenant, signed_in

DAY = {"startDate": "2024-01-15T00:00:00Z", "endDate": "2024-01-16T00:00:00Z"}


@pytest.fixture
async def acme() -> AsyncIterator[Tenant]:
    async with signed_in(Sandbox(body_format=BodyFormat.REFERENCE)) as tenant:
        yield tenant


@pytest.fixture
async def naive() -> AsyncIterator[Tenant]:
    async with signed_in(Sandbox(body_format=BodyFormat.REFERENCE, naive_times=True)) as tenant:
        yield tenant


async def preview(tenant: Tenant, user: Mapping[str, str] = ANN, /, **changes: str) -> tuple[int, Any]:
    return await tenant.call("GET", "/preview", params={**user, **DAY, **changes})


async def test_created_appointment_reads_back_with_every_field(acme: Tenant) -> None:
    appointment_id = await acme.create(REFERENCE_MEETING)
    assert await acme.get(appointment_id, **ANN) == (200, {"appointmentId": appointment_id, **REFERENCE_MEETING})


async def test_missing_optional_fields_have_defaults(acme: Tenant) -> None:
    required = {name: REFERENCE_MEETING[name] for name in ("domainId", "adId", "subject", "startTime", "endTime")}
    _, appointment = await acme.get(await acme.create(required), **ANN)
    assert appointment["body"] == {"content": "", "contentType": "Text"}
    assert (appointment["timeZone"], appointment["showAs"]) == ("UTC", "Busy")


@pytest.mark.parametrize("missing", ["domainId", "adId", "subject", "startTime", "endTime"])
async def test_create_without_a_required_field_is_400(acme: Tenant, missing: str) -> None:
    body = {name: value for name, value in REFERENCE_MEETING.items() if name != missing}
    status, problem = await acme.call("POST", json=body)
    assert status == 400
    assert problem["errors"] == {missing: [f"The {missing} field is required."]}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"title": "x"}, "title"),
        ({"subject": ""}, "subject"),
        ({"body": "text"}, "body"),
        ({"body": {"content": None, "contentType": "Text"}}, "body.content"),
        ({"body": {"content": "x", "contentType": "Rtf"}}, "body.contentType"),
        ({"body": {"content": "x", "contentType": "Text", "x": 1}}, "body.x"),
        ({"showAs": "Asleep"}, "showAs"),
        ({"showAs": []}, "showAs"),
        ({"timeZone": "Europe/Nowhere"}, "timeZone"),
        ({"timeZone": "localtime"}, "timeZone"),
        ({"startTime": "2024-01-15"}, "startTime"),
        ({"startTime": "0001-01-01T12:00:00Z"}, "startTime"),
        ({"endTime": "9999-12-31T12:00:00Z"}, "endTime"),
        ({"endTime": "2024-01-15T09:59:59Z"}, "endTime"),
    ],
)
async def test_create_or_update_with_an_invalid_field_is_400(
    acme: Tenant, changes: dict[str, object], field: str
) -> None:
    appointment_id = await acme.create(REFERENCE_MEETING)
    status, problem = await acme.call("POST", json={**REFERENCE_MEETING, **changes})
    assert (status, list(problem["errors"])) == (400, [field])
    update = {"appointmentId": appointment_id, **ANN, **changes}
    status, problem = await acme.call("PUT", json=update)
    assert (status, list(problem["errors"])) == (400, [field])
    assert await acme.get(appointment_id, **ANN) == (200, {"appointmentId": appointment_id, **REFERENCE_MEETING})


@pytest.mark.parametrize(
    ("zone", "local", "utc"),
    [
        ("Europe/Berlin", "2024-01-15T10:00:00", "2024-01-15T09:00:00Z"),
        ("W. Europe Standard Time", "2024-07-15T10:00:00", "2024-07-15T08:00:00Z"),
        ("India Standard Time", "2024-01-15T10:00:00.5", "2024-01-15T04:30:00.5000000Z"),
        ("Europe/Berlin", "2024-03-31T02:30:00", "2024-03-31T01:30:00Z"),
        ("Europe/Berlin", "2024-10-27T02:30:00", "2024-10-27T00:30:00Z"),
        ("Europe/Berlin", "2024-01-15T10:00:00-05:00", "2024-01-15T15:00:00Z"),
    ],
)
async def test_time_without_an_offset_is_in_the_given_time_zone(acme: Tenant, zone: str, local: str, utc: str) -> None:
    appointment_id = await acme.create(REFERENCE_MEETING, startTime=local, endTime=local, timeZone=zone)
    _, appointment = await acme.get(appointment_id, **ANN)
    assert (appointment["startTime"], appointment["endTime"], appointment["timeZone"]) == (utc, utc, zone)


async def test_time_without_an_offset_and_time_zone_is_400(acme: Tenant) -> None:
    body = {name: value for name, value in REFERENCE_MEETING.items() if name != "timeZone"}
    status, problem = await acme.call("POST", json={**body, "startTime": "2024-01-15T10:00:00"})
    assert (status, list(problem["errors"])) == (400, ["startTime"])


async def test_times_can_be_sent_in_their_zone_without_an_offset(naive: Tenant) -> None:
    berlin = {"timeZone": "Europe/Berlin", "startTime": "2024-01-15T10:00:00", "endTime": "2024-01-15T10:00:00.25Z"}
    appointment_id = await naive.create(REFERENCE_MEETING, **berlin)
    _, appointment = await naive.get(appointment_id, **ANN)
    assert appointment["startTime"] == "2024-01-15T10:00:00"
    assert appointment["endTime"] == "2024-01-15T11:00:00.2500000"
    moved = {"appointmentId": appointment_id, **ANN, "timeZone": "Tokyo Standard Time"}
    _, appointment = await naive.call("PUT", json=moved)
    assert appointment["startTime"] == "2024-01-15T18:00:00"


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Etc/GMT+12"])
async def test_first_and_last_accepted_instants_have_a_local_time_in_every_zone(naive: Tenant, zone: str) -> None:
    ends = {"startTime": "0001-01-02T00:00:00Z", "endTime": "9999-12-30T23:59:59.999999Z"}
    assert (await naive.get(await naive.create(REFERENCE_MEETING, timeZone=zone, **ends), **ANN))[0] == 200


@pytest.mark.parametrize("missing", ["domainId", "adId", "appointmentId"])
async def test_get_without_a_required_parameter_is_400(acme: Tenant, missing: str) -> None:
    query = {name: value for name, value in {**ANN, "appointmentId": "1"}.items() if name != missing}
    status, problem = await acme.call("GET", params=query)
    assert (status, list(problem["errors"])) == (400, [missing])


@pytest.mark.parametrize(
    ("start", "end", "shown"),
    [
        ("2024-01-15T00:00:00Z", "2024-01-15T10:00:00Z", False),
        ("2024-01-15T00:00:00Z", "2024-01-15T10:00:00.000001Z", True),
        ("2024-01-15T10:59:59.999999Z", "2024-01-16T00:00:00Z", True),
        ("2024-01-15T11:00:00Z", "2024-01-16T00:00:00Z", False),
        ("2024-01-15T10:15:00Z", "2024-01-15T10:30:00Z", True),
        ("2024-01-15", "2024-01-16", True),
        ("2024-01-16", "2024-01-17", False),
        ("2024-01-15T10:30:00", "2024-01-15T10:31:00", True),
        ("2024-01-15T12:30:00+02:00", "2024-01-15T12:31:00+02:00", True),
        ("2024-01-15T10:30:00Z", "2024-01-15T10:30:00Z", False),
    ],
)
async def test_preview_shows_appointments_that_overlap_the_range(
    acme: Tenant, start: str, end: str, *, shown: bool
) -> None:
    appointment_id = await acme.create(REFERENCE_MEETING)
    expected = [{"appointmentId": appointment_id, **REFERENCE_MEETING}] if shown else []
    assert await preview(acme, startDate=start, endDate=end) == (200, expected)


@pytest.mark.parametrize(("start", "expected"), [("10:00:00", True), ("10:00:01", False), ("09:00:00", True)])
async def test_appointment_of_no_duration_overlaps_a_range_from_its_start(
    acme: Tenant, start: str, *, expected: bool
) -> None:
    await acme.create(REFERENCE_MEETING, endTime=REFERENCE_MEETING["startTime"])
    _, shown = await preview(acme, startDate=f"2024-01-15T{start}Z")
    assert bool(shown) is expected


async def test_preview_is_ordered_by_start_then_creation(acme: Tenant) -> None:
    starts = ["2024-01-15T10:30:00Z", "2024-01-15T10:00:00Z", "2024-01-15T10:00:00Z"]
    ids = [await acme.create(REFERENCE_MEETING, startTime=start) for start in starts]
    _, shown = await preview(acme)
    assert [item["appointmentId"] for item in shown] == [ids[1], ids[2], ids[0]]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"startDate": ""}, "startDate"),
        ({"endDate": "soon"}, "endDate"),
        ({"endDate": "2024-01-14"}, "endDate"),
        ({"startDate": "2024-02-30"}, "startDate"),
        ({"adId": ""}, "adId"),
    ],
)
async def test_preview_with_an_invalid_parameter_is_400(acme: Tenant, changes: dict[str, str], field: str) -> None:
    status, problem = await preview(acme, ANN, **changes)
    assert (status, list(problem["errors"])) == (400, [field])


async def test_preview_requires_all_parameters(acme: Tenant) -> None:
    status, problem = await acme.call("GET", "/preview")
    assert status == 400
    assert problem["errors"].keys() == {"domainId", "adId", "startDate", "endDate"}


async def test_users_do_not_see_each_others_appointments(acme: Tenant) -> None:
    appointment_id = await acme.create(REFERENCE_MEETING)
    for other in (BOB, {"domainId": "fabrikam", "adId": "ann"}):
        key = {**other, "appointmentId": appointment_id}
        assert await preview(acme, other) == (200, [])
        assert (await acme.get(appointment_id, **other))[0] == 404
        assert (await acme.call("PUT", json={**key, "subject": "x"}))[0] == 404
        assert (await acme.call("DELETE", json=key))[0] == 404
    assert (await acme.get(appointment_id, **ANN))[0] == 200


async def test_two_users_can_have_appointments_with_the_same_id() -> None:
    sandbox = Sandbox(body_format=BodyFormat.REFERENCE, new_appointment_id=lambda: "1")
    async with signed_in(sandbox) as acme:
        await acme.create(REFERENCE_MEETING)
        await acme.create(REFERENCE_MEETING, **BOB, subject="Bob's")
        assert (await acme.get("1", **ANN))[1]["subject"] == "Meeting with Client"
        assert (await acme.get("1", **BOB))[1]["subject"] == "Bob's"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"subject": "New"},
        {"body": {"content": "", "contentType": "Text"}},
        {"startTime": "2024-01-15T10:30:00Z"},
        {"endTime": "2024-01-15T12:00:00Z", "showAs": "OutOfOffice"},
        {"timeZone": "Europe/Berlin"},
    ],
)
async def test_update_merges_the_given_fields(acme: Tenant, changes: dict[str, object]) -> None:
    appointment_id = await acme.create(REFERENCE_MEETING)
    merged = {"appointmentId": appointment_id, **REFERENCE_MEETING, **changes}
    update = {"appointmentId": appointment_id, **ANN, **changes}
    assert await acme.call("PUT", json=update) == (200, merged)
    assert await acme.get(appointment_id, **ANN) == (200, merged)


async def test_replacing_update_resets_missing_fields() -> None:
    sandbox = Sandbox(body_format=BodyFormat.REFERENCE, put=PutSemantics.REPLACE)
    async with signed_in(sandbox) as acme:
        key = {"appointmentId": await acme.create(REFERENCE_MEETING), **ANN}
        status, problem = await acme.call("PUT", json=key)
        assert (status, problem["errors"].keys()) == (400, {"subject", "startTime", "endTime"})
        given = {"subject": "New", "startTime": "2024-01-15T10:00:00Z", "endTime": "2024-01-15T10:00:00Z"}
        reset = {"body": {"content": "", "contentType": "Text"}, "timeZone": "UTC", "showAs": "Busy"}
        assert await acme.call("PUT", json={**key, **given}) == (200, {**key, **given, **reset})


async def test_deleted_appointment_is_404(acme: Tenant) -> None:
    key = {"appointmentId": await acme.create(REFERENCE_MEETING), **ANN}
    assert (await acme.call("DELETE", json={"appointmentId": key["appointmentId"]}))[0] == 400
    assert await acme.call("DELETE", json=key) == (200, {"appointmentId": key["appointmentId"], "deleted": True})
    assert (await acme.get(key["appointmentId"], **ANN))[0] == 404
    assert (await acme.call("DELETE", json=key))[0] == 404


async def test_appointments_of_users_are_hidden_in_the_guide_format(tmp_path: Path) -> None:
    database = tmp_path / "sandbox.db"
    async with signed_in(Sandbox(body_format=BodyFormat.REFERENCE, database=database)) as acme:
        appointment_id = await acme.create(REFERENCE_MEETING)
    async with signed_in(Sandbox(database=database)) as acme:
        assert await acme.call("GET", "/preview") == (200, [])
        assert (await acme.call("GET", params={"appointmentId": appointment_id}))[0] == 404
