"""Messages on the standard error stream, one line each. Data goes to the standard output; see `output`."""

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from connector_async.exceptions import DeadlineExceededError, DecodingError, OutcomeUnknownError, ResponseError

from .escaping import json_text, printable

_FACTS: Final = ("status", "request_id", "retry_after", "attempts", "sent", "appointment_id", "problem")


def print_message(message: str) -> None:
    """Print one line to the standard error stream."""
    sys.stderr.write(f"connector-async: {printable(message)}\n")
    sys.stderr.flush()


def print_error_object(error: BaseException, message: str, code: int) -> None:
    """Print an error to the standard error stream as a line of JSON, with the facts that it has.

    Its keys are `error` (the name of its class), `message` and `exit_code`, and those that apply of `status`,
    `request_id`, `retry_after`, `attempts`, `sent`, `appointment_id` and `problem` (RFC 9457).
    """
    facts = {name: getattr(error, name, None) for name in _FACTS}
    known = {name: value for name, value in facts.items() if value is not None}
    sys.stderr.write(
        json_text({"error": type(error).__name__, "message": message, "exit_code": int(code)} | known) + "\n"
    )
    sys.stderr.flush()


def error_message(error: BaseException) -> str:
    """Return the message of an error as one line, with its details, advice, request id and number of attempts.

    The details are those of the server (RFC 9457, section 3.1), which may quote what was sent.
    """
    message = _message(error)
    if isinstance(error, DecodingError):
        message += f": {'; '.join(error.problems)}" + ("; if it was a write, it has happened" if error.sent else "")
        message += f", as {error.appointment_id}" if error.appointment_id else ""
    if isinstance(error, DeadlineExceededError) and error.__cause__ is not None:
        message += f"; the last attempt: {_message(error.__cause__)}"
    if isinstance(error, OutcomeUnknownError):
        cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
        is_create = error.operation != "request"
        what = "the appointment may have been created; look before you create it again"
        message += f"{cause}: {what if is_create else 'look before you repeat it'}"
    request_id = getattr(error, "request_id", None) or getattr(error.__cause__, "request_id", None)
    attempts = getattr(error, "attempts", None) or 0
    facts = [f"request id {request_id}"] if request_id else []
    facts += [f"{attempts} attempts"] if attempts > 1 else []
    return printable(f"{message} ({', '.join(facts)})" if facts else message)


def _message(error: BaseException) -> str:
    """Return the message of an error with the details of the server, which may quote what was sent."""
    message = str(error) or type(error).__name__
    if isinstance(error, ResponseError) and error.problem is not None:
        message = ": ".join(filter(None, (message, "; ".join(dict.fromkeys(_details(error.problem))))))
    return message


def _details(problem: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts of a problem document: its detail, or else its title, and the errors by field of ASP.NET."""
    text = problem.get("detail") or problem.get("title")
    if isinstance(text, str):
        yield text
    errors = problem.get("errors")
    for field, reasons in errors.items() if isinstance(errors, dict) else ():
        for reason in reasons if isinstance(reasons, list) else [reasons]:
            yield f"{field}: {reason}" if isinstance(reason, str) else str(field)


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
