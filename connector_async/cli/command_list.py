"""The list of all commands, with their help. It imports nothing, so that the help starts fast."""

from typing import Final

DESCRIPTION: Final = "A client for the Connector Public API, and a local server of it."
INSTALL_COMPLETION: Final = "Install the completion of a shell for this command."

GROUPS: Final = {
    "auth": "Store, show and check the credentials.",
    "config": "Show and change the settings.",
    "sync": "Keep the appointments of many tenants in sync with a file.",
    "source": "Check the file with the records.",
    "state": "Check, back up, export or import the state of a sync.",
}
"""The groups of commands."""

COMMANDS: Final = {
    "get": ("appointments:get", "Print appointments by id."),
    "preview": (
        "appointments:preview",
        "Print the appointments of a time range; without a range, all appointments.\n\n"
        "With the reference format, --start and --end are required.",
    ),
    "create": (
        "appointments:create",
        "Create an appointment, or one for each record of a file, and print what the server returned.",
    ),
    "update": (
        "appointments:update",
        "Change the given fields of an appointment, and print what the server returned.",
    ),
    "delete": ("appointments:delete", "Delete appointments by id."),
    "help": (
        "help:help_",
        "Print a topic that holds for all commands, the help of a command, or the manual page.\n\n"
        "Without a topic, it prints the help of the root.",
    ),
    "demo": (
        "demo:demo",
        "Sync a file of three tenants with a local server of the API, through a crash and in two-way mode.\n\n"
        "It prints the report of each run, and compares the server with the file at the end. If they differ, the exit "
        "code is 1.",
    ),
    "sandbox": (
        "sandbox:sandbox",
        "Run a local server of the API until it is interrupted. It prints its base URL when it listens.\n\n"
        'Every tenant id exists. The client id is "sandbox", its secret "sandbox-secret".',
    ),
    "api": (
        "api:api",
        "Send a request below the tenant with the token, the rate limit and the retries of the other commands.\n\n"
        "It prints the body of a 2xx response as it came. A method that is not idempotent, such as POST, is sent once.",
    ),
    "configure": (
        "configure:configure",
        "Ask for the server, the tenant and the credentials, test them, and write the user's settings file.\n\n"
        "With --profile, they are written to that profile. The secret goes to the keyring or to a file of mode 0600.",
    ),
    "auth login": (
        "configure:login",
        "Ask for the credentials of the client, test them, and store them in the user's settings.\n\n"
        "The server and the tenant are those of the settings. The secret goes to the keyring or to a file of mode "
        "0600.",
    ),
    "auth status": (
        "auth:status",
        "Print which credentials would be used, and where they are. It reads no secret and sends nothing.",
    ),
    "auth check": (
        "auth:check",
        "Fetch a token, and print its tenant and when it expires.\n\n"
        "If the settings hold a token, it is not checked: nothing is sent.",
    ),
    "config show": ("config:show", "Print each setting with its value and origin; secrets are shown as ***."),
    "config path": ("config:path", "Print the paths of the settings files, and whether they exist."),
    "config set": (
        "config:set_",
        "Set a setting in the user's file, or in that of the project. The rest of the file stays as it is.",
    ),
    "sync run": (
        "sync:run",
        "Bring the appointments of all tenants in sync with a file, and account for every record.\n\n"
        "It may be stopped at any time. The next run resumes, and sends nothing twice.",
    ),
    "sync plan": (
        "sync:plan",
        "Print what a run would do, one operation a line (a dry run). It writes nothing to the server.",
    ),
    "sync apply": ("sync:apply", "Run a saved plan, unless the state has changed since."),
    "sync check": (
        "sync:check",
        "Compare every calendar with the source, and print what differs. It writes nothing to the server.",
    ),
    "sync pull": (
        "sync:pull",
        "Mirror the appointments of the server into a file.\n\n"
        "The file is replaced once every calendar was read. The state must be used for pulls only.",
    ),
    "sync retry-failed": ("sync:retry_failed", "Retry the records that a run gave up, and no others."),
    "sync enqueue": (
        "sync_workers:enqueue",
        "Start a run for the workers of sync work: read a file into the state, check the guard, and end.\n\n"
        "It sends nothing. The state is a PostgreSQL database. Another file for the same tenants supersedes what is "
        "left.",
    ),
    "sync work": (
        "sync_workers:work",
        "Work on the runs that sync enqueue has started, beside any number of other workers on any machine.\n\n"
        "The workers keep the rate limit of each tenant together. SIGTERM or SIGINT ends the operations in flight, and "
        "leaves the rest to the others. The exit code is 3 if a tenant could not be synced because of a permanent "
        "error, which ends its part of the run; sync explain shows the reason.",
    ),
    "sync status": (
        "sync_status:status",
        "Print what the state holds and its latest runs, even while a run works with it.\n\n"
        "With --watch, the exit code is 3 if a tenant of the run could not be synced because of a permanent error.",
    ),
    "sync report": (
        "html_report:report",
        "Write what a run did as one HTML page: requests over time, outcomes, dead letters with their reasons.\n\n"
        "The page has no titles or descriptions, and needs no network.",
    ),
    "sync explain": (
        "sync:explain",
        "Print everything that the state knows about a key: what is in sync, what is pending, and why it was given up.",
    ),
    "source check": (
        "source:check",
        "Read a file as a sync would, and print what is in it and which records cannot be read. It sends nothing.",
    ),
    "state check": ("state:check", "Look for damage in the state, and print it. It changes nothing."),
    "state backup": ("state:backup", "Copy the state as it is at one moment, even while a run works with it."),
    "state export": ("state:export", "Write the state as JSON Lines, for other programs and later versions."),
    "state import": ("state:import_", "Create a state from an export. If the state exists, it must be empty."),
}
"""The module and function of each command, and its help: the docstring of the function, which is not loaded here."""
