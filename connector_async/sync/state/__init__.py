"""What a bulk sync remembers between runs and through crashes, in a database that one run at a time writes to.

Importing it takes SQLAlchemy's 300 ms; Alembic is imported when a state is created or upgraded.
"""

from .archive import backup, export_state, import_state
from .db.engine import State, Transaction

__all__ = ["State", "Transaction", "backup", "export_state", "import_state"]
