"""Answers one request: finds its operation, writes what it returns or why it refused, and logs the outcome.

What the operations are and do is not known here. The answers written by aiohttp itself, to bytes that are not HTTP,
do not pass through.
"""

import logging
import math
import secrets
from typing import Final

import orjson
from aiohttp import hdrs, web

from .delivery import Sleep, deliver, is_dropped
from .faults import DelayFault, DropBefore, Fault, Faults, RevokedToken, StatusFault
from .limits import Limiter, SandboxLimit
from .operations import Operations
from .problems import CONTENT_TYPE, Problem, retry_later, revoked
from .request_log import LoggedRequest, RequestLog
from .responses import EMPTY, Answer
from .routing import Target, instance_uri, resolve

_JSON: Final = "application/json; charset=utf-8"  # as ASP.NET sends it
_REQUEST_ID: Final = "x-request-id"

_logger: Final = logging.getLogger(__name__)


class RateGate:
    """Refuses the requests that exceed the limit."""

    def __init__(self, limit: SandboxLimit, limiter: Limiter) -> None:
        self._limit = limit
        self._limiter = limiter

    def check(self, target: Target) -> None:
        """Count the request, unless it asks for the OpenAPI document; raises the refusal as a `Problem`."""
        wait = 0.0 if target.operation == "openapi" else self._limiter.admit(target.tenant)
        if wait > 0:
            seconds = max(1, math.ceil(wait)) if self._limit.retry_after else None
            raise retry_later("The tenant's rate limit is exceeded.", status=self._limit.status, retry_after=seconds)


class Handler:
    """Turns requests into answers; an instance is what aiohttp's server calls."""

    def __init__(
        self, *, operations: Operations, log: RequestLog, faults: Faults, gate: RateGate | None, sleep: Sleep
    ) -> None:
        self._operations = operations
        self._log = log
        self._faults = faults
        self._gate = gate
        self._sleep = sleep

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer the request; nothing but cancellation and the client's leaving is raised."""
        request_id = _new_request_id()
        target = resolve(request.method, request.rel_url.raw_path)
        response, fault, applied = await self._answer(request, target, request_id)
        response.headers[_REQUEST_ID] = request_id
        self._log.record(
            LoggedRequest(
                method=request.method,
                operation=target.operation,
                tenant=target.tenant,
                status=0 if is_dropped(response, fault) else response.status,
                request_id=request_id,
                fault=None if fault is None else fault.name,
                applied=applied,
            )
        )
        return response if fault is None else await deliver(request, response, fault, sleep=self._sleep)

    async def _answer(
        self, request: web.BaseRequest, target: Target, request_id: str
    ) -> tuple[web.Response, Fault | None, bool]:
        """Do what is asked, unless the limit or a fault prevents it; tell what fault there was, and if it was done."""
        fault: Fault | None = None
        try:
            if self._gate is not None:
                self._gate.check(target)
            fault = self._faults.take(target.operation, target.tenant)
            if isinstance(fault, DropBefore):
                return _success(EMPTY), fault, False
            if fault is not None:
                await self._suffer(fault)
            return _success(await self._operations.perform(request, target)), fault, True
        except Problem as refusal:
            problem = refusal
        except Exception:
            _logger.exception("%s failed, request %s", target.operation, request_id)
            problem = Problem("The server failed; its log has the request id.")
        body = problem.body(instance=instance_uri(request.rel_url.raw_path), trace_id=request_id)
        return _refusal(problem, body), fault, False

    async def _suffer(self, fault: Fault) -> None:
        match fault:
            case StatusFault():
                raise retry_later("A scripted fault.", status=fault.code, retry_after=fault.retry_after)
            case RevokedToken():
                raise revoked()
            case DelayFault():
                await self._sleep(fault.seconds)


def _success(answer: Answer) -> web.Response:
    headers = dict(answer.headers)
    if answer.content:
        headers[hdrs.CONTENT_TYPE] = _JSON
    return web.Response(status=answer.status, body=answer.content, headers=headers)


def _refusal(problem: Problem, body: object) -> web.Response:
    headers = {**problem.headers, hdrs.CONTENT_TYPE: CONTENT_TYPE}
    return web.Response(status=problem.status, body=orjson.dumps(body), headers=headers)


def _new_request_id() -> str:
    """Make an id of the form ASP.NET's `traceId` has: a traceparent of W3C Trace Context, level 1."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
