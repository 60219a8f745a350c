"""Runs whose tenants are worked on by several processes, and the tenants of each."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the tables."""
    integer = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    text = sa.Text(collation="C") if op.get_bind().dialect.name == "postgresql" else sa.Text()
    op.create_table(
        "shared_runs",
        sa.Column("run_id", text, primary_key=True),
        sa.Column("options", sa.JSON, nullable=False),
        sa.Column("unreadable", integer, nullable=False),
        sa.Column("is_queued", integer, nullable=False),
    )
    op.create_table(
        "shares",
        sa.Column("run_id", text, primary_key=True),
        sa.Column("tenant_id", text, primary_key=True),
        sa.Column("status", text, nullable=False),
        sa.Column("withheld", integer, nullable=False),
        sa.Column("ambiguous", integer, nullable=False),
        sa.Column("idle", integer, nullable=False),
        sa.Column("to_do", integer, nullable=False),
        sa.Column("report", sa.JSON, nullable=False),
    )
    op.create_index("shares_by_status", "shares", ["run_id", "status"])
    op.create_index("shares_by_tenant", "shares", ["tenant_id", "status"])


def downgrade() -> None:
    """Raise, as the copy from before the upgrade is the way back."""
    raise NotImplementedError("a state cannot be downgraded; use the copy from before the upgrade")
