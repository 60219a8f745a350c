"""The tables of the state, and their revisions. Nothing here depends on the kind of database.

On PostgreSQL, the revisions give all strings the collation `C`: keys are compared by code point, as Python does.

The start and the end of an appointment are RFC 3339 strings in UTC with six fractional digits, so that they sort by
time. All other times are seconds since 1970 in UTC. In a calendar without a user, `domain_id` and `ad_id` are empty
strings, since a primary key cannot hold `NULL`.
"""

from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Dialect,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
)

REVISIONS: Final = ("0001", "0002", "0003", "0004", "0005", "0006")
"""All revisions of the tables, oldest first. This version works with the last one. They are listed here so that a
current state is opened without Alembic."""
VERSION_TABLE: Final = "connector_sync_version"
"""The table with the revision of a state. It does not have Alembic's default name, since many databases have that."""

STATE: Final = ""
"""The `tenant_id` of the lease of a whole state. Opening a file takes it."""

CALENDAR: Final = ("tenant_id", "domain_id", "ad_id")
"""The columns that identify the calendar of a row."""
KEY: Final = (*CALENDAR, "key")
"""The columns that identify the record of a row."""

PER_TENANT: Final = "tenants"
"""The key in the counts of a run with the report of each tenant."""


class String(TypeDecorator[str]):
    """A string. PostgreSQL cannot store U+0000, which an id of a server may have: it is written as U+FFFE and `0`."""

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Any:  # noqa: ARG002
        """Return what is applied to each value that is stored."""
        return _escape

    def result_processor(self, dialect: Dialect, coltype: Any) -> Any:  # noqa: ARG002
        """Return what is applied to each value that is read."""
        return _unescape


def _escape(value: str | None) -> str | None:
    return None if value is None else value.replace(_ESCAPE, f"{_ESCAPE}1").replace("\0", f"{_ESCAPE}0")


def _unescape(value: str | None) -> str | None:
    return None if value is None else value.replace(f"{_ESCAPE}0", "\0").replace(f"{_ESCAPE}1", _ESCAPE)


# Text itself for SQLite: a decorated type costs 2 us for each row.
_STRING: Final = Text().with_variant(String(), "postgresql")
_ESCAPE: Final = "\ufffe"  # a noncharacter
metadata: Final = MetaData()
_INTEGER: Final = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up keys of that type alone


def _key_columns(*names: str) -> list[Column[str]]:
    return [Column(name, _STRING, primary_key=True) for name in names]


def _text_columns(*names: str) -> list[Column[str]]:
    return [Column(name, _STRING, nullable=False) for name in names]


serial: Final = Table("serial", metadata, Column("number", _INTEGER, nullable=False))
"""One row: a number that increases with each change of the items that concerns all tenants."""

tenants: Final = Table(
    "tenants",
    metadata,
    *_key_columns("tenant_id"),
    *_text_columns("owner", "holder"),
    Column("epoch", _INTEGER, nullable=False),
    Column("acquired_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("number", _INTEGER, nullable=False),
)
"""The right to write for a tenant. Only the run that raised the epoch last has it; `holder` marks it. `number`
increases with each change of the tenant's items."""

target: Final = Table(
    "target", metadata, *_key_columns("state_id"), Column("base_url", _STRING), Column("wire_format", _STRING)
)
"""One row: the id of the state, which its copies share, and the server that it belongs to, `NULL` before the first run.
"""

runs: Final = Table(
    "runs",
    metadata,
    *_key_columns("run_id"),
    *_text_columns("kind", "mode", "conditions", "lineage"),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),
    *_text_columns("status"),
    Column("requests_sent", _INTEGER, nullable=False),
    Column("requests_minimum", _INTEGER, nullable=False),
    Column("waited", Double, nullable=False),
    Column("counts", JSON, nullable=False),
)
"""The runs with their results and costs. `waited` is in seconds, and `counts` has the stored names of fates. Under
`PER_TENANT`, it has the same of each tenant once the run has ended, and when its requests were sent.

A run that resumes an interrupted one has the same `lineage`: the id of the first of these runs. A run only resumes one
with the same `conditions`.
"""

cells: Final = Table(
    "cells",
    metadata,
    *_key_columns("tenant_id", "domain_id", "ad_id", "window_start"),
    *_text_columns("window_end"),
    Column("done_run", _STRING),
    Column("previewed_at", Double),
)
"""The time windows of each calendar: the lineage of runs that finished one last, and when."""

items: Final = Table(
    "items",
    metadata,
    *_key_columns(*KEY),
    *_text_columns("appointment_id", "local_hash"),
    Column("remote_hash", _STRING),
    Column("pending_hashes", _STRING),
    *_text_columns("start_time", "end_time"),
    Column("deleted_at", Double),
    *_text_columns("run_id"),
    Column("summary_hash", _STRING),
    Column("written_at", Double),
    Column("confirmed_at", Double),
    Column("replaced_hashes", _STRING),
    Index("items_by_appointment", "tenant_id", "domain_id", "ad_id", "appointment_id"),
)
"""The appointment that each key was last synced with. With `deleted_at`, it was deleted.

With `pending_hashes`, changes or a delete were sent with an unknown result: the hashes of what the source had then,
separated by spaces, and `-` for a delete. `summary_hash` is of the title and times that the server has, `NULL` if not
known. `written_at` is when the key was last written to the server, and `confirmed_at` when a look first showed what the
server has made of that; `NULL`: not yet. `replaced_hashes` has what the last writes have replaced on the server, in the
form of `pending_hashes`, with `-` for a create; `NULL`: not known.
"""

intents: Final = Table(
    "intents",
    metadata,
    *_key_columns(*KEY),
    *_text_columns("run_id", "content_hash", "summary_hash", "start_time", "end_time"),
    Column("sent_at", Double, nullable=False),
)
"""The pending creates: sent or about to be, with an unknown result. `summary_hash` is of the title and times alone."""

dead_letters: Final = Table(
    "dead_letters",
    metadata,
    Column("dead_letter_id", _INTEGER, primary_key=True),
    *_text_columns("run_id", "tenant_id", "domain_id", "ad_id", "key", "operation", "error", "reason", "content_hash"),
    Column("status", _INTEGER),
    Column("request_id", _STRING),
    Column("at", Double, nullable=False),
    Column("resolved_at", Double),
    Index("dead_letters_by_run", "run_id"),
    Index("dead_letters_by_key", "key", *CALENDAR),
    sqlite_autoincrement=True,
)
"""The operations that failed permanently, and why. With `resolved_at`, the key has been synced since."""

failures: Final = Table(
    "failures",
    metadata,
    *_key_columns(*KEY),
    *_text_columns("run_id", "operation", "error", "reason"),
    Column("status", _INTEGER),
    Column("request_id", _STRING),
    Column("at", Double, nullable=False),
)
"""The latest failure of each key that is not in sync; with an empty key, of its whole calendar; with an empty user as
well, of its whole tenant."""

archived: Final = Table(
    "archived",
    metadata,
    Column("archived_id", _INTEGER, primary_key=True),
    *_text_columns("run_id", *KEY, "side", "content_hash"),
    Column("at", Double, nullable=False),
    Column("body", LargeBinary),
    Index("archived_by_key", "key", *CALENDAR),
    sqlite_autoincrement=True,
)
"""The versions that lost a conflict. `side` is `source` or `server`. Without a body, that side had deleted it. The
bodies are personal data."""

desired: Final = Table(
    "desired",
    metadata,
    *_key_columns(*KEY),
    Column("content_hash", _STRING),
    Column("start_time", _STRING),
    Column("end_time", _STRING),
    Column("modified", _STRING),
    Column("body", LargeBinary),
    Column("copies", _INTEGER, nullable=False),
)
"""The records of the source in the current run. A row without a hash is a record that cannot be read.

`modified` is an RFC 3339 string. The bodies are personal data.
"""

pulled: Final = Table(
    "pulled",
    metadata,
    *_key_columns(*KEY),
    *_text_columns("replaced_hash", "content_hash", "start_time", "end_time"),
    Column("body", LargeBinary),
)
"""The changes from the server that are not written back to the source's file yet. Without a body, the record is to be
removed from the file. `replaced_hash` is the hash of the record in the file. The bodies are personal data."""

shared_runs: Final = Table(
    "shared_runs",
    metadata,
    *_key_columns("run_id"),
    Column("options", JSON, nullable=False),
    Column("unreadable", _INTEGER, nullable=False),
    Column("is_queued", _INTEGER, nullable=False),
)
"""The runs whose tenants are worked on by several processes. `options` has everything that a process needs to know of
the run, and the first records that cannot be read as its `problems`. `is_queued` is 1 once each share was put into the
queue.
"""

shares: Final = Table(
    "shares",
    metadata,
    *_key_columns("run_id", "tenant_id"),
    *_text_columns("status"),
    Column("withheld", _INTEGER, nullable=False),
    Column("ambiguous", _INTEGER, nullable=False),
    Column("idle", _INTEGER, nullable=False),
    Column("to_do", _INTEGER, nullable=False),
    Column("report", JSON, nullable=False),
    Index("shares_by_status", "run_id", "status"),
    Index("shares_by_tenant", "tenant_id", "status"),
)
"""The tenants of such a run. `status` is `waiting`, `done`, `superseded`: another source was staged before the tenant
was done, or `failed`: an error ended the work, and the failure of the tenant has the reason. `withheld` and `ambiguous`
are 1 if one of its records cannot be read; see `Staged`. `idle` counts the last slices of work without any result,
`to_do` the keys that were out of sync at the start, and `report` has what became of the tenant so far, in the form of
the counts of a run.
"""
