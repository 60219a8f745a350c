"""The names of the bulk sync: all there, sorted, and loaded no sooner than they are needed."""

import ast
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

from connector_async import ConnectorError, SyncError, sync


def test_every_name_is_there_and_has_one_home() -> None:
    homes = list(chain.from_iterable(sync._HOMES.values()))
    assert sorted(homes) == sorted(sync.__all__)
    assert sync.__all__ == sorted(sync.__all__, key=lambda name: (not name[0].isupper(), name))
    for name in sync.__all__:
        assert getattr(sync, name) is not None
        assert name in dir(sync)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        sync.nothing  # noqa: B018 - it is asked for


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(sync.__file__).read_text())
    seen = [
        alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level for alias in node.names
    ]
    assert sorted(seen) == sorted(sync.__all__)


def test_every_error_is_one_of_the_sync() -> None:
    errors = [getattr(sync, name) for name in sync._HOMES["exceptions"]]
    assert all(issubclass(error, SyncError) and issubclass(error, ConnectorError) for error in errors)


def test_without_the_extra_it_says_what_to_install() -> None:
    code = "import sys; sys.modules['sqlalchemy'] = None; from connector_async.sync import BulkSync"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    told = "ModuleNotFoundError: connector_async.sync needs SQLAlchemy: install connector-async[sync]"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, told)


@pytest.mark.parametrize("module", ["sqlalchemy", "alembic", "icalendar", "aiohttp"])
def test_to_import_the_package_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, connector_async.sync.exceptions; sys.exit({module!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
