"""What the command says beside its data, in one line each, on the standard error stream."""

from typing import TextIO

from connector_async.exceptions import DecodingError, OutcomeUnknownError


def printable(text: str) -> str:
    """Return `text` in one line, with what a terminal would obey written out."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def tell(stream: TextIO, text: str) -> None:
    """Print a line."""
    print(f"connector-async: {printable(text)}", file=stream, flush=True)


def message_of(error: BaseException) -> str:
    """Return what an error says, in one line: its text, what the server calls the exchange, and what to do."""
    text = str(error) or type(error).__name__
    if isinstance(error, DecodingError):
        text += f": {'; '.join(error.problems)}" + ("; if it was a write, it has happened" if error.sent else "")
        text += f", as {error.appointment_id}" if error.appointment_id else ""
    if isinstance(error, OutcomeUnknownError):
        cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
        text += f"{cause}: it may have been created; look before you create it again"
    request_id = getattr(error, "request_id", None) or getattr(error.__cause__, "request_id", None)
    return printable(f"{text} (request id {request_id})" if request_id else text)
