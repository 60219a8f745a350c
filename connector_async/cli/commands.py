"""The parser of all commands. The module of a command is imported when the command is called, which keeps it fast."""

from enum import Enum

from cyclopts import App, Parameter

from connector_async._version import VERSION

from .command_list import COMMANDS, DESCRIPTION, GROUPS, INSTALL_COMPLETION
from .examples import examples_of
from .topics import ROOT_EPILOGUE


def shown_default(value: object) -> str | None:
    """Return a default as the help of an option shows it; `None` if there is none to show, such as that of a flag."""
    if value is None or value is False or value == ():
        return None
    if isinstance(value, Enum):
        return value.name.lower().replace("_", "-")
    return f"{value:g}" if isinstance(value, float) else str(value)


app = App(
    name="connector-async",
    version=VERSION,
    help=DESCRIPTION,
    default_parameter=Parameter(show_default=shown_default),
    help_epilogue=ROOT_EPILOGUE,
    help_format="plaintext",  # markdown takes 27 ms to import
    suppress_keyboard_interrupt=False,
)
app.command(
    "connector_async.cli.completion:install",
    name="--install-completion",
    help=INSTALL_COMPLETION,
    help_epilogue="",
)

_groups = {name: App(name=name, help=description, help_epilogue="") for name, description in GROUPS.items()}
for _group in _groups.values():
    app.command(_group)
for _name, (_path, _help) in COMMANDS.items():
    _group_name, _, _command_name = _name.rpartition(" ")
    _groups.get(_group_name, app).command(
        f"connector_async.cli.{_path}", name=_command_name, help=_help, help_epilogue=examples_of(_name)
    )
