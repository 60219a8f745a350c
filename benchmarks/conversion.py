"""CPU of converting previews: from the bytes of one array to objects, and from each object to the bytes of a body."""

import asyncio
import functools
from collections.abc import Sequence

import orjson

from benchmarks import rounds
from benchmarks.libraries import Library, all_libraries
from benchmarks.tables import Settings, Table, compared

_SIZES = {1_000: 60, 100_000: 5}
"""Previews to rounds."""
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
        for each in objects[:count]:
            library.dump(each)

    return dump


def check(libraries: Sequence[Library]) -> None:
    """Refuse a library that does not write what it has read as it was."""
    expected = orjson.loads(_body(2))
    for library in libraries:
        (_, one) = library.load(_body(2))
        read = orjson.loads(library.dump(one))
        for key in ("startTime", "endTime"):
            read[key] = read[key].replace("+00:00", "Z")
        assert read == expected[1], library.name


def measure(settings: Settings) -> list[Table]:
    """Return a table for each number of previews and each way."""
    libraries = all_libraries()
    check(libraries)
    strict = {library.name: library.strict for library in libraries}
    tables = []
    for usual, usual_rounds in _SIZES.items():
        count = settings.size(usual)
        for way in ("decoding", "encoding"):
            measured = asyncio.run(
                rounds.measure(
                    {each.name: _loading(each) if way == "decoding" else _dumping(each, count) for each in libraries},
                    floor=_FLOOR,
                    rounds=settings.rounds_or(usual_rounds),
                    calls=count,
                )
            )
            tables.append(
                compared(
                    measured,
                    name=f"conversion.{way}_{usual}",
                    title=f"{way} {count:,} previews",
                    each="preview",
                    ours=(libraries[0].name,),
                    more={"refuses and keeps": lambda who: strict.get(who, "")},
                )
            )
    return tables
