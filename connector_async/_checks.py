"""The rules for arguments that several rooms share. It imports nothing of the package."""

import inspect


def check_plain_callable(name: str, value: object) -> None:
    """Raise if what `value` returns would have to be awaited: it is called as a plain function.

    Raises:
        TypeError: `value` is a coroutine function or an async generator function, or an object that is called as one.
    """
    if _is_async(value) or _is_async(getattr(value, "__call__", None)):  # noqa: B004
        raise TypeError(f"{name} must be a plain function, not a coroutine function")


def check_plain_methods(name: str, value: object, *methods: str) -> None:
    """Raise when one of the methods of `value` would have to be awaited; a method that it lacks is none.

    Raises:
        TypeError: One is a coroutine function or an async generator function; the message names it.
    """
    for method in methods:
        check_plain_callable(f"{name}.{method}", getattr(value, method, None))


def _is_async(value: object) -> bool:
    return inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value)
