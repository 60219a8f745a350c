"""Interleaved rounds: every contestant once in turn, so that a machine that drifts drifts for all of them.

Whoever stands first in one round stands last in the next. The floor runs twice in each round: what its two runs differ
by is the machine's own noise.
"""

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

import attrs

FLOOR_AGAIN: Final = "the floor again"
NOISE_LIMITS: Final = (0.97, 1.03)
"""Where the quartiles of the floor over itself have to lie."""


@attrs.frozen
class Quartiles:
    """A median, and what half of all rounds lie between."""

    lower: float
    middle: float
    upper: float

    def __str__(self) -> str:
        return f"{self.middle:.3f} ({self.lower:.3f} to {self.upper:.3f})"


def quartiles(values: Iterable[float]) -> Quartiles:
    """Return the quartiles of some values, of which one alone is all three."""
    given = list(values)
    return Quartiles(*(statistics.quantiles(given, n=4, method="inclusive") if len(given) > 1 else given * 3))


@attrs.frozen
class Figures:
    """What one contestant took in each round."""

    calls: int
    """In each round."""
    cpu: Sequence[float]
    """Seconds of CPU of the whole process, its threads included."""
    wall: Sequence[float]
    """Seconds."""

    def cpu_per_call(self) -> float:
        """Return the median in microseconds."""
        return statistics.median(self.cpu) / self.calls * 1e6

    def wall_per_call(self) -> float:
        """Return the median in microseconds."""
        return statistics.median(self.wall) / self.calls * 1e6

    def cpu_over(self, other: "Figures") -> Quartiles:
        """Return this one's CPU over the other's, round by round."""
        return _ratio(self.cpu, other.cpu)

    def wall_over(self, other: "Figures") -> Quartiles:
        """Return this one's wall time over the other's, round by round."""
        return _ratio(self.wall, other.wall)


@attrs.frozen
class Measured:
    """All contestants' figures, the floor's second ones included."""

    figures: Mapping[str, Figures]
    floor: str

    def noise(self) -> Quartiles:
        """Return the CPU of the floor over its own."""
        return self.figures[FLOOR_AGAIN].cpu_over(self.figures[self.floor])

    def warnings(self) -> tuple[str, ...]:
        """Return what is to be said when the machine was too noisy to compare by."""
        noise = self.noise()
        lowest, highest = NOISE_LIMITS
        if lowest <= noise.lower and noise.upper <= highest:
            return ()
        return (
            f"NOISY: the floor took {noise} × the CPU of itself; the quartiles should lie in {lowest} to {highest}",
        )


Contestant = Callable[[int], Awaitable[object]]
"""Makes so many calls."""


async def measure(contestants: Mapping[str, Contestant], *, floor: str, rounds: int, calls: int) -> Measured:
    """Let each contestant make `calls` calls in every round.

    A tenth as many go before without being measured: while the others had their turns, idle connections were closed, by
    some clients after 4 s, and the caches of the processor were filled with other things.
    """
    takers = list({**contestants, FLOOR_AGAIN: contestants[floor]}.items())
    cpu: dict[str, list[float]] = {name: [] for name, _ in takers}
    wall: dict[str, list[float]] = {name: [] for name, _ in takers}
    for _, contestant in takers:
        await contestant(calls)
    gc.collect()
    gc.freeze()  # what was imported is not to be collected anew in the rounds of those who make garbage
    try:
        for round_ in range(rounds):
            first = round_ % len(takers)
            for name, contestant in takers[first:] + takers[:first]:
                await contestant(-(-calls // 10))
                gc.collect()
                wall_began, cpu_began = time.perf_counter(), time.process_time()
                await contestant(calls)
                cpu[name].append(time.process_time() - cpu_began)
                wall[name].append(time.perf_counter() - wall_began)
    finally:
        gc.unfreeze()
    return Measured({name: Figures(calls, cpu[name], wall[name]) for name, _ in takers}, floor)


def _ratio(mine: Sequence[float], theirs: Sequence[float]) -> Quartiles:
    return quartiles(one / other for one, other in zip(mine, theirs, strict=True))
