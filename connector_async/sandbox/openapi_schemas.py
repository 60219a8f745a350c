"""JSON Schemas (2020-12) of requests and responses for one sandbox's settings, and examples of requests.

Objects are closed. Paths and statuses are described in `openapi`.
"""

from collections.abc import Mapping
from typing import Any, Final

from .models import CONTENT_TYPES, SHOW_AS_VALUES
from .paging import CURSOR_PATTERN, FIRST_POSITION, write_cursor
from .seeding import SEED_AD_ID, SEED_DOMAIN_ID
from .settings import BodyFormat, PreviewPaging, PutSemantics, SandboxSettings, TokenResponse
from .timestamps import zone_names
from .tokens import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET
from .validation import INTEGER_DIGITS

Schema = dict[str, Any]

# The patterns know the calendar, leap years included. They exclude the years 1 and 9999, because the offset decides
# which instants of these years are accepted.
_YEAR: Final = "(?:000[2-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])"
_MULTIPLE_OF_FOUR: Final = "(?:0[48]|[2468][048]|[13579][26])"
_LEAP_YEAR: Final = f"(?:[0-9]{{2}}{_MULTIPLE_OF_FOUR}|{_MULTIPLE_OF_FOUR}00)"
_DAY_OF_YEAR: Final = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_DATE: Final = f"(?:{_YEAR}-{_DAY_OF_YEAR}|{_LEAP_YEAR}-02-29)"
_TIME: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
_OFFSET: Final = "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_RESPONSE_TIME: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6}0)?"

_INSTANT: Final[Schema] = {"type": "string", "format": "date-time", "pattern": f"^{_DATE}T{_TIME}{_OFFSET}$"}
_LOCAL_TIME: Final[Schema] = {"type": "string", "pattern": f"^{_DATE}T{_TIME}{_OFFSET}?$"}
_DATE_OR_TIME: Final[Schema] = {"type": "string", "pattern": f"^{_DATE}(?:T{_TIME}{_OFFSET}?)?$"}
_RESPONSE_INSTANT: Final[Schema] = {"type": "string", "format": "date-time", "pattern": f"^{_RESPONSE_TIME}Z$"}
_RESPONSE_LOCAL_TIME: Final[Schema] = {"type": "string", "pattern": f"^{_RESPONSE_TIME}$"}
_NON_EMPTY: Final[Schema] = {"type": "string", "minLength": 1}
_URI: Final[Schema] = {"type": "string", "format": "uri-reference"}
_CURSOR: Final[Schema] = {"type": "string", "pattern": CURSOR_PATTERN}
_USER: Final[Schema] = {"domainId": _NON_EMPTY, "adId": _NON_EMPTY}
_CONTENT: Final[Schema] = {"content": {"type": "string"}, "contentType": {"enum": [*CONTENT_TYPES]}}

# The guide's examples, and the same ones in the reference format. The id works once an appointment has it.
_EXAMPLE_ID: Final = "123"
_EXAMPLE_USER: Final = {"domainId": SEED_DOMAIN_ID, "adId": SEED_AD_ID}
_EXAMPLE_RANGE: Final = {"startDate": "2024-01-15T00:00:00Z", "endDate": "2024-01-16T00:00:00Z"}
# Cursors are opaque, but the one before all appointments is the same in every sandbox.
_EXAMPLE_PAGE: Final = {"cursor": write_cursor(FIRST_POSITION), "page": 1, "offset": 0}
_GUIDE_EXAMPLE: Final = {
    "title": "Meeting with Client",
    "startTime": "2024-01-15T10:00:00Z",
    "endTime": "2024-01-15T11:00:00Z",
    "description": "Quarterly review meeting",
}
_GUIDE_UPDATE: Final = {
    "title": "Updated Meeting Title",
    "startTime": "2024-01-15T10:30:00Z",
    "endTime": "2024-01-15T11:30:00Z",
}
_REFERENCE_EXAMPLE: Final = {
    "subject": "Meeting with Client",
    "body": {"content": "Quarterly review meeting", "contentType": "Text"},
    "startTime": "2024-01-15T10:00:00",
    "endTime": "2024-01-15T11:00:00",
    "timeZone": "W. Europe Standard Time",
    "showAs": "Busy",
}
_REFERENCE_UPDATE: Final = {
    "subject": "Updated Meeting Title",
    "startTime": "2024-01-15T10:30:00Z",
    "endTime": "2024-01-15T11:30:00Z",
}


def request_examples(settings: SandboxSettings) -> dict[str, Any]:
    """Return an example for each schema of a request body, and under "query" one for each query parameter."""
    guide = settings.body_format is BodyFormat.GUIDE
    user = {} if guide else _EXAMPLE_USER
    examples = {
        "query": {**user, **_EXAMPLE_RANGE, "appointmentId": _EXAMPLE_ID, **_EXAMPLE_PAGE, "limit": settings.page_size},
        "NewAppointment": {**user, **(_GUIDE_EXAMPLE if guide else _REFERENCE_EXAMPLE)},
        "AppointmentUpdate": {"appointmentId": _EXAMPLE_ID, **user, **(_GUIDE_UPDATE if guide else _REFERENCE_UPDATE)},
        "AppointmentKey": {"appointmentId": _EXAMPLE_ID, **user},
    }
    # Only the default secret is public.
    if settings.clients.get(DEFAULT_CLIENT_ID) == DEFAULT_CLIENT_SECRET:
        examples["Credentials"] = {"clientId": DEFAULT_CLIENT_ID, "clientSecret": DEFAULT_CLIENT_SECRET}
    return examples


def ref(name: str) -> Schema:
    """Return a reference to a schema of the document's components."""
    return {"$ref": f"#/components/schemas/{name}"}


def component_schemas(settings: SandboxSettings) -> Schema:
    """Return the schemas of the document's components."""
    appointment_schemas = _guide if settings.body_format is BodyFormat.GUIDE else _reference
    return {
        "Credentials": _closed({"clientId": _NON_EMPTY, "clientSecret": _NON_EMPTY}),
        "Token": _token(settings),
        "Problem": _problem(),
        "Deletion": _closed({"appointmentId": _response_id(settings), "deleted": {"const": True}}),
        "IdObject": _closed({"appointmentId": _response_id(settings)}),
        "Id": _response_id(settings),
        **appointment_schemas(settings),
    }


def key_parameter_schemas(settings: SandboxSettings) -> Schema:
    """Return the schemas of the query parameters that identify an appointment, all required."""
    user = {} if settings.body_format is BodyFormat.GUIDE else _USER
    return {**user, "appointmentId": _request_id(settings, in_query=True)}


def range_parameter_schemas(settings: SandboxSettings) -> Schema:
    """Return the schemas of the query parameters for the range of a preview, all required."""
    if settings.body_format is BodyFormat.GUIDE:
        return {}
    return {**_USER, "startDate": _DATE_OR_TIME, "endDate": _DATE_OR_TIME}


def page_parameter_schemas(settings: SandboxSettings) -> Schema:
    """Return the schemas of the query parameters that select a page of a preview, all optional."""
    match settings.paging:
        case PreviewPaging.ARRAY:
            return {}
        case PreviewPaging.PAGE_NUMBERS:
            return {"page": {**_integer(minimum=1), "default": 1}}
        case PreviewPaging.OFFSET:
            limit = {**_integer(minimum=1), "default": settings.page_size}
            return {"offset": {**_integer(), "default": 0}, "limit": limit}
        case PreviewPaging.CURSOR | PreviewPaging.LINK_HEADER | PreviewPaging.NEXT_LINK:
            return {"cursor": _CURSOR}


def page_schema(settings: SandboxSettings) -> Schema:
    """Return the schema of one page of a preview."""
    items: Schema = {"type": "array", "items": ref("Appointment")}
    if settings.paging is not PreviewPaging.ARRAY:
        items["maxItems"] = settings.page_size
    match settings.paging:
        case PreviewPaging.ARRAY | PreviewPaging.LINK_HEADER:
            return items
        case PreviewPaging.CURSOR:
            return _closed({"items": items, "nextCursor": {"anyOf": [_CURSOR, {"type": "null"}]}})
        case PreviewPaging.PAGE_NUMBERS:
            return _closed({"items": items, "page": _integer(minimum=1), "totalPages": _integer(minimum=1)})
        case PreviewPaging.OFFSET:
            return _closed({"items": items, "total": _integer()})
        case PreviewPaging.NEXT_LINK:
            return _closed({"value": items, "nextLink": {"type": ["string", "null"], "format": "uri"}})


def _closed(properties: Mapping[str, object], *, optional: tuple[str, ...] = ()) -> Schema:
    """Return the schema of an object that has these properties and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _integer(*, minimum: int = 0) -> Schema:
    return {"type": "integer", "minimum": minimum, "exclusiveMaximum": 10**INTEGER_DIGITS}


def _response_id(settings: SandboxSettings) -> Schema:
    return _integer() if settings.integer_ids else _NON_EMPTY


def _request_id(settings: SandboxSettings, *, in_query: bool = False) -> Schema:
    if not settings.integer_ids:
        return _NON_EMPTY
    digits = {"type": "string", "pattern": f"^[0-9]{{1,{INTEGER_DIGITS}}}$"}
    return digits if in_query else {"anyOf": [_integer(), digits]}


def _token(settings: SandboxSettings) -> Schema:
    lifetime = {"const": settings.token_lifetime}
    if settings.token_response is TokenResponse.TOKEN:
        return _closed({"token": _NON_EMPTY, "expiresIn": lifetime, "tokenType": {"const": "Bearer"}})
    return _closed({"accessToken": _NON_EMPTY, "refreshToken": _NON_EMPTY, "expiresIn": lifetime})


def _problem() -> Schema:
    """Return the schema of an error response: RFC 9457 with ASP.NET's `traceId` and `errors`."""
    messages = {"type": "array", "items": _NON_EMPTY, "minItems": 1}
    properties = {
        "type": _URI,
        "title": _NON_EMPTY,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": _NON_EMPTY,
        "instance": _URI,
        "traceId": _NON_EMPTY,
        "errors": {"type": "object", "additionalProperties": messages, "minProperties": 1},
    }
    return _closed(properties, optional=("errors",))


def _guide(settings: SandboxSettings) -> Schema:
    fields = {"title": _NON_EMPTY, "startTime": _INSTANT, "endTime": _INSTANT}
    description = {"description": {"type": ["string", "null"]}}
    key, replaces = {"appointmentId": _request_id(settings)}, settings.put is PutSemantics.REPLACE
    response_times = dict.fromkeys(("startTime", "endTime"), _RESPONSE_INSTANT)
    return {
        "NewAppointment": _closed({**fields, **description}, optional=("description",)),
        "AppointmentUpdate": _closed(
            {**key, **fields, **description}, optional=("description", *(() if replaces else fields))
        ),
        "AppointmentKey": _closed(key),
        "Appointment": _closed({"appointmentId": _response_id(settings), **fields, **response_times, **description}),
    }


def _reference(settings: SandboxSettings) -> Schema:
    key = {"appointmentId": _request_id(settings), **_USER}
    merged = () if settings.put is PutSemantics.REPLACE else ("subject", "startTime", "endTime")
    return {
        "TimeZone": {"enum": zone_names(), "description": "An IANA or a Windows name."},
        "Content": _closed(_CONTENT),
        "NewAppointment": {"anyOf": [_with_time_zone(_USER), _with_offsets(_USER)]},
        "AppointmentUpdate": {"anyOf": [_with_time_zone(key, optional=merged), _with_offsets(key, optional=merged)]},
        "AppointmentKey": _closed(key),
        "Appointment": _reference_response(settings),
    }


def _with_time_zone(members: Schema, *, optional: tuple[str, ...] = ()) -> Schema:
    """Return the schema of an appointment that names its time zone, so that its times need no offset."""
    times = {"startTime": _LOCAL_TIME, "endTime": _LOCAL_TIME, "timeZone": ref("TimeZone")}
    return _closed({**members, **_reference_fields(), **times}, optional=("body", "showAs", *optional))


def _with_offsets(members: Schema, *, optional: tuple[str, ...] = ()) -> Schema:
    """Return the schema of an appointment that names no time zone."""
    times = {"startTime": _INSTANT, "endTime": _INSTANT}
    return _closed({**members, **_reference_fields(), **times}, optional=("body", "showAs", *optional))


def _reference_fields() -> Schema:
    return {"subject": _NON_EMPTY, "body": ref("Content"), "showAs": {"enum": [*SHOW_AS_VALUES]}}


def _reference_response(settings: SandboxSettings) -> Schema:
    time = _RESPONSE_LOCAL_TIME if settings.naive_times else _RESPONSE_INSTANT
    times = {"startTime": time, "endTime": time, "timeZone": ref("TimeZone")}
    return _closed({"appointmentId": _response_id(settings), **_USER, **_reference_fields(), **times})
