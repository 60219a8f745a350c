"""The call of any endpoint: what the SDK does not model, sent by the same rules as the operations that it does."""

from collections.abc import Mapping
from typing import Any, Final

import attrs

from connector_async._checks import check_json, check_method, check_type
from connector_async._clock import Deadline
from connector_async.exceptions import DeadlineExceededError, OutcomeUnknownError, ResponseError, TransportError
from connector_async.protocol import Response
from connector_async.retry import CallRecord, may_have_happened

from .context import CallContext, Endpoint

_IDEMPOTENT: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"})
"""RFC 9110, section 9.2.2."""


class RequestCall:
    """Sends one request to any endpoint.

    Args:
        method: The HTTP method. Its case does not matter.
        endpoint: The path below the tenant.
        query: The query.
        json: The body; `None`: no body.
        idempotent: Whether sending it twice has the effect of sending it once; `None`: as the method says.
        unavailable_means_refused: Whether 503 with `Retry-After` refuses it.

    Raises:
        ValueError: If `method` is not a token, `query` cannot be encoded, or `json` has more than JSON values.
        TypeError: If an argument has another type.
    """

    operation = "request"

    def __init__(
        self,
        context: CallContext,
        method: str,
        endpoint: Endpoint,
        *,
        query: Mapping[str, str] | str | None,
        json: Any,
        idempotent: bool | None,
        unavailable_means_refused: bool,
    ) -> None:
        check_type("idempotent", idempotent, bool, optional=True)
        context.session.url(endpoint.path, query)  # raises now, not with the first attempt
        self.method = check_method(method).upper()  # as aiohttp sends it
        self.idempotent = self.method in _IDEMPOTENT if idempotent is None else idempotent
        self._context = context
        self.endpoint = endpoint
        self._query = query
        self._body = None if json is None else check_json("json", json)
        self._unavailable_means_refused = unavailable_means_refused

    async def attempt(self, deadline: Deadline | None, record: CallRecord) -> Response:
        """Send the request, and return the response."""
        context = self._context
        try:
            response = await context.request(
                self.method, self.endpoint, record, deadline, query=self._query, body=self._body
            )
        except (ResponseError, TransportError, DeadlineExceededError) as error:
            if isinstance(error, ResponseError):
                self._show_template(error)
            may_repeat = self.idempotent or not may_have_happened(
                error, unavailable_means_refused=self._unavailable_means_refused
            )
            if may_repeat:
                raise
            record.note_failure(error)
            failure = error
        else:
            record.note(response)
            return attrs.evolve(response, wire_format=context.wire_format, assume_zone=context.zone)
        raise OutcomeUnknownError(
            "the request was sent, and its outcome is unknown", status=getattr(failure, "status", None)
        ) from failure

    def _show_template(self, error: ResponseError) -> None:
        """Let an error show the template of the path instead of the path with its values."""
        template = self.endpoint.template
        if template is not None:
            error.args = (str(error).replace(error.path, template),)
            error.path = template
