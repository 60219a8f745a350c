"""The exit code for each error, and for many inputs."""

import pytest

from connector_async.cli.exit_codes import ExitCode, combined_exit_code, exit_code
from connector_async.exceptions import (
    AuthenticationError,
    ConnectFailedError,
    DeadlineExceededError,
    ForbiddenError,
    NotFoundError,
    OutcomeUnknownError,
    RateLimitedError,
    ServerError,
)
from connector_async.sandbox import Sandbox, StatusFault
from connector_async.sandbox.routing import SandboxOperation
from connector_async.sync.exceptions import GuardError, StateBusyError, StateError
from tests.support.command_line import CommandLine

DONE, OTHER, RETRYABLE = ExitCode.DONE, ExitCode.OTHER, ExitCode.RETRYABLE


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AuthenticationError("x"), 4),
        (ForbiddenError("x"), 4),
        (ConnectFailedError("x"), 5),
        (ServerError("x"), 5),
        (RateLimitedError("x"), 5),
        (DeadlineExceededError("x"), 5),
        (OutcomeUnknownError("x"), 5),
        (StateBusyError("x"), 5),
        (GuardError("x"), 6),
        (StateError("x"), 1),
        (NotFoundError("x"), 1),
        (ValueError("x"), 2),
        (KeyboardInterrupt(), 130),
        (RuntimeError("x"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_error_has_its_exit_code(error: BaseException, code: int) -> None:
    assert exit_code(error) == code


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        (set(), 0),
        ({DONE}, 0),
        ({DONE, OTHER}, 3),
        ({OTHER}, 3),
        ({RETRYABLE}, 5),
        ({DONE, RETRYABLE}, 3),
        ({RETRYABLE, OTHER}, 3),
        ({DONE, ExitCode.CREDENTIALS}, 3),
        ({ExitCode.CREDENTIALS}, 4),
    ],
)
def test_many_inputs_have_one_exit_code(codes: set[ExitCode], code: int) -> None:
    assert combined_exit_code(codes) == code


@pytest.mark.parametrize(("fault", "operation", "code"), [(StatusFault(403), "get", 3), (StatusFault(401), "token", 4)])
def test_one_forbidden_id_of_many_fails_and_rejected_credentials_end_the_command(
    sandbox: Sandbox, command: CommandLine, fault: StatusFault, operation: SandboxOperation, code: int
) -> None:
    names = [command.create()] * 20
    sandbox.faults.script(fault, operation=operation)
    assert command("get", *names).code == code
