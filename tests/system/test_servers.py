"""The servers of the tests end with the process that has started them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import sys
from tests.support.postgres import FLAVORS, PostgresServer, UnavailableError
from tests.support.redis_server import RedisServer

name = sys.argv[1]
try:
    with RedisServer.started() if name == "redis" else PostgresServer.started(FLAVORS[name]) as server:
        print(server._folder, flush=True)
        sys.stdin.read()
except UnavailableError as error:
    print(error)
"""


def is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    # A process whose parent does not wait for it is still listed.
    return "Z" not in Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs the /proc of Linux")
@pytest.mark.parametrize("name", ["pgserver", "debian-icu", "redis"])
def test_server_ends_with_a_test_process_that_is_killed(name: str) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        printed = process.stdout.readline().strip()
        if not printed.startswith("/"):
            pytest.skip(printed)
        folder = Path(printed)
        pid_file = folder / "pid" if name == "redis" else folder / "data" / "postmaster.pid"
        server = int(pid_file.read_text().split()[0])
        assert is_running(server)
        process.send_signal(signal.SIGKILL)
        process.wait()
        give_up_at = time.monotonic() + 10
        while (is_running(server) or folder.exists()) and time.monotonic() < give_up_at:
            time.sleep(0.02)
        assert not is_running(server)
        assert not folder.exists()
