"""Import time and memory of each client and of `connector-async --help`, in fresh interpreters that take turns.

The root of `connector_async` loads its names on first use (PEP 562), so `import connector_async` alone would show next
to nothing. The names that a program needs are imported instead. The interpreters run without `site`, because a package
in the environment may have a hook there, and all of them would pay for it.
"""

import os
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from benchmarks import rounds
from benchmarks.processes import run_python
from benchmarks.tables import Bars, Settings, Table

_ROUNDS = 8
_FLOOR = "aiohttp"
_OURS = "connector_async"
_IMPORTS: Final = {
    _FLOOR: "import aiohttp",
    "aiohttp, tenacity, orjson": "import aiohttp, tenacity, orjson",
    _OURS: "from connector_async import AppointmentService, ClientCredentials, ConnectorSession",
    "gcal_sync auth layer": "from gcal_sync.auth import AbstractAuth",
    "gcal_sync": "from gcal_sync.api import GoogleCalendarService",
    "slack_sdk": "from slack_sdk.web.async_client import AsyncWebClient",
    "azure-core": (
        "from azure.core import AsyncPipelineClient\n"
        "from azure.core.pipeline.policies import AsyncRetryPolicy, AsyncBearerTokenCredentialPolicy\n"
        "from azure.core.pipeline.transport import AioHttpTransport"
    ),
    "openai": "from openai import AsyncOpenAI",
    "httpx, stamina": "import httpx, stamina",
    "niquests": "from niquests import AsyncSession",
}
_COMMAND: Final = "connector-async --help"
_ALL: Final = {
    **_IMPORTS,
    _COMMAND: (
        "import contextlib, io, sys\n"
        "sys.argv = ['connector-async', '--help']\n"
        "from connector_async.cli.main import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        "    main()"
    ),
}
_TIMED: Final = """
import re, time
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1000
before, cpu, wall = resident(), time.process_time(), time.perf_counter()
{}
print(time.process_time() - cpu, time.perf_counter() - wall, resident() - before)
"""


def _environment() -> dict[str, str]:
    paths = [str(Path(__file__).parent.parent), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    # Byte code must be written: each interpreter would compile this package, while pip has compiled the others.
    return {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": ""}


def _row(name: str, results: list[list[float]], floor: list[list[float]]) -> list[str]:
    cpu, wall, megabytes = (rounds.quartiles(values) for values in zip(*results, strict=True))
    over = rounds.quartiles((result[0] - base[0]) * 1e3 for result, base in zip(results, floor, strict=True))
    return [
        name,
        f"{cpu.middle * 1e3:.0f}",
        f"{over.middle:.0f} ({over.lower:.0f} to {over.upper:.0f})",
        f"{wall.middle * 1e3:.0f}",
        f"{megabytes.middle:.1f}",
    ]


def measure(settings: Settings) -> list[Table]:
    """Return the table of the imports and of the command."""
    results: Mapping[str, list[list[float]]] = {name: [] for name in _ALL}
    for statements in _ALL.values():
        run_python(["-S", "-c", _TIMED.format(statements)], _environment())  # writes the byte code
    for _ in range(settings.rounds_or(_ROUNDS)):
        for name, statements in _ALL.items():
            results[name].append(run_python(["-S", "-c", _TIMED.format(statements)], _environment()))
    milliseconds = {name: rounds.quartiles(result[0] * 1e3 for result in results[name]) for name in _ALL}
    table = Table(
        name="startup.imports",
        title=f"Start-up: {len(results[_FLOOR])} fresh interpreters each",
        columns=["", "ms CPU", "over aiohttp (quartiles)", "ms wall", "MB more"],
        rows=[_row(name, results[name], results[_FLOOR]) for name in _ALL],
        notes=[f"{_OURS} means `{_IMPORTS[_OURS]}`."],
        figures=results,
        chart=Bars(title="Start-up", label="ms of CPU", values=milliseconds, ours=(_OURS, _COMMAND)),
    )
    return [table]
