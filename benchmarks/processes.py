"""Processes of their own, for what cannot be measured beside anything else: memory, imports."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def peak_megabytes() -> float:
    """Return the most memory that this process has had."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1_000


def numbers_of(command: Sequence[str], environment: dict[str, str] | None = None) -> list[float]:
    """Run the interpreter with these arguments, and return the numbers that it prints."""
    done = subprocess.run(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=None if environment is None else {**os.environ, **environment},
    )
    return [float(each) for each in done.stdout.split()]
