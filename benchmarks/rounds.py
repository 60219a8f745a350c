"""Interleaved rounds: each round runs every contestant once, so that a drift of the machine affects all of them.

The contestant that runs first in one round runs last in the next. The floor, with which the others are compared, runs
twice in each round: the difference of its two runs is the noise of the machine.
"""

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

import attrs

FLOOR_AGAIN: Final = "the floor again"
NOISE_LIMITS: Final = (0.97, 1.03)
"""Limits for the quartiles of the floor's ratio to itself."""

Contestant = Callable[[int], Awaitable[object]]
"""Makes the given number of calls."""


@attrs.frozen
class Quartiles:
    """A median, and the range of half of all rounds."""

    lower: float
    middle: float
    upper: float

    def __str__(self) -> str:
        return f"{self.middle:.3f} ({self.lower:.3f} to {self.upper:.3f})"


def quartiles(values: Iterable[float]) -> Quartiles:
    """Return the quartiles of the values; a single value is all three."""
    numbers = list(values)
    return Quartiles(*(statistics.quantiles(numbers, n=4, method="inclusive") if len(numbers) > 1 else numbers * 3))


@attrs.frozen
class Figures:
    """The times of one contestant, a number for each round."""

    calls: int
    """Calls in each round."""
    cpu: Sequence[float]
    """Seconds of CPU of the whole process, including its threads."""
    wall: Sequence[float]
    """Seconds."""

    def cpu_per_call(self) -> float:
        """Return the median in microseconds."""
        return statistics.median(self.cpu) / self.calls * 1e6

    def wall_per_call(self) -> float:
        """Return the median in microseconds."""
        return statistics.median(self.wall) / self.calls * 1e6

    def cpu_ratio(self, other: "Figures") -> Quartiles:
        """Return the ratio to the CPU time of another contestant, round by round."""
        return _ratio(self.cpu, other.cpu)

    def wall_ratio(self, other: "Figures") -> Quartiles:
        """Return the ratio to the wall time of another contestant, round by round."""
        return _ratio(self.wall, other.wall)


@attrs.frozen
class Measurement:
    """The figures of all contestants, including those of the floor's second run."""

    figures: Mapping[str, Figures]
    floor: str

    def noise(self) -> Quartiles:
        """Return the ratio of the floor's CPU time to itself."""
        return self.figures[FLOOR_AGAIN].cpu_ratio(self.figures[self.floor])

    def warnings(self) -> tuple[str, ...]:
        """Return a warning if the machine was too noisy for small differences."""
        noise = self.noise()
        lowest, highest = NOISE_LIMITS
        if lowest <= noise.lower and noise.upper <= highest:
            return ()
        return (
            f"NOISY: the floor took {noise} × the CPU of itself; the quartiles should lie in {lowest} to {highest}",
        )


async def measure(contestants: Mapping[str, Contestant], *, floor: str, rounds: int, calls: int) -> Measurement:
    """Return the times of `calls` calls of each contestant in every round.

    A tenth of the calls is made before, without being measured: during the turns of the others, idle connections were
    closed (by some clients after 4 s), and the caches of the processor were filled with other things.
    """
    turns = list({**contestants, FLOOR_AGAIN: contestants[floor]}.items())
    cpu: dict[str, list[float]] = {name: [] for name, _ in turns}
    wall: dict[str, list[float]] = {name: [] for name, _ in turns}
    for _, contestant in turns:
        await contestant(calls)
    gc.collect()
    gc.freeze()  # contestants that make garbage would pay for traversing all imported modules
    try:
        for round_ in range(rounds):
            first = round_ % len(turns)
            for name, contestant in turns[first:] + turns[:first]:
                await contestant(-(-calls // 10))
                gc.collect()
                wall_start, cpu_start = time.perf_counter(), time.process_time()
                await contestant(calls)
                cpu[name].append(time.process_time() - cpu_start)
                wall[name].append(time.perf_counter() - wall_start)
    finally:
        gc.unfreeze()
    return Measurement({name: Figures(calls, cpu[name], wall[name]) for name, _ in turns}, floor)


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> Quartiles:
    return quartiles(one / other for one, other in zip(ours, theirs, strict=True))
