"""Apply a fault to one request: before its operation runs, and while its response is sent.

Which request gets a fault is decided in `faults`.
"""

import math
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import hdrs, web

from .faults import (
    DelayFault,
    DropAfter,
    DropBefore,
    Fault,
    RevokedToken,
    SlowDrip,
    StatusFault,
    TruncatedResponse,
    WrongLength,
)
from .problems import invalid_token, retry_later

# A floating-point quotient may fall just short of a whole number, as 0.3 / 0.1 does.
_ROUNDING: Final = 1e-9

Sleep = Callable[[float], Awaitable[object]]
"""Waits the given number of seconds."""


async def apply_before_operation(fault: Fault, *, sleep: Sleep) -> None:
    """Wait or fail if the fault acts before the operation.

    Raises:
        Problem: If the fault is a status or a revoked token.
    """
    match fault:
        case StatusFault():
            raise retry_later("A scripted fault.", status=fault.code, retry_after=fault.retry_after)
        case RevokedToken():
            raise invalid_token()
        case DelayFault():
            await sleep(fault.seconds)


def drops_response(response: web.Response, fault: Fault | None) -> bool:
    """Return whether the fault closes the connection without a response."""
    if isinstance(fault, TruncatedResponse | WrongLength):
        return not response.body
    return isinstance(fault, DropBefore | DropAfter)


async def send_with_fault(
    request: web.BaseRequest, response: web.Response, fault: Fault, *, sleep: Sleep
) -> web.StreamResponse:
    """Send the response as the fault demands, or return it for aiohttp to send if the fault does not change it.

    Raises:
        ConnectionError: If the client disconnects before it has received the response.
    """
    if drops_response(response, fault):
        if request.transport is not None:  # None once the client has disconnected
            request.transport.close()
        return response
    body = bytes(response.body) if isinstance(response.body, bytes) else b""
    match fault:
        case TruncatedResponse():
            return await _send_part(request, response, body[: len(body) // 2], length=len(body))
        case WrongLength():
            return await _send_part(request, response, body, length=len(body) + 1)
        case SlowDrip() if body:
            return await _send_slowly(request, response, body, fault, sleep)
        case _:
            return response


async def _send_part(
    request: web.BaseRequest, response: web.Response, part: bytes, *, length: int
) -> web.StreamResponse:
    stream = _stream_response(response, length)
    stream.force_close()
    await stream.prepare(request)
    await stream.write(part)
    return stream


async def _send_slowly(
    request: web.BaseRequest, response: web.Response, body: bytes, fault: SlowDrip, sleep: Sleep
) -> web.StreamResponse:
    stream = _stream_response(response, len(body))
    await stream.prepare(request)
    slow = min(len(body), math.floor(fault.total / fault.interval + _ROUNDING))
    for position in range(slow):
        await sleep(fault.interval)
        await stream.write(body[position : position + 1])
    if slow < len(body):
        await stream.write(body[slow:])
    return stream


def _stream_response(response: web.Response, length: int) -> web.StreamResponse:
    headers = response.headers.copy()
    headers[hdrs.CONTENT_LENGTH] = str(length)
    return web.StreamResponse(status=response.status, headers=headers)
