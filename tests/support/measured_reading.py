"""Reading an input in a process of its own, which ends if it takes too long, and measuring what it takes."""

import asyncio
import subprocess
import sys
import time
import warnings

import attrs
import icalendar  # noqa: F401 - the readers import it when they first need it
import orjson

from tests.support.cases import CASES, Reading, case, read_case, source
from tests.support.services import resident_megabytes

_PATIENCE = 10  # seconds, for the imports and for a machine that is busy


@attrs.frozen
class Measured:
    """What an input was read as, and what that took."""

    reading: Reading
    seconds: float
    """Of the processor, so that other processes do not count."""
    memory_mb: float
    """The growth of the peak, in MB."""


def measure(folder: str, name: str, *, expand: bool = False) -> Measured:
    """Read an input in a process of its own.

    Args:
        folder: Where the input is.
        name: The name of the input.
        expand: Whether recurring events are expanded, in the window of the entry.

    Raises:
        subprocess.TimeoutExpired: If it was killed, since it took too long.
    """
    command = [sys.executable, "-m", __name__, folder, name, *(["--expand"] if expand else [])]
    done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=True, cwd=CASES.parents[1])
    found = orjson.loads(done.stdout)
    return Measured(Reading(**found.pop("reading")), **found)


def _main(folder: str, name: str, *options: str) -> None:
    expected = case(folder, name)
    expand = {"expand": expected.with_window.expand} if options and expected.with_window else {}
    found = source(CASES / folder / name, expected.assume_zone, **expand)
    memory, seconds = resident_megabytes("VmHWM"), time.process_time()
    with warnings.catch_warnings(action="ignore"):
        reading = asyncio.run(read_case(found))
    measured = Measured(reading, time.process_time() - seconds, resident_megabytes("VmHWM") - memory)
    sys.stdout.buffer.write(orjson.dumps(attrs.asdict(measured)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
