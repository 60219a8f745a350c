"""Requests that work, for the OpenAPI document: those of the guide, and the same in the reference's format.

It does not know which appointments there are: the id is the guide's, and works once there is one of that id.
"""

from typing import Any, Final

from .paging import FIRST_POSITION, write_cursor
from .seeding import SEED_AD_ID, SEED_DOMAIN_ID
from .settings import BodyFormat, Settings
from .tokens import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET

_ID: Final = "123"
_USER: Final = {"domainId": SEED_DOMAIN_ID, "adId": SEED_AD_ID}
_RANGE: Final = {"startDate": "2024-01-15T00:00:00Z", "endDate": "2024-01-16T00:00:00Z"}
# The position before all others: cursors are opaque, but this one is the same in every sandbox.
_FIRST_PAGE: Final = {"cursor": write_cursor(FIRST_POSITION), "page": 1, "offset": 0}
_GUIDE: Final = {
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
_REFERENCE: Final = {
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


def request_examples(settings: Settings) -> dict[str, Any]:
    """Build an example for each schema of a body, and for the parameters of a query."""
    guide = settings.body_format is BodyFormat.GUIDE
    user = {} if guide else _USER
    examples = {
        "query": {**user, **_RANGE, "appointmentId": _ID, **_FIRST_PAGE, "limit": settings.page_size},
        "NewAppointment": {**user, **(_GUIDE if guide else _REFERENCE)},
        "AppointmentUpdate": {"appointmentId": _ID, **user, **(_GUIDE_UPDATE if guide else _REFERENCE_UPDATE)},
        "AppointmentKey": {"appointmentId": _ID, **user},
    }
    # The secret of any other client is its owner's.
    if settings.clients.get(DEFAULT_CLIENT_ID) == DEFAULT_CLIENT_SECRET:
        examples["Credentials"] = {"clientId": DEFAULT_CLIENT_ID, "clientSecret": DEFAULT_CLIENT_SECRET}
    return examples
