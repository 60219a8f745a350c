"""A bounded table of the entries used last, so that keys from outside cannot make it grow without end."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


def _never(_: object) -> bool:
    return False


class RecentlyUsed(Generic[K, V]):
    """A mapping that keeps the entries used last: at least `size` of them, and at most twice as many.

    It is thread-safe. Each entry is in one of two generations. The newer one has the entries used since it was started.
    When it is full, it becomes the older one, and the previous older one is dropped. So the lookup of a recent entry is
    that of a dict, without a lock and without reordering.

    Args:
        size: The most entries of the newer generation; above zero.
        is_expired: Returns whether a value is of no use any more. Expired values are dropped first.
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
        present = self._newer.get(key)
        if present is not None:
            return present
        with self._lock:
            present = self._find(key)
            if present is None:
                self._add(key, value)
            return value if present is None else present

    def put(self, key: K, value: V) -> None:
        """Set the value under `key`."""
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
