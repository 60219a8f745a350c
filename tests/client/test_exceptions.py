"""The error tree: pickles, copies, and messages without data."""

import copy
import pickle
import re

import pytest

from connector_async import exceptions
from connector_async._checks import check_appointment_id
from connector_async.exceptions import (
    ConnectFailedError,
    ConnectorError,
    DecodingError,
    InvalidArgumentError,
    InvalidRequestError,
    NotFoundError,
    OutcomeUnknownError,
    RequestTimeoutError,
    ResponseError,
    TransportError,
)

ERRORS = [value for value in vars(exceptions).values() if isinstance(value, type) and issubclass(value, ConnectorError)]


def test_tree_in_the_docstring_matches_the_classes() -> None:
    drawn = re.findall(r"^ {4}([│├└─ ]*)(\w+Error)\b", exceptions.__doc__ or "", re.MULTILINE)
    depths = {name: len(branch) // 3 for branch, name in drawn}
    assert depths == {error.__name__: _depth(error) for error in ERRORS}


def _depth(error: type[ConnectorError]) -> int:
    return sum(issubclass(base, ConnectorError) for base in error.__mro__) - 1


@pytest.mark.parametrize("error_type", ERRORS)
def test_error_survives_a_pickle_and_a_copy(error_type: type[ConnectorError]) -> None:
    error = error_type("it failed", sent=False, attempts=3, elapsed=1.5)
    assert (error.sent, error.attempts, error.elapsed) == (False, 3, 1.5)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is error_type
        assert str(twin) == "it failed"
        assert vars(twin) == vars(error)


def test_attributes_of_an_error_survive_a_pickle() -> None:
    error = NotFoundError(
        "deleted",
        status=410,
        method="GET",
        path="/acme",
        request_id="r-1",
        problem={"title": "Deleted"},
        retry_after=3.0,
    )
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)
    problems = DecodingError("broken", problems=["$.title: required, and missing"], request_id="r-2")
    assert vars(pickle.loads(pickle.dumps(problems))) == vars(problems)
    unknown = OutcomeUnknownError("lost", status=502)
    assert vars(pickle.loads(pickle.dumps(unknown))) == vars(unknown)


def test_errors_derive_from_the_builtin_ones_that_callers_expect() -> None:
    assert issubclass(RequestTimeoutError, TimeoutError)
    assert issubclass(ConnectFailedError, ConnectionError)
    assert ConnectFailedError("refused").sent is False
    assert TransportError("dropped").sent is True


@pytest.mark.parametrize(
    ("problem", "errors"),
    [
        (None, {}),
        ({}, {}),
        ({"errors": ["not a mapping"]}, {}),
        (
            {"errors": {"title": ["empty", "short"], "endTime": "early"}},
            {"title": ("empty", "short"), "endTime": ("early",)},
        ),
    ],
)
def test_errors_lists_the_messages_of_an_invalid_request_by_field(
    problem: dict[str, object] | None, errors: dict[str, object]
) -> None:
    assert InvalidRequestError("refused", problem=problem).errors == errors


def test_str_of_an_error_is_its_message_alone() -> None:
    error = ResponseError("GET /a returned 400", problem={"detail": "Jane Doe"}, request_id="r")
    assert str(error) == "GET /a returned 400"
    assert "Jane" not in repr(error)


@pytest.mark.parametrize("argument", ["appointment_id", None])
def test_invalid_argument_error_is_a_value_error_that_can_be_pickled(argument: str | None) -> None:
    error = InvalidArgumentError("appointment_id must not be empty", argument=argument)
    twin = pickle.loads(pickle.dumps(error))
    assert isinstance(error, ValueError)
    assert (type(twin), str(twin), twin.argument) == (InvalidArgumentError, str(error), argument)


def test_a_check_names_the_argument_in_its_error_and_not_the_value() -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check_appointment_id("Jane\n")
    assert caught.value.argument == "appointment_id"
    assert "Jane" not in repr(caught.value)
