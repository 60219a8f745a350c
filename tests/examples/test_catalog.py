import re
from pathlib import Path

import pytest

from tests.support.example_process import EXAMPLES

PROGRAMS = sorted(path.name for path in EXAMPLES.glob("*.py"))
README = (EXAMPLES / "README.md").read_text()


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_example_is_under_80_lines_and_says_how_to_run_it(program: str) -> None:
    text = (EXAMPLES / program).read_text()
    assert text.count("\n") < 80
    docstring = text.split('"""')[1]
    assert re.search(rf"^    .*{program.removesuffix('.py')}", docstring, re.MULTILINE)


def test_the_readme_has_a_row_for_each_example() -> None:
    assert sorted(re.findall(r"^\| \[(\w+\.py)\]\(\1\) \|", README, re.MULTILINE)) == PROGRAMS


def test_each_example_is_run_by_a_test() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py") if path != Path(__file__))
    for program in PROGRAMS:
        assert re.search(rf'"{program.removesuffix(".py")}(\.py|:\w+)?"', tests), program
