"""A client on kiota's runtime libraries, written as its generator would for the sandbox's OpenAPI document.

The generator itself is a .NET program. What is below calls the runtime as its Python output does, with one request
builder for the one path of the comparison.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import httpx
from kiota_abstractions.api_error import APIError
from kiota_abstractions.authentication import (
    AccessTokenProvider,
    AllowedHostsValidator,
    BaseBearerTokenAuthenticationProvider,
)
from kiota_abstractions.base_request_builder import BaseRequestBuilder
from kiota_abstractions.base_request_configuration import RequestConfiguration
from kiota_abstractions.method import Method
from kiota_abstractions.request_information import RequestInformation
from kiota_abstractions.serialization import Parsable, ParseNode, SerializationWriter
from kiota_bundle.default_request_adapter import DefaultRequestAdapter
from kiota_http.kiota_client_factory import KiotaClientFactory
from kiota_http.middleware import RetryHandler
from kiota_http.middleware.options import RetryHandlerOption

from benchmarks.peers import CONNECTIONS, TENANT, TOKEN, Calls, Draft, Peer

Deserializers = dict[str, Callable[[ParseNode], None]]


@dataclass
class Appointment(Parsable):
    appointment_id: str | None = None
    description: str | None = None
    end_time: datetime | None = None
    start_time: datetime | None = None
    title: str | None = None

    @staticmethod
    def create_from_discriminator_value(_: ParseNode) -> "Appointment":
        return Appointment()

    def get_field_deserializers(self) -> Deserializers:
        return {
            "appointmentId": lambda node: setattr(self, "appointment_id", node.get_str_value()),
            "description": lambda node: setattr(self, "description", node.get_str_value()),
            "endTime": lambda node: setattr(self, "end_time", node.get_datetime_value()),
            "startTime": lambda node: setattr(self, "start_time", node.get_datetime_value()),
            "title": lambda node: setattr(self, "title", node.get_str_value()),
        }

    def serialize(self, writer: SerializationWriter) -> None:
        writer.write_str_value("appointmentId", self.appointment_id)
        writer.write_str_value("description", self.description)
        writer.write_datetime_value("endTime", self.end_time)
        writer.write_datetime_value("startTime", self.start_time)
        writer.write_str_value("title", self.title)


class NewAppointment(Appointment):
    """Has no id, which is not written then."""


@dataclass
class Problem(APIError, Parsable):  # noqa: N818 - it is the name of the schema
    detail: str | None = None

    @staticmethod
    def create_from_discriminator_value(_: ParseNode) -> "Problem":
        return Problem()

    def get_field_deserializers(self) -> Deserializers:
        return {"detail": lambda node: setattr(self, "detail", node.get_str_value())}

    def serialize(self, writer: SerializationWriter) -> None:
        writer.write_str_value("detail", self.detail)


_ERRORS: Final[Any] = dict.fromkeys(("400", "401", "403", "404", "500"), Problem)


class AppointmentRequestBuilder(BaseRequestBuilder):
    @dataclass
    class GetQueryParameters:
        appointment_id: str | None = None

        def get_query_parameter(self, original_name: str) -> str:
            return "appointmentId" if original_name == "appointment_id" else original_name

    async def get(self, configuration: RequestConfiguration[GetQueryParameters]) -> Any:
        template = "{+baseurl}/{tenantId}/appointment?appointmentId={appointmentId}"
        request = RequestInformation(Method.GET, template, self.path_parameters)
        request.configure(configuration)
        request.headers.try_add("Accept", "application/json")
        return await self.request_adapter.send_async(request, Appointment, _ERRORS)

    async def post(self, body: NewAppointment, configuration: RequestConfiguration[Any]) -> Any:
        request = RequestInformation(Method.POST, self.url_template, self.path_parameters)
        request.configure(configuration)
        request.headers.try_add("Accept", "application/json")
        request.set_content_from_parsable(self.request_adapter, "application/json", body)
        return await self.request_adapter.send_async(request, Appointment, _ERRORS)


class _Token(AccessTokenProvider):
    async def get_authorization_token(self, uri: str, _: dict[str, Any] | None = None) -> str:  # noqa: ARG002
        return TOKEN

    def get_allowed_hosts_validator(self) -> AllowedHostsValidator:
        return AllowedHostsValidator([])


@contextlib.asynccontextmanager
async def _open(base_url: str) -> AsyncIterator[Calls]:
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    client = KiotaClientFactory.create_with_custom_middleware(
        [RetryHandler(RetryHandlerOption(max_retries=2))],  # the one of its seven that these calls need
        httpx.AsyncClient(base_url=base_url, limits=limits, trust_env=False),
    )
    async with client:
        adapter = DefaultRequestAdapter(BaseBearerTokenAuthenticationProvider(_Token()), http_client=client)
        # A generated client returns this as `client.by_tenant_id(…).appointment`.
        builder = AppointmentRequestBuilder(adapter, "{+baseurl}/{tenantId}/appointment", {"tenantId": TENANT})

        async def get(appointment_id: str) -> str:
            query = AppointmentRequestBuilder.GetQueryParameters(appointment_id=appointment_id)
            configuration = RequestConfiguration(query_parameters=query)
            configuration.headers.add("tenantId", TENANT)
            title: str = (await builder.get(configuration)).title
            return title

        async def create(draft: Draft) -> str:
            new = NewAppointment(
                title=draft.title,
                start_time=draft.start_time,
                end_time=draft.end_time,
                description=draft.description,
            )
            configuration = RequestConfiguration[Any]()
            configuration.headers.add("tenantId", TENANT)
            title: str = (await builder.post(new, configuration)).title
            return title

        yield Calls(get=get, create=create)


PEER = Peer(
    name="kiota's runtime",
    features={"typed result": "unchecked", "auth": "yours, asked each time", "retry": "yes, also of a create"},
    open=_open,
)
