"""Validators of attrs for values that a caller hands over, which name the field and the rule, and never the value."""

from collections.abc import Sequence
from typing import Any

import attrs

from connector_async.appointments.arguments import check_kind
from connector_async.protocol import check_tenant_id, check_text


def instance_of(kind: type, *, or_none: bool = False) -> Any:
    """Return a validator that refuses what is of another kind. attrs' own would tell the value: personal data."""

    def check(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
        if not (or_none and value is None):
            check_kind(field.name, value, kind)

    return check


def sequence_of(kind: type) -> Any:
    """Return a validator that refuses what is no sequence of that kind."""

    def check(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
        if (
            isinstance(value, str)
            or not isinstance(value, Sequence)
            or not all(isinstance(each, kind) for each in value)
        ):
            raise TypeError(f"{field.name} must be a sequence of {kind.__name__}")

    return check


def text(_: object, field: "attrs.Attribute[Any]", value: str) -> None:
    """Refuse what is no text of printable characters, or empty.

    Raises:
        ValueError: It is empty, or has a character that is not printable.
        TypeError: It is no text.
    """
    check_text(field.name, value)


def text_or_none(_: object, field: "attrs.Attribute[Any]", value: str | None) -> None:
    """Refuse the same, but for `None`.

    Raises:
        ValueError: It is empty, or has a character that is not printable.
        TypeError: It is neither a text nor `None`.
    """
    if value is not None:
        check_text(field.name, value)


def tenant_id(_: object, __: object, value: str) -> None:
    """Refuse what cannot be the id of a tenant.

    Raises:
        ValueError: It cannot.
        TypeError: It is no text.
    """
    check_tenant_id(value)


def callable_or_none(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    """Refuse what is neither `None` nor can be called.

    Raises:
        TypeError: It is neither.
    """
    if value is not None and not callable(value):
        raise TypeError(f"{field.name} must be callable or None, not {type(value).__name__}")
