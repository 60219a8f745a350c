"""`TokenFromCommand`: gets tokens from the output of a command, like AWS's `credential_process` and kubectl's `exec`.

The command runs as a subprocess of the running event loop, without a shell.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from connector_async._checks import check_command, check_seconds
from connector_async._clock import Clock, resolve
from connector_async._json import JsonError, parse
from connector_async._timestamps import InstantError, parse_instant
from connector_async._tracebacks import hiding_arguments
from connector_async.exceptions import TokenUnavailableError

from .renewing import FetchedToken, RenewingTokenProvider
from .tokens import TokenSend, usable_lifetime, usable_secret

_MAX_BYTES: Final = 64 * 1024


class TokenFromCommand(RenewingTokenProvider):
    """Gets tokens from the standard output of a command, which runs once for each token.

    The output is the token, or a JSON object: the token in `token`, `accessToken` or `access_token`, and, if known, its
    lifetime in seconds in `expiresIn` or `expires_in`, or when it expires in `expirationTimestamp` (RFC 3339). An
    `ExecCredential` of kubectl is such an object. White space around the output is ignored. A token without a lifetime
    is used until the server refuses it.

    Tokens are cached, renewed and shared by callers as those of `ClientCredentials` are. After a failure, calls fail
    for 5 seconds before the command runs again. Instances with the same arguments are equal, and a session shares the
    tokens of equal instances.

    The command gets this process's environment with `CONNECTOR_BASE_URL` and `CONNECTOR_TENANT_ID`, no standard input,
    and, on POSIX, a session of its own. Its standard error is discarded, since it may hold a secret. When it is
    cancelled or takes too long, it is killed; on POSIX its child processes are, too. On Windows it needs the Proactor
    event loop, which is asyncio's default.

    Args:
        command: The program and its arguments. There is no shell.
        timeout: Seconds after which the command is killed.
        clock: The clock that tokens expire by. `None`: the machine's.

    Raises:
        ValueError: If `command` is empty, its program is, or a part has a null character; or `timeout` is not above
            zero.
        TypeError: If `command` is not a sequence of str, or another argument has another type.
    """

    @hiding_arguments
    def __init__(self, command: Sequence[str], *, timeout: float = 30, clock: Clock | None = None) -> None:
        self._command = tuple(check_command("command", command))
        check_seconds("timeout", timeout, above_zero=True)
        super().__init__(identity=(self._command, timeout), timeout=timeout, clock=clock)

    def __repr__(self) -> str:
        return f"TokenFromCommand([{self._command[0]!r}, …])"  # an argument may be a secret

    async def _fetch_token(self, tenant: str, send: TokenSend) -> FetchedToken:
        environment = {**os.environ, "CONNECTOR_BASE_URL": send.base_url, "CONNECTOR_TENANT_ID": tenant}
        try:
            process, output = await asyncio.get_running_loop().subprocess_exec(
                _Output,
                *self._command,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            problem = error.strerror or type(error).__name__
            raise self._failure(f"cannot be run: {problem}") from None
        await _wait_until_ended(process, output)
        if len(output.content) > _MAX_BYTES:
            raise self._failure("wrote more than 64 KiB")
        if exit_code := process.get_returncode():
            raise self._failure(f"failed with exit code {exit_code}")
        return self._read_token(bytes(output.content))

    def _read_token(self, output: bytes) -> FetchedToken:
        source = f"the output of {self._command[0]}"
        written = output.decode("ascii", "replace").strip()
        if not written.startswith("{"):
            return FetchedToken(usable_secret(source, written))
        try:
            found = parse(output)
        except JsonError as error:
            raise self._failure(f"wrote an object that is not JSON: {error}") from None
        status = found.get("status")  # of an ExecCredential
        fields = status if isinstance(status, dict) else found
        value = fields.get("token") or fields.get("accessToken") or fields.get("access_token")
        if not isinstance(value, str):
            raise self._failure("wrote an object without a string token, accessToken or access_token")
        return FetchedToken(usable_secret(source, value), usable_lifetime(source, self._lifetime(fields)))

    def _lifetime(self, fields: Mapping[str, Any]) -> object:
        """Return the seconds that the token lives. The wall clock counts only for an `expirationTimestamp`."""
        expiry = fields.get("expirationTimestamp")
        if expiry is None:
            return fields.get("expiresIn", fields.get("expires_in"))
        try:
            return parse_instant(expiry).timestamp() - self._clock.time()
        except (InstantError, TypeError):
            raise self._failure("wrote an expirationTimestamp that is not an RFC 3339 date-time") from None

    def _failure(self, problem: str) -> TokenUnavailableError:
        return TokenUnavailableError(f"the command {self._command[0]} {problem}", sent=False)


class _Output(asyncio.SubprocessProtocol):
    """Collects the standard output of a process, and notices its end."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the process has ended and its output as well, or when there was too much of it."""
        self.exited: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the process has ended and was reaped. Its children may still write."""

    def pipe_data_received(self, fd: int, data: bytes) -> None:  # noqa: ARG002 - there is one pipe
        self.content += data
        if len(self.content) > _MAX_BYTES:
            resolve(self.ended)

    def process_exited(self) -> None:
        resolve(self.exited)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - of the protocol
        resolve(self.ended)


async def _wait_until_ended(process: asyncio.SubprocessTransport, output: _Output) -> None:
    """Wait until a process and its output have ended. If that is cancelled, or it writes too much, it is killed."""
    try:
        await output.ended
    finally:
        if not output.exited.done():
            _kill(process)
            await output.exited
        process.close()


def _kill(process: asyncio.SubprocessTransport) -> None:
    """Kill a process, on POSIX with its children."""
    with suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(process.get_pid(), signal.SIGKILL)
        else:
            process.kill()
