"""The value of a response: its JSON, and the classes that it is read as."""

import enum
import gzip
import pickle
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import attrs
import orjson
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from connector_async import Appointment, DecodingError, Response, WireFormat
from tests.support.exposure import exposed
from tests.support.services import FIELDS

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
HEADERS = CIMultiDictProxy(CIMultiDict({"X-Request-Id": "r-1"}))
SECRET = "Jané Doe"


class Kind(enum.StrEnum):
    PRIVATE = "private"


class Level(enum.IntEnum):
    HIGH = 2


@attrs.frozen(kw_only=True)
class Note:
    text: str
    written_at: datetime = attrs.field(alias="writtenAt")
    pinned: bool = False
    length: int | None = None
    weight: float | None = 0.0
    kind: Kind = Kind.PRIVATE
    level: Level = Level.HIGH
    color: Literal["red", "blue"] = "red"
    tags: tuple[str, ...] = ()
    replies: "list[Note]" = attrs.field(factory=list)
    counts: dict[str, int] = attrs.field(factory=dict)
    other: Any = None


@dataclass
class Envelope:
    items: list[Appointment]
    total: int


NOTE = {"text": "Call", "writtenAt": "2024-01-15T10:00:00Z"}


def response(value: object, **options: Any) -> Response:
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    return Response(status=200, headers=HEADERS, body=body, **options)


def problems(value: object, type_: type[Any]) -> tuple[str, ...]:
    with pytest.raises(DecodingError) as caught:
        response(value).structure(type_)
    assert caught.value.request_id == "r-1"
    assert exposed(caught.value, SECRET) == []
    return caught.value.problems


def test_json_ignores_a_byte_order_mark_and_keeps_long_integers() -> None:
    assert response(b'\xef\xbb\xbf{"a": [123456789012345678901234567890, 1.5]}').json() == {
        "a": [123456789012345678901234567890, 1.5]
    }


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "$: no body"),
        (b'{"a": NaN}', "$: not JSON at line 1 column 7"),
        (b"[" * 65 + b"]" * 65, "$: nested deeper than 64 levels"),
        (b"[" + b"1," * 200_000 + b"1]", "$: more than one value in 8 bytes"),
    ],
)
def test_json_that_cannot_be_read_is_an_error_with_the_request_id(body: bytes, problem: str) -> None:
    with pytest.raises(DecodingError) as caught:
        response(body).json()
    assert caught.value.problems == (problem,)
    assert caught.value.request_id == "r-1"


def test_error_of_json_shows_nothing_of_the_body() -> None:
    with pytest.raises(DecodingError) as caught:
        response(orjson.dumps([SECRET])[:-1]).json()
    assert exposed(caught.value, SECRET) == []


def test_model_is_read_in_the_format_and_the_zone_of_the_session() -> None:
    reference = {"appointmentId": "1", "subject": "Visit", "startTime": "2024-01-15T10:00:00", "endTime": TEN}
    found = response(reference, wire_format=WireFormat.REFERENCE, assume_zone=UTC).structure(Appointment)
    assert (found.title, found.start_time) == ("Visit", TEN)


def test_list_of_models_is_read_in_the_guides_format_by_default() -> None:
    (found,) = response([FIELDS]).structure(list[Appointment])
    assert found.title == FIELDS["title"]


def test_class_of_the_application_is_read_by_the_aliases_of_its_fields() -> None:
    value = NOTE | {"pinned": True, "length": 4, "weight": 2, "level": 2, "unknown": 1, "other": {"a": [1]}}
    value |= {"tags": ["a", "b"], "replies": [NOTE], "counts": {"likes": 3}}
    note = response(value).structure(Note)
    assert note == Note(
        text="Call",
        writtenAt=TEN,
        pinned=True,
        length=4,
        weight=2.0,
        tags=("a", "b"),
        replies=[Note(text="Call", writtenAt=TEN)],
        counts={"likes": 3},
        other={"a": [1]},
    )
    assert type(note.weight) is float
    assert (type(note.kind), type(note.level)) == (Kind, Level)


def test_dataclass_may_contain_models() -> None:
    envelope = response({"items": [FIELDS], "total": 1}).structure(Envelope)
    assert [item.appointment_id for item in envelope.items] == ["123"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"text": 5}, "$.text: expected a string, not an integer"),
        ({"writtenAt": "2024-01-15T10:00:00"}, "$.written_at: no UTC offset, and no time zone to assume"),
        ({"writtenAt": 1705312800}, "$.written_at: expected a string, not an integer"),
        ({"pinned": "no"}, "$.pinned: expected a boolean, not a string"),
        ({"pinned": 1}, "$.pinned: expected a boolean, not an integer"),
        ({"length": "4"}, "$.length: expected an integer, not a string"),
        ({"length": 4.0}, "$.length: expected an integer, not a float"),
        ({"length": True}, "$.length: expected an integer, not a boolean"),
        ({"weight": "2"}, "$.weight: expected a number, not a string"),
        ({"weight": True}, "$.weight: expected a number, not a boolean"),
        ({"kind": SECRET}, "$.kind: breaks a rule of the model"),
        ({"level": "2"}, "$.level: expected an integer, not a string"),
        ({"color": SECRET}, "$.color: breaks a rule of the model"),
        ({"tags": SECRET}, "$.tags: expected an array, not a string"),
        ({"tags": ["a", 5]}, "$.tags[1]: expected a string, not an integer"),
        ({"counts": ["a"]}, "$.counts: expected an object, not an array"),
        ({"counts": {SECRET: "3"}}, "$.counts.*: expected an integer, not a string"),
        ({"replies": [NOTE, NOTE | {"text": None}]}, "$.replies[1].text: expected a string, not null"),
    ],
)
def test_value_of_another_type_is_an_error_that_names_its_path(changes: dict[str, Any], problem: str) -> None:
    assert problems(NOTE | changes, Note) == (problem,)


def test_missing_member_is_an_error_that_names_the_field() -> None:
    assert problems({"text": SECRET}, Note) == ("$.written_at: required, and missing",)


def test_rule_of_a_class_is_named_without_its_message() -> None:
    def reject(_: object, __: object, value: str) -> None:
        raise ArithmeticError(f"not {value}")

    @attrs.frozen
    class Strict:
        name: str = attrs.field(validator=reject)

    assert problems({"name": SECRET}, Strict) == ("$: breaks a rule of the model",)


@pytest.mark.parametrize("type_", [Note, int, float, list[int], dict[str, Any]])
def test_integers_beyond_64_bits_are_exact(type_: Any) -> None:
    long = 123456789012345678901234567890
    body = b"%d" % long
    bodies = {int: body, float: body, list[int]: b"[%s]" % body, dict[str, Any]: b'{"a": %s}' % body}
    text = bodies.get(type_, orjson.dumps(NOTE)[:-1] + b', "length": %s}' % body)
    values = {int: long, float: float(long), list[int]: [long], dict[str, Any]: {"a": long}}
    assert response(text).structure(type_) == values.get(type_, Note(text="Call", writtenAt=TEN, length=long))


@pytest.mark.parametrize("type_", [set[str], frozenset[str], tuple[str, str], dict[int, str], complex, bytearray])
def test_type_that_json_does_not_have_is_rejected(type_: Any) -> None:
    with pytest.raises(TypeError, match="cannot be read from JSON"):
        response(["a"]).structure(type_)


def test_value_nested_too_deep_for_a_class_is_an_error() -> None:
    body = b'{"text":"a","writtenAt":"2024-01-15T10:00:00Z","replies":['
    assert problems(body * 500 + b"]}" * 500, Note)[0].endswith(": breaks a rule of the model")


@pytest.mark.parametrize("item", [b"1", b"{}"])
def test_explaining_a_bad_list_within_a_class_costs_bounded_time(item: bytes) -> None:
    body = b'{"total":1,"items":[' + b",".join([item] * 30_000) + b"]}"
    start = time.thread_time()
    found = problems(gzip.decompress(gzip.compress(body)), Envelope)
    assert time.thread_time() - start < 1.0
    assert all(line.startswith("$.items[0]") for line in found)


def test_pickled_response_is_read_in_the_same_way() -> None:
    zone = timedelta(hours=1)
    body = FIELDS | {"startTime": "2024-01-15T11:00:00", "endTime": "2024-01-15T12:00:00"}
    original = response(body, wire_format=WireFormat.GUIDE, assume_zone=UTC)
    copied = pickle.loads(pickle.dumps(original))
    assert copied == original
    assert copied.request_id == "r-1"
    assert copied.structure(Appointment).start_time == TEN + zone
    assert repr(copied) == "Response(status=200, oversized=False)"
