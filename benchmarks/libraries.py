"""The compared libraries: each converts previews to objects of its own class and back.

The classes have the same fields, are frozen, and accept `null` only for the description. `Library.strictness` says what
else a library checks and whether it keeps unknown fields; ours does both.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

import adaptix
import attrs
import mashumaro.codecs.orjson
import mashumaro.config
import msgspec
import orjson
import pydantic
from adaptix import name_mapping
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override
from cattrs.preconf.orjson import make_converter
from mashumaro.mixins.orjson import DataClassORJSONMixin

from benchmarks.previews import dump_by_hand, load_by_hand
from connector_async import Appointment, WireFormat

_CAMEL = {"appointment_id": "appointmentId", "start_time": "startTime", "end_time": "endTime"}


@attrs.frozen(kw_only=True)
class Library:
    """A library, or code that does its work."""

    name: str
    strictness: str
    """What it checks beyond the types, and whether it keeps unknown fields."""
    load: Callable[[bytes], Sequence[Any]]
    """Returns the objects of a JSON array."""
    dump: Callable[[Any], bytes]
    """Returns the JSON of one object."""


def _ours() -> Library:
    return Library(
        name="connector_async",
        strictness="aware RFC 3339, exact strings, keeps unknown fields",
        load=lambda body: WireFormat.GUIDE.structure(body, list[Appointment]),
        dump=WireFormat.GUIDE.unstructure,
    )


@attrs.frozen
class _ForCattrs:
    appointment_id: str
    title: str
    start_time: datetime
    end_time: datetime
    description: str | None = None


def _cattrs() -> Library:
    converter = make_converter()
    renamed: Any = {name: override(rename=key) for name, key in _CAMEL.items()}
    converter.register_structure_hook(_ForCattrs, make_dict_structure_fn(_ForCattrs, converter, **renamed))
    converter.register_unstructure_hook(_ForCattrs, make_dict_unstructure_fn(_ForCattrs, converter, **renamed))
    return Library(
        name="cattrs, as documented",
        strictness="accepts null and numbers as strings, naive date-times",
        load=lambda body: converter.loads(body, list[_ForCattrs]),
        dump=converter.dumps,
    )


class _ForPydantic(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)

    appointment_id: str = pydantic.Field(alias="appointmentId")
    title: str
    start_time: pydantic.AwareDatetime = pydantic.Field(alias="startTime")
    end_time: pydantic.AwareDatetime = pydantic.Field(alias="endTime")
    description: str | None = None


class _ForPydanticWithExtra(_ForPydantic):
    model_config = pydantic.ConfigDict(frozen=True, extra="allow")


def _pydantic(model: type[_ForPydantic], name: str, strictness: str) -> Library:
    validator = pydantic.TypeAdapter(list[model]).validator  # type: ignore[valid-type]
    return Library(
        name=name,
        strictness=strictness,
        load=validator.validate_json,
        dump=lambda one: model.__pydantic_serializer__.to_json(one, by_alias=True),
    )


_Aware = Annotated[datetime, msgspec.Meta(tz=True)]


class _ForMsgspec(msgspec.Struct, frozen=True, rename="camel"):
    appointment_id: str
    title: str
    start_time: _Aware
    end_time: _Aware
    description: str | None = None


def _msgspec() -> Library:
    return Library(
        name="msgspec",
        strictness="aware date-times, exact strings",
        load=msgspec.json.Decoder(list[_ForMsgspec]).decode,
        dump=msgspec.json.Encoder().encode,
    )


@dataclass(frozen=True, slots=True)
class _ForMashumaro(DataClassORJSONMixin):
    appointment_id: str = field(metadata={"alias": "appointmentId"})
    title: str
    start_time: datetime = field(metadata={"alias": "startTime"})
    end_time: datetime = field(metadata={"alias": "endTime"})
    description: str | None = None

    class Config(mashumaro.config.BaseConfig):
        serialize_by_alias = True


def _mashumaro() -> Library:
    return Library(
        name="mashumaro",
        strictness="accepts anything as a string, naive date-times",
        load=mashumaro.codecs.orjson.ORJSONDecoder(list[_ForMashumaro]).decode,
        dump=_ForMashumaro.to_jsonb,
    )


@dataclass(frozen=True, slots=True)
class _ForAdaptix:
    appointment_id: str
    title: str
    start_time: datetime
    end_time: datetime
    description: str | None = None


def _adaptix() -> Library:
    retort = adaptix.Retort(recipe=[name_mapping(_ForAdaptix, map=_CAMEL)], debug_trail=adaptix.DebugTrail.DISABLE)
    load, dump = retort.get_loader(list[_ForAdaptix]), retort.get_dumper(_ForAdaptix)
    return Library(
        name="adaptix, no debug trail",
        strictness="exact strings; accepts naive date-times",
        load=lambda body: load(orjson.loads(body)),
        dump=lambda one: orjson.dumps(dump(one)),
    )


def all_libraries() -> tuple[Library, ...]:
    """Return all libraries, ours first."""
    return (
        _ours(),
        _cattrs(),
        _pydantic(_ForPydantic, "pydantic", "aware date-times, exact strings"),
        _pydantic(
            _ForPydanticWithExtra, 'pydantic, extra="allow"', "aware date-times, exact strings, keeps unknown fields"
        ),
        _msgspec(),
        _mashumaro(),
        _adaptix(),
        Library(name="by hand, into ours", strictness="no checks", load=load_by_hand, dump=dump_by_hand),
    )
