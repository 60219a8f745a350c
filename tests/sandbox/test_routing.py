import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector_async.sandbox.request_parsing import parse_query
from connector_async.sandbox.routing import escape_path, resolve

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
def test_method_and_path_name_the_operation(method: str, path: str, operation: str, allowed: tuple[str, ...]) -> None:
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
def test_the_tenant_is_one_segment_decoded_once(segment: str, tenant: str) -> None:
    assert resolve("GET", f"/{segment}/appointment").tenant == tenant
    assert resolve("GET", f"/{segment}/appointment").operation == "get"


@pytest.mark.parametrize("path", ["/", "//appointment", "*", "/%FF/appointment", "/\udcff/appointment"])
def test_a_path_without_a_readable_tenant_is_no_path(path: str) -> None:
    assert resolve("GET", path).allowed_methods == ()


def test_parse_query_are_decoded_once_and_the_first_of_a_name_counts() -> None:
    assert parse_query("a=1%2B1+%2541%C3%A9&b=&a=2") == {"a": "1+1 %41é", "b": ""}


@pytest.mark.parametrize("query", ["a=%FF", "%FF=a", "a=\udcff"])
def test_a_query_that_is_not_utf_8_is_refused(query: str) -> None:
    with pytest.raises(UnicodeError):
        parse_query(query)


@given(st.text().map(lambda text: "/" + text.encode(errors="surrogatepass").decode(errors="surrogateescape")))
def test_the_instance_is_always_ascii(path: str) -> None:
    assert escape_path(path).isascii()


def test_the_instance_keeps_escapes_and_escapes_the_rest_byte_by_byte() -> None:
    assert escape_path("/\udcff") == "/%FF"
    assert escape_path('/a%2Fb/"é"') == "/a%2Fb/%22%C3%A9%22"
