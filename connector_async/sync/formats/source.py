"""What a source is, and the one that any iterable makes. It knows no file."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import aclosing
from typing import Protocol, TypeAlias

from connector_async.sync.exceptions import SourceError
from connector_async.sync.records import SourceProblem, SourceRecord

Item: TypeAlias = SourceRecord | SourceProblem


class Source(Protocol):
    """What says which appointments there should be."""

    @property
    def name(self) -> str:
        """The file, as it was named, or what else the records come from."""
        ...

    def records(self) -> AsyncIterator[Item]:
        """Yield every record, and a problem for each that cannot be read; from the beginning on every call.

        A key that comes twice is not looked for.

        Raises:
            SourceError: The source cannot be read, or not to its end.
        """
        ...


class IterableSource:
    """Records of a list, a generator, a query: of any iterable or async iterable.

    Args:
        records: An iterator can be read once only: a second walk would find nothing, which looks as if all were gone.
        name: Names it in reports.

    Raises:
        TypeError: `records` is neither kind of iterable.
    """

    def __init__(self, records: Iterable[Item] | AsyncIterable[Item], name: str = "records") -> None:
        if not isinstance(records, Iterable | AsyncIterable) or isinstance(records, str | bytes):
            raise TypeError(f"records must be an iterable or an async iterable, not {type(records).__name__}")
        self._records = records
        self._name = name
        self._walked = False

    @property
    def name(self) -> str:
        """What names it in reports."""
        return self._name

    async def records(self) -> AsyncIterator[Item]:
        """Yield what the iterable has.

        Raises:
            SourceError: It is an iterator that was read before.
            TypeError: It has something else than records and problems.
        """
        if self._walked and isinstance(self._records, Iterator | AsyncIterator):
            raise SourceError(f"{self._name}: an iterator can be read once only")
        self._walked = True
        async with aclosing(_walk(self._records)) as items:
            async for item in items:
                if not isinstance(item, SourceRecord | SourceProblem):
                    raise TypeError(f"records must have SourceRecord or SourceProblem, not {type(item).__name__}")
                yield item


async def _walk(records: Iterable[Item] | AsyncIterable[Item]) -> AsyncGenerator[Item, None]:
    if not isinstance(records, AsyncIterable):
        for item in records:
            yield item
        return
    walk = aiter(records)
    try:
        async for item in walk:
            yield item
    finally:
        if isinstance(walk, AsyncGenerator):
            await walk.aclose()  # a loop that is left is ended at once
