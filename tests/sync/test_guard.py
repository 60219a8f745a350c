"""How much may be deleted at once."""

from typing import Any

import pytest

from connector_async.cli.sync_options import PullScopeOptions, RunOptions
from connector_async.sync import Calendar, GuardError, MaxDelete, PullOptions, SyncOptions
from connector_async.sync.guard import DeleteCount, DeleteGuard

ONE, TWO, OTHER = Calendar("acme", "d", "one"), Calendar("acme", "d", "two"), Calendar("globex", "d", "one")


def count(deletes: int, known: int, records: int = 1) -> DeleteCount:
    return DeleteCount(deletes=deletes, known=known, records=records)


def check_deletes(counts: list[tuple[Calendar, DeleteCount]], max_delete: MaxDelete, *, allow_empty: bool) -> None:
    guard = DeleteGuard(max_delete, allow_empty=allow_empty)
    for calendar, each in counts:
        guard.add(calendar, each)
    guard.finish()


@pytest.mark.parametrize(
    ("value", "known", "most"),
    [
        ("0", 10, 0),
        ("3", 1_000_000, 3),
        ("0%", 10, 0),
        ("10%", 1, 1),  # one may always be deleted
        ("10%", 4, 1),
        ("10%", 10, 4),  # and up to five if they are less than half
        ("10%", 11, 5),
        ("10%", 59, 5),
        ("10%", 60, 6),
        ("10%,100", 60, 6),
        ("10%,100", 1_000, 100),
        ("10%,100", 5_000, 100),
        ("12.5%", 80, 10),
        ("100%", 80, 80),
    ],
)
def test_limit_allows_a_number_or_a_share(value: str, known: int, most: int) -> None:
    max_delete = MaxDelete.parse(value)
    assert str(max_delete) == value
    assert max_delete.allows(count(most, known), of_calendar=True)
    assert not max_delete.allows(count(most + 1, known), of_calendar=True)


@pytest.mark.parametrize("value", ["", "-1", "101%", "10 %", "x", "1e3", "1.5", "٣", "%", "10%,", "9%,5%", "5,9%"])
def test_invalid_limit_string_is_rejected(value: str) -> None:
    with pytest.raises(ValueError, match="max_delete must be a number such as 20, a percentage"):
        MaxDelete.parse(value)


@pytest.mark.parametrize("arguments", [{}, {"number": -1}, {"share": 1.5}, {"share": -0.1}])
def test_limit_out_of_range_is_rejected(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="max_delete must have"):
        MaxDelete(**arguments)  # type: ignore[arg-type]


def test_user_tenant_and_run_are_each_guarded() -> None:
    ten = MaxDelete(number=10)
    check_deletes([(ONE, count(5, 20)), (TWO, count(5, 20)), (OTHER, count(0, 9))], ten, allow_empty=False)
    with pytest.raises(GuardError, match="user two of tenant acme would lose 11 of 20 appointments; the limit is 10"):
        check_deletes([(ONE, count(0, 20)), (TWO, count(11, 20))], ten, allow_empty=False)
    with pytest.raises(GuardError, match="tenant acme would lose 12 of 40"):
        check_deletes([(ONE, count(6, 20)), (TWO, count(6, 20))], ten, allow_empty=False)
    with pytest.raises(GuardError, match="the run would lose 12 of 40"):
        check_deletes([(ONE, count(6, 20)), (OTHER, count(6, 20))], ten, allow_empty=False)


def test_calendar_without_a_user_is_guarded_as_its_tenant() -> None:
    with pytest.raises(GuardError, match="tenant acme would lose 2 of 20"):
        check_deletes([(Calendar("acme"), count(2, 20))], MaxDelete(number=1), allow_empty=False)


def test_number_beside_a_share_holds_for_each_calendar_and_not_for_their_sum() -> None:
    limit = MaxDelete(share=0.1, number=100)
    check_deletes([(ONE, count(100, 1_500)), (TWO, count(100, 1_500)), (OTHER, count(0, 9))], limit, allow_empty=False)
    for calendar in (ONE, Calendar("acme")):
        with pytest.raises(GuardError, match="tenant acme would lose 101 of 5000 appointments; the limit is 10%,100"):
            check_deletes([(calendar, count(101, 5_000))], limit, allow_empty=False)
    with pytest.raises(GuardError, match="tenant acme would lose 10 of 22"):
        check_deletes([(ONE, count(5, 11)), (TWO, count(5, 11))], limit, allow_empty=False)


@pytest.mark.parametrize("options", [SyncOptions(), PullOptions(calendars=[ONE]), RunOptions(), PullScopeOptions()])
def test_half_of_a_calendar_is_too_much_by_default(options: Any) -> None:
    limit = options.deletion_limit() if hasattr(options, "deletion_limit") else options.max_delete
    for known in (3, 4, 10, 11, 50, 10_000):
        assert not limit.allows(count(known // 2 + known % 2, known), of_calendar=True)


def test_tenant_without_records_loses_nothing_unless_allowed() -> None:
    counts = [(ONE, count(1, 1, records=0)), (OTHER, count(0, 3, records=3))]
    message = r"the source has no record of tenant acme, but the state has 1 of it; allow_empty \(--allow-empty\)"
    with pytest.raises(GuardError, match=message):
        check_deletes(counts, MaxDelete(number=100), allow_empty=False)
    check_deletes(counts, MaxDelete(number=100), allow_empty=True)
    check_deletes([(ONE, count(0, 1, records=0))], MaxDelete(number=0), allow_empty=False)
