"""Messages on the standard error stream, one line each. Data goes to the standard output; see `output`."""

import re
import sys
from collections.abc import Mapping

from connector_async.exceptions import DecodingError, OutcomeUnknownError


def printable(text: str) -> str:
    """Return `text` as one line, with characters that a terminal would interpret written as escapes."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def print_message(message: str) -> None:
    """Print one line to the standard error stream."""
    sys.stderr.write(f"connector-async: {printable(message)}\n")
    sys.stderr.flush()


def error_message(error: BaseException) -> str:
    """Return the message of an error as one line, with its details, advice and request id."""
    message = str(error) or type(error).__name__
    if isinstance(error, DecodingError):
        message += f": {'; '.join(error.problems)}" + ("; if it was a write, it has happened" if error.sent else "")
        message += f", as {error.appointment_id}" if error.appointment_id else ""
    if isinstance(error, OutcomeUnknownError):
        cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
        message += f"{cause}: the appointment may have been created; look before you create it again"
    request_id = getattr(error, "request_id", None) or getattr(error.__cause__, "request_id", None)
    return printable(f"{message} (request id {request_id})" if request_id else message)


def name_options(message: str, options: Mapping[str, str]) -> str:
    """Return the message of an error with the names of arguments replaced by those of the options.

    Messages about something else, such as a file, are returned unchanged.

    Args:
        message: Such as "end_time must not be before start_time".
        options: The options of the command, such as `--end-time`, by the name of the argument, such as `end_time`.
    """
    subject = re.match(r"(\w+)(?: and \w+)? (?:must|is|are|has)\b", message)
    if subject is None or subject[1] not in options:
        return message

    def replace(match: re.Match[str]) -> str:
        word, before = match[0], message[: match.start()]
        # Names such as `start` and `title` are English words as well.
        is_argument = not before or "_" in word or before.endswith((" and ", " before "))
        return options.get(word, word) if is_argument else word

    return re.sub(r"\w+", replace, message)
