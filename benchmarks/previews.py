"""Previews as a server sends them, and their conversion by hand: the floor of what a library can cost."""

import functools
from datetime import datetime

import orjson

from connector_async import Appointment


@functools.cache
def body_of(count: int) -> bytes:
    """Return a JSON array of `count` previews."""
    return orjson.dumps(
        [
            {
                "appointmentId": f"7c01f588-{number}",
                "title": f"Meeting {number}",
                "startTime": f"2024-01-{number % 28 + 1:02}T{number % 24:02}:{number % 60:02}:00Z",
                "endTime": f"2024-02-{number % 28 + 1:02}T{number % 24:02}:{number % 60:02}:00Z",
                "description": f"Quarterly review {number}",
            }
            for number in range(count)
        ]
    )


def load_by_hand(body: bytes) -> list[Appointment]:
    """Return the appointments of a JSON array, without checks."""
    parse = datetime.fromisoformat
    return [
        Appointment(
            item["appointmentId"],
            item["title"],
            parse(item["startTime"]),
            parse(item["endTime"]),
            item.get("description"),
        )
        for item in orjson.loads(body)
    ]


def dump_by_hand(one: Appointment) -> bytes:
    """Return the JSON of an appointment."""
    return orjson.dumps(
        {
            "appointmentId": one.appointment_id,
            "title": one.title,
            "startTime": one.start_time,
            "endTime": one.end_time,
            "description": one.description,
        },
        option=orjson.OPT_UTC_Z,
    )
