"""The charts of the page of a run, as SVG elements without scripts. Their colors are the variables of the page."""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from xml.etree import ElementTree as ET

import pygal
from pygal.style import Style

# pygal adds a finder of plugins that Python 3.12 no longer takes. It would be asked for every later import.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != pygal.__name__]

_FONT: Final = "system-ui, sans-serif"
_SIZES: Final = {f"{name}_font_size": 13 for name in ("label", "major_label", "value", "value_label", "legend")}
_STYLE: Final = Style(
    background="transparent",
    plot_background="transparent",
    foreground="var(--ink)",
    foreground_strong="var(--ink)",
    foreground_subtle="var(--muted)",
    guide_stroke_color="var(--line)",
    major_guide_stroke_color="var(--line)",
    guide_stroke_dasharray="none",
    major_guide_stroke_dasharray="none",
    colors=("var(--sent)", "var(--limit)"),
    value_colors=("var(--ink)", "var(--ink)"),
    font_family=_FONT,
    opacity=".75",
    stroke_opacity="1",
    transition="0s",
    **_SIZES,
)
_COMMON: Final[Mapping[str, Any]] = {
    "style": _STYLE,
    "js": (),
    "margin": 4,
    "margin_right": 40,  # half of the last label on the axis
    "truncate_label": -1,
    "min_scale": 3,
    "max_scale": 6,
    "explicit_size": False,
    "show_legend": False,
    "include_x_axis": True,
}
_LABELS: Final = 6  # beside each other, at most


def timeline_chart(timeline: Mapping[str, Any]) -> str:
    """Return the requests of a tenant over time as a filled line, and its rate limit as a dashed one."""
    sent: list[int] = timeline["requests"]
    interval: float = timeline["interval"]
    limit = requests_per_interval(timeline)
    labels = [_clock_time(timeline["started_at"] + index * interval) for index in range(len(sent) + 1)]
    chart = pygal.Line(
        height=220,
        width=900,
        show_dots=False,
        y_title=f"requests in {interval:g} s",
        range=(0, max([*sent, limit or 0, 1]) * 1.05),
        value_formatter=lambda value: f"{value:,.0f}",
        show_minor_x_labels=False,
        **_COMMON,
    )
    chart.x_labels = labels
    chart.x_labels_major = labels[:: max(1, -(-len(labels) // _LABELS))]
    # A step for each interval would need twice the points; the line goes through the start of each interval.
    chart.add("requests", [*sent, sent[-1]], fill=True, stroke_style={"width": 2})
    if limit is not None:
        chart.add("limit", [limit] * len(labels), stroke_style={"width": 2, "dasharray": "8, 5"})
    return _svg(chart)


def outcome_chart(counts: Sequence[tuple[str, int]]) -> str:
    """Return a bar for each kind of outcome, labeled with its name and its number."""
    chart = pygal.HorizontalBar(
        height=36 * len(counts) + 10,
        width=900,
        show_x_labels=False,  # the numbers, in a horizontal chart
        show_x_guides=False,
        show_y_guides=False,
        range=(0, max(count for _, count in counts)),
        **_COMMON,
    )
    chart.x_labels = [f"{name}: {count:,}" for name, count in reversed(counts)]
    chart.add("keys", [count for _, count in reversed(counts)])
    return _svg(chart)


def requests_per_interval(timeline: Mapping[str, Any]) -> float | None:
    """Return how many requests the rate limit allows in an interval, or `None` if it is not known."""
    if timeline["limit"] is None:
        return None
    requests, seconds = timeline["limit"]
    return float(requests * timeline["interval"] / seconds)


def _clock_time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%H:%M:%S}"


def _svg(chart: Any) -> str:
    root = chart.render_tree()
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in {"script", "title", "desc"} or not isinstance(child.tag, str):  # the latter are comments
                parent.remove(child)
    root.set("aria-hidden", "true")  # the page has the numbers in a table
    return ET.tostring(root, encoding="unicode")
