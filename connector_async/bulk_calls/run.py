"""`bulk`: N workers over one iterator, never a task for each item, and one outcome for each input."""

import asyncio
import contextvars
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Generic, TypeVar

from connector_async._checks import check_int
from connector_async._clock import is_cancelled
from connector_async._tracebacks import drop_frames
from connector_async.exceptions import ConnectorError
from connector_async.rate_limit import Priority, priority
from connector_async.retry import last_call

from .failure import status_of
from .inputs import Inputs
from .outcome import Outcome, Status

InputT = TypeVar("InputT")
ResultT = TypeVar("ResultT")

_TURN = 256

EndsOn = type[Exception] | tuple[type[Exception], ...]


def bulk(
    function: Callable[[InputT], Awaitable[ResultT]],
    inputs: Iterable[InputT] | AsyncIterable[InputT],
    *,
    concurrency: int,
    ordered: bool = False,
    max_errors: int | None = None,
    ends_on: EndsOn = (),
) -> "Bulk[InputT, ResultT]":
    """Call `function` for each of `inputs`, and tell what became of each.

    Whatever a call raises becomes the outcome of its input, a mistake in `function` included, without its traceback,
    whose frames would keep data. It is `UNKNOWN` if something may have been done although the call raised: after an
    `OutcomeUnknownError`, a `DecodingError` with `sent` of anything but a read, or a cancellation within, such as that
    of an `asyncio.timeout`; also when they are in an exception group, or the cause of the error. A function that makes
    several calls that must not be repeated has to account for those that succeeded by itself.

    No more inputs are taken
    than the calls that are under way and the outcomes that wait need, twice `concurrency` together: so memory is flat,
    and whoever takes the outcomes slowly slows the calls.

    The calls are of `Priority.BULK`: single calls of the same tenant go before them, and they have no deadline unless
    told.

    Args:
        function: Makes one call.
        inputs: What to call it with; taken one by one.
        concurrency: How many calls are under way at a time, at most.
        ordered: Outcomes come in the order of their inputs, rather than as they come about.
        max_errors: After so many failed or unknown outcomes no call is begun any more. `None`: however many.
        ends_on: After a call that raises one of these no call is started any more. Without any, the inputs are all
            called with: where they are of many tenants, one's rejected credentials do not keep the others from theirs.

    Returns:
        The outcomes, for `async for`; no call is begun before the first one is asked for.

    Raises:
        ValueError: `concurrency` or `max_errors` is not above zero.
        TypeError: An argument is of another type; `inputs` is a text, or bytes.
    """
    if not callable(function):
        raise TypeError(f"function must be callable, not {type(function).__name__}")
    for kind in ends_on if isinstance(ends_on, tuple) else (ends_on,):
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise TypeError("ends_on must be a class of exceptions, or a tuple of them")
    check_int("concurrency", concurrency)
    if max_errors is not None:
        check_int("max_errors", max_errors)
    if not isinstance(ordered, bool):
        raise TypeError(f"ordered must be a bool, not {type(ordered).__name__}")
    return Bulk(
        function, Inputs(inputs), concurrency=concurrency, ordered=ordered, max_errors=max_errors, ends_on=ends_on
    )


class Bulk(Generic[InputT, ResultT]):
    """The outcomes of many calls, for `async for`; the calls begin when the first outcome is asked for.

    When the loop is left before its end, by `break`, an error or a cancellation, the calls that are under way are
    cancelled, and no further one is begun. What is left can then be had by another `async for`: the outcomes that
    were not taken, `UNKNOWN` for each call that was cut off, and `NOT_STARTED` for the rest of the inputs. A loop that
    begins while another one goes on does the same, and gets what is left: the other one comes to its end, without an
    error, once the calls that were under way have ended.

    What the iterable of the inputs raises is raised when every outcome has been taken. An async generator that is
    awaiting something when the loop is left is ended by that, as every one that is cancelled: a `RuntimeError` then
    says that nobody knows what it had left. An iterator of a class goes on where it was cancelled, and is taken at its
    word when it ends; one that wraps an async generator should tell by itself. Inputs without end must be left by the
    one who loops.
    """

    def __init__(
        self,
        function: Callable[[InputT], Awaitable[ResultT]],
        inputs: Inputs[InputT],
        *,
        concurrency: int,
        ordered: bool,
        max_errors: int | None,
        ends_on: EndsOn,
    ) -> None:
        self._function = function
        self._inputs = inputs
        self._ordered = ordered
        self._max_errors = max_errors
        self._ends_on = ends_on
        self._finished: dict[int, Outcome[InputT, ResultT]] = {}
        """By index, in the order in which they came about."""
        self._next = 0
        self._errors = 0
        self._workers: set[asyncio.Task[None]] = set()
        self._workers_to_come = concurrency
        self._context = contextvars.Context()
        """Of whoever began the first loop: what one call sets there is not there for the calls of other workers."""
        self._loops = 0
        """How many have begun; the last one is the only one that takes outcomes."""
        self._ending = False
        self._failure: BaseException | None = None
        self._news = asyncio.Event()
        # Of calls that are under way, and outcomes that were not taken.
        self._room = asyncio.Semaphore(2 * concurrency)

    def __aiter__(self) -> AsyncIterator[Outcome[InputT, ResultT]]:
        return self.outcomes()

    async def outcomes(self) -> AsyncGenerator[Outcome[InputT, ResultT], None]:
        """Yield the outcomes; with `contextlib.aclosing` around it, a loop that is left early is ended at once."""
        self._loops += 1
        loop = self._loops
        await self._end_workers()  # of a loop that was left, or is ended by this one
        if loop == 1:
            self._context = contextvars.copy_context()
            self._context.run(priority.set, Priority.BULK)
            self._start_worker()
        try:
            while (outcome := await self._wait_for_next(loop)) is not None:
                yield outcome
        finally:
            if self._loops == loop:
                await self._end_workers()
            elif self._workers:
                await asyncio.wait(self._workers)  # cancelled by the loop that came after
        failure = self._failure or self._inputs.error
        if failure is not None and self._loops == loop:
            raise failure

    async def _wait_for_next(self, loop: int) -> Outcome[InputT, ResultT] | None:
        """Return the next outcome; `None` when there is none any more, or another loop has begun."""
        while self._loops == loop:
            index = self._next if self._ordered else next(iter(self._finished), self._next)
            outcome = self._finished.pop(index, None)
            if outcome is not None:
                self._next = index + 1
                self._room.release()
                return outcome
            if self._workers:
                self._news.clear()
                await self._news.wait()
            elif not await self._skip_input() and not self._finished:
                return None
        return None

    async def _skip_input(self) -> bool:
        """Take an input that nobody works on any more; return whether there was one."""
        if self._next % _TURN == 0:
            await asyncio.sleep(0)  # nothing else is waited for here
        numbered = await self._inputs.take()
        if numbered is None:
            return False
        # Not returned: a loop that was ended meanwhile leaves it to the one after.
        self._finish(Outcome(index=numbered[0], input=numbered[1], status=Status.NOT_STARTED))
        return True

    def _start_worker(self) -> None:
        self._workers_to_come -= 1
        worker = asyncio.create_task(self._work(), name="connector_async bulk", context=self._context.copy())
        self._workers.add(worker)
        worker.add_done_callback(self._leave)

    async def _work(self) -> None:
        await asyncio.sleep(0)  # an eager task factory would start each within the one before
        while not self._ending:
            await self._room.acquire()
            numbered = None if self._ending else await self._inputs.take()
            if numbered is None:
                return
            if self._has_ended():  # while the input was awaited
                self._finish(Outcome(index=numbered[0], input=numbered[1], status=Status.NOT_STARTED))
                return
            if self._workers_to_come:
                self._start_worker()
            await self._call(*numbered)

    def _has_ended(self) -> bool:
        return self._ending

    async def _call(self, index: int, value: InputT) -> None:
        before = last_call.get(None)
        outcome: Outcome[InputT, ResultT] | None = None
        try:
            result = await self._function(value)
        except Exception as error:  # noqa: BLE001 - it is the outcome
            outcome = self._failed(index, value, error)
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            self._count_error()  # nobody cancelled this worker: what the function awaits was
        else:
            record = last_call.get(None)
            if record is None or record is before:  # of another call
                attempts = elapsed = None
            else:
                attempts, elapsed = record.attempts, record.elapsed
            outcome = Outcome(
                index=index, input=value, status=Status.DONE, result=result, attempts=attempts, elapsed=elapsed
            )
        finally:
            # Without an outcome it was cut off.
            self._finish(outcome or Outcome(index=index, input=value, status=Status.UNKNOWN))

    def _finish(self, outcome: Outcome[InputT, ResultT]) -> None:
        self._finished[outcome.index] = outcome
        self._news.set()

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors == self._max_errors:
            self._ending = True

    def _failed(self, index: int, value: InputT, error: Exception) -> Outcome[InputT, ResultT]:
        self._count_error()
        if isinstance(error, self._ends_on):
            self._ending = True
        attempts, elapsed = (error.attempts, error.elapsed) if isinstance(error, ConnectorError) else (None, None)
        drop_frames(error)  # they hold data, and a hundred times as much as the rest
        return Outcome(
            index=index, input=value, status=status_of(error), error=error, attempts=attempts, elapsed=elapsed
        )

    def _leave(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not worker.cancelled():
            self._failure = self._failure or worker.exception()  # what is no Exception, such as SystemExit
        self._news.set()

    async def _end_workers(self) -> None:
        workers = list(self._workers)
        self._ending = self._ending or bool(workers)
        for worker in workers:
            worker.cancel()
        if workers:
            await asyncio.wait(workers)
