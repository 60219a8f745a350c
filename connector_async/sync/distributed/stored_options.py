"""What the processes that work on a run need to know of it, as JSON values in the state."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs

from connector_async.sync.guard import MaxDelete
from connector_async.sync.planning.options import ConflictRules, Mode, SyncOptions, SyncSettings
from connector_async.sync.planning.three_way import Policy
from connector_async.sync.scope import Scope
from connector_async.sync.state.identity import Target
from connector_async.wire import WireFormat


@attrs.frozen(kw_only=True)
class RunSettings:
    """The options and the settings of a run, its server, and when recurring events of its source were expanded."""

    options: SyncOptions
    settings: SyncSettings
    target: Target | None = None
    """The server that each process must work with; `None`: it was not known at the start."""
    expanded: Scope | None = None

    def as_json(self) -> dict[str, Any]:
        """Return JSON values. The tenants and the limit of deletes were acted on when the source was staged."""
        options = self.options
        window = options.window
        return {
            "mode": options.mode.value,
            "policy": options.rules.policy.value,
            "modified_field": options.rules.modified_field,
            "scope": _scope_as_json(options.scope),
            "window": None if window is None else window.total_seconds(),
            "max_delete": [options.max_delete.number, options.max_delete.share],
            "allow_empty": options.allow_empty,
            "retry_run": options.retry_run,
            "assume_empty": options.assume_empty,
            "settings": attrs.asdict(self.settings) | {"wire_format": self.settings.wire_format.value},
            "target": None if self.target is None else attrs.asdict(self.target),
            "expanded": None if self.expanded is None else _scope_as_json(self.expanded),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "RunSettings":
        """Return what `as_json` has made JSON values of.

        Raises:
            ValueError: If a value is out of its range.
            TypeError: If a value has another type.
            LookupError: If a value is missing.
        """
        window, (number, share) = stored["window"], stored["max_delete"]
        options = SyncOptions(
            mode=Mode(stored["mode"]),
            rules=ConflictRules(policy=Policy(stored["policy"]), modified_field=stored["modified_field"]),
            scope=_scope_from_json(stored["scope"]),
            window=None if window is None else timedelta(seconds=window),
            max_delete=MaxDelete(number=number, share=share),
            allow_empty=stored["allow_empty"],
            retry_run=stored["retry_run"],
            assume_empty=stored["assume_empty"],
        )
        settings = {**stored["settings"], "wire_format": WireFormat(stored["settings"]["wire_format"])}
        expanded = None if stored["expanded"] is None else _scope_from_json(stored["expanded"])
        target = None if stored["target"] is None else Target(**stored["target"])
        return cls(options=options, settings=SyncSettings(**settings), target=target, expanded=expanded)


def _scope_as_json(scope: Scope) -> list[str | None]:
    return [None if end is None else end.isoformat() for end in (scope.start, scope.end)]


def _scope_from_json(stored: list[str | None]) -> Scope:
    start, end = (None if end is None else datetime.fromisoformat(end) for end in stored)
    return Scope(start=start, end=end)
