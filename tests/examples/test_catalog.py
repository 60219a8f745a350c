import inspect
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from connector_async.cli import sync_workers
from connector_async.cli.command_list import COMMANDS
from connector_async.cli.commands import app
from connector_async.cli.settings import SETTINGS
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


def check_settings(environment: Mapping[str, str]) -> None:
    named = {name for name in environment if name.startswith("CONNECTOR_")}
    assert named <= {setting.variable for setting in SETTINGS}


def check_command(arguments: list[str]) -> None:
    """Check that a command, without the name of the program, and its options exist."""
    assert " ".join(arguments[:2]) in COMMANDS
    app.parse_args(arguments, exit_on_error=False, print_error=False)


def test_compose_file_runs_a_command_with_settings_that_exist() -> None:
    services = yaml.safe_load((EXAMPLES / "postgres-compose.yaml").read_text())["services"]
    work = services["work"]
    check_command(work["command"])
    check_settings(work["environment"])
    database = services["database"]["environment"]
    user, name = database["POSTGRES_USER"], database["POSTGRES_DB"]
    assert work["environment"]["CONNECTOR_STATE"] == f"postgresql://{user}@database/{name}"
    assert work["environment"]["PGPASSWORD"] == database["POSTGRES_PASSWORD"]


def test_compose_file_gives_a_worker_longer_to_end_than_it_takes() -> None:
    work = yaml.safe_load((EXAMPLES / "postgres-compose.yaml").read_text())["services"]["work"]
    default = inspect.signature(sync_workers.work).parameters["stop_timeout"].default
    assert float(work["stop_grace_period"].removesuffix("s")) > default


def test_crontab_runs_commands_with_settings_that_exist() -> None:
    lines = [line for line in (EXAMPLES / "crontab").read_text().splitlines() if line and not line.startswith("#")]
    commands = [line.split("connector-async ", 1)[1] for line in lines if " connector-async " in line]
    check_settings(dict(line.split("=", 1) for line in lines if re.match(r"\w+=", line)))
    assert [command.split()[:2] for command in commands] == [["sync", "enqueue"], ["sync", "work"]]
    for command in commands:
        check_command(command.split())
