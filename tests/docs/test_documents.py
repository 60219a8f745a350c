"""The documents are right: their programs and sessions print what is shown, their tables and links are complete."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import connector_async
from connector_async import ConnectorError
from connector_async.cli.command_list import COMMANDS
from connector_async.cli.exit_codes import ExitCode
from connector_async.cli.topics import TOPICS
from connector_async.testing import ThreadedSandbox
from tests.support.command_line import in_development_mode
from tests.support.postgres import PostgresServer

ROOT = Path(__file__).parents[2]
REPOSITORY = "https://github.com/connector-async/connector-async/"
DOCS = ROOT / "docs"
PAGES = {"README": (ROOT / "README.md").read_text()} | {
    page.relative_to(DOCS).with_suffix("").as_posix(): page.read_text() for page in sorted(DOCS.rglob("*.md"))
}
"""The text of each page, by its path in docs/."""
TESTS = ".venv/bin/python -m pytest -n auto --dist worksteal"
DATABASE = "postgresql://sync@db.example/visits"
"""The state of a session, which runs with another one."""
RUN = ("python", "text", "console", "toml")
"""The languages of the blocks that the tests run; README.md also has two blocks of `sh`."""


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)


PROGRAMS = [
    pytest.param(program, output, id=page)
    for page in PAGES
    for program, output in zip(blocks(page, "python"), blocks(page, "text"), strict=True)
]


PYTEST = ("pytest", "-q", "-p", "connector_async.testing.plugin", "-p", "pytest_asyncio.plugin", "-W", "error")


@pytest.fixture
def database_url(postgres: PostgresServer) -> Iterator[str]:
    """An empty database."""
    name = f"test_documents_{os.getpid()}"
    yield postgres.create(name)
    postgres.drop(name)


@pytest.mark.parametrize(("program", "output"), PROGRAMS)
def test_programs_print_what_their_page_shows(
    program: str, output: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if "\ndef test_" in program or "\nasync def test_" in program:
        assert last_line_of_pytest(program, tmp_path) == generic(output)
        return
    command = in_development_mode(program)
    environment = dict(os.environ)
    if "DATABASE_URL" in program:
        environment["DATABASE_URL"] = request.getfixturevalue("database_url")
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
    assert done.stderr == ""
    assert done.stdout == output


def last_line_of_pytest(program: str, folder: Path) -> str:
    """Run a program that is a module of tests, and return the last line that pytest prints."""
    (folder / "test_program.py").write_text(program)
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    command = [sys.executable, "-m", *PYTEST, "--strict-markers", "test_program.py"]
    environment = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    assert done.stderr == ""
    return generic(done.stdout.splitlines()[-1])


# The types that a checker has to infer where the programs have no annotation.
INFERRED = """
from typing import Any, assert_type

from connector_async import Appointment, AppointmentService, BulkReport, CallRecord, NewAppointment, last_call


async def infer(service: AppointmentService, drafts: list[NewAppointment]) -> None:
    report = await BulkReport().collect(service.create_many(drafts))
    assert_type(report, BulkReport[NewAppointment, Appointment])
    assert_type(report.inputs(), list[NewAppointment])
    assert_type(last_call.get(), CallRecord)
    kept = BulkReport()  # keeps the outcomes that it has, however the loop ends
    await kept.collect(service.create_many(drafts))
    assert_type(kept, BulkReport[Any, Any])
"""


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_programs_pass_strict_type_checks(checker: str, tmp_path: Path) -> None:
    programs = [program for page in PAGES for program in blocks(page, "python")]
    for number, program in enumerate([*programs, INFERRED]):
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


def test_readme_has_two_commands_of_one_line_each() -> None:
    commands = blocks("README", "sh")
    assert len(commands) == 2
    for command in commands:
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv .venv && ")
    assert " && echo 'Installing into .venv, " in commands[0]  # pip is quiet for that long
    assert commands[0].endswith(" --editable '.[cli]' && .venv/bin/connector-async demo\n")
    assert "pip install --quiet --upgrade 'pip>=25.1' && " in commands[1]  # the first pip that has --group
    assert commands[1].endswith(f" --editable '.[cli]' --group test && {TESTS}\n")


def test_ci_can_split_the_second_command_of_the_readme() -> None:
    # As `.ci/run` does by ${block% && *} and ${block##* && }.
    install, _, tests = blocks("README", "sh")[1].rpartition(" && ")
    assert install.startswith("python3 -m venv .venv && ")  # `python3` and `.venv` are replaced for other versions
    assert install.endswith(" --group test")
    assert tests.strip() == TESTS


def test_readme_is_short() -> None:
    assert len(PAGES["README"].splitlines()) <= 150


def command_on_path(folder: Path) -> Path:
    """Return a folder that has this interpreter as `python`, and its command `connector-async`."""
    command = folder / "bin" / "connector-async"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom connector_async.cli.main import main\nmain()\n")
    command.chmod(0o755)
    interpreter = folder / "bin" / "python"
    interpreter.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    interpreter.chmod(0o755)
    return command.parent


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "console")])
def test_sessions_print_what_their_page_shows(page: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    session = "".join(blocks(page, "console"))
    typed = [line.removeprefix("$ ") for line in session.splitlines() if line.startswith("$ ")]
    shown = [line for line in session.splitlines() if not line.startswith("$ ")]
    for name, content in re.findall(r"^\$ cat (\S+)\n((?:[^$].*\n)+)", session, re.MULTILINE):
        (tmp_path / name).write_text(content)
    environment = {
        "PATH": f"{command_on_path(tmp_path)}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "CONNECTOR_RATE_LIMIT": "unlimited",
    }
    with ThreadedSandbox() as sandbox:
        script = "\n".join(typed).replace("http://127.0.0.1:8080", sandbox.base_url)
        if DATABASE in script:
            script = script.replace(DATABASE, request.getfixturevalue("database_url"))
        done = subprocess.run(
            ["bash", "-euc", script], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
        )
    assert done.stderr == "" or page in {"tutorial", "how-to/many-machines"}  # which leave the progress out
    assert [generic(line) for line in done.stdout.splitlines()] == [generic(line) for line in shown]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")])
def test_settings_files_of_a_page_are_accepted(page: str, tmp_path: Path) -> None:
    for block in blocks(page, "toml"):
        (tmp_path / "connector-async.toml").write_text(block)
        command = [str(command_on_path(tmp_path) / "connector-async"), "config", "show", "--json"]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={"HOME": str(tmp_path)}, cwd=tmp_path
        )
        assert done.stdout.count("connector-async.toml") >= len(tomllib.loads(block))


def generic(line: str) -> str:
    """Replace random ids and measured seconds, and strip the padding of a column."""
    line = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", line)
    return re.sub(r"\d{8}T\d{6}Z-[0-9a-f]{6}|\d+\.\d s|\d+\.\d\ds|(?<=state )/\S+(?=/)", "…", line).rstrip()


def test_every_block_is_run() -> None:
    for page, text in PAGES.items():
        run = sum(len(blocks(page, language)) for language in RUN) + (
            len(blocks(page, "sh")) if page == "README" else 0
        )
        assert text.count("```") == 2 * run, page


def test_pages_have_programs_and_sessions() -> None:
    assert {page for page in PAGES if blocks(page, "python")} == {
        "README", "appointments", "bulk", "how-to/many-machines", "how-to/proxies-and-tls", "middleware",
        "observability", "requests", "retries", "sessions", "sync", "testing", "watch",
    }  # fmt: skip
    assert {page for page in PAGES if blocks(page, "console")} == {
        "command-line", "how-to/many-machines", "how-to/sync-from-a-file", "sync", "tutorial",
    }  # fmt: skip


def test_command_line_has_every_exit_code_topic_and_command() -> None:
    page = PAGES["command-line"]
    assert [row for code in ExitCode if (row := f"| {code.value} | {code.meaning} |") not in page] == []
    assert [topic for topic in TOPICS if f"`{topic}`" not in page] == []
    groups = {"sync", "state"}  # described elsewhere
    named = [name for name in COMMANDS if name.partition(" ")[0] not in groups]
    assert [name for name in named if not re.search(rf"`{name}\b", page)] == []


def test_page_for_those_on_call_has_every_exit_code_and_commands_that_exist() -> None:
    page = PAGES["how-to/on-call"]
    rows = re.findall(r"^\| ([\d, ]+) \|", page, re.MULTILINE)
    codes = {int(code) for row in rows for code in row.split(",")}
    assert codes == {code.value for code in ExitCode} - {0}
    commands = re.findall(r"`connector-async ((?:[a-z]+ ?)+)", page)
    assert commands
    assert [name for name in commands if name.strip() not in COMMANDS] == []
    errors = re.findall(r"`(\w+Error)`", page)
    assert [name for name in errors if not hasattr(connector_async, name)] == []


def test_table_of_errors_lists_the_whole_tree() -> None:
    listed = re.findall(r"^\| [├└]? ?`(\w+)`", PAGES["errors"], re.MULTILINE)
    errors = {
        name
        for name in connector_async.__all__
        if isinstance(value := getattr(connector_async, name), type) and issubclass(value, ConnectorError)
    }
    assert sorted(listed) == sorted(errors - {"ConnectorError"})


def links(text: str) -> list[str]:
    inline = re.findall(r"\]\(([^)\s]+)\)", text)
    return inline + re.findall(r"^\[[\w.-]+\]: (\S+)$", text, re.MULTILINE)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_of_the_readme_are_absolute_and_lead_to_files() -> None:
    found = links(PAGES["README"])  # the package index does not resolve relative links
    assert found
    for link in found:
        assert link.startswith(f"{REPOSITORY}blob/main/")
        assert (ROOT / link.removeprefix(f"{REPOSITORY}blob/main/")).is_file(), link


def test_readme_leads_to_five_pages_which_it_defines() -> None:
    text = PAGES["README"]
    defined = set(re.findall(r"^\[([\w.-]+)\]: ", text, re.MULTILINE))
    assert set(re.findall(r"\]\[([\w.-]+)\]", text)) == defined
    assert len(defined) == 5


@pytest.mark.parametrize("page", sorted({*PAGES} - {"README"}))
def test_links_of_a_page_lead_to_files_and_headings(page: str) -> None:
    for link in links(PAGES[page]):
        if link.startswith("https://") and not link.startswith(REPOSITORY):
            continue
        name, _, anchor = link.partition("#")
        if name.startswith(REPOSITORY):
            target = ROOT / name.removeprefix(f"{REPOSITORY}blob/main/")
        else:
            target = (DOCS / page).parent / name if name else DOCS / f"{page}.md"
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_contract_has_the_open_points_and_sections_that_the_source_names() -> None:
    numbered = re.findall(r"^\| (\d+) \|", PAGES["api-contract"], re.MULTILINE)
    assert numbered == [str(number) for number in range(1, 10)]
    for path in (ROOT / "connector_async").rglob("*.py"):
        assert set(re.findall(r"contract,\s+open\s+point\s+(\d+)", path.read_text())) <= set(numbered)
        sections = re.findall(r'contract,\s+"([^"]+)"', path.read_text())
        assert all(f"\n## {section}\n" in PAGES["api-contract"] for section in sections), path


def test_paths_and_tasks_in_contributing_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`((?:connector_async|tests|docs)/[^`\s]*|\w+\.(?:md|toml))`", text)
    assert len(paths) > 15
    assert [path for path in paths if not (ROOT / path).exists()] == []
    tasks = re.findall(r"^\| `\.ci/run (\w+)`", text, re.MULTILINE)
    defined = re.findall(r"^task_(\w+)\(\)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    recipes = re.findall(r"^    \.ci/run (\w+)$", (ROOT / "Justfile").read_text(), re.MULTILINE)
    assert tasks == defined == recipes


def test_tests_that_the_threat_model_names_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text())
    assert len(named) > 20
    for path, test in named:
        assert re.search(rf"^(?:async )?def {test}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path}::{test}"


def test_paths_in_the_ci_script_exist() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    patterns = re.findall(r"tests/[\w/]+(?:\.py|\*)", script)
    assert patterns
    assert [pattern for pattern in patterns if not list(ROOT.glob(pattern))] == []


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_of_the_other_documents_lead_to_files(page: str) -> None:
    for link in links((ROOT / page).read_text()):
        path, _, anchor = link.removeprefix(f"{REPOSITORY}blob/main/").partition("#")
        assert path.startswith("https://") or (ROOT / path).is_file(), link
        assert not anchor or anchor in anchors(ROOT / path), link


def test_change_log_has_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert f"\n## [{connector_async.__version__}] - " in text
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}  # of Keep a Changelog
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds
