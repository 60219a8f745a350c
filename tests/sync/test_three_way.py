"""The three-way decision: each path by name, and all of them against a model of two sides that change at random."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async.sync import Calendar, Conflict, Policy
from connector_async.sync.planning.three_way import Action, decide, resolve_conflict
from connector_async.sync.records import ABSENT, LastSynced

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
LATER = TEN + timedelta(seconds=1)

SYNCED = LastSynced("a", "a")
DELETE_PENDING = LastSynced("a", "a", frozenset({ABSENT}))
UPDATE_PENDING = LastSynced("a", "a", frozenset({"b"}))
TWO_UPDATES_PENDING = LastSynced("a", "a", frozenset({"b", "c"}))

CASES: dict[str, tuple[LastSynced | None, str, str | None, Action]] = {
    "new in the source": (None, "a", None, Action.PUSH),
    "new in the source, absent on the server": (None, "a", ABSENT, Action.PUSH),
    "new on the server": (None, ABSENT, "a", Action.PULL),
    "new on both sides, equal": (None, "a", "a", Action.AGREE),
    "new on both sides, different": (None, "a", "b", Action.CONFLICT),
    "unchanged, server not looked at": (SYNCED, "a", None, Action.NONE),
    "unchanged, stored by the server in its own way": (LastSynced("a", "A"), "a", "A", Action.NONE),
    "unchanged, seen for the first time": (LastSynced("a", None), "a", "A", Action.NONE),
    "changed in the source, server not looked at": (SYNCED, "b", None, Action.PUSH),
    "changed in the source": (LastSynced("a", "A"), "b", "A", Action.PUSH),
    "changed in the source, seen for the first time": (LastSynced("a", None), "b", "A", Action.PUSH),
    "changed on the server": (SYNCED, "a", "b", Action.PULL),
    "changed on both sides, equal": (SYNCED, "b", "b", Action.AGREE),
    "changed on both sides, different": (SYNCED, "b", "c", Action.CONFLICT),
    "deleted in the source": (SYNCED, ABSENT, "a", Action.PUSH),
    "deleted on the server": (SYNCED, "a", ABSENT, Action.PULL),
    "deleted on the server before it was seen": (LastSynced("a", None), "a", ABSENT, Action.PULL),
    "deleted on both sides": (SYNCED, ABSENT, ABSENT, Action.AGREE),
    "deleted in the source, changed on the server": (SYNCED, ABSENT, "b", Action.CONFLICT),
    "changed in the source, deleted on the server": (SYNCED, "b", ABSENT, Action.CONFLICT),
    "back in the source": (LastSynced(ABSENT, ABSENT), "a", None, Action.PUSH),
    "deleted on the server before, unchanged": (LastSynced("a", ABSENT), "a", None, Action.NONE),
    "pending delete, taken back, server not looked at": (DELETE_PENDING, "a", None, Action.PUSH),
    "pending delete, taken back before it shows": (DELETE_PENDING, "a", "a", Action.PUSH),
    "pending delete, taken back after it shows": (DELETE_PENDING, "a", ABSENT, Action.PUSH),
    "pending delete shows": (DELETE_PENDING, ABSENT, ABSENT, Action.NONE),
    "pending update, taken back after it shows": (UPDATE_PENDING, "a", "b", Action.PUSH),
    "pending update does not show": (UPDATE_PENDING, "b", "a", Action.PUSH),
    "pending update, changed on the server": (UPDATE_PENDING, "b", "c", Action.CONFLICT),
    "two pending updates, the first shows": (TWO_UPDATES_PENDING, "c", "b", Action.PUSH),
}


@pytest.mark.parametrize(("base", "local", "remote", "action"), CASES.values(), ids=CASES)
def test_decision_follows_from_the_three_states(
    base: LastSynced | None, local: str, remote: str | None, action: Action
) -> None:
    assert decide(base, local, remote) is action


@pytest.mark.parametrize(
    ("policy", "local", "remote", "action"),
    [
        (Policy.LOCAL, None, None, Action.PUSH),
        (Policy.REMOTE, None, None, Action.PULL),
        (Policy.FAIL, LATER, TEN, Action.CONFLICT),
        (Policy.NEWER, LATER, TEN, Action.PUSH),
        (Policy.NEWER, TEN, LATER, Action.PULL),
        (Policy.NEWER, TEN, TEN, Action.CONFLICT),
        (Policy.NEWER, None, TEN, Action.CONFLICT),
        (Policy.NEWER, TEN, None, Action.CONFLICT),
    ],
)
def test_policy_resolves_a_conflict(
    policy: Policy, local: datetime | None, remote: datetime | None, action: Action
) -> None:
    conflict = Conflict(
        calendar=Calendar("acme"), key="k", local="a", remote="b", local_modified=local, remote_modified=remote
    )
    assert resolve_conflict(conflict, policy) is action


sides = st.sampled_from([ABSENT, "a", "b", "c"])


@given(st.lists(st.tuples(sides, sides, st.sampled_from([Policy.LOCAL, Policy.REMOTE])), min_size=1, max_size=6))
def test_sides_get_in_sync_and_a_change_of_one_side_alone_is_never_lost(
    rounds: list[tuple[str, str, Policy]],
) -> None:
    base: LastSynced | None = None
    last_synced = ABSENT
    for local, remote, policy in rounds:
        action = decide(base, local, remote)
        if action is Action.CONFLICT:
            assert local not in (last_synced, remote)
            assert remote != last_synced
            action = Action.PUSH if policy is Policy.LOCAL else Action.PULL
        match action:
            case Action.NONE:
                result = local
                assert local == remote == last_synced
            case Action.AGREE:
                result = local
                assert local == remote
            case Action.PUSH:
                result = local
            case _:
                result = remote
        if local == last_synced:
            assert result == remote  # the server alone has changed it, or nobody
        if remote == last_synced:
            assert result == local
        base, last_synced = LastSynced(result, result), result
        assert decide(base, result, result) is Action.NONE
        assert decide(base, result, None) is Action.NONE
