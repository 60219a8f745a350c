"""The source protocol, and a source over any iterable. It knows no files."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from typing import Protocol, TypeAlias, runtime_checkable

from connector_async.sync.exceptions import SourceError
from connector_async.sync.records import SourceProblem, SourceRecord
from connector_async.sync.scope import Scope

Item: TypeAlias = SourceRecord | SourceProblem


class Source(Protocol):
    """A complete set of records: the appointments that the server should have."""

    @property
    def name(self) -> str:
        """The name of the source in reports: the file as the caller named it, or another name."""
        ...

    def records(self) -> AsyncIterator[Item]:
        """Yield every record, and a problem for each record that cannot be read. Each call starts from the first.

        Duplicate keys are not detected here.

        Raises:
            SourceError: If the source cannot be read to its end.
        """
        ...


@runtime_checkable
class ExpandingSource(Source, Protocol):
    """A source with the occurrences of recurring events within a range of time.

    The key of an occurrence ends in `/` and its RECURRENCE-ID. A run deletes no such key whose appointment is outside
    of the range.
    """

    @property
    def expand(self) -> Scope | None:
        """The range of time; `None`: recurring events are not expanded."""
        ...


def expanded_range(source: Source) -> Scope | None:
    """Return the range of time within which a source has occurrences of recurring events; `None`: it has none."""
    return source.expand if isinstance(source, ExpandingSource) else None


class IterableSource:
    """A source over any iterable or async iterable, such as a list, a generator or a database query.

    Args:
        records: The records. An iterator can be read only once: a second pass would find no records, as if all of them
            were deleted.
        name: The name of the source in reports.

    Raises:
        TypeError: If `records` is not an iterable or an async iterable, or is a str or bytes.
    """

    def __init__(self, records: Iterable[Item] | AsyncIterable[Item], name: str = "records") -> None:
        if not isinstance(records, Iterable | AsyncIterable) or isinstance(records, str | bytes):
            raise TypeError(f"records must be an iterable or an async iterable, not {type(records).__name__}")
        self._records = records
        self._name = name
        self._was_read = False

    @property
    def name(self) -> str:
        """The name of the source in reports."""
        return self._name

    async def records(self) -> AsyncIterator[Item]:
        """Yield the items of the iterable.

        Raises:
            SourceError: If the iterable is an iterator that was read before.
            TypeError: If an item is neither a `SourceRecord` nor a `SourceProblem`.
        """
        if self._was_read and isinstance(self._records, Iterator | AsyncIterator):
            raise SourceError(f"{self._name}: an iterator can be read only once")
        self._was_read = True
        async with aclosing(_iterate(self._records)) as items:
            async for item in items:
                if not isinstance(item, (SourceRecord, SourceProblem)):
                    raise TypeError(f"records must have SourceRecord or SourceProblem, not {type(item).__name__}")
                yield item


async def _iterate(records: Iterable[Item] | AsyncIterable[Item]) -> AsyncGenerator[Item, None]:
    if not isinstance(records, AsyncIterable):
        for item in records:
            yield item
        return
    iterator = aiter(records)
    try:
        async for item in iterator:
            yield item
    finally:
        if isinstance(iterator, AsyncGenerator):
            await iterator.aclose()  # at once, if the caller left its loop early
