"""A bounded table of the entries used last, so that keys from outside cannot make it grow without end."""

import threading
import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class RecentlyUsed(Generic[K, V]):
    """A mapping that keeps the entries used last: at least `size` and at most twice as many, beside those in use.

    It is thread-safe. Each entry is in one of two generations. The newer one has the entries used since it was started.
    When it is full, it becomes the older one, and the previous older one is dropped. So the lookup of a recent entry is
    that of a dict, without a lock and without reordering.

    Args:
        size: The most entries of the newer generation; above zero.
        is_expired: Returns whether a value is of no use any more. Expired values are dropped first. `None`: none is.
        keeps_used: Whether a value is kept, beside all others, for as long as there are other references to it.
    """

    __slots__ = ("_in_use", "_is_expired", "_keeps_used", "_lock", "_newer", "_older", "_size")

    def __init__(self, size: int, *, is_expired: Callable[[V], bool] | None = None, keeps_used: bool = False) -> None:
        self._size = size
        self._is_expired = is_expired
        self._keeps_used = keeps_used
        self._newer: dict[K, V] = {}
        self._older: dict[K, V] = {}
        self._in_use: dict[K, weakref.ref[V]] = {}
        """Values that were in use elsewhere when they were dropped."""
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._newer) + len(self._older) + len(self._in_use)

    def get(self, key: K) -> V | None:
        """Return the value under `key`, or `None`."""
        value = self._newer.get(key)
        if value is not None:
            return value
        with self._lock:
            return self._find(key)

    def get_or_make(self, key: K, make: Callable[[K], V]) -> V:
        """Return the value under `key`, after adding the one that `make` returns for it if there is none.

        `make` must not use the table.
        """
        value = self._newer.get(key)
        if value is None:
            with self._lock:
                value = self._find(key)
                if value is None:
                    value = make(key)
                    self._add(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Set the value under `key`."""
        with self._lock:
            self._older.pop(key, None)
            self._in_use.pop(key, None)
            self._add(key, value)

    def _find(self, key: K) -> V | None:
        value = self._newer.get(key)
        if value is None:
            value = self._older.pop(key, None)
            if value is None and key in self._in_use:
                value = self._in_use.pop(key)()
            if value is not None:
                self._add(key, value)
        return value

    def _add(self, key: K, value: V) -> None:
        if len(self._newer) >= self._size and key not in self._newer:
            self._make_room()
        self._newer[key] = value

    def _make_room(self) -> None:
        alive = self._alive(self._newer)
        if len(alive) > self._size // 2:
            dropped, self._older, self._newer = self._older, alive, {}
            if self._keeps_used:
                self._drop_unused(dropped)
        else:
            self._newer = alive
            self._older = self._alive(self._older)

    def _alive(self, generation: dict[K, V]) -> dict[K, V]:
        is_expired = self._is_expired
        if is_expired is None:
            return generation
        return {key: value for key, value in generation.items() if not is_expired(value)}

    def _drop_unused(self, dropped: dict[K, V]) -> None:
        # All at once: the callback that a `WeakValueDictionary` has for each value would take more than all of this.
        references = {key: weakref.ref(value) for key, value in dropped.items()}
        dropped.clear()
        self._in_use = {
            key: reference for key, reference in (self._in_use | references).items() if reference() is not None
        }
