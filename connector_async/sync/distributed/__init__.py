"""One sync on many machines: a run in shares, one for each tenant, which a queue brings to any number of processes.

`enqueue` starts a run, `work_share` or a `ShareWorker` works on a share, and `read_shared_report` reports on the whole
run. `ProcrastinateQueue` is a queue in the PostgreSQL database of the state.
"""

from connector_async.sync.state.shares import SharedProgress, read_progress, read_shared_report

from .queue import Queue, enqueue, requeue
from .share import QUANTUM, Share, ShareResult, ShareWorker, work_share

__all__ = [
    "QUANTUM",
    "Queue",
    "Share",
    "ShareResult",
    "ShareWorker",
    "SharedProgress",
    "enqueue",
    "read_progress",
    "read_shared_report",
    "requeue",
    "work_share",
]
