"""Every row of the acceptance table has a test, and `pytest --rows` prints which."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.acceptance import ROWS, order, rows_in

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def marked() -> dict[str, str]:
    """Return each row that a test is marked with, and a module that has such a test."""
    modules = sorted((ROOT / "tests").rglob("test_*.py"))
    return {row: str(path.relative_to(ROOT)) for path in modules for row in rows_in(path.read_text())}


def test_every_row_has_a_test(marked: dict[str, str]) -> None:
    missing = [row for row in ROWS if row not in marked]
    assert not missing, f"no test is marked with {', '.join(missing)}"


def test_every_marked_row_is_in_the_table(marked: dict[str, str]) -> None:
    groups = {row[0] for row in ROWS}
    assert {row: module for row, module in marked.items() if row[0] in groups and row not in ROWS} == {}


def test_rows_are_sorted_by_group_and_number() -> None:
    rows = ["M1", "redirects", "H2", "A1", "R10", "R9"]
    assert sorted(rows, key=order) == ["R9", "R10", "A1", "H2", "M1", "redirects"]


@pytest.mark.parametrize("options", [["-p", "no:xdist"], ["-n", "2"]], ids=["alone", "with xdist"])
def test_the_option_prints_the_tests_of_each_row_and_runs_none(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "test_made_up.py").write_text(
        "import pytest\n"
        "pytestmark = pytest.mark.row('R2')\n"
        "@pytest.mark.row('R10')\n"
        "@pytest.mark.parametrize('number', [1, 2])\n"
        "def test_first(number): raise AssertionError\n"
        "def test_second(): raise AssertionError\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "tests.conftest", "--rows"]
    done = subprocess.run(
        [*command, *options, "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True, text=True, check=True, cwd=ROOT,
    )  # fmt: skip
    assert done.stdout.splitlines()[:4] == [
        "R2  test_made_up.py::test_first",
        "R2  test_made_up.py::test_second",
        "R10 test_made_up.py::test_first",
        "",
    ]
