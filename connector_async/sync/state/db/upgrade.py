"""Bringing a state to the revision that this version works with, before anything else is done with it. It blocks."""

from sqlalchemy import Engine, create_engine

from connector_async.sync.exceptions import StateError, StateVersionError
from connector_async.sync.state.schema import REVISIONS

from .errors import file_errors
from .location import Location
from .permissions import beside, create_private, make_private
from .sqlite import copy_database, migration_engine, revision_of


def prepare(location: Location) -> None:
    """Create the state, or upgrade it. Of an older one that is a file, a copy is made beside it first.

    Call it with the lock in hand.

    Raises:
        StateVersionError: A newer version has written it; nothing was done to it.
        StateError: It cannot be read, is something else, or cannot be upgraded; it is as it was.
    """
    if location.path is None:
        _upgrade(location, create_engine(location.url, hide_parameters=True))
        return
    revision = revision_of(location.path)
    _check_known(location, revision)
    with file_errors(location):
        if revision is None:
            create_private(location.path)
        for suffix in ("", "-wal", "-shm"):
            make_private(beside(location.path, suffix))
    if revision == REVISIONS[-1]:
        return
    if revision is not None:
        copy_database(location.path, beside(location.path, f".backup-{revision}"))
    _upgrade(location, migration_engine(location.path))


def check_ready(location: Location) -> None:
    """Refuse a state that cannot be read as it is.

    Raises:
        StateVersionError: A newer version has written it, or it has to be upgraded.
        StateError: There is none, it cannot be read, or is something else.
    """
    if location.path is None:
        return
    revision = revision_of(location.path)
    if revision is None:
        raise StateError(f"{location}: there is no state")
    _check_known(location, revision)
    if revision != REVISIONS[-1]:
        raise StateVersionError(f"{location}: an older version has written it; it has to be upgraded by a run first")


def _check_known(location: Location, revision: str | None) -> None:
    if revision is not None and revision not in REVISIONS:
        raise StateVersionError(f"{location}: a newer version has written it (revision {revision})")


def _upgrade(location: Location, engine: Engine) -> None:
    from connector_async.sync.state.migrations.migrate import upgrade  # noqa: PLC0415 - Alembic is needed for this alone

    try:
        upgrade(engine, place=location)
    finally:
        engine.dispose()
