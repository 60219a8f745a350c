"""Sources whatever their format: round trips, iterables, the choice of a format."""

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
from connector_async.sync.formats.reading import in_chunks
from connector_async.sync.records import SourceProblem, SourceRecord
from tests.support.sync_files import FORMATS, read, record, write
from tests.sync.test_records import records

# Texts that some reader, or some version of a library, takes for something else.
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


def as_csv_says(written: SourceRecord) -> SourceRecord:
    if written.appointment.description:
        return written
    appointment = attrs.evolve(written.appointment, description_type=UNSET, description=UNSET)
    return attrs.evolve(written, appointment=appointment)


async def there_and_back(written: list[SourceRecord], chosen: FileFormat) -> list[SourceRecord | SourceProblem]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mirror")
        await write(file_mirror(path, format=chosen), written)
        return await read(file_source(path, format=chosen))


@pytest.mark.parametrize("chosen", FORMATS)
@settings(deadline=None)
@given(written=records())
def test_a_record_survives_its_mirror(chosen: FileFormat, written: SourceRecord) -> None:
    expected = as_csv_says(written) if chosen == "csv" else written
    assert asyncio.run(there_and_back([written, written], chosen)) == [expected, expected]


@pytest.mark.parametrize("chosen", FORMATS)
async def test_odd_texts_survive_their_mirror(chosen: FileFormat) -> None:
    keys = ["k" + "".join(character for character in text if " " <= character <= "~") for text in ODD]
    written = [record(key=key, title=f"t{text}", description=text) for key, text in zip(keys, ODD, strict=True)]
    assert await there_and_back(written, chosen) == written


@pytest.mark.parametrize("chosen", FORMATS)
async def test_more_records_than_one_batch_come_in_their_order(chosen: FileFormat) -> None:
    written = [record(key=f"k-{number}") for number in range(1201)]
    assert await there_and_back(written, chosen) == written


@pytest.mark.parametrize("chosen", FORMATS)
async def test_an_empty_set_is_read_back_as_one(chosen: FileFormat) -> None:
    assert await there_and_back([], chosen) == []


@pytest.mark.parametrize("chosen", FORMATS)
async def test_a_file_that_is_not_there_is_told_by_the_path_as_given(chosen: FileFormat) -> None:
    source = file_source("nowhere/of-mine", format=chosen)
    assert source.name == "nowhere/of-mine"
    with pytest.raises(SourceError, match=r"^nowhere/of-mine: No such file or directory$") as caught:
        await read(source)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_a_walk_that_is_left_ends_what_runs_in_the_thread() -> None:
    def endless() -> Generator[int, None, None]:
        while True:
            yield 1

    items = endless()
    walk: Any = in_chunks(items)
    assert await anext(walk) == 1
    await walk.aclose()
    assert next(items, None) is None


async def several() -> AsyncIterator[SourceRecord]:
    yield record()


class Bad(list[Any]):
    """An iterable that has no records."""


async def test_any_iterable_is_a_source() -> None:
    trouble = SourceProblem(source="mine", line=None, reason="title is missing")
    source = IterableSource([record(), trouble], name="mine")
    assert source.name == "mine"
    assert await read(source) == [record(), trouble] == await read(source)
    assert await read(IterableSource(several())) == [record()]
    with pytest.raises(TypeError, match="must have SourceRecord or SourceProblem, not int"):
        await read(IterableSource(Bad([1])))
    for wrong in ("text", 5):
        with pytest.raises(TypeError, match="records must be an iterable"):
            IterableSource(wrong)  # type: ignore[arg-type]


async def test_an_iterator_is_not_read_twice_as_if_it_had_nothing() -> None:
    once: list[Iterator[SourceRecord] | AsyncIterator[SourceRecord]] = [iter([record()]), several()]
    for iterator in once:
        source = IterableSource(iterator, name="mine")
        assert await read(source) == [record()]
        with pytest.raises(SourceError, match="mine: an iterator can be read once only"):
            await read(source)


async def test_an_async_generator_is_closed_when_the_walk_is_left() -> None:
    closed: list[bool] = []

    async def endless() -> AsyncIterator[SourceRecord]:
        try:
            while True:
                yield record()
        finally:
            closed.append(True)

    walk: Any = IterableSource(endless()).records()
    await anext(walk)
    await walk.aclose()
    assert closed == [True]


def test_the_format_is_chosen_by_suffix_or_by_name() -> None:
    kinds = {"a.jsonl": JsonLinesSource, "a.NDJSON": JsonLinesSource, "a.csv": CsvSource, "b/a.ics": ICalendarSource}
    for path, kind in kinds.items():
        assert isinstance(file_source(path), kind)
        assert isinstance(file_source(Path(path)), kind)
    assert isinstance(file_source("a.csv", format="jsonl"), JsonLinesSource)


@pytest.mark.parametrize("make", [file_source, file_mirror])
def test_an_unknown_format_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"path must end in one of \.jsonl"):
        make("a.txt")
    with pytest.raises(ValueError, match="format must be one of jsonl, csv, ics"):
        make("a.csv", format="xml")


@pytest.mark.parametrize("chosen", FORMATS)
def test_arguments_are_checked_before_anything_is_read(chosen: FileFormat) -> None:
    with pytest.raises(ValueError, match="tenant_id must be printable ASCII"):
        file_source("a", format=chosen, tenant_id="ä")
    with pytest.raises(TypeError, match="assume_zone must be a tzinfo"):
        file_source("a.ics", assume_zone="Europe/Berlin")  # type: ignore[arg-type]


def test_importing_the_formats_imports_no_icalendar() -> None:
    code = "import sys, connector_async.sync.formats; sys.exit('icalendar' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
