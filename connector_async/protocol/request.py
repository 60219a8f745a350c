"""The parts of a request that no operation changes: its quoted path and its `User-Agent`. It knows no HTTP library."""

from typing import Final
from urllib.parse import quote

from connector_async._checks import check_header_text, is_unreserved
from connector_async._version import VERSION

TOKEN_PATH: Final = ("authentication", "token")
"""The token endpoint, as path segments below the tenant (contract, "Authentication")."""


def user_agent(suffix: str = "") -> str:
    """Return the `User-Agent` of this package (RFC 9110, section 10.1.5), followed by the caller's product.

    Raises:
        ValueError: If `suffix` is not printable ASCII, or starts or ends with a space.
        TypeError: If `suffix` is not a str.
    """
    if suffix != "":
        check_header_text("user_agent_suffix", suffix)
    return f"connector-async/{VERSION} {suffix}".rstrip()


def quote_segment(segment: str) -> str:
    """Return `segment` quoted (RFC 3986, section 3.3), so that it cannot add a segment or a query."""
    return segment if is_unreserved(segment) else quote(segment, safe="")


def quote_path(*segments: str) -> str:
    """Return `segments` as a path, each of them quoted."""
    return "".join(["/" + quote_segment(segment) for segment in segments])
