"""What to do with one key: three-way, by the hashes of what was last in step, of the source, and of the server.

Pure: it knows neither the state nor the API.
"""

import enum
from collections.abc import Awaitable, Callable
from datetime import datetime

import attrs

from connector_async.sync.records import ABSENT, Calendar, LastSynced


class Mode(enum.Enum):
    """What of the server is looked at."""

    TRUST = "trust"
    """Nothing: it is taken to be as the last run left it. What is unchanged in the source costs no request."""
    CHECK = "check"
    """The calendars in which the source has changed something, before anything is written to them."""
    TWO_WAY = "two-way"
    """Every calendar that is known: that the source has a record of, or that was in step once. What has changed on the
    server alone is taken over into the source."""


class Policy(enum.Enum):
    """Who wins where both sides have changed an appointment, or in one direction the server alone."""

    LOCAL = "local"
    """The source."""
    REMOTE = "remote"
    """The server."""
    NEWER = "newer"
    """The side that was changed later. Where one does not say when, it is as `FAIL`."""
    FAIL = "fail"
    """Nobody: it becomes a dead letter."""


class Action(enum.Enum):
    """What is done with one key."""

    NONE = "none"
    """Nothing: both are as they were."""
    AGREE = "agree"
    """Nothing is sent: both have come to the same."""
    PUSH = "push"
    """The server is to have what the source has."""
    PULL = "pull"
    """The source is to have what the server has; in one direction only, that the server differs is taken note of."""
    CONFLICT = "conflict"
    """Both have changed, and nobody wins."""


@attrs.frozen(kw_only=True)
class Conflict:
    """An appointment that both sides have changed."""

    calendar: Calendar
    key: str
    local: str
    """The hash of what the source has now, or `GONE`."""
    remote: str
    """The hash of what the server has now, or `GONE`."""
    local_modified: datetime | None
    """When the source changed it; aware. `None`: it does not say."""
    remote_modified: datetime | None
    """When the server changed it; aware. `None`: it does not say."""


ConflictCallback = Callable[[Conflict], Awaitable[Policy]]
"""Decides one conflict: `Policy.LOCAL`, `REMOTE` or `FAIL`."""


def decide(base: LastSynced | None, local: str, remote: str | None) -> Action:
    """Return what to do with a key.

    `PULL` is the answer when the server alone has changed it, and `CONFLICT` when both have.

    Args:
        base: What was last in step; `None`: the key is new.
        local: The hash of what the source has, or `GONE`.
        remote: The hash of what the server has, or `GONE`; `None`: it was not looked at.
    """
    base = base or LastSynced(ABSENT, ABSENT)
    if base.pending:
        # What does not show yet may still come: whatever has become of it, this write is to be the last.
        if remote is None or (remote not in base.pending and not _differs(base, remote)):
            return Action.PUSH
        if remote in base.pending:
            base = LastSynced(remote, remote)  # that one has happened
    seen = base.remote if remote is None else remote
    local_changed = local != base.local
    remote_changed = remote is not None and _differs(base, remote)
    if not local_changed and not remote_changed:
        return Action.NONE
    if local == seen:
        return Action.AGREE
    if not remote_changed:
        return Action.PUSH
    return Action.CONFLICT if local_changed else Action.PULL


def _differs(base: LastSynced, remote: str) -> bool:
    if base.remote is None:  # a server may write what it is sent in its own way, but not to nothing
        return remote == ABSENT != base.local
    return remote != base.remote


def settle(conflict: Conflict, policy: Policy) -> Action:
    """Return `PUSH`, `PULL` or `CONFLICT`, as the policy says who wins."""
    if policy is Policy.NEWER:
        local, remote = conflict.local_modified, conflict.remote_modified
        if local is None or remote is None or local == remote:
            return Action.CONFLICT
        policy = Policy.LOCAL if local > remote else Policy.REMOTE
    return {Policy.LOCAL: Action.PUSH, Policy.REMOTE: Action.PULL}.get(policy, Action.CONFLICT)
