"""The cattrs converters of a body format: one that is fast, and one that explains what the fast one did not take."""

import contextlib
import functools
import operator
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any, Final

import attrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.orjson import OrjsonConverter, make_converter

from connector_async._json import JsonError, may_be_rounded
from connector_async._timestamps import SEPARATORS, SEPARATORS_IN_UTC, has_offset, parse_instant, zone_named
from connector_async.models import Appointment, AppointmentUpdate, NewAppointment, Unset

from .body_format import GUIDE, BodyFormat
from .hooks import (
    MismatchError,
    is_list,
    of_object,
    strict_list_factory,
    structure_id,
    structure_optional_text,
    structure_text,
)

_TIME_ZONE: Final = "timeZone"

# Type checkers see their keyword arguments, which are a class's fields, as options.
_make_structure: Final[Any] = make_dict_structure_fn
_make_unstructure: Final[Any] = make_dict_unstructure_fn


class RoundedIntegerError(Exception):
    """An unknown field has a float that may be a rounded integer: the body has to be parsed exactly.

    It is not a ValueError, so that it is not taken for a fault of the body.
    """


@attrs.frozen
class Converters:
    """Two converters that take the same values and read them alike."""

    fast: OrjsonConverter
    explaining: OrjsonConverter
    """Finds every fault of a value and its path. It takes ten times as long, and keeps an error for each fault: only
    single values that `fast` did not take go through it."""


@functools.cache  # bounded: the caller chooses the zone, and a server none
def converters(body_format: BodyFormat, assume_zone: tzinfo | None, *, exact: bool = False) -> Converters:
    """Return the converters of a format.

    Args:
        body_format: The keys.
        assume_zone: The zone of date-times without an offset, where the object itself names none.
        exact: Whether the body was parsed with integers beyond 64 bits as integers. If not, both converters raise
            `RoundedIntegerError` for an unknown field that may have one.
    """
    check_extra = _check_depth if exact else _check_depth_and_rounding
    return Converters(
        fast=_make_converter(body_format, assume_zone, check_extra, detailed=False),
        explaining=_make_converter(body_format, assume_zone, check_extra, detailed=True),
    )


_CheckExtra = Callable[[dict[str, Any]], object]


def _check_depth_and_rounding(extra: dict[str, Any]) -> None:
    """Check unknown fields.

    Raises:
        MismatchError: If one is nested too deep to be pickled, copied and written.
        RoundedIntegerError: If one may have a rounded integer.
    """
    try:
        if not may_be_rounded(extra.values()):
            return
    except JsonError as error:
        rule = str(error)
    else:
        raise RoundedIntegerError
    raise MismatchError(f"an unknown field is {rule}")


def _check_depth(extra: dict[str, Any]) -> None:
    """Check unknown fields of a body that was parsed exactly, as the above does."""
    with contextlib.suppress(RoundedIntegerError):
        _check_depth_and_rounding(extra)


def _make_converter(
    body_format: BodyFormat, assume_zone: tzinfo | None, check_extra: _CheckExtra, *, detailed: bool
) -> OrjsonConverter:
    converter = _strict_converter(assume_zone, detailed=detailed)
    for model in (NewAppointment, AppointmentUpdate, Appointment):
        _register(converter, model, body_format, check_extra)
    if body_format is GUIDE and not detailed:
        parse = functools.partial(parse_instant, assume_zone=assume_zone) if assume_zone else parse_instant
        converter.register_structure_hook(Appointment, _fast_guide_hook(parse, check_extra))
    return converter


def _strict_converter(assume_zone: tzinfo | None, *, detailed: bool) -> OrjsonConverter:
    """Return a converter of values that stand for themselves: strings, date-times, lists."""
    converter = make_converter(detailed_validation=detailed)

    def structure_instant(value: object, type_: object) -> datetime:
        if type(value) is _InZone:
            return parse_instant(value.text, assume_zone=value.zone)
        return parse_instant(structure_text(value, type_), assume_zone=assume_zone)

    converter.register_structure_hook(str, structure_text)
    converter.register_structure_hook(datetime, structure_instant)
    for unions, hook in (
        ((str | Unset,), structure_text),
        ((str | None, str | Unset | None), structure_optional_text),
        ((datetime | Unset,), structure_instant),
    ):
        # By a predicate: the preconf has one for unions, which would come first.
        converter.register_structure_hook_func(functools.partial(operator.contains, unions), hook)
    converter.register_structure_hook_factory(is_list, strict_list_factory)
    return converter


class _InZone:
    """A date-time as it is written, without an offset, and the zone that is named beside it.

    The zone goes along with the value: a converter for each of the 600 zones that a server may name would be kept for
    ever, and take a millisecond to make.
    """

    __slots__ = ("text", "zone")

    def __init__(self, text: str, zone: tzinfo | None) -> None:
        self.text = text
        self.zone = zone


def _register(converter: OrjsonConverter, model: type[Any], body_format: BodyFormat, check_extra: _CheckExtra) -> None:
    overrides = _overrides(model, body_format)
    unstructure_known = _make_unstructure(model, converter, _cattrs_omit_if_default=True, **overrides)
    start_key, end_key = body_format.keys["start_time"], body_format.keys["end_time"]
    names_zone = "time_zone" in body_format.keys
    known = body_format.known

    @functools.cache
    def structure_known() -> Callable[[dict[str, Any], Any], Any]:
        hook: Callable[[dict[str, Any], Any], Any] = _make_structure(model, converter, **overrides)
        return hook

    def structure(fields: dict[str, Any], type_: Any) -> Any:
        flat = body_format.flatten(fields)
        if body_format.nested and flat.get(body_format.nested) is not None:
            raise MismatchError(f"{body_format.nested} must be an object or null")
        if names_zone and not (_is_in_utc(flat.get(start_key)) and _is_in_utc(flat.get(end_key))):
            flat = _in_named_zone(flat, (start_key, end_key))
        if flat.keys() <= known:
            return structure_known()(flat, type_)
        extra = {key: value for key, value in flat.items() if key not in known}
        check_extra(extra)
        return attrs.evolve(structure_known()(flat, type_), extra=extra)

    def unstructure(value: Any) -> dict[str, Any]:
        known: dict[str, Any] = unstructure_known(value)
        return {**value.extra, **known} if value.extra else known

    converter.register_structure_hook(model, of_object(structure))
    converter.register_unstructure_hook(model, unstructure)


def _is_in_utc(text: object) -> bool:
    return type(text) is str and text[-1:] == "Z"


def _in_named_zone(flat: dict[str, Any], time_keys: tuple[str, ...]) -> dict[str, Any]:
    """Return flat fields whose date-times, if they have no offset, are in the zone that the object names."""
    named = flat.get(_TIME_ZONE)
    if type(named) is not str:
        return flat
    copied = flat.copy()
    for key in time_keys:
        text = flat.get(key)
        if type(text) is str and not has_offset(text):
            copied[key] = _InZone(text, zone_named(named))
    return copied


def _overrides(model: type[Any], body_format: BodyFormat) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for field in attrs.fields_dict(model):
        key = body_format.keys.get(field)
        overrides[field] = override(rename=key) if key else override(omit=True)
    if "appointment_id" in overrides:
        overrides["appointment_id"] = override(rename=body_format.keys["appointment_id"], struct_hook=structure_id)
    return overrides


def _fast_guide_hook(
    parse: Callable[[str], datetime], check_extra: _CheckExtra
) -> Callable[[dict[str, Any], object], Appointment]:
    """Return a hook that takes what cattrs' own takes, in two thirds of the time.

    cattrs calls a hook for each field; here the checks stand in one function. Whatever it does not take ends in an
    error that names no path.
    """

    def structure_appointment(value: dict[str, Any], _: object) -> Appointment:
        appointment_id, title, description = value["appointmentId"], value["title"], value.get("description")
        start, end = value["startTime"], value["endTime"]
        if type(appointment_id) is not str or not appointment_id:
            appointment_id = structure_id(appointment_id, str)
        if type(title) is not str or (description is not None and type(description) is not str):
            raise MismatchError("expected a string")
        try:
            if start[separators] == in_utc == end[separators] and "\0" not in start and "\0" not in end:
                start_time, end_time = fromisoformat(start), fromisoformat(end)
            else:
                start_time, end_time = parse(start), parse(end)
        except ValueError:  # a leap second, or a fault
            start_time, end_time = parse(start), parse(end)
        if description is not None and len(value) == len(known):
            return Appointment(appointment_id, title, start_time, end_time, description)
        extra = {key: item for key, item in value.items() if key not in known}
        if extra:
            check_extra(extra)
        return Appointment(appointment_id, title, start_time, end_time, description, extra=extra)

    fromisoformat, known = datetime.fromisoformat, GUIDE.known
    separators, in_utc = SEPARATORS, SEPARATORS_IN_UTC
    return structure_appointment
