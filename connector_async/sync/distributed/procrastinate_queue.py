"""`ProcrastinateQueue`: a queue in the PostgreSQL database of the state, by procrastinate. It needs `[distributed]`."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Self

import croniter
from procrastinate import App, BaseRetryStrategy, JobContext, RetryDecision, exceptions, jobs

from connector_async import _log
from connector_async._checks import check_int, check_seconds, check_text, check_type
from connector_async._tracebacks import hiding_arguments
from connector_async.sync.exceptions import (
    FencedError,
    StateBusyError,
    StateError,
    StateUnavailableError,
    TargetMismatchError,
)
from connector_async.sync.state.db.engine import LEASE_SECONDS
from connector_async.sync.state.db.location import Location
from connector_async.sync.state.shares import waiting_shares

from .procrastinate_connection import RepeatingConnector, apply_schema, queue_errors
from .share import QUANTUM, Share, ShareResult, ShareWorker, ends_share

_QUEUE: Final = "connector_async"
_SHARE_TASK: Final = "connector_async.share"
_PERIODIC_TASK: Final = "connector_async.enqueue"
_POLL: Final = 2.0  # seconds; as long may a share wait that is put while no other is waiting
_BUSY_PAUSE: Final = 5  # seconds
_MOST_RETRIES: Final = 20
_LONGEST_PAUSE: Final = 60  # seconds between two
_LONG_AGO: Final = datetime.fromtimestamp(0, UTC)
"""The time of a job that is due at once, by any clock."""

Periodic = Callable[[], Awaitable[object]]
"""Starts a run of a schedule."""


class _Retries(BaseRetryStrategy):
    """Delivers a share again if the state could not be used for the moment, or by this version.

    Args:
        later: Returns the time so many seconds from now.
    """

    def __init__(self, later: Callable[[float], datetime]) -> None:
        self._later = later

    def get_retry_decision(self, *, exception: BaseException, job: jobs.Job) -> RetryDecision | None:
        """Return when, or `None` for never."""
        if not isinstance(exception, Exception) or ends_share(exception) or job.attempts >= _MOST_RETRIES:
            return None
        return RetryDecision(retry_at=self._later(min(_LONGEST_PAUSE, 2**job.attempts)))


class ProcrastinateQueue:
    """A queue of shares in PostgreSQL, and the work on it. Use it as an async context manager.

    Each worker has a heartbeat. The shares of one that was killed are delivered again a lease later, those of one that
    was stopped at once. A process has one connection for its queue.

    Args:
        url: The URL of the state.

    Raises:
        ValueError: If `url` is not the URL of a PostgreSQL database.
    """

    @hiding_arguments  # the URL may have a password
    def __init__(self, url: str) -> None:
        self._location = Location.parse(url)
        if self._location.path is not None:
            raise ValueError("url must start with postgresql://: a queue for several processes needs PostgreSQL")
        self._app = App(connector=RepeatingConnector(self._location, self._end_without_database))
        self._queues = [_QUEUE]
        self._shares: ShareWorker | None = None
        self._on_failure: Callable[[Share | None, Exception], None] = _log_failure
        self._running: dict[int, asyncio.Task[Any]] = {}
        """The tasks of the jobs that are worked on, by the id of the job."""
        self._worker_ids: set[int] = set()
        """What procrastinate calls the workers of this process."""
        self._worker: asyncio.Task[None] | None = None
        self._is_stopped = False
        self._error: Exception | None = None
        """Why this process cannot work any more."""
        self.failed = 0
        """How many shares this process has given up; see `ShareWorker.give_up`."""
        self._retries = _Retries(self._later)
        self._app.task(name=_SHARE_TASK, queue=_QUEUE, pass_context=True, retry=self._retries)(self._work_share)

    async def __aenter__(self) -> Self:
        with queue_errors(self._location):
            await apply_schema(self._location)
            await self._app.open_async()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._app.close_async()

    async def put(self, share: Share) -> None:
        """Put a share into the queue. One that is waiting in it already is not put twice.

        Raises:
            StateUnavailableError: If the database does not respond for minutes.
        """
        with queue_errors(self._location):
            await self._put(share)

    async def _put(self, share: Share, pause: int = 0) -> None:
        job = self._app.configure_task(
            _SHARE_TASK,
            allow_unknown=False,
            queueing_lock=_key(share),
            schedule_at=self._later(pause) if pause else None,
        )
        with suppress(exceptions.AlreadyEnqueued):
            await job.defer_async(**share.as_json())

    def _later(self, seconds: float) -> datetime:
        """Return the time so many seconds from now by the clock of the database, which decides what is due."""
        assert self._shares is not None  # noqa: S101 - `work` has set it
        return datetime.fromtimestamp(self._shares.state.clock.time() + seconds, UTC)

    def add_schedule(self, cron: str, name: str, start: Periodic) -> None:
        """Start a run on a schedule, in one of the processes that have a schedule of this name.

        Args:
            cron: When: minute, hour, day of the month, month and day of the week, and optionally a second.
            name: The name of the schedule, such as its source. Each process that has it must start the same run.
            start: Starts the run; see `enqueue`. What it raises is reported, and the next time is not affected.

        Raises:
            ValueError: If `cron` is not such a string, or the queue has a schedule of this name.
        """
        check_text("name", name)
        check_type("cron", cron, str)
        schedule = hashlib.sha256(name.encode()).hexdigest()[:16]
        queue = f"{_QUEUE}.{schedule}"  # of its own: other workers do not know what to start
        if queue in self._queues:
            raise ValueError("the queue has a schedule of this name already")

        async def run(timestamp: int) -> None:  # noqa: ARG001 - procrastinate gives it
            try:
                await start()
            except Exception as error:  # noqa: BLE001 - reported
                self._on_failure(None, error)

        if not croniter.croniter.is_valid(cron):
            raise ValueError("cron must be five fields, such as '0 * * * *' for each hour")
        task = self._app.task(name=f"{_PERIODIC_TASK}.{schedule}", queue=queue, lock=queue, queueing_lock=queue)(run)
        self._app.periodic(cron=cron, periodic_id=schedule)(task)
        self._queues.append(queue)

    async def work(
        self,
        shares: ShareWorker,
        *,
        concurrency: int = 64,
        once: bool = False,
        lease: float = LEASE_SECONDS,
        on_failure: Callable[[Share | None, Exception], None] | None = None,
    ) -> None:
        """Work on shares until `stop` is called.

        If it is cancelled, the work is cancelled: what was in flight may have happened, and the next share finds out.

        Args:
            shares: Works on them.
            concurrency: How many shares at a time. Each is mostly waiting for the rate limit of its tenant.
            once: Whether to end when the queue is empty.
            lease: Seconds without a heartbeat after which the shares of a worker are delivered again; that of the
                state.
            on_failure: Called with each share that failed, or with `None` for a schedule, and the error. A share with a
                `StateError` is delivered again for a quarter of an hour, unless what the state has of its tenant is
                damaged. After that, and after another error, it is recorded as failed; see `ShareWorker.give_up`.
                `None`: failures are logged.

        Raises:
            TargetMismatchError: If a run, or the state, is for another server or wire format than `shares`. What was
                left stays in the queue for other workers.
            StateUnavailableError: If the database does not respond for minutes.
            StateError: If the failure of a share cannot be recorded.
        """
        check_int("concurrency", concurrency)
        check_seconds("lease", lease, above_zero=True)
        self._shares = shares
        self._on_failure = on_failure or _log_failure
        rescuing = asyncio.create_task(self._rescue_again_and_again(shares, lease), name="connector_async rescue")
        try:
            with queue_errors(self._location):
                await self._put_lost(shares)
                while not self._is_stopped:
                    self._worker = asyncio.create_task(self._run_worker(concurrency, once=once, lease=lease))
                    await self._wait_for_worker()
                    if once and not self._is_stopped and await self._is_empty():
                        break
                    await asyncio.sleep(min(0.2, lease / 3))
                if self._error is not None:
                    raise self._error
        finally:
            while not rescuing.done():  # the pool of psycopg may take a cancellation for a broken connection
                rescuing.cancel()
                await asyncio.wait([rescuing], timeout=0.2)
            await shares.finish()

    async def _wait_for_worker(self) -> None:
        worker = self._worker
        assert worker is not None  # noqa: S101 - set by the caller
        if self._is_stopped:
            worker.cancel()
        try:
            await asyncio.wait([worker])
        except asyncio.CancelledError:
            for job in self._running.values():
                job.cancel()
            worker.cancel()
            await asyncio.wait([worker])
            raise
        if not worker.cancelled() and (error := worker.exception()) is not None:
            raise error

    async def _run_worker(self, concurrency: int, *, once: bool, lease: float) -> None:
        await self._app.run_worker_async(
            queues=self._queues,
            name="connector_async",
            concurrency=concurrency,
            wait=not once,
            fetch_job_polling_interval=_POLL,
            listen_notify=False,  # a connection for each worker, and it ends the worker when the server restarts
            delete_jobs=jobs.DeleteJobCondition.SUCCESSFUL,
            install_signal_handlers=False,
            update_heartbeat_interval=lease / 3,
            stalled_worker_timeout=lease,
        )

    def stop(self) -> None:
        """Let no operation start any more. `work` returns when those in flight have ended; other workers go on."""
        self._is_stopped = True
        if self._shares is not None:
            self._shares.stop()
        if self._worker is not None:
            self._worker.cancel()  # procrastinate waits for its jobs then

    def _end_without_database(self) -> None:
        if self._worker is not None:
            self._error = StateUnavailableError(f"{self._location}: the queue does not respond")
            self.stop()

    async def _work_share(self, context: JobContext, /, **fields: Any) -> None:
        """Work on the share of a job."""
        job_id, task = context.job.id, asyncio.current_task()
        assert self._shares is not None  # noqa: S101 - `work` has set it
        assert job_id is not None  # noqa: S101 - it was fetched
        assert task is not None  # noqa: S101 - a job is a task
        self._running[job_id] = task
        if context.job.worker_id is not None:
            self._worker_ids.add(context.job.worker_id)
        share = Share.from_json(fields)
        try:
            result = await self._shares.work(share)
            if result.has_more:
                await self._put(share, _BUSY_PAUSE if result is ShareResult.BUSY else 0)
        except Exception as error:  # noqa: BLE001 - reported
            await self._handle_failure(share, error, context.job)
        finally:
            del self._running[job_id]

    async def _handle_failure(self, share: Share, error: Exception, job: jobs.Job) -> None:
        """Raise the error if the share is delivered again for it; otherwise end the share, or this worker."""
        assert self._shares is not None  # noqa: S101 - `_work_share` has checked it
        if isinstance(error, TargetMismatchError):  # it concerns each share, and the other workers perhaps not
            self._error = error
            await self._put(share)
            self.stop()
            return
        self._on_failure(share, error)
        if self._retries.get_retry_decision(exception=error, job=job) is not None:
            raise error
        try:
            self.failed += await self._shares.give_up(share, error)
        except (StateBusyError, StateUnavailableError, FencedError):
            await self._put(share, _BUSY_PAUSE)
        except Exception as unrecorded:  # without a record, it would be delivered again and again
            self._error = unrecorded
            self.stop()
            raise

    async def _is_empty(self) -> bool:
        manager = self._app.job_manager
        return not any([list(await manager.list_jobs_async(queue=_QUEUE, status=each)) for each in ("todo", "doing")])

    async def _rescue_again_and_again(self, shares: ShareWorker, lease: float) -> None:
        lost: set[int] = set()
        while True:
            await asyncio.sleep(lease / 3)
            with suppress(exceptions.ConnectorException, StateError):  # the next time may work
                lost = await self._rescue(lost, lease)
                if not self._running:
                    await self._put_lost(shares)

    async def _rescue(self, lost: set[int], lease: float) -> set[int]:
        """Deliver what workers without a heartbeat had again, and what this worker has fetched and never got.

        Args:
            lost: The jobs that this worker seemed to have fetched and not got the last time.
            lease: Seconds without a heartbeat.

        Returns:
            Such jobs now.
        """
        manager = self._app.job_manager
        for queue in self._queues:
            for job in await manager.get_stalled_jobs(queue=queue, seconds_since_heartbeat=lease):
                if job.id not in self._running:
                    await self._deliver_again(job)
        seemingly_lost: set[int] = set()
        for job in await manager.list_jobs_async(queue=_QUEUE, status="doing"):
            if job.id is not None and job.worker_id in self._worker_ids and job.id not in self._running:
                if job.id in lost:
                    await self._deliver_again(job)
                seemingly_lost.add(job.id)
        return seemingly_lost

    async def _deliver_again(self, job: jobs.Job) -> None:
        with suppress(exceptions.ConnectorException):  # another worker was faster
            await self._app.job_manager.retry_job(job, retry_at=_LONG_AGO)

    async def _put_lost(self, shares: ShareWorker) -> None:
        """Put the waiting shares that are not in the queue: an `enqueue` was killed, or a worker stopped at once."""
        waiting = await waiting_shares(shares.state)
        if not waiting:
            return
        known = {
            (job.task_kwargs.get("run_id"), job.task_kwargs.get("tenant_id"))
            for job in await self._app.job_manager.list_jobs_async(queue=_QUEUE)
            # A second signal has ended the worker of an aborted one. A failed one could not be given up.
            if job.status not in {jobs.Status.ABORTED.value, jobs.Status.FAILED.value}
        }
        for run_id, tenant_id in waiting:
            if (run_id, tenant_id) not in known:
                await self._put(Share(run_id=run_id, tenant_id=tenant_id, quantum=QUANTUM))


def _key(share: Share) -> str:
    return hashlib.sha256(f"{share.run_id}/{share.tenant_id}".encode()).hexdigest()


def _log_failure(_: Share | None, error: Exception) -> None:
    _log.hook_failure("a share", error)
