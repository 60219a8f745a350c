"""What cattrs found wrong with a body, as lines of path and rule.

Only the messages of our own errors are shown: those of others may hold values.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from cattrs import ClassValidationError, IterableValidationError

from connector_async._timestamps import InstantError

from .hooks import MismatchError

MAX_PROBLEMS: Final = 20
"""Faults that are explained. A body may have millions, and to explain one takes 20 µs."""
_LONGEST_ID: Final = 128


def problems(error: BaseException, keys: Mapping[str, str], path: str = "$") -> list[str]:
    """Return one line for each fault, of the first `MAX_PROBLEMS`.

    Args:
        error: What the explaining converter raised.
        keys: Field of a model to key.
        path: Of the value that it was given.
    """
    return list(itertools.islice(_lines(error, path, keys), MAX_PROBLEMS))


def shown(lines: Sequence[str]) -> list[str]:
    """Return the first `MAX_PROBLEMS` lines, and one that says whether there are more."""
    return [*lines[:MAX_PROBLEMS], "and more"] if len(lines) > MAX_PROBLEMS else list(lines)


def with_id(lines: Sequence[str], item: Any, key: str) -> list[str]:
    """Add to each line the id that an item has under a key, if it is printable and short: an id is not personal."""
    value = item.get(key) if isinstance(item, dict) else None
    name = str(value) if type(value) is str or type(value) is int else ""
    if not name or len(name) > _LONGEST_ID or not name.isprintable():
        return list(lines)
    return [f"{line} ({key} {name})" for line in lines]


def _lines(error: BaseException, path: str, keys: Mapping[str, str]) -> Iterator[str]:
    if isinstance(error, ClassValidationError):
        of_fields, of_the_whole = error.group_exceptions()
        for inner, field in of_fields:
            yield from _lines(inner, f"{path}.{keys.get(field.name, field.name)}", keys)
        for inner in of_the_whole:
            yield from _lines(inner, path, keys)
    elif isinstance(error, IterableValidationError):
        for inner, item in error.group_exceptions()[0]:
            yield from _lines(inner, f"{path}[{item.index}]", keys)
    else:
        yield f"{path}: {_rule(error)}"


def _rule(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return "required, and missing"
    return str(error) if isinstance(error, MismatchError | InstantError) else "breaks a rule of the model"
