"""What servers change in an appointment that they are sent, without anybody having edited it.

Strings are trimmed, change case, are normalized to NFC or cut. Line ends become CRLF. Times are cut or rounded to whole
milliseconds, seconds or minutes. A missing description is filled in. The module knows neither the state nor the API.
"""

import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Final

from connector_async.models import Appointment, NewAppointment

_SHORTEST_PREFIX: Final = 8
"""Characters of a title or a description that a server must have kept for the rest to count as cut off."""
_UNITS: Final = (timedelta(milliseconds=1), timedelta(seconds=1), timedelta(minutes=1))
_START: Final = datetime.min.replace(tzinfo=UTC)


def is_normalization_of(shown: Appointment, sent: NewAppointment) -> bool:
    """Return whether what a server shows may be its version of what it was sent.

    A description that is not shown is unknown, and one that was not sent may have been filled in.
    """
    times = _is_version_of_time(shown.start_time, sent.start_time) and _is_version_of_time(
        shown.end_time, sent.end_time
    )
    return times and _is_version_of(shown.title, sent.title) and _is_version_of_description(shown, sent)


def is_same_version(one: Appointment, other: Appointment | NewAppointment) -> bool:
    """Return whether two texts differ in nothing but spaces, case and Unicode form. What is not given is unknown."""
    if _plain(one.title) != _plain(other.title):
        return False
    descriptions = [each.description for each in (one, other)]
    texts = [_plain(text) for text in descriptions if isinstance(text, str) and text]
    return len(set(texts)) <= 1


def minute_of(instant: datetime) -> datetime:
    """Return an instant without its seconds."""
    return instant.replace(second=0, microsecond=0)


def _is_version_of_time(shown: datetime, sent: datetime) -> bool:
    """Return whether an instant is as it was sent, cut to a whole unit, or rounded up to one."""
    return shown == sent or any(
        not (shown - _START) % unit and -unit / 2 <= sent - shown < unit  # negative if it was rounded up
        for unit in _UNITS
    )


def _is_version_of_description(shown: Appointment, sent: NewAppointment) -> bool:
    if not isinstance(sent.description, str) or not sent.description or not shown.description:
        return True
    return _is_version_of(shown.description, sent.description)


def _is_version_of(shown: str, sent: str) -> bool:
    shown, sent = _plain(shown), _plain(sent)
    return shown == sent or (len(shown) >= _SHORTEST_PREFIX and sent.startswith(shown))


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
