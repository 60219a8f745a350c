"""Merging changes of records into a file as it is now. It knows no file format.

The file is read twice: to find out which changes fit what it has now, and to copy it with these changes. Memory is in
proportion to the changes, not to the file.
"""

import codecs
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from connector_async._files import atomic_replace, open_regular
from connector_async._timestamps import parse_instant
from connector_async.sync.exceptions import SourceError
from connector_async.sync.records import ABSENT, SourceRecord, content_hash, row_of

from .mirror import RecordChange, RecordId
from .reading import CHUNK, FileLines, Piece, iterate_in_thread, source_error

_ATTEMPTS: Final = 5
_CONTENT: Final = ("title", "start_time", "end_time", "description", "description_type", "time_zone", "modified")
_PLAIN: Final = "Text"
_REFUSED: Final = "these occurrences of a recurring event cannot be changed alone, so change them in the file"
_SHOWN_KEYS: Final = 10


class FileEditor(Protocol):
    """Reads the parts of a file of one format, and makes others of them. Each pass over the file gets a new one."""

    @property
    def line_end(self) -> bytes:
        """The end of the file's lines, once the first part was read."""
        ...

    def pieces(self, lines: Iterable[tuple[int, bytes]]) -> Generator[Piece, None, None]:
        """Yield the parts of a file with some numbered lines. Each iteration over these starts from the first.

        Raises:
            SourceError: If it is not a file of this format.
        """
        ...

    def prepare(self, records: Sequence[SourceRecord]) -> None:
        """Prepare to write some changed and new records. Called before `pieces`."""
        ...

    def kept(self, piece: Piece) -> bytes:
        """Return the bytes of a part that stays as it is."""
        ...

    def changed(self, piece: Piece, changes: Mapping[RecordId, SourceRecord | None]) -> bytes:
        """Return the bytes of a part after changes of its records: with what the format does not model, as it was.

        Args:
            piece: The part.
            changes: Some of its records after the change; `None` for one that is removed.
        """
        ...

    def added(self, records: Sequence[SourceRecord]) -> bytes:
        """Return the bytes of new records, each with a line end."""
        ...


async def merge_into_file(
    path: Path | str, new_editor: Callable[[], FileEditor], changes: Mapping[RecordId, RecordChange]
) -> Collection[RecordId]:
    """Merge changes into a file, as `MergingMirror.merge` does.

    If the file is changed until just before it is replaced, the changes are merged again, some times at most. Its
    owner, group and mode are kept.

    Raises:
        SourceError: If the file cannot be read or written, or is changed again and again. If the format cannot make one
            of the changes; the others have been made.
    """
    for _ in range(_ATTEMPTS):
        merge = _FileMerge(Path(path), new_editor, changes)
        try:
            async for _ in iterate_in_thread(merge.run()):
                pass
        except _ChangedError:
            continue
        except OSError as error:
            raise source_error(path, error) from None
        if merge.refused:
            raise SourceError(f"{os.fspath(path)}: {_REFUSED}: {', '.join(merge.refused[:_SHOWN_KEYS])}")
        return merge.settled
    raise SourceError(f"{os.fspath(path)}: changed again and again while changes were written back; they are kept")


def changed_fields(row: Mapping[str, Any], record: SourceRecord) -> dict[str, str | None]:
    """Return the fields of a row that must change so that it has the content of a record; `None` to remove one.

    What means the same stays as it is written: an instant with another UTC offset, for example. `modified` is removed,
    since it is not known when the source's side has changed; a time zone that the record does not name is kept.
    """
    new = row_of(record)
    names = [name for name in _CONTENT if name != "time_zone" or name in new]
    return {name: new.get(name) for name in names if not _means_same(name, row.get(name), new.get(name))}


class _ChangedError(Exception):
    """The file is not what was read any more."""


class _FileMerge:
    """One attempt to merge changes into a file."""

    def __init__(
        self, path: Path, new_editor: Callable[[], FileEditor], changes: Mapping[RecordId, RecordChange]
    ) -> None:
        self._path = path
        self._new_editor = new_editor
        self._changes = changes
        self.settled: set[RecordId] = set()
        """The changed records that the file has now."""
        self.refused: list[str] = []
        """The keys of those that the format cannot change."""

    def run(self) -> Generator[None, None, None]:
        """Merge, with a step for each part of the file.

        Raises:
            SourceError: If it is not a file of its format.
            OSError: If it cannot be read or written.
            _ChangedError: If it was changed meanwhile; nothing was written.
        """
        with open_regular(self._path) as file:
            lines, scan = self._lines(file), _Scan(self._changes)
            for number, piece in enumerate(self._new_editor().pieces(lines)):
                scan.add(number, piece)
                yield
            fitting = scan.fitting()
            self.refused = sorted(key for _, key in fitting & scan.unchangeable)
            fitting -= scan.unchangeable
            if fitting:
                yield from self._write(self._lines(file), lines, fitting, scan.end)
        self.settled = fitting | scan.done()

    def _lines(self, file: BinaryIO) -> FileLines:
        return FileLines(file, os.fspath(self._path), is_hashed=True)

    def _write(
        self, lines: FileLines, before: FileLines, fitting: set[RecordId], end: int | None
    ) -> Generator[None, None, None]:
        def check() -> None:
            if lines.digest() != before.digest() or not _is_unchanged(self._path, lines.digest()):
                raise _ChangedError

        editor = self._new_editor()
        records = [each for each in map(self._record, fitting) if each is not None]
        editor.prepare(records)
        new = [record_id for record_id in self._changes if record_id in fitting and self._is_new(record_id)]
        with (
            atomic_replace(self._path, keep_access=True, before_replace=check) as temporary,
            temporary.open("wb") as file,
        ):
            output = _Output(file)
            for number, piece in enumerate(editor.pieces(lines)):
                if number == 0 and lines.has_mark:
                    output.write(codecs.BOM_UTF8)
                if number == end:
                    yield from self._add(output, editor, new)
                output.write(self._edited(editor, piece, fitting))
                yield
            if end is None:
                yield from self._add(output, editor, new)

    def _add(self, output: "_Output", editor: FileEditor, new: Sequence[RecordId]) -> Generator[None, None, None]:
        if new and not output.is_at_line_start:
            output.write(editor.line_end)
        for first in range(0, len(new), CHUNK):
            records = map(self._record, new[first : first + CHUNK])
            output.write(editor.added([record for record in records if record is not None]))
            yield

    def _edited(self, editor: FileEditor, piece: Piece, fitting: set[RecordId]) -> bytes:
        found = {(item.calendar, item.key) for item in piece.items if isinstance(item, SourceRecord)} & fitting
        if not found:
            return editor.kept(piece)
        return editor.changed(piece, {record_id: self._record(record_id) for record_id in found})

    def _record(self, record_id: RecordId) -> SourceRecord | None:
        return self._changes[record_id].record

    def _is_new(self, record_id: RecordId) -> bool:
        return self._changes[record_id].replaced_hash == ABSENT


class _Scan:
    """Finds out which changes fit what a file has."""

    def __init__(self, changes: Mapping[RecordId, RecordChange]) -> None:
        self._changes = changes
        self._keys = {key for _, key in changes}
        self._copies: Counter[RecordId] = Counter()
        self._hashes: dict[RecordId, str] = {}
        self._unreadable: set[tuple[str | None, str]] = set()
        self.unchangeable: set[RecordId] = set()
        """The records that the format cannot change alone."""
        self.end: int | None = None
        """The number of the part that new records must stand before; `None`: they stand at the end."""

    def add(self, number: int, piece: Piece) -> None:
        if piece.is_end:
            self.end = number
        for item in piece.items:
            if isinstance(item, SourceRecord):
                record_id = item.calendar, item.key
                if record_id in self._changes:
                    self._copies[record_id] += 1
                    self._hashes[record_id] = content_hash(item.appointment)
                    if item.key in piece.unchangeable:
                        self.unchangeable.add(record_id)
            elif item.key in self._keys:
                self._unreadable.add((None if item.calendar is None else item.calendar.tenant_id, item.key or ""))

    def fitting(self) -> set[RecordId]:
        """Return the changes to write."""
        return {
            record_id
            for record_id, change in self._changes.items()
            if self._is_clear(record_id)
            and self._hash(record_id) == change.replaced_hash
            and self._hash(record_id) != change.content_hash
        }

    def done(self) -> set[RecordId]:
        """Return the changes that the file has already."""
        return {
            record_id
            for record_id, change in self._changes.items()
            if self._is_clear(record_id) and self._hash(record_id) == change.content_hash
        }

    def _hash(self, record_id: RecordId) -> str:
        return self._hashes.get(record_id, ABSENT)

    def _is_clear(self, record_id: RecordId) -> bool:
        """Return whether no duplicate and no unreadable record may be meant."""
        calendar, key = record_id
        unreadable = self._unreadable & {(None, key), (calendar.tenant_id, key)}
        return self._copies[record_id] <= 1 and not unreadable


class _Output:
    """Writes a file, and knows whether it ends with a line end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.is_at_line_start = True

    def write(self, content: bytes) -> None:
        if content:
            self._file.write(content)
            self.is_at_line_start = content.endswith((b"\n", codecs.BOM_UTF8))


def _is_unchanged(path: Path, digest: bytes) -> bool:
    """Return whether a file still has the content with a digest.

    The content is compared, since a file's time of change is too coarse. The time shows a change while it is read.
    """
    before = path.stat()
    with open_regular(path) as file:
        now = hashlib.file_digest(file, "blake2b").digest()
    after = path.stat()
    names = ("st_dev", "st_ino", "st_size", "st_mtime_ns")
    return now == digest and all(getattr(before, name) == getattr(after, name) for name in names)


def _means_same(name: str, old: Any, new: str | None) -> bool:
    if name in {"start_time", "end_time"}:
        return isinstance(old, str) and new is not None and parse_instant(old) == parse_instant(new)
    if name == "description_type":
        old, new = old or _PLAIN, new or _PLAIN
    return (old or "") == (new or "")
