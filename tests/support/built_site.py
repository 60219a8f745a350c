"""The site of docs/, built once and served on the loopback."""

import fcntl
import functools
import http.server
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SITE = ROOT / "build" / "site"
_SOURCES = (
    "docs/**/*.*", "connector_async/**/*.py", "examples/*.py", "benchmarks/README.md", "benchmarks/*.svg", "*.md",
)  # fmt: skip


def built_site() -> Path:
    """Return the folder of the site. It is built only if a source is newer, since that takes half a minute."""
    SITE.parent.mkdir(exist_ok=True)
    with (SITE.parent / "site.lock").open("w") as lock:  # several processes run the tests
        fcntl.flock(lock, fcntl.LOCK_EX)
        last_written = SITE / "objects.inv"
        if not last_written.exists() or last_written.stat().st_mtime < _newest_source():
            if shutil.which("dot") is None:
                pytest.skip("there is no Graphviz; on Debian, the package graphviz has it")
            subprocess.run([ROOT / ".ci" / "run", "site"], check=True, capture_output=True, text=True)
    return SITE


def _newest_source() -> float:
    paths = (path for pattern in _SOURCES for path in ROOT.glob(pattern))
    return max(path.stat().st_mtime for path in paths if path.parent.name != "__pycache__")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Print nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder, and yield the URL of its root."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
