"""Hooks that take a JSON value for what it is, and refuse what cattrs would bend into shape.

They know nothing of models or keys.
"""

from collections.abc import Callable
from typing import Any, Final

from cattrs.cols import list_structure_factory

_JSON_TYPES: Final[dict[type, str]] = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    list: "an array",
    dict: "an object",
}


class MismatchError(ValueError):
    """A value breaks a rule of the contract. The message names the rule, never the value."""


def structure_text(value: object, _: object) -> str:
    """Take a string."""
    if type(value) is str:
        return value
    raise MismatchError(f"expected a string, not {_json_type(value)}")


def structure_optional_text(value: object, _: object) -> str | None:
    """Take a string or null."""
    if value is None or type(value) is str:
        return value
    raise MismatchError(f"expected a string or null, not {_json_type(value)}")


def structure_id(value: object, _: object) -> str:
    """Take a string that is not empty, or the digits of an integer."""
    if type(value) is str and value:
        return value
    # Not bool, which is an int, and not float, which orjson makes of an integer above 2**64.
    if type(value) is int:
        return str(value)
    raise MismatchError(f"expected a non-empty string or an integer, not {_json_type(value)}")


def is_list(type_: Any) -> bool:
    """Tell whether a type is `list[...]`."""
    return getattr(type_, "__origin__", None) is list


def strict_list_factory(type_: Any, converter: Any) -> Callable[[object, Any], Any]:
    """Return a hook that takes an array; cattrs' own takes whatever can be iterated, a text or an object too."""
    structure_items = list_structure_factory(type_, converter)

    def structure_list(value: object, _: object) -> Any:
        if type(value) is list:
            return structure_items(value, _)
        raise MismatchError(f"expected an array, not {_json_type(value)}")

    return structure_list


def of_object(structure: Callable[[dict[str, Any], Any], Any]) -> Callable[[object, Any], Any]:
    """Return a hook that hands an object to `structure`, and refuses anything else."""

    def structure_object(value: object, type_: Any) -> Any:
        if isinstance(value, dict):
            return structure(value, type_)
        raise MismatchError(f"expected an object, not {_json_type(value)}")

    return structure_object


def _json_type(value: object) -> str:
    return _JSON_TYPES.get(type(value), "null")
