"""Search an exception for values as an error reporter would: its causes, and the locals of its traceback's frames."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from types import FrameType
from urllib.parse import quote

import attrs

_TESTS = str(Path(__file__).parents[1])
_DOCUMENTED = {"problem"}
"""Attributes of errors that hold data of the server on purpose."""


def exposed(error: BaseException, *hidden: str) -> list[str]:
    """Return the places of an exception that show one of `hidden`, with its causes, its parts and the locals of frames.

    Frames of the tests are left out: their locals are the application's.
    """
    forms = {form for value in hidden for form in _forms(value)}
    places = [
        f"{place}: {shown[:200]}" for place, shown in _shown_strings(error) if any(form in shown for form in forms)
    ]
    return sorted(set(places))


def frames(error: BaseException) -> list[str]:
    """Return the names of the functions in the traceback, outermost first. Those of the tests are left out."""
    return [frame.f_code.co_qualname for frame in _frames(error)]


def _forms(value: str) -> set[str]:
    """Return the forms in which a string can appear: plain, in JSON, in a URL, and each of these in a `repr`."""
    plain = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], quote(value)}
    return plain | {repr(form)[1:-1] for form in plain} | {repr(form.encode())[2:-1] for form in plain}


def _shown_strings(error: BaseException) -> Iterator[tuple[str, str]]:
    pending, seen = [error], set[int]()
    while pending:
        link = pending.pop()
        if id(link) in seen:
            continue
        seen.add(id(link))
        attributes = {name: value for name, value in vars(link).items() if name not in _DOCUMENTED}
        for shown in (str(link), *_reprs([link, link.args, attributes], 3)):
            yield type(link).__name__, shown
        for frame in _frames(link):
            for name, value in frame.f_locals.items():
                for shown in _reprs(value, 2):
                    yield f"{type(link).__name__} in {frame.f_code.co_qualname}, local {name}", shown
                if isinstance(value, BaseException):
                    pending.append(value)
        pending += [other for other in (link.__cause__, link.__context__) if other is not None]
        if isinstance(link, BaseExceptionGroup):
            pending += link.exceptions


def _frames(error: BaseException) -> Iterator[FrameType]:
    traceback = error.__traceback__
    while traceback is not None:
        if not traceback.tb_frame.f_code.co_filename.startswith(_TESTS):
            yield traceback.tb_frame
        traceback = traceback.tb_next


def _reprs(value: object, levels: int) -> Iterator[str]:
    """Yield the `repr` of a value and of its parts."""
    with contextlib.suppress(Exception):  # a half-built object may have none
        yield repr(value)
    inner: list[object] = []
    if isinstance(value, Mapping):
        inner = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | AbstractSet):
        inner = [*value]
    elif attrs.has(kind := type(value)):
        inner = [getattr(value, field.name) for field in attrs.fields(kind) if field.repr]
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        inner = [getattr(value, field.name) for field in dataclasses.fields(value) if field.repr]
    if levels:
        for item in inner:
            yield from _reprs(item, levels - 1)
