"""What a session and all that `for_tenant` makes of it have in common. It knows no requests."""

from datetime import tzinfo
from typing import Any

import attrs
from yarl import URL

from connector_async.deadline import Clock, check_seconds
from connector_async.instants import check_zone
from connector_async.protocol import check_base_url, quote_path
from connector_async.ratelimit import Limiter, RateLimit, RateLimitStore
from connector_async.wire import WireFormat

from .naps import Naps
from .tenant import Tenant
from .transport import Transport


def _check_type(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    kind = field.metadata["kind"]
    if isinstance(value, type) or not isinstance(value, kind):  # the class of a store has its methods, too
        raise TypeError(f"{field.name} must be a {kind.__name__}, not {type(value).__name__}")


def _check_zone(_: object, field: "attrs.Attribute[Any]", value: Any) -> None:
    check_zone(field.name, value)


def _check_deadline(_: object, field: "attrs.Attribute[Any]", value: Any) -> None:
    if value is not None:
        check_seconds(field.name, value, above_zero=True, finite=False)


@attrs.define(eq=False, kw_only=True)
class Shared:
    """What a session and all that `for_tenant` makes of it have in common.

    Raises:
        ValueError: An option is out of its range; the message names it.
        TypeError: An option is of another type; the message names it.
    """

    base_url: str
    user_agent: str
    wire_format: WireFormat = attrs.field(validator=_check_type, metadata={"kind": WireFormat})
    assume_zone: tzinfo | None = attrs.field(validator=_check_zone)
    clock: Clock
    transport: Transport
    deadline: float | None = attrs.field(validator=_check_deadline)
    """Seconds for each call; `None`: as long as it takes."""
    rate_limit: RateLimit = attrs.field(validator=_check_type, metadata={"kind": RateLimit})
    rate_limit_store: RateLimitStore = attrs.field(validator=_check_type, metadata={"kind": RateLimitStore})
    naps: Naps = attrs.field(init=False, default=attrs.Factory(lambda self: Naps(self.clock), takes_self=True))
    _tenants: dict[str, Tenant] = attrs.field(init=False, factory=dict)

    def tenant(self, tenant_id: str) -> Tenant:
        """Return the tenant of that id, the same one each time."""
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            key = self.base_url + quote_path(tenant_id)
            limiter = Limiter(key, self.rate_limit, self.rate_limit_store, self.naps.sleep)
            tenant = Tenant(tenant_id, self.base_url, self.user_agent, limiter, self.transport, self.clock)
            # Another thread may have been faster.
            tenant = self._tenants.setdefault(tenant_id, tenant)
        return tenant

    async def aclose(self) -> None:
        """End the fetches of tokens, and close the connections."""
        self.naps.close()
        try:
            for tenant in list(self._tenants.values()):
                await tenant.aclose()
        finally:
            await self.transport.aclose()


def base_url_as_sent(base_url: str, *, allow_http: bool) -> str:
    """Return `base_url` with its host in IDNA, and its path quoted and without dot segments.

    Raises:
        ValueError: See `check_base_url`.
        TypeError: See `check_base_url`.
    """
    checked = check_base_url(base_url, allow_http=allow_http)
    try:
        url = URL(checked)
        (url.raw_host or "").encode("idna")  # an empty label would fail with the first request only
        return str(url).rstrip("/")
    except ValueError:  # UnicodeError is one
        pass
    raise ValueError("base_url is not a valid URL")
