"""The outcome file of a bulk: replaced atomically, readable only by its owner, with a line for each outcome."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from connector_async import BulkReport, NewAppointment, Outcome, ServerError, Status, read_inputs

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)


def report_of(*inputs: Any, error: Exception | None = None) -> BulkReport[Any, Any]:
    report: BulkReport[Any, Any] = BulkReport()
    report.unfinished += [
        Outcome(index=index, input=value, status=Status.FAILED, error=error) for index, value in enumerate(inputs)
    ]
    return report


def parsed(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def test_input_that_json_cannot_express_does_not_prevent_the_others_from_being_written(tmp_path: Path) -> None:
    drafts = [
        NewAppointment(title="Visit", start_time=TEN, end_time=TEN, extra=extra) for extra in ({}, {"n": 2**70}, {})
    ]
    path = tmp_path / "failures.jsonl"
    report_of(*drafts, None).write_jsonl(path)
    lines = parsed(path)
    assert [line["index"] for line in lines] == [0, 1, 2, 3]
    assert (lines[1]["input"], lines[1]["problem"]) == (None, "JSON cannot express the input")
    assert all("problem" not in line for line in (lines[0], *lines[2:]))
    # An input that is `None` is returned: only a line with a problem is skipped.
    assert [value and value["title"] for value in read_inputs(path)] == ["Visit", "Visit", None]


def test_only_errors_of_the_error_tree_have_a_status_and_request_id(tmp_path: Path) -> None:
    class OtherError(Exception):
        status = object()
        request_id = b"r-1"

    path = tmp_path / "failures.jsonl"
    report_of(1, error=OtherError()).write_jsonl(path)
    (line,) = parsed(path)
    assert (line["error"], line["http_status"], line["request_id"], line["input"]) == ("OtherError", None, None, 1)
    report_of(1, error=ServerError("down", status=503, request_id="r-\udcff")).write_jsonl(path)
    (line,) = parsed(path)
    assert (line["http_status"], line["request_id"], line["input"]) == (503, "r-\\udcff", 1)


def test_replaced_file_is_readable_only_by_its_owner_and_a_link_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "failures.jsonl"
    path.write_text("before")
    path.chmod(0o644)
    link = tmp_path / "link.jsonl"
    link.symlink_to(path)
    report_of(1).write_jsonl(link)
    assert path.stat().st_mode & 0o777 == 0o600
    assert link.is_symlink()
    assert list(read_inputs(path)) == [1]
    assert sorted(tmp_path.iterdir()) == [path, link]


def test_failed_write_leaves_the_old_file_and_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "failures.jsonl"
    path.write_text("before")

    def fail_on_1(value: object) -> object:
        if value == 1:
            raise ZeroDivisionError
        return value

    with pytest.raises(ZeroDivisionError):
        report_of(0, 1).write_jsonl(path, encode=fail_on_1)
    with pytest.raises(OSError, match="not a regular file"):
        report_of(0).write_jsonl(tmp_path)

    def fail_on_full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail_on_full_disk)
    with pytest.raises(OSError, match="No space left"):
        report_of(0).write_jsonl(path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
