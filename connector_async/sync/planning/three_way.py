"""The three-way decision for one key, from three hashes: last synced, of the source now, of the server now.

It is pure: it knows neither the state nor the API.
"""

import enum
from collections.abc import Awaitable, Callable
from datetime import datetime

import attrs

from connector_async.sync.records import ABSENT, Calendar, LastSynced


class Policy(enum.Enum):
    """Who wins where both sides have changed an appointment, or in one direction the server alone."""

    LOCAL = "local"
    """The source."""
    REMOTE = "remote"
    """The server."""
    NEWER = "newer"
    """The side that was changed later. If one does not say when, this is the same as `FAIL`."""
    FAIL = "fail"
    """Neither: the key becomes a dead letter."""


class Action(enum.Enum):
    """What to do with one key."""

    NONE = "none"
    """Nothing: both sides are as they were."""
    AGREE = "agree"
    """Send nothing: both sides have changed to the same content."""
    PUSH = "push"
    """Send what the source has to the server."""
    PULL = "pull"
    """Write back to the source what the server has. In one direction, only record in the state that it differs."""
    CONFLICT = "conflict"
    """Give up: both sides have changed, and neither wins."""


@attrs.frozen(kw_only=True)
class Conflict:
    """An appointment that both sides have changed."""

    calendar: Calendar
    key: str
    local: str
    """The hash of what the source has now, or `ABSENT`."""
    remote: str
    """The hash of what the server has now, or `ABSENT`."""
    local_modified: datetime | None
    """When the source changed it; aware. `None` if the source does not say."""
    remote_modified: datetime | None
    """When the server changed it; aware. `None` if the server does not say."""


ConflictCallback = Callable[[Conflict], Awaitable[Policy]]
"""Decides one conflict: `Policy.LOCAL`, `REMOTE` or `FAIL`."""


def decide(base: LastSynced | None, local: str, remote: str | None) -> Action:
    """Return what to do with a key.

    The result is `PULL` if the server alone has changed it, and `CONFLICT` if both sides have.

    Args:
        base: What was last synced; `None` if the key is new.
        local: The hash of what the source has, or `ABSENT`.
        remote: The hash of what the server has, or `ABSENT`; `None` if the server was not looked at.
    """
    base = base or LastSynced(ABSENT, ABSENT)
    if base.pending:
        # A pending write that does not show yet may still take effect. This write must be the last one.
        if remote is None or (remote not in base.pending and not _differs(base, remote)):
            return Action.PUSH
        if remote in base.pending:
            base = LastSynced(remote, remote)  # that write has taken effect
    last_remote = base.remote if remote is None else remote
    local_changed = local != base.local
    remote_changed = remote is not None and _differs(base, remote)
    if not local_changed and not remote_changed:
        return Action.NONE
    if local == last_remote:
        return Action.AGREE
    if not remote_changed:
        return Action.PUSH
    return Action.CONFLICT if local_changed else Action.PULL


def _differs(base: LastSynced, remote: str) -> bool:
    if base.remote is None:  # what a server makes of a write may differ from it, but is never nothing
        return remote == ABSENT != base.local
    return remote != base.remote


def resolve_conflict(conflict: Conflict, policy: Policy) -> Action:
    """Return `PUSH`, `PULL` or `CONFLICT`, as the policy says who wins."""
    if policy is Policy.NEWER:
        local, remote = conflict.local_modified, conflict.remote_modified
        if local is None or remote is None or local == remote:
            return Action.CONFLICT
        policy = Policy.LOCAL if local > remote else Policy.REMOTE
    return {Policy.LOCAL: Action.PUSH, Policy.REMOTE: Action.PULL}.get(policy, Action.CONFLICT)
