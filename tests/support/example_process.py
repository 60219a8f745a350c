"""Runs the examples as processes of their own, with warnings as errors, against a sandbox."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType

from connector_async.sandbox import Sandbox
from tests.support.command_line import sandbox_environment

EXAMPLES = Path(__file__).parents[2] / "examples"
_TIMEOUT = 60.0  # on a busy machine


class ExampleProcess:
    """A process that was started, and the lines that it has printed so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.out: list[str] = []
        self.err: list[str] = []
        self._process = process
        self._open = 2
        self._printed = asyncio.Event()
        self._readers = asyncio.gather(self._read(process.stdout, self.out), self._read(process.stderr, self.err))

    async def _read(self, stream: asyncio.StreamReader, lines: list[str]) -> None:
        async for line in stream:
            lines.append(line.decode().rstrip())
            self._printed.set()
        self._open -= 1
        self._printed.set()

    async def line(self, pattern: str) -> re.Match[str]:
        """Wait for a line in which the pattern is found."""
        async with asyncio.timeout(_TIMEOUT):
            while True:
                for line in [*self.out, *self.err]:
                    if found := re.search(pattern, line):
                        return found
                assert self._open, (pattern, self.out, self.err)
                self._printed.clear()
                await self._printed.wait()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    async def ended(self) -> int:
        """Wait for the end of the process, and return its exit code."""
        async with asyncio.timeout(_TIMEOUT):
            await asyncio.shield(self._readers)
            return await self._process.wait()

    async def kill(self) -> None:
        """End what is left of the process and its children."""
        if self._process.returncode is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        await self.ended()


@asynccontextmanager
async def running(
    sandbox: Sandbox, *arguments: str, folder: Path = EXAMPLES, environment: Mapping[str, str] = MappingProxyType({})
) -> AsyncIterator[ExampleProcess]:
    """Run Python with arguments, `CONNECTOR_` variables for the sandbox, and further variables."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CONNECTOR_")}
    settings = {f"CONNECTOR_{name}": value for name, value in sandbox_environment(sandbox).items()}
    process = ExampleProcess(
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "error", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder,
            env=inherited | settings | {"PYTHONUNBUFFERED": "1", **environment},
            start_new_session=True,
        )
    )
    try:
        yield process
    finally:
        await process.kill()
