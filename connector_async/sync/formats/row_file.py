"""A source in a file with a row for each record, whose columns or members may have other names than the fields."""

import abc
import os
from collections.abc import Generator, Iterable
from datetime import tzinfo
from pathlib import Path
from typing import Final

from connector_async._checks import check_type
from connector_async.sync.records import SourceProblem, SourceRecord

from .mapping import FieldMapping, RowMapper, check_mapping, row_mapper
from .reading import Piece, ReadingCounts, RowReader, open_lines


class RowFileSource(abc.ABC):
    """What the sources of CSV and JSON Lines have in common; their docstrings describe the arguments."""

    def __init__(
        self,
        path: Path | str,
        *,
        tenant_id: str | None = None,
        mapping: FieldMapping | None = None,
        assume_zone: tzinfo | None = None,
        ignore_unknown: bool = False,
    ) -> None:
        check_mapping(mapping, assume_zone)
        check_type("ignore_unknown", ignore_unknown, bool)
        self._path = path
        self._reader = RowReader(os.fspath(path), tenant_id)
        self._assume_zone = assume_zone
        self.mapping: Final = mapping
        """The columns or members of the fields; `None`: each has the name of its field."""
        self.ignore_unknown: Final = ignore_unknown
        """Whether columns or members that no field is read from are ignored."""
        self.counts = ReadingCounts()
        """What the latest reading has ignored: for each column or member, how many of its values."""

    @property
    def name(self) -> str:
        """The file, as the caller named it."""
        return self._reader.source

    @property
    def tenant_id(self) -> str | None:
        """The tenant of a record that names none."""
        return self._reader.tenant_id

    def _read(self) -> Generator[SourceRecord | SourceProblem, None, None]:
        self.counts = ReadingCounts()
        mapper = row_mapper(
            self.mapping, assume_zone=self._assume_zone, ignore_unknown=self.ignore_unknown, counts=self.counts
        )
        with open_lines(self._path) as lines:
            for piece in self._pieces(lines, mapper):
                yield from piece.items

    @abc.abstractmethod
    def _pieces(self, lines: Iterable[tuple[int, bytes]], mapper: RowMapper | None) -> Generator[Piece, None, None]:
        """Yield the parts of the file."""
