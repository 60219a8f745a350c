"""Serving the sandbox until a signal ends it, and the options that say which sandbox."""

import asyncio
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from attrs import frozen
from cyclopts import Parameter
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


def _read_limit(text: str) -> tuple[int, float]:
    requests, _, per = text.partition("/")
    try:
        limit = SandboxLimit(requests=int(requests), per=float(per))
    except ValueError as error:
        raise ValueError("it is REQUESTS/SECONDS, as in 60/60, both greater than 0") from error
    return limit.requests, limit.per


def _check_limit(_: object, text: str | None) -> None:
    if text is not None:
        _read_limit(text)


def _read_fault(text: str) -> tuple[Fault, float]:
    name, _, rate = text.partition("=")
    try:
        return fault_named(name), float(rate)
    except ValueError as error:
        raise ValueError(f"it is NAME=RATE, with a rate from 0 to 1; {FAULT_NAMES}") from error


def _check_faults(_: object, texts: tuple[str, ...]) -> None:
    rates = dict(map(_read_fault, texts))
    if len(rates) < len(texts):
        raise ValueError("each fault may be named once")
    FaultRates(rates)


_Positive: Final = Number(gte=1)


@Parameter(name="*")
@frozen(kw_only=True)
class ListenOptions:
    """Where the sandbox listens and keeps its data."""

    host: Annotated[str, Parameter(help="The address to listen on.")] = "127.0.0.1"
    port: Annotated[
        int, Parameter(validator=Number(gte=0, lte=65_535), help="The port to listen on; 0 takes a free one.")
    ] = 8080
    database: Annotated[
        Path | None, Parameter(help="A SQLite file that outlives a restart; without it all is forgotten.")
    ] = None
    tenant: Annotated[
        tuple[str, ...], Parameter(negative="", help="A tenant that --seed is for; may be repeated.")
    ] = ()
    seed: Annotated[
        int, Parameter(validator=Number(gte=0, lte=100_000), help="How many appointments to make up for each --tenant.")
    ] = 0


@Parameter(name="*")
@frozen(kw_only=True)
class BehaviorOptions:
    """What the API's documents leave open."""

    token_lifetime: Annotated[int, Parameter(validator=_Positive, help="Seconds that a token lives.")] = 3600
    token_response: Annotated[TokenResponse, Parameter(help="Which documented answer a token request gets.")] = (
        TokenResponse.ACCESS_TOKEN
    )
    format: Annotated[BodyFormat, Parameter(help="Which documented body format is spoken.")] = BodyFormat.GUIDE
    put: Annotated[PutSemantics, Parameter(help="Whether an update merges or replaces.")] = PutSemantics.MERGE
    write_response: Annotated[WriteResponse | None, Parameter(help="What every write answers.")] = None
    unknown_id: Annotated[UnknownId, Parameter(help="What reading an unknown id answers.")] = UnknownId.NOT_FOUND
    integer_ids: Annotated[bool, Parameter(negative="", help="Ids are integers.")] = False
    naive_times: Annotated[bool, Parameter(negative="", help="Reference: times are answered in their time zone.")] = (
        False
    )
    paging: Annotated[PreviewPaging, Parameter(help="In what pages a preview comes.")] = PreviewPaging.ARRAY
    page_size: Annotated[
        int,
        Parameter(validator=Number(gte=1, lte=100_000), help="How many appointments a page has at most, unless array."),
    ] = 100


@Parameter(name="*")
@frozen(kw_only=True)
class FaultOptions:
    """What goes wrong on purpose."""

    limit: Annotated[
        str | None, Parameter(validator=_check_limit, help="Of each tenant: REQUESTS/SECONDS, as in 60/60.")
    ] = None
    limit_window: Annotated[LimitWindow, Parameter(help="How the requests are counted.")] = LimitWindow.FIXED
    limit_status: Annotated[Literal[429, 503], Parameter(help="Of a refused request.")] = 429
    retry_after: Annotated[bool, Parameter(help="Whether a refusal tells when to come again.")] = True
    fault: Annotated[
        tuple[str, ...],
        Parameter(
            validator=_check_faults,
            negative="",
            help=f"NAME=RATE, as in drop-after=0.01; may be repeated; {FAULT_NAMES}.",
        ),
    ] = ()
    fault_seed: Annotated[int, Parameter(help="The same seed hits the same requests of a sequence.")] = 0

    def sandbox_limit(self) -> SandboxLimit | None:
        """Build the limit that is asked for."""
        if self.limit is None:
            return None
        requests, per = _read_limit(self.limit)
        return SandboxLimit(
            requests=requests,
            per=per,
            window=self.limit_window,
            status=self.limit_status,
            retry_after=self.retry_after,
        )

    def fault_rates(self) -> FaultRates | None:
        """Build the rates that are asked for."""
        return FaultRates(dict(map(_read_fault, self.fault)), seed=self.fault_seed) if self.fault else None


async def serve(place: ListenOptions, answers: BehaviorOptions, trouble: FaultOptions) -> None:
    """Serve until SIGINT or SIGTERM, then let the requests in flight end.

    Raises:
        SystemExit: The address cannot be listened on, or the database not be used.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    try:
        async with _sandbox(place, answers, trouble) as sandbox:
            for tenant in place.tenant:
                await sandbox.seed(tenant, synthetic_seeds(place.seed))
            print(sandbox.base_url, flush=True)  # noqa: T201 - the address is this command's output
            await stopped.wait()
    except (OSError, UnicodeError) as error:  # the latter of a host that is no name
        reason = error.strerror if isinstance(error, OSError) else "not a host name"
        sys.exit(f"connector-async sandbox: cannot listen on {place.host}:{place.port}: {reason}")
    except (sqlite3.Error, ValueError) as error:
        sys.exit(f"connector-async sandbox: cannot use --database {place.database}: {error}")


def _sandbox(place: ListenOptions, answers: BehaviorOptions, trouble: FaultOptions) -> Sandbox:
    options: dict[str, Any] = {} if place.database is None else {"database": place.database}
    return Sandbox(
        host=place.host,
        port=place.port,
        token_lifetime=answers.token_lifetime,
        token_response=answers.token_response,
        body_format=answers.format,
        put=answers.put,
        write_response=answers.write_response,
        unknown_id=answers.unknown_id,
        integer_ids=answers.integer_ids,
        naive_times=answers.naive_times,
        paging=answers.paging,
        page_size=answers.page_size,
        limit=trouble.sandbox_limit(),
        fault_rates=trouble.fault_rates(),
        **options,
    )
