"""A table as data: what is printed, the raw figures behind it, and what a picture shows of it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import attrs

from benchmarks.rounds import FLOOR_AGAIN, Figures, Measured, Quartiles


@attrs.frozen(kw_only=True)
class Settings:
    """How much is measured."""

    rounds: int | None = None
    """`None`: each module's own number."""
    scale: float = 1.0
    """What the sizes are multiplied by; below 1 for a quick look."""

    def rounds_or(self, usual: int) -> int:
        """Return how many rounds to make where `usual` are made."""
        return usual if self.rounds is None else self.rounds

    def size(self, usual: int) -> int:
        """Return how many to take where `usual` are taken."""
        return max(1, round(usual * self.scale))


@attrs.frozen(kw_only=True)
class Bars:
    """A bar with its quartiles for each name."""

    title: str
    label: str
    values: Mapping[str, Quartiles]
    ours: Collection[str]
    """Which of them are this package's."""


@attrs.frozen(kw_only=True)
class Lines:
    """A line of points for each name."""

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    ours: Collection[str]
    """Which of them are this package's."""


@attrs.frozen(kw_only=True)
class Table:
    """What one measurement found."""

    name: str
    """The module, and which of its tables."""
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    """The first cell of each says whose it is."""
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


def compared(
    measured: Measured,
    *,
    name: str,
    title: str,
    each: str,
    ours: Collection[str] | None = None,
    more: Mapping[str, Callable[[str], str]] | None = None,
    notes: Sequence[str] = (),
) -> Table:
    """Return the table of contestants beside their floor.

    Args:
        measured: Their figures.
        name: The module, and which of its tables.
        title: What was measured.
        each: What the figures are for: `call`, `item`.
        ours: Which are this package's, in a chart; `None`: there is no chart.
        more: Further columns: what each says of a contestant.
        notes: What is to be said below.
    """
    floor = measured.figures[measured.floor]
    extra = {} if more is None else more
    over = {who: figures.cpu_over(floor) for who, figures in measured.figures.items()}
    rows = [
        [*_costs(who, each, floor), *(say(who) for say in extra.values())] for who, each in measured.figures.items()
    ]
    return Table(
        name=name,
        title=f"{title}: {len(floor.cpu)} rounds of {floor.calls:,} {each}s",
        columns=[
            "",
            f"µs CPU / {each}",
            f"× {measured.floor} (quartiles)",
            f"µs wall / {each}",
            "× wall (quartiles)",
            *extra,
        ],
        rows=rows,
        notes=notes,
        warnings=measured.warnings(),
        figures={who: attrs.asdict(figures) for who, figures in measured.figures.items()},
        chart=None if ours is None else _bars(title, measured.floor, over, ours),
    )


def _costs(who: str, figures: Figures, floor: Figures) -> list[str]:
    return [
        who,
        f"{figures.cpu_per_call():.2f}",
        str(figures.cpu_over(floor)),
        f"{figures.wall_per_call():.2f}",
        str(figures.wall_over(floor)),
    ]


def _bars(title: str, floor: str, over: Mapping[str, Quartiles], ours: Collection[str]) -> Bars:
    values = {who: each for who, each in over.items() if who != FLOOR_AGAIN}
    return Bars(title=title, label=f"× CPU of {floor}", values=values, ours=ours)
