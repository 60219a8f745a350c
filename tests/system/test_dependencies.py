"""The dependencies of the package: their bounds, extras and groups."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

FILE = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
PROJECT = FILE["project"]
GROUPS: dict[str, list[Any]] = FILE["dependency-groups"]
_PATHS = [str(Path(__file__).parents[2]), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(_PATHS)}
"""Of an interpreter without `site`: a package of the environment may import things there."""
REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?(?P<bounds>.*)")


def requirements_of_groups() -> Iterator[str]:
    for requirement in chain(*GROUPS.values()):
        if isinstance(requirement, str):
            yield requirement


def bounds() -> dict[str, set[str]]:
    """Return the bounds of each dependency, from every list that has it."""
    found = defaultdict(set)
    extras = chain(*PROJECT["optional-dependencies"].values())
    for requirement in chain(PROJECT["dependencies"], extras, requirements_of_groups()):
        match = REQUIREMENT.fullmatch(requirement)
        assert match is not None
        if match["name"] != PROJECT["name"]:
            found[match["name"]].add(match["bounds"])
    return found


_ON_FIRST_USE = {
    *("appointments.raw_response", "appointments.watch", "appointments.windows", "bulk_calls", "http_status"),
    *("auth.token_from_callable", "auth.token_from_command", "auth.token_from_file"),
    *("pagination.completeness", "pagination.detection", "pagination.links", "pagination.styles"),
}
"""Modules of the client that a program with single calls does not import."""


def test_client_imports_little_beyond_aiohttp() -> None:
    code = (
        "import sys, aiohttp; before = {*sys.modules}\n"
        "from connector_async import AppointmentService, ClientCredentials, ConnectorSession\n"
        "print(*{*sys.modules} - before)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, env=_ENVIRONMENT
    )
    imported = {*done.stdout.split()}
    # No part of the standard library but `gc`, which is built in: what aiohttp imports on use is not among them either.
    packages = {name.partition(".")[0] for name in imported}
    assert packages <= {"attr", "attrs", "cattrs", "connector_async", "gc", "orjson", "tenacity"}
    assert {f"connector_async.{name}" for name in _ON_FIRST_USE} & imported == set()


def test_each_dependency_has_a_lower_bound() -> None:
    assert [name for name, found in bounds().items() if not all(">=" in one for one in found)] == []


def test_a_dependency_has_the_same_bounds_in_every_list() -> None:
    assert {name: found for name, found in bounds().items() if len(found) > 1} == {}


def test_extras_are_for_users_and_groups_for_developers() -> None:
    extras = {
        "sandbox",
        "sync",
        "postgres",
        "distributed",
        "shared-tokens",
        "redis",
        "otel",
        "cli",
        "keyring",
        "report",
        "viewer",
        "testing",
    }
    assert set(PROJECT["optional-dependencies"]) == extras
    assert set(GROUPS) == {"lint", "test", "docs", "peers", "examples", "bench", "release"}


def test_no_group_names_the_package_itself() -> None:
    # pip would look for it in an index, where an editable install beside the group is meant.
    assert [one for one in requirements_of_groups() if one.startswith(PROJECT["name"])] == []


def test_included_groups_exist() -> None:
    included = {one["include-group"] for one in chain(*GROUPS.values()) if not isinstance(one, str)}
    assert included == {"lint", "docs", "peers", "examples"} <= set(GROUPS)
