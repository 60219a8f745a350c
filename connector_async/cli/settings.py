"""The settings of the command: the rule for each, and which of several layers decides.

It reads neither files nor the environment; `config_sources` does. No message repeats a value.
"""

import math
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from attrs import Factory, evolve, field, frozen

from connector_async._checks import check_base_url, check_seconds, check_tenant_id, check_text
from connector_async._timestamps import zone_named
from connector_async.rate_limit import RateLimit

if TYPE_CHECKING:
    from connector_async.sync.state.db.location import Location

DEFAULT: Final = "default"
SOURCE_TABLE: Final = "source"
"""The table of a settings file that describes the source."""
LOG_LEVELS: Final = ("debug", "info", "warning", "error")
_MAP_EXAMPLE: Final = '{ title = "Subject", start_time = ["Start Date", "Start Time"] }'
_COLUMN: Final = re.compile(r'\s*(?:"((?:[^"]|"")+)"|([^"+\s][^"+]*))\s*(?:\+|$)')
_COLUMNS: Final = re.compile(rf"(?:{_COLUMN.pattern})+(?<!\+)")


class SettingsError(ValueError):
    """A setting is invalid. The message names where it is set, its name and the rule, never its value."""


@frozen(kw_only=True)
class Setting:
    """The names of a setting and its rule."""

    name: str
    """As in a settings file. The option has dashes, the environment variable is in capitals after `CONNECTOR_`."""
    kind: type = str
    """`str`, `float` or `bool`; of a source also `tuple` or `dict`."""
    check: Callable[[str, Any], object]
    """Called with the name and a value of `kind`; raises a `ValueError` if the value is invalid."""
    default: str | float | bool | None = None
    """`None` means that the setting has no value."""
    is_secret: bool = False
    """Whether the setting is rejected in a file, has no option, and is never shown."""
    has_secret: Callable[[Any], bool] = lambda _: False
    """Whether a value holds a secret. Such a value is accepted in the environment alone."""
    masked: Callable[[Any], str] = str
    """Returns how a value with a secret is shown."""
    per_tenant: bool = False
    """Whether the setting is also accepted in a table `[tenants.ID]`."""
    convert: Callable[[Any], Any] = lambda value: value
    """Makes a value of `kind` of what a layer has, before the check; raises a `ValueError` if it cannot."""

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"CONNECTOR_{self.name.upper()}"

    @property
    def option(self) -> str:
        """The option."""
        return f"--{self.name.replace('_', '-')}"


def parse_rate_limit(value: str, *, burst: int | None = None) -> RateLimit:
    """Return the rate limit that a string such as `60/60` or `unlimited` describes.

    Args:
        value: `REQUESTS/SECONDS`, or `unlimited`.
        burst: How many requests may be sent at once after a pause; `None` means the default of `RateLimit`.

    Raises:
        ValueError: If `value` has neither form, or a number is out of its range.
    """
    if value == "unlimited":
        return RateLimit.unlimited()
    requests, _, per = value.partition("/")
    try:
        limit = RateLimit(limit=int(requests), per=float(per))
        return limit if burst is None else evolve(limit, burst=burst)
    except ValueError:
        raise ValueError(
            "rate_limit must be REQUESTS/SECONDS, such as 60/60, with 2 requests or more, or unlimited"
        ) from None


def _check_format(name: str, value: str) -> None:
    if value not in {"guide", "reference"}:
        raise ValueError(f"{name} must be guide or reference")


def _check_log_level(name: str, value: str) -> None:
    if value not in LOG_LEVELS:
        raise ValueError(f"{name} must be {', '.join(LOG_LEVELS[:-1])} or {LOG_LEVELS[-1]}")


def is_url(state: str) -> bool:
    """Return whether a value of `state` is the URL of a database, and not the path of a file."""
    return "://" in state


def _check_state(name: str, value: str) -> None:
    check_text(name, value)
    if is_url(value) and _location(value) is None:
        raise ValueError(f"{name} must be the path of a file, or a URL such as postgresql://user@host/database")


def _has_password(state: str) -> bool:
    location = _location(state) if is_url(state) else None
    return location is not None and location.url.password is not None


def _location(url: str) -> "Location | None":
    from connector_async.sync.state.db.location import Location  # noqa: PLC0415 - it takes 300 ms

    try:
        location = Location.parse(url)
    except ValueError:
        return None
    return location if location.path is None else None


def _check_zone(name: str, value: str) -> None:
    if zone_named(value) is None:
        raise ValueError(f"{name} must be the IANA or Windows name of a time zone")


def split_command(command: str, *, windows: bool = os.name == "nt") -> list[str]:
    """Return a program and its arguments, which are quoted as in a shell. On Windows a backslash is one of a path.

    Raises:
        ValueError: If a quotation mark is missing.
    """
    words = shlex.shlex(command, posix=True, punctuation_chars=False)
    words.whitespace_split = True
    words.commenters = ""
    if windows:
        words.escape = ""
    return list(words)


def _check_command(name: str, value: str) -> None:
    try:
        words = split_command(value)
    except ValueError:
        words = []
    if not words:
        raise ValueError(f"{name} must be a program and its arguments, quoted as in a shell")


def _check_preset(name: str, value: str) -> None:
    if value not in {"outlook", "google"}:
        raise ValueError(f"{name} must be outlook or google")


def _check_map(name: str, value: dict[str, tuple[str, ...]]) -> None:
    from connector_async.sync.formats.mapping import check_columns  # noqa: PLC0415 - most commands read no source

    check_columns(name, value)


def _check_date_format(name: str, value: tuple[str, ...]) -> None:
    from connector_async.sync.formats.mapping import check_date_format  # noqa: PLC0415 - as above

    check_date_format(name, value)


def _as_map(value: Any) -> Any:
    """Return the columns of each field: of the entries `FIELD=COLUMN` of options, or of a table of a file."""
    if isinstance(value, dict):
        try:
            return {field: _as_columns(columns) for field, columns in value.items()}
        except ValueError:
            raise ValueError(f"map must be a table such as {_MAP_EXAMPLE}") from None
    if not isinstance(value, tuple):
        return value
    entries = [entry.partition("=") for entry in value]
    fields = [field for field, _, _ in entries]
    if len(set(fields)) < len(fields):
        raise ValueError("map must name each field once")
    return {field: _as_columns(columns) for field, _, columns in entries}


def _as_columns(columns: Any) -> tuple[Any, ...]:
    """Return the columns that a string such as `"Start Date"+"Start Time"` or a list names."""
    if isinstance(columns, list):
        return tuple(columns)
    if not isinstance(columns, str) or not _COLUMNS.fullmatch(columns):
        raise ValueError('map must be FIELD=COLUMN or FIELD="COLUMN"+"COLUMN"')
    return tuple(quoted.replace('""', '"') or plain.strip() for quoted, plain in _COLUMN.findall(columns))


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _secret(name: str) -> tuple[Setting, ...]:
    return (
        Setting(name=name, check=check_text, is_secret=True, per_tenant=True),
        Setting(name=f"{name}_file", check=check_text, per_tenant=True),
        Setting(name=f"{name}_command", check=_check_command, per_tenant=True),
        Setting(name=f"{name}_keyring", check=check_text, per_tenant=True),
    )


SETTINGS: Final = (
    # Plain http is checked when the session is opened, which knows `allow_http`.
    Setting(name="base_url", check=lambda _, value: check_base_url(value, allow_http=True)),
    Setting(name="tenant_id", check=lambda _, value: check_tenant_id(value)),
    Setting(name="format", check=_check_format, default="guide"),
    Setting(name="ad_id", check=check_text),
    Setting(name="domain_id", check=check_text),
    Setting(name="rate_limit", check=lambda _, value: parse_rate_limit(value), default="60/60"),
    Setting(name="deadline", kind=float, check=lambda name, value: check_seconds(name, value, above_zero=True)),
    Setting(name="allow_http", kind=bool, check=lambda _, value: value, default=False),
    Setting(name="assume_zone", check=_check_zone),
    Setting(name="state", check=_check_state, has_secret=_has_password, masked=lambda value: str(_location(value))),
    Setting(name="log_level", check=_check_log_level, default="warning"),
    Setting(name="debug_http", kind=bool, check=lambda _, value: value, default=False),
    Setting(name="client_id", check=check_text, per_tenant=True),
    *_secret("client_secret"),
    *_secret("token"),
)
"""All settings, in the order in which they are shown."""

SOURCE_SETTINGS: Final = (
    Setting(name="preset", check=_check_preset),
    Setting(name="map", kind=dict, check=_check_map, convert=_as_map),
    Setting(name="date_format", kind=tuple, check=_check_date_format, convert=_as_tuple),
    Setting(name="ignore_unknown", kind=bool, check=lambda _, value: value, default=False),
)
"""The settings that describe a source: options, or the table `[source]` of a file. They have no variable."""

_BY_NAME: Final = {setting.name: setting for setting in SETTINGS}
_SOURCE_BY_NAME: Final = {setting.name: setting for setting in SOURCE_SETTINGS}
_KINDS: Final = {
    str: "a string",
    float: "a number",
    bool: "true or false",
    tuple: "a string or a list of strings",
    dict: "a table",
}
_BOOLEANS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@frozen(kw_only=True)
class Layer:
    """What one place sets: the options, the environment, or a file."""

    kind: Literal["options", "environment", "file"]
    values: Mapping[str, Any] = field(repr=False)
    """By the name of the setting. Values of the environment are strings. A file may have unknown names."""
    tenants: Mapping[str, Any] = field(default=Factory(dict), repr=False)
    """The tables `[tenants.ID]` of a file, by id."""
    source: Mapping[str, Any] = field(default=Factory(dict), repr=False)
    """What the place sets of `SOURCE_SETTINGS`: the table `[source]` of a file, by the name of the setting."""
    file: str = ""
    """The path of the file, as messages show it."""
    folder: Path = Path()
    """The folder that relative paths of this layer start from."""

    def origin(self, setting: Setting) -> str:
        """Return how messages name the place of a setting in this layer."""
        if self.kind == "file":
            return self.file
        return f"option {setting.option}" if self.kind == "options" else f"environment {setting.variable}"


@frozen
class Value:
    """The value of a setting, and where it is set."""

    value: Any = field(repr=False)
    """Of the kind of the setting; `None` means that the setting has no value."""
    origin: str
    """`default`, or the option, the environment variable or the file."""
    folder: Path = Path()
    """The folder that a relative path starts from."""


Values = Mapping[str, Value]
"""Values by the name of the setting."""


@frozen(kw_only=True)
class Settings:
    """The settings of one command."""

    values: Values
    """All settings, each from the layer that decides."""
    layers: Sequence[Values]
    """What each layer sets outside of its tables `[tenants.ID]`, highest precedence first."""
    tenants: Mapping[str, Sequence[Values]]
    """What the tables `[tenants.ID]` set, by id, highest precedence first."""

    def get(self, name: str) -> Any:
        """Return the value of a setting; `None` means that it has no value."""
        return self.values[name].value

    def required(self, name: str) -> Any:
        """Return the value of a setting.

        Raises:
            SettingsError: If the setting has no value.
        """
        value = self.get(name)
        if value is None:
            setting = _BY_NAME[name]
            raise SettingsError(
                f"{setting.option} is missing; {setting.variable}, or {name} in a settings file, can set it as well"
            )
        return value


def resolve(layers: Sequence[Layer]) -> Settings:
    """Return the settings that layers make together. The first layer that has a setting decides.

    Args:
        layers: Highest precedence first.

    Raises:
        SettingsError: If a layer is invalid, even where another layer decides.
    """
    checked = [
        _checked_values(layer, layer.values, "", _BY_NAME)
        | _checked_values(layer, layer.source, f"[{SOURCE_TABLE}] ", _SOURCE_BY_NAME)
        for layer in layers
    ]
    tenants: dict[str, list[Values]] = {}
    for layer in layers:
        for tenant_id, table in layer.tenants.items():
            tenants.setdefault(tenant_id, []).append(_checked_tenant(layer, tenant_id, table))
    values = {setting.name: Value(setting.default, DEFAULT) for setting in (*SETTINGS, *SOURCE_SETTINGS)}
    for layer_values in reversed(checked):
        values.update(layer_values)
    return Settings(values=values, layers=checked, tenants=tenants)


def _checked_tenant(layer: Layer, tenant_id: str, table: object) -> Values:
    try:
        check_tenant_id(tenant_id)
    except ValueError as error:
        raise SettingsError(f"{layer.file}: [tenants]: {error}") from None
    if not isinstance(table, dict):
        raise SettingsError(f"{layer.file}: tenants.{tenant_id} must be a table")
    accepted = {name: setting for name, setting in _BY_NAME.items() if setting.per_tenant}
    return _checked_values(layer, table, f"[tenants.{tenant_id}] ", accepted)


def _checked_values(
    layer: Layer, values: Mapping[str, Any], table: str, accepted: Mapping[str, Setting]
) -> dict[str, Value]:
    checked = {}
    for name, value in values.items():
        if name not in accepted:
            names = ", ".join(setting.name for setting in accepted.values() if not setting.is_secret)
            raise SettingsError(f"{layer.file}: {table}{name} is unknown; accepted are {names}")
        setting = accepted[name]
        origin = layer.origin(setting)
        # `main` spells the name of a setting that a message starts with as the option.
        place = "" if layer.kind == "options" else f"{origin}: {table}"
        if layer.kind == "file" and setting.is_secret:
            raise SettingsError(f"{place}{name} must not be in a file: use {name}_file or {name}_command")
        if layer.kind != "environment" and isinstance(value, str) and setting.has_secret(value):
            raise SettingsError(
                f"{place}{name} must not have a password: use {setting.variable}, PGPASSWORD or a password file"
            )
        try:
            place_of_value = origin if layer.kind == "options" else f"{origin} {table}".strip()
            checked[name] = Value(_checked_value(setting, value, layer), place_of_value, layer.folder)
        except (ValueError, TypeError) as error:
            message = str(error)
            if layer.kind == "options" and name in _SOURCE_BY_NAME:
                # The rest of these messages has names of fields, which are not options.
                message = message.replace(name, setting.option, 1)
            raise SettingsError(f"{place}{message}") from None
    return checked


def _checked_value(setting: Setting, value: Any, layer: Layer) -> Any:
    if layer.kind == "environment":
        value = convert_text(setting, value)
    if setting.kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    value = setting.convert(value)
    if not isinstance(value, setting.kind):
        raise TypeError(f"{setting.name} must be {_KINDS[setting.kind]}")
    setting.check(setting.name, value)
    return value


def convert_text(setting: Setting, value: str) -> Any:
    """Return a string as a bool or a float if the setting is one and the string fits, and otherwise unchanged."""
    kind = setting.kind
    if kind is bool:
        return _BOOLEANS.get(value.lower(), value)
    if kind is float:
        try:
            number = float(value)
        except ValueError:
            return value
        return number if math.isfinite(number) else value
    return value


def assumed_zone(settings: Settings) -> tzinfo | None:
    """Return the time zone of times without a UTC offset; `None` if there is none."""
    name = settings.get("assume_zone")
    return None if name is None else zone_named(name)
