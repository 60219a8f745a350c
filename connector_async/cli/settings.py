"""The settings of the command: what each may be, and which of several layers decides it.

It reads neither files nor the environment; `layers` does. No message of it repeats a value.
"""

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import Factory, evolve, field, frozen

from connector_async._checks import check_base_url, check_seconds, check_tenant_id, check_text
from connector_async._timestamps import zone_named
from connector_async.rate_limit import RateLimit

DEFAULT: Final = "default"


class SettingsError(ValueError):
    """A setting breaks its rule. The message names where it stands, its name and the rule, never its value."""


@frozen(kw_only=True)
class Setting:
    """What a setting is called, and what it may be."""

    name: str
    """As in a TOML file; a flag spells it with dashes, the environment in capitals after `CONNECTOR_`."""
    kind: type = str
    """`str`, `float` or `bool`."""
    check: Callable[[Any], object]
    """Raises a `ValueError` that names the rule."""
    default: str | float | bool | None = None
    """`None`: it is not set."""
    is_secret: bool = False
    """`True`: it may not stand in a file or on the command line, and is never shown."""
    for_tenant: bool = False
    """`True`: it may stand in a table `[tenants.ID]`, too."""

    @property
    def variable(self) -> str:
        """What the environment calls it."""
        return f"CONNECTOR_{self.name.upper()}"

    @property
    def flag(self) -> str:
        """What the command line calls it."""
        return f"--{self.name.replace('_', '-')}"


def rate_limit_of(text: str, *, burst: int | None = None) -> RateLimit:
    """Return the limit that a text says: `REQUESTS/SECONDS`, or `unlimited`.

    Args:
        text: What the setting says.
        burst: How many requests may go at once after a pause; `None`: the default of `RateLimit`.

    Raises:
        ValueError: It says none.
    """
    if text == "unlimited":
        return RateLimit.unlimited()
    requests, _, per = text.partition("/")
    try:
        limit = RateLimit(limit=int(requests), per=float(per))
        return limit if burst is None else evolve(limit, burst=burst)
    except ValueError:
        raise ValueError(
            "rate_limit must be REQUESTS/SECONDS, as 60/60, with 2 requests or more, or unlimited"
        ) from None


def _check_format(text: str) -> None:
    if text not in {"guide", "reference"}:
        raise ValueError("format must be guide or reference")


def _check_state(text: str) -> None:
    check_text("state", text)
    if "://" in text:  # it would hold a password, and is shown
        raise ValueError("state must be a file")


def _check_zone(text: str) -> None:
    if zone_named(text) is None:
        raise ValueError("assume_zone must be the IANA or Windows name of a time zone")


def _check_command(name: str) -> Callable[[str], None]:
    def check(text: str) -> None:
        try:
            words = shlex.split(text)
        except ValueError:
            words = []
        if not words:
            raise ValueError(f"{name} must be a program and its arguments, quoted as a shell has them")

    return check


def _text(name: str) -> Callable[[Any], object]:
    return lambda value: check_text(name, value)


def _secret(name: str) -> tuple[Setting, ...]:
    return (
        Setting(name=name, check=_text(name), is_secret=True, for_tenant=True),
        Setting(name=f"{name}_file", check=_text(f"{name}_file"), for_tenant=True),
        Setting(name=f"{name}_command", check=_check_command(f"{name}_command"), for_tenant=True),
    )


SETTINGS: Final = (
    Setting(name="base_url", check=lambda url: check_base_url(url, allow_http=True)),
    Setting(name="tenant_id", check=check_tenant_id),
    Setting(name="format", check=_check_format, default="guide"),
    Setting(name="ad_id", check=_text("ad_id")),
    Setting(name="domain_id", check=_text("domain_id")),
    Setting(name="rate_limit", check=rate_limit_of, default="60/60"),
    Setting(
        name="deadline",
        kind=float,
        check=lambda seconds: check_seconds("deadline", seconds, above_zero=True, finite=True),
    ),
    Setting(name="allow_http", kind=bool, check=bool, default=False),
    Setting(name="assume_zone", check=_check_zone),
    Setting(name="state", check=_check_state, default="connector-async.db"),
    Setting(name="client_id", check=_text("client_id"), for_tenant=True),
    *_secret("client_secret"),
    *_secret("token"),
)
"""Every setting, in the order in which they are shown."""

_BY_NAME: Final = {setting.name: setting for setting in SETTINGS}
_KINDS: Final = {str: "a text", float: "a number", bool: "true or false"}
_FLAGS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@frozen(kw_only=True)
class Layer:
    """What one place says: the flags, the environment, or a file."""

    values: Mapping[str, Any] = field(repr=False)
    """By the names of settings; a file may hold others, which are refused."""
    tenants: Mapping[str, Any] = field(default=Factory(dict), repr=False)
    """The tables `[tenants.ID]` of a file."""
    origin: Callable[[Setting], str]
    """How what it says of a setting is called."""
    is_file: bool = False
    """`True`: unknown names and secrets are refused."""
    is_text: bool = False
    """`True`: numbers and booleans are written as texts."""
    folder: Path = Path()
    """What relative paths in it are relative to."""


@frozen
class Value:
    """A setting's value and where it comes from."""

    value: Any = field(repr=False)
    """Of the setting's kind; `None`: it is not set."""
    origin: str
    """`default`, or the flag, the variable or the file."""
    folder: Path = Path()
    """What a relative path is relative to."""


Values = Mapping[str, Value]


@frozen(kw_only=True)
class Settings:
    """The settings of one run."""

    values: Values
    """Each setting, by name."""
    general: Sequence[Values]
    """What each layer says by itself, the strongest first."""
    tenants: Mapping[str, Sequence[Values]]
    """What each table `[tenants.ID]` says, the strongest first."""

    def get(self, name: str) -> Any:
        """Return the value of a setting; `None`: it is not set."""
        return self.values[name].value

    def required(self, name: str) -> Any:
        """Return the value of a setting that must be set.

        Raises:
            SettingsError: It is not.
        """
        value = self.get(name)
        if value is None:
            setting = _BY_NAME[name]
            raise SettingsError(f"{name} must be set: by {setting.flag}, {setting.variable}, or {name} in a TOML file")
        return value


def resolve(layers: Sequence[Layer]) -> Settings:
    """Return what the layers say together, each setting by the first of them that has it.

    Raises:
        SettingsError: A layer breaks a rule, also where another layer decides.
    """
    general = [_read(layer, layer.values, "", _BY_NAME) for layer in layers]
    tenants: dict[str, list[Values]] = {}
    for layer in layers:
        for tenant_id, table in layer.tenants.items():
            tenants.setdefault(tenant_id, []).append(_read_tenant(layer, tenant_id, table))
    values = {setting.name: Value(setting.default, DEFAULT) for setting in SETTINGS}
    for read in reversed(general):
        values.update(read)
    return Settings(values=values, general=general, tenants=tenants)


def _read_tenant(layer: Layer, tenant_id: str, table: object) -> Values:
    place = f"[tenants.{tenant_id}] "
    where = layer.origin(_BY_NAME["tenant_id"])
    try:
        check_tenant_id(tenant_id)
    except ValueError as error:
        raise SettingsError(f"{where}: [tenants]: {error}") from None
    if not isinstance(table, dict):
        raise SettingsError(f"{where}: tenants.{tenant_id} must be a table")
    return _read(layer, table, place, {name: setting for name, setting in _BY_NAME.items() if setting.for_tenant})


def _read(layer: Layer, raw: Mapping[str, Any], place: str, known: Mapping[str, Setting]) -> Values:
    read = {}
    for name, value in raw.items():
        if name not in known:
            where = layer.origin(SETTINGS[0])
            raise SettingsError(f"{where}: {place}{name} is not known; known are {', '.join(_writable(known))}")
        setting = known[name]
        where = layer.origin(setting)
        if layer.is_file and setting.is_secret:
            rule = f"must not stand in a file: use {name}_file or {name}_command"
            raise SettingsError(f"{where}: {place}{name} {rule}")
        try:
            read[name] = Value(
                _checked(setting, value, is_text=layer.is_text), f"{where} {place}".strip(), layer.folder
            )
        except (ValueError, TypeError) as error:
            raise SettingsError(f"{where}: {place}{error}") from None
    return read


def _writable(known: Mapping[str, Setting]) -> Sequence[str]:
    return [name for name, setting in known.items() if not setting.is_secret]


def _checked(setting: Setting, value: Any, *, is_text: bool) -> Any:
    kind = setting.kind
    if is_text and isinstance(value, str):
        value = _converted(kind, value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind):
        raise TypeError(f"{setting.name} must be {_KINDS[kind]}")
    setting.check(value)
    return value


def _converted(kind: type, text: str) -> Any:
    """Return what a text says; the text itself when that is nothing of the kind."""
    if kind is bool:
        return _FLAGS.get(text.lower(), text)
    if kind is float:
        try:
            number = float(text)
        except ValueError:
            return text
        return number if math.isfinite(number) else text
    return text
