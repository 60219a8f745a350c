"""`TokenFromFile`: gets the token from a file that something else rotates, such as Kubernetes."""

import asyncio
import os
import stat
from pathlib import Path
from typing import Final

from connector_async._checks import check_file_path, check_seconds
from connector_async._clock import Clock
from connector_async.exceptions import TokenUnavailableError

from .renewing import FetchedToken, RenewingTokenProvider
from .tokens import TokenSend, usable_secret

_MAX_BYTES: Final = 64 * 1024
_TIMEOUT: Final = 10.0


class TokenFromFile(RenewingTokenProvider):
    """Gets the token from a file, such as a projected token of Kubernetes. All tenants of a session get the same token.

    The file is read again in the background when `reread_after` seconds have passed, and at once when the server
    refuses the token. If it is missing or has no token then, the old token is used until the server refuses it. A token
    that the server has refused is sent again only by a later call, and only if the file still has it.

    The file has the token and nothing else; white space around it is ignored. Replace it atomically, as Kubernetes
    does. It is read in a thread. Instances with the same arguments are equal, and a session shares the token of equal
    instances. Without a token, calls fail for 5 seconds before the file is read again.

    Args:
        path: The path of a regular file, or of a link to one. A relative path starts from the current folder.
        reread_after: Seconds after which the file is read again. Kubernetes keeps a token valid for at least two
            minutes after replacing it.
        clock: The clock that the seconds are measured by. `None`: the machine's.

    Raises:
        ValueError: If `path` is empty or has a null character, or `reread_after` is not above zero.
        TypeError: If an argument has another type.
    """

    def __init__(self, path: str | os.PathLike[str], *, reread_after: float = 60, clock: Clock | None = None) -> None:
        self._path = Path(check_file_path("path", path)).absolute()
        self._reread_after = check_seconds("reread_after", reread_after, above_zero=True)
        super().__init__(identity=(self._path, reread_after), per_tenant=False, timeout=_TIMEOUT, clock=clock)

    def __repr__(self) -> str:
        return f"TokenFromFile({str(self._path)!r})"

    async def _fetch_token(self, tenant: str, send: TokenSend) -> FetchedToken:  # noqa: ARG002 - one token for all
        content = await asyncio.to_thread(_read, self._path)
        token = content.decode("ascii", "replace").strip()  # the replacement is rejected as not ASCII
        return FetchedToken(usable_secret(f"the content of {self._path}", token), renew_after=self._reread_after)


def _read(path: Path) -> bytes:
    """Return the content of a regular file.

    Raises:
        TokenUnavailableError: If it cannot be read, is not a regular file, or is longer than 64 KiB.
    """
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise TokenUnavailableError(f"{path} must be a regular file", sent=False)
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        problem = error.strerror or type(error).__name__
    else:
        if len(content) <= _MAX_BYTES:
            return content
        problem = "it is longer than 64 KiB"
    raise TokenUnavailableError(f"{path} cannot be read: {problem}", sent=False)


def _open_without_waiting(path: str, flags: int) -> int:
    """Open a file. Opening a named pipe would otherwise wait for a writer."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
