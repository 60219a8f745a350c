"""The inputs in tests/cases and their right results; tests/cases/README.md explains the fields."""

from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import attrs
import orjson
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn, override

from connector_async.sync import Scope, SourceError
from connector_async.sync.formats import Source, file_source
from connector_async.sync.records import SourceProblem, SourceRecord, row_of

CASES: Final = Path(__file__).parents[1] / "cases"
FOLDERS: Final = ("icalendar", "icalendar-more", "csv", "csv-more")
"""The folders with an expected.json."""
_NO_INPUT: Final = "expected.json"

Title = str | dict[str, Any]


@attrs.frozen(kw_only=True)
class Reading:
    """What a source returned."""

    records: list[list[str]] = attrs.field(factory=list)
    problems: list[str | None] = attrs.field(factory=list)
    refused: bool = False
    descriptions: dict[str, str | None] = attrs.field(factory=dict)
    message: str = ""
    """The message of the error, without the path of the file."""


@attrs.frozen(kw_only=True)
class Result:
    """A right result of reading a file."""

    records: list[tuple[str, Title, str, str]]
    problems: list[str | None]
    refused: bool
    descriptions: dict[str, str] = attrs.field(factory=dict)
    message_has_one_of: list[str] = attrs.field(factory=list)

    def fits(self, reading: Reading) -> bool:
        """Return whether a source returned this."""
        return (
            [[key, _full(title), start, end] for key, title, start, end in self.records] == reading.records
            and self.problems == reading.problems
            and self.refused is reading.refused
            and self.descriptions.items() <= reading.descriptions.items()
            and (not self.message_has_one_of or any(part in reading.message for part in self.message_has_one_of))
        )


@attrs.frozen(kw_only=True)
class Window:
    """The right results of reading a file whose recurring events are expanded."""

    start: datetime
    end: datetime
    any_of: list[Result]

    @property
    def expand(self) -> Scope:
        """The time range to expand them in."""
        return Scope(start=self.start, end=self.end)


@attrs.frozen(kw_only=True)
class Limits:
    """What reading a file may take."""

    seconds: float
    memory_mb: float


@attrs.frozen(kw_only=True)
class RunEnd:
    """A right end of a run."""

    exit_code: int
    starts_on_server: list[str]


@attrs.frozen(kw_only=True)
class Run:
    """The right ends of a run after another one."""

    after: str | None
    any_of: list[RunEnd]


@attrs.frozen(kw_only=True)
class ServerChange:
    """A new title that an appointment gets on the server."""

    key: str
    title: str


@attrs.frozen(kw_only=True)
class TwoWay:
    """The lines that a file has after a change on the server was pulled."""

    change_on_server: ServerChange
    must_appear: list[str]
    must_survive: list[str]
    otherwise: Literal["the run ends with an exit code other than 0 and the file is as it was, byte for byte"]


@attrs.frozen(kw_only=True)
class Case:
    """One entry of an expected.json."""

    assume_zone: str | None
    any_of: list[Result]
    no_warning: bool = False
    limits: Limits | None = None
    run: Run | None = None
    two_way: TwoWay | None = None
    with_window: Window | None = None


def _converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    converter.register_structure_hook(Title, lambda value, _: value)
    converter.register_structure_hook(datetime, lambda value, _: datetime.fromisoformat(value))
    for cls, names in ((Window, {"start": "from", "end": "to"}), (TwoWay, {"otherwise": "or"})):
        renamed: dict[str, Any] = {name: override(rename=written) for name, written in names.items()}
        converter.register_structure_hook(cls, make_dict_structure_fn(cls, converter, **renamed))
    return converter


_CONVERTER: Final = _converter()
_RESULT: Final = tuple(field.name for field in attrs.fields(Result))


@cache
def entries(folder: str) -> dict[str, dict[str, Any]]:
    """Return the entries of an expected.json as they are written."""
    written: dict[str, dict[str, Any]] = orjson.loads((CASES / folder / _NO_INPUT).read_bytes())
    return written


def names(folder: str) -> set[str]:
    """Return the names of the inputs in a folder."""
    return {path.name for path in (CASES / folder).iterdir()} - {_NO_INPUT}


def with_field(field: str) -> list[tuple[str, str]]:
    """Return the folder and the name of each entry that has a field."""
    return [(folder, name) for folder in FOLDERS for name, entry in entries(folder).items() if field in entry]


def case(folder: str, name: str) -> Case:
    """Return the entry of an input.

    Raises:
        ClassValidationError: If the entry lacks a field, or has a field that is not known.
    """
    entry = _with_results(entries(folder)[name])
    if "with_window" in entry:
        entry["with_window"] = _with_results(entry["with_window"])
    return _CONVERTER.structure(entry, Case)


def source(path: Path, assume_zone: str | None, **options: Any) -> Source:
    """Return the source of an input."""
    zone = None if assume_zone is None else ZoneInfo(assume_zone)
    return file_source(path, tenant_id="acme", assume_zone=zone, **options)


async def read_case(found: Source) -> Reading:
    """Return what a source returns."""
    try:
        items = [item async for item in found.records()]
    except SourceError as error:
        return Reading(refused=True, message=str(error).replace(found.name, ""))
    rows = [row_of(item) for item in items if isinstance(item, SourceRecord)]
    return Reading(
        records=[[str(row[name]) for name in ("key", "title", "start_time", "end_time")] for row in rows],
        problems=[item.key for item in items if isinstance(item, SourceProblem)],
        descriptions={str(row["key"]): row.get("description") for row in rows},
    )


def _with_results(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry with `any_of`, also if it has a single result."""
    if "any_of" in entry:
        return dict(entry)
    result = {field: value for field, value in entry.items() if field in _RESULT}
    return {field: value for field, value in entry.items() if field not in _RESULT} | {"any_of": [result]}


def _full(title: Title) -> str:
    return title if isinstance(title, str) else title["repeat"] * title["times"]
