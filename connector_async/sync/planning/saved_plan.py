"""A plan as a file: JSON Lines, a head, one operation a line, and the number of operations as the last line.

It is applied only with the state and to the server that it was made with, while the state is as it was for the tenants
of its operations, and only as a whole: a file without the last line was cut off.

The file holds the records that are to be sent: personal data.
"""

import itertools
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import attrs
import orjson

from connector_async._checks import check_text, check_type
from connector_async._files import atomic_replace, open_regular
from connector_async.sync.exceptions import SourceError, StalePlanError, TargetMismatchError
from connector_async.sync.records import ABSENT, Calendar, LastSynced, content_hash, record_from_row
from connector_async.sync.state import State
from connector_async.sync.state.db.engine import Serials
from connector_async.sync.state.diff import TenantProgress
from connector_async.sync.state.identity import Identity, Target, read_identity
from connector_async.sync.state.reader import StateReader
from connector_async.wire import WireFormat

from .operations import Kind, Operation
from .options import ConflictRules, Mode, SyncOptions
from .planner import Remaining
from .snapshot import CalendarReader
from .three_way import Policy

_FORMAT: Final = 3
_END: Final = b'{"operations":'
"""How the last line starts, and no line of an operation."""


@attrs.frozen(kw_only=True)
class _Origin:
    """What a plan was made with."""

    identity: Identity
    state: str
    """The place of the state."""
    serial: int
    """How often the state had changed: the sum of all counters."""
    serials: Serials | None
    """How often it had changed for each tenant. `None`: the file is of a version that counted only the sum."""

    def is_current(self, serials: Serials, tenants: Iterable[str]) -> bool:
        """Return whether the state has not changed for some tenants since."""
        if serials.total() == self.serial:  # also after an import, which keeps only the sum
            return True
        if self.serials is None or self.serials.state != serials.state:
            return False
        return all(self.serials.tenants.get(each, 0) == serials.tenants.get(each, 0) for each in tenants)


@attrs.define
class _Section:
    """The lines of one calendar's operations in the file."""

    offset: int
    """The first byte of the first line."""
    lines: int = 0


class SavedPlan:
    """A plan in a file. Open one with `SavedPlan.open`."""

    def __init__(self, path: Path, origin: _Origin, options: SyncOptions, sections: dict[Calendar, _Section]) -> None:
        self._path = path
        self._origin = origin
        self.options = options
        """The mode, and the policy where an appointment does not exist any more."""
        self._sections = sections

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Return the plan in a file. Its operations are checked now and read again when they are applied.

        Raises:
            SourceError: If the file cannot be read, is not a plan, has a line that is not an operation, or was cut off.
        """
        path = Path(path)
        try:
            with open_regular(path) as lines:
                head = orjson.loads(lines.readline())
                if head["connector_async_plan"] != _FORMAT:
                    raise ValueError("another version")
                origin = _origin(head)
                options = SyncOptions(mode=Mode(head["mode"]), rules=ConflictRules(policy=Policy(head["policy"])))
                if options.mode is Mode.TWO_WAY:
                    raise ValueError("such a plan is never saved")
                sections = _sections(path, lines, lines.tell())
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise SourceError(f"{path}: not a plan of this version") from None
        return cls(path, origin, options, sections)

    @property
    def state(self) -> str:
        """The place of the state that the plan was made with."""
        return self._origin.state

    def check_state(self, identity: Identity, place: object) -> None:
        """Reject a state that the plan was not made with.

        Args:
            identity: The state.
            place: Where it is.

        Raises:
            StalePlanError: If it is another state; the message names both.
        """
        theirs, ours = self._origin.identity.state_id, identity.state_id
        if theirs != ours:
            raise StalePlanError(
                f"{self._path}: this plan was made with the state {theirs} in {self.state}, "
                f"not with the state {ours} in {place}"
            )

    def check_target(self, target: Target) -> None:
        """Reject a server that the plan was not made for.

        Raises:
            TargetMismatchError: If it is another server; the message names both.
        """
        if self._origin.identity.target not in (None, target):
            raise TargetMismatchError(
                f"{self._path}: this plan was made for {self._origin.identity.target}, not {target}"
            )

    def check(self, serials: Serials, wire_format: WireFormat) -> None:
        """Reject the plan if it cannot be applied now.

        Raises:
            StalePlanError: If the state has changed for one of its tenants since the plan was made.
            SourceError: If the plan names users and the wire format carries none, or the other way round.
        """
        if not self._origin.is_current(serials, self.tenants()):
            raise StalePlanError(f"{self._path}: the state has changed since this plan was made; make a new one")
        try:
            for calendar in self._sections:
                calendar.check(wire_format)
        except ValueError as error:
            raise SourceError(f"{self._path}: a plan for another wire format: {error}") from None

    def calendars(self) -> list[Calendar]:
        """Return the calendars that the plan has operations for."""
        return list(self._sections)

    def tenants(self) -> list[str]:
        """Return the tenants that the plan has operations for."""
        return list(dict.fromkeys(calendar.tenant_id for calendar in self._sections))

    def planner(self, tenant_id: str, reader: StateReader, run_id: str) -> "SavedPlanner":
        """Return the planner of one tenant."""
        sections = {
            calendar: section for calendar, section in self._sections.items() if calendar.tenant_id == tenant_id
        }
        return SavedPlanner(self._path, sections, reader, run_id)


class SavedPlanner:
    """A `Planner` that reads one tenant's operations from a saved plan, without those that the run has completed."""

    def __init__(self, path: Path, sections: dict[Calendar, _Section], reader: StateReader, run_id: str) -> None:
        self._path = path
        self._sections = sections
        self._state_reader = reader
        self._run_id = run_id

    async def calendars(self) -> Sequence[Calendar]:
        """Return the calendars that the plan has operations for."""
        return list(self._sections)

    async def batches(
        self,
        reader: CalendarReader,  # noqa: ARG002 - the protocol's
        calendar: Calendar,
        size: Callable[[], int],
    ) -> AsyncGenerator[list[Operation], None]:
        """Yield the operations of a calendar that are left."""
        operations = iter(self._read(calendar))
        while batch := list(itertools.islice(operations, size())):
            yield await self._left(calendar, batch)

    async def remaining(self, calendar: Calendar, keys: Collection[str]) -> Remaining:
        """Return the operations of some keys that are left, as they were planned."""
        operations = [operation for operation in self._read(calendar) if operation.key in keys]
        return Remaining(operations=await self._left(calendar, operations), others=())

    async def progress(self) -> TenantProgress:
        """Return how far the operations are. A plan has none for keys that were given up before it was made."""
        to_do = records = in_sync = 0
        for calendar in self._sections:
            local = {operation.key: operation.local for operation in self._read(calendar)}
            settled = await self._state_reader.processed_by(self._run_id, calendar, list(local))
            keys = [key for key in local if local[key] != ABSENT]
            to_do += len(local.keys() - settled)
            records += len(keys)
            in_sync += sum(settled.get(key, False) for key in keys)
        return TenantProgress(to_do=to_do, skipped=0, records=records, in_sync=in_sync)

    async def _left(self, calendar: Calendar, operations: Sequence[Operation]) -> list[Operation]:
        keys = [operation.key for operation in operations]
        settled = await self._state_reader.processed_by(self._run_id, calendar, keys)
        return [operation for operation in operations if operation.key not in settled]

    def _read(self, calendar: Calendar) -> list[Operation]:
        section = self._sections[calendar]
        with open_regular(self._path) as lines:
            lines.seek(section.offset)
            return [_operation(orjson.loads(lines.readline())) for _ in range(section.lines)]


async def save_plan(
    operations: AsyncIterable[Operation], path: Path | str, *, state: State, options: SyncOptions
) -> int:
    """Write a plan to a file that only its owner may read, and return the number of its operations.

    Args:
        operations: The operations, in the order of their tenants and calendars.
        path: The file; replaced if it exists.
        state: The state that the plan is made with.
        options: The options that the plan was made with.

    Raises:
        ValueError: If the plan is two-way. What it writes back to the source is not saved, and would be taken for
            deleted.
        SourceError: If the file cannot be written.
        ConnectorError: If the planning raised one; the file is as it was.
        StateError: If the state cannot be read; the file is as it was.
    """
    if options.mode is Mode.TWO_WAY:
        raise ValueError("a two-way plan cannot be saved: run it instead")
    path, count = Path(path), 0
    remaining = aiter(operations)
    # The planning finds out to which server a new state belongs, and so comes before the head.
    operation = await anext(remaining, None)
    head = await _head(state, options)
    try:
        with atomic_replace(path) as partial, partial.open("wb") as lines:
            lines.write(orjson.dumps(head) + b"\n")
            while operation is not None:
                lines.write(_line(operation))
                count += 1
                operation = await anext(remaining, None)
            lines.write(_end_line(count))
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from None
    return count


async def _head(state: State, options: SyncOptions) -> dict[str, Any]:
    """Return the first line of a plan, as a JSON object."""
    identity, serials = await read_identity(state), await state.serials()
    return {
        "connector_async_plan": _FORMAT,
        "state_id": identity.state_id,
        "state": str(state.location),
        "base_url": None if identity.target is None else identity.target.base_url,
        "wire_format": None if identity.target is None else identity.target.wire_format,
        "serial": serials.total(),
        "state_serial": serials.state,
        "tenant_serials": serials.tenants,
        "mode": options.mode.value,
        "policy": options.rules.policy.value,
    }


def _origin(head: Mapping[str, Any]) -> _Origin:
    """Return what the plan of a head was made with.

    Raises:
        TypeError: If a value has another type.
        LookupError: If a value is missing.
    """
    for name, kind in (("state_id", str), ("state", str), ("serial", int)):
        check_type(name, head[name], kind)
    base_url, wire_format = head["base_url"], head["wire_format"]
    target = None
    if base_url is not None:
        check_type("base_url", base_url, str)
        check_type("wire_format", wire_format, str)
        target = Target(base_url, wire_format)
    serials = None
    if "tenant_serials" in head:
        check_type("state_serial", head["state_serial"], int)
        check_type("tenant_serials", head["tenant_serials"], dict)
        for number in head["tenant_serials"].values():
            check_type("tenant_serials", number, int)
        serials = Serials(head["state_serial"], head["tenant_serials"])
    return _Origin(
        identity=Identity(head["state_id"], target), state=head["state"], serial=head["serial"], serials=serials
    )


def _sections(path: Path, lines: Iterable[bytes], offset: int) -> dict[Calendar, _Section]:
    sections: dict[Calendar, _Section] = {}
    last: _Section | None = None
    count, end = 0, b""
    for number, line in enumerate(lines, 2):
        if end or not line.endswith(b"\n"):
            raise _incomplete(path)
        if line.startswith(_END):
            end = line
            continue
        try:
            calendar = _checked_operation(line).calendar
        except (ValueError, LookupError, TypeError):
            raise SourceError(f"{path}:{number}: not an operation of a plan") from None
        section = sections.setdefault(calendar, _Section(offset))
        if section.lines and section is not last:
            raise SourceError(f"{path}:{number}: the operations of a calendar must stand together")
        section.lines += 1
        count += 1
        offset += len(line)
        last = section
    if end != _end_line(count):
        raise _incomplete(path)
    return sections


def _incomplete(path: Path) -> SourceError:
    return SourceError(f"{path}: the plan is incomplete: its last line must be the number of its operations")


def _end_line(count: int) -> bytes:
    return _END + b"%d}\n" % count


def _line(operation: Operation) -> bytes:
    fields = operation.as_json()
    if operation.body is not None:
        fields["record"] = orjson.Fragment(operation.body)
    if operation.overwrites:
        fields["overwritten"] = orjson.Fragment(operation.overwritten or b"null")
    return orjson.dumps(fields) + b"\n"


def _operation(fields: dict[str, Any]) -> Operation:
    """Return the operation of a line that `_line` has made."""
    base, record, overwritten = fields["base"], fields.get("record"), fields.get("overwritten")
    return Operation(
        kind=Kind(fields["kind"]),
        calendar=Calendar(fields["tenant_id"], fields["domain_id"], fields["ad_id"]),
        key=fields["key"],
        reason=fields["reason"],
        base=None if base is None else LastSynced(base[0], base[1], frozenset(base[2]), *base[3:]),
        local=fields["local"],
        remote=fields["remote"],
        start_time=fields["start_time"],
        end_time=fields["end_time"],
        appointment_id=fields["appointment_id"],
        body=None if record is None else orjson.dumps(record),
        overwrites="overwritten" in fields,
        overwritten=None if overwritten is None else orjson.dumps(overwritten),
    )


def _checked_operation(line: bytes) -> Operation:
    """Return the operation of a line that anyone may have written.

    Raises:
        ValueError: If the line is not JSON, a value breaks its rule, or the record is not that of the operation.
        LookupError: If a value is missing.
        TypeError: If a value has another type.
    """
    fields = orjson.loads(line)
    operation = _operation(fields)
    for name in ("local", "start_time", "end_time"):
        check_type(name, getattr(operation, name), str)
    check_text("key", operation.key)
    check_text("reason", operation.reason)
    if operation.overwritten is not None:
        check_type("overwritten", fields["overwritten"], dict)
    if operation.kind in (Kind.UPDATE, Kind.DELETE):
        check_type("appointment_id", operation.appointment_id, str)
    if operation.body is None:
        if operation.kind in (Kind.CREATE, Kind.UPDATE) or operation.local != ABSENT:
            raise LookupError("record")
        return operation
    check_type("record", fields["record"], dict)
    record = record_from_row(fields["record"])
    if (record.key, record.calendar, content_hash(record.appointment)) != (
        operation.key,
        operation.calendar,
        operation.local,
    ):
        raise ValueError("record must be that of the key, the calendar and the hash beside it")
    return operation
