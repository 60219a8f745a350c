"""Keeps in SQLite what makes tokens outlive a restart: the signing key, the number of runs, and revocations.

It knows nothing of what a token is. The key is stored as it is: whoever can read the file can sign tokens.
"""

import secrets
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

_KEY_BYTES: Final = 32
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS token_run (only_row INTEGER PRIMARY KEY CHECK (only_row = 1), key BLOB, runs INTEGER);
CREATE TABLE IF NOT EXISTS token_revocation (tenant TEXT PRIMARY KEY, through INTEGER NOT NULL);
"""
_FIRST_KEY: Final = "INSERT OR IGNORE INTO token_run VALUES (1, ?, 0)"
_BEGIN_RUN: Final = "UPDATE token_run SET runs = runs + 1 RETURNING runs"
_REVOKE: Final = "INSERT INTO token_revocation VALUES (?, ?) ON CONFLICT DO UPDATE SET through = excluded.through"


class TokenStore:
    """The key, the runs and the revocations of one database.

    Its calls are not coroutines: each but a revocation is made once a start, and a revocation is to hold, and to be on
    the disk, when the call that makes it returns.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def key(self) -> bytes:
        """Read the signing key."""
        (key,) = self._connection.execute("SELECT key FROM token_run").fetchone()
        return bytes(key)

    def begin_run(self) -> int:
        """Count this run and return its number, from 1."""
        (runs,) = self._connection.execute(_BEGIN_RUN).fetchall()[0]
        return int(runs)

    def revocations(self) -> dict[str, int]:
        """Read, per tenant, the number through which its tokens are revoked."""
        return dict(self._connection.execute("SELECT tenant, through FROM token_revocation"))

    def revoke(self, tenant: str, through: int) -> None:
        """Write that the tenant's tokens are revoked through this number."""
        self._connection.execute(_REVOKE, (tenant, through))


@contextmanager
def open_token_store(database: str | Path) -> Generator[TokenStore]:
    """Open the store in the database, or create it there, until the block ends.

    Args:
        database: A file, or `:memory:`.

    Raises:
        sqlite3.Error: It cannot be opened or is not a SQLite database.
    """
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.executescript(_SCHEMA)
        connection.execute(_FIRST_KEY, (secrets.token_bytes(_KEY_BYTES),))
        yield TokenStore(connection)
