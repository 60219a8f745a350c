"""Serving the sandbox until a signal ends it."""

import asyncio
import signal
import sys

from connector_async.sandbox import Sandbox


async def serve(*, host: str, port: int, token_lifetime: int) -> None:
    """Serve until SIGINT or SIGTERM, then let the requests in flight end.

    Raises:
        SystemExit: The address cannot be listened on.
    """
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    try:
        async with Sandbox(host=host, port=port, token_lifetime=token_lifetime) as sandbox:
            print(sandbox.base_url, flush=True)  # noqa: T201 - the address is this command's output
            await stopped.wait()
    except OSError as error:
        sys.exit(f"connector-async sandbox: cannot listen on {host}:{port}: {error.strerror}")
