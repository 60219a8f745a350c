"""Tools for the tests of applications: a pytest plugin, a fake service, a sandbox in a thread, and a virtual clock.

The extra `testing` installs what the plugin's fixtures need. `FakeAppointmentService` and `VirtualClock` need nothing
but the client. pytest loads `plugin` at each start, so nothing is imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .fake_service import FakeAppointmentService, FakeCall
    from .fixture_options import FixtureOptions as FixtureOptions
    from .request_assertions import AssertRequests
    from .threaded_sandbox import ThreadedSandbox
    from .virtual_clock import VirtualClock

_HOMES: Final = {
    "AssertRequests": "request_assertions",
    "FakeAppointmentService": "fake_service",
    "FakeCall": "fake_service",
    "FixtureOptions": "fixture_options",  # for the plugin
    "ThreadedSandbox": "threaded_sandbox",
    "VirtualClock": "virtual_clock",
}

__all__ = ["AssertRequests", "FakeAppointmentService", "FakeCall", "ThreadedSandbox", "VirtualClock"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ImportError as error:
        if (error.name or "").startswith("connector_async"):
            raise
        message = f"{__name__}.{name} needs {error.name}: pip install 'connector-async[testing]'"
        raise ImportError(message, name=error.name) from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
