import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async.sandbox.request_parsing import parse_query
from connector_async.sandbox.routing import below_tenant, escape_path, resolve

METHODS = ("DELETE", "GET", "POST", "PUT")


@pytest.mark.parametrize(
    ("method", "path", "operation", "allowed"),
    [
        ("POST", "/acme/authentication/token", "token", ("POST",)),
        ("GET", "/acme/appointment", "get", METHODS),
        ("POST", "/acme/appointment", "create", METHODS),
        ("PUT", "/acme/appointment", "update", METHODS),
        ("DELETE", "/acme/appointment", "delete", METHODS),
        ("GET", "/acme/appointment/preview", "preview", ("GET",)),
        ("PATCH", "/acme/appointment", "unknown", METHODS),
        ("GET", "/acme/authentication/token", "unknown", ("POST",)),
        ("GET", "/acme/appointment/", "unknown", ()),
        ("GET", "/acme/appointment%2Fpreview", "unknown", ()),
        ("GET", "/acme", "unknown", ()),
    ],
)
def test_method_and_path_select_the_operation(method: str, path: str, operation: str, allowed: tuple[str, ...]) -> None:
    target = resolve(method, path)
    assert (target.tenant, target.operation, target.allowed_methods) == ("acme", operation, allowed)


@pytest.mark.parametrize(
    ("segment", "tenant"),
    [
        ("a%20b", "a b"),
        ("a%2Fb", "a/b"),
        ("a%252Fb", "a%2Fb"),
        ("..", ".."),
        ("%2E", "."),
        ("%C3%A9", "é"),
        ("a+b", "a+b"),
    ],
)
def test_tenant_is_one_path_segment_decoded_once(segment: str, tenant: str) -> None:
    target = resolve("GET", f"/{segment}/appointment")
    assert (target.tenant, target.operation) == (tenant, "get")


@pytest.mark.parametrize("path", ["/", "//appointment", "*", "/%FF/appointment", "/\udcff/appointment"])
def test_path_without_a_readable_tenant_does_not_exist(path: str) -> None:
    assert resolve("GET", path).allowed_methods == ()


def test_query_is_decoded_once_and_the_first_value_of_a_name_wins() -> None:
    assert parse_query("a=1%2B1+%2541%C3%A9&b=&a=2") == {"a": "1+1 %41é", "b": ""}


@pytest.mark.parametrize("query", ["a=%FF", "%FF=a", "a=\udcff"])
def test_query_that_is_not_utf_8_is_rejected(query: str) -> None:
    with pytest.raises(UnicodeError):
        parse_query(query)


@given(st.text().map(lambda path: "/" + path.encode(errors="surrogatepass").decode(errors="surrogateescape")))
def test_escaped_path_is_ascii(path: str) -> None:
    assert escape_path(path).isascii()


def test_escaping_keeps_escapes_and_escapes_all_other_bytes() -> None:
    assert escape_path("/\udcff") == "/%FF"
    assert escape_path('/a%2Fb/"é"') == "/a%2Fb/%22%C3%A9%22"


@pytest.mark.parametrize(
    ("raw_path", "path"),
    [
        ("/acme/appointment/preview", "/appointment/preview"),
        ("/acme%2Fb/appointment", "/appointment"),
        ("/acme", "/"),
        ("/openapi.json", "/openapi.json"),
    ],
)
def test_path_below_the_tenant_is_logged(raw_path: str, path: str) -> None:
    assert below_tenant(raw_path) == path
