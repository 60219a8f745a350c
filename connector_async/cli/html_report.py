"""The command `sync report`: writes what a run did as one HTML page, which needs no other file and no network."""

import sys
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter

from connector_async._files import atomic_replace
from connector_async._timestamps import parse_instant
from connector_async.sync.report import Fate
from connector_async.sync.state import State, inspection
from connector_async.sync.state.db.errors import file_errors

from .messages import print_message
from .sync_options import StateOptions
from .sync_run import opened_to_read

_STATE: Final = StateOptions()
_MOST_CHARTS: Final = 24
_MOST_LETTERS: Final = 500
_FATES: Final = tuple(fate.value for fate in Fate)
_STATUSES: Final = {
    "ended": "It did all of its work.",
    "running": "It is still running, or was killed: what it sent over time is not recorded.",
    "failed": "It failed, and ended early.",
    "superseded": "It ended early: another source took the place of its own.",
    "requests": "It ended early: the request limit was reached.",
    "duration": "It ended early: the time limit was reached.",
    "signal": "It ended early: a signal stopped it.",
}


async def report(
    run: Annotated[
        str | None, Parameter(name="RUN", help="The id of the run, as its report shows it. Default: the latest.")
    ] = None,
    /,
    *,
    html: Annotated[Path, Parameter(help="The file to write; it is replaced.")],
    state: StateOptions = _STATE,
) -> None:
    """Write what a run did as one HTML page: requests over time, outcomes, dead letters with their reasons.

    The page has no titles or descriptions, and needs no network.
    """
    try:
        import jinja2  # noqa: PLC0415 - an extra of its own, with pygal, which the charts need
        from markupsafe import Markup  # noqa: PLC0415 - jinja2 needs it

        from .report_charts import outcome_chart, requests_per_interval, timeline_chart  # noqa: PLC0415
    except ModuleNotFoundError as error:
        sys.exit(f"connector-async: {error.name} is missing; install it with: pip install 'connector-async[report]'")
    async with opened_to_read(state, "sync report") as opened:
        found = await inspection.read_run(opened, run)
        if found is None:
            raise ValueError(f"RUN must be a run of the state: it has {'none' if run is None else f'no run {run}'}")
        letters, more_letters = await _read_letters(opened, found["run_id"])
    counts = [(name.replace("_", " "), found["counts"][name]) for name in _FATES if found["counts"].get(name)]
    timelines = _timelines(found)
    page = _template(
        jinja2
    ).render(
        run=found,
        status=_STATUSES.get(found["status"], found["status"]),
        counts=counts,
        outcome_chart=Markup(outcome_chart(counts)) if counts else None,  # noqa: S704 - an SVG element of our own
        fates=[name for name in _FATES if any(tenant["counts"].get(name) for tenant in found["tenants"].values())],
        charts=[
            (tenant_id, timeline, requests_per_interval(timeline), Markup(timeline_chart(timeline)))  # noqa: S704
            for tenant_id, timeline in timelines[:_MOST_CHARTS]
        ],
        more_charts=len(timelines[_MOST_CHARTS:]),
        any_stopped=any(tenant["stopped"] for tenant in found["tenants"].values()),
        any_user=any(letter["ad_id"] for letter in letters),
        letters=letters,
        more_letters=more_letters,
    )
    with file_errors(html), atomic_replace(html) as partial:
        partial.write_text(page, encoding="utf-8")
    print_message(f"run {found['run_id']}: written to {html}")


def _template(jinja2: Any) -> Any:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": "{:,.0f}".format, "seconds": "{:,.1f} s".format, "second": _to_second}
    return environment.get_template("run_report.html")


def _to_second(time: str) -> str:
    return f"{parse_instant(time):%Y-%m-%d %H:%M:%S}"


def _timelines(run: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the tenants that sent requests, and when, with the busiest one first."""
    timelines = ((tenant_id, tenant["timeline"]) for tenant_id, tenant in run["tenants"].items())
    return sorted((found for found in timelines if found[1]["requests"]), key=lambda found: -sum(found[1]["requests"]))


async def _read_letters(state: State, run_id: str) -> tuple[list[dict[str, Any]], int]:
    """Return the first dead letters of a run, and the number of the others."""
    letters: list[dict[str, Any]] = []
    more = 0
    async with aclosing(inspection.read_dead_letters(state, run_id)) as found:
        async for letter in found:
            if len(letters) < _MOST_LETTERS:
                letters.append(letter)
            else:
                more += 1
    return letters, more
