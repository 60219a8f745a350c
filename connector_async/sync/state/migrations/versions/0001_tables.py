"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables, and the single row of `serial` and of `leases`."""
    _create_bookkeeping()
    _create_contents()
    _create_dead_letters()


def downgrade() -> None:
    """Raise, as this is the first revision."""
    raise NotImplementedError("the first revision has no earlier one")


def _create_bookkeeping() -> None:
    serial = op.create_table("serial", sa.Column("number", sa.Integer, nullable=False))
    op.bulk_insert(serial, [{"number": 0}])
    leases = op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("acquired_at", sa.Double, nullable=False),
    )
    op.bulk_insert(leases, [{"name": "run", "owner": "", "epoch": 0, "acquired_at": 0.0}])
    op.create_table(
        "runs",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("conditions", sa.Text, nullable=False),
        sa.Column("lineage", sa.Text, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("requests_sent", sa.Integer, nullable=False),
        sa.Column("requests_minimum", sa.Integer, nullable=False),
        sa.Column("waited", sa.Double, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
    )


def _create_contents() -> None:
    op.create_table(
        "cells",
        *_calendar_key(),
        sa.Column("window_start", sa.Text, primary_key=True),
        sa.Column("window_end", sa.Text, nullable=False),
        sa.Column("done_run", sa.Text),
        sa.Column("previewed_at", sa.Double),
    )
    op.create_table(
        "items",
        *_calendar_key(),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("appointment_id", sa.Text, nullable=False),
        sa.Column("local_hash", sa.Text, nullable=False),
        sa.Column("remote_hash", sa.Text),
        sa.Column("pending_hashes", sa.Text),
        sa.Column("start_time", sa.Text, nullable=False),
        sa.Column("end_time", sa.Text, nullable=False),
        sa.Column("deleted_at", sa.Double),
        sa.Column("run_id", sa.Text, nullable=False),
    )
    op.create_index("items_by_appointment", "items", ["tenant_id", "domain_id", "ad_id", "appointment_id"])
    _create_intents()
    _create_pulled()
    op.create_table(
        "desired",
        *_calendar_key(),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("content_hash", sa.Text),
        sa.Column("start_time", sa.Text),
        sa.Column("end_time", sa.Text),
        sa.Column("modified", sa.Text),
        sa.Column("body", sa.LargeBinary),
        sa.Column("copies", sa.Integer, nullable=False),
    )


def _create_intents() -> None:
    op.create_table(
        "intents",
        *_calendar_key(),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("summary_hash", sa.Text, nullable=False),
        sa.Column("start_time", sa.Text, nullable=False),
        sa.Column("end_time", sa.Text, nullable=False),
        sa.Column("sent_at", sa.Double, nullable=False),
    )


def _create_pulled() -> None:
    op.create_table(
        "pulled",
        *_calendar_key(),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("replaced_hash", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("start_time", sa.Text, nullable=False),
        sa.Column("end_time", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary),
    )


def _create_dead_letters() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("dead_letter_id", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("tenant_id", sa.Text, nullable=False),
        sa.Column("domain_id", sa.Text, nullable=False),
        sa.Column("ad_id", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("resolved_at", sa.Double),
        sqlite_autoincrement=True,
    )
    op.create_index("dead_letters_by_run", "dead_letters", ["run_id"])
    op.create_index("dead_letters_by_key", "dead_letters", ["key", "tenant_id", "domain_id", "ad_id"])


def _calendar_key() -> list["sa.Column[str]"]:
    return [sa.Column(name, sa.Text, primary_key=True) for name in ("tenant_id", "domain_id", "ad_id")]
