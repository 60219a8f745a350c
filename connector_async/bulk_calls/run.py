"""`bulk`: a bounded number of workers over one iterator, and one outcome for each input."""

import asyncio
import contextvars
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import Final, Generic, TypeVar

from connector_async._checks import check_callable, check_int, check_type
from connector_async._clock import is_cancelled
from connector_async._tracebacks import drop_frames
from connector_async.exceptions import ConnectorError
from connector_async.rate_limit import Priority, priority
from connector_async.retry import last_call

from .inputs import Inputs
from .outcome import Outcome, Status, status_of

InputT = TypeVar("InputT")
ResultT = TypeVar("ResultT")

_SKIPS_AT_ONCE: Final = 256

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
    """Call `function` with each of `inputs`, and return the outcomes, one for each input.

    Whatever a call raises becomes the outcome of its input, bugs in `function` included. Tracebacks are dropped,
    because their frames would keep data in memory. The status is `UNKNOWN` if something may have happened although the
    call raised: after an `OutcomeUnknownError`, a `DecodingError` with `sent` of anything but a read, or a cancellation
    within the call, such as that of an `asyncio.timeout`. The same holds if one of them is in an exception group or the
    cause of the error. A function that makes several writes has to keep track of those that succeeded.

    Memory is flat: the calls in flight and the outcomes that were not taken yet are at most twice `concurrency`. So a
    slow consumer slows the calls down.

    The calls have `Priority.BULK`: single calls of the same tenant go first. They have no deadline by default.

    Args:
        function: Makes one call.
        inputs: The inputs, taken one by one.
        concurrency: The maximum number of calls in flight.
        ordered: Return the outcomes in the order of the inputs instead of the order in which the calls end.
        max_errors: Start no further call after so many failed or unknown outcomes. `None`: no limit.
        ends_on: Start no further call after a call that raises one of these errors. By default every input is used,
            because the calls may be of several tenants, and one's rejected credentials do not concern the others.

    Returns:
        The outcomes, for `async for`. No call starts before the first outcome is requested.

    Raises:
        ValueError: If `concurrency` or `max_errors` is not positive.
        TypeError: If an argument has another type, or `inputs` is a str or bytes.
    """
    check_callable("function", function)
    for kind in ends_on if isinstance(ends_on, tuple) else (ends_on,):
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise TypeError("ends_on must be an exception class, or a tuple of exception classes")
    check_int("concurrency", concurrency)
    if max_errors is not None:
        check_int("max_errors", max_errors)
    check_type("ordered", ordered, bool)
    return Bulk(
        function, Inputs(inputs), concurrency=concurrency, ordered=ordered, max_errors=max_errors, ends_on=ends_on
    )


class Bulk(Generic[InputT, ResultT]):
    """The outcomes of many calls, for `async for`. The calls start when the first outcome is requested.

    If the loop is left early, by `break`, an error or a cancellation, the calls in flight are cancelled, and no further
    call starts. Another `async for` then yields the rest: the outcomes that were not taken, `UNKNOWN` for each call
    that was cut off, and `NOT_STARTED` for the other inputs. A loop that starts while another one is running does the
    same, and gets the rest. The other loop ends without an error once the calls in flight have ended.

    An error of the iterable of the inputs is raised after the last outcome. If the inputs come from an async generator
    that is awaiting something when the loop is left, it is cancelled and ends, as every async generator does. The next
    loop then raises a `RuntimeError`, because the rest of its inputs is unknown. An iterator of a class continues after
    a cancellation, and its end is the end of the inputs. One that wraps an async generator has to raise an error
    itself. If the inputs never end, leave the loop yourself.
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
        """Outcomes that were not taken, by index, in the order in which the calls ended."""
        self._next = 0
        self._errors = 0
        self._workers: set[asyncio.Task[None]] = set()
        self._workers_to_start = concurrency
        self._context = contextvars.Context()
        """The context of the first loop. Each worker gets a copy, so that calls of other workers do not see what one
        sets."""
        self._loops = 0
        """The number of loops that have started. Only the last one takes outcomes."""
        self._ending = False
        self._failure: BaseException | None = None
        self._changed = asyncio.Event()
        # Bounds the calls in flight and the outcomes that were not taken.
        self._room = asyncio.Semaphore(2 * concurrency)

    def __aiter__(self) -> AsyncIterator[Outcome[InputT, ResultT]]:
        return self.outcomes()

    async def outcomes(self) -> AsyncGenerator[Outcome[InputT, ResultT], None]:
        """Yield the outcomes. In a `contextlib.aclosing` block, a loop that is left early ends at once."""
        self._loops += 1
        loop = self._loops
        await self._end_workers()  # of the loop before this one
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
                await asyncio.wait(self._workers)  # cancelled by the loop after this one
        failure = self._failure or self._inputs.error
        if failure is not None and self._loops == loop:
            raise failure

    async def _wait_for_next(self, loop: int) -> Outcome[InputT, ResultT] | None:
        """Return the next outcome. `None`: there is no other one, or another loop has started."""
        while self._loops == loop:
            index = self._next if self._ordered else next(iter(self._finished), self._next)
            outcome = self._finished.pop(index, None)
            if outcome is not None:
                self._next = index + 1
                self._room.release()
                return outcome
            if self._workers:
                self._changed.clear()
                await self._changed.wait()
            elif not await self._skip_input() and not self._finished:
                return None
        return None

    async def _skip_input(self) -> bool:
        """Take an input after the workers have ended. Return whether there was one."""
        if self._next % _SKIPS_AT_ONCE == 0:
            await asyncio.sleep(0)  # nothing else here gives the event loop a chance to run
        indexed = await self._inputs.take()
        if indexed is None:
            return False
        # Not returned: if another loop has started meanwhile, the outcome belongs to that one.
        self._finish(Outcome(index=indexed[0], input=indexed[1], status=Status.NOT_STARTED))
        return True

    def _start_worker(self) -> None:
        self._workers_to_start -= 1
        worker = asyncio.create_task(self._work(), name="connector_async bulk", context=self._context.copy())
        self._workers.add(worker)
        worker.add_done_callback(self._remove_worker)

    async def _work(self) -> None:
        while not self._ending:
            # So that calls whose responses arrived together end before the next requests are written together: on the
            # loopback, this takes an eighth less CPU. And an eager task factory would run each worker inside the one
            # that starts it.
            await asyncio.sleep(0)
            await self._room.acquire()
            indexed = None if self._ending else await self._inputs.take()
            if indexed is None:
                return
            if self._has_ended():  # while the input was awaited
                self._finish(Outcome(index=indexed[0], input=indexed[1], status=Status.NOT_STARTED))
                return
            if self._workers_to_start:
                self._start_worker()
            await self._call(*indexed)

    def _has_ended(self) -> bool:
        return self._ending

    async def _call(self, index: int, value: InputT) -> None:
        record_before = last_call.get(None)
        outcome: Outcome[InputT, ResultT] | None = None
        try:
            result = await self._function(value)
        except Exception as error:  # noqa: BLE001 - it is the outcome
            outcome = self._failed(index, value, error)
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            self._count_error()  # this worker was not cancelled, but something that the function awaits
        else:
            record = last_call.get(None)
            if record is None or record is record_before:  # the function made no call of a service
                attempts = elapsed = None
            else:
                attempts, elapsed = record.attempts, record.elapsed
            outcome = Outcome(
                index=index, input=value, status=Status.DONE, result=result, attempts=attempts, elapsed=elapsed
            )
        finally:
            # A call without an outcome was cut off.
            self._finish(outcome or Outcome(index=index, input=value, status=Status.UNKNOWN))

    def _finish(self, outcome: Outcome[InputT, ResultT]) -> None:
        self._finished[outcome.index] = outcome
        self._changed.set()

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors == self._max_errors:
            self._ending = True

    def _failed(self, index: int, value: InputT, error: Exception) -> Outcome[InputT, ResultT]:
        self._count_error()
        if isinstance(error, self._ends_on):
            self._ending = True
        attempts, elapsed = (error.attempts, error.elapsed) if isinstance(error, ConnectorError) else (None, None)
        drop_frames(error)  # they hold data, and take a hundred times as much memory as the rest
        return Outcome(
            index=index, input=value, status=status_of(error), error=error, attempts=attempts, elapsed=elapsed
        )

    def _remove_worker(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not worker.cancelled():
            self._failure = self._failure or worker.exception()  # a BaseException, such as SystemExit
        self._changed.set()

    async def _end_workers(self) -> None:
        workers = list(self._workers)
        self._ending = self._ending or bool(workers)
        for worker in workers:
            worker.cancel()
        if workers:
            await asyncio.wait(workers)
