"""The entry point: runs a command, and turns errors and signals into one line and an exit code.

The commands are listed in `commands`.
"""

import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from types import FrameType, ModuleType
from typing import TYPE_CHECKING, Final, NoReturn

from connector_async.exceptions import ConnectorError

from .exit_codes import ExitCode, exit_code
from .help_pages import output_without_parser
from .messages import error_message, name_options, print_error_object, print_message

if TYPE_CHECKING:
    from cyclopts import App, Argument, CycloptsError

_TEXTS: Final = frozenset({"--title", "--description"})
"""The options whose value may be any text, also one with a hyphen at its start."""


def main() -> None:
    """Run the command that the arguments of this process name.

    A command that a signal has interrupted ends the process without the end of the interpreter. There, a second signal
    would print a traceback, and the exit would wait for a thread that reads a file.

    Raises:
        SystemExit: With the exit code of the command, or with a message if a package is not installed.
    """
    _open_closed_streams()
    _drop_unusable_width()
    try:
        _main()
    except KeyboardInterrupt:  # while modules were imported, or the second one while the first was handled
        _exit_at_once(ExitCode.INTERRUPTED)


def _open_closed_streams() -> None:
    """Open the standard streams that are closed, so that no other file takes their place. Writing the output fails."""
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY), "r", closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", closefd=False)


def _drop_unusable_width() -> None:
    """Drop a `COLUMNS` that is not a positive number: rich would print for ever, or fail."""
    columns = os.environ.get("COLUMNS", "80")
    if not (columns.isascii() and columns.isdigit() and columns.strip("0")):
        del os.environ["COLUMNS"]


def _main() -> None:
    text = output_without_parser(sys.argv[1:])
    if text is not None:
        sys.exit(_print_help(text))
    try:
        from .commands import app  # noqa: PLC0415 - a missing package becomes a message instead of a traceback
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("connector_async"):
            raise
        sys.exit(f"connector-async: {error.name} is missing; install it with: pip install 'connector-async[cli]'")
    with _sigterm_as_sigint() as terminated:
        code = _run(app, sys.argv[1:], terminated)
        if code in {ExitCode.INTERRUPTED, ExitCode.TERMINATED}:
            _exit_at_once(code)  # here, where SIGINT is still ignored
    sys.exit(code)


def _print_help(text: str) -> ExitCode:
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has closed the pipe
        _discard_output()
        return ExitCode.OTHER
    except OSError as error:
        return _io_failure(error)
    return ExitCode.DONE


def _exit_at_once(code: int) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError, ValueError):  # the reader has closed the pipe
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def run(app: "App", arguments: Sequence[str]) -> int:
    """Run a command, print its errors, and return its exit code."""
    with _sigterm_as_sigint() as terminated:
        return _run(app, arguments, terminated)


def _run(app: "App", arguments: Sequence[str], terminated: Sequence[int]) -> int:
    try:
        return _run_command(app, arguments, terminated)
    finally:
        if (activity := _loaded_activity()) is not None:
            activity.stop_watching()


def _loaded_activity() -> ModuleType | None:
    """Return the module `activity`; `None`: it is not loaded, because the command has sent nothing."""
    return sys.modules.get("connector_async.cli.activity")


def _run_command(app: "App", arguments: Sequence[str], terminated: Sequence[int]) -> int:
    from cyclopts import CycloptsError  # noqa: PLC0415 - see main

    arguments = _join_texts(arguments)
    if arguments[:1] in (["get"], ["delete"]):
        from .id_reader import mark_ids  # noqa: PLC0415 - --help and --version read no ids

        arguments = mark_ids(arguments)
    try:
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        _print_error(ExitCode.USAGE, _usage_message(error), error, arguments)
        return ExitCode.USAGE
    except BrokenPipeError:  # the reader has closed the pipe
        _discard_output()
        return ExitCode.OTHER
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end is near; `_sigterm_as_sigint` restores the handler
        activity = _loaded_activity()
        writes = activity is not None and activity.may_have_written()
        print_message("interrupted; a write in flight may have happened" if writes else "interrupted")
        return ExitCode.TERMINATED if terminated else ExitCode.INTERRUPTED
    except Exception as error:
        if isinstance(error, ImportError):
            return _missing_package(error)
        if isinstance(error, OSError) and not isinstance(error, ConnectorError):
            return _io_failure(error)
        code = exit_code(error)
        if code is ExitCode.OTHER and not isinstance(error, ConnectorError):
            raise  # a bug: the traceback is what helps
        message = name_options(error_message(error), _options_by_argument(app, arguments))
        _print_error(code, _as_typed(message, app, arguments), error, arguments)
        return code
    return result if isinstance(result, int) else ExitCode.DONE


def _join_texts(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with `--title X` as `--title=X`: the parser would take `--version` there for an option."""
    joined: list[str] = []
    is_text = False
    for argument in arguments:
        if is_text:
            joined[-1] += f"={argument}"
            is_text = False
        else:
            joined.append(argument)
            is_text = argument in _TEXTS
    return joined


def _missing_package(error: ImportError) -> ExitCode:
    """Print which extra has a package that is missing, and return the exit code.

    Raises:
        ImportError: If it is a module of this package: a bug.
    """
    name = error.name or ""
    if name.startswith("connector_async"):
        raise error
    message = f"{name} is missing; install it with: pip install 'connector-async[cli]'"
    print_message(message if isinstance(error, ModuleNotFoundError) else str(error))
    return ExitCode.OTHER


def _io_failure(error: OSError) -> ExitCode:
    """Print an error of the operating system in one line, and return the exit code."""
    if error.filename is not None:
        print_message(f"{error.filename}: {error.strerror}")
        return ExitCode.OTHER
    _discard_output()  # all I/O but that of the standard output names its file, or has errors of its own
    print_message(f"the output cannot be written: {error.strerror}")
    return ExitCode.OUTPUT


def _discard_output() -> None:
    """Discard what is still buffered for the standard output: it would fail again when the interpreter exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_error(code: ExitCode, message: str, error: Exception, arguments: Sequence[str]) -> None:
    """Print an error: as one object if the output of the command is JSON, and else as a line."""
    if arguments[:1] != ["api"] and any(  # its --json is the body of the request
        argument in {"--json", "--output=json", "--output=jsonl"}
        or pair in {("--output", "json"), ("--output", "jsonl")}
        for argument, pair in zip(arguments, pairwise((*arguments, "")), strict=True)
    ):
        print_error_object(error, message, code)
    else:
        print_message(message)


def _usage_message(error: "CycloptsError") -> str:
    from cyclopts.exceptions import UnknownCommandError, UnknownOptionError, UnusedCliTokensError  # noqa: PLC0415

    error.verbose = False
    if isinstance(error, UnusedCliTokensError):
        # They are not repeated: they may be the rest of a title that was not quoted.
        return "too many arguments; quote a value that contains spaces"
    message = " ".join(str(error).split())
    if isinstance(error, UnknownOptionError):
        option = error.token.keyword or error.token.value
        return message.replace(option, option.partition("=")[0])  # the value may be a secret
    if isinstance(error, UnknownCommandError):
        return _misplaced_option(error) or message.replace(*_without_value(error))
    return message


def _without_value(error: "CycloptsError") -> tuple[str, str]:
    """Return what stands where a command should, and the same without the value of an option: it may be a secret."""
    (token, *_) = error.unused_tokens or ("",)
    return token, token.partition("=")[0] if token.startswith("-") else token


def _misplaced_option(error: "CycloptsError") -> str | None:
    """Return where an option belongs that stands before a command; `None`: it is none, or no command follows."""
    _, option = _without_value(error)
    following = (word for word in error.unused_tokens or () if error.app is not None and word in error.app)
    command = next(following, None)
    if command is None or not option.startswith("-"):
        return None
    words = " ".join(("connector-async", *(error.command_chain or ()), command))
    return f"options stand after the command: {words} ... {option}"


def _options_by_argument(app: "App", arguments: Sequence[str]) -> Mapping[str, str]:
    """Return the names on the command line of the called command's arguments, by their names in Python."""
    return {argument.field_info.name: argument.name for argument in _shown_arguments(app, arguments)}


def _as_typed(message: str, app: "App", arguments: Sequence[str]) -> str:
    """Return a message with the names of options as they were typed, where an option has several."""
    given = {argument.partition("=")[0] for argument in arguments}
    for argument in _shown_arguments(app, arguments):
        typed = next((name for name in argument.names if name in given), argument.name)
        message = re.sub(rf"(?<![\w-]){re.escape(argument.name)}(?![\w-])", typed, message)
    return message


def _shown_arguments(app: "App", arguments: Sequence[str]) -> "list[Argument]":
    """Return the arguments of the called command, without the classes of options, which have no name there."""
    _, apps, _ = app.parse_commands(arguments)
    return [argument for argument in apps[-1].assemble_argument_collection() if argument.show]


@contextmanager
def _sigterm_as_sigint() -> Iterator[list[int]]:
    """Make SIGTERM end the command as SIGINT does; yields a list to which each SIGTERM is appended.

    The handlers of both are restored at the end.
    """
    received: list[int] = []

    def interrupt(number: int, _: FrameType | None) -> None:
        received.append(number)
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # the shell of a script starts background jobs like this
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    before = {signal.SIGINT: signal.getsignal(signal.SIGINT), signal.SIGTERM: signal.signal(signal.SIGTERM, interrupt)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
