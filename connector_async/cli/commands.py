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
        "Sync a file of three tenants with a local server of the API: through a crash, and in both directions.\n\n"
        "It prints the report of each run, and compares the server with the file. It exits with 1 when they differ."
    ),
    "local:sandbox": (
        "Serve a local server of the API until it is interrupted; its base URL is printed once it listens.\n\n"
        'Every tenant id exists. The client id is "sandbox", its secret "sandbox-secret".'
    ),
}

LISTED_BELOW: Final = {
    "sync": {
        "run": (
            "sync:run",
            "Bring the appointments of all tenants into step with a file, and account for every record of it.\n\n"
            "It may be ended and begun again at any time: what has been done is not done twice.",
        ),
        "plan": (
            "sync:plan",
            "Print what a run would do, an operation on each line, and send nothing but what looks at the server.",
        ),
        "apply": ("sync:apply", "Do what a saved plan says, unless the state has changed since."),
        "check": ("sync:check", "Look at every calendar on both sides, print what differs, and change nothing."),
        "pull": (
            "sync_pull:pull",
            "Write all that the server has into a file, which is replaced when every calendar could be looked at.\n\n"
            "The state must be one of pulls alone.",
        ),
        "retry-failed": ("sync:retry_failed", "Try again what a run has given up, and nothing else."),
        "status": (
            "sync_state:status",
            "Print what the state holds, and its latest runs; also while a run works with it.",
        ),
        "explain": (
            "sync_state:explain",
            "Print all that is known of a key: what was in step, what is open, and why it was given up.",
        ),
    },
    "state": {
        "backup": ("sync_state:backup", "Copy the state, as it is at one moment, also while a run works with it."),
        "export": ("sync_state:export", "Write the state as JSON Lines, for other programs and later versions."),
        "import": ("sync_state:import_", "Make a state of what was exported; one that is there must be empty."),
    },
}
"""The same for the commands that stand below another word."""

for _path, _help in LISTED.items():
    app.command(f"{_PACKAGE}.{_path}", name=_path.partition(":")[2], help=_help)

_auth = App(name="auth", help="Look after the credentials.")
_auth.command(f"{_PACKAGE}.auth:check", name="check")
_config = App(name="config", help="Look after the settings.")
_config.command(f"{_PACKAGE}.config:show", name="show")
for _name, _title in (("sync", "Keep the appointments of many tenants in step."), ("state", "Copy a sync's state.")):
    _below = App(name=_name, help=_title)
    for _word, (_path, _help) in LISTED_BELOW[_name].items():
        _below.command(f"{_PACKAGE}.{_path}", name=_word, help=_help)
    app.command(_below)
app.command(_auth)
app.command(_config)
