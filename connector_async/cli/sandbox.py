"""The command `sandbox`: serves a local server of the API until a signal stops it."""

import asyncio
import signal
import sqlite3
import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from attrs import frozen
from cyclopts import Group, Parameter
from cyclopts.validators import Number

from connector_async.sandbox import (
    FAULT_NAMES,
    BodyFormat,
    Fault,
    FaultRates,
    LimitWindow,
    PreviewPaging,
    PutSemantics,
    Sandbox,
    SandboxLimit,
    TokenResponse,
    UnknownId,
    WriteResponse,
    fault_named,
    synthetic_seeds,
)


def _parse_limit(value: str) -> tuple[int, float]:
    requests, _, per = value.partition("/")
    try:
        limit = SandboxLimit(requests=int(requests), per=float(per))
    except ValueError as error:
        raise ValueError("It must be REQUESTS/SECONDS, such as 60/60, both greater than 0.") from error
    return limit.requests, limit.per


def _check_limit(_: object, value: str | None) -> None:
    if value is not None:
        _parse_limit(value)


def _parse_fault(value: str) -> tuple[Fault, float]:
    name, _, rate = value.partition("=")
    try:
        return fault_named(name), float(rate)
    except ValueError as error:
        raise ValueError(f"It must be NAME=RATE with a rate from 0 to 1; {FAULT_NAMES}.") from error


def _check_faults(_: object, values: tuple[str, ...]) -> None:
    rates = dict(map(_parse_fault, values))
    if len(rates) < len(values):
        raise ValueError("Each fault must be named at most once.")
    FaultRates(rates)


_AtLeastOne: Final = Number(gte=1)


@Parameter(name="*", group=Group("Address and data", sort_key=1))
@frozen(kw_only=True)
class ListenOptions:
    """Where the sandbox listens and keeps its data."""

    host: Annotated[str, Parameter(help="The address to listen on.")] = "127.0.0.1"
    port: Annotated[
        int, Parameter(validator=Number(gte=0, lte=65_535), help="The port to listen on; 0 selects a free one.")
    ] = 8080
    database: Annotated[
        Path | None, Parameter(help="A SQLite file for the data; without it, the data is lost at the end.")
    ] = None
    tenant: Annotated[
        tuple[str, ...],
        Parameter(negative="", show_default=False, help="A tenant to create appointments for; may be repeated."),
    ] = ()
    seed: Annotated[
        int, Parameter(validator=Number(gte=0, lte=100_000), help="How many appointments to create for each --tenant.")
    ] = 0


@Parameter(name="*", group=Group("Behavior", sort_key=2))
@frozen(kw_only=True)
class BehaviorOptions:
    """What the API's documents leave open."""

    token_lifetime: Annotated[int, Parameter(validator=_AtLeastOne, help="Seconds until a token expires.")] = 3600
    token_response: Annotated[TokenResponse, Parameter(help="Which documented token response to send.")] = (
        TokenResponse.ACCESS_TOKEN
    )
    format: Annotated[BodyFormat, Parameter(help="Which document of the API to follow.")] = BodyFormat.GUIDE
    put: Annotated[
        PutSemantics, Parameter(help="What an update does with omitted fields: keep (merge) or reset them (replace).")
    ] = PutSemantics.MERGE
    write_response: Annotated[
        WriteResponse | None,
        Parameter(
            help="The response to every write; without it, a create returns the id, an update the appointment, and a "
            "delete a confirmation."
        ),
    ] = None
    unknown_id: Annotated[UnknownId, Parameter(help="The response to a get of an unknown id.")] = UnknownId.NOT_FOUND
    integer_ids: Annotated[bool, Parameter(negative="", help="Use integers as ids.")] = False
    naive_times: Annotated[
        bool, Parameter(negative="", help="Send times in their time zone, without a UTC offset; only for reference.")
    ] = False
    paging: Annotated[PreviewPaging, Parameter(help="The paging style of previews.")] = PreviewPaging.ARRAY
    page_size: Annotated[
        int,
        Parameter(validator=Number(gte=1, lte=100_000), help="The most appointments on a page, except with array."),
    ] = 100


@Parameter(name="*", group=Group("Limit and faults", sort_key=3))
@frozen(kw_only=True)
class FaultOptions:
    """What goes wrong on purpose."""

    limit: Annotated[
        str | None,
        Parameter(
            validator=_check_limit,
            help="The rate limit of each tenant, REQUESTS/SECONDS, such as 60/60; without it, there is none.",
        ),
    ] = None
    limit_window: Annotated[LimitWindow, Parameter(help="How the rate limit counts requests.")] = LimitWindow.FIXED
    limit_status: Annotated[Literal[429, 503], Parameter(help="The status of requests over the rate limit.")] = 429
    retry_after: Annotated[bool, Parameter(help="Send Retry-After with requests over the rate limit.")] = True
    fault: Annotated[
        tuple[str, ...],
        Parameter(
            validator=_check_faults,
            negative="",
            show_default=False,
            help=f"NAME=RATE, such as drop-after=0.01: a fault and its share of requests; may be repeated; "
            f"{FAULT_NAMES}.",
        ),
    ] = ()
    fault_seed: Annotated[
        int, Parameter(help="The seed of the random faults: with the same one, the same requests fail.")
    ] = 0

    def sandbox_limit(self) -> SandboxLimit | None:
        """Return the rate limit, or `None` without one."""
        if self.limit is None:
            return None
        requests, per = _parse_limit(self.limit)
        return SandboxLimit(
            requests=requests,
            per=per,
            window=self.limit_window,
            status=self.limit_status,
            retry_after=self.retry_after,
        )

    def fault_rates(self) -> FaultRates | None:
        """Return the rates of the faults, or `None` without faults."""
        return FaultRates(dict(map(_parse_fault, self.fault)), seed=self.fault_seed) if self.fault else None


_LISTEN: Final = ListenOptions()
_BEHAVIOR: Final = BehaviorOptions()
_FAULTS: Final = FaultOptions()


async def sandbox(
    listen: ListenOptions = _LISTEN, behavior: BehaviorOptions = _BEHAVIOR, faults: FaultOptions = _FAULTS
) -> None:
    """Run a local server of the API until it is interrupted. It prints its base URL when it listens.

    Every tenant id exists. The client id is "sandbox", its secret "sandbox-secret".
    """
    if bool(listen.seed) != bool(listen.tenant):
        sys.exit("connector-async sandbox: --seed and --tenant must be given together")
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopped.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)  # a second signal ends the process at once

    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # on Windows, SIGINT cancels the command
            loop.add_signal_handler(number, stop)
    try:
        async with _sandbox(listen, behavior, faults) as server:
            for tenant in listen.tenant:
                await server.seed(tenant, synthetic_seeds(listen.seed))
            print(server.base_url, flush=True)  # noqa: T201 - the address is the data of this command
            await stopped.wait()
    except (OSError, UnicodeError) as error:  # UnicodeError: the host is not a host name
        reason = error.strerror if isinstance(error, OSError) else "not a host name"
        sys.exit(f"connector-async sandbox: cannot listen on {listen.host}:{listen.port}: {reason}")
    except (sqlite3.Error, ValueError) as error:
        sys.exit(f"connector-async sandbox: cannot use --database {listen.database}: {error}")


def _sandbox(listen: ListenOptions, behavior: BehaviorOptions, faults: FaultOptions) -> Sandbox:
    options: dict[str, Any] = {} if listen.database is None else {"database": listen.database}
    return Sandbox(
        host=listen.host,
        port=listen.port,
        token_lifetime=behavior.token_lifetime,
        token_response=behavior.token_response,
        body_format=behavior.format,
        put=behavior.put,
        write_response=behavior.write_response,
        unknown_id=behavior.unknown_id,
        integer_ids=behavior.integer_ids,
        naive_times=behavior.naive_times,
        paging=behavior.paging,
        page_size=behavior.page_size,
        limit=faults.sandbox_limit(),
        fault_rates=faults.fault_rates(),
        **options,
    )
