"""The names of the commands; what each does stands in a module of its own, which is loaded when it is called."""

from typing import Final

from cyclopts import App

from connector_async.protocol import VERSION

app = App(
    name="connector-async",
    version=VERSION,
    help="A client for the Connector Public API, and a local server of it.",
    help_format="plaintext",  # markdown takes 27 ms to load
    suppress_keyboard_interrupt=False,
)
app.register_install_completion_command()

_PACKAGE: Final = "connector_async.cli"
# What the commands' docstrings say, said here so that the list of commands loads none of them; a test compares.
LISTED: Final = {
    "appointments:get": "Print appointments by their ids.",
    "appointments:preview": "Print the appointments that overlap a time, all of them without one.",
    "appointments:create": "Create an appointment, or many from a file, and print what the server made of each.",
    "appointments:update": "Change the given fields of an appointment, and print it as the server then has it.",
    "appointments:delete": "Delete appointments by their ids.",
    "local:demo": (
        "Create, preview, get, update and delete appointments of two tenants against a local server of the API.\n\n"
        "The table compares what the client did with what the server logged. It exits with 1 when they differ."
    ),
    "local:sandbox": (
        "Serve a local server of the API until it is interrupted; its base URL is printed once it listens.\n\n"
        'Every tenant id exists. The client id is "sandbox", its secret "sandbox-secret".'
    ),
}

for _path, _help in LISTED.items():
    app.command(f"{_PACKAGE}.{_path}", name=_path.partition(":")[2], help=_help)

_auth = App(name="auth", help="Look after the credentials.")
_auth.command(f"{_PACKAGE}.account:check", name="check")
_config = App(name="config", help="Look after the settings.")
_config.command(f"{_PACKAGE}.configuration:show", name="show")
app.command(_auth)
app.command(_config)
