"""How a CSV file is written: its delimiter and its header, as spreadsheets write them."""

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Final

import attrs

from connector_async.sync.exceptions import SourceError

from .encoding import utf16_reason

DELIMITERS: Final = (",", ";", "\t")
"""Spreadsheets write a semicolon where the comma is the decimal sign."""
_DELIMITER_LINE: Final = re.compile(rb'"?sep=([^"\r\n])"?\r?\n?', re.IGNORECASE)
_EMPTY: Final = b' \t\r\n,;"'


@attrs.frozen
class Header:
    """The start of a CSV file, to its header."""

    leading: tuple[bytes, ...] = attrs.field(repr=False)
    """The lines before the header: that with the delimiter, and blank lines."""
    raw: bytes = attrs.field(repr=False)
    """The bytes of the header line; it may have several lines, if names in quotes have line breaks."""
    last_line: int
    """The number of its last line, from 1."""
    delimiter: str
    names: list[str] = attrs.field(repr=False)
    """The names of the columns; empty where a column has none."""


def read_header(
    name: str, lines: Iterator[tuple[int, bytes]], required: Sequence[str]
) -> tuple[Header, Iterator[tuple[int, bytes]]]:
    """Read the header of a CSV file, and return it with the lines after it.

    The delimiter is the one of a first line `sep=;`, as Excel reads and writes it, or else that of `DELIMITERS` with
    which the header has the most of the required columns.

    Args:
        name: The file, as messages name it.
        lines: The numbered lines of the file.
        required: The columns that the header should have.

    Raises:
        SourceError: If the file is UTF-16, or has no header that can be read.
    """
    leading: list[bytes] = []
    candidates: Sequence[str] = DELIMITERS
    for number, line in lines:
        if number == 1:
            if (reason := utf16_reason(line)) is not None:
                raise SourceError(f"{name} cannot be read: {reason}")
            if named := _DELIMITER_LINE.fullmatch(line):
                candidates = (named[1].decode("latin-1"),)
                leading.append(line)
                continue
        if not line.strip(_EMPTY):
            leading.append(line)
            continue
        held = _with_quoted_lines(number, line, lines)
        first = held if _is_closed(held) else held[:1]
        headers = [(each, names) for each in candidates if (names := _names(first, each)) is not None]
        if not headers:
            _reject_carriage_returns(name, line)
            break
        delimiter, names = max(headers, key=lambda each: len(set(each[1]) & set(required)))
        header = Header(tuple(leading), b"".join(raw for _, raw in first), first[-1][0], delimiter, names)
        return header, chain(held[len(first) :], lines)
    raise SourceError(f"{name} has no header line that can be read")


def _reject_carriage_returns(name: str, line: bytes) -> None:
    if b"\r" in line.rstrip(b"\r\n"):
        raise SourceError(f"the lines of {name} must end with a line feed, not with a carriage return alone")


def _with_quoted_lines(number: int, line: bytes, lines: Iterator[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Return a line with those after it that still belong to a name in quotes."""
    held, size = [(number, line)], len(line)
    while not _is_closed(held) and size <= csv.field_size_limit() and (following := next(lines, None)) is not None:
        held.append(following)
        size += len(following[1])
    return held


def _is_closed(lines: Sequence[tuple[int, bytes]]) -> bool:
    return sum(line.count(b'"') for _, line in lines) % 2 == 0


def _names(lines: Sequence[tuple[int, bytes]], delimiter: str) -> list[str] | None:
    """Return the names of a header with a delimiter; `None`: it cannot be read with that one."""
    try:
        rows = list(csv.reader((decode(line) for _, line in lines), delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    return [name if name.strip() else "" for name in rows[0]] if len(rows) == 1 else None


def decode(raw: bytes) -> str:
    """Return a line as a string. A byte that is not UTF-8 is a lone surrogate, which fields reject."""
    return raw.decode("utf-8", "surrogateescape")


def encode(text: str) -> bytes:
    """Return the bytes of a string that `decode` has returned."""
    return text.encode("utf-8", "surrogateescape")
