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
    """How many appointments of one user, of one tenant and of the whole run may be deleted.

    Raises:
        ValueError: If not exactly one of `number` and `share` is given, or that one is out of its range.
        TypeError: If `number` is not an int, or `share` not a number.
    """

    number: int | None = None
    """At most this many."""
    share: float | None = None
    """At most this part of what is known, from 0 to 1. Unless it is 0, five may always be deleted:
    otherwise a user with few appointments could hardly lose any."""

    def __attrs_post_init__(self) -> None:
        if (self.number is None) is (self.share is None):
            raise ValueError("max_delete must have either a number or a share, not both")
        if not _is_number(self.number, int) or not _is_number(self.share, int | float):
            raise TypeError("max_delete must have an int as its number, or a float as its share")
        if self.number is not None and self.number < 0:
            raise ValueError("max_delete must have a number of zero or more")
        if self.share is not None and not 0 <= self.share <= 1:
            raise ValueError("max_delete must have a share from 0 to 1")

    @classmethod
    def parse(cls, value: str) -> Self:
        """Return the limit for a string `N` or `N%`.

        Raises:
            ValueError: If `value` is neither, or the percentage is above 100.
        """
        if _NUMBER.fullmatch(value):
            return cls(number=int(value))
        percentage = _PERCENTAGE.fullmatch(value)
        if percentage is None or float(percentage[1]) > 100:
            raise ValueError("max_delete must be a number such as 20, or a percentage from 0% to 100%")
        return cls(share=float(percentage[1]) / 100)

    def allows(self, count: DeleteCount) -> bool:
        """Return whether so many may be deleted."""
        if self.number is not None:
            return count.deletes <= self.number
        share = self.share or 0.0
        return count.deletes <= max(_FEW if share else 0, math.floor(count.known * share))

    def __str__(self) -> str:
        return str(self.number) if self.share is None else f"{self.share * 100:g}%"


class DeleteGuard:
    """Adds up what a run would delete on the server, and raises if that is too much.

    Args:
        max_delete: The limit for each user, for each tenant, and for the run.
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
            GuardError: If the calendar's user would lose too much.
        """
        if calendar.ad_id:
            self._check(_owner(calendar), count)
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
                    f"the source has no record of tenant {tenant_id}, but {count.known} of its appointments are known; "
                    "to delete them all, allow an empty source"
                )
            self._check(f"tenant {tenant_id}", count)
        self._check("the run", self._run)

    def _check(self, owner: str, count: DeleteCount) -> None:
        if not self._max_delete.allows(count):
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
        self._check(owner, missing, known)
        # A calendar that is looked at once more is counted once.
        self._by_tenant[calendar.tenant_id] += missing - self._by_calendar.get(calendar, 0)
        self._by_calendar[calendar] = missing
        self._check(f"tenant {calendar.tenant_id}", self._by_tenant[calendar.tenant_id], known_of_tenant)
        self._check("all tenants", self._by_tenant.total(), known_of_all)

    def _check(self, owner: str, missing: int, known: int) -> None:
        if not self._max_delete.allows(DeleteCount(deletes=missing, known=known, records=known)):
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
