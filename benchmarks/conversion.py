"""CPU of converting previews: the bytes of one array to objects, and each object to the bytes of a body."""

import asyncio
from collections.abc import Mapping, Sequence

import orjson

from benchmarks import rounds
from benchmarks.libraries import Library, all_libraries
from benchmarks.previews import body_of
from benchmarks.tables import Settings, Table, compare

_SIZES = {1_000: 60, 100_000: 5}
"""Number of previews to number of rounds."""
_PAGES, _PAGE = 20, 1_000
"""What is decoded and held: so many pages of so many previews, as a walk through a long preview returns them."""
_ROUNDS_OF_PAGES = 20
_FLOOR = "pydantic"


def _loading(library: Library) -> rounds.Contestant:
    async def load(count: int) -> None:
        library.load(body_of(count))

    return load


def _loading_pages(library: Library, page: int) -> rounds.Contestant:
    async def load(count: int) -> None:
        held = [library.load(body_of(page)) for _ in range(count // page)]
        del held

    return load


def _dumping(library: Library, count: int) -> rounds.Contestant:
    objects = library.load(body_of(count))

    async def dump(count: int) -> None:
        for one in objects[:count]:
            library.dump(one)

    return dump


def check(libraries: Sequence[Library]) -> None:
    """Fail for a library that does not write what it has read."""
    expected = orjson.loads(body_of(2))
    for library in libraries:
        (_, one) = library.load(body_of(2))
        read = orjson.loads(library.dump(one))
        for key in ("startTime", "endTime"):
            read[key] = read[key].replace("+00:00", "Z")
        assert read == expected[1], library.name


def measure(settings: Settings) -> list[Table]:
    """Return a table for each direction and number of previews."""
    libraries = all_libraries()
    check(libraries)
    strictness = {library.name: library.strictness for library in libraries}

    def table(name: str, title: str, contestants: Mapping[str, rounds.Contestant], count: int, runs: int) -> Table:
        measurement = asyncio.run(
            rounds.measure(contestants, floor=_FLOOR, rounds=settings.rounds_or(runs), calls=count)
        )
        return compare(
            measurement,
            name=f"conversion.{name}",
            title=title,
            unit="preview",
            ours=(libraries[0].name,),
            extra_columns={"strictness": lambda name: strictness.get(name, "")},
        )

    tables = []
    for size, runs in _SIZES.items():
        count = settings.size(size)
        loading = {library.name: _loading(library) for library in libraries}
        dumping = {library.name: _dumping(library, count) for library in libraries}
        tables += [
            table(f"decoding_{size}", f"decoding {count:,} previews", loading, count, runs),
            table(f"encoding_{size}", f"encoding {count:,} previews", dumping, count, runs),
        ]
    page = settings.size(_PAGE)
    pages = {library.name: _loading_pages(library, page) for library in libraries}
    title = f"decoding {_PAGES} pages of {page:,} previews and holding them"
    return [*tables, table("decoding_held", title, pages, _PAGES * page, _ROUNDS_OF_PAGES)]
