"""What all calls of a service share: the session, the user, the headers, and how a request is sent with them."""

from collections.abc import Awaitable, Mapping
from typing import Final

import attrs

from connector_async._checks import check_endpoint, check_headers
from connector_async._clock import Deadline
from connector_async._tracebacks import hiding_arguments
from connector_async.exceptions import ResponseError
from connector_async.models import DirectoryUser
from connector_async.protocol import Response
from connector_async.retry import CallRecord
from connector_async.session import ConnectorSession
from connector_async.session.middleware import merged

NO_CONTENT: Final = frozenset({204, 205})
"""Statuses of responses without a body, whatever the headers say (RFC 9110, sections 15.3.5 and 15.3.6)."""


@attrs.frozen(eq=False, repr=False)
class Endpoint:
    """A path below the tenant."""

    path: tuple[str, ...]
    """The unquoted segments."""
    template: str | None
    """The whole path, with names instead of values, for middleware and traces. `None`: the path may have values."""

    @property
    def shown(self) -> str:
        """The path below the tenant as the caller gave it: a template, or unquoted with its values."""
        return "/" + "/".join(self.path) if self.template is None else self.template.removeprefix(_TENANT)

    def show_template(self, error: ResponseError) -> None:
        """Let an error show the template, if there is one, instead of the path with its values."""
        if self.template is not None:
            error.args = (str(error).replace(error.path, self.template),)
            error.path = self.template

    @classmethod
    def parse(cls, path: str, parameters: Mapping[str, str] | None) -> "Endpoint":
        """Return the endpoint of a path or of a template, which has `parameters`.

        Raises:
            ValueError: If one of the two breaks its rule; see `check_endpoint`.
            TypeError: If one of the two has another type.
        """
        segments = check_endpoint(path, parameters)
        return cls(segments, None if parameters is None else f"{_TENANT}{path}")


_TENANT: Final = "/{tenantId}"

APPOINTMENT: Final = Endpoint(("appointment",), f"{_TENANT}/appointment")
PREVIEW: Final = Endpoint(("appointment", "preview"), f"{_TENANT}/appointment/preview")


class CallContext:
    """The session, the user and the headers that the calls of a service are made with, and how bodies are written."""

    def __init__(
        self, session: ConnectorSession, user: DirectoryUser | None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.session = session
        self.user = user
        self.headers = headers
        self.wire_format = session.wire_format
        self.zone = session.assume_zone
        self.user_fields = session.wire_format.user_fields(user)

    @hiding_arguments  # a header may be a key
    def with_headers(self, headers: Mapping[str, str]) -> "CallContext":
        """Return a context with further headers, which replace those of the same names.

        Raises:
            ValueError: If `headers` breaks a rule; see `check_headers`.
            TypeError: If `headers` is not a mapping of strings.
        """
        return CallContext(self.session, self.user, merged(self.headers or {}, check_headers("headers", headers)))

    def request(
        self,
        method: str,
        endpoint: Endpoint,
        record: CallRecord,
        deadline: Deadline | None,
        *,
        query: Mapping[str, str] | str | None = None,
        body: bytes | None = None,
        idempotent: bool | None = None,
    ) -> Awaitable[Response]:
        """Send the request of one attempt; see `ConnectorSession.request`."""
        return self.session.request(
            method,
            endpoint.path,
            query=query,
            body=body,
            deadline=deadline,
            headers=self.headers,
            operation=record.operation,
            template=endpoint.template,
            attempt=record.attempts,
            idempotent=idempotent,
        )
