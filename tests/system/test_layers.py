"""The level of each module, and that it imports only from lower ones."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import connector_async

PACKAGE = Path(connector_async.__file__).parent

LEVELS = {
    "_timestamps": -2,
    "_checks": -1,
    "_json": 0,
    "exceptions": 0,
    "_clock": 0,
    "models": 0,
    "_files": 0,
    "_recent": 0,
    "_tracebacks": 1,
    "_log": 1,
    "sandbox": 0,
    "wire": 1,
    "protocol": 1,
    "rate_limit": 2,
    "retry": 2,
    "bulk_calls": 3,
    "pagination": 2,
    "auth": 2,
    "session": 3,
    "appointments": 4,
    "sync": 5,
    "cli": 7,
    "": 8,  # the root, which imports from all, and from which nobody imports
}


def unit_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imported_modules(path: Path, source: str) -> Iterator[str]:
    """Yield the full name of everything imported anywhere in the source."""
    package = ["connector_async", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            # What is imported may itself be a module.
            yield from (f"{module}.{alias.name}" for alias in node.names)


def imported_units(path: Path, source: str) -> set[str]:
    units = set()
    for name in imported_modules(path, source):
        package, _, rest = name.partition(".")
        if package == "connector_async":
            unit = rest.partition(".")[0]
            units.add(unit if unit in LEVELS else "")
    return units - {unit_of(path)}


def breaches(path: Path, source: str) -> list[str]:
    level = LEVELS[unit_of(path)]
    return [unit for unit in imported_units(path, source) if LEVELS[unit] >= level]


MODULES = sorted(PACKAGE.rglob("*.py"))


def test_every_module_on_disk_has_a_level_and_every_level_a_module() -> None:
    assert {unit_of(path) for path in MODULES} == set(LEVELS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_lower_levels(path: Path) -> None:
    assert breaches(path, path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "from .session import ConnectorSession",
        "from . import session",
        "from connector_async.session import ConnectorSession",
        "import connector_async.session.transport",
        "from connector_async import ConnectorSession",
        "def function():\n    from .session import ConnectorSession",
        "if TYPE_CHECKING:\n    from .session import ConnectorSession",
        "from .wire import WireFormat",  # the same level
    ],
)
def test_an_import_from_above_is_found(source: str) -> None:
    assert breaches(PACKAGE / "protocol.py", source)


def test_the_sandbox_imports_nothing_of_the_client() -> None:
    for path in (PACKAGE / "sandbox").rglob("*.py"):
        assert imported_units(path, path.read_text()) == set()
