"""Says on the standard error stream what a session is doing: long waits, the lines of its log, and its requests.

It watches a session as its `Telemetry`, and the log of the package as a handler.
"""

import asyncio
import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from connector_async import _log
from connector_async.protocol import Response
from connector_async.session import CallNext, OutgoingRequest

from .messages import print_message

_LOGGER: Final = logging.getLogger("connector_async")
_SECRET: Final = re.compile("auth|cookie|credential|key|passw|secret|signature|token", re.IGNORECASE)
"""A header or a parameter with such a name is shown without its value."""
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_WHOLE_SECONDS: Final = 10
_HIDDEN: Final = "***"


class Activity(logging.Handler):
    """The `Telemetry` of a session and the handler of its log.

    Args:
        level: The least level of the lines of the log that are printed. With `ERROR`, no waits are printed; with
            `DEBUG`, each request is.
        shows_headers: Whether each request is printed with its headers. Bodies and secrets are never printed.
        patience: The seconds after which a wait is printed.
        seconds_between: The least time until a wait for the same is printed again.
    """

    def __init__(
        self, level: int, *, shows_headers: bool = False, patience: float = 1.0, seconds_between: float = 10.0
    ) -> None:
        super().__init__()  # it takes lines below the level, too: they may announce a wait
        self._least = level
        self._shows_headers = shows_headers
        self._patience = patience
        self._seconds_between = seconds_between
        self._said_at: dict[str, float] = {}
        self.writes_in_flight = 0
        """How many writes were sent and have no response, also because they were cancelled."""

    def start(self) -> None:
        """Become the only handler of its kind of the package's log, until `stop_watching`."""
        stop_watching()
        _LOGGER.addHandler(self)
        _LOGGER.setLevel(logging.DEBUG)

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line of the log, or the wait that it announces."""
        fields = record.args if isinstance(record.args, Mapping) else {}
        if record.msg == _log.SLOT_WAIT:
            tenant = unquote(str(fields["key"]).rpartition("/")[2])
            self._say_later(f"a rate-limit slot of {tenant}", float(str(fields["seconds"])))
            return
        if record.msg == _log.RETRY:
            what = f"attempt {int(str(fields['attempt'])) + 1} for {fields['tenant']} after {fields['error']}"
            self._say_later(what, float(str(fields["wait"])))
        # The wait for the slot says it, unless each line is wanted.
        is_said = record.msg == _log.PENALTY and self._least == logging.WARNING
        if record.levelno >= self._least and not is_said:
            print_message(record.getMessage())

    def call(self, operation: str, tenant_id: str) -> AbstractContextManager[object]:  # noqa: ARG002
        """Return a context manager that does nothing: the requests are watched."""
        return nullcontext()

    def waited(self, tenant_id: str, seconds: float) -> None:
        """Do nothing: the log has said it when the wait started."""

    async def request(self, request: OutgoingRequest, call_next: CallNext) -> Response:
        """Send a request, print it if that is wanted, and say that the response takes long."""
        started_at = time.monotonic()
        line = f"{request.method} {_shown_url(request.url)}"
        if self._shows_headers:
            print_message(f"> {line}")
            _print_headers(">", request.headers)
        is_token = request.operation == "token"
        what = f"a token of {request.tenant_id}" if is_token else f"the response to {request.method}"
        is_write = not is_token and request.method not in _READS
        self.writes_in_flight += is_write
        try:
            with self._watching(what):
                response = await call_next(request)
        except Exception:  # not a cancellation, after which nobody else says what may have happened
            self.writes_in_flight -= is_write
            raise
        self.writes_in_flight -= is_write
        seconds = time.monotonic() - started_at
        status = f"{response.status} {_phrase(response.status)}".rstrip()
        if self._shows_headers:
            print_message(f"< {status} in {seconds:.3f} s")
            _print_headers("<", response.headers)
        elif self._least <= logging.DEBUG:
            print_message(f"{line}: {status} in {seconds:.3f} s")
        return response

    @contextmanager
    def _watching(self, what: str) -> Iterator[None]:
        timer = asyncio.get_running_loop().call_later(self._patience, self._say, what, f"waiting for {what}")
        try:
            yield
        finally:
            timer.cancel()

    def _say_later(self, what: str, seconds: float) -> None:
        """Say after a while that a wait of so many seconds has started, if it takes as long again."""
        if seconds >= 2 * self._patience:  # at the usual pace of a request a second, there is nothing to say
            loop = asyncio.get_running_loop()
            loop.call_later(self._patience, self._say, what, f"waiting {_rounded(seconds)} s for {what}")

    def _say(self, what: str, message: str) -> None:
        now = asyncio.get_running_loop().time()
        said_at = self._said_at.get(what)
        if self._least < logging.ERROR and (said_at is None or now - said_at >= self._seconds_between):
            self._said_at[what] = now
            print_message(message)


def may_have_written() -> bool:
    """Return whether a write was sent whose response was not awaited to its end."""
    return any(activity.writes_in_flight for activity in _watching())


def stop_watching() -> None:
    """Remove the handler from the log of the package."""
    for activity in _watching():
        _LOGGER.removeHandler(activity)
        _LOGGER.setLevel(logging.NOTSET)


def _watching() -> list[Activity]:
    return [handler for handler in _LOGGER.handlers if isinstance(handler, Activity)]


def _rounded(seconds: float) -> str:
    return f"{seconds:.0f}" if seconds >= _WHOLE_SECONDS else f"{seconds:.1f}"


def _shown_url(url: str) -> str:
    parts = urlsplit(url)
    query = "&".join(
        f"{name}={_HIDDEN if _SECRET.search(name) else value}"
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    )
    return parts.path + (f"?{query}" if query else "")


def _print_headers(direction: str, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        print_message(f"{direction} {name}: {_HIDDEN if _SECRET.search(name) else value}")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
