"""Pickle and copy values that hold headers, which aiohttp's header mappings do not support."""

from types import MappingProxyType
from typing import Any

import attrs


class _Headers(tuple[tuple[str, str], ...]):
    """The lines of a header mapping."""

    __slots__ = ()


class _ReadOnly(dict[Any, Any]):
    """The members of a read-only mapping."""


def reduced(value: Any) -> tuple[Any, ...]:
    """Return the result of `__reduce__` for an attrs class that may have read-only mappings as fields.

    Unpickled headers are read-only as well, and their names are matched without regard to case.
    """
    fields = {field.name: _packed(getattr(value, field.name)) for field in attrs.fields(type(value))}
    return _rebuilt, (type(value), fields)


def _rebuilt(kind: type[Any], fields: dict[str, Any]) -> Any:
    return kind(**{name: _unpacked(packed) for name, packed in fields.items()})


def _packed(value: Any) -> Any:
    from multidict import CIMultiDictProxy  # noqa: PLC0415 - needed only here, and not by the command's help

    if isinstance(value, CIMultiDictProxy):
        return _Headers(value.items())
    return _ReadOnly(value) if isinstance(value, MappingProxyType) else value


def _unpacked(value: Any) -> Any:
    from multidict import CIMultiDict, CIMultiDictProxy  # noqa: PLC0415

    if isinstance(value, _Headers):
        return CIMultiDictProxy(CIMultiDict(value))
    return MappingProxyType(dict(value)) if isinstance(value, _ReadOnly) else value
