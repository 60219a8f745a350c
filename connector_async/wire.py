"""Between models and the bytes of bodies, by cattrs.

Strict where a mistake would be silent (a naive date-time, a `null` or a number taken for a text), lenient where the
server may grow: unknown fields of an appointment are kept. It knows nothing of HTTP.
"""

import enum
import functools
import itertools
import operator
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from typing import Any, Final, TypeVar

import attrs
import orjson
from cattrs import BaseValidationError, ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.cols import list_structure_factory
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.orjson import OrjsonConverter, make_converter

from .exceptions import DecodingError
from .instants import SEPARATORS, SEPARATORS_IN_UTC, InstantError, format_instant, parse_instant
from .models import Appointment, AppointmentUpdate, NewAppointment, Unset

T = TypeVar("T")

# Type checkers see their keyword arguments, which are a class's fields, as options.
_make_structure: Final[Any] = make_dict_structure_fn
_make_unstructure: Final[Any] = make_dict_unstructure_fn

_GUIDE_NAMES: Final = {"appointment_id": "appointmentId", "start_time": "startTime", "end_time": "endTime"}
_APPOINTMENT_KEYS: Final = frozenset({"appointmentId", "title", "startTime", "endTime", "description"})
_JSON_TYPES: Final[dict[type, str]] = {
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    str: "a string",
    list: "an array",
    dict: "an object",
}
_MAX_PROBLEMS: Final = 20


class WireFormat(enum.Enum):
    """How bodies are written. One is chosen for a session; the models are the same in each."""

    GUIDE = "guide"
    """As the appointments guide shows: `appointmentId`, `title`, `startTime`, `endTime`, `description`."""

    def structure(self, body: bytes, type_: type[T], assume_zone: tzinfo | None = None) -> T:
        """Decode a body into `type_`.

        Args:
            body: JSON.
            type_: A model, or `list[Appointment]`.
            assume_zone: The zone of date-times without an offset. `None`: they are refused.

        Raises:
            DecodingError: The body is not JSON, or not a `type_`.
        """
        return _structure(_parse(body), type_, _converters(assume_zone))

    def structure_created(self, body: bytes, sent: NewAppointment, assume_zone: tzinfo | None = None) -> Appointment:
        """Decode the answer to a create: the appointment, an object with its id, or the bare id.

        What the answer leaves out is taken from `sent`.

        Raises:
            DecodingError: The answer has no id, or what else it has is malformed.
        """
        converters = _converters(assume_zone)
        reply = _parse(body) if body else None
        if not isinstance(reply, dict):
            reply = {"appointmentId": reply}
        return _structure(converters.fast.unstructure(sent) | reply, Appointment, converters)

    def structure_updated(self, body: bytes, assume_zone: tzinfo | None = None) -> Appointment | None:
        """Decode the answer to an update: the appointment, or `None` when the server sends none.

        Raises:
            DecodingError: The answer is not JSON, or has fields of an appointment and is none.
        """
        reply = _parse(body) if body else None
        if not isinstance(reply, dict) or reply.keys().isdisjoint(_APPOINTMENT_KEYS - {"appointmentId"}):
            return None
        return _structure(reply, Appointment, _converters(assume_zone))

    def unstructure(self, model: NewAppointment | AppointmentUpdate | Appointment) -> bytes:
        """Encode a model as a body. Fields that are `UNSET` are left out; date-times are written in UTC."""
        return orjson.dumps(_converters(None).fast.unstructure(model))

    def unstructure_id(self, appointment_id: str) -> bytes:
        """Encode the body that names one appointment."""
        return orjson.dumps({"appointmentId": appointment_id})


class _MismatchError(ValueError):
    """A value breaks a rule of the contract. The message names the rule, never the value."""


@attrs.frozen
class _Converters:
    fast: OrjsonConverter
    explaining: OrjsonConverter
    """Finds every fault and its path; only a body that `fast` did not take goes through it."""


@functools.cache
def _converters(assume_zone: tzinfo | None) -> _Converters:
    return _Converters(
        fast=_make_converter(assume_zone, detailed=False), explaining=_make_converter(assume_zone, detailed=True)
    )


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
    # Raised outside of the handler: the caught error holds the whole body.
    raise DecodingError("the body is not JSON", problems=[f"$: not JSON at {place}"])


def _structure(parsed: Any, type_: type[T], converters: _Converters) -> T:
    try:
        return converters.fast.structure(parsed, type_)
    except (AttributeError, ForbiddenExtraKeysError, KeyError, TypeError, ValueError):
        pass
    problems: list[str] = []
    try:
        return converters.explaining.structure(parsed, type_)
    except (BaseValidationError, _MismatchError) as error:
        problems.extend(_first(_problems(error, "$")))
    # Raised outside of the handlers: the caught errors may hold values.
    raise DecodingError("the body is not what the contract says", problems=problems)


def _first(problems: Iterator[str]) -> Iterator[str]:
    yield from itertools.islice(problems, _MAX_PROBLEMS)
    if unshown := sum(1 for _ in problems):
        yield f"and {unshown} more"


def _problems(error: BaseException, path: str) -> Iterator[str]:
    if isinstance(error, ClassValidationError):
        of_fields, of_the_whole = error.group_exceptions()
        for inner, field in of_fields:
            yield from _problems(inner, f"{path}.{_GUIDE_NAMES.get(field.name, field.name)}")
        for inner in of_the_whole:
            yield from _problems(inner, path)
    elif isinstance(error, IterableValidationError):
        for inner, item in error.group_exceptions()[0]:
            yield from _problems(inner, f"{path}[{item.index}]")
    else:
        yield f"{path}: {_rule(error)}"


def _rule(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return "required, and missing"
    # Only the messages of our own errors are known to hold no value.
    return str(error) if isinstance(error, _MismatchError | InstantError) else "breaks a rule of the model"


def _make_converter(assume_zone: tzinfo | None, *, detailed: bool) -> OrjsonConverter:
    converter = make_converter(detailed_validation=detailed)
    parse = functools.partial(parse_instant, assume_zone=assume_zone) if assume_zone else parse_instant

    def structure_instant(value: object, _: object) -> datetime:
        return parse(_structure_text(value, _))

    converter.register_structure_hook(str, _structure_text)
    converter.register_structure_hook(datetime, structure_instant)
    for unions, hook in (
        ((str | Unset,), _structure_text),
        ((str | None, str | Unset | None), _structure_optional_text),
        ((datetime | Unset,), structure_instant),
    ):
        # By a predicate: the preconf has one for unions, which would come first.
        converter.register_structure_hook_func(functools.partial(operator.contains, unions), hook)
    converter.register_structure_hook_factory(_is_list, _strict_list_factory)
    converter.register_unstructure_hook(datetime, format_instant)
    _register_writes(converter)
    _register_appointment(converter)
    if not detailed:
        converter.register_structure_hook(Appointment, _fast_appointment_hook(parse))
    return converter


def _register_writes(converter: OrjsonConverter) -> None:
    for model in (NewAppointment, AppointmentUpdate):
        names = _overrides(model)
        structure = _make_structure(model, converter, _cattrs_forbid_extra_keys=True, **names)
        unstructure = _make_unstructure(model, converter, _cattrs_omit_if_default=True, **names)
        converter.register_structure_hook(model, _of_object(structure))
        converter.register_unstructure_hook(model, unstructure)


def _register_appointment(converter: OrjsonConverter) -> None:
    names = _overrides(Appointment) | {"extra": override(omit=True)}
    structure_known = _make_structure(Appointment, converter, **names)
    unstructure_known = _make_unstructure(Appointment, converter, **names)

    def structure_appointment(fields: dict[str, Any], type_: Any) -> Appointment:
        appointment: Appointment = structure_known({"description": None} | fields, type_)
        return attrs.evolve(appointment, extra=_extra(fields))

    def unstructure_appointment(appointment: Appointment) -> dict[str, Any]:
        return {**appointment.extra, **unstructure_known(appointment)}

    converter.register_structure_hook(Appointment, _of_object(structure_appointment))
    converter.register_unstructure_hook(Appointment, unstructure_appointment)


def _overrides(model: type) -> dict[str, Any]:
    names: dict[str, Any] = {name: override(rename=key) for name, key in _GUIDE_NAMES.items()}
    names["appointment_id"] = override(rename="appointmentId", struct_hook=_structure_id)
    return {field: names[field] for field in attrs.fields_dict(model) if field in names}


def _of_object(structure: Callable[[dict[str, Any], Any], Any]) -> Callable[[Any, Any], Any]:
    def structure_object(value: Any, type_: Any) -> Any:
        if isinstance(value, dict):
            return structure(value, type_)
        raise _MismatchError(f"expected an object, not {_json_type(value)}")

    return structure_object


def _fast_appointment_hook(parse: Callable[[str], datetime]) -> Callable[[dict[str, Any], object], Appointment]:
    """Return a hook that takes what is well-formed, in two thirds of the time of cattrs' own.

    cattrs calls a hook for each field; here the checks stand in one function. Whatever it does not take ends in one of
    the errors after which `_structure` asks the explaining converter.
    """

    def structure_appointment(value: dict[str, Any], _: object) -> Appointment:
        appointment_id, title, description = value["appointmentId"], value["title"], value.get("description")
        start, end = value["startTime"], value["endTime"]
        if type(appointment_id) is not str or not appointment_id:
            appointment_id = _structure_id(appointment_id, str)
        if type(title) is not str or (description is not None and type(description) is not str):
            raise _MismatchError("expected a string")
        start_time = fromisoformat(start) if start[SEPARATORS] == SEPARATORS_IN_UTC else parse(start)
        end_time = fromisoformat(end) if end[SEPARATORS] == SEPARATORS_IN_UTC else parse(end)
        if description is not None and len(value) == len(_APPOINTMENT_KEYS):
            return Appointment(appointment_id, title, start_time, end_time, description)
        return Appointment(appointment_id, title, start_time, end_time, description, _extra(value))

    fromisoformat = datetime.fromisoformat
    return structure_appointment


def _extra(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key not in _APPOINTMENT_KEYS}


def _structure_text(value: object, _: object) -> str:
    if type(value) is str:
        return value
    raise _MismatchError(f"expected a string, not {_json_type(value)}")


def _structure_optional_text(value: object, _: object) -> str | None:
    if value is None or type(value) is str:
        return value
    raise _MismatchError(f"expected a string or null, not {_json_type(value)}")


def _structure_id(value: object, _: object) -> str:
    if type(value) is str and value:
        return value
    # Not bool, which is an int, and not float, which orjson makes of an integer above 2**64.
    if type(value) is int:
        return str(value)
    raise _MismatchError(f"expected a non-empty string or an integer, not {_json_type(value)}")


def _is_list(type_: Any) -> bool:
    return getattr(type_, "__origin__", None) is list


def _strict_list_factory(type_: Any, converter: Any) -> Any:
    structure_items = list_structure_factory(type_, converter)

    def structure_list(value: object, _: object) -> Any:
        if type(value) is list:  # cattrs takes any iterable: the characters of a text, the keys of an object
            return structure_items(value, _)
        raise _MismatchError(f"expected an array, not {_json_type(value)}")

    return structure_list


def _json_type(value: object) -> str:
    return _JSON_TYPES.get(type(value), "null")
