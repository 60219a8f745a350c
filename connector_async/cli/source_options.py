"""The options that describe a source: its format, its columns, and the time in which recurring events are expanded."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

import attrs
from cyclopts import Group, Parameter

from connector_async._files import open_regular
from connector_async.sync.formats import (
    FieldMapping,
    FileFormat,
    FileSource,
    choose_format,
    file_source,
    format_of_suffix,
)
from connector_async.sync.formats.detection import SUFFIXES
from connector_async.sync.formats.mapping import RowMapper, check_mapping, row_mapper
from connector_async.sync.formats.reading import ReadingCounts, source_error
from connector_async.sync.scope import Scope

from .line_reader import STANDARD_INPUT
from .settings import Settings, assumed_zone
from .times import parse_time

SOURCE_GROUP: Final = Group(
    "Source",
    help="--map, --date-format, --preset and --ignore-unknown can stand in a settings file as well, in the table "
    "[source].",
    sort_key=1.5,
)
TimeReader: TypeAlias = Callable[[str, str, Any], str]
"""Returns a time of a file as an RFC 3339 date-time; see `FieldMapping.time_reader`."""
_WINDOW: Final = timedelta(days=365)

SourceFile = Annotated[
    Path,
    Parameter(
        name="SOURCE",
        allow_leading_hyphen=True,
        help="The file with the records; its name ends in .jsonl, .ndjson, .csv or .ics. - is the standard input, "
        "whose format --source-format names.",
    ),
]


@Parameter(name="*", group=SOURCE_GROUP)
@attrs.frozen(kw_only=True)
class MappingOptions:
    """The format of a source, and where the fields of its records are."""

    source_format: Annotated[
        FileFormat | None, Parameter(show_default="by the name of the file", help="The format of the source.")
    ] = None
    map: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help="Read a field from another column of CSV or member of JSON: title=Subject. Columns can be joined with "
            'a blank: start_time="Start Date"+"Start Time". May be repeated.',
        ),
    ] = ()
    date_format: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            help="The format of times, as of Python's strptime: %d.%m.%Y %H:%M. Times without %z are in the zone of "
            "--assume-zone. May be repeated: the first that fits a time is used.",
        ),
    ] = ()
    preset: Annotated[
        Literal["outlook", "google"] | None,
        Parameter(help="Read the CSV files of Outlook or Google Calendar. --map and --date-format change parts of it."),
    ] = None
    ignore_unknown: Annotated[
        bool | None, Parameter(help="Ignore unknown columns of CSV and members of JSON, and count them.")
    ] = None

    def as_settings(self) -> dict[str, Any]:
        """Return the settings that the options set, by name; `None` means that an option is not given."""
        return {
            "map": self.map or None,
            "date_format": self.date_format or None,
            "preset": self.preset,
            "ignore_unknown": self.ignore_unknown,
        }

    def expand(self, zone: tzinfo | None) -> Scope:  # noqa: ARG002 - a subclass needs it
        """Return the time in which recurring events are expanded: from now for a year."""
        now = datetime.now(UTC)
        return Scope(start=now, end=now + _WINDOW)

    def source(self, path: Path, settings: Settings, *, time_reader: TimeReader | None = None) -> FileSource:
        """Return the source for a file, without opening it.

        Args:
            path: The file.
            settings: Describe the source.
            time_reader: Reads the times of CSV for `create`, where a record without a key gets one; `None`: as for a
                sync.

        Raises:
            ValueError: If an option or a setting is invalid, or the format is not known.
        """
        if path.name.startswith("-") and str(path) == path.name != STANDARD_INPUT:
            option = path.name.partition("=")[0]
            raise ValueError(f"Unknown option: {option}. A file of that name is ./{option}")
        if self.source_format is None and format_of_suffix(path) is None:
            raise ValueError(f"--source-format must be given: the name of {path} does not end in {', '.join(SUFFIXES)}")
        mapping = mapping_of(settings)
        chosen = choose_format(path, self.source_format)
        if chosen == "ics":
            if self.map or self.date_format or self.preset is not None:
                raise ValueError("--map, --date-format and --preset must not be given for iCalendar")
            mapping = None  # a table of the settings describes the other files of the folder
        elif time_reader is not None:
            mapping = attrs.evolve(mapping or FieldMapping(), derives_key=True, time_reader=time_reader)
        return file_source(
            path,
            format=chosen,
            tenant_id=settings.get("tenant_id"),
            assume_zone=assumed_zone(settings),
            expand=self.expand(assumed_zone(settings)),
            mapping=mapping,
            ignore_unknown=settings.get("ignore_unknown"),
        )


@Parameter(name="*", group=SOURCE_GROUP)
@attrs.frozen(kw_only=True)
class SourceOptions(MappingOptions):
    """The format of a source, where its fields are, and in which time recurring events are expanded."""

    expand_from: Annotated[
        str | None,
        Parameter(
            name="--from",
            show_default="now",
            help="Expand recurring events of iCalendar from this time, such as 2024-01-15T10:00Z or -30d.",
        ),
    ] = None
    expand_to: Annotated[
        str | None,
        Parameter(name="--to", show_default="a year after --from", help="Expand recurring events to this time."),
    ] = None

    def expand(self, zone: tzinfo | None) -> Scope:
        """Return the time in which recurring events are expanded.

        Args:
            zone: The time zone of an end without a UTC offset; `None`: there is none.

        Raises:
            ValueError: If an end is not a date-time, or the end is not after the start.
        """
        start = datetime.now(UTC) if self.expand_from is None else parse_time("from", self.expand_from, zone)
        if self.expand_to is not None:
            end = parse_time("to", self.expand_to, zone)
        elif datetime.max.replace(tzinfo=UTC) - start < _WINDOW:
            raise ValueError("expand_to must be given: a year after expand_from is after the year 9999")
        else:
            end = start + _WINDOW
        if end <= start:
            raise ValueError("expand_to must be after expand_from, which is now by default")
        return Scope(start=start, end=end)


DEFAULT_SOURCE: Final = SourceOptions()
DEFAULT_MAPPING: Final = MappingOptions()


def mapping_of(settings: Settings) -> FieldMapping | None:
    """Return the mapping that the settings describe; `None` if they describe none.

    Raises:
        ValueError: If they do not fit together.
    """
    preset, columns, date_format = (settings.get(name) for name in ("preset", "map", "date_format"))
    if preset is not None:
        return FieldMapping.preset(preset, columns=columns, date_format=date_format)
    if columns is None and date_format is None:
        return None
    return FieldMapping(columns=columns or {}, date_format=date_format)


def line_mapper(settings: Settings) -> RowMapper | None:
    """Return what reads the fields of lines of JSON; `None`: each member has the name of its field.

    Raises:
        ValueError: If the settings do not fit together.
    """
    mapping, zone = mapping_of(settings), assumed_zone(settings)
    check_mapping(mapping, zone)
    ignores = settings.get("ignore_unknown")
    return row_mapper(mapping, assume_zone=zone, ignore_unknown=ignores, counts=ReadingCounts())


def open_source(
    path: Path,
    options: MappingOptions,
    settings: Settings,
    *,
    time_reader: TimeReader | None = None,
) -> FileSource:
    """Return the source for a file, which must exist: otherwise a state would be created beside it.

    Args:
        path: The file.
        options: Describe the source.
        settings: Describe the source.
        time_reader: Reads the times of CSV for `create`, where a record without a key gets one; `None`: as for a sync.

    Raises:
        ValueError: If an option or a setting is invalid, or the format is not known.
        SourceError: If the file cannot be opened.
    """
    source = options.source(path, settings, time_reader=time_reader)
    try:
        open_regular(path).close()
    except OSError as error:
        raise source_error(path, error) from None
    return source
