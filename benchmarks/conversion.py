"""CPU of converting previews: the bytes of one array to objects, and each object to the bytes of a body."""

import asyncio
import functools
from collections.abc import Sequence

import orjson

from benchmarks import rounds
from benchmarks.libraries import Library, all_libraries
from benchmarks.tables import Settings, Table, compare

_SIZES = {1_000: 60, 100_000: 5}
"""Number of previews to number of rounds."""
_FLOOR = "pydantic"


@functools.cache
def _body(count: int) -> bytes:
    return orjson.dumps(
        [
            {
                "appointmentId": f"7c01f588-{number}",
                "title": f"Meeting {number}",
                "startTime": f"2024-01-{number % 28 + 1:02}T{number % 24:02}:{number % 60:02}:00Z",
                "endTime": f"2024-02-{number % 28 + 1:02}T{number % 24:02}:{number % 60:02}:00Z",
                "description": f"Quarterly review {number}",
            }
            for number in range(count)
        ]
    )


def _loading(library: Library) -> rounds.Contestant:
    async def load(count: int) -> None:
        library.load(_body(count))

    return load


def _dumping(library: Library, count: int) -> rounds.Contestant:
    objects = library.load(_body(count))

    async def dump(count: int) -> None:
        for one in objects[:count]:
            library.dump(one)

    return dump


def check(libraries: Sequence[Library]) -> None:
    """Fail for a library that does not write what it has read."""
    expected = orjson.loads(_body(2))
    for library in libraries:
        (_, one) = library.load(_body(2))
        read = orjson.loads(library.dump(one))
        for key in ("startTime", "endTime"):
            read[key] = read[key].replace("+00:00", "Z")
        assert read == expected[1], library.name


def measure(settings: Settings) -> list[Table]:
    """Return a table for each direction and number of previews."""
    libraries = all_libraries()
    check(libraries)
    strictness = {library.name: library.strictness for library in libraries}
    tables = []
    for size, default_rounds in _SIZES.items():
        count = settings.size(size)
        for direction in ("decoding", "encoding"):
            contestants = {
                library.name: _loading(library) if direction == "decoding" else _dumping(library, count)
                for library in libraries
            }
            measurement = asyncio.run(
                rounds.measure(contestants, floor=_FLOOR, rounds=settings.rounds_or(default_rounds), calls=count)
            )
            tables.append(
                compare(
                    measurement,
                    name=f"conversion.{direction}_{size}",
                    title=f"{direction} {count:,} previews",
                    unit="preview",
                    ours=(libraries[0].name,),
                    extra_columns={"strictness": lambda name: strictness.get(name, "")},
                )
            )
    return tables
