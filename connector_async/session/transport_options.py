"""How a transport connects and how long it waits, checked before it is used."""

import ssl
import sys
from typing import Any

import attrs

from connector_async._checks import check_type, validator
from connector_async.auth import Secret


def _check_above_zero(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    whole = field.type is int
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise TypeError(f"{field.name} must be {'an int' if whole else 'a number'}, not {type(value).__name__}")
    if not 0 < value <= sys.float_info.max:  # an int may be beyond it, too
        raise ValueError(f"{field.name} must be above zero and finite")


def _above_zero() -> Any:
    return attrs.field(validator=_check_above_zero)


@attrs.frozen(kw_only=True)
class TransportOptions:
    """How to connect and how long to wait. Each number is finite and above zero.

    Raises:
        ValueError: An option is out of its range; the message names it.
        TypeError: An option is of another type.
    """

    connect_timeout: float = _above_zero()
    """Seconds for the handshakes of TCP and TLS with one address."""
    attempt_timeout: float = _above_zero()
    """Seconds for one attempt, from the wait for a connection to the last byte of the answer."""
    keepalive_timeout: float = _above_zero()
    """Seconds that an idle connection stays in the pool."""
    pool_size: int = _above_zero()
    """Connections at a time, in each event loop."""
    max_body_size: int = _above_zero()
    """Bytes of an answer that are read at most, after decompression."""
    ssl_context: ssl.SSLContext | None = attrs.field(
        default=None, validator=validator(check_type, ssl.SSLContext, optional=True)
    )
    """Whom to trust, and with which certificate to answer; `None`: what the machine trusts."""
    proxy: Secret | None = None
    """The URL of a forward proxy, which may hold user information; `None`: none, whatever the environment says."""
