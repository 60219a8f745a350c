import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import connector_async
from connector_async import exceptions

ROOT = Path(connector_async.__file__).parent


def test_names_of_all_are_sorted() -> None:
    # Constants first, then classes, then the rest, as ruff's RUF022 sorts them.
    def group(name: str) -> int:
        return 0 if name.isupper() else 1 if name[0].isupper() else 2

    assert connector_async.__all__ == sorted(connector_async.__all__, key=lambda name: (group(name), name))


def test_names_of_all_are_importable() -> None:
    for name in connector_async.__all__:
        assert getattr(connector_async, name) is not None


def test_public_names_are_those_that_the_package_imports() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text())
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level
        for alias in node.names
    }
    assert set(connector_async.__all__) == imported - {"VERSION"} | {"__version__"}


def test_names_are_the_objects_that_type_checkers_see() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            home = importlib.import_module(f"connector_async.{node.module}")
            for alias in node.names:
                assert getattr(connector_async, alias.name) is getattr(home, alias.name)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Unknown'"):
        _ = connector_async.Unknown
    assert set(connector_async.__all__) <= set(dir(connector_async))


def test_importing_the_package_loads_no_aiohttp() -> None:
    code = "import sys, connector_async; sys.exit('aiohttp' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_error_is_public() -> None:
    errors = {
        name for name, value in vars(exceptions).items() if isinstance(value, type) and issubclass(value, Exception)
    }
    assert errors <= set(connector_async.__all__)


def test_the_client_imports_nothing_of_the_extras() -> None:
    extras = {"cyclopts", "rich", "jwt", "aiosqlite", "sqlalchemy", "alembic", "icalendar", "opentelemetry", "pytest"}
    code = "import sys; from connector_async import *; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert {*done.stdout.split()} & {*extras, "connector_async.sandbox", "connector_async.sync"} == set()


def test_map_of_the_package_names_every_module() -> None:
    named = set(re.findall(r"[a-z_]+(?:/|\.py)", (connector_async.__doc__ or "").partition("\n\n    ")[2]))
    folders = {f"{path.parent.name}/" for path in ROOT.glob("*/__init__.py")}
    modules = {path.name for path in ROOT.glob("*.py")} - {"__init__.py"}
    assert named == folders | modules


def test_package_is_typed() -> None:
    assert (ROOT / "py.typed").exists()
