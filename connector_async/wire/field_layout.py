"""Where each field of a model is in a JSON object: in the layout of the guide, and in that of the reference.

A layout knows neither types nor conversions.
"""

from collections.abc import Mapping
from typing import Any, Final

import attrs


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FieldLayout:
    """The keys of one document's objects.

    A key `body.content` means the member `content` of the object under `body`. An object is called flat when its
    nested members are at the top, under such keys.
    """

    keys: Mapping[str, str]
    """Field of a model to its key. A field without a key is not carried."""
    nested: str | None = None
    """The key of the nested object; `None` if there is none."""
    user_keys: Mapping[str, str]
    """Field of `DirectoryUser` to its key. Empty where requests name no user."""
    create_defaults: Mapping[str, Any]
    """Key to the value that a create sends unless the model sets one."""
    description_defaults: Mapping[str, Any]
    """Key to the value that is sent with a description unless the model sets one."""
    model_keys: frozenset[str] = attrs.field(
        init=False, default=attrs.Factory(lambda self: frozenset(self.keys.values()), takes_self=True)
    )
    """The keys of the models' fields."""
    known_keys: frozenset[str] = attrs.field(
        init=False, default=attrs.Factory(lambda self: self._all_keys(), takes_self=True)
    )
    """All keys that are not unknown fields: those of the models, of the user, and of the nested object."""

    def _all_keys(self) -> frozenset[str]:
        nested = {self.nested} if self.nested else set()
        return self.model_keys | nested | set(self.user_keys.values())

    def flatten(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return an object with its nested members at the top. Without a nested object it stays as it is."""
        inner = fields.get(self.nested) if self.nested else None
        if not isinstance(inner, dict):
            return fields
        outer = {key: value for key, value in fields.items() if key != self.nested}
        return outer | {f"{self.nested}.{key}": value for key, value in inner.items()}

    def unflatten(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return a flat object with its nested members in the nested object."""
        prefix = f"{self.nested}."
        outer: dict[str, Any] = {}
        inner: dict[str, Any] = {}
        for key, value in fields.items():
            if key.startswith(prefix):
                inner[key.removeprefix(prefix)] = value
            else:
                outer[key] = value
        return {**outer, self.nested: inner} if self.nested and inner else fields

    def add_defaults(self, fields: dict[str, Any], *, creates: bool) -> dict[str, Any]:
        """Return a flat object with the defaults that it lacks.

        A description that is cleared is sent as an empty string if the layout has a type beside it.
        """
        description = self.keys["description"]
        if self.description_defaults and description in fields:
            content = "" if fields[description] is None else fields[description]
            fields = {**self.description_defaults, **fields, description: content}
        return {**self.create_defaults, **fields} if creates and self.create_defaults else fields

    def overrides_sent(self, received: dict[str, Any], key: str) -> bool:
        """Return whether a flat object that a server returned makes the value that was sent under `key` meaningless."""
        if key == self.keys.get("time_zone"):
            # The zone that was sent says nothing about times that the server returned without a zone.
            return not {self.keys["start_time"], self.keys["end_time"]}.isdisjoint(received)
        return bool(self.nested) and self.nested in received and key.startswith(f"{self.nested}.")


_SHARED_KEYS: Final = {"appointment_id": "appointmentId", "start_time": "startTime", "end_time": "endTime"}

GUIDE_LAYOUT: Final = FieldLayout(
    keys=_SHARED_KEYS | {"title": "title", "description": "description"},
    user_keys={},
    create_defaults={},
    description_defaults={},
)
REFERENCE_LAYOUT: Final = FieldLayout(
    keys=_SHARED_KEYS
    | {
        "title": "subject",
        "description": "body.content",
        "description_type": "body.contentType",
        "time_zone": "timeZone",
    },
    nested="body",
    user_keys={"ad_id": "adId", "domain_id": "domainId"},
    create_defaults={"timeZone": "UTC"},  # as in the document's example; the times themselves end in Z
    description_defaults={"body.contentType": "Text"},  # without a type the server would have to guess it
)
