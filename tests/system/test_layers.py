"""The levels of the package, which `docs/design.md` lists: a module imports only from lower ones."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import connector_async

PACKAGE = Path(connector_async.__file__).parent
DESIGN = (PACKAGE.parent / "docs" / "design.md").read_text()

Levels = dict[str, int]
"""The level of each module or folder, by its path within the folder of the table; `__init__` is that folder's own."""


def levels_of(folder: str) -> Levels:
    """Read the table of levels that is headed by the folder's name."""
    table = re.search(rf"^\| level \| `{folder}` \|\n\|---\|---\|\n((?:\|.*\n)+)", DESIGN, re.MULTILINE)
    assert table is not None, f"docs/design.md has no table of the levels of {folder}"
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", table[1], re.MULTILINE)
    return {name: int(level) for level, names in rows for name in re.findall(r"`([^`]+)`", names)}


def place_of(module: str, levels: Levels) -> str | None:
    """Return what the table calls a module: the longest name that it is or is in."""
    parts = module.split("/")
    names = ("/".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((name for name in names if name in levels), None)


def imported_names(source: str, package: list[str]) -> Iterator[list[str]]:
    """Yield the parts of each name that a module of the package imports, in a function or for type checkers too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = node.module.split(".") if node.module else []
            yield from ([*start, *module, alias.name] for alias in node.names)  # the name may be a module


def breaches(path: Path, source: str, folder: Path, levels: Levels) -> list[str]:
    """Return what a module imports from its own level or a higher one."""
    prefix = [PACKAGE.name, *folder.relative_to(PACKAGE).parts]
    package = [PACKAGE.name, *path.relative_to(PACKAGE).parent.parts]
    module = path.relative_to(folder).with_suffix("").as_posix()
    place = place_of(module, levels)
    if place is None:
        return [f"{module} is in no level"]
    imported = {
        place_of("/".join(name[len(prefix) :]), levels) or "__init__"
        for name in imported_names(source, package)
        if name[: len(prefix)] == prefix
    }
    return [
        f"{module} ({levels[place]}) imports {other} ({levels[other]})"
        for other in sorted(imported - {place})
        if levels[other] >= levels[place]
    ]


@pytest.mark.parametrize("name", ["connector_async", "connector_async/sync"])
def test_modules_import_only_from_lower_levels(name: str) -> None:
    folder, levels = PACKAGE.parent / name, levels_of(name)
    modules = sorted(folder.rglob("*.py"))
    found = [breach for path in modules for breach in breaches(path, path.read_text(), folder, levels)]
    places = {place_of(path.relative_to(folder).with_suffix("").as_posix(), levels) for path in modules}
    found += [f"{place} does not exist" for place in levels if place not in places]
    assert not found, "\n".join([f"{name}:", *found])


@pytest.mark.parametrize(
    ("source", "imported"),
    [
        ("from .session import ConnectorSession", "session (2)"),
        ("from . import session", "session (2)"),
        ("import connector_async.session.transport", "session (2)"),
        ("from connector_async import ConnectorSession", "__init__ (3)"),
        ("def function():\n    from connector_async.session import ConnectorSession", "session (2)"),
        ("if TYPE_CHECKING:\n    from .session.pool import Pool", "session/pool (1)"),
        ("from .wire import WireFormat", "wire (1)"),
    ],
)
def test_an_import_from_the_same_or_a_higher_level_is_a_breach(source: str, imported: str) -> None:
    levels = {"models": 0, "wire": 1, "protocol": 1, "session/pool": 1, "session": 2, "__init__": 3}
    allowed = "from .models import Appointment\nfrom . import models\nimport aiohttp\n"
    path = PACKAGE / "protocol.py"
    assert breaches(path, allowed + source, PACKAGE, levels) == [f"protocol (1) imports {imported}"]


def test_a_module_without_a_level_is_a_breach() -> None:
    assert breaches(PACKAGE / "new.py", "", PACKAGE, {"models": 0}) == ["new is in no level"]


def test_the_sandbox_imports_nothing_of_the_client() -> None:
    inside = [PACKAGE.name, "sandbox"]
    for path in (PACKAGE / "sandbox").rglob("*.py"):
        package = [PACKAGE.name, *path.relative_to(PACKAGE).parent.parts]
        names = imported_names(path.read_text(), package)
        assert [name for name in names if name[0] == PACKAGE.name and name[:2] != inside] == []


def test_no_test_module_imports_another() -> None:
    tests = PACKAGE.parent / "tests"
    found = [
        f"{path.relative_to(tests)} imports {'.'.join(name)}"
        for path in sorted(tests.rglob("*.py"))
        for name in imported_names(path.read_text(), ["tests", *path.relative_to(tests).parent.parts])
        if name[0] == "tests" and any(part.startswith("test_") for part in name)
    ]
    assert not found, "\n".join(found)
