"""Mapping the columns of a spreadsheet, or the members of JSON objects, to the fields of a row.

It knows no file format: it makes one row of `FIELDS` from another row.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, Final, Literal, Self, TypeAlias

import attrs

from connector_async._checks import check_time_zone, check_type, validator
from connector_async._timestamps import InstantError, format_instant, parse_instant
from connector_async.sync.records import FIELDS

from .reading import ReadingCounts

ALL_DAY: Final = "all_day"
MAPPED_FIELDS: Final = (*FIELDS, ALL_DAY)
"""The fields that a column can be mapped to: those of a row, and whether the times of a row are days."""

Preset: TypeAlias = Literal["outlook", "google"]

_TIMES: Final = ("start_time", "end_time", "modified")
_BOOLEANS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False, "": False}
_ONE_DAY: Final = timedelta(days=1)
_DIRECTIVE: Final = re.compile("%(.)", re.DOTALL)
_TIME_PART: Final = re.compile(r"%[HIMSfpzX](?:[^%]*%[HIMSfpzX])*")
_SAMPLE: Final = datetime(2024, 11, 23, 22, 47, 38, tzinfo=UTC)
"""A time whose parts all differ, and with an hour that needs AM or PM."""
IGNORE_UNKNOWN_ADVICE: Final = "ignore_unknown (--ignore-unknown) leaves it out"

_MOST_NAMES: Final = 1000
_OTHER_NAMES: Final = "(other names)"


def _as_columns(columns: Mapping[str, str | Iterable[str]]) -> dict[str, tuple[str, ...]]:
    check_type("columns", columns, Mapping)
    return {field: (names,) if isinstance(names, str) else tuple(names) for field, names in columns.items()}


def _as_formats(formats: str | Iterable[str] | None) -> tuple[str, ...]:
    return () if formats is None else (formats,) if isinstance(formats, str) else tuple(formats)


def _as_names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


def check_columns(name: str, columns: Mapping[str, tuple[str, ...]]) -> None:
    """Reject a mapping of fields to columns.

    Raises:
        ValueError: If a field does not exist, or has no column or one without a name.
        TypeError: If the name of a column is not a str.
    """
    for field, names in columns.items():
        if field not in MAPPED_FIELDS:
            raise ValueError(f"{name} must have fields of {', '.join(MAPPED_FIELDS)}")
        for column in names:
            check_type(f"{name}: the column of {field}", column, str)
        if not names or not all(names):
            raise ValueError(f"{name} must name the columns of {field}")


def check_date_format(name: str, formats: tuple[str, ...]) -> None:
    """Reject formats that `datetime.strptime` does not accept, or with which it would return another time.

    Raises:
        ValueError: If a format is invalid, lacks the day, the month or the year, has the hour of a half day without
            `%p` or a whole one with it, or has a `%Z` or a `Z`, which say nothing to `strptime`.
        TypeError: If a format is not a str.
    """
    for date_format in formats:
        check_type(name, date_format, str)
        directives = set(_DIRECTIVE.findall(date_format))
        if "Z" in _DIRECTIVE.sub("", date_format) or "Z" in directives:
            raise ValueError(
                f"{name} must have no Z and no %Z, which are ignored: %z reads Z and offsets such as +0100"
            )
        if "p" in directives and "I" not in directives:
            raise ValueError(f"{name} must have %p together with %I, or %H alone")
        if not directives.isdisjoint("dj") and directives.isdisjoint("YyGcx"):  # a year is assumed, with a warning
            raise ValueError(f"{name} must have the day, the month and the year, such as %d.%m.%Y")
        try:
            parsed = datetime.strptime(_SAMPLE.strftime(date_format), date_format)  # noqa: DTZ007 - only compared
        except ValueError:
            raise ValueError(f"{name} must be a format of datetime.strptime, such as %d.%m.%Y %H:%M") from None
        if parsed.date() != _SAMPLE.date():
            raise ValueError(f"{name} must have the day, the month and the year, such as %d.%m.%Y")
        if parsed.hour not in {0, _SAMPLE.hour}:
            raise ValueError(f"{name} must have %p together with %I, or %H alone")


def _has_offset(date_format: str) -> bool:
    return "z" in _DIRECTIVE.findall(date_format)


@attrs.frozen(kw_only=True)
class FieldMapping:
    """Which columns of a CSV file, or members of JSON objects, the fields of a record are read from.

    A field that is not mapped is read from the column of its own name.

    Raises:
        ValueError: If a field does not exist, a column has no name, a date format is invalid, or `all_day` is mapped
            without a date format.
        TypeError: If an argument has another type.
    """

    columns: Mapping[str, tuple[str, ...]] = attrs.field(
        factory=dict, converter=_as_columns, validator=validator(check_columns)
    )
    """The columns of each field; a single one may be a str. The values of several are joined with one blank, without
    those that are empty. `all_day` is a column with `true`, `yes` or `1` where the times of the row are days, the last
    one included; other rows have `false`, `no`, `0` or nothing there."""
    date_format: tuple[str, ...] = attrs.field(
        factory=tuple, converter=_as_formats, validator=validator(check_date_format)
    )
    """Formats of `datetime.strptime` in the C locale; the first that fits a time is used. A single one may be a str.
    Without any, times are RFC 3339 date-times with an offset."""
    optional: frozenset[str] = attrs.field(factory=frozenset, converter=_as_names)
    """Mapped columns that the header of a CSV file may lack."""
    derives_key: bool = attrs.field(default=False, validator=validator(check_type, bool))
    """Whether a record without a key gets one of its start and a hash of its title."""
    ignore_unknown: bool = attrs.field(default=False, validator=validator(check_type, bool))
    """Whether columns and members that no field is read from are ignored."""
    time_reader: Callable[[str, str, Any], str] | None = None
    """Reads a time where no `date_format` is given: called with `start_time` or `end_time`, the string of the file and
    the `time_zone` of the row, it returns an RFC 3339 date-time with an offset or raises a `ValueError`. `None`: the
    string is such a date-time."""

    def __attrs_post_init__(self) -> None:
        if ALL_DAY in self.columns and not self.date_format:
            raise ValueError("date_format must be given where all_day is mapped")

    @classmethod
    def preset(
        cls,
        name: Preset,
        *,
        columns: Mapping[str, str | Iterable[str]] | None = None,
        date_format: str | Iterable[str] | None = None,
    ) -> Self:
        """Return the mapping for the CSV files of Outlook or of Google Calendar.

        They have no id. So, unless the file has a column of keys, the key of a record is its start and a hash of its
        title: an appointment that is moved or renamed is another one, and replaces the one before.

        Args:
            name: `outlook` or `google`.
            columns: Columns of fields that differ from the preset, for example those of another language.
            date_format: The formats, if they differ from the preset.

        Raises:
            ValueError: If there is no such preset, `columns` or `date_format` is invalid, or `columns` has `all_day`
                for `outlook`, where it would be wrong.
        """
        if name not in _PRESETS:
            raise ValueError(f"preset must be one of {', '.join(_PRESETS)}")
        if name == "outlook" and ALL_DAY in (columns or {}):
            raise ValueError("columns must not have all_day for outlook: its days end at midnight")
        preset = _PRESETS[name]
        return cls(
            columns={**preset.columns, **_as_columns(columns or {})},
            date_format=_as_formats(date_format) or preset.date_format,
            optional=preset.optional,
            derives_key=True,
            ignore_unknown=True,
        )

    @property
    def needs_zone(self) -> bool:
        """Whether times may be local ones or days, which need a time zone."""
        return ALL_DAY in self.columns or not all(map(_has_offset, self.date_format))

    def columns_of(self, field: str) -> tuple[str, ...]:
        """Return the columns of a field; none for `all_day` if it is not mapped."""
        return self.columns.get(field, () if field == ALL_DAY else (field,))

    def required_columns(self, fields: Sequence[str]) -> list[str]:
        """Return the columns that a header must have: those of some fields, and all that are mapped."""
        needed = dict.fromkeys((*fields, *self.columns))
        if self.derives_key and "key" not in self.columns:
            needed.pop("key", None)
        names = dict.fromkeys(name for field in needed for name in self.columns_of(field))
        return [name for name in names if name not in self.optional]


def check_mapping(mapping: FieldMapping | None, assume_zone: tzinfo | None) -> None:
    """Reject a mapping to local times without their time zone.

    Raises:
        ValueError: If `assume_zone` is missing or has no UTC offset.
        TypeError: If `mapping` is not a `FieldMapping`, or `assume_zone` not a `tzinfo`.
    """
    check_type("mapping", mapping, FieldMapping, optional=True)
    if assume_zone is not None:
        check_time_zone("assume_zone", assume_zone)
    elif mapping is not None and mapping.needs_zone:
        raise ValueError("assume_zone must be given: the times of the source are local ones, date_format has no %z")


class RowMapper:
    """Makes rows of `FIELDS` from the rows of one reading of a file.

    Args:
        mapping: Where the fields are.
        assume_zone: The time zone of times without an offset. A time that occurs twice there is the first of the two,
            and one that the clocks skip has the offset before them (RFC 5545, section 3.3.5).
        ignore_unknown: Whether values that no field is read from are counted, instead of an error.
        counts: Counts what is ignored.
    """

    def __init__(
        self, mapping: FieldMapping, *, assume_zone: tzinfo | None, ignore_unknown: bool, counts: ReadingCounts
    ) -> None:
        self.mapping = mapping
        self.ignores_unknown = ignore_unknown or mapping.ignore_unknown
        self._zone = assume_zone
        self.counts: Final = counts
        """Counts what is ignored."""
        self._columns = {field: mapping.columns_of(field) for field in FIELDS}
        self._all_day = mapping.columns_of(ALL_DAY)
        used = {name for columns in self._columns.values() for name in columns}
        self.used: frozenset[str] = frozenset(used.union(self._all_day))
        """The names that fields are read from."""

    def fill(self, row: dict[str, Any], values: Mapping[str, Any]) -> None:
        """Add the fields of a row to `row`, as far as they can be read.

        Args:
            row: What is added is a row as `record_from_row` takes it.
            values: The values of a row of the file by their names there.

        Raises:
            ValueError: If a value has an unknown name and is not ignored, a time does not fit the format, or `all_day`
                is neither true nor false.
        """
        for field, columns in self._columns.items():
            if len(columns) == 1:
                if columns[0] in values:
                    row[field] = values[columns[0]]
            elif (joined := _joined(values, columns)) != "":
                row[field] = joined
        for name in values.keys() - self.used:
            self._count_unknown(name)
        if self.mapping.date_format:
            self._convert_times(row, values)
        elif self.mapping.time_reader is not None:
            _read_times(row, self.mapping.time_reader)
        if self.mapping.derives_key and not row.get("key"):
            _derive_key(row)

    def _count_unknown(self, name: str) -> None:
        if not self.ignores_unknown:
            raise ValueError(unknown_reason(name))
        ignored = self.counts.ignored
        name = name.encode("utf-8", "backslashreplace").decode()  # it may have bytes of another encoding
        # Memory stays bounded if each object has other names.
        ignored[name if name in ignored or len(ignored) < _MOST_NAMES else _OTHER_NAMES] += 1

    def _convert_times(self, row: dict[str, Any], values: Mapping[str, Any]) -> None:
        all_day = self._is_all_day(values)
        if all_day and not row.get("end_time"):
            row["end_time"] = row.get("start_time")
        for field in _TIMES:
            string = row.get(field)
            if not isinstance(string, str) or not string:
                continue
            parse = _midnight if all_day and field != "modified" else _parsed
            local = parse(field, string.strip(), self.mapping.date_format)
            row[field] = self._formatted(field, local)
            if field == "start_time" and self.mapping.derives_key and not row.get("key"):
                _derive_key(row)  # before the end, which may be invalid: then the problem has a key

    def _formatted(self, field: str, local: datetime) -> str:
        try:
            return format_instant(local if local.tzinfo else local.replace(tzinfo=self._zone))
        except InstantError as error:
            raise ValueError(f"{field}: {error}") from None

    def _is_all_day(self, values: Mapping[str, Any]) -> bool:
        value = _joined(values, self._all_day)
        value = _BOOLEANS.get(value.strip().casefold()) if isinstance(value, str) else value
        if not isinstance(value, bool):
            raise ValueError(f"{ALL_DAY} must be one of {', '.join(filter(None, _BOOLEANS))}")
        return value


def unknown_reason(name: str) -> str:
    """Return why a value cannot be used whose name no field is read from."""
    shown = name if name.isidentifier() else "a member"
    return f"{shown} is not known; {IGNORE_UNKNOWN_ADVICE}"


def row_mapper(
    mapping: FieldMapping | None, *, assume_zone: tzinfo | None = None, ignore_unknown: bool, counts: ReadingCounts
) -> RowMapper | None:
    """Return a mapper for one reading of a file; `None` if its rows are rows of `FIELDS` already."""
    if mapping is None and not ignore_unknown:
        return None
    return RowMapper(mapping or FieldMapping(), assume_zone=assume_zone, ignore_unknown=ignore_unknown, counts=counts)


def _joined(values: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """Return some values as one string, without those that are empty; a value of another type is returned alone."""
    parts = [values[name] for name in names if values.get(name) not in (None, "")]
    other = next((part for part in parts if not isinstance(part, str)), None)
    return " ".join(parts) if other is None else other


def _read_times(row: dict[str, Any], read: Callable[[str, str, Any], str]) -> None:
    for field in ("start_time", "end_time"):
        if isinstance(string := row.get(field), str) and string:
            row[field] = read(field, string, row.get("time_zone"))


def _parsed(field: str, string: str, formats: tuple[str, ...]) -> datetime:
    for date_format in formats:
        with suppress(ValueError):
            return datetime.strptime(string, date_format)  # noqa: DTZ007 - the caller adds the time zone
    raise ValueError(f"{field} fits no date_format (--date-format)")


def _midnight(field: str, string: str, formats: tuple[str, ...]) -> datetime:
    """Return where a day starts, or for the end of an appointment where its last day ends.

    The string may lack the time. Then it has the form of a format without what reads one.
    """
    day = _parsed(field, string, (*formats, *map(_without_time, formats))).date()
    if field == "end_time":
        if day == date.max:
            raise ValueError("end_time must lie within the years 1 to 9999")
        day += _ONE_DAY
    return datetime.combine(day, time())


def _without_time(date_format: str) -> str:
    """Return a format without the directives of a time, and without what stands between and beside them."""
    return _TIME_PART.sub("", date_format).strip(" ,;T")


def _derive_key(row: dict[str, Any]) -> None:
    """Add a key to a row that has a title and a valid start."""
    title, start = row.get("title"), row.get("start_time")
    if not isinstance(title, str) or not isinstance(start, str):
        return
    # The title itself is personal data, and keys are shown in reports.
    digest = hashlib.blake2b(title.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    with suppress(InstantError):
        row["key"] = f"{format_instant(parse_instant(start))}-{digest}"


_PRESETS: Final[Mapping[str, FieldMapping]] = {
    "outlook": FieldMapping(
        columns={
            "title": "Subject",
            "start_time": ("Start Date", "Start Time"),
            "end_time": ("End Date", "End Time"),
            "description": "Description",
        },
        date_format=("%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %I:%M %p"),
        optional={"Description"},
    ),
    "google": FieldMapping(
        columns={
            "title": "Subject",
            "start_time": ("Start Date", "Start Time"),
            "end_time": ("End Date", "End Time"),
            ALL_DAY: "All Day Event",
            "description": "Description",
        },
        date_format=("%m/%d/%Y %I:%M %p", "%m/%d/%Y %I:%M:%S %p"),
        optional={"Start Time", "End Date", "End Time", "All Day Event", "Description"},
    ),
}
"""Outlook's all-day events end at 12:00 AM of the day after the last one. Google Calendar's end on their last day."""
