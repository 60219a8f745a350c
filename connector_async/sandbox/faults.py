"""The faults a sandbox can inject, and which request gets which: scripted one by one, or drawn at random.

How a fault changes a response is implemented in `fault_injection`.
"""

import math
import random
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final

from attrs import field, frozen, validators

from .routing import SandboxOperation

_IS_DURATION: Final = (validators.ge(0.0), validators.lt(math.inf))


@frozen
class StatusFault:
    """Respond with a problem of this status; the operation does not run."""

    code: int = field(validator=validators.and_(validators.ge(400), validators.le(599)))
    retry_after: int | None = field(default=None, kw_only=True, validator=validators.optional(validators.ge(0)))
    """Seconds, sent as `Retry-After`; None to send no such header."""

    @property
    def name(self) -> str:
        """`status-` and the code, as in the log."""
        return f"status-{self.code}"


@frozen
class DelayFault:
    """Wait, then process the request as usual."""

    name: ClassVar[str] = "delay"
    seconds: float = field(validator=_IS_DURATION)


@frozen
class DropBefore:
    """Close the connection without a response; the operation does not run."""

    name: ClassVar[str] = "drop-before"


@frozen
class DropAfter:
    """Run and commit the operation, then close the connection without a response."""

    name: ClassVar[str] = "drop-after"


@frozen
class TruncatedResponse:
    """Run the operation, then close the connection after half of the body that Content-Length announces.

    If the response has no body, the connection is closed without a response.
    """

    name: ClassVar[str] = "truncated"


@frozen
class WrongLength:
    """Run the operation, then close the connection after the whole body; Content-Length announces one byte more.

    If the response has no body, the connection is closed without a response.
    """

    name: ClassVar[str] = "wrong-length"


@frozen(kw_only=True)
class SlowDrip:
    """Run the operation, then send the body byte by byte for `total` seconds and the rest of it at once."""

    name: ClassVar[str] = "slow-drip"
    interval: float = field(default=0.01, validator=[validators.gt(0.0), *_IS_DURATION])
    """Seconds before each byte."""
    total: float = field(default=1.0, validator=_IS_DURATION)
    """Seconds."""


@frozen
class RevokedToken:
    """Respond 401 as if the token had been revoked. The operation does not run, and the token stays valid.

    Token requests never get this fault.
    """

    name: ClassVar[str] = "revoked-token"


Fault = StatusFault | DelayFault | DropBefore | DropAfter | TruncatedResponse | WrongLength | SlowDrip | RevokedToken
"""Any fault of one request. Its `name` is the one in the log."""


def _copy(rates: Mapping[Fault, float]) -> Mapping[Fault, float]:
    return MappingProxyType(dict(rates))


def _check_rates(_: object, __: object, rates: Mapping[Fault, float]) -> None:
    if not all(0 <= rate <= 1 for rate in rates.values()) or sum(rates.values()) > 1:
        raise ValueError("rates must be between 0 and 1, and so must their sum")


@frozen
class FaultRates:
    """The fraction of requests that each fault hits."""

    rates: Mapping[Fault, float] = field(converter=_copy, validator=_check_rates)
    """Fractions between 0 and 1. So is their sum, because a request gets at most one fault."""
    seed: int = field(default=0, kw_only=True)
    """The same seed hits the same requests of a sequence."""


@frozen(kw_only=True)
class _ScriptedFault:
    fault: Fault
    operation: SandboxOperation | None
    tenant: str | None

    def matches(self, operation: SandboxOperation, tenant: str) -> bool:
        wanted = self.operation in (None, operation) and self.tenant in (None, tenant)
        return wanted and _can_hit(self.fault, operation)


class Faults:
    """The faults of the requests to come. Requests for the OpenAPI document never get one."""

    def __init__(self, rates: FaultRates | None) -> None:
        self._rates: Mapping[Fault, float] = {} if rates is None else rates.rates
        self._random = random.Random(0 if rates is None else rates.seed)  # noqa: S311 - reproducible on purpose
        self._script: list[_ScriptedFault] = []

    def script(self, *faults: Fault, operation: SandboxOperation | None = None, tenant: str | None = None) -> None:
        """Queue faults. Each hits one request, the next one that matches, and takes precedence over the rates.

        Args:
            faults: The faults, in the order in which they hit.
            operation: The operation to hit; None for any.
            tenant: The tenant to hit; None for any.
        """
        self._script += [_ScriptedFault(fault=fault, operation=operation, tenant=tenant) for fault in faults]

    @property
    def rates(self) -> Mapping[Fault, float]:
        """The fraction of requests that each random fault hits."""
        return self._rates

    def set_rates(self, rates: FaultRates | None) -> None:
        """Replace the random faults; `None` for no more of them. The seed stays as it is."""
        self._rates = {} if rates is None else rates.rates

    def clear(self) -> None:
        """Remove the scripted faults that have not hit yet."""
        self._script.clear()

    def take(self, operation: SandboxOperation, tenant: str) -> Fault | None:
        """Return the fault for this request, if any, and remove it from the script."""
        if operation == "openapi":
            return None
        for position, scripted in enumerate(self._script):
            if scripted.matches(operation, tenant):
                return self._script.pop(position).fault
        return self._draw(operation) if self._rates else None

    def _draw(self, operation: SandboxOperation) -> Fault | None:
        drawn = self._random.random()
        for fault, rate in self._rates.items():
            drawn -= rate
            if drawn < 0:
                return fault if _can_hit(fault, operation) else None
        return None


def _can_hit(fault: Fault, operation: SandboxOperation) -> bool:
    return not (isinstance(fault, RevokedToken) and operation == "token")


_FAULTS_BY_NAME: Final[Mapping[str, Fault]] = {
    fault.name: fault
    for fault in (DropBefore(), DropAfter(), TruncatedResponse(), WrongLength(), SlowDrip(), RevokedToken())
}
FAULT_NAMES: Final = f"the faults are {', '.join(('status-CODE', 'delay-SECONDS', *_FAULTS_BY_NAME))}"
"""The names that `fault_named` accepts, as a clause for messages."""


def fault_named(name: str) -> Fault:
    """Return the fault of this name.

    A delay's name includes its seconds, as in `delay-0.5`, and `drop` means `drop-after`.

    Raises:
        ValueError: If no fault has this name.
    """
    if name == "drop":
        return DropAfter()  # the harder of the two drops for a client
    kind, _, value = name.rpartition("-")
    if kind == "status":
        return StatusFault(int(value))
    if kind == DelayFault.name:
        return DelayFault(float(value))
    if name not in _FAULTS_BY_NAME:
        raise ValueError(f"no fault has this name; {FAULT_NAMES}")
    return _FAULTS_BY_NAME[name]
