"""Models in pydantic and FastAPI: the schemas that pydantic asks an attrs class for.

pydantic is not a dependency. It calls these functions, so it is installed when they import its core.
"""

import inspect
import types
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, get_args

import attrs

from ._timestamps import parse_instant
from ._unset import Unset

NOT_BLANK: Final = types.MappingProxyType({"pattern": r"\S"})
"""The metadata of an attrs field with at least one character that is not white space."""
NOT_EMPTY: Final = types.MappingProxyType({"min_length": 1})
"""The metadata of an attrs field with at least one character."""


def core_schema_of(model: type[Any]) -> Any:
    """Return how pydantic validates and serializes a model: an instance, or an object of its fields.

    An object is checked field by field, so that each error has its field, and by the model's own rules after that.
    """
    from pydantic_core import core_schema  # noqa: PLC0415 - not a dependency

    def validate(value: Any, read_fields: Callable[[Any], dict[str, Any]]) -> Any:
        if isinstance(value, model):
            return value
        fields = read_fields(value)
        try:
            return model.from_fields(fields)
        except TypeError as error:  # pydantic would not report it as an error of the input
            problem = str(error)
        finally:
            del value, fields  # pydantic keeps the error, which has this frame in its traceback
        raise ValueError(problem)

    return core_schema.no_info_wrap_validator_function(
        validate,
        _object_schema(model, serialized=False),
        ref=f"{model.__module__}.{model.__qualname__}",
        # A wrap serializer, since a plain one ignores the fields that the caller excludes.
        serialization=core_schema.wrap_serializer_function_ser_schema(
            lambda instance, write_fields: write_fields(model.to_dict(instance)),
            schema=_object_schema(model, serialized=True),
            return_schema=_object_schema(model, serialized=True),
        ),
    )


def json_schema_of(model: type[Any], schema: Any, handler: Any) -> dict[str, Any]:
    """Return the JSON schema of a model, with its name, its description and the format of its date-times."""
    json_schema: dict[str, Any] = handler(schema)
    described = handler.resolve_ref_schema(json_schema)
    described["title"] = model.__name__
    described["description"] = (inspect.getdoc(model) or "").partition(".")[0] + "."
    for field in attrs.fields(model):
        if datetime in _types_of(field):
            described["properties"][field.name]["format"] = "date-time"
    return json_schema


def _object_schema(model: type[Any], *, serialized: bool) -> Any:
    from pydantic_core import core_schema  # noqa: PLC0415

    fields = {
        field.name: core_schema.typed_dict_field(
            _field_schema(field, serialized=serialized),
            required=not isinstance(field.default, Unset) if serialized else field.default is attrs.NOTHING,
        )
        for field in attrs.fields(model)
    }
    return core_schema.typed_dict_schema(fields, extra_behavior="forbid")


def _field_schema(field: "attrs.Attribute[Any]", *, serialized: bool) -> Any:
    from pydantic_core import core_schema  # noqa: PLC0415

    schema: Any
    field_types = _types_of(field)
    if datetime in field_types and not serialized:
        schema = core_schema.no_info_plain_validator_function(
            _read_instant, json_schema_input_schema=core_schema.str_schema()
        )
    elif choices := field.metadata.get("choices"):
        schema = core_schema.literal_schema(list(choices))
    elif {str, datetime} & field_types:
        schema = core_schema.str_schema(strict=True, **field.metadata)
    else:
        schema = core_schema.dict_schema(core_schema.str_schema(strict=True), core_schema.any_schema())
    return core_schema.nullable_schema(schema) if types.NoneType in field_types else schema


def _types_of(field: "attrs.Attribute[Any]") -> set[Any]:
    """Return the types of a field's values: the members of a union, or the type itself."""
    return set(get_args(field.type)) if isinstance(field.type, types.UnionType) else {field.type}


def _read_instant(value: object) -> datetime:
    """Return an aware date-time, from a datetime or from a string as in the model's own JSON.

    Raises:
        ValueError: If `value` is neither. The message does not repeat it.
    """
    if isinstance(value, str):
        return parse_instant(value)
    if not isinstance(value, datetime):
        raise ValueError(f"must be an RFC 3339 date-time, not {type(value).__name__}")
    if value.tzinfo is None:
        raise ValueError("must be aware: it has no time zone")
    return value
