"""The commands for appointments: get, preview, create, update and delete."""

from collections import Counter
from collections.abc import AsyncIterable
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter

from connector_async._timestamps import zone_named
from connector_async.bulk_calls import Outcome, Status
from connector_async.models import Appointment, AppointmentUpdate, NewAppointment

from .bulk import create_drafts, print_outcomes
from .config_sources import read_settings
from .confirmation import confirm
from .connect import own_calendar, selected_format, selected_user, service_of
from .draft_reader import DraftTimes, is_json_lines, read_lines_as_drafts, read_records_as_drafts
from .exit_codes import ExitCode
from .id_reader import is_list, read_ids
from .late_progress import LateProgress
from .line_reader import count_lines
from .messages import print_message
from .options import (
    DEFAULT_CONNECTION,
    DEFAULT_DISPLAY,
    ConnectionOptions,
    DisplayOptions,
    check_window,
)
from .output import Printer
from .settings import Settings, assumed_zone
from .source_options import DEFAULT_MAPPING, MappingOptions, line_mapper
from .standard_input import opened_source
from .times import parse_time

_COLUMNS: Final = ("appointment_id", "title", "start_time", "end_time", "description", "description_type", "time_zone")

_Id = Annotated[str, Parameter(name="ID", help="The id of an appointment.")]
_FirstId = Annotated[
    str,
    Parameter(
        name="ID",
        allow_leading_hyphen=True,
        help="The id of an appointment; - reads ids from the standard input, one a line.",
    ),
]
_MoreIds = Annotated[str, Parameter(name="IDS", allow_leading_hyphen=True, help="The ids of more appointments.")]
_Title = Annotated[str | None, Parameter(help="The title.")]
_StartTime = Annotated[
    str | None,
    Parameter(
        name=("--start-time", "--start"),
        allow_leading_hyphen=True,
        help="The start: 2024-01-15T10:00Z; with --time-zone or --assume-zone also 2024-01-15 10:00 and 2024-01-15; "
        "now, today, tomorrow; +7d or -2h from now.",
    ),
]
_EndTime = Annotated[
    str | None,
    Parameter(name=("--end-time", "--end"), allow_leading_hyphen=True, help="The end, like the start."),
]
_Description = Annotated[str | None, Parameter(help="The description.")]
_DescriptionType = Annotated[
    Literal["Text", "Html"] | None,
    Parameter(show_default="Text", help="The type of the description; only for reference."),
]
_TimeZone = Annotated[
    str | None,
    Parameter(
        help="The IANA or Windows name of the time zone of times without a UTC offset. With reference, the appointment "
        "gets it."
    ),
]
_DryRun = Annotated[bool, Parameter(negative="", help="Check everything, print what would be sent, and send nothing.")]


async def get(
    appointment_id: _FirstId,
    /,
    *more: _MoreIds,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Print appointments by id."""
    printer = Printer(display, _COLUMNS)
    code = ExitCode.DONE
    settings = read_settings(connection.as_settings())
    ids = await read_ids("get", [appointment_id, *more])
    async with service_of(settings) as appointments:
        if is_list(appointment_id, more):
            progress = LateProgress("get", settings, display)
            calls = appointments.get_many(ids, ordered=True)
            code = await print_outcomes(
                calls, printer, lambda _, appointment: appointment.to_dict(), progress, len(ids)
            )
        else:
            printer.add((await appointments.get(ids[0])).to_dict())
    printer.end()
    return code


async def preview(
    *,
    start: Annotated[
        str | None,
        Parameter(
            name=("--start", "--start-time"),
            allow_leading_hyphen=True,
            help="Only appointments that end after this time: 2024-01-15T10:00Z; with --assume-zone also 2024-01-15 "
            "10:00 and 2024-01-15; now, today, tomorrow; +7d or -2h from now.",
        ),
    ] = None,
    end: Annotated[
        str | None,
        Parameter(
            name=("--end", "--end-time"),
            allow_leading_hyphen=True,
            help="Only appointments that start before this time.",
        ),
    ] = None,
    window: Annotated[
        timedelta | None,
        Parameter(help="Request the range in parts of this length, such as 7d or 12h; only for reference."),
    ] = None,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> None:
    """Print the appointments of a time range; without a range, all appointments.

    With the reference format, --start and --end are required.
    """
    settings = read_settings(connection.as_settings())
    zone = assumed_zone(settings)
    range_start = None if start is None else parse_time("start", start, zone)
    range_end = None if end is None else parse_time("end", end, zone)
    check_window(window, selected_format(settings))
    printer = Printer(display, _COLUMNS)
    async with service_of(settings) as appointments:
        found = appointments.preview(range_start, range_end, window=window)
        await _print_all(found, printer, LateProgress("preview", settings, display))
    printer.end()


async def _print_all(found: AsyncIterable[Appointment], printer: Printer, progress: LateProgress) -> None:
    """Print appointments as they come, and how many there were until now."""
    progress.begin(None)
    count = 0
    try:
        async for appointment in found:
            printer.add(appointment.to_dict())
            progress.advance(Outcome(index=count, input=None, status=Status.DONE))
            count += 1
            if printer.is_full:
                break
    finally:
        progress.end()


async def create(
    *,
    title: _Title = None,
    start_time: _StartTime = None,
    end_time: _EndTime = None,
    description: _Description = None,
    description_type: _DescriptionType = None,
    time_zone: _TimeZone = None,
    source: Annotated[
        str | None,
        Parameter(
            name="--from",
            allow_leading_hyphen=True,
            help="A file whose name ends in .csv or .ics, or any other of JSON Lines; - is the standard input. Each "
            "record has title, start_time, end_time, and optionally description, description_type and time_zone; in "
            "JSON Lines also extra. Keys are not needed.",
        ),
    ] = None,
    source_options: MappingOptions = DEFAULT_MAPPING,
    resume: Annotated[
        Path | None,
        Parameter(
            name="--resume",
            help="A file that remembers which records of --from are done. The same command with the same file leaves "
            "them out, and those that may have been created; it repeats those that failed. It has no titles.",
        ),
    ] = None,
    dry_run: _DryRun = False,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Create an appointment, or one for each record of a file, and print what the server returned."""
    given = _given(
        title=title,
        start_time=start_time,
        end_time=end_time,
        description=description,
        description_type=description_type,
        time_zone=time_zone,
    )
    settings = read_settings(connection.as_settings() | source_options.as_settings())
    if source is not None:
        if given:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise ValueError(f"--from must not be given together with {options}")
        return await _create_from(source, source_options, settings, display, resume=resume, dry_run=dry_run)
    if resume is not None:
        raise ValueError("--resume must be given with --from")
    if any(value is not None for value in (*source_options.as_settings().values(), source_options.source_format)):
        raise ValueError("--from must be given with the options of a source")
    for name in ("title", "start_time", "end_time"):
        if name not in given:
            raise ValueError(f"{name} is missing")
    new = NewAppointment(**_fields(given, settings))
    if dry_run:
        return _print_dry_run(new.to_dict(), settings, display)
    printer = Printer(display, _COLUMNS, done="created")
    async with service_of(settings) as appointments:
        printer.add((await appointments.create(new)).to_dict())
    printer.end()
    return ExitCode.DONE


async def _create_from(
    source: str,
    options: MappingOptions,
    settings: Settings,
    display: DisplayOptions,
    *,
    resume: Path | None,
    dry_run: bool,
) -> ExitCode:
    """Create the appointments of a file, or check them."""
    times, calendar = DraftTimes(assumed_zone(settings)), own_calendar(settings)
    if is_json_lines(source, options):
        mapper = line_mapper(settings)
        code = await create_drafts(
            read_lines_as_drafts(source, times, calendar, mapper),
            settings,
            display,
            resume=resume,
            dry_run=dry_run,
            total=await count_lines(source),
        )
        ignored = Counter[str]() if mapper is None else mapper.counts.ignored
    else:
        async with opened_source(Path(source), options, settings, time_reader=times.read) as (records, opened):
            drafts = read_records_as_drafts(records.records(), calendar)
            code = await create_drafts(drafts, settings, display, resume=resume, dry_run=dry_run)
            ignored = opened.counts.ignored
    if ignored:
        print_message(f"ignored: {', '.join(f'{name} ({count})' for name, count in ignored.most_common())}")
    return _end_dry_run(settings, code) if dry_run else code


async def update(
    appointment_id: _Id,
    /,
    *,
    title: _Title = None,
    start_time: _StartTime = None,
    end_time: _EndTime = None,
    description: _Description = None,
    clear_description: Annotated[bool, Parameter(negative="", help="Remove the description.")] = False,
    description_type: _DescriptionType = None,
    time_zone: _TimeZone = None,
    read_first: Annotated[
        bool,
        Parameter(negative="", help="Get the appointment first, for servers that replace the whole appointment."),
    ] = False,
    dry_run: _DryRun = False,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Change the given fields of an appointment, and print what the server returned."""
    if clear_description and description is not None:
        raise ValueError("--clear-description must not be given together with --description")
    given = _given(
        title=title,
        start_time=start_time,
        end_time=end_time,
        description=description,
        description_type=description_type,
        time_zone=time_zone,
    )
    settings = read_settings(connection.as_settings())
    changes = _fields(given, settings)
    if clear_description:
        changes["description"] = None
    change = AppointmentUpdate(appointment_id=appointment_id, **changes)  # checked also for a dry run
    if dry_run:
        return _print_dry_run(change.to_dict(), settings, display)
    printer = Printer(display, _COLUMNS, done="updated")
    async with service_of(settings) as appointments:
        changed = await appointments.update(appointment_id, read_first=read_first, **changes)
    # The response may be empty.
    printer.add({"appointment_id": appointment_id} if changed is None else changed.to_dict())
    printer.end()
    return ExitCode.DONE


async def delete(
    appointment_id: _FirstId,
    /,
    *more: _MoreIds,
    yes: Annotated[
        bool, Parameter(negative="", help="Delete several appointments without asking; needed without a terminal.")
    ] = False,
    dry_run: _DryRun = False,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Delete appointments by id."""
    settings = read_settings(connection.as_settings())
    printer = Printer(display, ("appointment_id", "deleted"), done="deleted")
    ids = await read_ids("delete", [appointment_id, *more])
    if dry_run:
        with printer:
            for name in ids:
                printer.add({"appointment_id": name, "deleted": False})
        return _end_dry_run(settings)
    if len(ids) > 1 and not yes:
        confirm(f"delete {len(ids)} appointments")
    code = ExitCode.DONE
    async with service_of(settings) as appointments:
        if is_list(appointment_id, more):
            calls = appointments.delete_many(ids, ordered=True)
            progress = LateProgress("delete", settings, display)
            code = await print_outcomes(calls, printer, lambda deleted_id, _: _deletion(deleted_id), progress, len(ids))
        else:
            await appointments.delete(ids[0])
            printer.add(_deletion(ids[0]))
    printer.end()
    return code


def _deletion(appointment_id: str) -> dict[str, Any]:
    return {"appointment_id": appointment_id, "deleted": True}


def _print_dry_run(record: dict[str, Any], settings: Settings, display: DisplayOptions) -> ExitCode:
    with Printer(display, _COLUMNS) as printer:
        printer.add(record)
    return _end_dry_run(settings)


def _end_dry_run(settings: Settings, code: ExitCode = ExitCode.DONE) -> ExitCode:
    """Check the settings that the command would need, and say that nothing was sent."""
    settings.required("base_url")
    settings.required("tenant_id")
    selected_user(settings)
    print_message("dry run: nothing was sent")
    return code


def _given(**options: str | None) -> dict[str, str]:
    """Return the fields of an appointment that options set."""
    return {name: value for name, value in options.items() if value is not None}


def _fields(given: dict[str, str], settings: Settings) -> dict[str, Any]:
    """Return the fields of an appointment with times as date-times.

    Times without a UTC offset are those of `--time-zone`, or else of the setting `assume_zone`. The guide's format has
    no time zone of an appointment: there the option is used for the times alone.

    Raises:
        ValueError: If a time or the time zone is invalid, or a time has no UTC offset and there is no time zone.
    """
    name = given.get("time_zone")
    zone = assumed_zone(settings) if name is None else zone_named(name)
    if name is not None and zone is None:
        raise ValueError(f"--time-zone: {name!r} must be the IANA or Windows name of a time zone")
    fields: dict[str, Any] = dict(given)
    for option in ("start_time", "end_time"):
        if option in given:
            fields[option] = parse_time(option.replace("_", "-"), given[option], zone, zone_option="time-zone")
    if not selected_format(settings).carries_user:
        fields.pop("time_zone", None)
    return fields
