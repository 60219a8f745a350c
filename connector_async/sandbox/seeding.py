"""Appointments that exist before the first request: given one by one, or generated."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from attrs import Attribute, field, frozen, validators

from .models import BUSY, CONTENT_TYPES, NO_USER, PLAIN_TEXT, SHOW_AS_VALUES, UTC_NAME, Appointment, User
from .settings import BodyFormat
from .timestamps import find_zone

SEED_DOMAIN_ID: Final = "sandbox-domain"
SEED_AD_ID: Final = "sandbox-user"

_FIRST_START: Final = datetime(2024, 1, 15, 8, tzinfo=UTC)
_APPOINTMENTS_PER_DAY: Final = 10
_DURATION: Final = timedelta(minutes=45)


def _check_aware(_: object, attribute: "Attribute[datetime]", value: datetime) -> None:
    if value.utcoffset() is None:
        raise ValueError(f"{attribute.name} must be aware")


def _check_end(seed: "SeedAppointment", _: object, end: datetime) -> None:
    # In UTC: two datetimes of the same zone compare by their local times.
    if end.astimezone(UTC) < seed.start.astimezone(UTC):
        raise ValueError("end must not be before start")


def _check_zone(_: object, __: object, name: str) -> None:
    try:
        find_zone(name)
    except LookupError as error:
        raise ValueError("time_zone must be the IANA or Windows name of a time zone") from error


@frozen(kw_only=True)
class SeedAppointment:
    """An appointment to start with. The guide format ignores the fields after `description`."""

    title: str = field(validator=validators.min_len(1))
    start: datetime = field(validator=_check_aware)
    """Aware, in any time zone."""
    end: datetime = field(validator=[_check_aware, _check_end])
    """Aware, in any time zone; not before `start`."""
    description: str | None = None
    """None for no description, which the reference format shows as an empty string."""
    domain_id: str = field(default=SEED_DOMAIN_ID, validator=validators.min_len(1))
    ad_id: str = field(default=SEED_AD_ID, validator=validators.min_len(1))
    content_type: str = field(default=PLAIN_TEXT, validator=validators.in_(CONTENT_TYPES))
    time_zone: str = field(default=UTC_NAME, validator=_check_zone)
    """An IANA or a Windows name."""
    show_as: str = field(default=BUSY, validator=validators.in_(SHOW_AS_VALUES))


def synthetic_seeds(count: int) -> Sequence[SeedAppointment]:
    """Generate appointments, always the same ones: ten a day of 45 minutes each, from 2024-01-15T08:00:00Z."""
    return [_synthetic_seed(number) for number in range(count)]


def _synthetic_seed(number: int) -> SeedAppointment:
    day, hour = divmod(number, _APPOINTMENTS_PER_DAY)
    start = _FIRST_START + timedelta(days=day, hours=hour)
    return SeedAppointment(title=f"Visit {number + 1}", start=start, end=start + _DURATION, description="Synthetic")


def to_appointment(seed: SeedAppointment, *, appointment_id: str, body_format: BodyFormat) -> Appointment:
    """Return the appointment to store for the seed; the guide format stores it without a user."""
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
