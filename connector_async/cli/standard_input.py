"""Standard input as a source: it is copied to a private file, since a source is read more than once."""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Final

import attrs

from connector_async.sync.exceptions import SourceError
from connector_async.sync.formats import FileSource, Source, expanded_range
from connector_async.sync.records import SourceProblem, SourceRecord
from connector_async.sync.scope import Scope

from .line_reader import STANDARD_INPUT, read_chunks
from .settings import Settings
from .source_options import MappingOptions, TimeReader, open_source

_NAME: Final = "standard input"


def is_standard_input(path: Path) -> bool:
    """Return whether a command's file is the standard input."""
    return str(path) == STANDARD_INPUT


@asynccontextmanager
async def opened_source(
    path: Path,
    options: MappingOptions,
    settings: Settings,
    *,
    time_reader: TimeReader | None = None,
) -> AsyncIterator[tuple[Source, FileSource]]:
    """Yield the source for a command's file, and the source that reads the file itself or its copy.

    The standard input is copied to a file that only its owner can read. The copy is removed at the end, also after an
    error or SIGINT, and no message of the first source names it.

    Args:
        path: The file; `-` is the standard input.
        options: Describe the source.
        settings: Describe the source.
        time_reader: Reads the times of CSV for `create`, where a record without a key gets one; `None`: as for a sync.

    Raises:
        ValueError: If an option or a setting is invalid, or the standard input has no format or cannot be read.
        SourceError: If the file cannot be opened, or the standard input not be copied.
    """
    if is_standard_input(path) and options.source_format is None:
        raise ValueError("--source-format must be given with standard input")
    options.source(path, settings)  # rejects invalid options before anything is read
    async with _readable_file(path) as file:
        source = open_source(file, options, settings, time_reader=time_reader)
        yield _StandardInput(source) if is_standard_input(path) else source, source


@asynccontextmanager
async def _readable_file(path: Path) -> AsyncIterator[Path]:
    if not is_standard_input(path):
        yield path
        return
    try:
        descriptor, name = tempfile.mkstemp(prefix="connector-async-")
    except OSError as error:
        raise _copy_error(error) from None
    copy = Path(name)
    try:
        await _copy_to(descriptor)
        yield copy
    finally:
        copy.unlink(missing_ok=True)  # noqa: ASYNC240 - it takes microseconds


async def _copy_to(descriptor: int) -> None:
    with os.fdopen(descriptor, "wb") as file:
        async with aclosing(read_chunks(STANDARD_INPUT)) as chunks:
            async for chunk in chunks:
                try:
                    file.write(chunk)
                    file.flush()
                except OSError as error:
                    raise _copy_error(error) from None


def _copy_error(error: OSError) -> SourceError:
    return SourceError(f"{_NAME} cannot be copied to {tempfile.gettempdir()}: {error.strerror}")


class _StandardInput:
    """A source that reads the copy of the standard input, without its name in any message.

    Args:
        source: Reads the copy.
    """

    def __init__(self, source: FileSource) -> None:
        self._source = source

    @property
    def name(self) -> str:
        """The name in reports."""
        return _NAME

    @property
    def expand(self) -> Scope | None:
        """The range of time in which recurring events are expanded; `None`: they are not."""
        return expanded_range(self._source)

    async def records(self) -> AsyncIterator[SourceRecord | SourceProblem]:
        """Yield the records of the copy.

        Raises:
            SourceError: If they cannot be read.
        """
        try:
            async with aclosing(self._source.records()) as items:  # type: ignore[type-var]  # a generator
                async for item in items:
                    yield attrs.evolve(item, source=_NAME) if isinstance(item, SourceProblem) else item
        except SourceError as error:
            raise SourceError(str(error).replace(self._source.name, _NAME)) from None
