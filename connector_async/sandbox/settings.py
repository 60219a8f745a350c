"""The settings of a sandbox. Most of them choose a reading of an open point of the API's documents.

Each setting is explained here. What it changes is implemented in the module that reads it.
"""

from collections.abc import Callable, Collection, Mapping
from enum import Enum
from typing import Final

from attrs import field, frozen, validators

from .faults import FaultRates
from .rate_limit import SandboxLimit

_LARGEST_PAGE: Final = 2**31 - 1  # the largest .NET int; orjson cannot write a page number beyond 64 bits


class TokenResponse(Enum):
    """Which of the two documented bodies a token response has."""

    ACCESS_TOKEN = "accessToken"  # noqa: S105 - a field name
    """`accessToken`, `refreshToken` and `expiresIn`, as in the API reference."""
    TOKEN = "token"  # noqa: S105 - a field name
    """`token`, `expiresIn` and `tokenType`, as in the authentication guide."""


class BodyFormat(Enum):
    """Which of the two documented body formats requests and responses use."""

    GUIDE = "guide"
    """`title`, `startTime`, `endTime`, `description`. Appointments belong to the tenant; no user is named."""
    REFERENCE = "reference"
    """`subject`, `body`, `timeZone`, `showAs`. Appointments belong to a user, named by `domainId` and `adId`."""


class PutSemantics(Enum):
    """What an update does with fields that the request omits."""

    MERGE = "merge"
    """They stay unchanged."""
    REPLACE = "replace"
    """Title and times are required; all other fields are reset."""


class WriteResponse(Enum):
    """The response to a create, an update and a delete."""

    APPOINTMENT = "appointment"
    """200 with the whole appointment; after a delete, the appointment as it was."""
    ID_OBJECT = "id-object"
    """200 with `{"appointmentId": ...}`."""
    BARE_ID = "bare-id"
    """200 with only the id: a JSON string, or a number if ids are integers."""
    EMPTY_200 = "empty-200"
    EMPTY_201 = "empty-201"
    EMPTY_204 = "empty-204"


class PreviewPaging(Enum):
    """The shape of preview pages, and how a client requests the next page.

    Cursors and links show every appointment exactly once if it exists during the whole walk and does not move. Page
    numbers and offsets count appointments: a create or delete during the walk shifts the later pages.
    """

    ARRAY = "array"
    """A bare array of all appointments."""
    CURSOR = "cursor"
    """`{"items": [...], "nextCursor": ...}`, null on the last page; the request parameter is `cursor`."""
    PAGE_NUMBERS = "page-numbers"
    """`{"items": [...], "page": ..., "totalPages": ...}`; the request parameter is `page`, from 1. An empty preview has
    one page."""
    OFFSET = "offset"
    """`{"items": [...], "total": ...}`; the request parameters are `offset`, by default 0, and `limit`, by default and
    at most the page size."""
    LINK_HEADER = "link-header"
    """A bare array, and `Link: <...>; rel="next"` (RFC 8288) with a path and query except on the last page."""
    NEXT_LINK = "next-link"
    """`{"value": [...], "nextLink": ...}`: an absolute URL, null on the last page."""


class UnknownId(Enum):
    """The response to reading an appointment id that does not exist."""

    NOT_FOUND = "not-found"
    """404."""
    EMPTY = "empty"
    """200 without a body."""


def _check_page_size(_: object, __: object, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"page_size must be an int, not {type(value).__name__}")
    if not 1 <= value <= _LARGEST_PAGE:
        raise ValueError(f"page_size must be between 1 and {_LARGEST_PAGE}")


@frozen(kw_only=True)
class SandboxSettings:
    """The settings of one sandbox; the arguments of `Sandbox` document them."""

    clients: Mapping[str, str] = field(repr=False)
    """Client ids and their secrets, accepted for every tenant."""
    tenants: Collection[str] | None
    """The tenant ids that exist; None for every id."""
    token_lifetime: int
    """Seconds."""
    token_response: TokenResponse
    new_appointment_id: Callable[[], str]
    body_format: BodyFormat
    put: PutSemantics
    write_response: WriteResponse | None
    """None: a create returns the id, an update the appointment, a delete a confirmation."""
    unknown_id: UnknownId
    integer_ids: bool
    naive_times: bool
    """Only for the reference format."""
    paging: PreviewPaging = field(validator=validators.instance_of(PreviewPaging))
    page_size: int = field(validator=_check_page_size)
    """Maximum number of appointments on a page; an array has all."""
    limit: SandboxLimit | None
    fault_rates: FaultRates | None
