"""How the server names the exchange in which something was given up."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add it; of what was given up before, it is not known."""
    with op.batch_alter_table("dead_letters") as table:
        table.add_column(sa.Column("request_id", sa.Text))


def downgrade() -> None:
    """Refuse: the copy that was made before the upgrade is the way back."""
    raise NotImplementedError("a state is not taken back; use the copy that was made before it was upgraded")
