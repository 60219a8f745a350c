"""The file of what a bulk has not done: written whole or not at all, and read again. It makes no calls."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, overload

import attrs
import orjson

from connector_async._checks import check_plain_callable
from connector_async._files import atomic_replace
from connector_async.exceptions import ConnectorError
from connector_async.models import UNSET

from .failure import appointment_id_of
from .outcome import Outcome, Status

InputT = TypeVar("InputT")

TO_REPEAT: Final = (Status.FAILED, Status.NOT_STARTED)
"""The statuses of what can be repeated: what is `UNKNOWN` might happen twice."""

_NOT_SAID: Final = "JSON cannot say the input"


def as_json(value: object) -> object:
    """Return a model as an object of its set fields, and anything else as it is."""
    if not attrs.has(type(value)):
        return value
    fields = attrs.asdict(value, recurse=False)  # type: ignore[arg-type]
    set_fields = {name: field for name, field in fields.items() if field is not UNSET}
    return {name: dict(field) if isinstance(field, Mapping) else field for name, field in set_fields.items()}


def write_outcomes(
    path: Path | str, outcomes: Iterable[Outcome[InputT, Any]], encode: Callable[[InputT], object]
) -> None:
    """Replace a file by the outcomes; see `BulkReport.write_jsonl`."""
    with atomic_replace(Path(path)) as partial, partial.open("wb") as file:
        file.writelines(_line(outcome, encode) for outcome in outcomes)


@overload
def read_inputs(path: Path | str, *statuses: Status) -> Iterator[Any]: ...


@overload
def read_inputs(path: Path | str, *statuses: Status, decode: Callable[[Any], InputT]) -> Iterator[InputT]: ...


def read_inputs(path: Path | str, *statuses: Status, decode: Callable[[Any], Any] | None = None) -> Iterator[Any]:
    """Return the inputs of a file that `BulkReport.write_jsonl` wrote; see `BulkReport.inputs`.

    A line whose input JSON could not say has none to yield, and is skipped: its `problem` tells so.

    Args:
        path: The file.
        statuses: Of the outcomes whose inputs are wanted; without any, those that failed or were not started.
        decode: Turns what JSON has into an input, as `new_appointment_from_json` and `appointment_update_from_json`
            do. `None`: the inputs come as JSON has them.

    Raises:
        OSError: The file cannot be read.
        ValueError: A line is not one of that file, or `decode` refuses its input; the message tells which.
        TypeError: An argument is of another type, or `decode` a coroutine function.
    """
    check_statuses(statuses)
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a Path or a str, not {type(path).__name__}")
    if decode is not None and not callable(decode):
        raise TypeError(f"decode must be callable or None, not {type(decode).__name__}")
    check_plain_callable("decode", decode)
    return _inputs(path, statuses or TO_REPEAT, decode)


def check_statuses(statuses: tuple[Status, ...]) -> None:
    """Raise when one is none: no outcome would have it.

    Raises:
        TypeError: One is none.
    """
    for status in statuses:
        if not isinstance(status, Status):
            raise TypeError(f"statuses must be of type Status, not {type(status).__name__}")


def _inputs(path: Path | str, wanted: tuple[Status, ...], decode: Callable[[Any], Any] | None) -> Iterator[Any]:
    with Path(path).open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                parsed = orjson.loads(line)
                status, value, problem = Status(parsed["status"]), parsed["input"], parsed.get("problem")
            except (ValueError, TypeError, KeyError):
                raise ValueError(f"line {number} of {path} is not an outcome") from None
            if status not in wanted or problem is not None:
                continue
            try:
                decoded = value if decode is None else decode(value)
            except ValueError as error:
                raise ValueError(f"line {number} of {path}: {error}") from None
            yield decoded


def _line(outcome: Outcome[InputT, Any], encode: Callable[[InputT], object]) -> bytes:
    error = outcome.error
    answered = error if isinstance(error, ConnectorError) else None  # the `status` of another one may be anything
    request_id = getattr(answered, "request_id", None)
    line = {
        "index": outcome.index,
        "status": outcome.status.value,
        "error": None if error is None else type(error).__name__,
        "http_status": getattr(answered, "status", None),
        # A header's bytes that are not UTF-8 are lone surrogates, which JSON cannot say.
        "request_id": request_id and request_id.encode(errors="backslashreplace").decode(),
        "appointment_id": None if error is None else appointment_id_of(error),
        "attempts": outcome.attempts,
        "elapsed": outcome.elapsed,
        "input": encode(outcome.input),
    }
    try:
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        line |= {"input": None, "problem": _NOT_SAID}
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
