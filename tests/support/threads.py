"""Whether the threads that a test started have ended."""

import threading


def assert_no_thread_is_left(before: set[threading.Thread]) -> None:
    """Join the threads that were not running before: aiosqlite's ends shortly after its connection is closed."""
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive(), f"{thread.name} is still running"
