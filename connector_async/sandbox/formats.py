"""Which body format a sandbox speaks.

It does not know the fields of any format. Whatever a format reads, it refuses with a 400 `Problem` that lists every
wrong field.
"""

from .guide import GuideFormat
from .reference import ReferenceFormat
from .settings import BodyFormat, PutSemantics, Settings

Format = GuideFormat | ReferenceFormat


def choose_format(settings: Settings) -> Format:
    """Build the format the settings ask for."""
    replaces = settings.put is PutSemantics.REPLACE
    if settings.body_format is BodyFormat.GUIDE:
        return GuideFormat(integer_ids=settings.integer_ids, replaces=replaces)
    return ReferenceFormat(integer_ids=settings.integer_ids, replaces=replaces, naive_times=settings.naive_times)
