"""The faults that cattrs found in a body, as lines of path and rule, such as `$[1].title: expected a string, not null`.

Only the messages of this package's own errors are shown: those of other errors may contain values.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from cattrs import ClassValidationError, IterableValidationError

from connector_async._timestamps import InstantError

from .hooks import MismatchError

MAX_PROBLEMS: Final = 20
"""How many faults are explained. A body may have millions, and explaining one takes 20 µs."""
_MAX_ID: Final = 128


def describe(error: BaseException, keys: Mapping[str, str], path: str = "$") -> list[str]:
    """Return a line for each of the first `MAX_PROBLEMS` faults.

    Args:
        error: The error of the explaining converter.
        keys: Field of a model to its key.
        path: The path of the value that the converter was given.
    """
    return list(itertools.islice(_lines(error, path, keys), MAX_PROBLEMS))


def truncate(lines: Sequence[str]) -> list[str]:
    """Return the first `MAX_PROBLEMS` lines, and "and more" if there are others."""
    return [*lines[:MAX_PROBLEMS], "and more"] if len(lines) > MAX_PROBLEMS else list(lines)


def add_id(lines: Sequence[str], item: Any, key: str) -> list[str]:
    """Return the lines with the item's id at their ends, if it has a printable and short one. Ids are not personal."""
    value = item.get(key) if isinstance(item, dict) else None
    name = str(value) if type(value) is str or type(value) is int else ""
    if not name or len(name) > _MAX_ID or not name.isprintable():
        return list(lines)
    return [f"{line} ({key} {name})" for line in lines]


def _lines(error: BaseException, path: str, keys: Mapping[str, str]) -> Iterator[str]:
    if isinstance(error, ClassValidationError):
        field_errors, other_errors = error.group_exceptions()
        for inner, field in field_errors:
            yield from _lines(inner, f"{path}.{keys.get(field.name, field.name)}", keys)
        for inner in other_errors:
            yield from _lines(inner, path, keys)
    elif isinstance(error, IterableValidationError):
        for inner, item in error.group_exceptions()[0]:
            # The key of an object may be a value, such as an address.
            place = f"{path}[{item.index}]" if isinstance(item.index, int) else f"{path}.{item.index}"
            yield from _lines(inner, place, keys)
    else:
        yield f"{path}: {_rule(error)}"


def _rule(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return "required, and missing"
    return str(error) if isinstance(error, MismatchError | InstantError) else "breaks a rule of the model"
