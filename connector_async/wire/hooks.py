"""cattrs hooks that accept a JSON value only if it already has the right type. None of them knows models or keys.

    Expected            Accepted                            cattrs alone would also accept
    string              string                              anything, by `str(value)`: `null` becomes "None"
    optional string     string, null                        anything, by `str(value)`
    id                  non-empty string; integer           a float, a boolean, ""
    integer             integer                             a float, cut; a string of digits; a boolean
    float               float; integer                      a string of digits; a boolean
    boolean             boolean                             anything: "no" becomes `True`
    list, tuple[X, ...] array                               whatever can be iterated: a string, an object
    object, dict        object                              nothing else, but without saying what is wrong

Only an id is converted: an integer becomes the string of its digits.
"""

import collections
import collections.abc
from collections.abc import Callable
from typing import Any, Final, get_args, get_origin

from cattrs import IterableValidationError, IterableValidationNote

_JSON_TYPES: Final[dict[type, str]] = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    list: "an array",
    dict: "an object",
}
_COLLECTIONS: Final = frozenset(
    {list, tuple, dict, set, frozenset, *(getattr(collections.abc, name) for name in collections.abc.__all__)}
    | {collections.deque, collections.defaultdict, collections.OrderedDict, collections.Counter}
)
_ItemsError: Final[Any] = IterableValidationError  # type checkers do not know its constructor


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


def structure_int(value: object, _: object) -> int:
    """Return a JSON integer; reject any other type."""
    if type(value) is int:
        return value
    raise MismatchError(f"expected an integer, not {_json_type(value)}")


def structure_float(value: object, _: object) -> float:
    """Return a JSON number as a float; reject any other type."""
    if type(value) is float or type(value) is int:
        return float(value)  # the parser rejects what is beyond the range of floats
    raise MismatchError(f"expected a number, not {_json_type(value)}")


def structure_bool(value: object, _: object) -> bool:
    """Return a JSON boolean; reject any other type."""
    if type(value) is bool:
        return value
    raise MismatchError(f"expected a boolean, not {_json_type(value)}")


def structure_list(value: object) -> list[Any]:
    """Return a JSON array; reject any other type."""
    if type(value) is list:
        return value
    raise MismatchError(f"expected an array, not {_json_type(value)}")


def is_list(type_: Any) -> bool:
    """Return whether a type is `list[...]`."""
    return get_origin(type_) is list


def is_collection(type_: Any) -> bool:
    """Return whether a type is a collection of the standard library, with its item types or without."""
    return (get_origin(type_) or type_) in _COLLECTIONS


def make_collection_hook(type_: Any, converter: Any) -> Callable[[object, Any], Any]:
    """Return a hook for `list[X]`, `tuple[X, ...]` or `dict[str, X]`, which rejects any other JSON type.

    A converter that explains faults explains the first invalid item: it keeps an error for each fault that it explains.

    Raises:
        TypeError: If `type_` is another collection. cattrs would read one from a string as well.
    """
    kind, items = get_origin(type_) or type_, get_args(type_)
    is_array = kind is list or (kind is tuple and (not items or items[1:] == (...,)))
    if not is_array and not (kind is dict and (not items or items[0] is str)):
        raise unknown_type(type_)
    item_type = Any if not items else items[0] if is_array else items[1]
    structure = _item_hook(item_type, converter)
    explains = converter.detailed_validation

    def structure_item(item: object, index: int | str) -> Any:
        try:
            return structure(item, item_type)
        except Exception as error:  # noqa: BLE001 - as cattrs does
            error.add_note(IterableValidationNote("an item", index, item_type))
            raise _ItemsError("an item", [error], type_) from None

    def structure_array(value: object, _: object) -> Any:
        items = structure_list(value)
        if explains:
            return kind([structure_item(item, index) for index, item in enumerate(items)])
        return kind([structure(item, item_type) for item in items])

    def structure_dict(value: object, _: object) -> Any:
        if type(value) is not dict:
            raise MismatchError(f"expected an object, not {_json_type(value)}")
        if explains:
            return {key: structure_item(item, "*") for key, item in value.items()}
        return {key: structure(item, item_type) for key, item in value.items()}

    return structure_array if is_array else structure_dict


def unknown_type(type_: Any) -> TypeError:
    """Return the error for a type that has no hook."""
    return TypeError(
        f"{type_} cannot be read from JSON; of the collections, list, tuple[X, ...] and dict[str, X] can be"
    )


def _item_hook(type_: Any, converter: Any) -> Callable[[object, Any], Any]:
    hook: Callable[[object, Any], Any]
    try:
        hook = converter.get_structure_hook(type_)
    except RecursionError:  # the type has itself as a part, so its hook is being made
        hook = converter.structure
    return hook


def make_object_hook(structure: Callable[[dict[str, Any], Any], Any]) -> Callable[[object, Any], Any]:
    """Return a hook that passes a JSON object to `structure` and rejects any other type."""

    def structure_object(value: object, type_: Any) -> Any:
        if isinstance(value, dict):
            return structure(value, type_)
        raise MismatchError(f"expected an object, not {_json_type(value)}")

    return structure_object


def _json_type(value: object) -> str:
    return _JSON_TYPES.get(type(value), "null")
