import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from connector_async.sandbox import Sandbox
from connector_async.testing import ThreadedSandbox
from tests.support.command_line import CommandLine, isolate, sandbox_environment


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with ThreadedSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def command(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> CommandLine:
    """Return the command line in an empty folder, with the settings of the sandbox and no rate limit."""
    isolate(monkeypatch, tmp_path, **sandbox_environment(sandbox, RATE_LIMIT="unlimited"))
    return CommandLine(capsys)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "visits.jsonl"


@pytest.fixture
def standard_input(tmp_path: Path) -> Iterator[Callable[[bytes], None]]:
    """Return a function that sets the content of the standard input."""
    before, path = os.dup(0), tmp_path / "standard-input"

    def put(content: bytes) -> None:
        path.write_bytes(content)
        descriptor = os.open(path, os.O_RDONLY)
        os.dup2(descriptor, 0)
        os.close(descriptor)

    yield put
    os.dup2(before, 0)
    os.close(before)
