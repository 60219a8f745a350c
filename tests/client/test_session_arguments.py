"""Invalid arguments of a session are rejected by name before anything is sent."""

import math
from datetime import datetime, timedelta, tzinfo
from types import MappingProxyType
from typing import Any

import pytest

from connector_async import (
    ClientCredentials,
    Clock,
    ConnectorSession,
    MemoryRateLimitStore,
    RateLimit,
    StaticToken,
    WireFormat,
)
from connector_async._clock import Deadline
from tests.support.hostile import HostileServer, http


@pytest.mark.parametrize("prefix", ["/public/v1", "/public/v1/", "/a%2Fb", "/"])
async def test_base_url_may_have_a_path(prefix: str) -> None:
    async with HostileServer(http(200, b"1")) as server:
        async with ConnectorSession(server.base_url + prefix, tenant_id="acme", auth=StaticToken("t")) as session:
            await session.request("GET", ("appointment",))
        assert server.requests[0].target == prefix.rstrip("/") + "/acme/appointment"


@pytest.mark.parametrize(
    ("options", "error", "rule"),
    [
        ({"base_url": "http://api.example"}, ValueError, "base_url must be https"),
        ({"base_url": "https://user:pw@api.example"}, ValueError, "base_url must not hold user information"),
        ({"tenant_id": ""}, ValueError, "tenant_id must not be empty"),
        ({"tenant_id": ".."}, ValueError, "tenant_id must not be"),
        ({"tenant_id": "a\r\nb"}, ValueError, "tenant_id must be printable"),
        ({"tenant_id": 5}, TypeError, "tenant_id must be a str"),
        ({"base_url": 5}, TypeError, "base_url must be a str, not int"),
        ({"user_agent_suffix": None}, TypeError, "user_agent_suffix must be a str, not NoneType"),
        ({"clock": object()}, TypeError, "clock must be a Clock or None, not object"),
        ({"clock": Clock}, TypeError, "clock must be a Clock or None, not the class Clock"),
        ({"clock": 0}, TypeError, "clock must be a Clock or None, not int"),
        ({"rate_limit": RateLimit}, TypeError, "rate_limit must be a RateLimit, not the class RateLimit"),
        ({"rate_limit_store": 0}, TypeError, "rate_limit_store must be a RateLimitStore, not int"),
        (
            {"rate_limit_store": MemoryRateLimitStore},
            TypeError,
            "rate_limit_store must be a RateLimitStore, not the class",
        ),
        ({"auth": ClientCredentials}, TypeError, "auth must be a TokenProvider, not "),
        ({"auth": "token"}, TypeError, "auth must be a TokenProvider, not str"),
        ({"auth": None}, TypeError, "auth must be a TokenProvider, not NoneType"),
        ({"wire_format": "guide"}, TypeError, "wire_format must be a WireFormat, not str"),
        ({"assume_zone": "UTC"}, TypeError, "assume_zone must be a tzinfo or None, not str"),
        ({"session": object()}, TypeError, "session must be a ClientSession or None, not object"),
        ({"attempt_timeout": 0}, ValueError, "attempt_timeout"),
        ({"pool_size": 1.5}, TypeError, "pool_size"),
        ({"allow_http": "no"}, TypeError, "allow_http must be a bool, not str"),
        ({"allow_http": 1}, TypeError, "allow_http must be a bool, not int"),
        ({"allow_http": None}, TypeError, "allow_http must be a bool, not NoneType"),
        ({"user_agent_suffix": "a\r\nb"}, ValueError, "user_agent_suffix"),
    ],
)
def test_invalid_argument_is_rejected_by_name(options: dict[str, Any], error: type[Exception], rule: str) -> None:
    arguments: dict[str, Any] = {"base_url": "https://api.example", "tenant_id": "acme", "auth": StaticToken("t")}
    with pytest.raises(error, match=rule):
        ConnectorSession(**arguments | options)


def test_http_beyond_the_loopback_can_be_allowed() -> None:
    session = ConnectorSession("http://api.internal/", tenant_id="a", auth=StaticToken("t"), allow_http=True)
    assert session.base_url == "http://api.internal"
    assert (session.tenant_id, session.wire_format, session.assume_zone) == ("a", WireFormat.GUIDE, None)


async def test_for_tenant_rejects_invalid_arguments(session: ConnectorSession) -> None:
    with pytest.raises(ValueError, match="tenant_id must not be"):
        session.for_tenant("..")
    with pytest.raises(TypeError, match="auth must be a TokenProvider"):
        session.for_tenant("globex", "token")  # type: ignore[arg-type]


class _NoOffset(tzinfo):
    def utcoffset(self, _: datetime | None) -> timedelta | None:
        return None

    def dst(self, _: datetime | None) -> timedelta | None:
        return None

    def tzname(self, _: datetime | None) -> str | None:
        return None


class _Abstract(_NoOffset):
    def utcoffset(self, _: datetime | None) -> timedelta | None:
        raise NotImplementedError


class _Unhashable(_NoOffset):
    """Like the zones of dateutil."""

    __hash__ = None  # type: ignore[assignment]


class _NeedsLocalizing(_NoOffset):
    """Like the zones of pytz, whose offset is not that of the date."""

    def localize(self, value: datetime) -> datetime:
        return value


@pytest.mark.parametrize(
    ("zone", "rule"),
    [
        (_NoOffset(), "assume_zone must have a UTC offset"),
        (_Abstract(), "assume_zone must have a UTC offset"),
        (_Unhashable(), "assume_zone must be hashable and not from pytz"),
        (_NeedsLocalizing(), "assume_zone must be hashable and not from pytz"),
    ],
)
def test_time_zone_that_would_fail_later_or_be_wrong_is_rejected(zone: tzinfo, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        ConnectorSession("https://api.example", tenant_id="acme", auth=StaticToken("t"), assume_zone=zone)


@pytest.mark.parametrize(
    ("base_url", "sent"),
    [
        ("https://api.example/é", "https://api.example/%C3%A9"),
        ('https://api.example/a"b', "https://api.example/a%22b"),
        ("https://api.example/a/../b", "https://api.example/b"),
        ("https://api.example/a%2Fb", "https://api.example/a%2Fb"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://ⅷ.example", "https://viii.example"),
    ],
)
def test_base_url_is_normalized(base_url: str, sent: str) -> None:
    assert ConnectorSession(base_url, tenant_id="acme", auth=StaticToken("t")).base_url == sent


@pytest.mark.parametrize("base_url", ["https://good.example\\.evil.example", "https://a..b/"])
def test_base_url_with_an_invalid_host_is_rejected(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url is not a valid URL"):
        ConnectorSession(base_url, tenant_id="acme", auth=StaticToken("t"))


PATH_RULE = "path must be a tuple of segments, not"
SEGMENT_RULE = "each segment of path must"


@pytest.mark.parametrize(
    ("arguments", "error", "rule"),
    [
        ({"method": None}, TypeError, "method must be a str, not NoneType"),
        ({"method": b"GET"}, TypeError, "method must be a str, not bytes"),
        ({"method": ["GET"]}, TypeError, "method must be a str, not list"),
        ({"method": ""}, ValueError, "method must be a token of HTTP"),
        ({"method": "GET / HTTP/1.1\r\nX: y"}, ValueError, "method must be a token of HTTP"),
        ({"path": "appointment"}, TypeError, f"{PATH_RULE} str"),
        ({"path": ["appointment"]}, TypeError, f"{PATH_RULE} list"),
        ({"path": None}, TypeError, f"{PATH_RULE} NoneType"),
        ({"path": (5,)}, TypeError, f"{SEGMENT_RULE} be a str, not int"),
        ({"path": (["a"],)}, TypeError, f"{SEGMENT_RULE} be a str, not list"),
        ({"path": ("appointment", "")}, ValueError, f"{SEGMENT_RULE} not be empty"),
        ({"path": ("..", "globex")}, ValueError, f"{SEGMENT_RULE} not be '.' or '..'"),
        ({"path": ("hunter2\r\n",)}, ValueError, f"{SEGMENT_RULE} be printable"),
        ({"path": ("hunter2\ud800",)}, ValueError, f"{SEGMENT_RULE} be printable"),
        ({"query": "a=1 HTTP/1.1\r\nX: hunter2"}, ValueError, "query must be printable"),
        ({"query": "a=hunter2 b"}, ValueError, "query must be a quoted query"),
        ({"query": "a=hunter2#b"}, ValueError, "query must be a quoted query"),
        ({"query": b"a=b"}, TypeError, "query must be a mapping, a str or None, not bytes"),
        ({"query": [("a", "b")]}, TypeError, "query must be a mapping, a str or None, not list"),
        ({"query": 5}, TypeError, "query must be a mapping, a str or None, not int"),
        ({"query": {"a": 5}}, TypeError, "query must have names and values of type str, not int"),
        ({"query": {"a": None}}, TypeError, "query must have names and values of type str, not NoneType"),
        ({"query": {"a": ["hunter2"]}}, TypeError, "query must have names and values of type str, not list"),
        ({"query": {5: "a"}}, TypeError, "query must have names and values of type str, not int"),
        ({"query": {"a": "hunter2\ud800"}}, ValueError, "query must be encodable as UTF-8"),
        ({"body": "{}"}, TypeError, "body must be bytes or None, not str"),
        ({"body": {"a": 1}}, TypeError, "body must be bytes or None, not dict"),
        ({"body": bytearray(b"{}")}, TypeError, "body must be bytes or None, not bytearray"),
        ({"deadline": 5}, TypeError, "deadline must be a Deadline or None, not int"),
        ({"deadline": Deadline}, TypeError, "deadline must be a Deadline or None, not type"),
    ],
)
async def test_invalid_request_is_rejected_before_its_token_is_fetched(
    arguments: dict[str, Any], error: type[Exception], rule: str
) -> None:
    valid: dict[str, Any] = {"method": "GET", "path": ("appointment",)}
    async with (
        HostileServer(http(200, b"1")) as server,
        ConnectorSession(server.base_url, tenant_id="acme", auth=ClientCredentials("id", "secret")) as session,
    ):
        with pytest.raises(error, match=rule) as caught:
            await session.request(**valid | arguments)
        assert server.requests == []
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


async def test_request_can_have_any_valid_method_path_and_query() -> None:
    async with (
        HostileServer(http(200, b"1")) as server,
        ConnectorSession(server.base_url, tenant_id="acme", auth=StaticToken("t")) as session,
    ):
        await session.request("PROPFIND", ("calendars", "a/b c"), query="a=%20&b", deadline=Deadline(5, session.clock))
        await session.request("GET", (), query=MappingProxyType({"name": "Jürgen", "none": ""}))
        assert [(request.method, request.target) for request in server.requests] == [
            ("PROPFIND", "/acme/calendars/a%2Fb%20c?a=%20&b"),
            ("GET", "/acme?name=J%C3%BCrgen&none="),
        ]
        assert session.url(("a",), "b=c") == f"{server.base_url}/acme/a?b=c"
        with pytest.raises(TypeError, match=PATH_RULE):
            session.url("a")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=SEGMENT_RULE):
            session.quoted_path(("..",))


async def test_number_of_cached_paths_is_bounded() -> None:
    session = ConnectorSession("https://api.example", tenant_id="acme", auth=StaticToken("t"))
    for number in range(1_000):
        assert session.quoted_path((str(number),)) == f"/acme/{number}"
    assert len(session._tenant._urls) <= 100


@pytest.mark.parametrize(
    ("seconds", "error", "rule"),
    [
        (-1, ValueError, "seconds must be zero or more"),
        (math.nan, ValueError, "seconds must be zero or more"),
        (True, TypeError, "seconds must be a number of seconds, not bool"),
        ("1", TypeError, "seconds must be a number of seconds, not str"),
        (None, TypeError, "seconds must be a number of seconds, not NoneType"),
    ],
)
async def test_invalid_duration_is_rejected_before_the_sleep(seconds: Any, error: type[Exception], rule: str) -> None:
    class Sleepless(Clock):
        async def sleep(self, seconds: float) -> None:
            raise AssertionError(seconds)

    session = ConnectorSession("https://api.example", tenant_id="acme", auth=StaticToken("t"), clock=Sleepless())
    with pytest.raises(error, match=rule):
        await session.sleep(seconds)
