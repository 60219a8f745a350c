"""One SVG with the charts of all tables. Its labels are text, in a gray that is readable on light and dark pages."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.tables import Bars, Lines, Table

_GRAY: Final = "#808890"
_OURS: Final = "#e0782f"
_OTHERS: Final = ("#4c8ed9", "#4aa564", "#a06cd5")
_COLUMNS: Final = 2
_MARKS: Final = ("o-", "s--", "^:", "d-.")  # lines may overlap
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
    for place, (name, points) in enumerate(chart.lines.items()):
        sizes, values = zip(*points, strict=True)
        color = _OURS if name in chart.ours else _OTHERS[place % len(_OTHERS)]
        axes.plot(sizes, [max(value, _MINIMUM) for value in values], _MARKS[place], label=name, color=color)
    axes.set_xscale("log")
    shown = [max(value, _MINIMUM) for points in chart.lines.values() for _, value in points]
    if max(shown) > 20 * min(shown):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    axes.legend(frameon=False)
