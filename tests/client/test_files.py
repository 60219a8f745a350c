"""Work on files in a worker thread."""

import asyncio
import threading

import pytest

from connector_async._files import run_in_thread


async def test_cancelled_task_waits_for_its_thread_however_often_it_is_cancelled() -> None:
    started, may_end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        may_end.wait(10)
        ended.set()
        raise OSError("not reported")

    task = asyncio.create_task(run_in_thread(work))
    while not started.is_set():
        await asyncio.sleep(0)
    for _ in range(3):
        task.cancel()
        await asyncio.wait([task], timeout=0.01)
        assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_result_and_error_of_the_thread_are_passed_on() -> None:
    assert await run_in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await run_in_thread(divmod, 7, 0)
