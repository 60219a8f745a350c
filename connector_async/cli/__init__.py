"""The `connector-async` command. It knows the whole package, and nothing of the package knows it."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line of this process.

    Raises:
        SystemExit: The command has ended, or what it needs is not installed.
    """
    try:
        from .commands import app  # noqa: PLC0415 - what is missing is told, not traced
        from .running import run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("connector_async"):
            raise
        sys.exit(f"connector-async: {error.name} is missing; install it with: pip install 'connector-async[cli]'")
    sys.exit(run(app, sys.argv[1:]))
