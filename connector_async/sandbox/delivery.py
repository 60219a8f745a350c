"""Puts an answer on the wire as the fault that hit the request wants it.

It does not know why there is a fault, nor what the answer says.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import hdrs, web

from .faults import DropAfter, DropBefore, Fault, SlowDrip, TruncatedResponse, WrongLength

# A quotient of binary fractions may fall just short of a whole number, as 0.3 / 0.1 does.
_ROUNDING: Final = 1e-9

Sleep = Callable[[float], Awaitable[object]]
"""Waits for so many seconds."""


def is_dropped(response: web.Response, fault: Fault | None) -> bool:
    """Tell whether the connection is closed without an answer."""
    if isinstance(fault, TruncatedResponse | WrongLength):
        return not response.body
    return isinstance(fault, DropBefore | DropAfter)


async def deliver(
    request: web.BaseRequest, response: web.Response, fault: Fault, *, sleep: Sleep
) -> web.StreamResponse:
    """Send the answer as the fault wants it, or leave it to aiohttp when the fault does not concern the answer.

    Raises:
        ConnectionError: The client has left before it had it all.
    """
    if is_dropped(response, fault):
        if request.transport is not None:  # the client may have left first
            request.transport.close()
        return response
    body = bytes(response.body) if isinstance(response.body, bytes) else b""
    match fault:
        case TruncatedResponse():
            return await _cut(request, response, body[: len(body) // 2], length=len(body))
        case WrongLength():
            return await _cut(request, response, body, length=len(body) + 1)
        case SlowDrip() if body:
            return await _drip(request, response, body, fault, sleep)
        case _:
            return response


async def _cut(request: web.BaseRequest, response: web.Response, part: bytes, *, length: int) -> web.StreamResponse:
    stream = _stream(response, length)
    stream.force_close()
    await stream.prepare(request)
    await stream.write(part)
    return stream


async def _drip(
    request: web.BaseRequest, response: web.Response, body: bytes, fault: SlowDrip, sleep: Sleep
) -> web.StreamResponse:
    stream = _stream(response, len(body))
    await stream.prepare(request)
    slow = min(len(body), math.floor(fault.total / fault.interval + _ROUNDING))
    for position in range(slow):
        await sleep(fault.interval)
        await stream.write(body[position : position + 1])
    if slow < len(body):
        await stream.write(body[slow:])
    return stream


def _stream(response: web.Response, length: int) -> web.StreamResponse:
    headers = response.headers.copy()
    headers[hdrs.CONTENT_LENGTH] = str(length)
    return web.StreamResponse(status=response.status, headers=headers)
