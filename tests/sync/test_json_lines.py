"""JSON Lines: valid lines, and the problems of invalid ones with as much identity as can be read."""

import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest

from connector_async.sync.formats import JsonLinesSource
from connector_async.sync.records import Calendar, SourceRecord
from tests.support.sync_files import MARKER, problem, put, read, read_one, record

ROW = {
    "key": "k-1",
    "tenant_id": "acme",
    "title": MARKER,
    "start_time": "2024-01-15T10:00:00Z",
    "end_time": "2024-01-15T11:00:00Z",
}
GOOD = orjson.dumps(ROW | {"title": "Visit"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


async def test_byte_order_mark_crlf_and_blank_lines_are_accepted(path: Path) -> None:
    put(path, b"\xef\xbb\xbf" + GOOD + b"\r\n\r\n  \n\n" + GOOD)
    assert await read(JsonLinesSource(path)) == [record(), record()]


async def test_line_numbers_count_blank_lines(path: Path) -> None:
    put(path, b"\n" + GOOD + b"\n\r\n" + b"{\n" + GOOD + b"\n")
    good, bad, after = await read(JsonLinesSource(path))
    assert (good, after) == (record(), record())
    assert not isinstance(bad, SourceRecord)
    assert (bad.line, bad.source) == (4, str(path))


async def test_line_without_a_tenant_gets_the_default_tenant(path: Path) -> None:
    put(path, GOOD.replace(b'"tenant_id":"acme",', b""))
    assert (await read_one(JsonLinesSource(path, tenant_id="globex"))).calendar == Calendar("globex")


async def test_null_description_differs_from_a_missing_one(path: Path) -> None:
    put(path, GOOD[:-1] + b',"description":null}')
    assert await read_one(JsonLinesSource(path)) == record(description=None)


def line(**changes: Any) -> bytes:
    return orjson.dumps(ROW | changes)


ACME = Calendar("acme")
BAD: dict[str, tuple[bytes, str, str | None, Calendar | None]] = {
    "cut off": (line()[:-9], "not JSON in UTF-8", None, None),
    "array": (b'["Lindqvist"]', "not an object", None, None),
    "nested too deeply": (b"[" * 100_000, "not JSON in UTF-8", None, None),
    "title not UTF-8": (line().replace(b"Lin", b"\xff"), "not JSON in UTF-8", "k-1", ACME),
    "lone surrogate": (line().replace(b"Lin", b"\\ud800"), "not JSON in UTF-8", "k-1", ACME),
    "key not UTF-8": (line().replace(b"k-1", b"k\xff"), "not JSON in UTF-8", None, ACME),
    "user not UTF-8": (line(ad_id="u", domain_id="d").replace(b'"u"', b'"\xff"'), "not JSON in UTF-8", "k-1", None),
    "object as a title": (line(title={MARKER: 1}), "title must be a str, not dict", "k-1", ACME),
    "false as an optional field": (line(modified=False), "modified must be a str, not bool", "k-1", ACME),
    "zero as a user": (line(ad_id=0), "ad_id must be a str, not int", "k-1", None),
    "list as a tenant": (line(tenant_id=[MARKER]), "tenant_id must be a str, not list", "k-1", None),
    "number as a key": (line(key=7), "key must be a str, not int", None, ACME),
    "invalid value": (line(start_time="2024-01-15"), "start_time: not an RFC 3339 date-time", "k-1", ACME),
}


@pytest.mark.parametrize(("bad", "reason", "key", "calendar"), BAD.values(), ids=BAD)
async def test_invalid_line_is_a_problem_and_reading_continues(
    path: Path, bad: bytes, reason: str, key: str | None, calendar: Calendar | None
) -> None:
    put(path, GOOD + b"\n" + bad + b"\n" + GOOD)
    source = JsonLinesSource(path)
    found = await problem(source)
    assert (found.source, found.line, found.reason) == (str(path), 2, reason)
    assert (found.key, found.calendar) == (key, calendar)
    assert [item for item in await read(source) if isinstance(item, SourceRecord)] == [record(), record()]


async def test_unreadable_line_has_no_calendar_even_with_a_default_tenant(path: Path) -> None:
    put(path, b"{")
    assert (await problem(JsonLinesSource(path, tenant_id="acme"))).calendar is None


async def test_long_file_is_read_with_bounded_memory(path: Path) -> None:
    with path.open("wb") as file:
        for _ in range(60):
            file.write((GOOD + b"\n") * 1000)
    count = 0
    tracemalloc.start()
    try:
        async for _ in JsonLinesSource(path).records():
            count += 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 60_000
    assert peak < 3_000_000  # the file has 10 MB
