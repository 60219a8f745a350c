"""The request id of the response that a dead letter was written for."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; existing dead letters have no request id."""
    with op.batch_alter_table("dead_letters") as table:
        table.add_column(sa.Column("request_id", sa.Text))


def downgrade() -> None:
    """Raise, as the copy from before the upgrade is the way back."""
    raise NotImplementedError("a state cannot be downgraded; use the copy from before the upgrade")
