"""The command `source check`: reads a file as a sync would, and sends nothing."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing, closing
from typing import Annotated, Any, Final

import attrs
from cyclopts import Parameter

from connector_async._timestamps import format_instant
from connector_async.sync.formats import FileSource, ICalendarSource
from connector_async.sync.records import Calendar, SourceProblem, SourceRecord

from .config_sources import read_settings
from .exit_codes import ExitCode
from .messages import print_message
from .options import DEFAULT_DISPLAY, SETTINGS_GROUP, DisplayOptions
from .output import Printer
from .output_formats import Record
from .source_options import DEFAULT_SOURCE, SourceFile, SourceOptions
from .standard_input import opened_source

_KEY: Final = ("tenant_id", "domain_id", "ad_id", "key")
_COLUMNS: Final = (
    "records",
    "problems",
    "cancelled",
    "superseded",
    "series",
    "instances",
    "expanded_from",
    "expanded_to",
    "ignored",
)


@Parameter(name="*", group=SETTINGS_GROUP)
@attrs.frozen(kw_only=True)
class ReadingOptions:
    """What a source does not say itself."""

    tenant_id: Annotated[str | None, Parameter(help="The tenant of a record that names none.")] = None
    assume_zone: Annotated[str | None, Parameter(help="The time zone of times without a UTC offset.")] = None

    def as_settings(self) -> dict[str, Any]:
        """Return the settings that the options set, by name; `None` means that an option is not given."""
        return attrs.asdict(self)


_READING: Final = ReadingOptions()


async def check(
    file: SourceFile,
    /,
    *,
    source_options: SourceOptions = DEFAULT_SOURCE,
    reading: ReadingOptions = _READING,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Read a file as a sync would, and print what is in it and which records cannot be read. It sends nothing."""
    settings = read_settings(reading.as_settings() | source_options.as_settings())
    printer = Printer(display, _COLUMNS)
    async with opened_source(file, source_options, settings) as (source, opened):
        found = _Found(display, printer)
        with closing(_Keys()) as keys:
            async with aclosing(source.records()) as items:  # type: ignore[type-var]  # a generator
                async for item in items:
                    keys.add(item)
                    if isinstance(item, SourceProblem):
                        found.print_problem(item)
                    else:
                        found.records += 1
            for problem, readable in keys.duplicates(source.name):
                found.print_problem(problem)
                found.records -= readable
    printer.add(found.counts(opened))
    printer.end()
    return ExitCode.DEAD_LETTERS if found.problems else ExitCode.DONE


@attrs.define
class _Found:
    """Prints the problems of a source, and counts them and its records."""

    display: DisplayOptions
    printer: Printer
    records: int = 0
    problems: int = 0

    def print_problem(self, problem: SourceProblem) -> None:
        """Print a problem: as JSON to the standard output, or else as a message."""
        self.problems += 1
        if self.display.is_structured:
            calendar = attrs.asdict(problem.calendar) if problem.calendar is not None else {}
            fields = {"kind": "problem", "source": problem.source, "line": problem.line, "key": problem.key}
            self.printer.add(fields | calendar | {"reason": problem.reason})
            return
        place = problem.source if problem.line is None else f"{problem.source}:{problem.line}"
        key = "" if problem.key is None else f"key {problem.key}: "
        print_message(f"{place}: {key}{problem.reason}")

    def counts(self, source: FileSource) -> Record:
        """Return the counts of a reading, as the row of a table without what is zero, or as an object with all."""
        counts = attrs.asdict(source.counts, recurse=False)
        counter: Counter[str] = counts.pop("ignored")
        ignored = sorted(counter.items(), key=lambda part: (-part[1], part[0]))
        found = {"records": self.records, "problems": self.problems}
        window = _window(source)
        if self.display.is_structured:
            return {"kind": "counts", **found, **counts, **window, "ignored": dict(ignored)}
        shown = ", ".join(f"{name} ({number})" for name, number in ignored)
        if self.display.hides_zeros:
            counts = {name: number for name, number in counts.items() if number}
        return {**found, **counts, **window, "ignored": shown or None}


def _window(source: FileSource) -> dict[str, str | None]:
    """Return in which time recurring events are expanded, if the format has them."""
    if not isinstance(source, ICalendarSource) or source.expand is None:
        return {}
    ends = {"expanded_from": source.expand.start, "expanded_to": source.expand.end}
    return {name: None if end is None else format_instant(end) for name, end in ends.items()}


class _Keys:
    """Finds the keys that several records of a calendar have. The keys are in a temporary file, not in memory."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # a file that SQLite makes, and removes when it is closed
        columns = ", ".join((*_KEY, "copies", "readable"))
        self._database.execute(f"CREATE TABLE keys ({columns}, PRIMARY KEY ({', '.join(_KEY)})) WITHOUT ROWID")

    def add(self, item: SourceRecord | SourceProblem) -> None:
        """Count a record, or one that cannot be read and whose key and calendar are known."""
        if item.calendar is None or item.key is None:
            return
        key, readable = (*attrs.astuple(item.calendar), item.key), isinstance(item, SourceRecord)
        self._database.execute(
            "INSERT INTO keys VALUES (?, ?, ?, ?, 1, ?) "
            "ON CONFLICT DO UPDATE SET copies = copies + 1, readable = readable + excluded.readable",
            (*key, readable),
        )

    def duplicates(self, source: str) -> Iterator[tuple[SourceProblem, int]]:
        """Yield a problem for each key that occurs more than once, with the number of its readable records."""
        for tenant_id, domain_id, ad_id, key, copies, readable in self._database.execute(
            "SELECT * FROM keys WHERE copies > 1 ORDER BY 1, 2, 3, 4"
        ):
            reason, calendar = f"key occurs {copies} times", Calendar(tenant_id, domain_id, ad_id)
            yield SourceProblem(source=source, line=None, reason=reason, key=key, calendar=calendar), readable

    def close(self) -> None:
        """Remove the keys."""
        self._database.close()
