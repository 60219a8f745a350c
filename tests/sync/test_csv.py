"""CSV: the header, the cells, the line of a record, and files that were cut off."""

from pathlib import Path

import pytest

from connector_async.sync.exceptions import SourceError
from connector_async.sync.formats import CsvMirror, CsvSource
from connector_async.sync.records import Calendar, SourceRecord
from tests.support.sync_files import MARKER, content, problem, put, read, read_one, record, write

HEADER = b"key,tenant_id,title,start_time,end_time,description,description_type,ad_id,domain_id\n"
TIMES = b"2024-01-15T10:00:00Z,2024-01-15T11:00:00Z"
GOOD = b"k-1,acme,Visit," + TIMES + b",,,,\n"
ACME = Calendar("acme")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.csv"


async def test_byte_order_mark_crlf_and_blank_lines_are_accepted(path: Path) -> None:
    put(path, b"\xef\xbb\xbf\r\n" + HEADER.replace(b"\n", b"\r\n") + b"\r\n" + GOOD + b"  \n" + GOOD.rstrip())
    assert await read(CsvSource(path)) == [record(), record()]


async def test_columns_are_accepted_in_any_order_and_tenant_as_an_argument(path: Path) -> None:
    put(path, b"end_time,start_time,title,key\n" + b",".join([*TIMES.split(b",")[::-1], b"Visit", b"k-1"]))
    assert await read_one(CsvSource(path, tenant_id="acme")) == record()


async def test_line_of_a_problem_is_the_first_of_its_record(path: Path) -> None:
    good = b'k-1,acme,"Vi\nsit",' + TIMES + b',"a\r\n\r\n""b""",,,\n'
    put(path, HEADER + good + b"\n" + good.replace(b"k-1", b"") + GOOD)
    first, bad, last = await read(CsvSource(path))
    assert (first, last) == (record(title="Vi\nsit", description='a\r\n\r\n"b"'), record())
    assert not isinstance(bad, SourceRecord)
    assert (bad.line, bad.reason) == (7, "key is missing")


async def test_empty_description_is_missing_and_its_type_is_ignored(path: Path) -> None:
    put(path, HEADER + b"k-1,acme,Visit," + TIMES + b',"",Html,,\n')
    assert await read_one(CsvSource(path)) == record()
    await write(CsvMirror(path), [record(description="", description_type="Html"), record(description=None)])
    assert await read(CsvSource(path)) == [record(), record()]


async def test_cells_that_look_like_formulas_are_written_as_they_are(path: Path) -> None:
    await write(CsvMirror(path), [record(title="=1+1")])
    assert b",=1+1," in content(path)


NOT_UTF8 = "not UTF-8, and looks like Windows-1252: save the file as UTF-8 (in a spreadsheet: CSV UTF-8)"
MALFORMED = "the quotes are malformed, or a field is too long"
BAD: dict[str, tuple[bytes, str, str | None, Calendar | None]] = {
    "too many cells": (b"k-2,acme,Lindqvist, Maria," + TIMES + b",,,,", "10 fields, but the header has 9", None, None),
    "too few cells": (b"k-2,acme,Lindqvist", "3 fields, but the header has 9", None, None),
    "character after a quoted cell": (b'k-2,acme,"Lindqvist"x,' + TIMES, MALFORMED, None, None),
    "cell too long": (b"k-2,acme," + MARKER.encode() * 20_000, MALFORMED, None, None),
    "title not UTF-8": (
        b"k-2,acme,\xffLindqvist," + TIMES + b",,,,",
        f"the column title is {NOT_UTF8}",
        "k-2",
        ACME,
    ),
    "key not UTF-8": (b"k\xff,acme,Lindqvist," + TIMES + b",,,,", f"the column key is {NOT_UTF8}", None, ACME),
    "invalid time": (
        b"k-2,acme,Visit,Lindqvist,2024-01-15T11:00:00Z,,,,",
        "start_time: not an RFC 3339 date-time",
        "k-2",
        ACME,
    ),
    "half a user": (b"k-2,acme,Visit," + TIMES + b",,,Lindqvist,", "domain_id is missing", "k-2", None),
    "key alone": (b"k-2,,,,,,,,", "title is missing", "k-2", None),
}


@pytest.mark.parametrize(("bad", "reason", "key", "calendar"), BAD.values(), ids=BAD)
async def test_invalid_row_is_a_problem_and_reading_continues(
    path: Path, bad: bytes, reason: str, key: str | None, calendar: Calendar | None
) -> None:
    put(path, HEADER + GOOD + bad + b"\n" + GOOD)
    source = CsvSource(path)
    found = await problem(source)
    assert (found.source, found.line, found.reason) == (str(path), 3, reason)
    assert (found.key, found.calendar) == (key, calendar)
    assert [item for item in await read(source) if isinstance(item, SourceRecord)] == [record(), record()]


HEADERS = {
    "empty file": (b"", "has no header line that can be read"),
    "malformed quotes": (b'"key"x,title', "has no header line that can be read"),
    "no end_time": (HEADER.replace(b"end_time,", b""), "lacks the column end_time"),
    "no tenant_id": (HEADER.replace(b"tenant_id,", b""), "lacks the column tenant_id"),
    "unknown column": (HEADER.replace(b"key", b"key,location"), "has an unknown column: location"),
    "same column twice": (HEADER.replace(b"key", b"key,key"), "has the column key twice"),
    "row as the header": (f"k-1,acme,{MARKER},".encode() + TIMES, "lacks the column key"),
}


@pytest.mark.parametrize(("header", "reason"), HEADERS.values(), ids=HEADERS)
async def test_invalid_header_is_an_error_of_the_source(path: Path, header: bytes, reason: str) -> None:
    put(path, header)
    with pytest.raises(SourceError, match=reason) as caught:
        await read(CsvSource(path))
    assert str(path) in str(caught.value)
    assert MARKER not in str(caught.value)


@pytest.mark.parametrize(
    "end",
    [b"", b'"x,y\n' + GOOD, b"," * 200_000 + b"x" * 200_000],
    ids=["not closed", "closed by a later quote", "too long"],
)
async def test_malformed_quotes_over_several_lines_are_an_error_of_the_source(path: Path, end: bytes) -> None:
    put(path, HEADER + GOOD + b'k-2,acme,"Lindqvist,' + TIMES + b",,,\n" + GOOD + end)
    with pytest.raises(SourceError, match="line 3: a quoted field is not closed, or too long") as caught:
        await read(CsvSource(path))
    assert MARKER not in str(caught.value)


@pytest.mark.row("S12")
@pytest.mark.parametrize(
    ("title", "last"),
    [
        (b"Lindqvist", "end_time"),  # that a title without quotes was cut off cannot be seen
        (b'"Lindqvist, Maria"', "title"),
        (b'"Lindqvist\nMaria"', "title"),
    ],
)
async def test_record_that_was_cut_off_is_not_taken_for_a_record(path: Path, title: bytes, last: str) -> None:
    columns = {"key": b"k-2", "tenant_id": b"acme", "title": title, "start_time": b"2024-01-15T10:00:00.5Z"}
    columns["end_time"] = b"2024-01-15T11:00:00.25+00:30"
    columns[last] = columns.pop(last)
    whole, header = b",".join(columns.values()), ",".join(columns).encode() + b"\n"
    first = header + b",".join({**columns, "key": b"k-1"}.values()) + b"\n"
    for length in range(1, len(whole)):
        put(path, first + whole[:length])
        try:
            items = await read(CsvSource(path))
        except SourceError as error:  # cut inside quotes, after a line end
            assert "a quoted field is not closed" in str(error)
            continue
        assert [isinstance(item, SourceRecord) for item in items] == [True, False], whole[:length]
    put(path, first + whole)
    assert [isinstance(item, SourceRecord) for item in await read(CsvSource(path))] == [True, True]
