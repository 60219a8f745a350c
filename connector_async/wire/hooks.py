"""cattrs hooks that accept a JSON value only if it already has the right type. None of them knows models or keys.

    Expected            Accepted                            cattrs alone would also accept
    string              string                              anything, by `str(value)`: `null` becomes "None"
    optional string     string, null                        anything, by `str(value)`
    id                  non-empty string; integer           a float, a boolean, ""
    list                array                               whatever can be iterated: a string, an object
    object              object                              nothing else, but without saying what is wrong

Only an id is converted: an integer becomes the string of its digits.
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


def structure_str(value: object, _: object) -> str:
    """Return a JSON string; reject any other type."""
    if type(value) is str:
        return value
    raise MismatchError(f"expected a string, not {_json_type(value)}")


def structure_optional_str(value: object, _: object) -> str | None:
    """Return a JSON string or null; reject any other type."""
    if value is None or type(value) is str:
        return value
    raise MismatchError(f"expected a string or null, not {_json_type(value)}")


def structure_id(value: object, _: object) -> str:
    """Return a non-empty JSON string, or the digits of an integer; reject any other value."""
    if type(value) is str and value:
        return value
    # `type` excludes bool, which is a subclass of int. orjson parses an integer above 2**64 as a float.
    if type(value) is int:
        return str(value)
    raise MismatchError(f"expected a non-empty string or an integer, not {_json_type(value)}")


def is_list(type_: Any) -> bool:
    """Return whether a type is `list[...]`."""
    return getattr(type_, "__origin__", None) is list


def make_list_hook(type_: Any, converter: Any) -> Callable[[object, Any], Any]:
    """Return a hook that structures the items of a JSON array and rejects any other type."""
    structure_items = list_structure_factory(type_, converter)

    def structure_list(value: object, _: object) -> Any:
        if type(value) is list:
            return structure_items(value, _)
        raise MismatchError(f"expected an array, not {_json_type(value)}")

    return structure_list


def make_object_hook(structure: Callable[[dict[str, Any], Any], Any]) -> Callable[[object, Any], Any]:
    """Return a hook that passes a JSON object to `structure` and rejects any other type."""

    def structure_object(value: object, type_: Any) -> Any:
        if isinstance(value, dict):
            return structure(value, type_)
        raise MismatchError(f"expected an object, not {_json_type(value)}")

    return structure_object


def _json_type(value: object) -> str:
    return _JSON_TYPES.get(type(value), "null")
