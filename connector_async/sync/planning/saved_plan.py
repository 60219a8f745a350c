"""A plan as a file: JSON Lines, a head and an operation each, applied only while the state is as it was.

It holds what the source says of each record that is to be sent: personal data.
"""

import itertools
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Final, Self

import attrs
import orjson

from connector_async._checks import check_type
from connector_async._files import atomic_replace
from connector_async.appointments import AppointmentService
from connector_async.sync.exceptions import SourceError, StalePlanError
from connector_async.sync.records import ABSENT, Calendar
from connector_async.sync.state.diff import TenantProgress
from connector_async.sync.state.reader import StateReader
from connector_async.wire import WireFormat

from .operation_json import as_json, checked_operation, operation_of
from .operations import ConflictRules, Operation
from .options import SyncOptions
from .planner import Remaining
from .three_way import Mode, Policy
from .traffic_meter import TrafficMeter

_FORMAT: Final = 1


@attrs.define
class _Section:
    """Where a calendar's operations stand in the file."""

    offset: int
    """Of the first one's line, in bytes."""
    lines: int = 0


class SavedPlan:
    """A plan that was saved. Open one by `SavedPlan.open`."""

    def __init__(self, path: Path, serial: int, plan: SyncOptions, sections: dict[Calendar, _Section]) -> None:
        self._path = path
        self._serial = serial
        self.plan = plan
        """How it is gone about: who wins where an appointment is not there any more."""
        self._sections = sections

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Read a plan's head, and where its operations stand.

        Raises:
            SourceError: It cannot be read, or is no plan, or a line of it is no operation.
        """
        path = Path(path)
        try:
            with path.open("rb") as lines:
                head = orjson.loads(lines.readline())
                if head["connector_async_plan"] != _FORMAT:
                    raise ValueError("of another version")
                check_type("serial", head["serial"], int)
                plan = SyncOptions(mode=Mode(head["mode"]), rules=ConflictRules(policy=Policy(head["policy"])))
                if plan.mode is Mode.TWO_WAY:
                    raise ValueError("not one that can be saved")
                sections = _sections(path, lines, lines.tell())
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError):
            raise SourceError(f"{path}: not a plan of this version") from None
        return cls(path, head["serial"], plan, sections)

    def check(self, serial: int, wire_format: WireFormat) -> None:
        """Raise when the state has changed since it was made, or it was made for another wire format.

        Raises:
            StalePlanError: The state has changed.
            SourceError: It names users, and the format carries none; or the other way round.
        """
        if serial != self._serial:
            raise StalePlanError(f"{self._path}: the state has changed since this plan was made; make a new one")
        try:
            for calendar in self._sections:
                calendar.check(wire_format)
        except ValueError as error:
            raise SourceError(f"{self._path}: not a plan for this: {error}") from None

    def tenants(self) -> list[str]:
        """Return the tenants that it has operations for."""
        return list(dict.fromkeys(calendar.tenant_id for calendar in self._sections))

    def planner(self, tenant_id: str, known: StateReader, run_id: str, meter: TrafficMeter) -> "SavedPlanner":
        """Return what says what is to be done for one of them."""
        sections = {calendar: each for calendar, each in self._sections.items() if calendar.tenant_id == tenant_id}
        return SavedPlanner(self._path, sections, known, run_id, meter)


class SavedPlanner:
    """A `Planner` that reads its operations from the file of a plan, and leaves out what its run has settled."""

    def __init__(
        self, path: Path, sections: dict[Calendar, _Section], known: StateReader, run_id: str, meter: TrafficMeter
    ) -> None:
        self._path = path
        self._sections = sections
        self._known = known
        self._run_id = run_id
        self.meter = meter
        """What reads off what is sent for the tenant."""

    @property
    def looks_at_all(self) -> bool:
        """Return that it looks at none."""
        return False

    @property
    def tries_again(self) -> bool:
        """Return that it does not."""
        return False

    async def calendars(self, tenant_id: str) -> Sequence[Calendar]:
        """Return the calendars of the tenant that the plan has operations for."""
        return [calendar for calendar in self._sections if calendar.tenant_id == tenant_id]

    async def batches(
        self,
        service: AppointmentService,  # noqa: ARG002 - the protocol's
        calendar: Calendar,
        size: Callable[[], int],
    ) -> AsyncGenerator[list[Operation], None]:
        """Yield the operations of one that are left."""
        operations = iter(self._read(calendar))
        while batch := list(itertools.islice(operations, size())):
            yield await self._left(calendar, batch)

    async def again(self, calendar: Calendar, keys: Collection[str], run_id: str) -> Remaining:  # noqa: ARG002
        """Return those of some keys that are left, as they were planned."""
        operations = await self._left(calendar, [each for each in self._read(calendar) if each.key in keys])
        return Remaining(operations=operations, others=())

    async def accounts(self, tenant_id: str, run_id: str) -> TenantProgress:  # noqa: ARG002 - the protocol's
        """Return how far the operations have come. What was given up before is in no plan."""
        found = {"to_do": 0, "skipped": 0, "records": 0, "in_sync": 0}
        for calendar in self._sections:
            local = {operation.key: operation.local for operation in self._read(calendar)}
            settled = await self._known.processed_by(self._run_id, calendar, list(local))
            records = [key for key in local if local[key] != ABSENT]
            found["to_do"] += len(local.keys() - settled)
            found["records"] += len(records)
            found["in_sync"] += sum(settled.get(key, False) for key in records)
        return TenantProgress(**found)

    async def _left(self, calendar: Calendar, operations: Sequence[Operation]) -> list[Operation]:
        settled = await self._known.processed_by(self._run_id, calendar, [operation.key for operation in operations])
        return [operation for operation in operations if operation.key not in settled]

    def _read(self, calendar: Calendar) -> list[Operation]:
        section = self._sections[calendar]
        with self._path.open("rb") as lines:
            lines.seek(section.offset)
            return [operation_of(lines.readline()) for _ in range(section.lines)]


async def save_plan(operations: AsyncIterable[Operation], path: Path | str, *, serial: int, plan: SyncOptions) -> int:
    """Write a plan to a new file that nobody else may read, and return how many operations it has.

    Args:
        operations: In the order of their tenants and calendars.
        path: The file, which is replaced.
        serial: How often the state had changed when the plan was made.
        plan: How it is gone about.

    Raises:
        ValueError: The plan is two-way: what the source would take over is not saved, and would be taken for gone.
        SourceError: The file cannot be written.
        ConnectorError: What the making of the plan raised; the file is as it was.
    """
    if plan.mode is Mode.TWO_WAY:
        raise ValueError("a plan of two ways cannot be saved: run it instead")
    path, count = Path(path), 0
    head = {"connector_async_plan": _FORMAT, "serial": serial, "mode": plan.mode.value}
    head["policy"] = plan.rules.policy.value
    try:
        with atomic_replace(path) as partial, partial.open("wb") as lines:
            lines.write(orjson.dumps(head) + b"\n")
            async for operation in operations:
                lines.write(orjson.dumps(as_json(operation, whole=True)) + b"\n")
                count += 1
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from None
    return count


def _sections(path: Path, lines: Iterable[bytes], offset: int) -> dict[Calendar, _Section]:
    sections: dict[Calendar, _Section] = {}
    last: _Section | None = None
    for number, line in enumerate(lines, 2):
        try:
            calendar = checked_operation(line).calendar
        except (ValueError, LookupError, TypeError):
            raise SourceError(f"{path}:{number}: not an operation of a plan") from None
        section = sections.setdefault(calendar, _Section(offset))
        if section.lines and section is not last:
            raise SourceError(f"{path}:{number}: the operations of a calendar must stand together")
        section.lines += 1
        offset += len(line)
        last = section
    return sections
