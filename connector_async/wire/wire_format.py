"""`WireFormat`: the choice of a document, and bodies to models and back by it."""

import enum
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, Final, TypeVar, get_args

import attrs
import orjson
from cattrs import BaseValidationError

from connector_async._json import MAX_DEPTH, JsonError, may_be_rounded, parse
from connector_async._timestamps import InstantError, format_instant, has_offset, zone_named
from connector_async.exceptions import DecodingError
from connector_async.models import UNSET, Appointment, AppointmentUpdate, DirectoryUser, NewAppointment, Unset

from .body_format import GUIDE, REFERENCE, BodyFormat
from .converters import RoundedIntegerError, converters
from .hooks import MismatchError, is_list
from .problems import MAX_PROBLEMS, problems, shown, with_id

T = TypeVar("T")

_BODY_FORMATS = {"guide": GUIDE, "reference": REFERENCE}
_FAULTS: Final = (AttributeError, KeyError, TypeError, ValueError)
"""What the hooks of a fast converter raise for what they do not take."""


@attrs.frozen
class ValidItems:
    """The valid items of a page, and what is known of the others."""

    appointments: Sequence[Appointment]
    problems: tuple[str, ...] = ()
    """Path, rule and id of the first faults, twenty at most."""
    skipped: int = 0
    """How many items are left out."""


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
        try:
            return self._structure(parse(body), type_, assume_zone)
        except (JsonError, RoundedIntegerError):
            pass  # parsed again, exactly, or to say what is wrong with it
        return self._structure(_parse(body, exact=True), type_, assume_zone, exact=True)

    def structure_items(
        self, items: list[Any], assume_zone: tzinfo | None = None, *, skip_invalid: bool = False, exact: bool = False
    ) -> ValidItems:
        """Decode the items of a page, as `parse` returned them.

        Args:
            items: Of the page.
            assume_zone: The zone of date-times without an offset. `None`: they are rejected.
            skip_invalid: Whether invalid items are left out and reported, instead of raised.
            exact: Whether `parse` was called with it.

        Raises:
            DecodingError: If an item is not an appointment, unless `skip_invalid`.
            RoundedIntegerError: If `items` may have an integer beyond 64 bits, unless `exact`.
        """
        if not skip_invalid:
            return ValidItems(self._structure(items, list[Appointment], assume_zone, exact=exact))
        appointments, lines, skipped = self._structure_each(items, Appointment, assume_zone, exact=exact, skips=True)
        return ValidItems(appointments, tuple(lines[:MAX_PROBLEMS]), skipped)

    @staticmethod
    def parse(body: bytes, *, exact: bool = False) -> Any:
        """Return the value of a JSON body.

        Args:
            body: JSON.
            exact: Whether integers beyond 64 bits stay integers, at ten times the cost.

        Raises:
            DecodingError: If `body` is not JSON, or has more values than are read.
        """
        return _parse(body, exact=exact)

    def structure_created(self, body: bytes, sent: NewAppointment, assume_zone: tzinfo | None = None) -> Appointment:
        """Decode the answer to a create: the appointment, an object with its id, or the bare id.

        What the answer leaves out is taken from `sent`.

        Raises:
            DecodingError: The answer has no id, or what else it has is malformed.
        """
        return exactly_if_needed(functools.partial(self._structure_created, body, sent, assume_zone))

    def _structure_created(
        self, body: bytes, sent: NewAppointment, assume_zone: tzinfo | None, *, exact: bool
    ) -> Appointment:
        reply = _parse(body, exact=exact) if body else None
        if not isinstance(reply, dict):
            reply = {"appointmentId": reply}
        body_format = self._body_format
        told = body_format.flatten(reply)
        if not told.keys() >= body_format.of_models:
            sent_fields = orjson.loads(_dump(self._unstructure(sent)))
            told = {key: value for key, value in sent_fields.items() if not body_format.replaces(told, key)} | told
        created = self._structure(told, Appointment, assume_zone, exact=exact)
        if created.time_zone or isinstance(sent.time_zone, Unset):
            return created
        return attrs.evolve(created, time_zone=sent.time_zone)

    def structure_updated(self, body: bytes, assume_zone: tzinfo | None = None) -> Appointment | None:
        """Decode the answer to an update: the appointment, or `None` when the server sends none.

        Raises:
            DecodingError: The answer is not JSON, or has fields of an appointment and is none.
        """
        return exactly_if_needed(functools.partial(self._structure_updated, body, assume_zone))

    def _structure_updated(self, body: bytes, assume_zone: tzinfo | None, *, exact: bool) -> Appointment | None:
        reply = _parse(body, exact=exact) if body else None
        if not isinstance(reply, dict):
            return None
        keys = self._body_format.of_models - {"appointmentId"}
        if keys.isdisjoint(self._body_format.flatten(reply)):
            return None
        return self._structure(reply, Appointment, assume_zone, exact=exact)

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
        self,
        body: bytes,
        update: AppointmentUpdate,
        user: DirectoryUser | None = None,
        assume_zone: tzinfo | None = None,
    ) -> bytes:
        """Encode an update together with all that a body has beside it, for a server that replaces the whole.

        What the update does not set goes back as it was read: unknown fields with integers of any length, all digits
        of a date-time. Nothing says which of a server's fields it does not take back, so none is left out. A date-time
        without an offset goes back in UTC if the update sets the time zone, which would move it otherwise.

        Args:
            body: The response to a read of the appointment.
            update: The changes.
            user: Whose the appointment is.
            assume_zone: The zone of date-times without an offset.

        Raises:
            DecodingError: If `body` is not an appointment.
            ValueError: As `unstructure`, for `update` and `user`.
        """
        current = self.structure(body, Appointment, assume_zone)
        read = _parse(body, exact=True)
        changes = orjson.loads(self.unstructure(update, user))
        whole = read | changes
        nested = self._body_format.nested
        if nested and isinstance(read.get(nested), dict) and nested in changes:
            whole[nested] = read[nested] | changes[nested]
        if self._body_format.keys.get("time_zone") in changes:
            for field in ("start_time", "end_time"):
                key = self._body_format.keys[field]
                if not has_offset(whole[key]):
                    whole[key] = format_instant(getattr(current, field))
        # Not orjson, which refuses integers beyond 64 bits.
        return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()

    def unstructure_id(self, appointment_id: str, user: DirectoryUser | None = None) -> bytes:
        """Encode the body that names one appointment, and the user whose it is.

        Raises:
            ValueError: `user` is missing or too much.
            TypeError: `user` is no `DirectoryUser`.
        """
        return orjson.dumps(self.user_fields(user) | {"appointmentId": appointment_id})

    def _structure(self, parsed: Any, type_: type[T], assume_zone: tzinfo | None, *, exact: bool = False) -> T:
        try:
            hook = _fast_hook(self._body_format, type_, assume_zone, exact)  # type: ignore[arg-type]  # hashable
            structured: T = hook(parsed, type_)
        except _FAULTS:
            pass
        else:
            return structured
        lines: list[str]
        if is_list(type_) and type(parsed) is list:
            (item_type,) = get_args(type_)
            _, lines, _ = self._structure_each(parsed, item_type, assume_zone, exact=exact)
        else:
            lines = self._explain(parsed, type_, assume_zone, exact=exact)
        # Raised outside of the handlers: the caught errors may hold values.
        raise DecodingError("the body is not what the contract says", problems=shown(lines))

    def _structure_each(
        self, items: list[Any], type_: type[T], assume_zone: tzinfo | None, *, exact: bool, skips: bool = False
    ) -> tuple[list[T], list[str], int]:
        """Return the valid items, what is wrong with the others, and how many these are.

        cattrs would keep an error for each fault: 10 MiB of `1,1,…` took 7 GB and two minutes. So items are explained
        one by one, until there are more lines than are shown; unless it `skips`, the walk ends there, too.
        """
        hook = _fast_hook(self._body_format, type_, assume_zone, exact)  # type: ignore[arg-type]  # hashable
        id_key = self._body_format.keys["appointment_id"]
        valid: list[T] = []
        lines: list[str] = []
        invalid = 0
        for index, item in enumerate(items):
            try:
                valid.append(hook(item, type_))
            except _FAULTS:
                invalid += 1
            else:
                continue
            if len(lines) <= MAX_PROBLEMS:
                of_item = self._explain(item, type_, assume_zone, path=f"$[{index}]", exact=exact)
                lines += with_id(of_item, item, id_key) if skips else of_item
            elif not skips:
                break
        return valid, lines, invalid

    def _explain(
        self, value: Any, type_: type[Any], assume_zone: tzinfo | None, *, path: str = "$", exact: bool
    ) -> list[str]:
        try:
            converters(self._body_format, assume_zone, exact=exact).explaining.structure(value, type_)
        except (BaseValidationError, MismatchError) as error:
            return problems(error, self._body_format.keys, path)
        return [f"{path}: breaks a rule of the model"]  # pragma: no cover - both converters take the same

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
def _fast_hook(
    body_format: BodyFormat,
    type_: Any,
    assume_zone: tzinfo | None,
    exact: bool,  # noqa: FBT001 - a keyword would double the cost of the look-up
) -> Callable[[Any, Any], Any]:
    """Return what the fast converter would look up for each value that it structures."""
    return converters(body_format, assume_zone, exact=exact).fast.get_structure_hook(type_)


def exactly_if_needed(structure: Callable[..., T]) -> T:
    """Call `structure`, and once more with `exact` if the body may have integers beyond 64 bits."""
    try:
        return structure(exact=False)
    except RoundedIntegerError:
        pass
    return structure(exact=True)


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
        # And json integers beyond 64 bits, and lone surrogates. Parsed again, since a tuple is an array, too.
        may_be_rounded(orjson.loads(orjson.dumps(dict(extra))).values())
    except JsonError:
        rule = f"extra must not be nested deeper than {MAX_DEPTH} levels: the response would not be read"
    except (RecursionError, TypeError, ValueError):
        rule = (
            "extra must hold nothing but what JSON can: objects with text keys, arrays, texts, finite numbers, "
            "integers of 64 bits"
        )
    else:
        return
    raise ValueError(rule)


def _dump(fields: dict[str, Any]) -> bytes:
    # The models' date-times are in UTC: orjson writes them as format_instant does, at a sixth of its cost.
    return orjson.dumps(fields, option=orjson.OPT_UTC_Z)


def _parse(body: bytes, *, exact: bool = False) -> Any:
    try:
        return parse(body, exact=exact)
    except JsonError as error:
        problem = f"$: {error}"
    raise DecodingError("the body is not JSON that can be read", problems=[problem])
