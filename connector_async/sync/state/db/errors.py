"""Conversion of database and file errors to `StateError`: with the location and the reason, but without any SQL."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import exc

from connector_async.sync.exceptions import StateBusyError, StateError

_PROGRAMMING_ERRORS: Final = (exc.IntegrityError, exc.ProgrammingError, exc.DataError, exc.NotSupportedError)
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@contextmanager
def database_errors(place: object) -> Iterator[None]:
    """Raise database errors of the block as `StateError`. Errors in a statement, such as a duplicate key, stay as is.

    Args:
        place: The database, named in the message.

    Raises:
        StateBusyError: If the database is locked, or all connections are in use.
        StateError: If the database is full, read-only or damaged, or the file is not a database.
    """
    try:
        yield
    except _PROGRAMMING_ERRORS:
        raise
    except exc.DatabaseError as error:
        raise _state_error(place, error.orig) from None
    except sqlite3.Error as error:
        raise _state_error(place, error) from None
    except exc.TimeoutError:
        raise StateBusyError(f"{place}: all connections are in use") from None


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


def _state_error(place: object, error: BaseException | None) -> StateError:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # the message of a driver or of another database may repeat a value
        return StateError(f"{place}: the database failed ({type(error).__name__})")
    error_class = StateBusyError if code & 0xFF in _BUSY else StateError  # the low byte of an extended code
    return error_class(f"{place}: {error}")
