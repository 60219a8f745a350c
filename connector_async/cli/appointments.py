"""The commands for appointments: get, preview, create, update and delete."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter

from connector_async.models import NewAppointment

from .bulk import create_from, create_records, is_plain_json_lines, print_outcomes
from .config_sources import read_settings
from .connect import open_service, service_of
from .exit_codes import ExitCode
from .options import (
    DEFAULT_CONNECTION,
    DEFAULT_DISPLAY,
    ConnectionOptions,
    DisplayOptions,
    check_window,
    parse_time,
)
from .output import Printer
from .source_options import DEFAULT_MAPPING, MappingOptions

_COLUMNS: Final = ("appointment_id", "title", "start_time", "end_time", "description", "description_type", "time_zone")

_Id = Annotated[str, Parameter(name="ID", help="The id of an appointment.")]
_MoreIds = Annotated[str, Parameter(name="IDS", help="The ids of more appointments.")]
_Title = Annotated[str | None, Parameter(help="The title.")]
_StartTime = Annotated[str | None, Parameter(help="The start, with a UTC offset: 2024-01-15T10:00:00Z.")]
_EndTime = Annotated[str | None, Parameter(help="The end, with a UTC offset: 2024-01-15T11:00:00Z.")]
_Description = Annotated[str | None, Parameter(help="The description.")]
_DescriptionType = Annotated[
    Literal["Text", "Html"] | None,
    Parameter(help="The type of the description; only for reference, where the default is Text."),
]
_TimeZone = Annotated[
    str | None, Parameter(help="The IANA or Windows name of the appointment's time zone; only for reference.")
]


async def get(
    appointment_id: _Id,
    /,
    *more: _MoreIds,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Print appointments by id."""
    printer = Printer(display, _COLUMNS)
    code = ExitCode.DONE
    async with open_service(connection) as appointments:
        if more:
            calls = appointments.get_many([appointment_id, *more], ordered=True)
            code = await print_outcomes(calls, printer, lambda _, appointment: appointment.to_dict())
        else:
            printer.add((await appointments.get(appointment_id)).to_dict())
    printer.end()
    return code


async def preview(
    *,
    start: Annotated[
        str | None,
        Parameter(help="Only appointments that end after this time, such as 2024-01-15T10:00:00Z."),
    ] = None,
    end: Annotated[str | None, Parameter(help="Only appointments that start before this time.")] = None,
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
    range_start = None if start is None else parse_time("start", start)
    range_end = None if end is None else parse_time("end", end)
    printer = Printer(display, _COLUMNS)
    async with open_service(connection) as appointments:
        check_window(window, appointments.session.wire_format)
        async for appointment in appointments.preview(range_start, range_end, window=window):
            printer.add(appointment.to_dict())
            if printer.is_full:
                break
    printer.end()


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
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Create an appointment, or one for each record of a file, and print what the server returned."""
    fields = _given_fields(
        title=title,
        start_time=start_time,
        end_time=end_time,
        description=description,
        description_type=description_type,
        time_zone=time_zone,
    )
    if source is not None:
        if fields:
            options = ", ".join(f"--{name.replace('_', '-')}" for name in fields)
            raise ValueError(f"--from must not be given together with {options}")
        settings = read_settings(connection.as_settings() | source_options.as_settings())
        if is_plain_json_lines(source, source_options, settings):
            async with service_of(settings) as appointments:
                return await create_from(source, appointments, display)
        return await create_records(Path(source), source_options, settings, display)
    if any(value is not None for value in (*source_options.as_settings().values(), source_options.source_format)):
        raise ValueError("--from must be given with the options of a source")
    for name in ("title", "start_time", "end_time"):
        if name not in fields:
            raise ValueError(f"{name} is missing")
    new = NewAppointment(**fields)
    printer = Printer(display, _COLUMNS, done="created")
    async with open_service(connection) as appointments:
        printer.add((await appointments.create(new)).to_dict())
    printer.end()
    return ExitCode.DONE


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
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> None:
    """Change the given fields of an appointment, and print what the server returned."""
    if clear_description and description is not None:
        raise ValueError("--clear-description must not be given together with --description")
    changes = _given_fields(
        title=title,
        start_time=start_time,
        end_time=end_time,
        description=description,
        description_type=description_type,
        time_zone=time_zone,
    )
    if clear_description:
        changes["description"] = None
    printer = Printer(display, _COLUMNS, done="updated")
    async with open_service(connection) as appointments:
        changed = await appointments.update(appointment_id, read_first=read_first, **changes)
    # The response may be empty.
    printer.add({"appointment_id": appointment_id} if changed is None else changed.to_dict())
    printer.end()


async def delete(
    appointment_id: _Id,
    /,
    *more: _MoreIds,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
    display: DisplayOptions = DEFAULT_DISPLAY,
) -> ExitCode:
    """Delete appointments by id."""
    printer = Printer(display, ("appointment_id", "deleted"), done="deleted")
    code = ExitCode.DONE
    async with open_service(connection) as appointments:
        if more:
            calls = appointments.delete_many([appointment_id, *more], ordered=True)
            code = await print_outcomes(calls, printer, lambda deleted_id, _: _deletion(deleted_id))
        else:
            await appointments.delete(appointment_id)
            printer.add(_deletion(appointment_id))
    printer.end()
    return code


def _deletion(appointment_id: str) -> dict[str, Any]:
    return {"appointment_id": appointment_id, "deleted": True}


def _given_fields(**options: str | None) -> dict[str, Any]:
    """Return the fields of an appointment that the options set, with times as date-times."""
    return {
        name: parse_time(name, value) if name in {"start_time", "end_time"} else value
        for name, value in options.items()
        if value is not None
    }
