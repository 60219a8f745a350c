"""The cattrs converters of a body format: one that is fast, and one that explains what the fast one did not take."""

import functools
import operator
from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any, Final

import attrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.orjson import OrjsonConverter, make_converter

from connector_async.instants import SEPARATORS, SEPARATORS_IN_UTC, parse_instant, zone_named
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


@attrs.frozen
class Converters:
    """Two converters that read alike whatever both take."""

    fast: OrjsonConverter
    explaining: OrjsonConverter
    """Finds every fault and its path; only a body that `fast` did not take goes through it."""


@functools.cache
def converters(body_format: BodyFormat, assume_zone: tzinfo | None) -> Converters:
    """Return the converters of a format.

    Args:
        body_format: The keys.
        assume_zone: The zone of date-times without an offset, where the object itself names none.
    """
    return Converters(
        fast=_make_converter(body_format, assume_zone, detailed=False),
        explaining=_make_converter(body_format, assume_zone, detailed=True),
    )


def _make_converter(body_format: BodyFormat, assume_zone: tzinfo | None, *, detailed: bool) -> OrjsonConverter:
    converter = _strict_converter(assume_zone, detailed=detailed)
    for model in (NewAppointment, AppointmentUpdate, Appointment):
        _register(converter, model, body_format, assume_zone)
    if body_format is GUIDE and not detailed:
        parse = functools.partial(parse_instant, assume_zone=assume_zone) if assume_zone else parse_instant
        converter.register_structure_hook(Appointment, _fast_guide_hook(parse))
    return converter


@functools.cache
def _strict_values(assume_zone: tzinfo | None, *, detailed: bool) -> OrjsonConverter:
    return _strict_converter(assume_zone, detailed=detailed)


def _strict_converter(assume_zone: tzinfo | None, *, detailed: bool) -> OrjsonConverter:
    """Return a converter of values that stand for themselves: texts, date-times, lists."""
    converter = make_converter(detailed_validation=detailed)

    def structure_instant(value: object, type_: object) -> datetime:
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


def _register(
    converter: OrjsonConverter, model: type[Any], body_format: BodyFormat, assume_zone: tzinfo | None
) -> None:
    overrides = _overrides(model, body_format)
    unstructure_known = _make_unstructure(model, converter, _cattrs_omit_if_default=True, **overrides)

    @functools.cache
    def structure_known(zone: tzinfo | None) -> Callable[[dict[str, Any], Any], Any]:
        in_zone = _strict_values(zone, detailed=converter.detailed_validation)
        hook: Callable[[dict[str, Any], Any], Any] = _make_structure(model, in_zone, **overrides)
        return hook

    def structure(fields: dict[str, Any], type_: Any) -> Any:
        flat = body_format.flatten(fields)
        if body_format.nested and flat.get(body_format.nested) is not None:
            raise MismatchError(f"{body_format.nested} must be an object or null")
        # The zone that the object names is that of its date-times, if they have no offset.
        named = flat.get(_TIME_ZONE) if "time_zone" in body_format.keys else None
        zone = zone_named(named) if isinstance(named, str) else assume_zone
        made = structure_known(zone)(flat, type_)
        extra = {key: value for key, value in flat.items() if key not in body_format.known}
        return attrs.evolve(made, extra=extra) if extra else made

    def unstructure(value: Any) -> dict[str, Any]:
        known: dict[str, Any] = unstructure_known(value)
        return {**value.extra, **known} if value.extra else known

    converter.register_structure_hook(model, of_object(structure))
    converter.register_unstructure_hook(model, unstructure)


def _overrides(model: type[Any], body_format: BodyFormat) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for field in attrs.fields_dict(model):
        key = body_format.keys.get(field)
        overrides[field] = override(rename=key) if key else override(omit=True)
    if "appointment_id" in overrides:
        overrides["appointment_id"] = override(rename=body_format.keys["appointment_id"], struct_hook=structure_id)
    return overrides


def _fast_guide_hook(parse: Callable[[str], datetime]) -> Callable[[dict[str, Any], object], Appointment]:
    """Return a hook that takes what is well-formed, in two thirds of the time of cattrs' own.

    cattrs calls a hook for each field; here the checks stand in one function. Whatever it does not take ends in an
    error after which the explaining converter is asked.
    """

    def structure_appointment(value: dict[str, Any], _: object) -> Appointment:
        appointment_id, title, description = value["appointmentId"], value["title"], value.get("description")
        start, end = value["startTime"], value["endTime"]
        if type(appointment_id) is not str or not appointment_id:
            appointment_id = structure_id(appointment_id, str)
        if type(title) is not str or (description is not None and type(description) is not str):
            raise MismatchError("expected a string")
        if start[separators] == in_utc == end[separators] and "\0" not in start and "\0" not in end:
            start_time, end_time = fromisoformat(start), fromisoformat(end)
        else:
            start_time, end_time = parse(start), parse(end)
        if description is not None and len(value) == len(known):
            return Appointment(appointment_id, title, start_time, end_time, description)
        extra = {key: item for key, item in value.items() if key not in known}
        return Appointment(appointment_id, title, start_time, end_time, description, extra=extra)

    fromisoformat, known = datetime.fromisoformat, GUIDE.known
    separators, in_utc = SEPARATORS, SEPARATORS_IN_UTC
    return structure_appointment
