"""The options that the commands share. What they may be, and what else may say them, stands in `settings`."""

from typing import Annotated, Any, Literal

import attrs
from cyclopts import Group, Parameter

SETTINGS = Group(
    "Settings",
    help="Also as CONNECTOR_... in the environment, in connector-async.toml of this folder or the nearest parent, and "
    "in ~/.config/connector-async/config.toml, in this order. Secrets are never given as options.",
    sort_key=1,
)


@Parameter(name="*", group=SETTINGS)
@attrs.frozen(kw_only=True)
class Connection:
    """Which API and which tenant, and how."""

    base_url: Annotated[str | None, Parameter(help="Where the API is.")] = None
    tenant_id: Annotated[str | None, Parameter(help="The tenant.")] = None
    format: Annotated[
        Literal["guide", "reference"] | None, Parameter(help="Which of the API's documents is spoken; the guide.")
    ] = None
    ad_id: Annotated[str | None, Parameter(help="Reference: the user's id in the directory.")] = None
    domain_id: Annotated[str | None, Parameter(help="Reference: the directory's tenant id.")] = None
    rate_limit: Annotated[str | None, Parameter(help="REQUESTS/SECONDS of each tenant, or unlimited; 60/60.")] = None
    deadline: Annotated[float | None, Parameter(help="Seconds for each call, over its attempts and every wait.")] = None
    allow_http: Annotated[bool | None, Parameter(help="Permits http to hosts that are not the loopback.")] = None
    assume_zone: Annotated[
        str | None, Parameter(help="The time zone of date-times that the server writes without an offset.")
    ] = None

    def flags(self) -> dict[str, Any]:
        """Return what is given, by the names of settings; `None`: not given."""
        return attrs.asdict(self)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Display:
    """How it is printed."""

    json: Annotated[bool, Parameter(negative="", help="Print JSON Lines rather than a table.")] = False


UNCONNECTED = Connection()
TABLE = Display()
