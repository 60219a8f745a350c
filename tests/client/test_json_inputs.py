"""Drafts and updates written as JSON Lines, read again and sent again."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async import (
    UNSET,
    Appointment,
    AppointmentService,
    AppointmentUpdate,
    BulkReport,
    NewAppointment,
    Outcome,
    ServerError,
    Status,
    read_inputs,
)
from connector_async.sandbox import Sandbox, StatusFault

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
DRAFT = {"title": "Visit", "start_time": "2024-01-15T10:00:00Z", "end_time": "2024-01-15T11:00:00Z"}
UPDATE = {"appointment_id": "1", "title": "Visit"}


async def test_failed_drafts_are_written_read_and_created(
    appointments: AppointmentService, sandbox: Sandbox, tmp_path: Path
) -> None:
    drafts = [
        NewAppointment(
            title=f"Visit {day}", start_time=TEN, end_time=TEN + timedelta(days=day), description=description
        )
        for day, description in enumerate([UNSET, None, "", "Knee", UNSET])
    ]
    sandbox.faults.script(*[StatusFault(400)] * 5, operation="create")
    report = await BulkReport[NewAppointment, Appointment]().collect(appointments.create_many(drafts, ordered=True))
    assert report.counts == {Status.FAILED: 5}
    report.write_jsonl(tmp_path / "drafts.jsonl")
    again = list(read_inputs(tmp_path / "drafts.jsonl", decode=NewAppointment.from_dict))
    assert again == drafts
    done = await BulkReport[NewAppointment, Appointment]().collect(appointments.create_many(again))
    assert done.counts == {Status.DONE: 5}


async def test_failed_updates_are_written_read_and_sent(
    appointments: AppointmentService, sandbox: Sandbox, tmp_path: Path, draft: NewAppointment
) -> None:
    ids = [(await appointments.create(draft)).appointment_id for _ in range(3)]
    changes: list[dict[str, Any]] = [{"title": "Other"}, {"description": None}, {"end_time": TEN + timedelta(days=1)}]
    updates = [
        AppointmentUpdate(appointment_id=appointment_id, **change)
        for appointment_id, change in zip(ids, changes, strict=True)
    ]
    sandbox.faults.script(*[StatusFault(400)] * 3, operation="update")
    report = await BulkReport[AppointmentUpdate, Any]().collect(appointments.update_many(updates, ordered=True))
    assert report.counts == {Status.FAILED: 3}
    report.write_jsonl(tmp_path / "updates.jsonl")
    again = list(read_inputs(tmp_path / "updates.jsonl", decode=AppointmentUpdate.from_dict))
    assert again == updates
    done = await BulkReport[AppointmentUpdate, Any]().collect(appointments.update_many(again))
    assert done.counts == {Status.DONE: 3}
    assert (await appointments.get(ids[0])).title == "Other"
    assert (await appointments.get(ids[1])).description is None


STRINGS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
INSTANTS = st.datetimes(timezones=st.just(UTC))
DESCRIPTIONS: st.SearchStrategy[dict[str, Any]] = st.just({}) | st.fixed_dictionaries(
    {"description": st.none() | STRINGS}, optional={"description_type": st.sampled_from(["Text", "Html"])}
)
OPTIONAL: dict[str, st.SearchStrategy[Any]] = {
    "time_zone": STRINGS,
    "extra": st.dictionaries(
        STRINGS, st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | STRINGS, max_size=2
    ),
}


@given(
    st.fixed_dictionaries({"title": STRINGS}, optional=OPTIONAL),
    DESCRIPTIONS,
    st.tuples(INSTANTS, INSTANTS).map(sorted),
)
def test_written_inputs_are_read_unchanged(
    tmp_path_factory: pytest.TempPathFactory, fields: dict[str, Any], description: dict[str, Any], times: list[datetime]
) -> None:
    fields |= description | {"start_time": times[0], "end_time": times[1]}
    draft, update = NewAppointment(**fields), AppointmentUpdate(appointment_id="1", **fields)
    path = tmp_path_factory.getbasetemp() / "written.jsonl"
    report: BulkReport[Any, Any] = BulkReport()
    report.unfinished += [Outcome(index=0, input=draft, status=Status.NOT_STARTED)]
    report.unfinished += [Outcome(index=1, input=update, status=Status.FAILED, error=ServerError("down"))]
    report.write_jsonl(path)
    assert list(read_inputs(path, Status.NOT_STARTED, decode=NewAppointment.from_dict)) == [draft]
    assert list(read_inputs(path, Status.FAILED, decode=AppointmentUpdate.from_dict)) == [update]


@pytest.mark.parametrize(
    ("decode", "value", "rule"),
    [
        (NewAppointment.from_dict, 3, "expected an object of the fields of NewAppointment, not int"),
        (AppointmentUpdate.from_dict, [], "expected an object of the fields of AppointmentUpdate, not list"),
        (NewAppointment.from_dict, {**DRAFT, "subject": "x"}, "subject is not known"),
        (NewAppointment.from_dict, {**DRAFT, "Jane Doe": "x"}, "a field is not known"),
        (NewAppointment.from_dict, {**DRAFT, "appointment_id": "1"}, "appointment_id is not known"),
        (NewAppointment.from_dict, {"title": "Visit", "start_time": DRAFT["start_time"]}, "end_time is missing"),
        (NewAppointment.from_dict, {**DRAFT, "title": None}, "title must be a str, not NoneType"),
        (NewAppointment.from_dict, {**DRAFT, "title": " "}, "title must not be blank"),
        (NewAppointment.from_dict, {**DRAFT, "start_time": 3}, "start_time must be an RFC 3339 date-time, not int"),
        (NewAppointment.from_dict, {**DRAFT, "start_time": "2024-01-15"}, "start_time: not an RFC 3339 date-time"),
        (
            NewAppointment.from_dict,
            {**DRAFT, "end_time": "2024-01-15T10:00:00"},
            "end_time: no UTC offset, and no time zone",
        ),
        (NewAppointment.from_dict, {**DRAFT, "end_time": "2023-01-15T10:00:00Z"}, "end_time must not be before"),
        (NewAppointment.from_dict, {**DRAFT, "time_zone": None}, "time_zone must be a str, not NoneType"),
        (NewAppointment.from_dict, {**DRAFT, "extra": None}, "extra must be a mapping, not NoneType"),
        (
            NewAppointment.from_dict,
            {**DRAFT, "description_type": "Text"},
            "description_type must be set together with",
        ),
        (AppointmentUpdate.from_dict, {"title": "Visit"}, "appointment_id is missing"),
        (AppointmentUpdate.from_dict, {**UPDATE, "start_time": None}, "start_time must be an RFC 3339 date-time"),
        (AppointmentUpdate.from_dict, {"appointment_id": "1"}, "an update must set at least one field"),
        (AppointmentUpdate.from_dict, {**UPDATE, "appointment_id": 1}, "appointment_id must be a str, not int"),
    ],
)
def test_invalid_value_is_rejected_by_the_name_of_its_field(decode: Any, value: Any, rule: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rule):
        decode(value)
    path = tmp_path / "inputs.jsonl"
    path.write_bytes(b'{"status":"failed","input":' + orjson.dumps(value) + b"}\n")
    with pytest.raises(ValueError, match=rf"^line 1 of {path}: {rule}"):
        list(read_inputs(path, decode=decode))


@pytest.mark.parametrize("decode", [NewAppointment.from_dict, AppointmentUpdate.from_dict])
def test_key_that_is_not_a_str_is_unknown(decode: Any) -> None:
    with pytest.raises(ValueError, match="a field is not known"):
        decode({5: "x"})
