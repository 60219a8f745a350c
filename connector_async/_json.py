"""The only parser of JSON that a server sends, with bounds on depth and memory.

It knows no errors of this package and no fields.
"""

import codecs
import json
from collections.abc import Iterable
from typing import Any, Final

import orjson

MAX_DEPTH: Final = 64
"""Levels of arrays and objects in a value that is kept. Within Python's recursion limit about 300 levels can be pickled
and copied, and orjson writes 254. No field of a calendar has a tenth of that."""

_LARGE: Final = 256 * 1024
# Parsed values take up to forty times as much memory as their JSON: 10 MiB of `[],` become 240 MB, and the garbage
# collector visits each. Appointments with one-letter strings weigh 1 in 14 bytes by the measure below, and take
# four times as much memory as their JSON.
_BYTES_PER_WEIGHT: Final = 8
_WEIGHT_OF_CONTAINER: Final = 3
_ALWAYS_READ: Final = 100_000
_64_BITS: Final = 2.0**63


class JsonError(ValueError):
    """Raised when a body breaks a rule of JSON or a bound. The message names the rule, never the content."""


def parse(body: bytes, *, exact: bool = False) -> Any:
    """Return the value of a JSON body. A leading byte order mark is ignored (RFC 8259, section 8.1).

    Args:
        body: JSON in UTF-8.
        exact: Whether integers beyond 64 bits stay integers, which takes ten times as long. Otherwise they become
            floats.

    Raises:
        JsonError: If `body` is not JSON. If it is longer than 256 KiB, with more than 100,000 values and more than one
            value in 8 bytes, where an array or an object counts as four values. With `exact`, if it is nested deeper
            than Python's recursion limit.
        TypeError: If `body` is not bytes.
    """
    if type(body) is not bytes:
        raise TypeError(f"body must be bytes, not {type(body).__name__}")
    if len(body) > _LARGE:
        _check_density(body)
    try:
        parsed = orjson.loads(body)  # even with `exact`: json accepts NaN and lone surrogates
        return json.loads(body) if exact else parsed
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
    except (RecursionError, ValueError):
        raise JsonError("an integer is too long, or the nesting too deep") from None
    if body.startswith(codecs.BOM_UTF8):
        return parse(body.removeprefix(codecs.BOM_UTF8), exact=exact)
    # Raised outside the handler, because the caught error holds the whole body.
    raise JsonError(f"not JSON at {place}")


def may_be_rounded(values: Iterable[Any], levels: int = MAX_DEPTH) -> bool:
    """Return whether a float in parsed values, at any depth, may be a rounded integer.

    Raises:
        JsonError: If a value has more than `levels` levels of arrays and objects.
    """
    rounded = False
    for value in values:
        kind = type(value)
        if kind is dict or kind is list:
            if not levels:
                raise JsonError(f"nested deeper than {MAX_DEPTH} levels")
            if value and may_be_rounded(value.values() if kind is dict else value, levels - 1):
                rounded = True
        elif kind is float and not -_64_BITS <= value < _64_BITS:
            rounded = True
    return rounded


def _check_density(body: bytes) -> None:
    containers = body.count(b"[") + body.count(b"{")
    weight = body.count(b",") + _WEIGHT_OF_CONTAINER * containers
    if weight > _ALWAYS_READ and weight * _BYTES_PER_WEIGHT > len(body):
        raise JsonError(f"more than one value in {_BYTES_PER_WEIGHT} bytes")
