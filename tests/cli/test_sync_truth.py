"""What the sync commands print about records and tenants that are not in sync, and why."""

from pathlib import Path
from typing import Literal

import pytest

from connector_async.cli.exit_codes import ExitCode
from connector_async.sandbox import DropBefore, Sandbox, StatusFault
from tests.support.cli_syncing import TENANTS, count_writes, delete_on_server, fill, row, titles, write_source
from tests.support.command_line import CommandLine

FORBIDDEN = "ForbiddenError: POST /acme/appointment returned 403 Forbidden"


def refuse(sandbox: Sandbox, operation: Literal["create", "preview"], tenant: str = "acme", status: int = 403) -> None:
    sandbox.faults.script(*[StatusFault(status)] * 50, operation=operation, tenant=tenant)


@pytest.mark.row("S3")
def test_run_lists_the_first_unreadable_records_and_counts_the_others(command: CommandLine, source: Path) -> None:
    name = write_source(source, [row(f"k{number}", start_time="never") for number in range(23)])
    done = command("sync", "run", name)
    assert done.code == ExitCode.DEAD_LETTERS
    lines = [line for line in done.err.splitlines() if line.startswith(f"connector-async: {name}:")]
    assert [line.split(":")[2] for line in lines] == [str(number) for number in range(1, 21)]
    assert all("start_time" in line for line in lines)
    assert "connector-async: records that could not be read, in all: 23" in done.err
    (report,) = command("sync", "run", name, "--json").records
    assert report["problems"][0].startswith(f"{name}:1: start_time: ")


@pytest.mark.row("S3")
def test_check_counts_what_was_given_up_what_is_pending_and_what_is_missing(
    command: CommandLine, source: Path, sandbox: Sandbox
) -> None:
    name = fill(source, 3, "acme")
    refuse(sandbox, "create", status=422)
    command("sync", "run", name)
    sandbox.faults.clear()
    checked = command("sync", "check", name, "--json")
    assert [(record["kind"], record["key"]) for record in checked.records] == [
        ("given_up", "k0"),
        ("given_up", "k1"),
        ("given_up", "k2"),
    ]
    assert all("422" in record["reason"] for record in checked.records)
    assert checked.code == ExitCode.DEAD_LETTERS
    assert "connector-async: 3 differences\n" in checked.err
    assert "3 keys given up before" in command("sync", "plan", name).err
    write_source(source, [row("lost"), *(row(f"n{number}") for number in range(3))])
    sandbox.faults.script(DropBefore(), DropBefore(), DropBefore(), DropBefore(), DropBefore(), operation="create")
    command("sync", "run", name, "--passes", "1", "--concurrency", "1", "--max-requests", "3")
    checked = command("sync", "check", name, "--exit-code")
    assert "a create with an unknown result" in checked.out
    assert checked.code == ExitCode.CHANGES_PENDING


@pytest.mark.row("S3")
def test_check_lists_every_record_that_is_missing_on_the_server(
    command: CommandLine, source: Path, sandbox: Sandbox
) -> None:
    name = fill(source, 30, "acme")
    command("sync", "run", name)
    assert command("sync", "check", name).err.startswith("connector-async: 0 differences\n")
    delete_on_server(sandbox, "acme")
    checked = command("sync", "check", name, "--exit-code")
    assert (checked.code, len(checked.rows)) == (ExitCode.CHANGES_PENDING, 30)
    assert checked.err.startswith("connector-async: 30 differences\n")


@pytest.mark.row("S4")
def test_run_prints_the_reasons_and_explain_shows_them(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    name = fill(source, 6, "acme", "globex")
    refuse(sandbox, "create")
    done = command("sync", "run", name)
    assert done.code == ExitCode.DEAD_LETTERS
    assert f"connector-async: tenant acme: {FORBIDDEN}" in done.err
    assert [row["calendars_refused"] for row in done.rows] == ["1", "0"]
    assert "6 not started, 6 created" in done.err or "6 created, 6 not started" in done.err
    explained = command("sync", "explain", "k3")
    assert "returned 403" in explained.out
    assert [record["what"] for record in command("sync", "explain", "k3", "--json").records][-1] == "failure"
    assert command("sync", "status", "--json").records[0]["failures"] == 1
    sandbox.faults.clear()
    assert command("sync", "run", name).code == ExitCode.DONE
    assert command("sync", "status", "--json").records[0]["failures"] == 0


@pytest.mark.row("S4")
@pytest.mark.parametrize("arguments", [("plan", "--mode", "check"), ("check",)], ids=" ".join)
def test_dry_run_prints_why_a_tenant_failed_and_plans_the_others(
    command: CommandLine, source: Path, sandbox: Sandbox, arguments: tuple[str, ...]
) -> None:
    name, (subcommand, *options) = fill(source, 1, "acme", "globex"), arguments
    refuse(sandbox, "preview")
    planned = command("sync", subcommand, name, *options, "--json")
    assert planned.code == ExitCode.DEAD_LETTERS
    assert [(record["kind"], record["tenant_id"]) for record in planned.records] == [
        ("failed", "acme"),
        ("create", "globex"),
    ]
    assert planned.records[0]["status"] == 403
    assert "tenant acme: ForbiddenError: GET /acme/appointment/preview returned 403" in planned.err


@pytest.mark.row("S4")
def test_incomplete_plan_is_not_saved(command: CommandLine, source: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    name, out = fill(source, 1, "acme", "globex"), tmp_path / "plan"
    refuse(sandbox, "preview")
    assert command("sync", "plan", name, "--mode", "check", "--out", str(out)).code == ExitCode.CREDENTIALS
    assert not out.exists()


@pytest.mark.row("S13")
def test_pull_mirrors_the_others_and_believes_an_emptied_calendar_if_told_to(
    command: CommandLine, source: Path, sandbox: Sandbox, tmp_path: Path
) -> None:
    command("sync", "run", fill(source, 2, "acme", "globex"))
    calendars, mirror = tmp_path / "calendars.csv", tmp_path / "mirror.csv"
    calendars.write_text("tenant_id\nacme\nglobex\n")
    pull = ("sync", "pull", "--to", str(mirror), "--calendars", str(calendars), "--state", "pull.db")
    assert command(*pull).code == ExitCode.DONE
    delete_on_server(sandbox, "acme")
    delete_on_server(sandbox, "globex", "k1")
    pulled = command(*pull)
    assert pulled.code == ExitCode.GUARD
    assert "tenant acme: GuardError: the server shows no appointment of tenant acme, but 2 are known" in pulled.err
    tenants = [line.split(",")[1] for line in mirror.read_text().splitlines()[1:]]
    assert sorted(tenants) == ["acme", "acme", "globex"]
    assert command(*pull, "--max-delete", "100%").code == ExitCode.GUARD
    assert command(*pull, "--max-delete", "100%", "--allow-empty").code == ExitCode.DONE
    assert [line.split(",")[1] for line in mirror.read_text().splitlines()[1:]] == ["globex"]


def test_only_some_tenants_are_run_planned_and_checked(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    name = fill(source, 2)
    two = ("--only-tenant", "globex", "--only-tenant", "initech")
    assert command("sync", "run", name, *two).code == ExitCode.DONE
    assert [len(titles(sandbox, tenant_id)) for tenant_id in TENANTS] == [0, 2, 2]
    assert {each["tenant_id"] for each in command("sync", "plan", name, "--json").records} == {"acme"}
    assert command("sync", "plan", name, *two, "--json").records == []
    refuse(sandbox, "create", status=422)
    command("sync", "run", name, "--only-tenant", "acme")
    assert command("sync", "check", name, *two, "--json").records == []
    assert len(command("sync", "check", name, "--only-tenant", "acme", "--json").records) == 2


def test_tenant_that_is_nowhere_has_nothing_to_do(command: CommandLine, source: Path, sandbox: Sandbox) -> None:
    done = command("sync", "run", fill(source), "--only-tenant", "umbrella", "--exit-code")
    assert done.code == ExitCode.NOTHING_TO_DO
    assert count_writes(sandbox) == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--only-tenant", ".."), "--only-tenant: tenant_id must"),
        (("--only-tenant", "acme", "--mode", "two-way"), "--only-tenant must not be given with --mode two-way"),
        (("--only-tenant", "acme", "--rebind"), "--only-tenant must not be given with --rebind"),
    ],
)
def test_tenant_that_cannot_be_selected_is_rejected(
    command: CommandLine, source: Path, sandbox: Sandbox, arguments: tuple[str, ...], message: str
) -> None:
    done = command("sync", "run", fill(source), *arguments)
    assert done.code == ExitCode.USAGE
    assert message in done.err
    assert sandbox.log.count() == 0
