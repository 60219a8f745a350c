"""The command `api`: sends a request to any endpoint below the tenant, and prints the body as it came."""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import orjson
from cyclopts import Parameter

from connector_async._checks import check_endpoint, check_headers, check_method
from connector_async.protocol import Response

from .config_sources import read_settings
from .connect import service_of
from .escaping import json_text
from .line_reader import STANDARD_INPUT, read_chunks
from .messages import print_message
from .options import DEFAULT_CONNECTION, ConnectionOptions
from .output import write_bytes, write_output

_SECRET_HEADERS: Final = re.compile("auth|cookie|token|secret", re.IGNORECASE)

_Method = Annotated[str, Parameter(name="METHOD", help="The HTTP method, such as GET.")]
_Path = Annotated[
    str, Parameter(name="PATH", help="The path below the tenant, not quoted, such as /appointment/preview.")
]


async def api(
    method: _Method,
    path: _Path,
    /,
    *,
    query: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="A parameter of the query: NAME=VALUE. May be repeated."),
    ] = (),
    json: Annotated[
        str | None,
        Parameter(allow_leading_hyphen=True, help="The body: JSON, or - to read it from the standard input."),
    ] = None,
    header: Annotated[
        tuple[str, ...],
        Parameter(negative="", help="A further header: 'NAME: VALUE'. May be repeated."),
    ] = (),
    include: Annotated[bool, Parameter(negative="", help="Print the status and the headers before the body.")] = False,
    dry_run: Annotated[
        bool, Parameter(negative="", help="Check everything, print the request without its headers, and send nothing.")
    ] = False,
    connection: ConnectionOptions = DEFAULT_CONNECTION,
) -> None:
    """Send a request below the tenant with the token, the rate limit and the retries of the other commands.

    It prints the body of a 2xx response as it came. A method that is not idempotent, such as POST, is sent once.
    """
    settings = read_settings(connection.as_settings())
    parameters, headers = _pairs("query", "=", query), _pairs("header", ":", header)
    body = None if json is None else await _body(json)
    async with service_of(settings) as appointments:
        if dry_run:
            method, headers = check_method(method).upper(), check_headers("header", headers)
            url = appointments.session.url(check_endpoint(path, None), parameters or None)
            write_output(f"{method} {url}\n" + ("" if body is None else f"{json_text(body)}\n"), "utf-8")
            print_message("dry run: nothing was sent")
            return
        response = await appointments.request(method, path, query=parameters or None, json=body, headers=headers)
    _print(response, include=include)


def _pairs(option: str, separator: str, entries: Iterable[str]) -> Mapping[str, str]:
    """Return names and values, without repeating a value in an error.

    Raises:
        ValueError: If an entry has no name or no separator, or a name occurs twice.
    """
    pairs: dict[str, str] = {}
    for entry in entries:
        name, found, value = entry.partition(separator)
        name = name.strip()
        if not name or not found:
            raise ValueError(f"--{option} must be NAME{separator}VALUE")
        if name in pairs:
            raise ValueError(f"--{option} must name {name} once")
        pairs[name] = value.strip() if separator == ":" else value
    return pairs


async def _body(given: str) -> Any:
    """Return the body of the option or of the standard input.

    Raises:
        ValueError: If it is not JSON, or is `null`, which would be sent as no body.
    """
    content = given.encode(errors="surrogateescape")
    if given == STANDARD_INPUT:
        content = b"".join([chunk async for chunk in read_chunks(STANDARD_INPUT)])
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        reason = error.msg  # without the document
    else:
        if body is not None:
            return body
        reason = "null is no body"
    raise ValueError(f"--json must be JSON: {reason}")


def _print(response: Response, *, include: bool) -> None:
    if include:
        lines = [f"HTTP {response.status}"]
        lines += [
            f"{name}: {'***' if _SECRET_HEADERS.search(name) else value}" for name, value in response.headers.items()
        ]
        write_output("".join(f"{line}\n" for line in lines) + "\n", "utf-8")
    try:
        write_bytes(response.body)
    except OSError:
        print_message(f"the server returned {response.status}: the request was done")
        raise
