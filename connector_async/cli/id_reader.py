"""Reads the ids of appointments that a command is given, as arguments or as lines of the standard input."""

from collections.abc import Sequence
from typing import Final

from cyclopts import Token, UnknownOptionError

from connector_async._checks import check_appointment_id

from .line_reader import STANDARD_INPUT, read_lines

_HEADING: Final = "appointment_id"
_ID_MARK: Final = "\0"
"""Stands before an id that starts with a hyphen. No argument of a process has this character."""


def mark_ids(arguments: Sequence[str]) -> list[str]:
    """Return arguments with a mark before each one after `--` that starts with a hyphen: it is an id, and no option.

    The parser does not say which arguments stand after `--`.
    """
    end = arguments.index("--") + 1 if "--" in arguments else len(arguments)
    return [*arguments[:end], *(f"{_ID_MARK}{each}" if _is_option(each) else each for each in arguments[end:])]


def _is_option(argument: str) -> bool:
    return argument.startswith("-") and argument != STANDARD_INPUT


def is_list(first: str, more: Sequence[str]) -> bool:
    """Return whether arguments name several ids, of which some may fail, rather than one."""
    return bool(more) or first == STANDARD_INPUT


async def read_ids(command: str, arguments: Sequence[str]) -> list[str]:
    """Return the ids that arguments name. `-` stands for the lines of the standard input.

    A line has one id. Blank lines are left out, and so is a heading `appointment_id`, as in the output of `preview
    --columns appointment_id`.

    Args:
        command: The command, which has the options.
        arguments: What is given to it beside its options, as `mark_ids` returns it.

    Raises:
        UnknownOptionError: If an argument is an unknown option. The parser takes it for an id, as it takes `-`.
        ValueError: If `-` is given twice, or an id is not valid. The message names the line of the standard input.
    """
    for argument in arguments:
        if _is_option(argument):
            from .commands import app  # noqa: PLC0415 - it lists the command that calls this

            options = app[command].assemble_argument_collection()
            raise UnknownOptionError(token=Token(value=argument, source="cli"), argument_collection=options)
    if arguments.count(STANDARD_INPUT) > 1:
        raise ValueError(f"{STANDARD_INPUT} must be given once: the standard input is read once")
    ids = []
    for argument in arguments:
        is_named = argument != STANDARD_INPUT
        ids += [check_appointment_id(argument.removeprefix(_ID_MARK))] if is_named else await _read_lines()
    return ids


async def _read_lines() -> list[str]:
    ids: list[str] = []
    is_first = True
    async for number, line in read_lines(STANDARD_INPUT):
        try:
            name = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            if not (is_first and name == _HEADING):
                ids.append(check_appointment_id(name))
        except UnicodeDecodeError:
            raise ValueError(f"standard input, line {number}: must be UTF-8") from None
        except ValueError as error:
            rule = str(error).removeprefix("appointment_id ")
            raise ValueError(f"standard input, line {number}: an id {rule}") from None
        is_first = False
    return ids
