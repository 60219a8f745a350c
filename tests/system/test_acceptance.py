"""Every row of the acceptance table has a test."""

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
