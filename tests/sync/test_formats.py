"""Every file format: round trips, and reading in a worker thread. Iterables as sources, and the choice of a format."""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings

from connector_async.models import UNSET
from connector_async.sync.exceptions import SourceError
from connector_async.sync.formats import (
    CsvSource,
    FileFormat,
    ICalendarSource,
    IterableSource,
    JsonLinesSource,
    file_mirror,
    file_source,
)
from connector_async.sync.formats.reading import iterate_in_thread
from connector_async.sync.records import SourceProblem, SourceRecord
from tests.support.sync_files import FORMATS, read, record, records, write

# Strings that some reader, or some version of a library, interprets.
ODD = [
    "C:\\New\\new",
    "a\\",
    "\\;",
    "a\rb",
    "a\r\nb",
    "\ta\n",
    " a ",
    "a\u2028b",
    "a\x85b\x0bc\x1cd\x00",
    "100%2C",
    "%",
]
ODD += ["\ufeffa", '"', 'a"b,c;d:e', "=1+1", "+1", "-1", "@a", "é" * 99, "x\n BEGIN:VEVENT\nEND:VCALENDAR", "^n"]


def as_csv_keeps(written: SourceRecord) -> SourceRecord:
    if written.appointment.description:
        return written
    appointment = attrs.evolve(written.appointment, description_type=UNSET, description=UNSET)
    return attrs.evolve(written, appointment=appointment)


async def round_trip(written: list[SourceRecord], chosen: FileFormat) -> list[SourceRecord | SourceProblem]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mirror")
        await write(file_mirror(path, format=chosen), written)
        return await read(file_source(path, format=chosen))


@pytest.mark.row("S12")
@pytest.mark.parametrize("path", [Path("/dev/null"), Path("/")], ids=["device", "folder"])
@pytest.mark.parametrize("chosen", FORMATS)
async def test_source_that_is_not_a_regular_file_is_rejected(path: Path, chosen: FileFormat) -> None:
    with pytest.raises(SourceError, match=rf"^{path}: must be a regular file, not a folder, a pipe or a device$"):
        await read(file_source(path, format=chosen, tenant_id="acme"))


async def test_source_behind_a_symbolic_link_is_read(tmp_path: Path) -> None:
    await write(file_mirror(tmp_path / "source.csv"), [record()])
    (tmp_path / "link.csv").symlink_to("source.csv")
    assert await read(file_source(tmp_path / "link.csv")) == [record()]


@pytest.mark.parametrize("chosen", FORMATS)
@settings(deadline=None)
@given(written=records())
def test_record_survives_a_round_trip(chosen: FileFormat, written: SourceRecord) -> None:
    expected = as_csv_keeps(written) if chosen == "csv" else written
    assert asyncio.run(round_trip([written, written], chosen)) == [expected, expected]


@pytest.mark.parametrize("chosen", FORMATS)
async def test_odd_strings_survive_a_round_trip(chosen: FileFormat) -> None:
    keys = ["k" + "".join(character for character in string if " " <= character <= "~") for string in ODD]
    written = [record(key=key, title=f"t{string}", description=string) for key, string in zip(keys, ODD, strict=True)]
    assert await round_trip(written, chosen) == written


@pytest.mark.parametrize("chosen", FORMATS)
async def test_order_is_kept_over_several_chunks(chosen: FileFormat) -> None:
    written = [record(key=f"k-{number}") for number in range(1201)]
    assert await round_trip(written, chosen) == written


@pytest.mark.parametrize("chosen", FORMATS)
async def test_empty_mirror_is_read_back_as_empty(chosen: FileFormat) -> None:
    assert await round_trip([], chosen) == []


@pytest.mark.parametrize("chosen", FORMATS)
async def test_missing_file_is_reported_with_the_path_as_given(chosen: FileFormat) -> None:
    source = file_source("nowhere/of-mine", format=chosen)
    assert source.name == "nowhere/of-mine"
    with pytest.raises(SourceError, match=r"^nowhere/of-mine: No such file or directory$") as caught:
        await read(source)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_leaving_the_iteration_closes_the_generator_in_the_thread() -> None:
    def endless() -> Generator[int, None, None]:
        while True:
            yield 1

    items = endless()
    iterator: Any = iterate_in_thread(items)
    assert await anext(iterator) == 1
    await iterator.aclose()
    assert next(items, None) is None


async def several() -> AsyncIterator[SourceRecord]:
    yield record()


class Bad(list[Any]):
    """An iterable without records."""


async def test_iterables_and_async_iterables_are_sources() -> None:
    problem = SourceProblem(source="mine", line=None, reason="title is missing")
    source = IterableSource([record(), problem], name="mine")
    assert source.name == "mine"
    assert await read(source) == [record(), problem] == await read(source)
    assert await read(IterableSource(several())) == [record()]
    with pytest.raises(TypeError, match="must have SourceRecord or SourceProblem, not int"):
        await read(IterableSource(Bad([1])))
    for wrong in ("text", 5):
        with pytest.raises(TypeError, match="records must be an iterable"):
            IterableSource(wrong)  # type: ignore[arg-type]


async def test_second_pass_over_an_iterator_is_an_error() -> None:
    iterators: list[Iterator[SourceRecord] | AsyncIterator[SourceRecord]] = [iter([record()]), several()]
    for iterator in iterators:
        source = IterableSource(iterator, name="mine")
        assert await read(source) == [record()]
        with pytest.raises(SourceError, match="mine: an iterator can be read only once"):
            await read(source)


async def test_leaving_the_iteration_closes_an_async_generator() -> None:
    closed: list[bool] = []

    async def endless() -> AsyncIterator[SourceRecord]:
        try:
            while True:
                yield record()
        finally:
            closed.append(True)

    iterator: Any = IterableSource(endless()).records()
    await anext(iterator)
    await iterator.aclose()
    assert closed == [True]


def test_format_is_chosen_by_suffix_or_by_name() -> None:
    kinds = {"a.jsonl": JsonLinesSource, "a.NDJSON": JsonLinesSource, "a.csv": CsvSource, "b/a.ics": ICalendarSource}
    for path, kind in kinds.items():
        assert isinstance(file_source(path), kind)
        assert isinstance(file_source(Path(path)), kind)
    assert isinstance(file_source("a.csv", format="jsonl"), JsonLinesSource)


@pytest.mark.parametrize("make", [file_source, file_mirror])
def test_unknown_format_is_rejected(make: Any) -> None:
    with pytest.raises(ValueError, match=r"path must end in one of \.jsonl.*, or format must be given"):
        make("a.txt")
    with pytest.raises(ValueError, match="format must be one of jsonl, csv, ics"):
        make("a.csv", format="xml")


@pytest.mark.parametrize("chosen", FORMATS)
def test_invalid_arguments_are_rejected_before_the_file_is_read(chosen: FileFormat) -> None:
    with pytest.raises(ValueError, match="tenant_id must be printable ASCII"):
        file_source("a", format=chosen, tenant_id="ä")
    with pytest.raises(TypeError, match="assume_zone must be a tzinfo"):
        file_source("a.ics", assume_zone="Europe/Berlin")  # type: ignore[arg-type]


def test_importing_the_formats_does_not_import_icalendar() -> None:
    code = "import sys, connector_async.sync.formats; sys.exit('icalendar' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
