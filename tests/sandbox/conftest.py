"""What the tests of the sandbox share: plain HTTP, without the client."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from connector_async.sandbox import Sandbox


@pytest.fixture
async def session(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(sandbox.base_url) as opened:
        yield opened
