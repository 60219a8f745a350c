"""The properties of an event (RFC 5545, section 3.6.1) that are read.

Section numbers below are those of RFC 5545. Messages name the property and the rule, never a value.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import unquote

import attrs

from .components import Component
from .lines import Property, PropertyError, parse_property, text_of
from .names import AD_ID, DESCRIPTION_TYPE, DOMAIN_ID, ENCODING, TENANT_ID, TIME_ZONE

FIELD_OF: Final = {
    "UID": "key",
    "RECURRENCE-ID": "key",
    TENANT_ID: "tenant_id",
    AD_ID: "ad_id",
    DOMAIN_ID: "domain_id",
    "SUMMARY": "title",
    "DTSTART": "start_time",
    "DTEND": "end_time",
    "DURATION": "end_time",
    "DESCRIPTION": "description",
    DESCRIPTION_TYPE: "description_type",
    TIME_ZONE: "time_zone",
    "LAST-MODIFIED": "modified",
    "DTSTAMP": "modified",
    "EXDATE": "EXDATE",
    "RDATE": "RDATE",
}
_READ: Final = frozenset(name.encode() for name in (*FIELD_OF, "SEQUENCE", "STATUS", "RRULE", "EXRULE"))
_RULES: Final = frozenset((b"RRULE", b"EXRULE", b"RDATE", b"EXDATE"))
"""The properties that say nothing without a value, as some programs write them."""
_NOT_NEEDED: Final = {"DTSTAMP", "LAST-MODIFIED", "SEQUENCE"}
_NAME: Final = re.compile(rb"[A-Za-z0-9-]+")
_IDENTITY: Final = {"key": "UID", "tenant_id": TENANT_ID, "domain_id": DOMAIN_ID, "ad_id": AD_ID}
_CANCELLED: Final = {"CANCELLED", "CANCELED"}  # the second is a common misspelling
_INTEGER: Final = re.compile(r"\+?\d{1,9}", re.ASCII)


@attrs.frozen
class Event:
    """The properties of an event that are read."""

    line: int
    """The number of its first line, from 1."""
    properties: Mapping[str, Sequence[Property]]
    """By name."""
    broken: frozenset[str] = frozenset()
    """The names of needed properties with a line that cannot be parsed."""
    problem: str | None = None
    """What is wrong with its BEGIN and END lines."""

    @classmethod
    def of(cls, component: Component) -> "Event":
        """Return the event of a component."""
        properties, broken = defaultdict(list), set[str]()
        for line in component.own_lines():
            name = line.name
            if name in _READ:
                prop = parse_property(line.content)
                if prop is None:
                    broken.add(name.decode())
                elif name not in _RULES or prop.value.strip():
                    properties[prop.name].append(prop)
            elif b":" not in name and (match := _NAME.match(line.content)) and match[0].upper() in _READ:
                broken.add(match[0].upper().decode())
        return cls(component.line, dict(properties), frozenset(broken - _NOT_NEEDED), component.problem)

    def find(self, name: str) -> Property | None:
        """Return a property; `None` if there is none.

        Raises:
            ValueError: If there are several that differ.
        """
        found = self.properties.get(name, ())
        if any(prop != found[0] for prop in found):
            raise ValueError(f"{FIELD_OF.get(name, name)}: {name} occurs twice")
        return found[0] if found else None

    def text(self, name: str) -> str | None:
        """Return the text of a property; `None` if there is none.

        Raises:
            ValueError: If there are several, or the text cannot be decoded.
        """
        prop = self.find(name)
        if prop is None:
            return None
        try:
            text = text_of(prop)
            return unquote(text, errors="strict") if ENCODING in prop.parameters else text
        except PropertyError as error:
            raise ValueError(f"{FIELD_OF[name]}: {error}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{FIELD_OF[name]}: the percent-encoded value must be UTF-8") from None

    def identity(self) -> dict[str, str]:
        """Return the fields that identify the event with all its revisions and instances: UID, tenant and user.

        Raises:
            ValueError: If one of them is invalid.
        """
        texts = {field: self.text(name) for field, name in _IDENTITY.items()}
        return {field: text for field, text in texts.items() if text is not None}

    @property
    def is_recurring(self) -> bool:
        """Whether the event is the first of a series (section 3.8.5). Rules of an instance are those of its series."""
        has_rules = any(name in self.properties or name in self.broken for name in ("RRULE", "RDATE", "EXRULE"))
        return has_rules and not self.is_instance

    @property
    def is_instance(self) -> bool:
        """Whether the event is one instance of a series, or several from one on."""
        return "RECURRENCE-ID" in self.properties or "RECURRENCE-ID" in self.broken

    @property
    def has_range(self) -> bool:
        """Whether the event is an instance that stands for all later ones, too (section 3.2.13)."""
        return any(
            prop.parameters.get("RANGE", "").upper() == "THISANDFUTURE"
            for prop in self.properties.get("RECURRENCE-ID", ())
        )

    @property
    def sequence(self) -> int:
        """The number of the revision (section 3.8.7.4)."""
        values = [prop.value.strip() for prop in self.properties.get("SEQUENCE", ())]
        return max((int(value) for value in values if _INTEGER.fullmatch(value)), default=0)

    def is_cancelled(self) -> bool:
        """Return whether the event does not take place (section 3.8.1.11).

        Raises:
            ValueError: If it says both.
        """
        states = {prop.value.strip().upper() in _CANCELLED for prop in self.properties.get("STATUS", ())}
        if len(states) > 1:
            raise ValueError("STATUS occurs twice")
        return True in states
