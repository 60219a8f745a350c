"""Every block of the README is true: the program runs and prints what is shown, the table is the code's."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import connector_async
from connector_async import ConnectorError
from tests.command_line import in_development_mode, serving

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("program", "output"),
    list(zip(blocks("python"), blocks("text"), strict=True)),
    ids=["first", "retry", "bulk", "sync"],
)
def test_a_program_prints_what_the_readme_shows(program: str, output: str, tmp_path: Path) -> None:
    command = in_development_mode(program)
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stderr == ""
    assert done.stdout == output


# What the README uses without an annotation, by the type that a checker has to infer.
INFERRED = """
from typing import Any, assert_type

from connector_async import Appointment, AppointmentService, BulkReport, CallRecord, NewAppointment, last_call


async def infer(service: AppointmentService, drafts: list[NewAppointment]) -> None:
    report = await BulkReport().collect(service.create_many(drafts))
    assert_type(report, BulkReport[NewAppointment, Appointment])
    assert_type(report.inputs(), list[NewAppointment])
    assert_type(last_call.get(), CallRecord)
    kept = BulkReport()  # whatever ends the walk, it has what was taken
    await kept.collect(service.create_many(drafts))
    assert_type(kept, BulkReport[Any, Any])
"""


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_the_programs_pass_strict_type_checks(checker: str, tmp_path: Path) -> None:
    for number, program in enumerate([*blocks("python"), INFERRED]):
        (tmp_path / f"program_{number}.py").write_text(program)
    configuration = {"typeCheckingMode": "strict", "include": ["."], "extraPaths": [str(ROOT)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(configuration))
    arguments = {
        "mypy": ["--strict", *map(str, tmp_path.glob("*.py"))],
        "pyright": ["--project", str(tmp_path), "--pythonpath", sys.executable],
    }
    command = [sys.executable, "-m", checker, *arguments[checker]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_two_commands_of_one_line_each() -> None:
    commands = blocks("sh")
    assert len(commands) == 2
    for command in commands:
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert commands[0].endswith("&& .venv/bin/connector-async demo\n")
    assert "pip install --quiet --upgrade 'pip>=25.1' && " in commands[1]  # the first that has --group
    assert commands[1].endswith(" --editable '.[cli]' --group test && .venv/bin/python -m pytest\n")


def test_the_sessions_of_the_command_line_are_true(tmp_path: Path) -> None:
    block = "".join(blocks("console"))
    typed = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    shown = [line for line in block.splitlines() if not line.startswith("$ ")]
    (source,) = re.findall(r"^\$ cat visits\.csv\n((?:[^$].*\n)+)", block, re.MULTILINE)
    (tmp_path / "visits.csv").write_text(source)
    bin_ = tmp_path / "bin" / "connector-async"
    bin_.parent.mkdir()
    bin_.write_text(f"#!{sys.executable}\nfrom connector_async.cli import main\nmain()\n")
    bin_.chmod(0o755)
    environment = {
        "PATH": f"{bin_.parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "CONNECTOR_RATE_LIMIT": "unlimited",
    }
    with serving() as sandbox:
        script = "\n".join(typed).replace("http://127.0.0.1:8080", sandbox.base_url)
        done = subprocess.run(
            ["bash", "-euc", script], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
        )
    assert done.stderr == ""
    assert [generic(line) for line in done.stdout.splitlines()] == [generic(line) for line in shown]


def generic(line: str) -> str:
    """Leave out the ids, which are random, the seconds, and what fills a column."""
    line = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", line)
    return re.sub(r"\d{8}T\d{6}Z-[0-9a-f]{6}|\d+\.\d s", "…", line).rstrip()


def test_the_readme_has_no_other_blocks() -> None:
    assert README.count("```") == 2 * len(blocks("sh") + blocks("python") + blocks("text") + blocks("console"))


def test_the_table_of_errors_is_the_tree() -> None:
    listed = re.findall(r"^\| [├└]? ?`(\w+)`", README, re.MULTILINE)
    errors = {
        name
        for name in connector_async.__all__
        if isinstance(value := getattr(connector_async, name), type) and issubclass(value, ConnectorError)
    }
    assert sorted(listed) == sorted(errors - {"ConnectorError"})
