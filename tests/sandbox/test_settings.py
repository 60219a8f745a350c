from pathlib import Path

import pytest

from connector_async.sandbox import BodyFormat, PutSemantics, Sandbox, SeedAppointment, UnknownId, WriteResponse
from tests.support.sandbox_user import ANN, MEETING, REFERENCE_MEETING, at, signed_in


@pytest.mark.parametrize(
    ("kind", "status", "body"),
    [
        (WriteResponse.APPOINTMENT, 200, {"appointmentId": "7", **MEETING}),
        (WriteResponse.ID_OBJECT, 200, {"appointmentId": "7"}),
        (WriteResponse.BARE_ID, 200, "7"),
        (WriteResponse.EMPTY_200, 200, None),
        (WriteResponse.EMPTY_201, 201, None),
        (WriteResponse.EMPTY_204, 204, None),
    ],
)
async def test_every_write_has_the_selected_response(kind: WriteResponse, status: int, body: object) -> None:
    async with signed_in(Sandbox(write_response=kind, new_appointment_id=lambda: "7")) as acme:
        assert await acme.call("POST", json=MEETING) == (status, body)
        assert await acme.call("PUT", json={"appointmentId": "7"}) == (status, body)
        assert await acme.call("GET", "/preview") == (200, [{"appointmentId": "7", **MEETING}])
        assert await acme.call("DELETE", json={"appointmentId": "7"}) == (status, body)
        assert await acme.call("GET", "/preview") == (200, [])


@pytest.mark.parametrize("kind", [WriteResponse.APPOINTMENT, WriteResponse.EMPTY_204])
async def test_failed_write_is_a_problem_for_every_kind_of_response(kind: WriteResponse) -> None:
    async with signed_in(Sandbox(write_response=kind)) as acme:
        assert (await acme.call("POST", json={}))[0] == 400
        assert (await acme.call("PUT", json={"appointmentId": "7"}))[0] == 404
        assert (await acme.call("DELETE", json={"appointmentId": "7"}))[0] == 404


async def test_replacing_update_requires_title_and_times_and_clears_the_description() -> None:
    async with signed_in(Sandbox(put=PutSemantics.REPLACE)) as acme:
        key = {"appointmentId": await acme.create(MEETING)}
        status, problem = await acme.call("PUT", json={**key, "title": "New"})
        assert (status, problem["errors"].keys()) == (400, {"startTime", "endTime"})
        given = {name: MEETING[name] for name in ("title", "startTime", "endTime")}
        assert await acme.call("PUT", json={**key, **given}) == (200, {**key, **given, "description": None})


async def test_unknown_id_can_be_an_empty_200_for_reads_only() -> None:
    async with signed_in(Sandbox(unknown_id=UnknownId.EMPTY)) as acme:
        assert await acme.get("7") == (200, None)
        assert (await acme.call("DELETE", json={"appointmentId": "7"}))[0] == 404
        appointment_id = await acme.create(MEETING)
        assert await acme.get(appointment_id) == (200, {"appointmentId": appointment_id, **MEETING})


async def test_integer_ids_are_sent_as_numbers_and_accepted_as_numbers_or_digits() -> None:
    async with signed_in(Sandbox(integer_ids=True)) as acme:
        appointment_id, other = await acme.create(MEETING), await acme.create(MEETING)
        assert isinstance(appointment_id, int)
        assert appointment_id != other
        stored = {"appointmentId": appointment_id, **MEETING}
        assert await acme.get(appointment_id) == (200, stored)
        assert await acme.call("PUT", json={"appointmentId": appointment_id}) == (200, stored)
        assert await acme.call("PUT", json={"appointmentId": f"0{appointment_id}"}) == (200, stored)
        deleted = {"appointmentId": appointment_id, "deleted": True}
        assert await acme.call("DELETE", json={"appointmentId": str(appointment_id)}) == (200, deleted)


async def test_integer_ids_are_numbers_in_the_reference_format_and_as_bare_ids_too() -> None:
    sandbox = Sandbox(
        integer_ids=True,
        new_appointment_id=lambda: "7",
        body_format=BodyFormat.REFERENCE,
        write_response=WriteResponse.BARE_ID,
    )
    async with signed_in(sandbox) as acme:
        assert await acme.call("POST", json=REFERENCE_MEETING) == (200, 7)
        assert await acme.get(7, **ANN) == (200, {"appointmentId": 7, **REFERENCE_MEETING})


@pytest.mark.parametrize("invalid", ["", "x", "-1", "1.0", "٧", "1" * 19, True, -1, 1.5, None, 10**18])
async def test_invalid_integer_id_is_400(invalid: object) -> None:
    async with signed_in(Sandbox(integer_ids=True)) as acme:
        status, problem = await acme.call("DELETE", json={"appointmentId": invalid})
        assert (status, list(problem["errors"])) == (400, ["appointmentId"])


async def test_database_with_other_ids_is_rejected_if_ids_are_integers(tmp_path: Path) -> None:
    database = tmp_path / "sandbox.db"
    async with Sandbox(database=database) as sandbox:
        await sandbox.seed("acme", [SeedAppointment(title="x", start=at(10), end=at(11))])
    with pytest.raises(ValueError, match="ids that are not integers"):
        await Sandbox(database=database, integer_ids=True).start()
