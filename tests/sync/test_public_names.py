"""The public names of the sync: complete, sorted, and loaded on first use."""

import ast
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

from connector_async import ConnectorError, SyncError, sync


def test_every_public_name_exists_and_has_one_home() -> None:
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


def test_every_error_is_a_sync_error() -> None:
    errors = [getattr(sync, name) for name in sync._HOMES["exceptions"]]
    assert all(issubclass(error, SyncError) and issubclass(error, ConnectorError) for error in errors)


def test_missing_extra_is_named() -> None:
    code = "import sys; sys.modules['sqlalchemy'] = None; from connector_async.sync import BulkSync"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    message = "ImportError: connector_async.sync.BulkSync needs sqlalchemy: pip install 'connector-async[sync]'"
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, message)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, connector_async.sync.exceptions; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & {"sqlalchemy", "alembic", "icalendar", "aiohttp"} == set()
