"""Operations as lines of JSON: what a command prints, and what the file of a plan has."""

from typing import Any

import attrs
import orjson

from connector_async._checks import check_text, check_type
from connector_async.sync.records import ABSENT, Calendar, LastSynced, content_hash, record_from_row

from .operations import Kind, Operation


def as_json(operation: Operation, *, whole: bool = False) -> dict[str, Any]:
    """Return an operation as JSON can say it; `whole` with what is to be sent, which is personal data."""
    base = operation.base
    line: dict[str, Any] = attrs.asdict(operation.calendar) | {
        "kind": operation.kind.value,
        "key": operation.key,
        "reason": operation.reason,
        "base": None if base is None else [base.local, base.remote, sorted(base.pending)],
        "local": operation.local,
        "remote": operation.remote,
        "appointment_id": operation.appointment_id,
        "start_time": operation.start_time,
        "end_time": operation.end_time,
    }
    if whole and operation.body is not None:
        line["record"] = orjson.loads(operation.body)
    return line


def operation_of(line: bytes) -> Operation:
    """Return the operation that a line says which `as_json` has made, whole."""
    said = orjson.loads(line)
    base, record = said["base"], said.get("record")
    return Operation(
        kind=Kind(said["kind"]),
        calendar=Calendar(said["tenant_id"], said["domain_id"], said["ad_id"]),
        key=said["key"],
        reason=said["reason"],
        base=None if base is None else LastSynced(base[0], base[1], frozenset(base[2])),
        local=said["local"],
        remote=said["remote"],
        start_time=said["start_time"],
        end_time=said["end_time"],
        appointment_id=said["appointment_id"],
        body=None if record is None else orjson.dumps(record),
    )


def checked_operation(line: bytes) -> Operation:
    """Return the operation that a line says, whoever has written it.

    Raises:
        ValueError: It is no JSON, a value breaks its rule, or the record is not the one that the line is about.
        LookupError: A value is missing.
        TypeError: One is of another type.
    """
    operation = operation_of(line)
    for name in ("local", "start_time", "end_time"):
        check_type(name, getattr(operation, name), str)
    check_text("key", operation.key)
    check_text("reason", operation.reason)
    if operation.kind in (Kind.UPDATE, Kind.DELETE):
        check_type("appointment_id", operation.appointment_id, str)
    if operation.body is None:
        if operation.kind in (Kind.CREATE, Kind.UPDATE) or operation.local != ABSENT:
            raise LookupError("record")
        return operation
    record = record_from_row(orjson.loads(operation.body))
    if (record.key, record.calendar, content_hash(record.appointment)) != (
        operation.key,
        operation.calendar,
        operation.local,
    ):
        raise ValueError("record must be that of the key, the calendar and the hash beside it")
    return operation
