"""Appointments that are there before the first request: given one by one, or made up.

It knows neither HTTP nor SQL.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from attrs import Attribute, field, frozen, validators

from .appointments import BUSY, NO_USER, TEXT, UTC_NAME, Appointment, User
from .reference import CONTENT_TYPES, SHOW_AS
from .settings import BodyFormat
from .zones import find_zone

SEED_DOMAIN_ID: Final = "sandbox-domain"
SEED_AD_ID: Final = "sandbox-user"

_FIRST_START: Final = datetime(2024, 1, 15, 8, tzinfo=UTC)
_DAY_HOURS: Final = 10


def _check_aware(_: object, attribute: "Attribute[datetime]", value: datetime) -> None:
    if value.utcoffset() is None:
        raise ValueError(f"{attribute.name} must be aware")


def _check_end(seed: "SeedAppointment", _: object, end: datetime) -> None:
    # In UTC: of one time zone they would be compared by what its clocks show.
    if end.astimezone(UTC) < seed.start.astimezone(UTC):
        raise ValueError("end must not be before start")


def _check_zone(_: object, __: object, name: str) -> None:
    try:
        find_zone(name)
    except LookupError as error:
        raise ValueError("time_zone must be the IANA or Windows name of a time zone") from error


@frozen(kw_only=True)
class SeedAppointment:
    """An appointment to begin with. The guide's format has no use for the fields after `description`."""

    title: str = field(validator=validators.min_len(1))
    start: datetime = field(validator=_check_aware)
    """Of any zone."""
    end: datetime = field(validator=[_check_aware, _check_end])
    """Of any zone; not before `start`."""
    description: str | None = None
    """None: there is none; the reference's format shows it as empty."""
    domain_id: str = field(default=SEED_DOMAIN_ID, validator=validators.min_len(1))
    ad_id: str = field(default=SEED_AD_ID, validator=validators.min_len(1))
    content_type: str = field(default=TEXT, validator=validators.in_(CONTENT_TYPES))
    time_zone: str = field(default=UTC_NAME, validator=_check_zone)
    """IANA's or Windows' name."""
    show_as: str = field(default=BUSY, validator=validators.in_(SHOW_AS))


def synthetic_seeds(count: int) -> Sequence[SeedAppointment]:
    """Make up so many appointments, always the same: ten a day of 45 minutes each, from 2024-01-15T08:00:00Z on."""
    return [_synthetic(number) for number in range(count)]


def _synthetic(number: int) -> SeedAppointment:
    day, hour = divmod(number, _DAY_HOURS)
    start = _FIRST_START + timedelta(days=day, hours=hour)
    end = start + timedelta(minutes=45)
    return SeedAppointment(title=f"Visit {number + 1}", start=start, end=end, description="Synthetic")


def to_appointment(seed: SeedAppointment, *, appointment_id: str, body_format: BodyFormat) -> Appointment:
    """Build what is stored of it under this format."""
    guide = body_format is BodyFormat.GUIDE
    return Appointment(
        appointment_id=appointment_id,
        user=NO_USER if guide else User(seed.domain_id, seed.ad_id),
        title=seed.title,
        start=seed.start.astimezone(UTC),
        end=seed.end.astimezone(UTC),
        description=seed.description,
        content_type=seed.content_type,
        time_zone=seed.time_zone,
        show_as=seed.show_as,
    )
