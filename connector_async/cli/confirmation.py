"""Asks before a command does something that cannot be undone."""

import sys


def confirm(action: str) -> None:
    """Ask on the terminal whether to do something, such as "delete 3 appointments".

    Raises:
        ValueError: If there is no terminal to ask on, or the answer is not yes.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise ValueError(f"--yes must be given to {action} without a terminal to ask on")
    sys.stderr.write(f"connector-async: {action}? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise ValueError("nothing was done")
