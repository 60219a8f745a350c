"""JSON Schemas (2020-12) of all that is read and written, closed, for one sandbox's settings.

It knows neither paths nor statuses.
"""

from collections.abc import Mapping
from typing import Any, Final

from .paging import CURSOR_PATTERN
from .reference import CONTENT_TYPES, SHOW_AS
from .settings import BodyFormat, PreviewPaging, PutSemantics, Settings
from .tokens import TokenReply
from .validation import INTEGER_DIGITS
from .zones import zone_names

Schema = dict[str, Any]

# Exact as to the calendar, leap years included. The years 1 and 9999 are left out: whether an instant of theirs is
# taken depends on its offset.
_YEAR: Final = "(?:000[2-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])"
_FOURTH: Final = "(?:0[48]|[2468][048]|[13579][26])"
_LEAP_YEAR: Final = f"(?:[0-9]{{2}}{_FOURTH}|{_FOURTH}00)"
_DAY_OF_YEAR: Final = (
    "(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_DATE: Final = f"(?:{_YEAR}-{_DAY_OF_YEAR}|{_LEAP_YEAR}-02-29)"
_TIME: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]+)?"
_OFFSET: Final = "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_ANSWERED_TIME: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{6}0)?"

_INSTANT: Final[Schema] = {"type": "string", "format": "date-time", "pattern": f"^{_DATE}T{_TIME}{_OFFSET}$"}
_LOCAL_TIME: Final[Schema] = {"type": "string", "pattern": f"^{_DATE}T{_TIME}{_OFFSET}?$"}
_DATE_OR_TIME: Final[Schema] = {"type": "string", "pattern": f"^{_DATE}(?:T{_TIME}{_OFFSET}?)?$"}
_ANSWERED_INSTANT: Final[Schema] = {"type": "string", "format": "date-time", "pattern": f"^{_ANSWERED_TIME}Z$"}
_ANSWERED_LOCAL: Final[Schema] = {"type": "string", "pattern": f"^{_ANSWERED_TIME}$"}
_TEXT: Final[Schema] = {"type": "string", "minLength": 1}
_URI: Final[Schema] = {"type": "string", "format": "uri-reference"}
_CURSOR: Final[Schema] = {"type": "string", "pattern": CURSOR_PATTERN}
_USER: Final[Schema] = {"domainId": _TEXT, "adId": _TEXT}
_CONTENT: Final[Schema] = {"content": {"type": "string"}, "contentType": {"enum": [*CONTENT_TYPES]}}


def ref(name: str) -> Schema:
    """Point to a schema of the document's components."""
    return {"$ref": f"#/components/schemas/{name}"}


def closed(properties: Mapping[str, object], *, optional: tuple[str, ...] = ()) -> Schema:
    """Describe an object that has these members and no others."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def component_schemas(settings: Settings) -> Schema:
    """Describe everything that is sent as JSON."""
    formats = _guide if settings.body_format is BodyFormat.GUIDE else _reference
    return {
        "Credentials": closed({"clientId": _TEXT, "clientSecret": _TEXT}),
        "Token": _token(settings),
        "Problem": _problem(),
        "Deletion": closed({"appointmentId": answered_id(settings), "deleted": {"const": True}}),
        "IdObject": closed({"appointmentId": answered_id(settings)}),
        "Id": answered_id(settings),
        **formats(settings),
    }


def query_schemas(settings: Settings) -> Schema:
    """Describe the parameters of a read's query, all of them required."""
    user = {} if settings.body_format is BodyFormat.GUIDE else _USER
    return {**user, "appointmentId": _asked_id(settings, in_query=True)}


def preview_schemas(settings: Settings) -> Schema:
    """Describe the parameters of a preview's query, all of them required."""
    if settings.body_format is BodyFormat.GUIDE:
        return {}
    return {**_USER, "startDate": _DATE_OR_TIME, "endDate": _DATE_OR_TIME}


def paging_schemas(settings: Settings) -> Schema:
    """Describe the parameters of a preview's query that ask for a page, all of them optional."""
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


def page_schema(settings: Settings) -> Schema:
    """Describe the answer of a preview."""
    items: Schema = {"type": "array", "items": ref("Appointment")}
    if settings.paging is not PreviewPaging.ARRAY:
        items["maxItems"] = settings.page_size
    match settings.paging:
        case PreviewPaging.ARRAY | PreviewPaging.LINK_HEADER:
            return items
        case PreviewPaging.CURSOR:
            return closed({"items": items, "nextCursor": {"anyOf": [_CURSOR, {"type": "null"}]}})
        case PreviewPaging.PAGE_NUMBERS:
            return closed({"items": items, "page": _integer(minimum=1), "totalPages": _integer(minimum=1)})
        case PreviewPaging.OFFSET:
            return closed({"items": items, "total": _integer()})
        case PreviewPaging.NEXT_LINK:
            return closed({"value": items, "nextLink": {"type": ["string", "null"], "format": "uri"}})


def answered_id(settings: Settings) -> Schema:
    """Describe an id as it is answered."""
    return _integer() if settings.integer_ids else _TEXT


def _integer(*, minimum: int = 0) -> Schema:
    return {"type": "integer", "minimum": minimum, "exclusiveMaximum": 10**INTEGER_DIGITS}


def _asked_id(settings: Settings, *, in_query: bool = False) -> Schema:
    if not settings.integer_ids:
        return _TEXT
    digits = {"type": "string", "pattern": f"^[0-9]{{1,{INTEGER_DIGITS}}}$"}
    return digits if in_query else {"anyOf": [_integer(), digits]}


def _token(settings: Settings) -> Schema:
    lifetime = {"const": settings.token_lifetime}
    if settings.token_reply is TokenReply.TOKEN:
        return closed({"token": _TEXT, "expiresIn": lifetime, "tokenType": {"const": "Bearer"}})
    return closed({"accessToken": _TEXT, "refreshToken": _TEXT, "expiresIn": lifetime})


def _problem() -> Schema:
    """Describe a refusal: RFC 9457, with ASP.NET's `traceId` and `errors`."""
    messages = {"type": "array", "items": _TEXT, "minItems": 1}
    properties = {
        "type": _URI,
        "title": _TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": _TEXT,
        "instance": _URI,
        "traceId": _TEXT,
        "errors": {"type": "object", "additionalProperties": messages, "minProperties": 1},
    }
    return closed(properties, optional=("errors",))


def _guide(settings: Settings) -> Schema:
    times = {"title": _TEXT, "startTime": _INSTANT, "endTime": _INSTANT}
    description = {"description": {"type": ["string", "null"]}}
    asked, replaces = {"appointmentId": _asked_id(settings)}, settings.put is PutSemantics.REPLACE
    answered = dict.fromkeys(("startTime", "endTime"), _ANSWERED_INSTANT)
    return {
        "NewAppointment": closed({**times, **description}, optional=("description",)),
        "AppointmentUpdate": closed(
            {**asked, **times, **description}, optional=("description", *(() if replaces else times))
        ),
        "AppointmentKey": closed(asked),
        "Appointment": closed({"appointmentId": answered_id(settings), **times, **answered, **description}),
    }


def _reference(settings: Settings) -> Schema:
    key = {"appointmentId": _asked_id(settings), **_USER}
    merged = () if settings.put is PutSemantics.REPLACE else ("subject", "startTime", "endTime")
    return {
        "TimeZone": {"enum": zone_names(), "description": "IANA's or Windows' name."},
        "Content": closed(_CONTENT),
        "NewAppointment": {"anyOf": [_zoned(_USER), _with_offsets(_USER)]},
        "AppointmentUpdate": {"anyOf": [_zoned(key, optional=merged), _with_offsets(key, optional=merged)]},
        "AppointmentKey": closed(key),
        "Appointment": _answered(settings),
    }


def _zoned(members: Schema, *, optional: tuple[str, ...] = ()) -> Schema:
    """Describe an appointment that names its zone, so that its times need no offset."""
    times = {"startTime": _LOCAL_TIME, "endTime": _LOCAL_TIME, "timeZone": ref("TimeZone")}
    return closed({**members, **_reference_fields(), **times}, optional=("body", "showAs", *optional))


def _with_offsets(members: Schema, *, optional: tuple[str, ...] = ()) -> Schema:
    """Describe an appointment that names no zone."""
    times = {"startTime": _INSTANT, "endTime": _INSTANT}
    return closed({**members, **_reference_fields(), **times}, optional=("body", "showAs", *optional))


def _reference_fields() -> Schema:
    return {"subject": _TEXT, "body": ref("Content"), "showAs": {"enum": [*SHOW_AS]}}


def _answered(settings: Settings) -> Schema:
    time = _ANSWERED_LOCAL if settings.naive_times else _ANSWERED_INSTANT
    times = {"startTime": time, "endTime": time, "timeZone": ref("TimeZone")}
    return closed({"appointmentId": answered_id(settings), **_USER, **_reference_fields(), **times})
