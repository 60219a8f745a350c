"""Validators of attrs for values that a caller hands over, which name the field and the rule, and never the value."""

from collections.abc import Sequence
from typing import Any

import attrs

from connector_async.appointments.arguments import check_kind


def instance_of(kind: type, *, or_none: bool = False) -> Any:
    """Return a validator that refuses what is of another kind. attrs' own would tell the value: personal data."""

    def check(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
        if not (or_none and value is None):
            check_kind(field.name, value, kind)

    return check


def sequence_of(kind: type) -> Any:
    """Return a validator that refuses what is no sequence of that kind."""

    def check(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
        if not isinstance(value, Sequence) or not all(isinstance(each, kind) for each in value):
            raise TypeError(f"{field.name} must be a sequence of {kind.__name__}")

    return check
