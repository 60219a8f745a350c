"""The guards against deleting too much at once. They are pure: they get the counts, and make no calls."""

import math
import re
from collections import Counter
from typing import Any, Final, Self

import attrs

from .exceptions import GuardError
from .records import Calendar

_PERCENTAGE: Final = re.compile(r"(\d{1,3}(?:\.\d+)?)%", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,12}", re.ASCII)
_FEW: Final = 5


@attrs.frozen(kw_only=True)
class DeleteCount:
    """How many of the known appointments would be deleted."""

    deletes: int
    """How many would be deleted."""
    known: int
    """How many are known to be on the server, the deletes included."""
    records: int
    """How many records the source has."""


_NOTHING: Final = DeleteCount(deletes=0, known=0, records=0)


@attrs.frozen(kw_only=True)
class MaxDelete:
    """How many appointments of one calendar, of one tenant and of the whole run may be deleted.

    With both, `share` holds for calendars, tenants and the run, and `number` for each calendar alone: the sum over many
    calendars may be large on any day. A `number` without a share holds for all three.

    Raises:
        ValueError: If neither `number` nor `share` is given, or one of them is out of its range.
        TypeError: If `number` is not an int, or `share` not a number.
    """

    number: int | None = None
    """At most this many."""
    share: float | None = None
    """At most this part of what is known, from 0 to 1. Unless it is 0, one may always be deleted, and up to five as
    long as they are less than half: otherwise a calendar with few appointments could hardly lose any."""

    def __attrs_post_init__(self) -> None:
        if self.number is None and self.share is None:
            raise ValueError("max_delete must have a number, a share or both")
        if not _is_number(self.number, int) or not _is_number(self.share, int | float):
            raise TypeError("max_delete must have an int as its number, or a float as its share")
        if self.number is not None and self.number < 0:
            raise ValueError("max_delete must have a number of zero or more")
        if self.share is not None and not 0 <= self.share <= 1:
            raise ValueError("max_delete must have a share from 0 to 1")

    @classmethod
    def parse(cls, value: str) -> Self:
        """Return the limit for a string `N`, `N%` or `N%,N`.

        Raises:
            ValueError: If `value` is none of these, or the percentage is above 100.
        """
        if _NUMBER.fullmatch(value):
            return cls(number=int(value))
        percent, comma, number = value.partition(",")
        percentage = _PERCENTAGE.fullmatch(percent)
        if percentage is None or float(percentage[1]) > 100 or (comma and not _NUMBER.fullmatch(number)):
            raise ValueError("max_delete must be a number such as 20, a percentage from 0% to 100%, or both: 10%,100")
        return cls(share=float(percentage[1]) / 100, number=int(number) if comma else None)

    def allows(self, count: DeleteCount, *, of_calendar: bool) -> bool:
        """Return whether so many may be deleted.

        Args:
            count: The count of one calendar, or a sum over calendars.
            of_calendar: Whether it is the count of one calendar.
        """
        if self.number is not None and (of_calendar or self.share is None) and count.deletes > self.number:
            return False
        if self.share is None:
            return True
        few = max(1, min(_FEW, (count.known - 1) // 2)) if self.share else 0
        return count.deletes <= max(few, math.floor(count.known * self.share))

    def __str__(self) -> str:
        parts = (None if self.share is None else f"{self.share * 100:g}%", self.number)
        return ",".join(str(part) for part in parts if part is not None)


class DeleteGuard:
    """Adds up what a run would delete on the server, and raises if that is too much.

    Args:
        max_delete: The limit for each calendar, for each tenant, and for the run.
        allow_empty: Whether a tenant without any record in the source may lose its known appointments.
    """

    def __init__(self, max_delete: MaxDelete, *, allow_empty: bool) -> None:
        self._max_delete = max_delete
        self._allow_empty = allow_empty
        self._run = _NOTHING
        self._tenants: dict[str, DeleteCount] = {}

    def add(self, calendar: Calendar, count: DeleteCount) -> None:
        """Add the count of a calendar.

        Raises:
            GuardError: If the calendar would lose too much.
        """
        if calendar.ad_id or count.records or self._allow_empty:  # `finish` says more about an empty tenant
            self._check(_owner(calendar), count, of_calendar=True)
        self._tenants[calendar.tenant_id] = _sum(self._tenants.get(calendar.tenant_id, _NOTHING), count)
        self._run = _sum(self._run, count)

    def finish(self) -> None:
        """Check the sums of all calendars.

        Raises:
            GuardError: If a tenant or the run would lose too much.
        """
        for tenant_id, count in self._tenants.items():
            if count.deletes and not count.records and not self._allow_empty:
                raise GuardError(
                    f"the source has no record of tenant {tenant_id}, but the state has {count.known} of it; "
                    "allow_empty (--allow-empty) deletes them all"
                )
            self._check(f"tenant {tenant_id}", count)
        self._check("the run", self._run)

    def _check(self, owner: str, count: DeleteCount, *, of_calendar: bool = False) -> None:
        if not self._max_delete.allows(count, of_calendar=of_calendar):
            raise GuardError(
                f"{owner} would lose {count.deletes} of {count.known} appointments; the limit is {self._max_delete}"
            )


class MissingGuard:
    """Adds up what is missing on the server, calendar by calendar, and raises if that is too much to be believed.

    Args:
        max_delete: The limit for each calendar, for each tenant, and for all.
        allow_empty: Whether an empty preview of a calendar with known appointments is believed.
    """

    def __init__(self, max_delete: MaxDelete, *, allow_empty: bool) -> None:
        self._max_delete = max_delete
        self._allow_empty = allow_empty
        self._by_tenant: Counter[str] = Counter()
        self._by_calendar: dict[Calendar, int] = {}

    def check(
        self, calendar: Calendar, *, missing: int, shown: int, known: int, known_of_tenant: int, known_of_all: int
    ) -> None:
        """Add what is missing in a calendar.

        Raises:
            GuardError: If too much is missing in the calendar, of its tenant, or of all.
        """
        owner = _owner(calendar)
        if missing and not shown and not self._allow_empty:
            raise GuardError(f"the server shows no appointment of {owner}, but {known} are known")
        self._check(owner, missing, known, of_calendar=True)
        # A calendar that is looked at once more is counted once.
        self._by_tenant[calendar.tenant_id] += missing - self._by_calendar.get(calendar, 0)
        self._by_calendar[calendar] = missing
        self._check(f"tenant {calendar.tenant_id}", self._by_tenant[calendar.tenant_id], known_of_tenant)
        self._check("all tenants", self._by_tenant.total(), known_of_all)

    def _check(self, owner: str, missing: int, known: int, *, of_calendar: bool = False) -> None:
        count = DeleteCount(deletes=missing, known=known, records=known)
        if not self._max_delete.allows(count, of_calendar=of_calendar):
            raise GuardError(
                f"{missing} of {known} appointments of {owner} are missing on the server; "
                f"the limit is {self._max_delete}"
            )


def _is_number(value: object, kind: Any) -> bool:
    return value is None or (isinstance(value, kind) and not isinstance(value, bool))


def _owner(calendar: Calendar) -> str:
    return f"user {calendar.ad_id} of tenant {calendar.tenant_id}" if calendar.ad_id else f"tenant {calendar.tenant_id}"


def _sum(one: DeleteCount, other: DeleteCount) -> DeleteCount:
    return DeleteCount(
        deletes=one.deletes + other.deletes, known=one.known + other.known, records=one.records + other.records
    )
