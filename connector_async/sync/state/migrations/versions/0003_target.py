"""The target of a state, the latest failures, the versions that lost a conflict, and what a look has confirmed."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the tables and columns. An existing state gets an id; the next run sets its target."""
    target = op.create_table(
        "target",
        sa.Column("state_id", sa.Text, primary_key=True),
        sa.Column("base_url", sa.Text),
        sa.Column("wire_format", sa.Text),
    )
    op.bulk_insert(target, [{"state_id": secrets.token_hex(8)}])
    op.create_table(
        "failures",
        *_key(primary_key=True),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("request_id", sa.Text),
        sa.Column("at", sa.Double, nullable=False),
    )
    op.create_table(
        "archived",
        sa.Column("archived_id", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.Text, nullable=False),
        *_key(primary_key=False),
        sa.Column("side", sa.Text, nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("body", sa.LargeBinary),
        sqlite_autoincrement=True,
    )
    op.create_index("archived_by_key", "archived", ["key", "tenant_id", "domain_id", "ad_id"])
    with op.batch_alter_table("items") as table:
        table.add_column(sa.Column("summary_hash", sa.Text))
        table.add_column(sa.Column("written_at", sa.Double))
        table.add_column(sa.Column("confirmed_at", sa.Double))
        table.add_column(sa.Column("replaced_hashes", sa.Text))


def downgrade() -> None:
    """Raise, as the copy from before the upgrade is the way back."""
    raise NotImplementedError("a state cannot be downgraded; use the copy from before the upgrade")


def _key(*, primary_key: bool) -> list[sa.Column[str]]:
    names = ("tenant_id", "domain_id", "ad_id", "key")
    return [sa.Column(name, sa.Text, primary_key=primary_key, nullable=False) for name in names]
