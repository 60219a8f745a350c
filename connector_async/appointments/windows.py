"""A pager that splits a long time range into windows and reads one preview for each."""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import attrs

from connector_async._checks import check_int, check_timedelta
from connector_async._timestamps import format_instant, parse_instant
from connector_async.bulk_calls import bulk
from connector_async.exceptions import ConnectorError, InvalidArgumentError, TransportError
from connector_async.models import Appointment
from connector_async.pagination import AsyncPager, Page
from connector_async.wire import MAX_PROBLEMS

PreviewWindow = Callable[[datetime, datetime], AsyncPager[Appointment]]
"""Returns the appointments that overlap a window, from its start (included) to its end (excluded)."""


class WindowedPager(AsyncPager[Appointment]):
    """Yields one page for each window, in chronological order. Each appointment is on the first page that shows it.

    A continuation token is the start of a window. The following windows are split from there, so a pager with the same
    end and the same window resumes exactly.

    Args:
        preview: Returns the appointments that overlap a window.
        start: The start of the first window; aware.
        end: The end of the last window; aware.
        window: The length of a window.
        concurrency: The number of windows that are fetched at a time. With more than one, as many fetched pages may
            wait for the caller.

    Raises:
        ValueError: If `window` or `concurrency` is not positive, or `start` or `end` is `None`.
        TypeError: If `window` is not a timedelta, or `concurrency` is not an int.
    """

    def __init__(
        self,
        preview: PreviewWindow,
        *,
        start: datetime | None,
        end: datetime | None,
        window: timedelta,
        concurrency: int,
    ) -> None:
        if start is None or end is None:
            raise InvalidArgumentError(
                "start and end must be given: the range between them is split into windows",
                argument="start" if start is None else "end",
            )
        check_timedelta("window", window)
        check_int("concurrency", concurrency)
        self._preview = preview
        self._start = start.astimezone(UTC)
        self._end = end.astimezone(UTC)
        self._window = window
        self._concurrency = concurrency

    async def pages(self, *, continuation_token: str | None = None) -> AsyncGenerator[Page[Appointment], None]:
        """Yield a page for each window, starting at the continuation token.

        Raises:
            ConnectorError: If a window cannot be fetched. The error has the token of that window.
            ValueError: If `continuation_token` is not one of this pager.
        """
        start = self._start if continuation_token is None else self._read(continuation_token)
        shown: set[str] = set()
        if start > self._start:
            # Appointments that the window before has shown must not come again.
            shown = await self._shown_before(start)
        async with aclosing(self._windows(start)) as windows:
            async for start, window in windows:
                items = [item for item in window.items if item.appointment_id not in shown]
                shown = _ids(window.items)
                following = self._end_of(start)
                token = format_instant(following) if following < self._end else None
                yield attrs.evolve(window, items=items, continuation_token=token)

    async def _windows(self, start: datetime) -> AsyncGenerator[tuple[datetime, Page[Appointment]], None]:
        """Yield the start and the page of each window. With a concurrency of 1 nothing is fetched ahead."""
        if self._concurrency == 1:
            for window_start in self._starts(start):
                yield window_start, await self._get(window_start)
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
            return _ids(await self._preview(before, start).collect())
        except ConnectorError as error:
            error.continuation_token = format_instant(start)
            raise

    async def _get(self, start: datetime) -> Page[Appointment]:
        try:
            items: list[Appointment] = []
            raw: Mapping[str, str] = {}
            problems: list[str] = []
            skipped = 0
            async with aclosing(self._preview(start, self._end_of(start)).pages()) as pages:
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
        yield start  # even if the range is empty
        while (start := self._end_of(start)) < self._end:
            yield start

    def _end_of(self, start: datetime) -> datetime:
        return start + min(self._window, self._end - start)

    def _read(self, token: str) -> datetime:
        try:
            start = parse_instant(token)
        except (ValueError, TypeError, AttributeError):
            start = self._end  # rejected below
        if not self._start <= start < self._end:
            raise InvalidArgumentError("continuation_token must be one of this pager", argument="continuation_token")
        return start


def _ids(items: Iterable[Appointment]) -> set[str]:
    return {appointment.appointment_id for appointment in items}
