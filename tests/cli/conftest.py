from collections.abc import Iterator
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
