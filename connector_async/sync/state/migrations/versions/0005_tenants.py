"""A lease and a counter of changes for each tenant, in place of one lease for the whole state."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Replace the table of the lease. The counter of the whole state stays: those of the tenants add to it."""
    integer = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    text = sa.Text(collation="C") if op.get_bind().dialect.name == "postgresql" else sa.Text()
    op.create_table(
        "tenants",
        sa.Column("tenant_id", text, primary_key=True),
        sa.Column("owner", text, nullable=False),
        sa.Column("holder", text, nullable=False),
        sa.Column("epoch", integer, nullable=False),
        sa.Column("acquired_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.Column("number", integer, nullable=False),
    )
    op.drop_table("leases")


def downgrade() -> None:
    """Raise, as the copy from before the upgrade is the way back."""
    raise NotImplementedError("a state cannot be downgraded; use the copy from before the upgrade")
