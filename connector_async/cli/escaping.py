"""Text and JSON in one line, with the characters escaped that a terminal would interpret."""

import json
from typing import Any

import orjson


def printable(text: str) -> str:
    """Return `text` as one line, with characters that a terminal would interpret written as escapes."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def json_text(value: Any) -> str:
    """Return a value as JSON in one line, with characters that a terminal would interpret escaped."""
    try:
        line = orjson.dumps(value).decode()
    except TypeError:  # an integer beyond 64 bits in an unknown field
        line = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return line if line.isprintable() else "".join(c if c.isprintable() else _json_escape(c) for c in line)


def _json_escape(character: str) -> str:
    r"""Return the `\u` escapes of a character's UTF-16 units (RFC 8259, section 7)."""
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[index : index + 2].hex()}" for index in range(0, len(units), 2))
