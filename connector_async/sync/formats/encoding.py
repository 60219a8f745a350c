"""What is said about a file that is not UTF-8. It knows no file format."""

import codecs
from typing import Final

_UTF_16_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_ADVICE: Final = "save the file as UTF-8 (in a spreadsheet: CSV UTF-8)"


def utf16_reason(first_line: bytes) -> str | None:
    """Return why a file cannot be read if it is UTF-16, with or without a byte order mark; `None`: it is not UTF-16.

    Args:
        first_line: The bytes to the first line feed.
    """
    if first_line.startswith(_UTF_16_MARKS) or b"\0" in first_line[:4]:
        return f"it is UTF-16, and must be UTF-8: {_ADVICE}"
    return None


def not_utf8_reason(text: str) -> str | None:
    """Return why a string of a file cannot be used, if it has bytes that are not UTF-8; `None`: it has none.

    Args:
        text: Decoded with the error handler `surrogateescape`.
    """
    if text.isascii():
        return None
    raw = text.encode("utf-8", "surrogateescape")
    try:
        raw.decode()
    except UnicodeDecodeError:
        pass
    else:
        return None
    try:
        raw.decode("cp1252")
    except UnicodeDecodeError:
        return f"not UTF-8: {_ADVICE}"
    return f"not UTF-8, and looks like Windows-1252: {_ADVICE}"
