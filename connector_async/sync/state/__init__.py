"""The state of a sync: what it remembers between runs and through crashes, in a database that one run writes at a time.

Importing this package takes SQLAlchemy's 300 ms. Alembic is imported only when a state is created or upgraded.
"""

from .archive import backup, export_state, find_damage, import_state
from .db.engine import State, Transaction

__all__ = ["State", "Transaction", "backup", "export_state", "find_damage", "import_state"]
