"""The command `api`: any endpoint below the tenant."""

import orjson
import pytest

from connector_async.cli.exit_codes import ExitCode
from connector_async.sandbox import DropAfter, Sandbox, StatusFault
from tests.support.command_line import CommandLine

NEW = '{"title": "Visit", "startTime": "2024-01-15T10:00:00Z", "endTime": "2024-01-15T11:00:00Z"}'


def give_input(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    """Make the command read these bytes from the standard input."""

    async def chunks(_: str):  # type: ignore[no-untyped-def]
        yield content
        yield b""

    monkeypatch.setattr("connector_async.cli.api.read_chunks", chunks)


def test_body_is_printed_as_it_came(command: CommandLine) -> None:
    appointment_id = command.create()
    done = command("api", "get", "/appointment/preview")
    assert (done.code, done.err) == (ExitCode.DONE, "")
    assert appointment_id in done.out
    assert not done.out.endswith("\n")  # nothing is added
    orjson.loads(done.out)


def test_status_and_headers_are_included_on_request(command: CommandLine) -> None:
    done = command("api", "GET", "/appointment/preview", "--include")
    head, _, body = done.out.partition("\n\n")
    assert head.startswith("HTTP 200\n")
    assert "Content-Type: application/json" in head
    assert orjson.loads(body) == []


def test_body_is_an_option_or_the_standard_input(command: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("api", "POST", "/appointment", "--json", NEW).code == ExitCode.DONE
    give_input(monkeypatch, NEW.encode())
    assert command("api", "POST", "/appointment", "--json", "-").code == ExitCode.DONE
    assert len(command("preview", "--json").records) == 2


def test_query_and_headers_are_sent(sandbox: Sandbox, command: CommandLine) -> None:
    appointment_id = command.create()
    done = command("api", "GET", "/appointment", "--query", f"appointmentId={appointment_id}", "--header", "X-Trace: 7")
    assert appointment_id in done.out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--query", "hunter2"), "--query must be NAME=VALUE"),
        (("--query", "a=1", "--query", "a=2"), "--query must name a once"),
        (("--header", "hunter2"), "--header must be NAME:VALUE"),
        (("--json", "hunter2"), "--json must be JSON: "),
        (("--json", "null"), "--json must be JSON: null is no body"),
    ],
)
def test_invalid_argument_is_rejected_without_its_value(
    sandbox: Sandbox, command: CommandLine, arguments: tuple[str, ...], message: str
) -> None:
    done = command("api", "GET", "/appointment/preview", *arguments)
    assert (done.code, sandbox.log.count()) == (ExitCode.USAGE, 0)
    assert done.err.startswith("connector-async: ")  # --json does not ask for errors as JSON here
    assert message in done.err
    assert "hunter2" not in done.err


def test_dry_run_prints_the_request_and_sends_nothing(sandbox: Sandbox, command: CommandLine) -> None:
    done = command("api", "post", "/appointment", "--query", "a=b c", "--json", '{"x": 1}', "--dry-run")
    assert (done.code, done.err) == (ExitCode.DONE, "connector-async: dry run: nothing was sent\n")
    assert done.out == f'POST {sandbox.base_url}/acme/appointment?a=b+c\n{{"x":1}}\n'
    assert command("api", "GET", "/../other", "--dry-run").code == ExitCode.USAGE
    assert sandbox.log.count() == 0


def test_write_with_an_unknown_outcome_says_so(sandbox: Sandbox, command: CommandLine) -> None:
    sandbox.faults.script(DropAfter(), operation="create")
    done = command("api", "POST", "/appointment", "--json", NEW)
    assert (done.code, sandbox.log.count(operation="create")) == (ExitCode.RETRYABLE, 1)
    assert "its outcome is unknown" in done.err
    assert "look before you repeat it" in done.err
    assert "appointment may" not in done.err


def test_failed_request_has_the_exit_code_and_the_reason_of_other_commands(
    sandbox: Sandbox, command: CommandLine
) -> None:
    assert command("api", "GET", "/appointment", "--query", "appointmentId=missing").code == ExitCode.OTHER
    sandbox.faults.script(StatusFault(403), operation="preview")
    assert command("api", "GET", "/appointment/preview").code == ExitCode.CREDENTIALS
