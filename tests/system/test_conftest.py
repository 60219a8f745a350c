"""What tests/conftest.py adds to a run of pytest, in one process and with pytest-xdist."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ONE_PROCESS: list[str] = []
WITH_XDIST = ["-p", "xdist.plugin", "-n", "1"]
# Loading all the plugins that are installed takes longer than these runs.
PLUGINS = ["-p", "pytest_asyncio.plugin", "-p", "tests.conftest"]

ROWS = """
import pytest

pytestmark = pytest.mark.row("R2")

@pytest.mark.row("R10")
@pytest.mark.parametrize("number", [1, 2])
def test_first(number): raise AssertionError

def test_second(): raise AssertionError
"""
SKIPPED = """
import pytest

def test_skipped(): pytest.skip("not installed")
"""


def run(folder: Path, source: str, *options: str, **environment: str) -> tuple[int, list[str]]:
    """Run the tests of a source with the project's settings, and return the exit code and the printed lines."""
    (folder / "test_made_up.py").write_text(source)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *PLUGINS, *options]
    inherited = {name: value for name, value in os.environ.items() if name != "CI"}
    done = subprocess.run(
        [*command, "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=inherited | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | environment,
    )
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("options", [ONE_PROCESS, WITH_XDIST], ids=["one process", "xdist"])
def test_rows_option_prints_the_tests_of_each_row_and_runs_none(options: list[str], tmp_path: Path) -> None:
    code, lines = run(tmp_path, ROWS, "--rows", *options)
    assert code == 0
    assert lines[:4] == [
        "R2  test_made_up.py::test_first",
        "R2  test_made_up.py::test_second",
        "R10 test_made_up.py::test_first",
        "",
    ]


def test_skipped_test_fails_no_run_outside_of_ci(tmp_path: Path) -> None:
    assert run(tmp_path, SKIPPED)[0] == pytest.ExitCode.OK


@pytest.mark.parametrize("options", [ONE_PROCESS, WITH_XDIST], ids=["one process", "xdist"])
def test_skipped_test_fails_a_run_in_ci(options: list[str], tmp_path: Path) -> None:
    assert run(tmp_path, SKIPPED, *options, CI="true")[0] == pytest.ExitCode.TESTS_FAILED
