"""The file of `create --from --resume`: which drafts are done, so that the same command can be repeated.

Each line is an object of `number`, `digest`, `status` and `appointment_id`. A draft has a line before it is sent
(`started`) and one with its outcome. The file has no title and no description.
"""

import errno
import hashlib
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any, Final, Self

import attrs
import orjson

from connector_async._files import check_regular
from connector_async.bulk_calls import Outcome, Status
from connector_async.models import Appointment, NewAppointment

from .messages import print_message

_STARTED: Final = "started"
_LINE_START: Final = b'{"number":'
_MOST_NUMBERS: Final = 20


@attrs.frozen
class Draft:
    """One input of `create --from`."""

    position: dict[str, Any]
    """Where it is: its `line`, or its `record`, `line` and `key`."""
    appointment: NewAppointment | None = attrs.field(repr=False)
    problem: str | None = None
    """Why it is not a valid appointment; `None` if it is one."""

    @property
    def number(self) -> int:
        """The number of its record, or else of its line."""
        return int(self.position.get("record") or self.position["line"])


class ResumeFile:
    """Remembers which drafts are done.

    Args:
        path: The file; `None`: nothing is remembered after the command.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: FileIO | None = None
        self._failure: OSError | None = None
        self._known: dict[int, tuple[str, str]] = {}
        self._in_flight: set[int] = set()
        self.done_before = 0
        """How many drafts were left out because they are done."""
        self.unknown_before: list[int] = []
        """The numbers of the drafts that were left out because they may have been created."""

    @classmethod
    @contextmanager
    def opened(cls, path: Path | None) -> Iterator[Self]:
        """Read the file, which need not exist, and append to it until the end of the block.

        If the block is interrupted, a message says what may have been created, and how to resume.

        Raises:
            ValueError: If the file is not one of a resumable command, or another command is using it.
            OSError: If it cannot be read or written.
        """
        resume = cls(path)
        if path is None:
            with resume._explaining_interrupts():
                yield resume
            return
        if path.exists():
            check_regular(path)
        with path.open("ab", buffering=0) as file:
            _lock(file, path)
            resume._read(path)
            with resume._explaining_interrupts():
                resume._file = file
                yield resume

    @property
    def left_out_count(self) -> int:
        """How many drafts of the file will be left out."""
        return sum(status in {_STARTED, Status.UNKNOWN.value, Status.DONE.value} for _, status in self._known.values())

    async def not_done(self, drafts: AsyncIterable[Draft]) -> AsyncGenerator[Draft, None]:
        """Yield the drafts that are not done and cannot have been created.

        Raises:
            ValueError: If a draft is another one than in the file.
        """
        async for draft in drafts:
            digest, status = self._known.get(draft.number, ("", ""))
            if status and digest != _digest(draft):
                raise ValueError(f"--resume: {self._path} was written for another file: number {draft.number} differs")
            if status == Status.DONE.value:
                self.done_before += 1
            elif status in {_STARTED, Status.UNKNOWN.value}:
                self.unknown_before.append(draft.number)
            else:
                yield draft

    def start(self, draft: Draft) -> None:
        """Remember that a draft is about to be sent.

        Raises:
            OSError: If the file cannot be written. The draft must not be sent then.
        """
        if draft.number not in self._in_flight:  # it is retried
            self._append(draft, _STARTED, None)
            self._in_flight.add(draft.number)

    def created(self, draft: Draft, appointment: Appointment) -> None:
        """Remember that a draft was created."""
        self._end(draft, Status.DONE, appointment.appointment_id)

    def not_created(self, outcome: Outcome[Draft, Any]) -> None:
        """Remember the outcome of a draft that was sent and is not known to be created."""
        if outcome.input.number in self._in_flight:
            self._end(outcome.input, outcome.status, None)

    def _end(self, draft: Draft, status: Status, appointment_id: str | None) -> None:
        self._in_flight.discard(draft.number)
        with suppress(OSError):  # the file has the draft as started: it is not repeated
            self._append(draft, status.value, appointment_id)

    def print_left_out(self) -> None:
        """Print how many drafts were left out, and why."""
        if self.done_before:
            print_message(f"{self.done_before} were created before, as {self._path} says")
        if self.unknown_before:
            print_message(f"{_listed(self.unknown_before)} may have been created before: look, and create them apart")

    def print_how_to_resume(self) -> None:
        """Print how to create the rest."""
        if self._path is not None:
            print_message(f"to resume, repeat the command with --resume {self._path}")

    @contextmanager
    def _explaining_interrupts(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if self._in_flight:
                print_message(f"{_listed(sorted(self._in_flight))} may have been created")
            self.print_how_to_resume()
            raise

    def _read(self, path: Path) -> None:
        lines = path.read_bytes().splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            try:
                entry = orjson.loads(line)
                self._known[int(entry["number"])] = (str(entry["digest"]), str(entry["status"]))
            except (ValueError, TypeError, KeyError):
                if number == len(lines) and line.startswith(_LINE_START) and not line.endswith(b"\n"):
                    # Cut by a full disk or a kill: its draft was not sent, or has a `started` line before.
                    os.truncate(path, path.stat().st_size - len(line))
                    return
                raise ValueError(f"--resume: line {number} of {path} is not of a file that --resume wrote") from None

    def _append(self, draft: Draft, status: str, appointment_id: str | None) -> None:
        if self._file is None:
            return
        entry = {
            "number": draft.number,
            "digest": _digest(draft),
            "status": status,
            "appointment_id": appointment_id,
        }
        if self._failure is not None:  # a line could be joined with one that was cut
            raise self._failure
        line = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
        try:
            # Without a buffer: a killed process has then remembered what it sent.
            if self._file.write(line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._failure = OSError(error.errno, error.strerror, str(self._path))
            raise self._failure from None


def _lock(file: FileIO, path: Path) -> None:
    """Lock the file until it is closed: another command would send the same drafts. Windows has no such lock.

    Raises:
        ValueError: If another command is using it.
    """
    if sys.platform == "win32":
        return
    import fcntl  # noqa: PLC0415 - POSIX only

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ValueError(f"--resume: another command is using {path}") from None


def _digest(draft: Draft) -> str:
    fields = None if draft.appointment is None else draft.appointment.to_dict()
    return hashlib.sha256(orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _listed(numbers: list[int]) -> str:
    more = f" and {len(numbers) - _MOST_NUMBERS} more" if len(numbers) > _MOST_NUMBERS else ""
    return f"{'number' if len(numbers) == 1 else 'numbers'} {', '.join(map(str, numbers[:_MOST_NUMBERS]))}{more}"
