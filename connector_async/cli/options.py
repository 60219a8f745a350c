"""The options that several commands share. Their rules, and where else they can be set, are in `settings`."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Literal

import attrs
from cyclopts import Group, Parameter

from connector_async._timestamps import InstantError, parse_instant
from connector_async.wire import WireFormat

SETTINGS_GROUP: Final = Group(
    "Settings",
    help="The first of these that has a setting wins: the option, CONNECTOR_... in the environment, "
    "connector-async.toml in this folder or the nearest parent that has one, ~/.config/connector-async/config.toml. "
    "Secrets are never options.",
    sort_key=1,
)


@Parameter(name="*", group=SETTINGS_GROUP)
@attrs.frozen(kw_only=True)
class ConnectionOptions:
    """How to reach the API, and for which tenant and user."""

    base_url: Annotated[str | None, Parameter(help="The URL of the API.")] = None
    tenant_id: Annotated[str | None, Parameter(help="The tenant.")] = None
    format: Annotated[
        Literal["guide", "reference"] | None,
        Parameter(help="The document of the API that the server follows; the default is guide."),
    ] = None
    ad_id: Annotated[str | None, Parameter(help="The id of the user in the directory; only for reference.")] = None
    domain_id: Annotated[str | None, Parameter(help="The tenant id of the directory; only for reference.")] = None
    rate_limit: Annotated[
        str | None,
        Parameter(help="The rate limit of each tenant: REQUESTS/SECONDS or unlimited; the default is 60/60."),
    ] = None
    deadline: Annotated[
        float | None,
        Parameter(help="Seconds for each call, including retries and waits; the default is 60 for a single call."),
    ] = None
    allow_http: Annotated[bool | None, Parameter(help="Allow http to hosts other than the loopback.")] = None
    assume_zone: Annotated[
        str | None,
        Parameter(help="The time zone of date-times without a UTC offset, from the server or in an iCalendar file."),
    ] = None

    def as_settings(self) -> dict[str, Any]:
        """Return the settings that the options set, by name; `None` means that an option is not given."""
        return attrs.asdict(self)


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class DisplayOptions:
    """How data is printed."""

    json: Annotated[bool, Parameter(negative="", help="Print JSON Lines instead of a table.")] = False


DEFAULT_CONNECTION: Final = ConnectionOptions()
DEFAULT_DISPLAY: Final = DisplayOptions()


def parse_time(name: str, value: str) -> datetime:
    """Return the time that an option names.

    Raises:
        ValueError: If `value` is not an RFC 3339 date-time with a UTC offset. The message does not repeat it.
    """
    try:
        return parse_instant(value)
    except InstantError as error:
        raise ValueError(f"{name} must be a date-time with an offset, such as 2024-01-15T10:00:00Z: {error}") from None


def check_window(window: timedelta | None, wire_format: WireFormat) -> None:
    """Reject `--window` with a format whose previews take no range.

    Raises:
        ValueError: If a window is given and the format is the guide's.
    """
    if window is not None and not wire_format.carries_user:
        raise ValueError("--window is accepted only with --format reference")
