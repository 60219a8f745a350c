"""One SVG of all tables that have a chart. Its text is text, in a grey that is read on light and on dark pages."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.tables import Bars, Lines, Table

_GREY: Final = "#808890"
_OURS: Final = "#e0782f"
_OTHERS: Final = ("#4c8ed9", "#4aa564", "#a06cd5")
_COLUMNS: Final = 2
_MARKS: Final = ("o-", "s--", "^:")  # lines may lie on each other
_LEAST: Final = 0.01  # what a logarithmic axis shows of nothing
_STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "benchmarks",  # so that equal figures make an equal file
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _GREY,
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _GREY,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
}


def draw(tables: Sequence[Table], path: Path) -> None:
    """Write the picture.

    Raises:
        ValueError: No table has a chart.
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
    spread = [[each.middle - each.lower for each in values], [each.upper - each.middle for each in values]]
    colours = [_OURS if name in chart.ours else _OTHERS[0] for name in names]
    axes.barh(names, [each.middle for each in values], xerr=spread, color=colours, ecolor=_GREY, capsize=2)
    for place, each in enumerate(values):
        axes.annotate(
            f" {each.middle:.2f}" if each.middle < 100 else f" {each.middle:.0f}",
            (each.upper, place),
            va="center",
            fontsize=8,
        )
    axes.margins(x=0.12)
    axes.set_xlabel(chart.label)


def _draw_lines(axes: Axes, chart: Lines) -> None:
    for place, (name, points) in enumerate(chart.lines.items()):
        sizes, values = zip(*points, strict=True)
        colour = _OURS if name in chart.ours else _OTHERS[place % len(_OTHERS)]
        axes.plot(sizes, [max(value, _LEAST) for value in values], _MARKS[place], label=name, color=colour)
    axes.set_xscale("log")
    shown = [max(value, _LEAST) for points in chart.lines.values() for _, value in points]
    if max(shown) > 20 * min(shown):
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(chart.x_label)
    axes.set_ylabel(chart.y_label)
    axes.legend(frameon=False)
