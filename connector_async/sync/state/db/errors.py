"""Conversion of database and file errors to `StateError`: with the location and the reason, but without any SQL."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import exc

from connector_async.sync.exceptions import StateBusyError, StateDamagedError, StateError

_PROGRAMMING_ERRORS: Final = (exc.IntegrityError, exc.ProgrammingError, exc.DataError, exc.NotSupportedError)
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)  # the last: no such column


@contextmanager
def database_errors(place: object) -> Iterator[None]:
    """Raise database errors of the block as `StateError`. Errors in a statement, such as a duplicate key, stay as is.

    Args:
        place: The database, named in the message.

    Raises:
        StateBusyError: If the database is locked, or all connections are in use.
        StateDamagedError: If the database is damaged, or the file is not a database.
        StateError: If the database is full or read-only.
    """
    try:
        yield
    except _PROGRAMMING_ERRORS:
        raise
    except exc.DatabaseError as error:
        raise _state_error(place, error.orig) from None
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
    except (ValueError, TypeError, LookupError, OverflowError, OSError):
        raise StateDamagedError(f"{place}: the state is damaged: it has an impossible value; {way_out()}") from None


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


def way_out() -> str:
    """Return what to do about a damaged state, for the end of a message."""
    return (
        "`connector-async state check` shows the damage; put a backup in its place, or move the file away and run "
        "again: the first run on a new state looks at the server before it creates anything"
    )


def _state_error(place: object, error: BaseException | None) -> StateError:
    code = getattr(error, "sqlite_errorcode", None)
    if "decode to UTF-8" in str(error):  # raised by the driver, with the text
        return _not_utf8(place)
    if code is None:  # the message of a driver or of another database may repeat a value
        return StateError(f"{place}: the database failed ({type(error).__name__})")
    primary_code = code & 0xFF  # the low byte of an extended code
    if primary_code in _DAMAGED:
        return StateDamagedError(f"{place}: {error}; {way_out()}")
    return (StateBusyError if primary_code in _BUSY else StateError)(f"{place}: {error}")


def _not_utf8(place: object) -> StateDamagedError:
    return StateDamagedError(f"{place}: the state is damaged: a string is not UTF-8; {way_out()}")
