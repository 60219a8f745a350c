"""A table that forgets what has not been used for long, so that keys from outside cannot make it grow without end."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


def _never(_: object) -> bool:
    return False


class RecentlyUsed(Generic[K, V]):
    """Keeps the entries that were used last: `size` of them at least, and twice as many at most.

    It is thread-safe. An entry is in one of two generations: the newer one has what was used since it was started.
    When it is full, it becomes the older one, and what has not been used since is dropped. So a lookup of a recent
    entry is that of a dict, without a lock and without reordering.

    Args:
        size: How many entries the newer generation has at most; above zero.
        is_expired: Tells of a value that it is of no use any more: those are dropped first.
    """

    __slots__ = ("_is_expired", "_lock", "_newer", "_older", "_size")

    def __init__(self, size: int, *, is_expired: Callable[[V], bool] = _never) -> None:
        self._size = size
        self._is_expired = is_expired
        self._newer: dict[K, V] = {}
        self._older: dict[K, V] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._newer) + len(self._older)

    def get(self, key: K) -> V | None:
        """Return the value under `key`, or `None`."""
        value = self._newer.get(key)
        if value is not None or not self._older:
            return value
        with self._lock:
            return self._find(key)

    def setdefault(self, key: K, value: V) -> V:
        """Return the value under `key`, after adding `value` if there is none."""
        found = self._newer.get(key)
        if found is not None:
            return found
        with self._lock:
            found = self._find(key)
            if found is None:
                self._add(key, value)
            return value if found is None else found

    def put(self, key: K, value: V) -> None:
        """Add `value` under `key`, or replace what is there."""
        with self._lock:
            self._older.pop(key, None)
            self._add(key, value)

    def remove(self, key: K, value: V) -> None:
        """Remove `value` if it is under `key`."""
        with self._lock:
            for generation in (self._newer, self._older):
                if generation.get(key) is value:
                    del generation[key]

    def _find(self, key: K) -> V | None:
        value = self._newer.get(key)
        if value is None:
            value = self._older.pop(key, None)
            if value is not None:
                self._add(key, value)
        return value

    def _add(self, key: K, value: V) -> None:
        if len(self._newer) >= self._size and key not in self._newer:
            self._make_room()
        self._newer[key] = value

    def _make_room(self) -> None:
        alive = {key: value for key, value in self._newer.items() if not self._is_expired(value)}
        if len(alive) > self._size // 2:
            self._older, self._newer = alive, {}
        else:
            self._newer = alive
            self._older = {key: value for key, value in self._older.items() if not self._is_expired(value)}
