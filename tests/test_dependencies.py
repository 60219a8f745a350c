"""The bounds of what is installed with the package."""

import re
import tomllib
from collections import defaultdict
from itertools import chain
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?(?P<bounds>.*)")


def bounds() -> dict[str, set[str]]:
    """Return the bounds that each dependency has, wherever it is asked for."""
    found = defaultdict(set)
    for requirement in chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        match = REQUIREMENT.fullmatch(requirement)
        assert match is not None
        if match["name"] != PROJECT["name"]:
            found[match["name"]].add(match["bounds"])
    return found


def test_each_dependency_has_a_lower_bound() -> None:
    assert [name for name, found in bounds().items() if not all(">=" in one for one in found)] == []


def test_a_dependency_has_the_same_bounds_wherever_it_is_asked_for() -> None:
    assert {name: found for name, found in bounds().items() if len(found) > 1} == {}
