"""Separate processes, for what cannot be measured beside other things: memory and imports."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def peak_megabytes() -> float:
    """Return the largest amount of memory that this process has had."""
    match = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert match is not None
    return int(match[1]) / 1_000


def run_python(arguments: Sequence[str], environment: dict[str, str] | None = None) -> list[float]:
    """Run the Python interpreter in a process of its own, and return the numbers that it prints."""
    process = subprocess.run(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=None if environment is None else {**os.environ, **environment},
    )
    return [float(number) for number in process.stdout.split()]
