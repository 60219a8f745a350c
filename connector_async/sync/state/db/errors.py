"""Conversion of database and file errors to `StateError`: with the location and the reason, but without any SQL."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import exc

from connector_async._tracebacks import drop_frames
from connector_async.sync.exceptions import StateBusyError, StateDamagedError, StateError, StateUnavailableError

from .location import Location

_PROGRAMMING_ERRORS: Final = (exc.IntegrityError, exc.ProgrammingError, exc.DataError, exc.NotSupportedError)
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)  # the last: no such column

_UNAVAILABLE: Final = {
    "40001": "another transaction was in the way",  # serialization_failure
    "40P01": "another transaction was in the way",  # deadlock_detected
    "55P03": "another transaction holds a lock",
    "57P01": "the server is stopping",
    "57P02": "the server has crashed",
    "57P03": "the server is starting or stopping",
    "53300": "the server has too many connections",
}
"""What the codes of PostgreSQL mean that may be over soon."""
_REFUSED: Final = {
    "25006": "the server accepts no writes",
    "42501": "the user of the database lacks a privilege",
    "53100": "the disk of the server is full",
}
"""What the codes of PostgreSQL mean that need someone's attention."""


_DAMAGED_PAGES: Final = {"XX001": "a page is not readable", "XX002": "an index is not readable"}
"""What the codes of PostgreSQL mean that say that data is damaged."""
DAMAGED_VALUE: Final = (ValueError, TypeError, LookupError, OverflowError, OSError)
"""What the conversion of a stored value raises if it is not a value that was stored."""
_FIRST_RUN: Final = "the first run on a new state looks at the server before it creates anything"


class CommitLostError(StateUnavailableError):
    """The connection was lost during a commit: the transaction may have been written."""


@contextmanager
def database_errors(place: object) -> Iterator[None]:
    """Raise database errors of the block as `StateError`. Errors in a statement, such as a duplicate key, stay as is.

    Args:
        place: The database, named in the message.

    Raises:
        StateBusyError: If the database is locked, or all connections are in use.
        StateDamagedError: If the database is damaged, or the file is not a database.
        StateUnavailableError: If PostgreSQL does not respond, or has ended the transaction.
        StateError: If the database is full or read-only.
    """
    try:
        yield
    except exc.DBAPIError as error:
        state_error = _postgres_error(place, error) if hasattr(error.orig, "sqlstate") else None
        if state_error is None and isinstance(error, _PROGRAMMING_ERRORS):
            _drop_values(error)
            raise
        drop_frames(error)  # those of the driver have the password
        raise state_error or _state_error(place, error.orig) from None
    except sqlite3.Error as error:
        raise _state_error(place, error) from None
    except UnicodeDecodeError:  # of a message about the schema
        raise _not_utf8(place) from None
    except exc.TimeoutError:
        raise StateBusyError(f"{place}: all connections are in use") from None


@contextmanager
def value_errors(place: object) -> Iterator[None]:
    """Raise what the conversion of a stored value raises as `StateDamagedError`: it is not a value that was stored.

    Args:
        place: The state, named in the message.

    Raises:
        StateDamagedError: If a value cannot be converted.
    """
    try:
        yield
    except DAMAGED_VALUE:
        raise StateDamagedError(
            f"{place}: the state is damaged: it has an impossible value; {way_out(place)}"
        ) from None


@contextmanager
def file_errors(place: object) -> Iterator[None]:
    """Raise an `OSError` of the block as `StateError`.

    Args:
        place: The file, named in the message.

    Raises:
        StateError: If the file cannot be opened, read or written.
    """
    try:
        yield
    except OSError as error:
        raise StateError(f"{place}: {error.strerror or type(error).__name__}") from None


def way_out(place: object) -> str:
    """Return what to do about a damaged state, for the end of a message.

    Args:
        place: The state: a path, or a `Location`.
    """
    if isinstance(place, Location) and place.path is None:
        return f"restore a backup of the database, or run again with an empty one: {_FIRST_RUN}"
    return (
        "`connector-async state check` shows the damage; put a backup in its place, or move the file away and run "
        f"again: {_FIRST_RUN}"
    )


def _drop_values(error: exc.DBAPIError) -> None:
    """Remove the message of PostgreSQL from an error: it repeats values, which the messages of SQLite do not."""
    if (code := getattr(error.orig, "sqlstate", None)) is not None and error.orig is not None:
        reason = f"{type(error.orig).__name__}, {code}"
        error.args, error.orig.args = (f"({reason})",), (reason,)


def _postgres_error(place: object, error: exc.DBAPIError) -> StateError | None:
    """Return the error for an error of PostgreSQL; `None` if the statement is at fault, or the reason is not known."""
    code = getattr(error.orig, "sqlstate", None)
    if code in _DAMAGED_PAGES:
        return StateDamagedError(f"{place}: the state is damaged: {_DAMAGED_PAGES[code]}; {way_out(place)}")
    if code in _REFUSED:
        return StateError(f"{place}: {_REFUSED[code]}")
    if code in _UNAVAILABLE:
        return StateUnavailableError(f"{place}: {_UNAVAILABLE[code]}")
    if code is None and isinstance(error, exc.OperationalError | exc.InterfaceError):
        # Without a statement, no connection was made. The message names the server and its reason, and no value.
        reason = "the connection was lost" if error.statement else " ".join(str(error.orig).split())
        return StateUnavailableError(f"{place}: {reason}")
    return None


def _state_error(place: object, error: BaseException | None) -> StateError:
    code = getattr(error, "sqlite_errorcode", None)
    if "decode to UTF-8" in str(error):  # raised by the driver, with the text
        return _not_utf8(place)
    if code is None:  # the message of a driver or of another database may repeat a value
        return StateError(f"{place}: the database failed ({type(error).__name__})")
    primary_code = code & 0xFF  # the low byte of an extended code
    if primary_code in _DAMAGED:
        return StateDamagedError(f"{place}: {error}; {way_out(place)}")
    return (StateBusyError if primary_code in _BUSY else StateError)(f"{place}: {error}")


def _not_utf8(place: object) -> StateDamagedError:
    return StateDamagedError(f"{place}: the state is damaged: a string is not UTF-8; {way_out(place)}")
