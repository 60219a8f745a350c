"""What the fixtures of the plugin are built with: their defaults, and the arguments of the marker `connector`."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Final, Self

import attrs

from connector_async._clock import Clock
from connector_async.auth import ClientCredentials
from connector_async.models import DirectoryUser
from connector_async.sandbox import (
    DEFAULT_CLIENT_ID,
    DEFAULT_CLIENT_SECRET,
    SEED_AD_ID,
    SEED_DOMAIN_ID,
    BodyFormat,
    Sandbox,
)
from connector_async.session import ConnectorSession
from connector_async.wire import WireFormat

_SEED_USER: Final = DirectoryUser(SEED_AD_ID, SEED_DOMAIN_ID)
_OF_SERVICE: Final = ("user", "retry")
_OF_SESSION: Final = frozenset(inspect.signature(ConnectorSession).parameters) - {"base_url"}
_OF_SANDBOX: Final = frozenset(inspect.signature(Sandbox).parameters)


@attrs.frozen
class FixtureOptions:
    """The arguments of the sandbox, the session and the service of one test."""

    sandbox: dict[str, Any]
    session: dict[str, Any]
    service: dict[str, Any]

    @classmethod
    def of_markers(cls, markers: Iterable[Mapping[str, Any]], clock: Clock) -> Self:
        """Return the arguments.

        Args:
            markers: The arguments of each marker. Later ones take precedence.
            clock: The clock of the session and of the sandbox.

        Raises:
            ValueError: If there is no such option.
        """
        options: dict[str, Any] = {}
        for marker in markers:
            options |= marker
        if unknown := options.keys() - _OF_SANDBOX - _OF_SESSION - {*_OF_SERVICE}:
            raise ValueError(f"the marker connector has no option {', '.join(sorted(unknown))}")
        wire_format: WireFormat = options.get("wire_format", WireFormat.GUIDE)
        sandbox = {"body_format": BodyFormat(wire_format.value), "now": clock.time, "monotonic": clock.monotonic}
        session = {
            "tenant_id": "acme",
            "auth": ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, clock=clock),
            "clock": clock,
        }
        service = {"user": _SEED_USER if wire_format.carries_user else None}
        return cls(
            sandbox | _chosen(options, _OF_SANDBOX),
            session | _chosen(options, _OF_SESSION),
            service | _chosen(options, _OF_SERVICE),
        )


def _chosen(options: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in names}
