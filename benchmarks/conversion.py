"""CPU of decoding 1,000 previews: strict hooks on, beside pydantic v2 and msgspec into equal classes, and hand-written.

The classes are frozen, take aware date-times alone, and take `null` for the description alone. Unknown fields are kept
by ours and by `pydantic (extra="allow")`.
"""

import argparse
import asyncio
import functools
from collections.abc import Callable
from datetime import datetime

import msgspec
import orjson
import pydantic

from benchmarks import rounds
from connector_async import Appointment, WireFormat

_PREVIEWS = 1_000


class _Pydantic(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True)

    appointment_id: str = pydantic.Field(alias="appointmentId")
    title: str
    start_time: pydantic.AwareDatetime = pydantic.Field(alias="startTime")
    end_time: pydantic.AwareDatetime = pydantic.Field(alias="endTime")
    description: str | None = None


class _PydanticExtra(_Pydantic):
    model_config = pydantic.ConfigDict(frozen=True, extra="allow")


class _Msgspec(msgspec.Struct, frozen=True, rename="camel"):
    appointment_id: str
    title: str
    start_time: datetime
    end_time: datetime
    description: str | None = None


def _unchecked(body: bytes) -> list[Appointment]:
    """Decode into the same class without one check: the least that Python code can cost."""
    parse = datetime.fromisoformat
    return [
        Appointment(item["appointmentId"], item["title"], parse(item["startTime"]), parse(item["endTime"]), None)
        for item in orjson.loads(body)
    ]


def _body() -> bytes:
    return orjson.dumps(
        [
            {
                "appointmentId": f"7c01f588-{number}",
                "title": f"Meeting {number}",
                "startTime": f"2024-01-{number % 28 + 1:02}T{number % 24:02}:{number % 60:02}:00Z",
                "endTime": f"2024-02-{number % 28 + 1:02}T{number % 24:02}:{number % 60:02}:00Z",
                "description": f"Quarterly review {number}",
            }
            for number in range(_PREVIEWS)
        ]
    )


async def _call(decode: Callable[[], object]) -> None:
    decode()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    body = _body()
    contestants: dict[str, Callable[[], object]] = {
        "connector_async": lambda: WireFormat.GUIDE.structure(body, list[Appointment]),
        "pydantic": functools.partial(pydantic.TypeAdapter(list[_Pydantic]).validate_json, body),
        'pydantic (extra="allow")': functools.partial(pydantic.TypeAdapter(list[_PydanticExtra]).validate_json, body),
        "msgspec": functools.partial(msgspec.json.Decoder(list[_Msgspec]).decode, body),
        "hand-written, unchecked": functools.partial(_unchecked, body),
    }
    figures = asyncio.run(
        rounds.measure(
            {name: functools.partial(_call, decode) for name, decode in contestants.items()},
            rounds=parser.parse_args().rounds,
            calls=_PREVIEWS,
        )
    )
    rounds.show("decoding previews", figures, floor="pydantic")


if __name__ == "__main__":
    main()
