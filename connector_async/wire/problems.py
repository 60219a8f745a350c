"""What cattrs found wrong with a body, as lines of path and rule.

Only the messages of our own errors are shown: those of others may hold values.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Final

from cattrs import ClassValidationError, IterableValidationError

from connector_async.instants import InstantError

from .hooks import MismatchError

_MAX_PROBLEMS: Final = 20


def problems(error: BaseException, keys: Mapping[str, str]) -> list[str]:
    """Return one line for each fault, the first twenty and the number of the others.

    Args:
        error: What the explaining converter raised.
        keys: Field of a model to key.
    """
    lines = _lines(error, "$", keys)
    shown = list(itertools.islice(lines, _MAX_PROBLEMS))
    unshown = sum(1 for _ in lines)
    return [*shown, f"and {unshown} more"] if unshown else shown


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
