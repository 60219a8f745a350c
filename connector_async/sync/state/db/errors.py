"""What a database or a file reports, as the errors of the state: with the place and the reason, never with any SQL."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import exc

from connector_async.sync.exceptions import StateBusyError, StateError

_MISTAKES: Final = (exc.IntegrityError, exc.ProgrammingError, exc.DataError, exc.NotSupportedError)
_BUSY: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


@contextmanager
def database_errors(place: object) -> Iterator[None]:
    """Turn what the database reports in the block into a `StateError`. A mistake in a statement stays as it is.

    Args:
        place: The database, to name in the message.

    Raises:
        StateBusyError: The database is locked, or has no connection left.
        StateError: It is full, read-only, damaged, or not one.
    """
    try:
        yield
    except _MISTAKES:
        raise
    except exc.DatabaseError as error:
        raise _state_error(place, error.orig) from None
    except sqlite3.Error as error:
        raise _state_error(place, error) from None
    except exc.TimeoutError:
        raise StateBusyError(f"{place}: all connections are in use") from None


@contextmanager
def file_errors(place: object) -> Iterator[None]:
    """Turn an `OSError` of the block into a `StateError`.

    Args:
        place: The file, to name in the message.

    Raises:
        StateError: The file cannot be opened, read or written.
    """
    try:
        yield
    except OSError as error:
        raise StateError(f"{place}: {error.strerror or type(error).__name__}") from None


def _state_error(place: object, error: BaseException | None) -> StateError:
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:  # of the driver or of another database: its words may hold a value
        return StateError(f"{place}: the database fails ({type(error).__name__})")
    kind = StateBusyError if code & 0xFF in _BUSY else StateError  # the low byte of an extended code
    return kind(f"{place}: {error}")
