"""How much may be deleted at once."""

import pytest

from connector_async.sync import Calendar, GuardError, MaxDelete
from connector_async.sync.guard import DeleteCount, DeleteGuard


def count(deletes: int, known: int, records: int = 1) -> DeleteCount:
    return DeleteCount(deletes=deletes, known=known, records=records)


@pytest.mark.parametrize(
    ("text", "deletes", "known", "allowed"),
    [
        ("0", 0, 10, True),
        ("0", 1, 10, False),
        ("3", 3, 10, True),
        ("3", 4, 1_000_000, False),
        ("0%", 0, 10, True),
        ("0%", 1, 10, False),
        ("10%", 5, 5, True),
        ("10%", 6, 59, False),
        ("10%", 6, 60, True),
        ("12.5%", 10, 80, True),
        ("12.5%", 11, 80, False),
        ("100%", 80, 80, True),
    ],
)
def test_a_number_or_a_share_may_go(text: str, deletes: int, known: int, *, allowed: bool) -> None:
    max_delete = MaxDelete.parse(text)
    assert str(max_delete) == text
    assert max_delete.allows(count(deletes, known)) is allowed


@pytest.mark.parametrize("text", ["", "-1", "101%", "10 %", "x", "1e3", "1.5", "٣", "%", "nan%"])
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="max_delete must be a number, or a share"):
        MaxDelete.parse(text)


@pytest.mark.parametrize(
    "arguments", [{}, {"number": 1, "share": 0.5}, {"number": -1}, {"share": 1.5}, {"share": -0.1}]
)
def test_a_limit_out_of_its_range_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="max_delete must have"):
        MaxDelete(**arguments)  # type: ignore[arg-type]


def check_deletes(counts: list[tuple[Calendar, DeleteCount]], max_delete: MaxDelete, *, allow_empty: bool) -> None:
    guard = DeleteGuard(max_delete, allow_empty=allow_empty)
    for calendar, each in counts:
        guard.add(calendar, each)
    guard.finish()


ONE, TWO, OTHER = Calendar("acme", "d", "one"), Calendar("acme", "d", "two"), Calendar("globex", "d", "one")


def test_a_user_a_tenant_and_the_run_are_each_guarded() -> None:
    ten = MaxDelete(number=10)
    check_deletes([(ONE, count(5, 20)), (TWO, count(5, 20)), (OTHER, count(0, 9))], ten, allow_empty=False)
    with pytest.raises(GuardError, match="user two of tenant acme would lose 11 of 20 appointments; the limit is 10"):
        check_deletes([(ONE, count(0, 20)), (TWO, count(11, 20))], ten, allow_empty=False)
    with pytest.raises(GuardError, match="tenant acme would lose 12 of 40"):
        check_deletes([(ONE, count(6, 20)), (TWO, count(6, 20))], ten, allow_empty=False)
    with pytest.raises(GuardError, match="the run would lose 12 of 40"):
        check_deletes([(ONE, count(6, 20)), (OTHER, count(6, 20))], ten, allow_empty=False)


def test_a_calendar_without_a_user_is_guarded_as_its_tenant() -> None:
    with pytest.raises(GuardError, match="tenant acme would lose 2 of 20"):
        check_deletes([(Calendar("acme"), count(2, 20))], MaxDelete(number=1), allow_empty=False)


def test_a_tenant_that_the_source_does_not_know_any_more_keeps_what_it_has() -> None:
    counts = [(ONE, count(1, 1, records=0)), (OTHER, count(0, 3, records=3))]
    with pytest.raises(GuardError, match="the source has no record of tenant acme; 1 appointments of it are known"):
        check_deletes(counts, MaxDelete(number=100), allow_empty=False)
    check_deletes(counts, MaxDelete(number=100), allow_empty=True)
    check_deletes([(ONE, count(0, 1, records=0))], MaxDelete(number=0), allow_empty=False)
