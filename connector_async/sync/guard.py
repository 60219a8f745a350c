"""The guard before the first write: how many appointments may be deleted at once. Pure: it is handed the counts."""

import math
import re
from collections import Counter
from typing import Any, Final, Self

import attrs

from .exceptions import GuardError
from .records import Calendar

_SHARE: Final = re.compile(r"(\d{1,3}(?:\.\d+)?)%", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,12}", re.ASCII)
_FEW: Final = 5


def _is_number(value: object, kind: Any) -> bool:
    return value is None or (isinstance(value, kind) and not isinstance(value, bool))


@attrs.frozen(kw_only=True)
class DeleteCount:
    """How much of what is known would be deleted."""

    deletes: int
    """How many would be deleted."""
    known: int
    """How many are known to be on the server, those among them."""
    records: int
    """How many the source has now."""


_NOTHING: Final = DeleteCount(deletes=0, known=0, records=0)


@attrs.frozen(kw_only=True)
class MaxDelete:
    """How many appointments of one user, of one tenant and of the whole run may be deleted.

    Raises:
        ValueError: Neither or both of a number and a share are given, or one is out of its range.
        TypeError: One is of another type.
    """

    number: int | None = None
    """So many."""
    share: float | None = None
    """So large a part of what is known, from 0 to 1, and five at least unless it is 0: or else no user with two
    appointments could have one deleted."""

    def __attrs_post_init__(self) -> None:
        if (self.number is None) is (self.share is None):
            raise ValueError("max_delete must have either a number or a share")
        if not _is_number(self.number, int) or not _is_number(self.share, int | float):
            raise TypeError("max_delete must have an int as its number, or a float as its share")
        if self.number is not None and self.number < 0:
            raise ValueError("max_delete must have a number of zero or more")
        if self.share is not None and not 0 <= self.share <= 1:
            raise ValueError("max_delete must have a share from 0 to 1")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `N` or `N%`.

        Raises:
            ValueError: It is neither.
        """
        if _NUMBER.fullmatch(text):
            return cls(number=int(text))
        share = _SHARE.fullmatch(text)
        if share is None or float(share[1]) > 100:
            raise ValueError("max_delete must be a number, or a share from 0% to 100%")
        return cls(share=float(share[1]) / 100)

    def allows(self, count: DeleteCount) -> bool:
        """Tell whether so many may be deleted."""
        if self.number is not None:
            return count.deletes <= self.number
        share = self.share or 0.0
        return count.deletes <= max(_FEW if share else 0, math.floor(count.known * share))

    def __str__(self) -> str:
        return str(self.number) if self.share is None else f"{self.share * 100:g}%"


class DeleteGuard:
    """Adds up what would be deleted, and raises when it is more than may be.

    Args:
        max_delete: What may be deleted of a user, a tenant, and the run.
        allow_empty: Whether a tenant of which the source has no record may lose what is known of it.
    """

    def __init__(self, max_delete: MaxDelete, *, allow_empty: bool) -> None:
        self._max_delete = max_delete
        self._allow_empty = allow_empty
        self._run = _NOTHING
        self._tenants: dict[str, DeleteCount] = {}

    def add(self, calendar: Calendar, count: DeleteCount) -> None:
        """Take a calendar of which something is known, wanted, or to be deleted.

        Raises:
            GuardError: Its user would lose too much.
        """
        if calendar.ad_id:
            self._check(f"user {calendar.ad_id} of tenant {calendar.tenant_id}", count)
        self._tenants[calendar.tenant_id] = _sum(self._tenants.get(calendar.tenant_id, _NOTHING), count)
        self._run = _sum(self._run, count)

    def finish(self) -> None:
        """Check what the calendars come to.

        Raises:
            GuardError: A tenant or the run would lose too much.
        """
        for tenant_id, count in self._tenants.items():
            if count.deletes and not count.records and not self._allow_empty:
                raise GuardError(
                    f"the source has no record of tenant {tenant_id}, of which {count.known} appointments are known"
                )
            self._check(f"tenant {tenant_id}", count)
        self._check("the run", self._run)

    def _check(self, whose: str, count: DeleteCount) -> None:
        if not self._max_delete.allows(count):
            raise GuardError(
                f"{whose} would lose {count.deletes} of {count.known} appointments; {self._max_delete} may go"
            )


def _sum(one: DeleteCount, other: DeleteCount) -> DeleteCount:
    return DeleteCount(
        deletes=one.deletes + other.deletes, known=one.known + other.known, records=one.records + other.records
    )


class MissingGuard:
    """Guards what follows the server: adds up what has gone from it, as one calendar after the other is looked at.

    Args:
        max_delete: What may have gone of a calendar, of a tenant, and of all.
        allow_empty: Whether a preview that shows nothing at all is believed.
    """

    def __init__(self, max_delete: MaxDelete, *, allow_empty: bool) -> None:
        self._max_delete = max_delete
        self._allow_empty = allow_empty
        self._of_tenant: Counter[str] = Counter()
        self._of_calendar: dict[Calendar, int] = {}

    def check(
        self, calendar: Calendar, *, missing: int, shown: int, known: int, known_of_tenant: int, known_of_all: int
    ) -> None:
        """Take what is missing of a calendar.

        Raises:
            GuardError: Too much has gone of it, of its tenant, or of all; what is missing is not taken for gone.
        """
        whose = (
            f"user {calendar.ad_id} of tenant {calendar.tenant_id}"
            if calendar.ad_id
            else f"tenant {calendar.tenant_id}"
        )
        if missing and not shown and not self._allow_empty:
            raise GuardError(f"the server shows nothing of {whose}, of which {known} appointments are known")
        self._check(whose, missing, known)
        # A calendar that is looked at once more is counted once.
        self._of_tenant[calendar.tenant_id] += missing - self._of_calendar.get(calendar, 0)
        self._of_calendar[calendar] = missing
        self._check(f"tenant {calendar.tenant_id}", self._of_tenant[calendar.tenant_id], known_of_tenant)
        self._check("the server", self._of_tenant.total(), known_of_all)

    def _check(self, whose: str, missing: int, known: int) -> None:
        if not self._max_delete.allows(DeleteCount(deletes=missing, known=known, records=known)):
            raise GuardError(f"{missing} of {known} appointments of {whose} have gone; {self._max_delete} may")
