"""The three-way decision: every case by name, and against a model of two sides that are changed at will."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async.sync.decision import GONE, Action, Base, Conflict, Policy, decide, settle
from connector_async.sync.records import Calendar

CASES: dict[str, tuple[Base | None, str, str | None, Action]] = {
    "new in the source": (None, "a", None, Action.PUSH),
    "new in the source, and not on the server": (None, "a", GONE, Action.PUSH),
    "new on the server": (None, GONE, "a", Action.PULL),
    "new on both, equal": (None, "a", "a", Action.AGREE),
    "new on both, different": (None, "a", "b", Action.CONFLICT),
    "unchanged, not looked at": (Base("a", "a"), "a", None, Action.NONE),
    "unchanged": (Base("a", "a"), "a", "a", Action.NONE),
    "unchanged, and written by the server in its own way": (Base("a", "A"), "a", "A", Action.NONE),
    "unchanged, and first seen now": (Base("a", None), "a", "A", Action.NONE),
    "changed in the source, not looked at": (Base("a", "a"), "b", None, Action.PUSH),
    "changed in the source": (Base("a", "A"), "b", "A", Action.PUSH),
    "changed in the source, and first seen now": (Base("a", None), "b", "A", Action.PUSH),
    "changed on the server": (Base("a", "a"), "a", "b", Action.PULL),
    "changed on both alike": (Base("a", "a"), "b", "b", Action.AGREE),
    "changed on both": (Base("a", "a"), "b", "c", Action.CONFLICT),
    "gone from the source, not looked at": (Base("a", "a"), GONE, None, Action.PUSH),
    "gone from the source": (Base("a", "a"), GONE, "a", Action.PUSH),
    "gone from the server": (Base("a", "a"), "a", GONE, Action.PULL),
    "gone from both": (Base("a", "a"), GONE, GONE, Action.AGREE),
    "gone from the source, changed on the server": (Base("a", "a"), GONE, "b", Action.CONFLICT),
    "changed in the source, gone from the server": (Base("a", "a"), "b", GONE, Action.CONFLICT),
    "back in the source": (Base(GONE, GONE), "a", None, Action.PUSH),
    "a delete is open, and it is back": (Base("a", "a", frozenset({GONE})), "a", None, Action.PUSH),
    "a delete is open, it is back, and there": (Base("a", "a", frozenset({GONE})), "a", "a", Action.PUSH),
    "a delete is open, it is back, and has happened": (Base("a", "a", frozenset({GONE})), "a", GONE, Action.PUSH),
    "a delete is open": (Base("a", "a", frozenset({GONE})), GONE, "a", Action.PUSH),
    "a delete is open, and has happened": (Base("a", "a", frozenset({GONE})), GONE, GONE, Action.NONE),
    "a change is open, and taken back": (Base("a", "a", frozenset({"b"})), "a", "b", Action.PUSH),
    "a change is open, and has happened": (Base("a", "a", frozenset({"b"})), "b", "b", Action.NONE),
    "a change is open, and has not happened": (Base("a", "a", frozenset({"b"})), "b", "a", Action.PUSH),
    "a change is open, and another one on the server": (Base("a", "a", frozenset({"b"})), "b", "c", Action.CONFLICT),
    "two changes are open, and the first has happened": (Base("a", "a", frozenset({"b", "c"})), "c", "b", Action.PUSH),
    "two changes are open, and both are taken back": (Base("a", "a", frozenset({"b", "c"})), "a", None, Action.PUSH),
    "a change is open, and taken back before it shows": (Base("a", "a", frozenset({"b"})), "a", "a", Action.PUSH),
    "gone from the server, before what it made of the last write was seen": (Base("a", None), "a", GONE, Action.PULL),
    "known to be gone from the server, unchanged": (Base("a", GONE), "a", None, Action.NONE),
    "known to be gone from the server, changed": (Base("a", GONE), "b", None, Action.PUSH),
}


@pytest.mark.parametrize(("base", "local", "remote", "action"), CASES.values(), ids=CASES)
def test_each_case(base: Base | None, local: str, remote: str | None, action: Action) -> None:
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


sides = st.sampled_from([GONE, "a", "b", "c"])


@given(st.lists(st.tuples(sides, sides, st.sampled_from([Policy.LOCAL, Policy.REMOTE])), min_size=1, max_size=6))
def test_two_sides_come_into_step_and_a_change_of_one_side_alone_is_never_lost(
    rounds: list[tuple[str, str, Policy]],
) -> None:
    base: Base | None = None
    in_step = GONE
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
        base, in_step = Base(result, result), result
        assert decide(base, result, result) is Action.NONE
        assert decide(base, result, None) is Action.NONE
