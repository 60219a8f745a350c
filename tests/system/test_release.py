"""The tasks of `.ci/run` for a release, and the workflow that calls them for a tag."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = (ROOT / ".github" / "workflows" / "release.yml").read_text()


class Repository:
    """A repository with a package of the same name, the tasks, and the environment of this one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / ".ci").mkdir()
        (folder / "connector_async").mkdir()
        shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
        shutil.copy(ROOT / "README.md", folder)
        (folder / ".venv").symlink_to(sys.prefix)
        self.git("init", "--quiet")

    def git(self, *arguments: str) -> None:
        person = ("-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *person, *arguments], check=True, capture_output=True, cwd=self.folder)

    def commit(self, source: str) -> None:
        (self.folder / "connector_async" / "__init__.py").write_text(f'"""A package."""\n{source}')
        self.git("add", "connector_async")
        self.git("commit", "--quiet", "--message", "Change it")

    def check_names(self) -> tuple[int, str]:
        command = ["bash", ".ci/run", "api"]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_public_names_are_compared_with_nothing_before_the_first_tag(repository: Repository) -> None:
    repository.commit("def call(a: int) -> int:\n    return a\n")
    code, output = repository.check_names()
    assert (code, output) == (0, "no tag v* yet: there is no release to compare the public names with\n")


def test_removed_parameter_of_a_tagged_release_is_reported(repository: Repository) -> None:
    repository.commit("def call(a: int, b: int = 0) -> int:\n    return a + b\n")
    repository.git("tag", "v0.1.0")
    repository.commit("def call(a: int, b: int = 0, c: int = 0) -> int:\n    return a + b + c\n")
    code, output = repository.check_names()
    assert (code, output) == (0, "+ the public names beside those of v0.1.0\n")
    repository.commit("def call(a: int) -> int:\n    return a\n")
    code, output = repository.check_names()
    assert code == 1
    assert "call(b)" in output
    assert "Parameter was removed" in output


def test_release_workflow_calls_tasks_that_exist() -> None:
    defined = re.findall(r"^task_(\w+)\(\)", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)
    called = [name for names in re.findall(r"\.ci/run ([a-z ]+)$", WORKFLOW, re.MULTILINE) for name in names.split()]
    assert called
    assert set(called) <= set(defined)


def test_release_workflow_publishes_with_rights_of_its_own_and_no_secret() -> None:
    assert "secrets." not in WORKFLOW  # trusted publishing needs none
    workflow = yaml.safe_load(WORKFLOW)
    assert workflow[True] == {"push": {"tags": ["v*"]}}  # YAML reads the key `on` as true
    assert workflow["permissions"] == {"contents": "read"}
    rights = {name: job.get("permissions", {}) for name, job in workflow["jobs"].items()}
    assert rights["everything"] == {}
    assert rights["publish"] == {"id-token": "write"}
    assert workflow["jobs"]["publish"]["needs"] == ["everything", "build"]
