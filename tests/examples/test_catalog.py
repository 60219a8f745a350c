import re
from pathlib import Path

import pytest
import yaml

from connector_async.cli.commands import COMMANDS
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


def test_compose_file_runs_a_command_with_settings_that_exist() -> None:
    services = yaml.safe_load((EXAMPLES / "postgres-compose.yaml").read_text())["services"]
    sync = services["sync"]
    assert " ".join(sync["command"][:2]) in COMMANDS
    named = {name for name in sync["environment"] if name.startswith("CONNECTOR_")}
    assert named <= {setting.variable for setting in SETTINGS}
    database = services["database"]["environment"]
    user, name = database["POSTGRES_USER"], database["POSTGRES_DB"]
    assert sync["environment"]["CONNECTOR_STATE"] == f"postgresql://{user}@database/{name}"
    assert sync["environment"]["PGPASSWORD"] == database["POSTGRES_PASSWORD"]
