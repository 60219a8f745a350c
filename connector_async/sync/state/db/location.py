"""The location of a state: a file of SQLite, or the URL of a PostgreSQL database. Nothing is opened here."""

import os
from pathlib import Path
from typing import Final, Self

import attrs
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

_POSTGRES: Final = ("postgresql", "postgres")


@attrs.frozen
class Location:
    """The location of a state. Its string is safe in messages: it has no password."""

    url: URL
    """The URL of the database; for a file, without options."""
    path: Path | None = None
    """The file: absolute and without symbolic links, so that every name of it leads to the same lock. `None`: the state
    is not a file."""

    @classmethod
    def parse(cls, path_or_url: str | os.PathLike[str]) -> Self:
        """Return the location that a path or a URL names.

        Args:
            path_or_url: A path, `sqlite:///` and a path, or `postgresql://` and a database.

        Raises:
            ValueError: If it is empty, in memory, not a valid URL, a URL of SQLite with options, or of another kind of
                database.
        """
        location = os.fspath(path_or_url)
        if not isinstance(path_or_url, str) or "://" not in location:
            return cls._of_file(location)
        try:
            url = make_url(location)
        except ArgumentError:
            raise ValueError("the state is neither a path nor the URL of a database") from None
        if url.get_backend_name() in _POSTGRES:
            return cls(_of_postgres(url))
        if url.get_backend_name() != "sqlite":
            raise ValueError("the URL of a state must start with postgresql:// or sqlite:///")
        if url.query or url.host:
            raise ValueError("the URL of a SQLite state must be sqlite:/// and a path, without options")
        return cls._of_file(url.database or "")

    @classmethod
    def _of_file(cls, name: str) -> Self:
        if not name or name.startswith(":memory:") or "\0" in name:
            raise ValueError("the state must be a file: a database in memory does not survive a crash")
        path = Path(name).resolve()
        return cls(URL.create("sqlite", database=str(path)), path)

    def __str__(self) -> str:
        if self.path:
            return str(self.path)
        return self.url.set(drivername="postgresql").render_as_string(hide_password=True)


def _of_postgres(url: URL) -> URL:
    """Return a URL with the driver of this package, and with its password where SQLAlchemy hides it."""
    if "sslpassword" in url.query:
        raise ValueError("the URL of a state must not have an sslpassword: put it into a service file of PostgreSQL")
    password = url.query.get("password")
    if password is not None:
        url = url.difference_update_query(["password"]).set(password=str(password))
    return url.set(drivername="postgresql+psycopg")
