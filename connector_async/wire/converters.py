"""The cattrs converters of a field layout: JSON objects to models and back.

How strict decoding is:

- A value must have the JSON type of its field (see `hooks`). Only an integer id is converted, to its digits.
- A required member must exist; `null` is not a string. A description may be `null` or missing.
- A date-time must be a string in the RFC 3339 profile of `_timestamps`. Without a UTC offset it is read in the zone
  that the object's `timeZone` names, or, if the object names none, in the session's `assume_zone`. It is an error if
  neither names a known zone: an unknown name is never replaced by `assume_zone`.
- An unknown member is kept in `extra`. It is an error only if it is nested deeper than 64 levels.
- A member that a model has a field for must keep the rules of that field.

An attrs class or a dataclass of an application is read by the same rules, except that it keeps no unknown members.

A layout has two converters. `fast` decodes every body. `explaining` finds the faults of a value that `fast` rejects.
"""

import contextlib
import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, tzinfo
from typing import Any, Final

import attrs
from cattrs.fns import identity
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.orjson import OrjsonConverter, make_converter

from connector_async._json import JsonError, may_be_rounded
from connector_async._timestamps import (
    SEPARATORS,
    SEPARATORS_IN_UTC,
    has_offset,
    have_separators_in_utc,
    parse_instant,
    parse_usual,
    zone_named,
)
from connector_async.models import NOTHING_EXTRA, Appointment, AppointmentUpdate, NewAppointment, Unset

from .field_layout import GUIDE_LAYOUT, FieldLayout
from .hooks import (
    MismatchError,
    is_collection,
    make_collection_hook,
    make_object_hook,
    structure_bool,
    structure_float,
    structure_id,
    structure_int,
    structure_list,
    structure_optional_str,
    structure_str,
    unknown_type,
)

_TIME_ZONE: Final = "timeZone"
_CHUNK: Final = 256
"""Items that are decoded together: few enough to stay in the processor's cache."""

# Type checkers take the keyword arguments, which are the fields of a class, for options.
_make_structure: Final[Any] = make_dict_structure_fn
_make_unstructure: Final[Any] = make_dict_unstructure_fn

_CheckExtra = Callable[[dict[str, Any]], object]


class RoundedIntegerError(Exception):
    """An unknown field has a float that may be a rounded integer, so the body has to be parsed exactly.

    It is not a ValueError, because it is not a fault of the body.
    """


@attrs.frozen(eq=False, repr=False)
class Converters:
    """Two converters that accept the same values and return equal models."""

    fast: OrjsonConverter
    explaining: OrjsonConverter
    """Finds every fault of a value and its path. It takes ten times as long and keeps an error for each fault, so it
    gets only single values that `fast` rejected."""


@functools.cache  # bounded: the zone is chosen by the application, never by a server
def get_converters(layout: FieldLayout, assume_zone: tzinfo | None, *, exact: bool = False) -> Converters:
    """Return the converters of a layout.

    Args:
        layout: The keys.
        assume_zone: The zone of date-times without an offset in objects that name no zone.
        exact: Whether the body was parsed with integers beyond 64 bits as integers. If not, both converters raise
            `RoundedIntegerError` for an unknown field that may have such an integer.
    """
    check_extra = _check_depth if exact else _check_depth_and_rounding
    return Converters(
        fast=_make_converter(layout, assume_zone, check_extra, detailed=False),
        explaining=_make_converter(layout, assume_zone, check_extra, detailed=True),
    )


def _check_depth_and_rounding(extra: dict[str, Any]) -> None:
    """Check the unknown fields of an object.

    Raises:
        MismatchError: If a field is nested too deep to be pickled, copied and written.
        RoundedIntegerError: If a field may have a rounded integer.
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
    """Check the unknown fields of an object that was parsed exactly: large floats in it are floats."""
    with contextlib.suppress(RoundedIntegerError):
        _check_depth_and_rounding(extra)


def _make_converter(
    layout: FieldLayout, assume_zone: tzinfo | None, check_extra: _CheckExtra, *, detailed: bool
) -> OrjsonConverter:
    converter = _make_strict_converter(assume_zone, check_extra, detailed=detailed)
    for model in (NewAppointment, AppointmentUpdate, Appointment):
        _register_model(converter, model, layout, check_extra)
    if layout is GUIDE_LAYOUT and not detailed:
        parse = functools.partial(parse_instant, assume_zone=assume_zone) if assume_zone else parse_instant
        structure = _make_fast_guide_hook(parse, check_extra)
        converter.register_structure_hook(Appointment, structure)
        converter.register_structure_hook_func(
            functools.partial(operator.eq, list[Appointment]), _make_fast_page_hook(structure)
        )
    return converter


def _make_strict_converter(assume_zone: tzinfo | None, check_extra: _CheckExtra, *, detailed: bool) -> OrjsonConverter:
    """Return a converter for JSON values and date-times, with the hooks of this package, and for attrs classes of them.

    The key of a class's field is its alias, which is its name unless the class sets another one.
    """

    def raise_unknown_type(type_: Any) -> Any:
        raise unknown_type(type_)

    converter = make_converter(
        detailed_validation=detailed, use_alias=True, structure_fallback_factory=raise_unknown_type
    )

    def structure_instant(value: object, type_: object) -> datetime:
        if type(value) is _LocalTime:
            return parse_instant(value.string, assume_zone=value.zone)
        return parse_instant(structure_str(value, type_), assume_zone=assume_zone)

    def structure_exact_int(value: object, type_: object) -> int:
        if type(value) is float:
            check_extra({"": value})  # it may be an integer beyond 64 bits
        return structure_int(value, type_)

    def structure_any(value: object, _: object) -> object:
        check_extra({"": value})
        return value

    converter.register_structure_hook(datetime, structure_instant)
    for kind, structure in (
        (str, structure_str),
        (int, structure_exact_int),
        (float, structure_float),
        (bool, structure_bool),
    ):
        converter.register_structure_hook(kind, _hook_with_subclasses(kind, structure))
    converter.register_structure_hook_factory(is_collection, make_collection_hook)
    for types, hook in (
        ((Any, object), structure_any),
        ((str | Unset,), structure_str),
        ((str | None, str | Unset | None), structure_optional_str),
        ((datetime | Unset,), structure_instant),
    ):
        # Registered by a predicate, because cattrs' own hook for unions would come before one for a type.
        converter.register_structure_hook_func(functools.partial(operator.contains, types), hook)
    # Fields of these unions are written as they are. Generated code leaves out a call of `identity`.
    unions = str | None, str | Unset, str | Unset | None, datetime | Unset
    converter.register_unstructure_hook_func(functools.partial(operator.contains, unions), identity)
    return converter


def _hook_with_subclasses(kind: type, structure: Callable[[object, object], Any]) -> Callable[[object, Any], Any]:
    """Return a hook for a type that converts to its subclasses, such as a string enum: cattrs uses it for them, too."""

    def structure_kind(value: object, type_: Any) -> Any:
        if type(value) is kind and type_ is kind:
            return value
        checked = structure(value, type_)
        return checked if type_ is kind else type_(checked)

    return structure_kind


class _LocalTime:
    """A date-time string without an offset, and the zone that its object names.

    The zone is passed with the value. One converter per zone would be kept forever for each of the 600 zones that a
    server may name, and takes a millisecond to make.
    """

    __slots__ = ("string", "zone")

    def __init__(self, string: str, zone: tzinfo | None) -> None:
        self.string = string
        self.zone = zone


def _register_model(
    converter: OrjsonConverter, model: type[Any], layout: FieldLayout, check_extra: _CheckExtra
) -> None:
    overrides = _make_overrides(model, layout)
    start_key, end_key = layout.keys["start_time"], layout.keys["end_time"]
    has_zone = "time_zone" in layout.keys
    known_keys = layout.known_keys

    @functools.cache
    def structure_fields() -> Callable[[dict[str, Any], Any], Any]:
        hook: Callable[[dict[str, Any], Any], Any] = _make_structure(model, converter, **overrides)
        return hook

    def structure(value: dict[str, Any], type_: Any) -> Any:
        flat = layout.flatten(value)
        if layout.nested and flat.get(layout.nested) is not None:
            raise MismatchError(f"{layout.nested} must be an object or null")
        if has_zone and not (_is_in_utc(flat.get(start_key)) and _is_in_utc(flat.get(end_key))):
            flat = _with_named_zone(flat, (start_key, end_key))
        if flat.keys() <= known_keys:
            return structure_fields()(flat, type_)
        extra = {key: item for key, item in flat.items() if key not in known_keys}
        check_extra(extra)
        return attrs.evolve(structure_fields()(flat, type_), extra=extra)

    converter.register_structure_hook(model, make_object_hook(structure))
    converter.register_unstructure_hook(
        model, _make_unstructure(model, converter, _cattrs_omit_if_default=True, **overrides)
    )


def _is_in_utc(value: object) -> bool:
    return type(value) is str and value[-1:] == "Z"


def _with_named_zone(flat: dict[str, Any], time_keys: tuple[str, ...]) -> dict[str, Any]:
    """Return a flat object with each date-time that has no offset as a `_LocalTime` in the zone that it names."""
    name = flat.get(_TIME_ZONE)
    if type(name) is not str:
        return flat
    copied = flat.copy()
    for key in time_keys:
        value = flat.get(key)
        if type(value) is str and not has_offset(value):
            copied[key] = _LocalTime(value, zone_named(name))
    return copied


def _make_overrides(model: type[Any], layout: FieldLayout) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    for field in attrs.fields_dict(model):
        key = layout.keys.get(field)
        overrides[field] = override(rename=key) if key else override(omit=True)
    if "appointment_id" in overrides:
        overrides["appointment_id"] = override(rename=layout.keys["appointment_id"], struct_hook=structure_id)
    return overrides


def _make_fast_guide_hook(
    parse: Callable[[str], datetime], check_extra: _CheckExtra
) -> Callable[[dict[str, Any], object], Appointment]:
    """Return a hook for `Appointment` that accepts what the hook of `_register_model` does, in two thirds of its time.

    cattrs calls a hook for each field; here all checks are in one function. A value that it rejects raises an error
    that names no path, and the explaining converter finds the path.
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
                start_time, end_time = parse_usual(start), parse_usual(end)
            else:
                start_time, end_time = parse(start), parse(end)
        except ValueError:  # a leap second, or a fault
            start_time, end_time = parse(start), parse(end)
        if description is not None and len(value) == len(known_keys):
            return Appointment(appointment_id, title, start_time, end_time, description)
        extra = {key: item for key, item in value.items() if key not in known_keys}
        if extra:
            check_extra(extra)
        return Appointment(appointment_id, title, start_time, end_time, description, extra=extra)

    known_keys, separators, in_utc = GUIDE_LAYOUT.known_keys, SEPARATORS, SEPARATORS_IN_UTC
    return structure_appointment


def _make_fast_page_hook(
    structure: Callable[[dict[str, Any], object], Appointment],
) -> Callable[[object, object], list[Appointment]]:
    """Return a hook for `list[Appointment]` that calls `structure` only for the items of a chunk with an unusual one.

    It takes four fifths of the time of a hook that calls it for each item.
    """

    def structure_page(value: object, _: object) -> list[Appointment]:
        items: list[Any] = structure_list(value)
        appointments: list[Appointment] = []
        for start in range(0, len(items), _CHUNK):
            chunk = items[start : start + _CHUNK]
            usual = _structure_usual(chunk)
            appointments += [structure(item, Appointment) for item in chunk] if usual is None else usual
        return appointments

    return structure_page


def _structure_usual(items: list[Any]) -> list[Appointment] | None:
    """Return the appointments of objects with all members and no other, and with date-times in UTC.

    Each check is of a whole column, in C. `None`: an object is unusual, or not valid.
    """
    try:
        if set(map(len, items)) != {len(GUIDE_LAYOUT.known_keys)}:
            return None
        # An object's own keys are found faster than equal strings: the parser uses the same ones in all objects.
        columns = {key: [item[key] for item in items] for key in items[0]}
        ids, titles, descriptions = columns["appointmentId"], columns["title"], columns["description"]
        starts, ends = columns["startTime"], columns["endTime"]
        "".join(ids + titles)  # a TypeError unless all are str
        _check_optional_strings(descriptions)
        if not (all(ids) and have_separators_in_utc(starts + ends)):
            return None
        return _build(ids, titles, map(parse_usual, starts), map(parse_usual, ends), descriptions)
    except (KeyError, TypeError, ValueError):
        return None


def _check_optional_strings(values: list[Any]) -> None:
    """Raise a TypeError unless all values are str or None."""
    try:
        "".join(values)
    except TypeError:
        "".join([value for value in values if value is not None])


def _build(
    ids: Sequence[str],
    titles: Sequence[str],
    starts: Iterable[datetime],
    ends: Iterable[datetime],
    descriptions: Sequence[str | None],
) -> list[Appointment]:
    """Return appointments with these fields, equal to those that the class itself would build.

    Calls of the class would take a twentieth of the time of decoding a page.
    """
    appointments: list[Any] = list(map(object.__new__, itertools.repeat(Appointment, len(ids))))
    columns = zip(appointments, ids, titles, starts, ends, descriptions, strict=True)
    for appointment, appointment_id, title, start, end, description in columns:
        appointment.appointment_id = appointment_id
        appointment.title = title
        appointment.start_time = start
        appointment.end_time = end
        appointment.description = description
        appointment.description_type = None
        appointment.time_zone = None
        appointment.extra = NOTHING_EXTRA
    return appointments
