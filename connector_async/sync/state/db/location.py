"""Where a state is: a file of SQLite, or the URL of another database. It opens nothing."""

import os
from pathlib import Path
from typing import Self

import attrs
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError


@attrs.frozen
class Location:
    """Where a state is. Its text is fit for messages: it holds no password."""

    url: URL
    """Of the database as it was given; of a file, without how to open it."""
    path: Path | None = None
    """The file, absolute and without symbolic links, so that it has one lock whatever it is called. `None`: none."""

    @classmethod
    def of(cls, path_or_url: str | os.PathLike[str]) -> Self:
        """Return where that is.

        Args:
            path_or_url: A path, `sqlite:///` and a path, or the URL of another database.

        Raises:
            ValueError: It is empty, in memory, no URL, or a URL of SQLite with options.
        """
        text = os.fspath(path_or_url)
        if not isinstance(path_or_url, str) or "://" not in text:
            return cls._of_file(text)
        try:
            url = make_url(text)
        except ArgumentError:
            raise ValueError("the state is neither a path nor the URL of a database") from None
        if url.get_backend_name() != "sqlite":
            return cls(url)
        if url.query or url.host:
            raise ValueError("the URL of a SQLite state is sqlite:/// and a path, without options")
        return cls._of_file(url.database or "")

    @classmethod
    def _of_file(cls, text: str) -> Self:
        if not text or text.startswith(":memory:") or "\0" in text:
            raise ValueError("the state must be a file: what is in memory does not survive a crash")
        path = Path(text).resolve()
        return cls(URL.create("sqlite", database=str(path)), path)

    def __str__(self) -> str:
        return str(self.path) if self.path else self.url.render_as_string(hide_password=True)
