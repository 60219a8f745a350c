"""Content lines (RFC 5545, section 3.1): unfolding, and the name, the parameters and the value of a property.

Lines are unfolded as octets, since a fold may be inside a character. Each line is parsed by itself, so that a broken
one costs nothing but itself. The encodings of vCalendar 1.0 are decoded, which phones still write.
"""

import base64
import binascii
import quopri
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import attrs

_FOLDS: Final = (b" ", b"\t")
_SOFT_BREAK: Final = b"="
_QUOTED_PRINTABLE_HEAD: Final = re.compile(rb"[^:]*;(?:ENCODING=)?QUOTED-PRINTABLE[;:]", re.IGNORECASE)
_HEX_DIGITS: Final = re.compile(rb".[0-9A-F]{2}", re.IGNORECASE)
_PROPERTY: Final = re.compile(
    r'\s*([A-Za-z0-9-]+)[ \t]*((?:;(?:"[^"]*"|[^":])*)?):(.*)', re.DOTALL
)  # section 3.1, `contentline`
_PARAMETER: Final = re.compile(r';[ \t]*([A-Za-z0-9-]+)[ \t]*(?:=((?:"[^"]*"|[^";])*))?')
_ESCAPED: Final = re.compile(r"\\([\\;,:nN])")


class ContentLine(NamedTuple):
    """A content line, as it is in the file and unfolded."""

    number: int
    """The number of its first line in the file, from 1."""
    raw: bytes
    """All its lines in the file, with their ends."""
    content: bytes
    """The unfolded line, without its end."""

    @property
    def name(self) -> bytes:
        """The name of the property, in upper case."""
        return self.content.partition(b":")[0].partition(b";")[0].strip().upper()


@attrs.frozen
class Property:
    """A property of a component."""

    name: str
    """In upper case."""
    parameters: Mapping[str, str]
    """The values by their names in upper case, without quotes. A name alone has an empty value."""
    value: str = attrs.field(repr=False)
    """As it is written. A byte that is not UTF-8 is a lone surrogate."""


class PropertyError(ValueError):
    """Raised when a value cannot be decoded. The message names the rule, never the value."""


def content_lines(lines: Iterable[tuple[int, bytes]]) -> Iterator[ContentLine]:
    """Yield the content lines of a file with some numbered lines. Blank lines before a fold belong to its line."""
    number, parts, blank = 0, list[bytes](), list[tuple[int, bytes]]()
    for line_number, line in lines:
        is_blank = not line.strip()
        if parts and (line[:1] in _FOLDS or (not is_blank and _has_soft_break(parts))):
            parts += [*(each for _, each in blank), line]
            blank = []
        elif parts and is_blank:
            blank.append((line_number, line))
        else:
            yield from _finished(number, parts, blank)
            number, parts, blank = line_number, [line], []
    yield from _finished(number, parts, blank)


def parse_property(content: bytes) -> Property | None:
    """Return the property of an unfolded line; `None` if it has none."""
    match = _PROPERTY.fullmatch(content.decode("utf-8", "surrogateescape"))
    if match is None:
        return None
    name, parameters, value = match.groups()
    pairs = (each.groups("") for each in _PARAMETER.finditer(parameters))
    return Property(name.upper(), {key.upper(): text.strip().replace('"', "") for key, text in pairs}, value)


def text_of(prop: Property) -> str:
    """Return a value of the type TEXT (section 3.3.11), decoded and without its escapes.

    Raises:
        PropertyError: If it cannot be decoded.
    """
    return _ESCAPED.sub(_unescape, _decoded(prop))


def _unescape(match: re.Match[str]) -> str:
    return "\n" if match[1] in "nN" else match[1]


def _decoded(prop: Property) -> str:
    encoding = prop.parameters.get("ENCODING", "").upper()
    if "QUOTED-PRINTABLE" in prop.parameters:  # vCalendar 1.0 lets the value stand alone
        encoding = "QUOTED-PRINTABLE"
    charset = prop.parameters.get("CHARSET", "")
    if not encoding and not charset:
        return prop.value
    value = prop.value.encode("utf-8", "surrogateescape")
    if encoding in {"BASE64", "B"}:
        try:
            value = base64.b64decode(value, validate=True)
        except binascii.Error:
            raise PropertyError("not BASE64, as its ENCODING says") from None
    elif encoding == "QUOTED-PRINTABLE":
        value = quopri.decodestring(value)
    elif encoding not in {"", "8BIT", "7BIT"}:
        raise PropertyError("its ENCODING is unknown")
    try:
        return value.decode(charset or "utf-8")
    except (UnicodeDecodeError, LookupError):
        raise PropertyError("its CHARSET is unknown, or the value is not in it") from None


def _has_soft_break(parts: list[bytes]) -> bool:
    """Return whether a line of QUOTED-PRINTABLE goes on in the next line, which is not folded (RFC 2045, 6.7)."""
    return parts[-1].rstrip().endswith(_SOFT_BREAK) and _QUOTED_PRINTABLE_HEAD.match(parts[0]) is not None


def _finished(number: int, parts: list[bytes], blank: list[tuple[int, bytes]]) -> Iterator[ContentLine]:
    if parts:
        yield _content_line(number, parts)
    for blank_number, line in blank:
        yield _content_line(blank_number, [line])


def _content_line(number: int, parts: list[bytes]) -> ContentLine:
    if len(parts) == 1:
        return ContentLine(number, parts[0], parts[0].rstrip(b"\r\n"))
    is_quoted_printable = _QUOTED_PRINTABLE_HEAD.match(parts[0]) is not None
    contents = [parts[0].rstrip(b"\r\n")]
    for part in filter(bytes.strip, parts[1:]):
        is_folded = part[:1] in _FOLDS
        # A fold may also be inside of an encoded character such as =C3, behind its sign.
        is_inside = is_folded and _HEX_DIGITS.match(part) is not None
        if is_quoted_printable and not is_inside and contents[-1].rstrip().endswith(_SOFT_BREAK):
            contents[-1] = contents[-1].rstrip()[:-1]
        contents.append(part[is_folded:].rstrip(b"\r\n"))
    return ContentLine(number, b"".join(parts), b"".join(contents))
