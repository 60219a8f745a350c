"""The tables of the state, and its revisions. It knows no database.

Instants are texts of RFC 3339 in UTC, with six digits of a second each, so that they sort as they come; moments are
seconds since 1970 in UTC. Where a calendar has no user, `domain_id` and `ad_id` are empty texts, since a primary key
takes no `NULL`.
"""

from typing import Final

from sqlalchemy import JSON, Column, Double, Index, Integer, LargeBinary, MetaData, Table, Text

REVISIONS: Final = ("0001", "0002")
"""Every revision of the tables, the oldest first; the last is the one that this version works with. They stand here so
that a state which needs no upgrade is opened without Alembic."""
VERSION_TABLE: Final = "connector_sync_version"
"""Names the revision of a state. Not Alembic's usual name: many kinds of database have a table of that one."""

LEASE: Final = "run"
"""The one row of `leases`. It is there from the beginning, with the epoch 0 and no owner."""

CALENDAR: Final = ("tenant_id", "domain_id", "ad_id")
"""The columns that say whose a row is."""
KEY: Final = (*CALENDAR, "key")
"""The columns that say which record a row is about."""

metadata: Final = MetaData()


def _text_key(*names: str) -> list[Column[str]]:
    return [Column(name, Text, primary_key=True) for name in names]


def _texts(*names: str) -> list[Column[str]]:
    return [Column(name, Text, nullable=False) for name in names]


serial: Final = Table("serial", metadata, Column("number", Integer, nullable=False))
"""One row: how often the items have changed."""

leases: Final = Table(
    "leases",
    metadata,
    *_text_key("name"),
    *_texts("owner"),
    Column("epoch", Integer, nullable=False),
    Column("acquired_at", Double, nullable=False),
)
"""Who may write: only the one that raised the epoch last."""

runs: Final = Table(
    "runs",
    metadata,
    *_text_key("run_id"),
    *_texts("kind", "mode", "conditions", "lineage"),
    Column("started_at", Double, nullable=False),
    Column("ended_at", Double),
    *_texts("status"),
    Column("requests_sent", Integer, nullable=False),
    Column("requests_minimum", Integer, nullable=False),
    Column("waited", Double, nullable=False),
    Column("counts", JSON, nullable=False),
)
"""What was done, and what it cost. `waited` is in seconds. A run that goes on with one that was ended early has the
`lineage` of that, which is the id of the first of them; it goes on only under the same `conditions`."""

cells: Final = Table(
    "cells",
    metadata,
    *_text_key("tenant_id", "domain_id", "ad_id", "window_start"),
    *_texts("window_end"),
    Column("done_run", Text),
    Column("previewed_at", Double),
)
"""The windows of each calendar: which lineage of runs finished one last, and when."""

items: Final = Table(
    "items",
    metadata,
    *_text_key(*KEY),
    *_texts("appointment_id", "local_hash"),
    Column("remote_hash", Text),
    Column("pending_hashes", Text),
    *_texts("start_time", "end_time"),
    Column("deleted_at", Double),
    *_texts("run_id"),
    Index("items_by_appointment", "tenant_id", "domain_id", "ad_id", "appointment_id"),
)
"""What the server has under each key, and with `deleted_at` what it had. With `pending_hashes` something was sent, and
nobody knows whether it happened: the hashes of what the source had then, apart by spaces, and `-` for a delete."""

intents: Final = Table(
    "intents",
    metadata,
    *_text_key(*KEY),
    *_texts("run_id", "content_hash", "summary_hash", "start_time", "end_time"),
    Column("sent_at", Double, nullable=False),
)
"""Creates whose outcome is open. The summary is of the title and the times alone."""

dead_letters: Final = Table(
    "dead_letters",
    metadata,
    Column("dead_letter_id", Integer, primary_key=True),
    *_texts("run_id", "tenant_id", "domain_id", "ad_id", "key", "operation", "error", "reason", "content_hash"),
    Column("status", Integer),
    Column("request_id", Text),
    Column("at", Double, nullable=False),
    Column("resolved_at", Double),
    Index("dead_letters_by_run", "run_id"),
    Index("dead_letters_by_key", "key", *CALENDAR),
    sqlite_autoincrement=True,
)
"""What was given up, and why; with `resolved_at` it has come into step since."""

desired: Final = Table(
    "desired",
    metadata,
    *_text_key(*KEY),
    Column("content_hash", Text),
    Column("start_time", Text),
    Column("end_time", Text),
    Column("modified", Text),
    Column("body", LargeBinary),
    Column("copies", Integer, nullable=False),
)
"""What the source says in the current run. The bodies are personal data."""

pulled: Final = Table(
    "pulled",
    metadata,
    *_text_key(*KEY),
    *_texts("replaced_hash", "content_hash", "start_time", "end_time"),
    Column("body", LargeBinary),
)
"""What was taken over from the server and is not in the source's file yet; without a body it is to go from there. The
bodies are personal data. `replaced_hash` is of what the source had then."""
