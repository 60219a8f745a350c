"""The commands that need no server but their own: the demonstration and the sandbox."""

import sys
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from .demo import run_demo
from .sandbox import BehaviorOptions, FaultOptions, ListenOptions, serve

_PLACE, _ANSWERS, _TROUBLE = ListenOptions(), BehaviorOptions(), FaultOptions()


async def demo(
    *,
    appointments: Annotated[int, Parameter(validator=Number(gte=30, lte=100_000))] = 300,
    concurrency: Annotated[int, Parameter(validator=Number(gte=1, lte=1_000))] = 4,
) -> None:
    """Sync a file of three tenants with a local server of the API: through a crash, and in both directions.

    It prints the report of each run, and compares the server with the file. It exits with 1 when they differ.

    Parameters
    ----------
    appointments
        How many the file has at first, over all tenants.
    concurrency
        How many operations of a tenant are under way at a time.
    """
    if not await run_demo(Console(), appointments=appointments, concurrency=concurrency):
        sys.exit(1)


async def sandbox(
    place: ListenOptions = _PLACE, answers: BehaviorOptions = _ANSWERS, trouble: FaultOptions = _TROUBLE
) -> None:
    """Serve a local server of the API until it is interrupted; its base URL is printed once it listens.

    Every tenant id exists. The client id is "sandbox", its secret "sandbox-secret".
    """
    if bool(place.seed) != bool(place.tenant):
        sys.exit("connector-async sandbox: --seed and --tenant go together")
    await serve(place, answers, trouble)
