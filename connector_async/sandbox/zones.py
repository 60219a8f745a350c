"""The names of time zones: IANA's, and those of Windows as the Unicode CLDR maps them to IANA's.

It does not know where in a request a name stands.
"""

from collections.abc import Mapping
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from tzlocal.windows_tz import win_tz

# "localtime" is whatever zone the machine is in.
_MACHINE_ZONES: Final = {"localtime"}


@cache
def _iana_names() -> Mapping[str, str]:
    known = available_timezones() - _MACHINE_ZONES
    windows = {name: iana for name, iana in win_tz.items() if iana in known}
    return {**windows, **{name: name for name in known}}


def zone_names() -> list[str]:
    """List every name that is known, sorted."""
    return sorted(_iana_names())


def find_zone(name: str) -> ZoneInfo:
    """Return the zone of the name, IANA's or Windows', matched exactly.

    Raises:
        LookupError: There is none of that name.
    """
    return ZoneInfo(_iana_names()[name])
