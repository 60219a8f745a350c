"""One SVG with the charts of all tables, readable on light and dark pages and without colors.

Its labels are text, in a gray of equal contrast on white and on black. Each line has marks of its own, and its name at
its end.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.tables import Band, Bars, Lines, Table

_GRAY: Final = "#747b83"
_OURS: Final = "#c9651c"
_OTHERS: Final = ("#3f82cf", "#3d9457", "#9a66cf")
_COLUMNS: Final = 2
_MARKS: Final = ("o-", "s--", "^:", "d-.")  # lines may overlap
_GLYPHS: Final = "●■▲◆"  # the same marks in labels
_LABEL_WIDTH: Final = 24  # characters
_LINE_HEIGHT: Final = 0.075  # of a label, in parts of the height of a chart
_MINIMUM: Final = 0.01  # what a logarithmic axis shows for zero
_STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "benchmarks",  # equal figures give an equal file
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _GRAY,
    "axes.edgecolor": _GRAY,
    "axes.labelcolor": _GRAY,
    "xtick.color": _GRAY,
    "ytick.color": _GRAY,
}


def draw(tables: Sequence[Table], path: Path) -> None:
    """Write the charts of the tables to an SVG file.

    Raises:
        ValueError: If no table has a chart.
    """
    charts = [table.chart for table in tables if table.chart is not None]
    if not charts:
        raise ValueError("none of the tables has a chart")
    with mpl.rc_context(_STYLE):
        rows = math.ceil(len(charts) / _COLUMNS)
        figure = Figure(figsize=(12, 3.4 * rows), layout="constrained")
        for place, chart in enumerate(charts, start=1):
            axes = figure.add_subplot(rows, _COLUMNS, place)
            axes.set_title(chart.title, loc="left", fontsize=10)
            axes.patch.set_alpha(0)
            axes.spines[["top", "right"]].set_visible(False)
            if isinstance(chart, Bars):
                _draw_bars(axes, chart)
            else:
                _draw_lines(axes, chart)
        figure.savefig(path, format="svg", transparent=True, metadata={"Date": None})


def _draw_bars(axes: Axes, chart: Bars) -> None:
    names = list(chart.values)[::-1]
    values = [chart.values[name] for name in names]
    spread = [[value.middle - value.lower for value in values], [value.upper - value.middle for value in values]]
    colors = [_OURS if name in chart.ours else _OTHERS[0] for name in names]
    axes.barh(names, [value.middle for value in values], xerr=spread, color=colors, ecolor=_GRAY, capsize=2)
    for place, value in enumerate(values):
        axes.annotate(
            f" {value.middle:.2f}" if value.middle < 100 else f" {value.middle:.0f}",
            (value.upper, place),
            va="center",
            fontsize=8,
        )
    axes.margins(x=0.12)
    axes.set_xlabel(chart.label)


def _draw_lines(axes: Axes, chart: Lines) -> None:
    shown = {name: [(size, max(value, _MINIMUM)) for size, value in points] for name, points in chart.lines.items()}
    for place, (name, points) in enumerate(shown.items()):
        color = _OURS if name in chart.ours else _OTHERS[place % len(_OTHERS)]
        axes.plot(*zip(*points, strict=True), _MARKS[place], color=color)
    axes.set_xscale("log")
    sizes = sorted({size for points in shown.values() for size, _ in points})
    axes.set_xticks(sizes, [f"{size:,.0f}" for size in sizes])
    axes.minorticks_off()
    values = [value for points in shown.values() for _, value in points]
    if chart.band is not None:
        _draw_band(axes, chart.band)
        axes.margins(y=0.15)
    elif max(values) > 20 * min(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:,g}")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    _label_lines(axes, {name: points[-1] for name, points in shown.items()})


def _draw_band(axes: Axes, band: Band) -> None:
    axes.axhspan(band.lower, band.upper, color=_GRAY, alpha=0.15, linewidth=0)
    for limit in (band.lower, band.upper):
        axes.axhline(limit, color=_GRAY, linestyle=(0, (6, 3)), linewidth=0.8)
    axes.annotate(
        band.label, (0, band.upper), xycoords=("axes fraction", "data"), xytext=(4, 3), textcoords="offset points"
    )


def _label_lines(axes: Axes, ends: Mapping[str, tuple[float, float]]) -> None:
    """Write the mark and the name of each line beside its end."""
    axes.autoscale_view()
    to_fraction = axes.transData + axes.transAxes.inverted()
    labels = {
        textwrap.fill(f"{glyph} {name}", _LABEL_WIDTH): float(to_fraction.transform(end)[1])
        for (name, end), glyph in zip(ends.items(), _GLYPHS, strict=False)
    }
    for label, height in _kept_apart(labels).items():
        axes.annotate(label, (1.03, height), xycoords="axes fraction", va="center")


def _kept_apart(labels: Mapping[str, float]) -> dict[str, float]:
    """Return the heights at which the labels do not overlap, as near to their own as possible."""
    order = sorted(labels, key=lambda label: labels[label])
    pushed_up, pushed_down = (_pushed([(label, sign * labels[label]) for label in order[::sign]]) for sign in (1, -1))
    # In both all labels are far enough from each other, and so they are in the middle.
    return {label: (pushed_up[label] - pushed_down[label]) / 2 for label in order}


def _pushed(labels: Iterable[tuple[str, float]]) -> dict[str, float]:
    heights, free = {}, -math.inf
    for label, height in labels:
        half = _LINE_HEIGHT * (label.count("\n") + 1) / 2
        heights[label] = max(height, free + half)
        free = heights[label] + half
    return heights
