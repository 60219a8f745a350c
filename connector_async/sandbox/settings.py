"""The choices in which one sandbox differs from another, most of them open points of the API's documents.

It knows what can be chosen, not what a choice does.
"""

from collections.abc import Callable, Collection, Mapping
from enum import Enum

from attrs import field, frozen

from connector_async.sandbox.faults import FaultRates
from connector_async.sandbox.limits import SandboxLimit
from connector_async.sandbox.tokens import TokenReply


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


class UnknownId(Enum):
    """What reading one appointment answers when there is none of that id."""

    NOT_FOUND = "not-found"
    """404."""
    EMPTY = "empty"
    """200 without a body."""


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
    limit: SandboxLimit | None
    """None: no request is refused for its rate."""
    fault_rates: FaultRates | None
    """None: no fault hits that was not scripted."""
