"""Interleaved rounds: every contestant once in turn, so that a machine that drifts drifts for all of them."""

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import attrs


@attrs.frozen
class Figures:
    """CPU seconds of each round."""

    seconds: Sequence[float]
    calls: int

    def per_call(self) -> float:
        """Return the median in microseconds for one call."""
        return statistics.median(self.seconds) / self.calls * 1e6

    def ratio(self, other: "Figures") -> tuple[float, float, float]:
        """Return the quartiles of this one's cost over the other's, round by round."""
        lower, middle, upper = statistics.quantiles(
            (mine / theirs for mine, theirs in zip(self.seconds, other.seconds, strict=True)), n=4
        )
        return lower, middle, upper


async def measure(
    contestants: Mapping[str, Callable[[], Awaitable[object]]], *, rounds: int, calls: int
) -> dict[str, Figures]:
    """Await each contestant, which makes `calls` calls, in every round; the first round only warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(rounds + 1):
        for name, contestant in contestants.items():
            gc.collect()
            started_at = time.process_time()
            await contestant()
            if round_:
                seconds[name].append(time.process_time() - started_at)
    return {name: Figures(values, calls) for name, values in seconds.items()}


def show(title: str, figures: Mapping[str, Figures], *, floor: str) -> None:
    """Print a table: microseconds of CPU for a call, and the quartiles of the ratio to the floor."""
    rounds = len(figures[floor].seconds)
    print(f"{title}: CPU, {rounds} interleaved rounds of {figures[floor].calls} calls")
    print(f"{'':32}{'µs a call':>12}{'× ' + floor + ' (quartiles)':>44}")
    for name, figure in figures.items():
        lower, middle, upper = figure.ratio(figures[floor])
        print(f"{name:32}{figure.per_call():12.2f}{f'{middle:.3f}  ({lower:.3f} to {upper:.3f})':>44}")
