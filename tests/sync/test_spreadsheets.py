"""CSV as spreadsheets write it: delimiters, empty rows and columns, encodings, and what a merge keeps of them."""

from pathlib import Path

import pytest

from connector_async.sync.exceptions import SourceError
from connector_async.sync.formats import CsvMirror, CsvSource, JsonLinesSource, RecordChange
from connector_async.sync.records import ABSENT, SourceRecord, content_hash
from tests.support.sync_files import MARKER, content, problem, put, read, read_one, record

HEADER = "key,tenant_id,title,start_time,end_time"
ROW = "k-1,acme,Visit,2024-01-15T10:00:00Z,2024-01-15T11:00:00Z"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rows.csv"


def lines(*rows: str, delimiter: str = ",", end: str = "\r\n") -> bytes:
    return "".join(row.replace(",", delimiter) + end for row in rows).encode()


@pytest.mark.parametrize("delimiter", [";", "\t"])
async def test_delimiter_is_the_one_with_which_the_header_has_the_columns(path: Path, delimiter: str) -> None:
    put(path, lines(HEADER, ROW.replace("Visit", '"Visit, again"').replace(", a", "\0 a"), delimiter=delimiter))
    put(path, content(path).replace(b"\0", b","))
    assert await read_one(CsvSource(path)) == record(title="Visit, again")


async def test_delimiter_is_not_decided_by_an_ignored_column_with_another_one(path: Path) -> None:
    put(path, lines(f"a;b;c;d;e;f;g;h,{HEADER}", f"x,{ROW}"))
    assert await read_one(CsvSource(path, ignore_unknown=True)) == record()


@pytest.mark.parametrize("first", ["sep=|", "SEP=|", '"sep=|"'])
async def test_first_line_of_excel_names_the_delimiter(path: Path, first: str) -> None:
    put(path, b"\xef\xbb\xbf" + first.encode() + b"\r\n" + lines(HEADER, ROW, ROW.replace("Vis", ""), delimiter="|"))
    first_record, second = await read(CsvSource(path))
    assert (first_record, second) == (record(), record(title="it"))


async def test_line_numbers_count_the_lines_before_the_header(path: Path) -> None:
    put(path, b"sep=,\r\n,,,,\r\n" + lines(f'"no\nte",{HEADER}', f"x,{ROW}", f"x,{ROW.replace('k-1', '')}"))
    assert (await problem(CsvSource(path, ignore_unknown=True))).line == 6


async def test_row_of_empty_cells_is_a_blank_line_wherever_it_is(path: Path) -> None:
    put(path, lines(",,,,", HEADER, " ,,,,", ROW, ",,", ",,,,,,,", '"",,,,'))
    assert await read(CsvSource(path)) == [record()]


async def test_column_without_name_and_value_is_none(path: Path) -> None:
    put(path, lines("key,,tenant_id,title,start_time,end_time,,", ROW.replace("k-1,", "k-1,,") + ",,"))
    assert await read_one(CsvSource(path)) == record()


async def test_row_may_lack_the_last_cells_that_have_no_name(path: Path) -> None:
    put(path, lines(HEADER + ",,", ROW, ROW + ",", ROW + ",,"))
    assert await read(CsvSource(path)) == [record()] * 3
    put(path, lines(HEADER + ",,", ROW + ",,,"))
    assert (await problem(CsvSource(path))).reason == "8 fields, but the header has 7"


async def test_value_in_a_column_without_a_name_is_a_problem_of_its_row(path: Path) -> None:
    put(path, lines(HEADER + ",", f"{ROW},{MARKER}", ROW + ","))
    found = await problem(CsvSource(path))
    assert (found.line, found.key, found.reason) == (2, None, "a value in a column without a name")
    assert [item for item in await read(CsvSource(path)) if isinstance(item, SourceRecord)] == [record()]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-16-le"])
@pytest.mark.parametrize("source", [CsvSource, JsonLinesSource])
async def test_utf_16_is_rejected_by_name(path: Path, source: type[CsvSource | JsonLinesSource], encoding: str) -> None:
    text = f"{HEADER}\n{ROW}\n" if source is CsvSource else f'{{"key": "{MARKER}"}}\n'
    put(path, text.encode(encoding))
    with pytest.raises(SourceError, match="is UTF-16, and must be UTF-8: save the file as UTF-8"):
        await read(source(path))


async def test_header_that_is_not_utf_8_is_named_as_the_cause(path: Path) -> None:
    put(path, lines(HEADER + ",Büro", ROW + ",x").decode().encode("cp1252"))
    with pytest.raises(SourceError, match="unknown column: number 6; it is not UTF-8, and looks like Windows-1252"):
        await read(CsvSource(path))
    put(path, lines(HEADER.replace("key", "Schlüssel"), ROW).decode().encode("cp1252"))
    with pytest.raises(SourceError, match="lacks the column key; it is not UTF-8, and looks like Windows-1252"):
        await read(CsvSource(path))


@pytest.mark.parametrize("column", ["description", "description_type", "time_zone", "modified", "ad_id"])
async def test_cell_of_any_column_that_is_not_utf_8_is_a_problem(path: Path, column: str) -> None:
    header = f"{HEADER},description,{column}" if column == "description_type" else f"{HEADER},{column}"
    put(path, lines(header, ROW + (",x" if column == "description_type" else "") + ",ö").decode().encode("cp1252"))
    found = await problem(CsvSource(path))
    assert found.key == "k-1"
    assert found.reason.startswith(f"the column {column} is not UTF-8, and looks like Windows-1252: save the file")


async def test_lines_that_end_with_a_carriage_return_alone_are_rejected(path: Path) -> None:
    put(path, lines(HEADER, ROW, end="\r"))
    with pytest.raises(SourceError, match="must end with a line feed, not with a carriage return alone"):
        await read(CsvSource(path))


FILE = (
    b"\xef\xbb\xbfsep=;\r\n"
    b";;;;;;\r\n"
    b'"key";tenant_id;"title";start_time;end_time;;\r\n'
    b'k-1;acme;"Visit";2024-01-15T10:00:00Z;"2024-01-15T11:00:00Z";;\r\n'
    b";;;;;;\r\n"
    b"k-2;acme;Visit, then lunch;2024-01-15T10:00:00Z;2024-01-15T11:00:00Z\r\n"
    b"k-3;acme;;2024-01-15T10:00:00Z;2024-01-15T11:00:00Z;;note\r\n"
)


async def merged(path: Path, *records: SourceRecord, ignore_unknown: bool = False) -> bytes:
    """Return the file after a merge of records, of which only `k-1` was there."""
    changes = {
        (each.calendar, each.key): RecordChange(
            replaced_hash=content_hash(record().appointment) if each.key == "k-1" else ABSENT,
            content_hash=content_hash(each.appointment),
            record=each,
        )
        for each in records
    }
    assert set(await CsvMirror(path, ignore_unknown=ignore_unknown).merge(changes)) == set(changes)
    return content(path)


async def test_merge_keeps_what_a_spreadsheet_has_written(path: Path) -> None:
    put(path, FILE)
    new = b"n;acme;a;2024-01-15T10:00:00Z;2024-01-15T11:00:00Z;;\r\n"
    after = await merged(path, record(title="Moved; again"), record(key="n", title="a"))
    assert after == FILE.replace(b'"Visit";', b'"Moved; again";') + new


async def test_merge_adds_a_column_after_those_without_a_name(path: Path) -> None:
    put(path, FILE)
    after = await merged(path, record(description="a;b"))
    assert after.splitlines() == [
        b"\xef\xbb\xbfsep=;",
        b";;;;;;",
        b'"key";tenant_id;"title";start_time;end_time;;;description',
        b'k-1;acme;"Visit";2024-01-15T10:00:00Z;"2024-01-15T11:00:00Z";;;"a;b"',
        b";;;;;;",
        b"k-2;acme;Visit, then lunch;2024-01-15T10:00:00Z;2024-01-15T11:00:00Z;;;",
        b"k-3;acme;;2024-01-15T10:00:00Z;2024-01-15T11:00:00Z;;note;",
    ]
    assert record(description="a;b") in await read(CsvSource(path))


async def test_merge_keeps_the_cells_of_ignored_columns(path: Path) -> None:
    put(path, lines(f"room,{HEADER}", f'"12",{ROW}'))
    after = await merged(path, record(title="Moved"), ignore_unknown=True)
    assert after == lines(f"room,{HEADER}", f'"12",{ROW}').replace(b"Visit", b"Moved")
