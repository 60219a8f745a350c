"""The three-way decision: every case by name, and against a model of two sides that are changed at will."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async.sync.planning.three_way import Action, Conflict, Policy, decide, settle
from connector_async.sync.records import ABSENT, Calendar, LastSynced

CASES: dict[str, tuple[LastSynced | None, str, str | None, Action]] = {
    "new in the source": (None, "a", None, Action.PUSH),
    "new in the source, and not on the server": (None, "a", ABSENT, Action.PUSH),
    "new on the server": (None, ABSENT, "a", Action.PULL),
    "new on both, equal": (None, "a", "a", Action.AGREE),
    "new on both, different": (None, "a", "b", Action.CONFLICT),
    "unchanged, not looked at": (LastSynced("a", "a"), "a", None, Action.NONE),
    "unchanged": (LastSynced("a", "a"), "a", "a", Action.NONE),
    "unchanged, and written by the server in its own way": (LastSynced("a", "A"), "a", "A", Action.NONE),
    "unchanged, and first seen now": (LastSynced("a", None), "a", "A", Action.NONE),
    "changed in the source, not looked at": (LastSynced("a", "a"), "b", None, Action.PUSH),
    "changed in the source": (LastSynced("a", "A"), "b", "A", Action.PUSH),
    "changed in the source, and first seen now": (LastSynced("a", None), "b", "A", Action.PUSH),
    "changed on the server": (LastSynced("a", "a"), "a", "b", Action.PULL),
    "changed on both alike": (LastSynced("a", "a"), "b", "b", Action.AGREE),
    "changed on both": (LastSynced("a", "a"), "b", "c", Action.CONFLICT),
    "gone from the source, not looked at": (LastSynced("a", "a"), ABSENT, None, Action.PUSH),
    "gone from the source": (LastSynced("a", "a"), ABSENT, "a", Action.PUSH),
    "gone from the server": (LastSynced("a", "a"), "a", ABSENT, Action.PULL),
    "gone from both": (LastSynced("a", "a"), ABSENT, ABSENT, Action.AGREE),
    "gone from the source, changed on the server": (LastSynced("a", "a"), ABSENT, "b", Action.CONFLICT),
    "changed in the source, gone from the server": (LastSynced("a", "a"), "b", ABSENT, Action.CONFLICT),
    "back in the source": (LastSynced(ABSENT, ABSENT), "a", None, Action.PUSH),
    "a delete is open, and it is back": (LastSynced("a", "a", frozenset({ABSENT})), "a", None, Action.PUSH),
    "a delete is open, it is back, and there": (LastSynced("a", "a", frozenset({ABSENT})), "a", "a", Action.PUSH),
    "a delete is open, it is back, and has happened": (
        LastSynced("a", "a", frozenset({ABSENT})),
        "a",
        ABSENT,
        Action.PUSH,
    ),
    "a delete is open": (LastSynced("a", "a", frozenset({ABSENT})), ABSENT, "a", Action.PUSH),
    "a delete is open, and has happened": (LastSynced("a", "a", frozenset({ABSENT})), ABSENT, ABSENT, Action.NONE),
    "a change is open, and taken back": (LastSynced("a", "a", frozenset({"b"})), "a", "b", Action.PUSH),
    "a change is open, and has happened": (LastSynced("a", "a", frozenset({"b"})), "b", "b", Action.NONE),
    "a change is open, and has not happened": (LastSynced("a", "a", frozenset({"b"})), "b", "a", Action.PUSH),
    "a change is open, and another one on the server": (
        LastSynced("a", "a", frozenset({"b"})),
        "b",
        "c",
        Action.CONFLICT,
    ),
    "two changes are open, and the first has happened": (
        LastSynced("a", "a", frozenset({"b", "c"})),
        "c",
        "b",
        Action.PUSH,
    ),
    "two changes are open, and both are taken back": (
        LastSynced("a", "a", frozenset({"b", "c"})),
        "a",
        None,
        Action.PUSH,
    ),
    "a change is open, and taken back before it shows": (LastSynced("a", "a", frozenset({"b"})), "a", "a", Action.PUSH),
    "gone from the server, before what it made of the last write was seen": (
        LastSynced("a", None),
        "a",
        ABSENT,
        Action.PULL,
    ),
    "known to be gone from the server, unchanged": (LastSynced("a", ABSENT), "a", None, Action.NONE),
    "known to be gone from the server, changed": (LastSynced("a", ABSENT), "b", None, Action.PUSH),
}


@pytest.mark.parametrize(("base", "local", "remote", "action"), CASES.values(), ids=CASES)
def test_each_case(base: LastSynced | None, local: str, remote: str | None, action: Action) -> None:
    assert decide(base, local, remote) is action


TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
LATER = TEN + timedelta(seconds=1)


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
def test_a_conflict_is_settled_by_the_policy(
    policy: Policy, local: datetime | None, remote: datetime | None, action: Action
) -> None:
    conflict = Conflict(
        calendar=Calendar("acme"), key="k", local="a", remote="b", local_modified=local, remote_modified=remote
    )
    assert settle(conflict, policy) is action


sides = st.sampled_from([ABSENT, "a", "b", "c"])


@given(st.lists(st.tuples(sides, sides, st.sampled_from([Policy.LOCAL, Policy.REMOTE])), min_size=1, max_size=6))
def test_two_sides_come_into_step_and_a_change_of_one_side_alone_is_never_lost(
    rounds: list[tuple[str, str, Policy]],
) -> None:
    base: LastSynced | None = None
    in_step = ABSENT
    for local, remote, policy in rounds:
        action = decide(base, local, remote)
        if action is Action.CONFLICT:
            assert local not in (in_step, remote)
            assert remote != in_step
            action = Action.PUSH if policy is Policy.LOCAL else Action.PULL
        match action:
            case Action.NONE:
                result = local
                assert local == remote == in_step
            case Action.AGREE:
                result = local
                assert local == remote
            case Action.PUSH:
                result = local
            case _:
                result = remote
        if local == in_step:
            assert result == remote  # the server alone has changed it, or nobody
        if remote == in_step:
            assert result == local
        base, in_step = LastSynced(result, result), result
        assert decide(base, result, result) is Action.NONE
        assert decide(base, result, None) is Action.NONE
