"""An aiohttp service in front of the API: one session for all tenants, and each error as the status that it means.

    PORT=8000 python examples/aiohttp_service.py
    curl http://127.0.0.1:8000/acme/appointments

The tenant is in the path, so check that the user may act for it before you put this on a network.
"""

import os
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.typedefs import Handler

from connector_async import (
    AppointmentService,
    ConnectorError,
    ConnectorSession,
    InvalidArgumentError,
    NewAppointment,
    http_headers_for,
    http_status_for,
)

SESSION = web.AppKey("session", ConnectorSession)
routes = web.RouteTableDef()


async def session_of_the_service(app: web.Application) -> AsyncIterator[None]:
    """Open the session before the first request, and close it after the last one."""
    async with ConnectorSession.from_env(deadline=10) as app[SESSION]:
        yield


@web.middleware
async def respond_to_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Name the error. After a 504 of `OutcomeUnknownError` the appointment may exist: look before you create again."""
    try:
        return await handler(request)
    except (ConnectorError, InvalidArgumentError) as error:
        body, status, headers = {"error": type(error).__name__}, http_status_for(error), http_headers_for(error)
        return web.json_response(body, status=status, headers=headers)


def service_of(request: web.Request) -> AppointmentService:
    """Return the appointments of the tenant in the path, over the connections that all requests share."""
    return AppointmentService(request.app[SESSION].for_tenant(request.match_info["tenant_id"]))


@routes.get("/{tenant_id}/appointments")
async def preview(request: web.Request) -> web.Response:
    """Return all appointments of the tenant."""
    return web.json_response([found.to_dict() async for found in service_of(request).preview()])


@routes.post("/{tenant_id}/appointments")
async def create(request: web.Request) -> web.Response:
    """Create an appointment."""
    try:
        draft = await request.json()
    except ValueError:
        raise web.HTTPBadRequest(text="the body must be JSON") from None
    created = await service_of(request).create(NewAppointment.from_dict(draft))
    return web.json_response(created.to_dict(), status=201)


@routes.get("/{tenant_id}/appointments/{appointment_id}")
async def get(request: web.Request) -> web.Response:
    """Return one appointment."""
    found = await service_of(request).get(request.match_info["appointment_id"])
    return web.json_response(found.to_dict())


if __name__ == "__main__":
    app = web.Application(middlewares=[respond_to_errors])
    app.add_routes(routes)
    app.cleanup_ctx.append(session_of_the_service)
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
