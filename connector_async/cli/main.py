"""Runs the command: what it raises becomes one line and a status, and signals end it in order.

What the commands are stands in `commands`.
"""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from .exit_codes import ExitCode, exit_code
from .messages import message_of, tell

if TYPE_CHECKING:
    from cyclopts import App, CycloptsError


def main() -> None:
    """Run the command line of this process.

    Raises:
        SystemExit: The command has ended, or what it needs is not installed.
    """
    try:
        from .commands import app  # noqa: PLC0415 - what is missing is told, not traced
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("connector_async"):
            raise
        sys.exit(f"connector-async: {error.name} is missing; install it with: pip install 'connector-async[cli]'")
    sys.exit(run(app, sys.argv[1:]))


def run(app: "App", arguments: Sequence[str]) -> int:
    """Run a command and return the status with which the process is to end."""
    terminated: list[int] = []
    with _terminating_as_interrupted(terminated):
        return _run(app, arguments, terminated)


def _run(app: "App", arguments: Sequence[str], terminated: Sequence[int]) -> int:
    from cyclopts import CycloptsError  # noqa: PLC0415 - see main

    try:
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        tell(sys.stderr, _usage(error))
        return ExitCode.USAGE
    except BrokenPipeError:
        # Whoever read has enough. What is still buffered would fail again when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OTHER
    except KeyboardInterrupt:
        tell(sys.stderr, "interrupted; a write that was under way may have happened")
        return ExitCode.TERMINATED if terminated else ExitCode.INTERRUPTED
    except Exception as error:
        code = exit_code(error)
        if code is ExitCode.OTHER and not _is_told(error):
            raise
        tell(sys.stderr, message_of(error))
        return code
    return result if isinstance(result, int) else ExitCode.DONE


def _is_told(error: Exception) -> bool:
    from connector_async.exceptions import ConnectorError  # noqa: PLC0415 - after a failure only

    return isinstance(error, ConnectorError)


def _usage(error: "CycloptsError") -> str:
    from cyclopts.exceptions import UnknownOptionError, UnusedCliTokensError  # noqa: PLC0415 - see main

    error.verbose = False
    if isinstance(error, UnusedCliTokensError):
        # They are not repeated: they may be the rest of a title that was not quoted.
        return "there are words too many; quote a value that has spaces"
    text = " ".join(str(error).split())
    if isinstance(error, UnknownOptionError):
        word = error.token.keyword or error.token.value
        return text.replace(word, word.partition("=")[0])  # what follows may be a secret
    return text


@contextmanager
def _terminating_as_interrupted(terminated: list[int]) -> Iterator[None]:
    """Make SIGTERM end the command as SIGINT does, and note that it came."""

    def interrupt(number: int, _: FrameType | None) -> None:
        terminated.append(number)
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # so a shell starts what a script has in the background
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
