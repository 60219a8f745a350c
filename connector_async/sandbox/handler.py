"""Answers one request: finds its operation, writes what it returns or why it refused, and logs the outcome.

What the operations are and do is not known here. The answers written by aiohttp itself, to bytes that are not HTTP,
do not pass through.
"""

import logging
import secrets
from typing import Final

import orjson
from aiohttp import web

from connector_async.sandbox.operations import Operations
from connector_async.sandbox.problems import CONTENT_TYPE, Problem
from connector_async.sandbox.request_log import LoggedRequest, RequestLog
from connector_async.sandbox.routing import Target, instance_uri, resolve

_JSON: Final = "application/json; charset=utf-8"  # as ASP.NET sends it
_REQUEST_ID: Final = "x-request-id"

_logger: Final = logging.getLogger(__name__)


class Handler:
    """Turns requests into answers; an instance is what aiohttp's server calls."""

    def __init__(self, *, operations: Operations, log: RequestLog) -> None:
        self._operations = operations
        self._log = log

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        """Answer the request; nothing but cancellation is raised."""
        request_id = _new_request_id()
        target = resolve(request.method, request.rel_url.raw_path)
        response = await self._answer(request, target, request_id)
        response.headers[_REQUEST_ID] = request_id
        self._log.record(
            LoggedRequest(
                method=request.method,
                operation=target.operation,
                tenant=target.tenant,
                status=response.status,
                request_id=request_id,
            )
        )
        return response

    async def _answer(self, request: web.BaseRequest, target: Target, request_id: str) -> web.Response:
        try:
            return _response(200, await self._operations.perform(request, target), content_type=_JSON)
        except Problem as refusal:
            problem = refusal
        except Exception:
            _logger.exception("%s failed, request %s", target.operation, request_id)
            problem = Problem("The server failed; its log has the request id.")
        body = problem.body(instance=instance_uri(request.rel_url.raw_path), trace_id=request_id)
        return _response(problem.status, body, content_type=CONTENT_TYPE, headers=problem.headers)


def _response(status: int, body: object, *, content_type: str, headers: dict[str, str] | None = None) -> web.Response:
    all_headers = {**(headers or {}), "Content-Type": content_type}
    return web.Response(status=status, body=orjson.dumps(body), headers=all_headers)


def _new_request_id() -> str:
    """Make an id of the form ASP.NET's `traceId` has: a traceparent of W3C Trace Context, level 1."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
