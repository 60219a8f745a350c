"""Where each field of the models stands in a JSON object: once as the guide shows it, once as the reference does.

It knows neither types nor conversions.
"""

from collections.abc import Mapping
from typing import Any, Final

import attrs


@attrs.frozen(kw_only=True, eq=False)
class BodyFormat:
    """The keys of one document's objects. A key `a.b` is the member `b` of the object under `a`."""

    keys: Mapping[str, str]
    """Field of a model to key; a field that is not here is not carried."""
    nested: str | None = None
    """The key whose value is an object with keys of its own."""
    user_keys: Mapping[str, str]
    """Field of `DirectoryUser` to key; empty where a request names no user."""
    create_defaults: Mapping[str, Any]
    """Key to value, for a create that does not set it."""
    text_defaults: Mapping[str, Any]
    """Key to value, beside a description that goes without."""
    of_models: frozenset[str] = attrs.field(
        init=False, default=attrs.Factory(lambda self: frozenset(self.keys.values()), takes_self=True)
    )
    """Every key of a field of the models."""
    known: frozenset[str] = attrs.field(
        init=False, default=attrs.Factory(lambda self: self._every_key(), takes_self=True)
    )
    """Every key that is not unknown: of the models' fields, of the user's, and of the nested object."""

    def _every_key(self) -> frozenset[str]:
        nested = {self.nested} if self.nested else set()
        return self.of_models | nested | set(self.user_keys.values())

    def flatten(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Lift the members of the nested object; what is already flat, or has another value there, stays as it is."""
        inner = fields.get(self.nested) if self.nested else None
        if not isinstance(inner, dict):
            return fields
        outer = {key: value for key, value in fields.items() if key != self.nested}
        return outer | {f"{self.nested}.{key}": value for key, value in inner.items()}

    def complete(self, fields: dict[str, Any], *, creates: bool) -> dict[str, Any]:
        """Add to flat fields the defaults that they lack, and clear a description as the document can say it."""
        description = self.keys["description"]
        if self.text_defaults and description in fields:
            text = "" if fields[description] is None else fields[description]
            fields = {**self.text_defaults, **fields, description: text}
        return {**self.create_defaults, **fields} if creates else fields

    def replaces(self, told: dict[str, Any], key: str) -> bool:
        """Tell whether what a server told, flat, leaves no room for what was sent under `key`."""
        times = {self.keys["start_time"], self.keys["end_time"]}
        if key == self.keys.get("time_zone"):
            # A zone that was sent must not become that of times that were told without one.
            return not times.isdisjoint(told)
        return bool(self.nested) and self.nested in told and key.startswith(f"{self.nested}.")

    def unflatten(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Undo `flatten`."""
        if not self.nested:
            return fields
        prefix = f"{self.nested}."
        inner = {key.removeprefix(prefix): value for key, value in fields.items() if key.startswith(prefix)}
        if not inner:
            return fields
        return {key: value for key, value in fields.items() if not key.startswith(prefix)} | {self.nested: inner}


_SHARED_KEYS: Final = {"appointment_id": "appointmentId", "start_time": "startTime", "end_time": "endTime"}

GUIDE: Final = BodyFormat(
    keys=_SHARED_KEYS | {"title": "title", "description": "description"},
    user_keys={},
    create_defaults={},
    text_defaults={},
)
REFERENCE: Final = BodyFormat(
    keys=_SHARED_KEYS
    | {
        "title": "subject",
        "description": "body.content",
        "description_type": "body.contentType",
        "time_zone": "timeZone",
    },
    nested="body",
    user_keys={"ad_id": "adId", "domain_id": "domainId"},
    create_defaults={"timeZone": "UTC"},  # as in the document's example; the times say so themselves
    text_defaults={"body.contentType": "Text"},  # a text without a type would be anyone's guess
)
