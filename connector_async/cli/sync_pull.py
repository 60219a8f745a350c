"""The command `sync pull`: mirrors what the server has into a file."""

import csv
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import orjson
from rich.console import Console

from connector_async.bulk_calls import Outcome, Status
from connector_async.sync.exceptions import SourceError
from connector_async.sync.formats import FileFormat, file_mirror
from connector_async.sync.pull import Pull, PullOptions
from connector_async.sync.records import Calendar, calendar_of
from connector_async.sync.report import RunReport

from .connect import user_of, wire_format_of
from .exit_codes import ExitCode
from .options import TABLE, UNCONNECTED, Connection, Display
from .settings import Settings
from .sync_options import HeldState, LimitOptions, PullRules
from .sync_progress import SyncProgress
from .sync_run import follow, opened, sync_settings

_HELD: Final = HeldState()
_RULES: Final = PullRules()
_ENDING: Final = LimitOptions()
_FIELDS: Final = frozenset({"tenant_id", "ad_id", "domain_id"})


async def pull(
    *,
    to: Path,
    to_format: FileFormat | None = None,
    calendars: Path | None = None,
    rules: PullRules = _RULES,
    ending: LimitOptions = _ENDING,
    held: HeldState = _HELD,
    connection: Connection = UNCONNECTED,
    display: Display = TABLE,
) -> ExitCode:
    """Write all that the server has into a file, which is replaced when every calendar could be looked at.

    The state must be one of pulls alone.

    Parameters
    ----------
    to
        The file.
    to_format
        What it is; by its suffix, unless told.
    calendars
        Whose appointments: CSV with a heading, or JSON Lines, with tenant_id, and with ad_id and domain_id for the
        reference. Without it, those of --tenant-id and the user.
    """
    settings = sync_settings(connection, held)
    plan = PullOptions(
        calendars=_one(settings) if calendars is None else read_calendars(calendars, settings),
        scope=rules.scope(wire_format_of(settings), looks=True),
        window=rules.window,
        max_delete=rules.limit(),
    )
    mirror = file_mirror(to, format=to_format)
    budget = ending.budget()
    async with opened(settings, wait=held.wait) as it:
        work = _mirror(Pull(it.state, it.services, plan, mirror=mirror, budget=budget))
        return await follow(work, budget, it.state, ending, display)


async def _mirror(pulling: Pull) -> RunReport:
    progress, count = SyncProgress(Console(stderr=True), "changes"), 0
    progress.begin(None)
    try:
        async with aclosing(pulling.changes()) as changes:
            async for _ in changes:
                progress.advance(Outcome(index=count, input=None, status=Status.DONE))
                count += 1
    finally:
        progress.end()
    return pulling.report


def read_calendars(path: Path, settings: Settings) -> list[Calendar]:
    """Return the calendars that a file names.

    Raises:
        SourceError: It cannot be read.
        ValueError: A line names none; the message has its number.
    """
    calendars = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            rows = _csv_rows(lines) if path.suffix.lower() == ".csv" else _json_rows(lines)
            for number, row in rows:
                try:
                    calendars.append(_calendar(row, settings))
                except (ValueError, TypeError) as error:
                    raise ValueError(f"{path}:{number}: {error}") from None
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SourceError(f"{path}: not UTF-8") from None
    return calendars


def _csv_rows(lines: Any) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(lines, strict=True)
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error:  # the quotes are wrong, or a field is too long
        yield reader.line_num + 1, None


def _json_rows(lines: Any) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, orjson.loads(line)
            except orjson.JSONDecodeError:
                yield number, None


def _calendar(row: Any, settings: Settings) -> Calendar:
    if not isinstance(row, dict):
        raise TypeError("must be a JSON object, or a row of CSV that can be read")
    if not row.keys() <= _FIELDS:
        raise ValueError("known are tenant_id, ad_id and domain_id alone")
    return _fitting(calendar_of(row, tenant_id=settings.get("tenant_id")), settings)


def _one(settings: Settings) -> list[Calendar]:
    user = user_of(settings)
    tenant_id = settings.required("tenant_id")
    calendar = Calendar(tenant_id) if user is None else Calendar(tenant_id, user.domain_id, user.ad_id)
    return [_fitting(calendar, settings)]


def _fitting(calendar: Calendar, settings: Settings) -> Calendar:
    carries_user = wire_format_of(settings).carries_user
    if bool(calendar.ad_id) is not carries_user:
        rule = "be given with the reference" if carries_user else "be missing with the guide"
        raise ValueError(f"ad_id and domain_id must {rule}")
    return calendar
