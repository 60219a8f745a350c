"""`WireFormat`: the choice of a document, and bodies to models and back by it."""

import codecs
import enum
import functools
import json
from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from typing import Any, TypeVar

import attrs
import orjson
from cattrs import BaseValidationError

from connector_async.exceptions import DecodingError
from connector_async.instants import InstantError, format_instant, zone_named
from connector_async.models import UNSET, Appointment, AppointmentUpdate, DirectoryUser, NewAppointment, Unset

from .body_format import GUIDE, REFERENCE, BodyFormat
from .converters import converters
from .hooks import MismatchError
from .problems import problems

T = TypeVar("T")

_BODY_FORMATS = {"guide": GUIDE, "reference": REFERENCE}


class WireFormat(enum.Enum):
    """How bodies are written. One is chosen for a session; the models are the same in each."""

    GUIDE = "guide"
    """As the appointments guide shows: `title`, `startTime`, `endTime`, `description`; no user, no zone."""
    REFERENCE = "reference"
    """As the API reference shows: `subject`, `body`, `startTime`, `endTime`, `timeZone`, for one directory user.

    Date-times are written in UTC. Those that are read without an offset are in the zone that `timeZone` names beside
    them, by its IANA or its Windows name; of an hour that comes twice the first is meant (PEP 495, `fold=0`).
    """

    def __init__(self, name: str) -> None:
        self._body_format = _BODY_FORMATS[name]

    @property
    def carries_user(self) -> bool:
        """Whether a request names the directory user whose appointments are meant."""
        return bool(self._body_format.user_keys)

    def user_fields(self, user: DirectoryUser | None) -> dict[str, str]:
        """Return what names `user` in a query and in a body; nothing where the format carries no user.

        Raises:
            ValueError: A user is missing, or given to a format that carries none.
            TypeError: `user` is no `DirectoryUser`.
        """
        keys = self._body_format.user_keys
        if not keys and user is None:
            return {}
        if not keys:
            raise ValueError(f"user must be None: {self} carries no directory user, so all of the tenant's are meant")
        if user is None:
            raise ValueError(f"user must be given: {self} names the directory user in each request")
        if not isinstance(user, DirectoryUser):
            raise TypeError(f"user must be a DirectoryUser or None, not {type(user).__name__}")
        return {key: getattr(user, field) for field, key in keys.items()}

    def preview_query(self, user: DirectoryUser | None, start: datetime | None, end: datetime | None) -> dict[str, str]:
        """Return the query of a preview: with GUIDE none, with REFERENCE the user and both ends of the time.

        Raises:
            ValueError: `user` is missing or too much, or an end that must be sent is `None`, naive, or outside the
                years 1 to 9999 in UTC.
            TypeError: `user` is no `DirectoryUser`.
        """
        user_fields = self.user_fields(user)
        if not self.carries_user:
            return {}
        if start is None or end is None:
            raise ValueError(f"start and end must be given: {self} asks the server for a time with two ends")
        return user_fields | {"startDate": _as_sent("start", start), "endDate": _as_sent("end", end)}

    def structure(self, body: bytes, type_: type[T], assume_zone: tzinfo | None = None) -> T:
        """Decode a body into `type_`.

        Args:
            body: JSON.
            type_: A model, or `list[Appointment]`.
            assume_zone: The zone of date-times without an offset. `None`: they are refused.

        Raises:
            DecodingError: The body is not JSON, or not a `type_`.
            TypeError: `body` is of another type.
        """
        return self._structure(_parse(body), type_, assume_zone)

    def structure_items(self, items: list[Any], assume_zone: tzinfo | None = None) -> list[Appointment]:
        """Decode the items of a page, as `parse` returned them.

        Raises:
            DecodingError: One is no appointment.
        """
        return self._structure(items, list[Appointment], assume_zone)

    @staticmethod
    def parse(body: bytes) -> Any:
        """Return what a JSON body says.

        Raises:
            DecodingError: It is not JSON.
        """
        return _parse(body)

    def structure_created(self, body: bytes, sent: NewAppointment, assume_zone: tzinfo | None = None) -> Appointment:
        """Decode the answer to a create: the appointment, an object with its id, or the bare id.

        What the answer leaves out is taken from `sent`.

        Raises:
            DecodingError: The answer has no id, or what else it has is malformed.
        """
        reply = _parse(body) if body else None
        if not isinstance(reply, dict):
            reply = {"appointmentId": reply}
        body_format = self._body_format
        told = body_format.flatten(reply)
        if not told.keys() >= body_format.of_models:
            sent_fields = orjson.loads(_dump(self._unstructure(sent)))
            told = {key: value for key, value in sent_fields.items() if not body_format.replaces(told, key)} | told
        created = self._structure(told, Appointment, assume_zone)
        if created.time_zone or isinstance(sent.time_zone, Unset):
            return created
        return attrs.evolve(created, time_zone=sent.time_zone)

    def structure_updated(self, body: bytes, assume_zone: tzinfo | None = None) -> Appointment | None:
        """Decode the answer to an update: the appointment, or `None` when the server sends none.

        Raises:
            DecodingError: The answer is not JSON, or has fields of an appointment and is none.
        """
        reply = _parse(body) if body else None
        if not isinstance(reply, dict):
            return None
        keys = self._body_format.of_models - {"appointmentId"}
        if keys.isdisjoint(self._body_format.flatten(reply)):
            return None
        return self._structure(reply, Appointment, assume_zone)

    def unstructure(
        self, model: NewAppointment | AppointmentUpdate | Appointment, user: DirectoryUser | None = None
    ) -> bytes:
        """Encode a model as a body, with the user whose it is. Fields that are `UNSET` are left out.

        Raises:
            ValueError: A field is set that the format does not carry, `extra` has the key of a field, or `user` is
                missing or too much.
            TypeError: `model` is no model of an appointment, or `user` no `DirectoryUser`.
        """
        return _dump(self._body_format.unflatten(self.user_fields(user) | self._unstructure(model)))

    def unstructure_over(
        self, current: Appointment, update: AppointmentUpdate, user: DirectoryUser | None = None
    ) -> bytes:
        """Encode an update together with what the appointment has in the fields that it does not set.

        What was read goes back as it was read; unknown fields do not.

        Raises:
            ValueError: As `unstructure`, for `update` and `user`.
        """
        known = converters(self._body_format, None).fast.unstructure(attrs.evolve(current, extra={}))
        return _dump(self._body_format.unflatten(self.user_fields(user) | known | self._unstructure(update)))

    def unstructure_id(self, appointment_id: str, user: DirectoryUser | None = None) -> bytes:
        """Encode the body that names one appointment, and the user whose it is.

        Raises:
            ValueError: `user` is missing or too much.
            TypeError: `user` is no `DirectoryUser`.
        """
        return orjson.dumps(self.user_fields(user) | {"appointmentId": appointment_id})

    def _structure(self, parsed: Any, type_: type[T], assume_zone: tzinfo | None) -> T:
        try:
            hook = _fast_hook(self._body_format, type_, assume_zone)  # type: ignore[arg-type]  # a class is hashable
            structured: T = hook(parsed, type_)
        except (AttributeError, KeyError, TypeError, ValueError):
            pass
        else:
            return structured
        try:
            return converters(self._body_format, assume_zone).explaining.structure(parsed, type_)
        except (BaseValidationError, MismatchError) as error:
            lines = problems(error, self._body_format.keys)
        # Raised outside of the handlers: the caught errors may hold values.
        raise DecodingError("the body is not what the contract says", problems=lines)

    def carries(self, field: str) -> bool:
        """Tell whether a body has a key for a field of the models."""
        return field in self._body_format.keys

    def check(self, model: NewAppointment | AppointmentUpdate | Appointment) -> None:
        """Refuse a model that cannot be encoded.

        Raises:
            ValueError: A field is set that the format does not carry, the time zone is none that there is, or `extra`
                has the key of a field or what JSON cannot say.
        """
        for field in _not_carried(type(model), self._body_format):  # type: ignore[arg-type]  # a class is hashable
            if getattr(model, field) not in (None, UNSET):
                raise ValueError(f"{field} is not carried by {self}")
        if isinstance(model.time_zone, str) and zone_named(model.time_zone) is None:
            raise ValueError("time_zone must be the IANA or Windows name of a time zone")
        if model.extra:
            if clashing := self._body_format.known & model.extra.keys():
                raise ValueError(f"extra must not have {', '.join(sorted(clashing))}: the models have fields for them")
            _check_json(model.extra)

    def _unstructure(self, model: NewAppointment | AppointmentUpdate | Appointment) -> dict[str, Any]:
        self.check(model)
        flat = converters(self._body_format, None).fast.unstructure(model)
        return self._body_format.complete(flat, creates=isinstance(model, NewAppointment))


def _as_sent(name: str, instant: datetime) -> str:
    try:
        return format_instant(instant)
    except InstantError as error:
        problem = str(error)
    raise ValueError(f"{name}: {problem}")


@functools.cache
def _fast_hook(body_format: BodyFormat, type_: Any, assume_zone: tzinfo | None) -> Callable[[Any, Any], Any]:
    """Return what the fast converter would look up for each value that it structures."""
    return converters(body_format, assume_zone).fast.get_structure_hook(type_)


@functools.cache
def _not_carried(model_type: type, body_format: BodyFormat) -> tuple[str, ...]:
    """Return the fields of a model that a format has no key for.

    Raises:
        TypeError: It is no model of an appointment.
    """
    if not issubclass(model_type, NewAppointment | AppointmentUpdate | Appointment):
        raise TypeError(f"model must be one of an appointment, not {model_type.__name__}")
    return tuple(name for name in attrs.fields_dict(model_type) if name not in body_format.keys and name != "extra")


def _check_json(extra: Mapping[str, Any]) -> None:
    try:
        json.dumps(dict(extra), allow_nan=False)  # orjson writes NaN as null, and date-times without an offset
        orjson.dumps(dict(extra))  # and json whole numbers beyond 64 bits, and lone surrogates
    except (RecursionError, TypeError, ValueError):
        pass
    else:
        return
    raise ValueError("extra must hold nothing but what JSON can: objects with text keys, arrays, texts, finite numbers")


def _dump(fields: dict[str, Any]) -> bytes:
    # The models' date-times are in UTC: orjson writes them as format_instant does, at a sixth of its cost.
    return orjson.dumps(fields, option=orjson.OPT_UTC_Z)


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
    if not isinstance(body, bytes):
        raise TypeError(f"body must be bytes, not {type(body).__name__}")
    if body.startswith(codecs.BOM_UTF8):
        # RFC 8259, section 8.1: it must not be sent, and may be ignored.
        return _parse(body.removeprefix(codecs.BOM_UTF8))
    # Raised outside of the handler: the caught error holds the whole body.
    raise DecodingError("the body is not JSON", problems=[f"$: not JSON at {place}"])
