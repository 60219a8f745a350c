"""The choices in which one sandbox differs from another, most of them open points of the API's documents.

It knows what can be chosen, not what a choice does.
"""

from collections.abc import Callable, Collection, Mapping
from enum import Enum
from typing import Final

from attrs import field, frozen, validators

from .faults import FaultRates
from .limits import SandboxLimit
from .tokens import TokenReply

_LARGEST_PAGE: Final = 2**31 - 1  # of .NET's int; the JSON of a number beyond 64 bits could not be written


class BodyFormat(Enum):
    """Which of the two documented body formats is spoken."""

    GUIDE = "guide"
    """`title`, `startTime`, `endTime`, `description`; appointments belong to the tenant, and no user is named."""
    REFERENCE = "reference"
    """`subject`, `body`, `timeZone`, `showAs`; appointments belong to a user, named by `domainId` and `adId`."""


class PutSemantics(Enum):
    """What an update does with the fields it does not give."""

    MERGE = "merge"
    """They stay."""
    REPLACE = "replace"
    """They must be given (title and times) or are reset (all others)."""


class WriteReply(Enum):
    """What a create, an update and a delete answer."""

    APPOINTMENT = "appointment"
    """200 with the whole appointment; a delete answers it as it was."""
    ID_OBJECT = "id-object"
    """200 with `{"appointmentId": ...}`."""
    BARE_ID = "bare-id"
    """200 with the id alone: a JSON string, or a number when ids are integers."""
    EMPTY_200 = "empty-200"
    EMPTY_201 = "empty-201"
    EMPTY_204 = "empty-204"


class PreviewPaging(Enum):
    """In what pages a preview comes, and how the next one is asked for.

    A walk by cursors or links shows everything that is there throughout, and is not moved, exactly once. Page numbers
    and offsets count: what is created or deleted during a walk shifts what follows it.
    """

    ARRAY = "array"
    """A bare array of all there is."""
    CURSOR = "cursor"
    """`{"items": [...], "nextCursor": ...}`, which is null on the last page; asked for as `cursor`."""
    PAGE_NUMBERS = "page-numbers"
    """`{"items": [...], "page": ..., "totalPages": ...}`; asked for as `page`, from 1. Of nothing there is one page."""
    OFFSET = "offset"
    """`{"items": [...], "total": ...}`; asked for as `offset`, 0 by default, and `limit`, a page's size at most."""
    LINK_HEADER = "link-header"
    """A bare array; `Link: <...>; rel="next"` (RFC 8288) with a path and query, unless the page is the last."""
    NEXT_LINK = "next-link"
    """`{"value": [...], "nextLink": ...}`: an absolute URL, null on the last page."""


class UnknownId(Enum):
    """What reading one appointment answers when there is none of that id."""

    NOT_FOUND = "not-found"
    """404."""
    EMPTY = "empty"
    """200 without a body."""


def _check_page_size(_: object, __: object, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("page_size must be an integer")
    if value < 1:
        raise ValueError("page_size must be 1 or more")
    if value > _LARGEST_PAGE:
        raise ValueError(f"page_size must be at most {_LARGEST_PAGE}")


@frozen(kw_only=True)
class Settings:
    """How one sandbox answers."""

    clients: Mapping[str, str] = field(repr=False)
    """Client id to secret, for every tenant."""
    tenants: Collection[str] | None
    """The tenant ids that exist; None: every one does."""
    token_lifetime: int
    """Seconds."""
    token_reply: TokenReply
    new_appointment_id: Callable[[], str]
    body_format: BodyFormat
    put: PutSemantics
    write_reply: WriteReply | None
    """None: a create answers the id, an update the appointment, a delete a confirmation."""
    unknown_id: UnknownId
    integer_ids: bool
    """Ids are JSON integers in answers, and integers or their digits in requests."""
    naive_times: bool
    """Reference only: times are answered in their `timeZone`, without an offset."""
    paging: PreviewPaging = field(validator=validators.instance_of(PreviewPaging))
    page_size: int = field(validator=_check_page_size)
    """How many appointments a page has at most; an array has all."""
    limit: SandboxLimit | None
    """None: no request is refused for its rate."""
    fault_rates: FaultRates | None
    """None: no fault hits that was not scripted."""
