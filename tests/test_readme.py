"""Every block of the README is true: the program runs and prints what is shown, the table is the code's."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import connector_async
from connector_async import ConnectorError

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("program", "output"), list(zip(blocks("python"), blocks("text"), strict=True)), ids=["first", "retry", "bulk"]
)
def test_a_program_prints_what_the_readme_shows(program: str, output: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout == output


def test_there_are_two_commands_of_one_line_each() -> None:
    commands = blocks("sh")
    assert len(commands) == 2
    for command in commands:
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert commands[0].endswith("&& .venv/bin/connector-async demo\n")
    assert commands[1].endswith("&& .venv/bin/python -m pytest\n")


def test_the_readme_has_no_other_blocks() -> None:
    assert README.count("```") == 2 * len(blocks("sh") + blocks("python") + blocks("text"))


def test_the_table_of_errors_is_the_tree() -> None:
    listed = re.findall(r"^\| [├└]? ?`(\w+)`", README, re.MULTILINE)
    errors = {
        name
        for name in connector_async.__all__
        if isinstance(value := getattr(connector_async, name), type) and issubclass(value, ConnectorError)
    }
    assert sorted(listed) == sorted(errors - {"ConnectorError"})
