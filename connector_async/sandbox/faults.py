"""Faults: what can go wrong with one request on purpose, scripted one by one or drawn at a rate.

It decides which request is hit. How a fault is put on the wire is known elsewhere.
"""

import math
import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final

from attrs import Attribute, field, frozen, validators

from .request_log import Operation


def _check_seconds(_: object, attribute: "Attribute[float]", value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{attribute.name} must be a finite number of seconds, not negative")


@frozen
class StatusFault:
    """A problem of this status is answered; no work is done."""

    code: int = field(validator=validators.and_(validators.ge(400), validators.le(599)))
    retry_after: int | None = field(default=None, kw_only=True, validator=validators.optional(validators.ge(0)))
    """Seconds, sent as `Retry-After`; None: it is not sent."""

    @property
    def name(self) -> str:
        """`status-` and the code, as the log tells it."""
        return f"status-{self.code}"


@frozen
class DelayFault:
    """The request waits, then all goes as usual."""

    name: ClassVar[str] = "delay"
    seconds: float = field(validator=_check_seconds)


@frozen
class DropBefore:
    """The connection is closed without an answer; no work is done."""

    name: ClassVar[str] = "drop-before"


@frozen
class DropAfter:
    """The work is done and committed, then the connection is closed without an answer."""

    name: ClassVar[str] = "drop-after"


@frozen
class TruncatedResponse:
    """The work is done; the connection is closed after half of the body that Content-Length tells.

    An answer without a body is not sent at all.
    """

    name: ClassVar[str] = "truncated"


@frozen
class WrongLength:
    """The work is done; the connection is closed after the whole body, of which Content-Length tells one byte more.

    An answer without a body is not sent at all.
    """

    name: ClassVar[str] = "wrong-length"


@frozen(kw_only=True)
class SlowDrip:
    """The work is done; the body is sent byte by byte, and what is left of it at the end of `total` at once."""

    name: ClassVar[str] = "slow-drip"
    interval: float = field(default=0.01, validator=[validators.gt(0), _check_seconds])
    """Seconds before each byte."""
    total: float = field(default=1.0, validator=_check_seconds)
    """Seconds."""


@frozen
class RevokedToken:
    """401 as for a revoked token; no work is done and no token is revoked. It does not hit token requests."""

    name: ClassVar[str] = "revoked-token"


Fault = StatusFault | DelayFault | DropBefore | DropAfter | TruncatedResponse | WrongLength | SlowDrip | RevokedToken
"""Anything that can go wrong with one request. Its `name` is what the log tells."""


def _copy(rates: Mapping[Fault, float]) -> Mapping[Fault, float]:
    return MappingProxyType(dict(rates))


def _check_rates(_: object, __: object, rates: Mapping[Fault, float]) -> None:
    if not all(0 <= rate <= 1 for rate in rates.values()) or sum(rates.values()) > 1:
        raise ValueError("rates must be between 0 and 1, and so must be their sum")


@frozen
class FaultRates:
    """Which share of the requests each fault hits."""

    rates: Mapping[Fault, float] = field(converter=_copy, validator=_check_rates)
    """Between 0 and 1, and so is their sum: a request is hit by one fault at most."""
    seed: int = field(default=0, kw_only=True)
    """The same seed hits the same requests of a sequence."""


@frozen(kw_only=True)
class _Scripted:
    fault: Fault
    operation: Operation | None
    tenant: str | None

    def hits(self, operation: Operation, tenant: str) -> bool:
        matches = self.operation in (None, operation) and self.tenant in (None, tenant)
        return matches and _applies(self.fault, operation)


class Faults:
    """The faults in store for the requests to come. The OpenAPI document is never hit."""

    def __init__(self, rates: FaultRates | None) -> None:
        self._rates = {} if rates is None else rates.rates
        self._random = random.Random(0 if rates is None else rates.seed)  # noqa: S311 - to be reproducible
        self._script: list[_Scripted] = []

    def script(self, *faults: Fault, operation: Operation | None = None, tenant: str | None = None) -> None:
        """Queue faults, each of which hits one request: the first to come that matches, before any rate is looked at.

        Args:
            faults: In the order in which they shall hit.
            operation: The operation to be hit; None: any.
            tenant: The tenant to be hit; None: any.
        """
        self._script += [_Scripted(fault=fault, operation=operation, tenant=tenant) for fault in faults]

    def clear(self) -> None:
        """Forget the faults that were scripted and have not hit yet."""
        self._script.clear()

    def take(self, operation: Operation, tenant: str) -> Fault | None:
        """Return the fault that hits this request, which is then used up; None: none does."""
        if operation == "openapi":
            return None
        for position, scripted in enumerate(self._script):
            if scripted.hits(operation, tenant):
                return self._script.pop(position).fault
        return self._draw(operation) if self._rates else None

    def _draw(self, operation: Operation) -> Fault | None:
        drawn = self._random.random()
        for fault, rate in self._rates.items():
            drawn -= rate
            if drawn < 0:
                return fault if _applies(fault, operation) else None
        return None


def _applies(fault: Fault, operation: Operation) -> bool:
    return not (isinstance(fault, RevokedToken) and operation == "token")


_PLAIN: Final[Mapping[str, Fault]] = {
    fault.name: fault
    for fault in (DropBefore(), DropAfter(), TruncatedResponse(), WrongLength(), SlowDrip(), RevokedToken())
}
FAULT_NAMES: Final = f"the faults are {', '.join(('status-CODE', 'delay-SECONDS', *_PLAIN))}"
"""What `fault_named` takes, for a person to read."""


def fault_named(name: str) -> Fault:
    """Build the fault the log tells by this name; that of a delay is followed by its seconds, as in `delay-0.5`.

    Raises:
        ValueError: There is none of that name.
    """
    if name == "drop":
        return DropAfter()  # the harder of the two to be right about
    kind, _, value = name.rpartition("-")
    if kind == "status":
        return StatusFault(int(value))
    if kind == DelayFault.name:
        return DelayFault(float(value))
    if name not in _PLAIN:
        raise ValueError(FAULT_NAMES)
    return _PLAIN[name]
