"""The properties and parameters of this package, in which a mirror keeps what iCalendar has no place for."""

from typing import Final

TENANT_ID: Final = "X-CONNECTOR-TENANT-ID"
DOMAIN_ID: Final = "X-CONNECTOR-DOMAIN-ID"
AD_ID: Final = "X-CONNECTOR-AD-ID"
DESCRIPTION_TYPE: Final = "X-CONNECTOR-DESCRIPTION-TYPE"
TIME_ZONE: Final = "X-CONNECTOR-TIME-ZONE"

NULL: Final = "X-CONNECTOR-NULL"
"""A parameter of a property without a value: a description that is `null`, a DTSTAMP that is unknown."""
ENCODING: Final = "X-CONNECTOR-ENCODING"
"""A parameter of a value that is percent-encoded, since iCalendar cannot carry one of its characters."""
MICROSECOND: Final = "X-CONNECTOR-MICROSECOND"
"""A parameter of a date-time: its microseconds, since iCalendar has whole seconds only."""
