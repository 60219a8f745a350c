import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from connector_async.cli import commands, local, sandbox
from connector_async.cli.sandbox import BehaviorOptions, FaultOptions, ListenOptions
from connector_async.sandbox import (
    BodyFormat,
    DropAfter,
    FaultRates,
    LimitWindow,
    PreviewPaging,
    PutSemantics,
    Sandbox,
    SandboxLimit,
    StatusFault,
    TokenResponse,
    UnknownId,
    WriteResponse,
)
from tests.support.command_line import COMMAND

CREDENTIALS = {"clientId": "sandbox", "clientSecret": "sandbox-secret"}


@asynccontextmanager
async def serving(*arguments: str) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "sandbox", "--port", "0", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        yield (await process.stdout.readline()).decode().strip()
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    assert process.stderr is not None
    assert await process.stderr.read() == b""


async def preview(session: aiohttp.ClientSession, tenant: str, **query: str) -> Any:
    async with session.post(f"/{tenant}/authentication/token", json=CREDENTIALS) as response:
        headers = {"Authorization": f"Bearer {(await response.json())['accessToken']}", "tenantId": tenant}
    async with session.get(f"/{tenant}/appointment/preview", headers=headers, params=query) as response:
        return await response.json()


def parsed(*arguments: str) -> tuple[ListenOptions, BehaviorOptions, FaultOptions]:
    """Read the options as the command does, without running it."""
    _, bound, _ = commands.app.parse_args(["sandbox", *arguments], exit_on_error=False)
    bound.apply_defaults()
    place, answers, trouble = bound.arguments.values()
    return place, answers, trouble


async def test_seeds_are_kept_in_the_database_file_over_a_restart(tmp_path: Path) -> None:
    database = str(tmp_path / "sandbox.db")
    seeds = ("--seed", "3", "--tenant", "acme", "--tenant", "globex", "--integer-ids")
    for options in (seeds, ()):
        async with (
            serving("--database", database, *options) as base_url,
            aiohttp.ClientSession(base_url) as session,
        ):
            for tenant, count in (("acme", 3), ("globex", 3), ("other", 0)):
                assert len(await preview(session, tenant)) == count


async def test_the_preview_comes_in_the_pages_asked_for() -> None:
    options = ("--paging", "cursor", "--page-size", "2", "--seed", "3", "--tenant", "acme")
    async with serving(*options) as base_url, aiohttp.ClientSession(base_url) as session:
        first = await preview(session, "acme")
        last = await preview(session, "acme", cursor=first["nextCursor"])
    assert (len(first["items"]), len(last["items"]), last["nextCursor"]) == (2, 1, None)


def test_every_option_reaches_the_sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: dict[str, object] = {}
    monkeypatch.setattr(sandbox, "Sandbox", lambda **options: made.update(options))
    arguments = (
        f"--host ::1 --port 0 --database {tmp_path} --token-lifetime 60 --token-response token --format reference "
        "--put replace --write-response empty-204 --unknown-id empty --integer-ids --naive-times --paging page-numbers "
        "--page-size 7 --limit 5/0.5 "
        "--limit-window sliding --limit-status 503 --no-retry-after --fault drop-after=0.01 --fault status-503=0.02 "
        "--fault-seed 7"
    )
    sandbox._sandbox(*parsed(*arguments.split()))
    assert made == {
        "host": "::1",
        "port": 0,
        "database": tmp_path,
        "token_lifetime": 60,
        "token_response": TokenResponse.TOKEN,
        "body_format": BodyFormat.REFERENCE,
        "put": PutSemantics.REPLACE,
        "write_response": WriteResponse.EMPTY_204,
        "unknown_id": UnknownId.EMPTY,
        "integer_ids": True,
        "naive_times": True,
        "paging": PreviewPaging.PAGE_NUMBERS,
        "page_size": 7,
        "limit": SandboxLimit(requests=5, per=0.5, window=LimitWindow.SLIDING, status=503, retry_after=False),
        "fault_rates": FaultRates({DropAfter(): 0.01, StatusFault(503): 0.02}, seed=7),
    }


def test_without_options_nothing_goes_wrong_and_nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, object] = {}
    monkeypatch.setattr(sandbox, "Sandbox", lambda **options: made.update(options))
    sandbox._sandbox(*parsed())
    assert (made["limit"], made["fault_rates"], "database" in made) == (None, None, False)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ("--limit 60", "--limit"),
        ("--limit 0/60", "--limit"),
        ("--limit 60/0", "--limit"),
        ("--limit 60/60 --limit-window other", "--limit-window"),
        ("--limit 60/60 --limit-status 500", "--limit-status"),
        ("--fault dropped=0.1", "--fault"),
        ("--fault drop=0.1 --fault drop-after=0.1", "--fault"),
        ("--fault drop-after", "--fault"),
        ("--fault drop-after=2", "--fault"),
        ("--fault drop-after=0.6 --fault drop-before=0.6", "--fault"),
        ("--fault status-99=0.1", "--fault"),
        ("--fault delay-x=0.1", "--fault"),
        ("--format other", "--format"),
        ("--put other", "--put"),
        ("--write-response other", "--write-response"),
        ("--paging other", "--paging"),
        ("--page-size 0", "--page-size"),
        ("--seed -1 --tenant acme", "--seed"),
    ],
)
def test_a_bad_value_is_refused_by_name(
    arguments: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Sandbox, "start", None)  # listening would fail
    with pytest.raises(SystemExit) as caught:
        commands.app(["sandbox", *arguments.split()])
    printed = capsys.readouterr()
    assert caught.value.code not in (0, None)
    assert printed.out == ""
    assert f"for {name}" in printed.err


@pytest.mark.parametrize("place", [ListenOptions(seed=1), ListenOptions(tenant=("acme",))])
async def test_seeds_and_tenants_go_together(place: ListenOptions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "serve", None)  # serving would not end
    with pytest.raises(SystemExit, match="--seed and --tenant go together"):
        await local.sandbox(place)


async def test_a_database_that_cannot_be_used_is_a_clear_error(tmp_path: Path) -> None:
    database = tmp_path / "missing" / "sandbox.db"
    with pytest.raises(SystemExit, match=f"cannot use --database {database}: unable to open"):
        await sandbox.serve(ListenOptions(port=0, database=database), BehaviorOptions(), FaultOptions())
