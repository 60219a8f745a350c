"""One lock for all objects of the process that change a few variables at a time, and await nothing meanwhile.

A lock for each of the many tenants would take a tenth of their memory.
"""

import os
import threading
from typing import ClassVar


class SharedLock:
    """Holds the lock. A forked child gets a new one, because another thread may have held it during the fork."""

    lock: ClassVar = threading.Lock()

    @classmethod
    def renew(cls) -> None:
        """Replace the lock by one that is free."""
        cls.lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=SharedLock.renew)
