"""Text and JSON in one line, with the characters escaped that a terminal would interpret."""

from typing import Any


def printable(text: str) -> str:
    """Return `text` as one line, with characters that a terminal would interpret written as escapes."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def json_text(value: Any) -> str:
    """Return a value as JSON in one line, with characters that a terminal would interpret escaped."""
    import orjson  # noqa: PLC0415 - it takes 15 ms, and help prints no JSON

    try:
        line = orjson.dumps(value).decode()
    except TypeError:  # an integer beyond 64 bits in an unknown field
        import json  # noqa: PLC0415 - as above

        line = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return line if line.isprintable() else "".join(c if c.isprintable() else _json_escape(c) for c in line)


def _json_escape(character: str) -> str:
    r"""Return the `\u` escapes of a character's UTF-16 units (RFC 8259, section 7)."""
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[index : index + 2].hex()}" for index in range(0, len(units), 2))
