"""A long time walked in windows, one after the other, each of which is one preview."""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import attrs

from connector_async._checks import check_int
from connector_async._timestamps import format_instant, parse_instant
from connector_async.bulk_calls import bulk
from connector_async.exceptions import ConnectorError, TransportError
from connector_async.models import Appointment
from connector_async.pagination import AsyncPager, Page
from connector_async.wire import MAX_PROBLEMS

Pages = Callable[[datetime, datetime], AsyncPager[Appointment]]
"""Returns what overlaps a window, from its start (included) to its end (excluded)."""


class WindowedPager(AsyncPager[Appointment]):
    """A page for each window, in the order of time, each appointment in the first window that shows it.

    A continuation token is the start of a window. The windows after it are cut from there on, so that a walk goes on
    exactly when the pager has the same end and the same window.

    Args:
        pages_of: Returns what overlaps a window.
        start: Where the first window begins; aware.
        end: Where the last one ends; aware.
        window: How long each is.
        concurrency: How many are fetched at a time; with more than one, as many again wait for the caller.

    Raises:
        ValueError: `window` or `concurrency` is not above zero, or an end is missing.
        TypeError: `window` is no timedelta, or `concurrency` no int.
    """

    def __init__(
        self, pages_of: Pages, *, start: datetime | None, end: datetime | None, window: timedelta, concurrency: int
    ) -> None:
        if start is None or end is None:
            raise ValueError("start and end must be given: the time between them is cut into windows")
        if not isinstance(window, timedelta):
            raise TypeError(f"window must be a timedelta, not {type(window).__name__}")
        if window <= timedelta(0):
            raise ValueError("window must be above zero")
        check_int("concurrency", concurrency)
        self._pages_of = pages_of
        self._start = start.astimezone(UTC)
        self._end = end.astimezone(UTC)
        self._window = window
        self._concurrency = concurrency

    async def pages(self, *, continuation_token: str | None = None) -> AsyncGenerator[Page[Appointment], None]:
        """Yield the windows, from the one that the token is for.

        Raises:
            ConnectorError: A window cannot be had; the error has its token.
            ValueError: `continuation_token` is none of this pager's.
        """
        start = self._start if continuation_token is None else self._read(continuation_token)
        shown: set[str] = set()
        if start > self._start:
            # What the window before has shown; from there on the walk knows itself.
            shown = await self._shown_before(start)
        async with aclosing(self._windows(start)) as windows:
            async for start, window in windows:
                items = [item for item in window.items if item.appointment_id not in shown]
                shown = _ids(window.items)
                following = self._end_of(start)
                token = format_instant(following) if following < self._end else None
                yield attrs.evolve(window, items=items, continuation_token=token)

    async def _windows(self, start: datetime) -> AsyncGenerator[tuple[datetime, Page[Appointment]], None]:
        """Yield the start of each window and what overlaps it; none is fetched ahead unless several are at a time."""
        if self._concurrency == 1:
            for begin in self._starts(start):
                yield begin, await self._get(begin)
            return
        run = bulk(self._get, self._starts(start), concurrency=self._concurrency, ordered=True, ends_on=Exception)
        async with aclosing(run.outcomes()) as outcomes:
            async for outcome in outcomes:
                if outcome.result is None:
                    raise outcome.error or self._cut_off(outcome.input)
                yield outcome.input, outcome.result

    def _cut_off(self, start: datetime) -> TransportError:
        error = TransportError("a window was cut off")
        error.continuation_token = self._token(start)
        return error

    def _token(self, start: datetime) -> str | None:
        return None if start == self._start else format_instant(start)

    async def _shown_before(self, start: datetime) -> set[str]:
        before = start - min(self._window, start - self._start)
        try:
            return _ids(await self._pages_of(before, start).collect())
        except ConnectorError as error:
            error.continuation_token = format_instant(start)
            raise

    async def _get(self, start: datetime) -> Page[Appointment]:
        try:
            items: list[Appointment] = []
            raw: Mapping[str, str] = {}
            problems: list[str] = []
            skipped = 0
            async with aclosing(self._pages_of(start, self._end_of(start)).pages()) as pages:
                async for page in pages:
                    items += page.items
                    raw = page.raw
                    problems += page.problems
                    skipped += page.skipped
            return Page(items=items, raw=raw, problems=tuple(problems[:MAX_PROBLEMS]), skipped=skipped)
        except ConnectorError as error:
            error.continuation_token = self._token(start)
            raise

    def _starts(self, start: datetime) -> Iterator[datetime]:
        yield start  # also when there is no time from the start to the end
        while (start := self._end_of(start)) < self._end:
            yield start

    def _end_of(self, start: datetime) -> datetime:
        return start + min(self._window, self._end - start)

    def _read(self, token: str) -> datetime:
        try:
            start = parse_instant(token)
        except (ValueError, TypeError, AttributeError):
            start = self._end
        if not self._start <= start < self._end:
            raise ValueError("continuation_token must be one that this pager gave")
        return start


def _ids(items: Iterable[Appointment]) -> set[str]:
    return {appointment.appointment_id for appointment in items}
