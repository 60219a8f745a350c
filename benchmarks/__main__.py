"""`python -m benchmarks`: measures, prints a table for each measurement, and writes all figures and a picture."""

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import attrs

from benchmarks.machine import machine
from benchmarks.picture import draw
from benchmarks.tables import Settings, Table

MODULES: Final = ("limit", "single_call", "parts", "conversion", "bulk", "pages", "sync", "growth", "startup")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", nargs="+", choices=MODULES, default=MODULES, metavar="MODULE", help=", ".join(MODULES)
    )
    parser.add_argument("--rounds", type=_above_zero, help="of each measurement; each module has its own number")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the sizes: 0.1 for a quick look")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the tables and the figures of every round")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the tables")
    return parser


def _above_zero(text: str) -> int:
    number = int(text)
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


def _as_json(tables: Sequence[Table], settings: Settings, facts: dict[str, str]) -> str:
    found: dict[str, Any] = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": facts,
        "settings": attrs.asdict(settings),
        "tables": [attrs.asdict(table) for table in tables],
    }
    return json.dumps(found, indent=1, ensure_ascii=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write what was asked for."""
    given = _parser().parse_args(arguments)
    settings = Settings(rounds=given.rounds, scale=given.scale)
    facts = machine()
    print(", ".join(facts.values()), end="\n\n")
    try:
        tables = _measure([name for name in MODULES if name in given.only], settings)
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}: pip install --editable '.[cli]' --group bench") from None
    if given.json:
        given.json.write_text(_as_json(tables, settings, facts) + "\n", encoding="utf-8")
    if given.plot:
        draw(tables, given.plot)
    for table in tables:
        for warning in table.warnings:
            print(f"{table.name}: {warning}", file=sys.stderr)


if __name__ == "__main__":
    main()
