"""Tables as data: the printed cells, the figures behind them, and a chart."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import attrs

from benchmarks.rounds import FLOOR_AGAIN, Figures, Measurement, Quartiles


@attrs.frozen(kw_only=True)
class Settings:
    """How much is measured."""

    rounds: int | None = None
    """`None`: the default of each module."""
    scale: float = 1.0
    """The factor of all sizes; below 1 for a quick look."""

    def rounds_or(self, default: int) -> int:
        """Return the number of rounds."""
        return default if self.rounds is None else self.rounds

    def size(self, default: int) -> int:
        """Return the scaled size, at least 1."""
        return max(1, round(default * self.scale))


@attrs.frozen(kw_only=True)
class Bars:
    """A bar with its quartiles for each name."""

    title: str
    label: str
    values: Mapping[str, Quartiles]
    ours: Collection[str]
    """The names of this package."""


@attrs.frozen(kw_only=True)
class Band:
    """The range that the values of a chart are to be in."""

    label: str
    lower: float
    upper: float


@attrs.frozen(kw_only=True)
class Lines:
    """A line of points for each name."""

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    ours: Collection[str]
    """The names of this package."""
    band: Band | None = None


@attrs.frozen(kw_only=True)
class Table:
    """The result of one measurement."""

    name: str
    """The module and the name of the table in it, such as `bulk.get`."""
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    """The first cell of each row is its name."""
    notes: Sequence[str] = ()
    warnings: Sequence[str] = ()
    figures: Mapping[str, Any] = attrs.field(factory=dict)
    """What was measured in each round."""
    chart: Bars | Lines | None = None

    def __str__(self) -> str:
        rows = [self.columns, ["---"] * len(self.columns), *self.rows]
        widths = [max(len(row[column]) for row in rows) for column in range(len(self.columns))]
        lines = [
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
        ]
        return "\n".join(
            [f"### {self.title}", "", *lines, *(f"\n{line}" for line in (*self.notes, *self.warnings)), ""]
        )


def by_size(
    measurements: Mapping[int, Measurement],
    *,
    unit: str,
    ours: str,
    name: str,
    title: str,
    notes: Sequence[str] = (),
    chart: Lines | None = None,
) -> Table:
    """Return the table of one contestant beside the floor, with a row for each size.

    Args:
        measurements: By the size.
        unit: What the size counts, such as `tasks`.
        ours: The contestant.
        name: The module and the name of the table.
        title: What was measured.
        notes: Lines below the table.
        chart: The chart.
    """
    rows, warnings, all_figures = [], [], {}
    for size, measurement in measurements.items():
        figures, floor = measurement.figures, measurement.figures[measurement.floor]
        costs = (f"{each.cpu_per_call():.1f}" for each in (floor, figures[ours]))
        ratio, noise = str(figures[ours].cpu_ratio(floor)), str(measurement.noise())
        rows.append([f"{size:,}", str(len(floor.cpu)), *costs, ratio, noise])
        warnings += [f"{size:,} {unit}: {warning}" for warning in measurement.warnings()]
        all_figures[str(size)] = {contestant: each.cpu for contestant, each in figures.items()}
    return Table(
        name=name,
        title=title,
        columns=[unit, "rounds", measurement.floor, ours, "× (quartiles)", "the floor over itself"],
        rows=rows,
        notes=notes,
        warnings=warnings,
        figures=all_figures,
        chart=chart,
    )


def compare(
    measurement: Measurement,
    *,
    name: str,
    title: str,
    unit: str,
    ours: Collection[str] | None = None,
    extra_columns: Mapping[str, Callable[[str], str]] | None = None,
    notes: Sequence[str] = (),
) -> Table:
    """Return the table of contestants beside their floor.

    Args:
        measurement: Their figures.
        name: The module and the name of the table.
        title: What was measured.
        unit: What the figures are for, such as `call` or `item`.
        ours: The contestants of this package, in the chart. `None`: there is no chart.
        extra_columns: The title of a column to the function that returns its cell for a contestant.
        notes: Lines below the table.
    """
    floor = measurement.figures[measurement.floor]
    extra = {} if extra_columns is None else extra_columns
    rows = [
        [*_times(contestant, figures, floor), *(cell(contestant) for cell in extra.values())]
        for contestant, figures in measurement.figures.items()
    ]
    return Table(
        name=name,
        title=f"{title}: {len(floor.cpu)} rounds of {floor.calls:,} {unit}s",
        columns=[
            "",
            f"µs CPU / {unit}",
            f"× {measurement.floor} (quartiles)",
            f"µs wall / {unit}",
            "× wall (quartiles)",
            *extra,
        ],
        rows=rows,
        notes=notes,
        warnings=measurement.warnings(),
        figures={contestant: attrs.asdict(figures) for contestant, figures in measurement.figures.items()},
        chart=None if ours is None else _bars(title, measurement, ours),
    )


def _times(contestant: str, figures: Figures, floor: Figures) -> list[str]:
    return [
        contestant,
        f"{figures.cpu_per_call():.2f}",
        str(figures.cpu_ratio(floor)),
        f"{figures.wall_per_call():.2f}",
        str(figures.wall_ratio(floor)),
    ]


def _bars(title: str, measurement: Measurement, ours: Collection[str]) -> Bars:
    floor = measurement.figures[measurement.floor]
    ratios = {name: figures.cpu_ratio(floor) for name, figures in measurement.figures.items() if name != FLOOR_AGAIN}
    return Bars(title=title, label=f"× CPU of {measurement.floor}", values=ratios, ours=ours)
