"""`WireFormat`: which document's layout the bodies have, and the conversion of bodies to models and back."""

import contextlib
import enum
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, Generic, TypeVar, get_args

import attrs
import orjson

from connector_async._checks import check_json
from connector_async._json import MAX_DEPTH, JsonError, may_be_rounded, parse
from connector_async._timestamps import InstantError, format_instant, has_offset, zone_named
from connector_async.exceptions import DecodingError, InvalidArgumentError
from connector_async.models import (
    NOTHING_EXTRA,
    UNSET,
    Appointment,
    AppointmentUpdate,
    DirectoryUser,
    NewAppointment,
    Unset,
)

from .converters import RoundedIntegerError, get_converters
from .field_layout import GUIDE_LAYOUT, REFERENCE_LAYOUT, FieldLayout
from .hooks import is_list
from .problems import MAX_PROBLEMS, add_id, describe, truncate

T = TypeVar("T")

_LAYOUTS = {"guide": GUIDE_LAYOUT, "reference": REFERENCE_LAYOUT}


@attrs.frozen(eq=False, repr=False)
class ValidItems(Generic[T]):
    """The valid items of a page, and a report of the invalid ones."""

    items: Sequence[T]
    problems: tuple[str, ...] = ()
    """Path, rule and id of the first faults, at most twenty."""
    skipped: int = 0
    """How many items were left out."""


class WireFormat(enum.Enum):
    """The layout of bodies. A session has one; the models are the same in each."""

    GUIDE = "guide"
    """The layout of the appointments guide: `title`, `startTime`, `endTime`, `description`; no user, no time zone."""
    REFERENCE = "reference"
    """The layout of the API reference: `subject`, `body`, `startTime`, `endTime`, `timeZone`, for one directory user.

    Date-times are sent in UTC. A received date-time without an offset is in the zone that `timeZone` names, by its IANA
    or Windows name. An hour that the clocks repeat means the first of the two (PEP 495, `fold=0`).
    """

    def __init__(self, name: str) -> None:
        self._layout = _LAYOUTS[name]

    @property
    def carries_user(self) -> bool:
        """Whether a request names the directory user of the appointments."""
        return bool(self._layout.user_keys)

    def carries(self, field: str) -> bool:
        """Return whether a body has a key for a field of the models."""
        return field in self._layout.keys

    def check(self, model: NewAppointment | AppointmentUpdate | Appointment) -> None:
        """Reject a model that cannot be encoded.

        Raises:
            ValueError: If a field is set that the format does not carry, the time zone is unknown, or `extra` has the
                key of a field or a value that is not JSON.
        """
        self._unstructure(model, False)  # noqa: FBT003 - see there

    def _check_extra(self, extra: Mapping[str, Any]) -> None:
        if clashing := self._layout.known_keys & extra.keys():
            raise InvalidArgumentError(
                f"extra must not have {', '.join(sorted(clashing))}: the models have fields for them", argument="extra"
            )
        _check_json_values(extra)

    def user_fields(self, user: DirectoryUser | None) -> dict[str, str]:
        """Return the members that name `user` in a query or a body; none if the format carries no user.

        Raises:
            ValueError: If `user` is missing, or given although the format carries no user.
            TypeError: If `user` is not a `DirectoryUser`.
        """
        keys = self._layout.user_keys
        if not keys and user is None:
            return {}
        if not keys:
            raise InvalidArgumentError(
                f"user must be None: {self} carries no user and covers all appointments of the tenant", argument="user"
            )
        if user is None:
            raise InvalidArgumentError(
                f"user must be given: {self} names the directory user in each request", argument="user"
            )
        if not isinstance(user, DirectoryUser):
            raise TypeError(f"user must be a DirectoryUser or None, not {type(user).__name__}")
        return {key: getattr(user, field) for field, key in keys.items()}

    def preview_query(self, user: DirectoryUser | None, start: datetime | None, end: datetime | None) -> dict[str, str]:
        """Return the query of a preview: empty for GUIDE; the user and the time range for REFERENCE.

        Raises:
            ValueError: If `user` is missing, or given although the format carries no user; or if an end that must be
                sent is `None`, naive, or outside the years 1 to 9999 in UTC.
            TypeError: If `user` is not a `DirectoryUser`.
        """
        user_fields = self.user_fields(user)
        if not self.carries_user:
            return {}
        if start is None or end is None:
            raise InvalidArgumentError(
                f"start and end must be given: {self} requires both ends of the time range",
                argument="start" if start is None else "end",
            )
        return user_fields | {"startDate": _format_end("start", start), "endDate": _format_end("end", end)}

    @staticmethod
    def parse(body: bytes, *, exact: bool = False) -> Any:
        """Return the value of a JSON body.

        Args:
            body: JSON.
            exact: Whether integers beyond 64 bits stay integers, at ten times the cost.

        Raises:
            DecodingError: If `body` is not JSON, or has more values than the parser allows.
        """
        return _parse(body, exact=exact)

    def structure(self, body: bytes, type_: type[T], assume_zone: tzinfo | None = None) -> T:
        """Return the model of a body.

        Args:
            body: JSON.
            type_: A model, another attrs class or a dataclass, a JSON type, or `list[X]`, `tuple[X, ...]` or
                `dict[str, X]` of them.
            assume_zone: The zone of date-times without an offset. `None`: they are rejected.

        Raises:
            DecodingError: If `body` is not JSON, or not a valid `type_`.
            TypeError: If `body` is not bytes, or `type_` cannot be read from JSON.
        """
        try:
            return self._structure(parse(body), type_, assume_zone)
        except (JsonError, RoundedIntegerError):
            pass  # parsed again: exactly, or to find what is wrong
        return self._structure(_parse(body, exact=True), type_, assume_zone, exact=True)

    def check_type(self, type_: type[Any], assume_zone: tzinfo | None = None) -> None:
        """Reject a type that `structure` cannot read.

        Raises:
            TypeError: If `type_` cannot be read from JSON.
        """
        get_converters(self._layout, assume_zone).fast.get_structure_hook(type_)

    def structure_items(
        self,
        items: list[Any],
        type_: type[T],
        assume_zone: tzinfo | None = None,
        *,
        skip_invalid: bool = False,
        exact: bool = False,
    ) -> ValidItems[T]:
        """Return the items of a page.

        Args:
            items: The items of the page, as `parse` returned them.
            type_: The type of an item; see `structure`.
            assume_zone: The zone of date-times without an offset. `None`: they are rejected.
            skip_invalid: Whether invalid items are left out and reported, instead of raised.
            exact: Whether `parse` was called with `exact`.

        Raises:
            DecodingError: If an item is not a valid `type_`, unless `skip_invalid`.
            RoundedIntegerError: If `items` may have an integer beyond 64 bits, unless `exact`.
            TypeError: If `type_` cannot be read from JSON.
        """
        if not skip_invalid:
            list_type: Any = list[type_]  # type: ignore[valid-type]  # known only here
            return ValidItems(self._structure(items, list_type, assume_zone, exact=exact))
        valid, lines, skipped = self._structure_each(items, type_, assume_zone, exact=exact, skip_invalid=True)
        return ValidItems(valid, tuple(lines[:MAX_PROBLEMS]), skipped)

    def structure_created(self, body: bytes, sent: NewAppointment, assume_zone: tzinfo | None = None) -> Appointment:
        """Return the created appointment from the response to a create.

        The response is the appointment, an object with its id, or the id alone. Missing fields are taken from `sent`.

        Raises:
            DecodingError: If the response has no id, or a member is invalid.
        """
        return exactly_if_needed(functools.partial(self._structure_created, body, sent, assume_zone))

    def _structure_created(
        self, body: bytes, sent: NewAppointment, assume_zone: tzinfo | None, *, exact: bool
    ) -> Appointment:
        parsed = _parse(body, exact=exact) if body else None
        if not isinstance(parsed, dict):
            parsed = {"appointmentId": parsed}
        layout = self._layout
        fields = layout.flatten(parsed)
        if not fields.keys() >= layout.model_keys:
            sent_fields = orjson.loads(orjson.dumps(self._unstructure(sent), option=orjson.OPT_UTC_Z))
            kept = {key: value for key, value in sent_fields.items() if not layout.overrides_sent(fields, key)}
            fields = kept | fields
        created = self._structure(fields, Appointment, assume_zone, exact=exact)
        if created.time_zone or isinstance(sent.time_zone, Unset):
            return created
        return attrs.evolve(created, time_zone=sent.time_zone)

    def structure_updated(self, body: bytes, assume_zone: tzinfo | None = None) -> Appointment | None:
        """Return the appointment in the response to an update; `None` if the response has none.

        Raises:
            DecodingError: If the response is not JSON, or has fields of an appointment but not a valid one.
        """
        return exactly_if_needed(functools.partial(self._structure_updated, body, assume_zone))

    def _structure_updated(self, body: bytes, assume_zone: tzinfo | None, *, exact: bool) -> Appointment | None:
        parsed = _parse(body, exact=exact) if body else None
        if not isinstance(parsed, dict):
            return None
        keys = self._layout.model_keys - {"appointmentId"}
        if keys.isdisjoint(self._layout.flatten(parsed)):
            return None
        return self._structure(parsed, Appointment, assume_zone, exact=exact)

    def unstructure(
        self, model: NewAppointment | AppointmentUpdate | Appointment, user: DirectoryUser | None = None
    ) -> bytes:
        """Return the body of a model, for the directory user of the appointment. Fields that are `UNSET` are left out.

        Raises:
            ValueError: If a field is set that the format does not carry, `extra` has the key of a field, or `user` is
                missing, or given although the format carries no user.
            TypeError: If `model` is not one of the models, or `user` not a `DirectoryUser`.
        """
        layout = self._layout
        user_fields = self.user_fields(user) if layout.user_keys or user is not None else None
        fields = self._unstructure(model)
        if user_fields:
            fields = user_fields | fields
        if layout.nested:
            fields = layout.unflatten(fields)
        # The models' date-times are in UTC: orjson writes them as format_instant does, at a sixth of its cost.
        return orjson.dumps(fields, option=orjson.OPT_UTC_Z)

    def unstructure_over(
        self,
        body: bytes,
        update: AppointmentUpdate,
        user: DirectoryUser | None = None,
        assume_zone: tzinfo | None = None,
    ) -> bytes:
        """Return the body of a whole appointment with an update applied, for a server that replaces on PUT.

        What the update does not set goes back as it was read: unknown fields with integers of any length, and all
        digits of a date-time. No document says which fields a server does not accept back, so none is left out. A
        date-time without an offset goes back in UTC if the update sets the time zone, which would move it otherwise.

        Args:
            body: The response to a get of the appointment.
            update: The changes.
            user: The directory user of the appointment.
            assume_zone: The zone of date-times without an offset.

        Raises:
            DecodingError: If `body` is not a valid appointment.
            ValueError: If `update` sets a field that the format does not carry, its `extra` has the key of a field, or
                `user` is missing, or given although the format carries no user.
        """
        current = self.structure(body, Appointment, assume_zone)
        whole = _parse(body, exact=True)
        changes = orjson.loads(self.unstructure(update, user))
        nested = self._layout.nested
        if nested and isinstance(whole.get(nested), dict) and nested in changes:
            changes[nested] = whole[nested] | changes[nested]
        whole |= changes
        if self._layout.keys.get("time_zone") in changes:
            for field in ("start_time", "end_time"):
                key = self._layout.keys[field]
                if not has_offset(whole[key]):
                    whole[key] = format_instant(getattr(current, field))
        # orjson would reject integers beyond 64 bits.
        return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()

    def unstructure_id(self, appointment_id: str, user: DirectoryUser | None = None) -> bytes:
        """Return the body that names one appointment and its directory user.

        Raises:
            ValueError: If `user` is missing, or given although the format carries no user.
            TypeError: If `user` is not a `DirectoryUser`.
        """
        return orjson.dumps(self.user_fields(user) | {"appointmentId": appointment_id})

    def _unstructure(
        self,
        model: NewAppointment | AppointmentUpdate | Appointment,
        encodes: bool = True,  # noqa: FBT001, FBT002 - a keyword would cost 2 % of an encoding
    ) -> dict[str, Any]:
        """Return the fields of a valid model in a flat object; an empty one unless `encodes`.

        Raises:
            ValueError: As `check` does.
        """
        layout = self._layout
        unstructure, not_carried = _encoding(layout, type(model))  # type: ignore[arg-type]  # a class is hashable
        for field in not_carried:
            value = getattr(model, field)
            if value is not None and value is not UNSET:
                raise InvalidArgumentError(f"{field} is not carried by {self}", argument=field)
        if isinstance(model.time_zone, str) and zone_named(model.time_zone) is None:
            raise InvalidArgumentError(
                "time_zone must be the IANA or Windows name of a time zone", argument="time_zone"
            )
        fields = unstructure(model) if encodes else {}
        if model.extra is not NOTHING_EXTRA:
            self._check_extra(model.extra)
            fields = {**model.extra, **fields}
        if encodes and (layout.create_defaults or layout.description_defaults):
            fields = layout.add_defaults(fields, creates=isinstance(model, NewAppointment))
        return fields

    def _structure(self, parsed: Any, type_: type[T], assume_zone: tzinfo | None, *, exact: bool = False) -> T:
        hook = _fast_hook(self._layout, type_, assume_zone, exact)  # type: ignore[arg-type]  # hashable
        try:
            structured: T = hook(parsed, type_)
        except RoundedIntegerError:
            raise
        except Exception:  # noqa: BLE001, S110 - cattrs and the classes of applications raise errors of any type
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
        raise DecodingError("the body does not match the API contract", problems=truncate(lines))

    def _structure_each(
        self, items: list[Any], type_: type[T], assume_zone: tzinfo | None, *, exact: bool, skip_invalid: bool = False
    ) -> tuple[list[T], list[str], int]:
        """Return the valid items, the problems of the others, and how many those are.

        Items are explained one at a time, and only until there are more problems than are shown: cattrs would keep an
        error for each fault, and 10 MiB of `1,1,…` took 7 GB and two minutes. The walk stops there unless invalid items
        are skipped.
        """
        hook = _fast_hook(self._layout, type_, assume_zone, exact)  # type: ignore[arg-type]  # hashable
        id_key = self._layout.keys["appointment_id"]
        valid: list[T] = []
        lines: list[str] = []
        invalid = 0
        for index, item in enumerate(items):
            try:
                valid.append(hook(item, type_))
            except RoundedIntegerError:
                raise
            except Exception:  # noqa: BLE001 - as in _structure
                invalid += 1
            else:
                continue
            if len(lines) <= MAX_PROBLEMS:
                item_lines = self._explain(item, type_, assume_zone, path=f"$[{index}]", exact=exact)
                lines += add_id(item_lines, item, id_key) if skip_invalid else item_lines
            elif not skip_invalid:
                break
        return valid, lines, invalid

    def _explain(
        self, value: Any, type_: type[Any], assume_zone: tzinfo | None, *, path: str = "$", exact: bool
    ) -> list[str]:
        try:
            get_converters(self._layout, assume_zone, exact=exact).explaining.structure(value, type_)
        except Exception as error:  # noqa: BLE001 - as in _structure
            with contextlib.suppress(RecursionError):  # a class that contains itself may be nested too deep to explain
                return describe(error, self._layout.keys, path)
        return [f"{path}: breaks a rule of the model"]


def exactly_if_needed(structure: Callable[..., T]) -> T:
    """Return `structure(exact=False)`, or `structure(exact=True)` if the body may have integers beyond 64 bits."""
    try:
        return structure(exact=False)
    except RoundedIntegerError:
        pass
    return structure(exact=True)


def _format_end(name: str, end: datetime) -> str:
    try:
        return format_instant(end)
    except InstantError as error:
        problem = str(error)
    raise InvalidArgumentError(f"{name}: {problem}", argument=name)


@functools.cache
def _fast_hook(
    layout: FieldLayout,
    type_: Any,
    assume_zone: tzinfo | None,
    exact: bool,  # noqa: FBT001 - a keyword would double the cost of the look-up
) -> Callable[[Any, Any], Any]:
    """Return the hook that the fast converter would look up again for each value.

    Raises:
        TypeError: If `type_` cannot be read from JSON.
    """
    return get_converters(layout, assume_zone, exact=exact).fast.get_structure_hook(type_)


@functools.cache
def _encoding(layout: FieldLayout, model_type: type) -> tuple[Callable[[Any], dict[str, Any]], tuple[str, ...]]:
    """Return a model's hook, which returns the fields that are set, and the fields that a layout has no key for.

    Raises:
        TypeError: If `model_type` is not one of the models.
    """
    if not issubclass(model_type, NewAppointment | AppointmentUpdate | Appointment):
        raise TypeError(f"model must be a NewAppointment, AppointmentUpdate or Appointment, not {model_type.__name__}")
    unstructure = get_converters(layout, None).fast.get_unstructure_hook(model_type)
    not_carried = (name for name in attrs.fields_dict(model_type) if name not in layout.keys and name != "extra")
    return unstructure, tuple(not_carried)


def _check_json_values(extra: Mapping[str, Any]) -> None:
    """Reject unknown fields that JSON cannot represent, or that no response could return.

    Raises:
        ValueError: If a value is not JSON, or nested deeper than 64 levels.
    """
    written = check_json("extra", dict(extra))
    try:
        may_be_rounded(orjson.loads(written).values())  # parsed again, because a tuple becomes an array
    except JsonError:
        rule = f"extra must not be nested deeper than {MAX_DEPTH} levels: the response would not be decoded"
    else:
        return
    raise InvalidArgumentError(rule, argument="extra")


def _parse(body: bytes, *, exact: bool = False) -> Any:
    try:
        return parse(body, exact=exact)
    except JsonError as error:
        problem = f"$: {error}"
    raise DecodingError("the body is not readable JSON", problems=[problem])
