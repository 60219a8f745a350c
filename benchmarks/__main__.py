"""Measure, print a table for each measurement, and write all figures and a picture on request."""

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import attrs

from benchmarks.picture import draw
from benchmarks.tables import Settings, Table

MODULES: Final = (
    "limit", "single_call", "clients", "parts", "middleware", "conversion", "calendar_file", "bulk", "pages",
    "shared_limit", "sync", "workers", "growth", "startup",
)  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=MODULES, default=MODULES, metavar="MODULE", help=", ".join(MODULES)
    )
    parser.add_argument("--rounds", type=_positive, help="rounds of each measurement; each module has its default")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of all sizes, such as 0.1 for a quick look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables and the figures of every round")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the tables")
    return parser


def _positive(argument: str) -> int:
    number = int(argument)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def _measure(names: Sequence[str], settings: Settings) -> list[Table]:
    tables: list[Table] = []
    for name in names:
        for table in importlib.import_module(f"benchmarks.{name}").measure(settings):
            print(table, flush=True)
            tables.append(table)
    return tables


def _machine() -> dict[str, str]:
    """Return the kind of machine that the figures are from, without its name or its user's."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "aiohttp": f"aiohttp {version('aiohttp')}",
        "system": f"{platform.system()} on {platform.machine()}",
        "cores": f"{os.cpu_count()} cores",
    }


def _as_json(tables: Sequence[Table], settings: Settings, machine: dict[str, str]) -> str:
    results: dict[str, Any] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": machine,
        "settings": attrs.asdict(settings),
        "tables": [attrs.asdict(table) for table in tables],
    }
    return json.dumps(results, indent=1, ensure_ascii=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the arguments name, print the tables, and write the requested files."""
    options = _parser().parse_args(arguments)
    settings = Settings(rounds=options.rounds, scale=options.scale)
    machine = _machine()
    print(", ".join(machine.values()), end="\n\n")
    try:
        tables = _measure([name for name in MODULES if name in options.only], settings)
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}: pip install --editable '.[cli]' --group bench") from None
    if options.json:
        options.json.write_text(_as_json(tables, settings, machine) + "\n", encoding="utf-8")
    if options.plot:
        draw(tables, options.plot)
    for table in tables:
        for warning in table.warnings:
            print(f"{table.name}: {warning}", file=sys.stderr)


if __name__ == "__main__":
    main()
