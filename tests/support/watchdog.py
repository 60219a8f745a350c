"""Ends the servers of the tests with the process that has started them, also when that is killed."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

# The shell reads until its input ends, which it does with the process that holds the other end of the pipe.
_SCRIPT = 'read -r _; kill -s "$1" "$(head -n 1 "$2")"; rm -rf "$0"'


@contextlib.contextmanager
def ended_with_this_process(folder: Path, *, pid_file: Path, signal: str) -> Iterator[None]:
    """End a server and delete its folder if this process dies in the block.

    Args:
        folder: The folder of the server.
        pid_file: A file whose first line is the id of its process. It need not exist yet.
        signal: The name of the signal that ends the server at once.
    """
    # In a session of its own, it gets no signal of a terminal.
    with subprocess.Popen(
        ["sh", "-c", _SCRIPT, folder, signal, pid_file],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as shell:
        yield  # after an error, the server may not be stopped: the shell is waited for, with its input closed
        shell.kill()
