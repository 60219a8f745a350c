"""The file of the outcomes that are not done: it is replaced atomically, and its inputs can be read again."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, overload

import attrs
import orjson

from connector_async._checks import check_callable, check_plain_callable, check_sequence
from connector_async._files import atomic_replace
from connector_async.exceptions import ConnectorError
from connector_async.models import UNSET, JsonModel

from .outcome import Outcome, Status, appointment_id_of

InputT = TypeVar("InputT")

TO_REPEAT: Final = (Status.FAILED, Status.NOT_STARTED)
"""The statuses of inputs that can be repeated. An `UNKNOWN` call might happen twice."""

_NOT_JSON: Final = "JSON cannot express the input"


def as_json(value: object) -> object:
    """Return a model, or an object of another attrs class, as an object of its set fields, and others unchanged."""
    if isinstance(value, JsonModel):
        return value.to_dict()
    if not attrs.has(type(value)):
        return value
    fields = attrs.asdict(value, recurse=False)  # type: ignore[arg-type]
    set_fields = {name: field for name, field in fields.items() if field is not UNSET}
    return {name: dict(field) if isinstance(field, Mapping) else field for name, field in set_fields.items()}


def write_outcomes(
    path: Path | str, outcomes: Iterable[Outcome[InputT, Any]], encode: Callable[[InputT], object]
) -> None:
    """Replace a file with the outcomes; see `BulkReport.write_jsonl`."""
    with atomic_replace(Path(path)) as temporary, temporary.open("wb") as file:
        file.writelines(_line(outcome, encode) for outcome in outcomes)


@overload
def read_inputs(path: Path | str, *statuses: Status) -> Iterator[Any]: ...


@overload
def read_inputs(path: Path | str, *statuses: Status, decode: Callable[[Any], InputT]) -> Iterator[InputT]: ...


def read_inputs(path: Path | str, *statuses: Status, decode: Callable[[Any], Any] | None = None) -> Iterator[Any]:
    """Return an iterator over the inputs in a file that `BulkReport.write_jsonl` wrote; see `BulkReport.inputs`.

    A line with a `problem` is skipped: JSON could not express its input.

    Args:
        path: The file.
        statuses: The outcomes to return the inputs of. The default is `FAILED` and `NOT_STARTED`.
        decode: Turns a JSON value into an input, for example `NewAppointment.from_dict` or
            `AppointmentUpdate.from_dict`. `None`: the JSON values are returned.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If a line is not an outcome, or `decode` rejects its input. The message names the line.
        TypeError: If an argument has another type, or `decode` is a coroutine function.
    """
    check_sequence("statuses", statuses, Status)
    if decode is not None:
        check_callable("decode", decode)
        check_plain_callable("decode", decode)
    return _inputs(Path(path), statuses or TO_REPEAT, decode)


def _inputs(path: Path, statuses: tuple[Status, ...], decode: Callable[[Any], Any] | None) -> Iterator[Any]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                parsed = orjson.loads(line)
                status, value, problem = Status(parsed["status"]), parsed["input"], parsed.get("problem")
            except (ValueError, TypeError, KeyError):
                raise ValueError(f"line {number} of {path} is not an outcome") from None
            if status not in statuses or problem is not None:
                continue
            try:
                decoded = value if decode is None else decode(value)
            except ValueError as error:
                raise ValueError(f"line {number} of {path}: {error}") from None
            yield decoded


def _line(outcome: Outcome[InputT, Any], encode: Callable[[InputT], object]) -> bytes:
    error = outcome.error
    response_error = error if isinstance(error, ConnectorError) else None  # `status` of other errors can be anything
    request_id = getattr(response_error, "request_id", None)
    line = {
        "index": outcome.index,
        "status": outcome.status.value,
        "error": None if error is None else type(error).__name__,
        "http_status": getattr(response_error, "status", None),
        # Bytes of a header that are not UTF-8 are lone surrogates, which JSON cannot express.
        "request_id": request_id and request_id.encode(errors="backslashreplace").decode(),
        "appointment_id": None if error is None else appointment_id_of(error),
        "attempts": outcome.attempts,
        "elapsed": outcome.elapsed,
        "input": encode(outcome.input),
    }
    try:
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:
        line |= {"input": None, "problem": _NOT_JSON}
        return orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE)
