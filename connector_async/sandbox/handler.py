"""Handle one request: find its operation, apply the rate limit and faults, run it, and log the outcome.

What the operations do is implemented in `operations`. Bytes that are not HTTP get aiohttp's own response and never
reach this module.
"""

import logging
import math
import secrets
from typing import Final

import orjson
from aiohttp import hdrs, web

from .browser_pages import BrowserPages
from .fault_injection import Sleep, apply_before_operation, drops_response, send_with_fault
from .faults import DropBefore, Fault, Faults
from .operations import Operations
from .problems import PROBLEM_CONTENT_TYPE, Problem, retry_later
from .rate_limit import RequestLimiter
from .request_log import LoggedRequest, RequestLog
from .responses import EMPTY, SandboxResponse
from .routing import Target, below_tenant, escape_path, resolve

_JSON: Final = "application/json; charset=utf-8"  # as ASP.NET sends it
_REQUEST_ID: Final = "x-request-id"

_logger: Final = logging.getLogger(__name__)


class Handler:
    """The request handler that aiohttp's server calls."""

    def __init__(
        self,
        *,
        operations: Operations,
        pages: BrowserPages,
        log: RequestLog,
        faults: Faults,
        limiter: RequestLimiter | None,
        sleep: Sleep,
    ) -> None:
        self._operations = operations
        self._pages = pages
        self._log = log
        self._faults = faults
        self._limiter = limiter
        self._sleep = sleep

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return the response and log the request, unless it is for a page.

        Only cancellation and a client that disconnects make this raise.
        """
        target = resolve(request.method, request.rel_url.raw_path)
        if not target.allowed_methods and self._pages.serves(request):
            return await self._pages.respond(request)
        request_id = _new_request_id()
        response, fault, applied = await self._respond(request, target, request_id)
        response.headers[_REQUEST_ID] = request_id
        self._log.record(
            LoggedRequest(
                method=request.method,
                path=below_tenant(request.rel_url.raw_path),
                operation=target.operation,
                tenant=target.tenant,
                status=0 if drops_response(response, fault) else response.status,
                request_id=request_id,
                fault=None if fault is None else fault.name,
                applied=applied,
            )
        )
        return response if fault is None else await send_with_fault(request, response, fault, sleep=self._sleep)

    async def _respond(
        self, request: web.BaseRequest, target: Target, request_id: str
    ) -> tuple[web.Response, Fault | None, bool]:
        """Return the response, the fault of the request, and whether the operation was applied."""
        fault: Fault | None = None
        try:
            self._check_rate_limit(target)
            fault = self._faults.take(target.operation, target.tenant)
            if isinstance(fault, DropBefore):
                return _success(EMPTY), fault, False
            if fault is not None:
                await apply_before_operation(fault, sleep=self._sleep)
            return _success(await self._operations.run(request, target)), fault, True
        except Problem as error:
            problem = error
        except Exception:
            _logger.exception("%s failed, request %s", target.operation, request_id)
            problem = Problem("The server failed; its log has the request id.")
        body = problem.body(instance=escape_path(request.rel_url.raw_path), trace_id=request_id)
        return _failure(problem, body), fault, False

    def _check_rate_limit(self, target: Target) -> None:
        """Count the request, unless it is for the OpenAPI document; raise a `Problem` if it exceeds the limit."""
        if self._limiter is None or target.operation == "openapi":
            return
        wait = self._limiter.admit(target.tenant)
        if wait > 0:
            limit = self._limiter.limit
            seconds = max(1, math.ceil(wait)) if limit.retry_after else None
            raise retry_later("The tenant's rate limit is exceeded.", status=limit.status, retry_after=seconds)


def _success(response: SandboxResponse) -> web.Response:
    headers = dict(response.headers)
    if response.body:
        headers[hdrs.CONTENT_TYPE] = _JSON
    return web.Response(status=response.status, body=response.body, headers=headers)


def _failure(problem: Problem, body: object) -> web.Response:
    headers = {**problem.headers, hdrs.CONTENT_TYPE: PROBLEM_CONTENT_TYPE}
    return web.Response(status=problem.status, body=orjson.dumps(body), headers=headers)


def _new_request_id() -> str:
    """Return an id in the form of ASP.NET's `traceId`: a traceparent of W3C Trace Context, level 1."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
