"""The commands on appointments: get, preview, create, update and delete."""

from datetime import timedelta
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter

from .bulk import create_from, print_outcomes
from .connect import opened_service
from .exit_codes import ExitCode
from .options import TABLE, UNCONNECTED, Connection, Display
from .output import Printer, record_of
from .parsing import draft_from_fields, instant

_COLUMNS: Final = ("appointment_id", "title", "start_time", "end_time", "description", "description_type", "time_zone")

_Id = Annotated[str, Parameter(name="ID", help="The appointment.")]
_Ids = Annotated[str, Parameter(name="IDS", help="Further ones.")]
_DescriptionType = Literal["Text", "Html"]
_Instant = Annotated[str | None, Parameter(help="As 2024-01-15T10:00:00Z, or with another offset.")]


async def get(
    appointment_id: _Id, /, *more: _Ids, connection: Connection = UNCONNECTED, display: Display = TABLE
) -> ExitCode:
    """Print appointments by their ids."""
    printer = Printer(display, _COLUMNS)
    code = ExitCode.DONE
    async with opened_service(connection) as appointments:
        if more:
            many = appointments.get_many([appointment_id, *more], ordered=True)
            code = await print_outcomes(many, printer, lambda _, appointment: record_of(appointment))
        else:
            printer.add(record_of(await appointments.get(appointment_id)))
    printer.end()
    return code


async def preview(
    *,
    start: str | None = None,
    end: str | None = None,
    window: timedelta | None = None,
    connection: Connection = UNCONNECTED,
    display: Display = TABLE,
) -> ExitCode:
    """Print the appointments that overlap a time, all of them without one.

    Parameters
    ----------
    start
        As 2024-01-15T10:00:00Z, or with another offset; the reference needs both ends.
    end
        The same; what begins at it is not shown.
    window
        Reference: how long a time is asked for at once, as 7d or 12h.
    """
    begins, ends = (None if text is None else instant(name, text) for name, text in (("start", start), ("end", end)))
    printer = Printer(display, _COLUMNS)
    async with opened_service(connection) as appointments:
        async for appointment in appointments.preview(begins, ends, window=window):
            printer.add(record_of(appointment))
    printer.end()
    return ExitCode.DONE


async def create(
    *,
    title: str | None = None,
    start_time: _Instant = None,
    end_time: _Instant = None,
    description: str | None = None,
    description_type: _DescriptionType | None = None,
    time_zone: str | None = None,
    source: Annotated[str | None, Parameter(name="--from", allow_leading_hyphen=True)] = None,
    connection: Connection = UNCONNECTED,
    display: Display = TABLE,
) -> ExitCode:
    """Create an appointment, or many from a file, and print what the server made of each.

    Parameters
    ----------
    title
        What it is about.
    description
        More about it.
    description_type
        Reference: what the description is; Text.
    time_zone
        Reference: the IANA or Windows name of the zone that the times are meant in.
    source
        JSON Lines, one appointment each, with the fields title, start_time, end_time, description, description_type,
        time_zone and extra; - is the standard input.
    """
    fields = _given(
        title=title,
        start_time=start_time,
        end_time=end_time,
        description=description,
        description_type=description_type,
        time_zone=time_zone,
    )
    if source is not None:
        if fields:
            raise ValueError(f"--from must not be given beside {', '.join(map(_flag, fields))}")
        async with opened_service(connection) as appointments:
            return await create_from(source, appointments, display)
    draft = draft_from_fields(fields)
    printer = Printer(display, _COLUMNS)
    async with opened_service(connection) as appointments:
        printer.add(record_of(await appointments.create(draft)))
    printer.end()
    return ExitCode.DONE


async def update(
    appointment_id: _Id,
    /,
    *,
    title: str | None = None,
    start_time: _Instant = None,
    end_time: _Instant = None,
    description: str | None = None,
    clear_description: Annotated[bool, Parameter(negative="")] = False,
    description_type: _DescriptionType | None = None,
    time_zone: str | None = None,
    read_first: Annotated[bool, Parameter(negative="")] = False,
    connection: Connection = UNCONNECTED,
    display: Display = TABLE,
) -> ExitCode:
    """Change the given fields of an appointment, and print it as the server then has it.

    Parameters
    ----------
    title
        What it is about.
    description
        More about it.
    clear_description
        Take the description away.
    description_type
        Reference: what the description is; Text.
    time_zone
        Reference: the IANA or Windows name of the zone that the times are meant in.
    read_first
        Send along what it has beside the given fields, for servers that replace the whole.
    """
    if clear_description and description is not None:
        raise ValueError("--clear-description must not be given beside --description")
    changes = _given(title=title, description=description, description_type=description_type, time_zone=time_zone)
    times = _given(start_time=start_time, end_time=end_time)
    changes |= {name: instant(name, text) for name, text in times.items()}
    changes |= {"description": None} if clear_description else {}
    printer = Printer(display, _COLUMNS)
    async with opened_service(connection) as appointments:
        changed = await appointments.update(appointment_id, read_first=read_first, **changes)
    # Its answer may hold nothing: then its id is all that is known.
    printer.add({"appointment_id": appointment_id} if changed is None else record_of(changed))
    printer.end()
    return ExitCode.DONE


async def delete(
    appointment_id: _Id, /, *more: _Ids, connection: Connection = UNCONNECTED, display: Display = TABLE
) -> ExitCode:
    """Delete appointments by their ids."""
    printer = Printer(display, ("appointment_id", "deleted"))
    code = ExitCode.DONE
    async with opened_service(connection) as appointments:
        if more:
            many = appointments.delete_many([appointment_id, *more], ordered=True)
            code = await print_outcomes(many, printer, lambda deleted, _: _deleted(deleted))
        else:
            await appointments.delete(appointment_id)
            printer.add(_deleted(appointment_id))
    printer.end()
    return code


def _deleted(appointment_id: str) -> dict[str, Any]:
    return {"appointment_id": appointment_id, "deleted": True}


def _given(**fields: str | None) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
