"""Recurrence rules (RFC 5545, section 3.3.10) that can be expanded within bounds.

`dateutil` steps through a rule from its start. It never comes back from a rule that repeats too often, and takes
seconds for one that can never occur. So a rule is checked before it is handed over.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

_DAYS: Final = {"YEARLY": 365, "MONTHLY": 28, "WEEKLY": 7, "DAILY": 1, "HOURLY": 1}
"""The least number of days of a period, by frequency. Hours are counted by day."""
_DAYS_AT_MOST: Final = {"YEARLY": 366, "MONTHLY": 31, "WEEKLY": 7, "DAILY": 1, "HOURLY": 1}
"""The number of days of a period at most."""
_MONTHS: Final = {"YEARLY": 12, "MONTHLY": 1, "WEEKLY": 1, "DAILY": 1, "HOURLY": 1}
"""The number of months that a period is in, by frequency."""
_DATE_PARTS: Final = ("BYMONTH", "BYWEEKNO", "BYYEARDAY", "BYMONTHDAY", "BYDAY", "BYSETPOS", "WKST")
_PARTS: Final = frozenset(("FREQ", "UNTIL", "COUNT", "INTERVAL", "BYHOUR", "BYMINUTE", "BYSECOND", *_DATE_PARTS))
_LAST_CENTURY: Final = 9904
"""A leap year. `dateutil` ends at the year 9999, so that a search from here on is short."""
_INTEGER: Final = re.compile(r"[+-]?\d{1,9}")


class RuleError(ValueError):
    """Raised when a rule cannot be expanded. The message names the rule that it breaks."""


@attrs.frozen
class Rule:
    """A recurrence rule."""

    parts: Mapping[str, str]
    """The values by the names of the parts, in upper case and without blanks."""

    @classmethod
    def parse(cls, text: str) -> "Rule":
        """Return the rule that a text says.

        Raises:
            RuleError: If it cannot be parsed.
        """
        parts: dict[str, str] = {}
        for part in filter(None, re.sub(r"\s", "", text).upper().split(";")):
            name, separator, value = part.partition("=")
            if not separator or name in parts or name not in _PARTS:
                raise RuleError("the recurrence rule cannot be parsed")
            parts[name] = value
        return cls(parts)

    @property
    def text(self) -> str:
        """The rule as it is written."""
        return ";".join(f"{name}={value}" for name, value in self.parts.items())

    @property
    def frequency(self) -> str:
        """The value of FREQ."""
        return self.parts.get("FREQ", "")

    def with_part(self, name: str, value: str) -> "Rule":
        """Return the rule with another value of a part."""
        return Rule({**self.parts, name: value})

    def without(self, *names: str) -> "Rule":
        """Return the rule without some parts."""
        return Rule({name: value for name, value in self.parts.items() if name not in names})

    def check(self, start: datetime, end: datetime, *, limit: int, frequencies: Iterable[str] = _DAYS) -> int:
        """Return how often it occurs from its start to some end at most.

        Args:
            start: Its start, without a zone.
            end: The end up to which it is expanded, without a zone.
            limit: The number of occurrences that it may have until then.
            frequencies: The values of FREQ that are allowed.

        Raises:
            RuleError: If it may occur more often, can never occur, or is invalid.
        """
        if self.frequency not in frequencies:
            raise RuleError(f"the recurrence rule must have a FREQ of {', '.join(frequencies)}")
        interval = self._integer("INTERVAL", 1)
        if interval < 1:
            raise RuleError("the recurrence rule must have an INTERVAL of 1 or more")
        periods = max((end - start) // timedelta(days=_DAYS[self.frequency] * (1 if self._is_hourly else interval)), 0)
        occurrences = (periods + 1) * self._most_in_a_period(interval)
        if "COUNT" in self.parts:
            occurrences = min(occurrences, max(self._integer("COUNT", 0), 0))
        if occurrences > limit:
            raise RuleError(f"the recurrence rule occurs more than {limit} times before the end of the time range")
        if not self._can_occur(start):
            raise RuleError("the recurrence rule can never occur")
        return occurrences

    @property
    def _is_hourly(self) -> bool:
        return self.frequency == "HOURLY"

    def _most_in_a_period(self, interval: int) -> int:
        hours = 24 // min(interval, 24) if self._is_hourly else 1
        if "BYHOUR" in self.parts:
            hours = self._length("BYHOUR")
        return self._most_days() * hours * self._length("BYMINUTE") * self._length("BYSECOND")

    def _most_days(self) -> int:
        """Return how many days of a period match at most. Each weekday is in a month five times at most."""
        months = self._length("BYMONTH") if "BYMONTH" in self.parts else _MONTHS[self.frequency]
        per_value = {"BYYEARDAY": 1, "BYMONTHDAY": months, "BYWEEKNO": 7, "BYDAY": 5 * months}
        bounds = [most * self._length(name) for name, most in per_value.items() if name in self.parts]
        if not bounds:
            bounds = [months if "BYMONTH" in self.parts else 1]
        return min(_DAYS_AT_MOST[self.frequency], *bounds)

    def _length(self, name: str) -> int:
        return self.parts.get(name, "").count(",") + 1

    def _integer(self, name: str, default: int) -> int:
        value = self.parts.get(name)
        if value is None:
            return default
        if not _INTEGER.fullmatch(value):
            raise RuleError(f"the recurrence rule must have a number as its {name}")
        return int(value)

    def _can_occur(self, start: datetime) -> bool:
        """Return whether a rule occurs at all, whatever its interval."""
        from dateutil.rrule import rrulestr  # noqa: PLC0415 - only files with recurring events need it

        try:
            rule: Any = rrulestr(
                self.without("INTERVAL", "COUNT", "UNTIL").text, dtstart=start.replace(year=_LAST_CENTURY)
            )
            return next(iter(rule), None) is not None
        except Exception:  # noqa: BLE001 - the library raises anything
            raise RuleError("the recurrence rule cannot be parsed") from None
