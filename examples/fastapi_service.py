"""A FastAPI service in front of the API: one session for all tenants, and each error as the status that it means.

    PORT=8000 python examples/fastapi_service.py
    curl http://127.0.0.1:8000/acme/appointments

The tenant is in the path, so check that the user may act for it before you put this on a network.
"""

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import uvicorn
from fastapi import Body, Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from connector_async import (
    Appointment,
    AppointmentService,
    ConnectorError,
    ConnectorSession,
    InvalidArgumentError,
    NewAppointment,
    http_headers_for,
    http_status_for,
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the session before the first request, and close it after the last one."""
    async with ConnectorSession.from_env(deadline=10) as app.state.session:
        yield


async def service_of(tenant_id: str, request: Request) -> AppointmentService:
    """Return the appointments of the tenant in the path, over the connections that all requests share."""
    session: ConnectorSession = request.app.state.session
    return AppointmentService(session.for_tenant(tenant_id))


app = FastAPI(lifespan=lifespan)
Appointments = Annotated[AppointmentService, Depends(service_of)]


@app.exception_handler(InvalidArgumentError)
@app.exception_handler(ConnectorError)
async def respond_to_error(_: Request, error: Exception) -> JSONResponse:
    """Name the error. After a 504 of `OutcomeUnknownError` the appointment may exist: look before you create again."""
    return JSONResponse({"error": type(error).__name__}, http_status_for(error), http_headers_for(error))


@app.get("/{tenant_id}/appointments")
async def preview(appointments: Appointments) -> list[Appointment]:
    """Return all appointments of the tenant."""
    return await appointments.preview().collect()


@app.post("/{tenant_id}/appointments", status_code=201)
async def create(appointments: Appointments, draft: Annotated[NewAppointment, Body()]) -> Appointment:
    """Create an appointment."""
    return await appointments.create(draft)


@app.get("/{tenant_id}/appointments/{appointment_id}")
async def get(appointments: Appointments, appointment_id: str) -> Appointment:
    """Return one appointment."""
    return await appointments.get(appointment_id)


if __name__ == "__main__":
    # uvicorn raises the signal again once everything is closed, and the default handler would end with an error.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
