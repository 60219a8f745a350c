"""The report of a tenant as the state stores it: JSON values, with the stored names of the fates."""

from collections import Counter
from collections.abc import Mapping
from operator import index
from typing import Any, Final

import attrs

from connector_async.sync.report import Fate, Stopped, TenantReport
from connector_async.sync.request_timeline import RequestTimeline

_NOT_AS_IS: Final = frozenset({"counts", "stopped", "reasons"})


def stored_counts(counts: Mapping[Fate, int]) -> dict[str, int]:
    """Return the counts that are not zero by the stored names of their fates."""
    return {fate.stored_name: number for fate, number in counts.items() if number}


def stored_report(report: TenantReport) -> dict[str, Any]:
    """Return a report without its reasons, which are those of the dead letters and failures."""
    return attrs.asdict(report, filter=lambda field, _: field.name not in _NOT_AS_IS) | {
        "counts": stored_counts(report.counts),
        "stopped": report.stopped and report.stopped.value,
    }


def report_from_stored(stored: Mapping[str, Any]) -> TenantReport:
    """Return the report that `stored_report` was called with, without its reasons.

    Raises:
        ValueError: If a value is not one that was stored.
        TypeError: If a value has another type.
        LookupError: If a value is missing.
    """
    timeline = dict(stored["timeline"])
    if timeline["limit"] is not None:
        timeline["limit"] = tuple(timeline["limit"])
    special = {
        "counts": Counter({Fate.from_stored(name): index(number) for name, number in dict(stored["counts"]).items()}),
        "stopped": None if stored["stopped"] is None else Stopped(stored["stopped"]),
        "timeline": RequestTimeline(**timeline),
    }
    return TenantReport(**{**stored, **special})
