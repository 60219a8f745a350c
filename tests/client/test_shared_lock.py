"""The lock of the objects of a tenant."""

import subprocess
import sys

import pytest

FORK = """
import os, signal
from connector_async._shared_lock import SharedLock
from connector_async.retry import RetryQuota

with SharedLock.lock:
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        os._exit(0 if RetryQuota().spend(1) else 1)
    print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_child_of_a_fork_does_not_wait_for_a_lock_that_a_thread_of_its_parent_held() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, check=True, text=True)
    assert done.stdout == "0\n"
