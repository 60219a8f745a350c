"""What may be sent, and where to: the base URL, the ids, the headers. It knows no HTTP library."""

import re
from typing import Final
from urllib.parse import quote

from connector_async._checks import check_header_text

VERSION: Final = "0.1.0"

TOKEN_PATH: Final = ("authentication", "token")
"""Below the tenant: the endpoint that gives tokens (contract, "Authentication")."""

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def user_agent(suffix: str = "") -> str:
    """Return the `User-Agent` of this package (RFC 9110, section 10.1.5), with the caller's product behind it.

    Raises:
        ValueError: `suffix` is not printable ASCII.
    """
    if suffix != "":
        check_header_text("user_agent_suffix", suffix)
    return f"connector-async/{VERSION} {suffix}".rstrip()


def quote_path(*segments: str) -> str:
    """Return `segments` as a path, each quoted by itself (RFC 3986, section 3.3), so that none can end early."""
    return "".join("/" + quote(segment, safe="") for segment in segments)
