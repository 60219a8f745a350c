"""The topics of `connector-async help`: what holds for all commands. The manual page has them, too."""

from textwrap import fill
from typing import Final

from .exit_codes import ExitCode

_SETTINGS: Final = """\
The first of these that has a setting wins:

  1. the option
  2. the profile, if --profile or CONNECTOR_PROFILE names one
  3. CONNECTOR_... in the environment
  4. connector-async.toml in this folder or the nearest parent that has one
  5. ~/.config/connector-async/config.toml

A profile is a table [profiles.NAME] of a settings file: a server with its
tenant and its credentials. "connector-async configure --profile NAME" makes
one. "connector-async config show" prints each setting and where it is set,
"config path" the files, and "config set NAME VALUE" changes one."""

_SECRETS: Final = """\
Secrets are never options, and a settings file never contains them. They come
from CONNECTOR_CLIENT_SECRET or CONNECTOR_TOKEN, or from a setting that names
their place:

  client_secret_file, token_file        a file; its first line is used
  client_secret_command, token_command  a program; the first line of its output
  client_secret_keyring, token_keyring  a user name of the service
                                        connector-async in the keyring

"connector-async auth login" asks for the secret, tests it, and stores it in
the keyring, if there is one, or in a file of mode 0600.

The password of a state in PostgreSQL comes from CONNECTOR_STATE, from
PGPASSWORD, or from ~/.pgpass or the file that PGPASSFILE names. All users of a
machine can see the options of a command: a password in --state is rejected."""

_OUTPUT: Final = """\
Records go to the standard output, everything else to the standard error.
--output is table, json (an array), jsonl (an object a line), csv, tsv or
yaml. The default is table on a terminal, and tsv elsewhere. --columns selects
columns, --limit the number of records, and --query the result of a JMESPath
expression on the array of all records.

Characters that are not printable are escaped. With JSON, an error is an
object on the standard error, with error, message, exit_code, and what applies
of status, request_id, attempts, sent, appointment_id and problem."""

_TIMES: Final = """\
A time is one of

  2024-01-15T10:00Z, 2024-01-15T10:00:00+01:00
  2024-01-15 10:00   with --time-zone or --assume-zone
  2024-01-15         its midnight, likewise
  now, today, tomorrow, yesterday
  +7d, -12h30m       from now

Days without a time zone are those of the machine. --time-zone and
--assume-zone take IANA and Windows names. A time that the clocks skip there
is rejected; one that occurs twice is the first, unless an offset is given.
Files of create --from have the first three."""

_MESSAGES: Final = """\
A long wait is printed after a second, and so is the progress of a command
with many calls. -q prints neither. -v prints retries, penalties and tokens,
-vv each request. --debug-http prints the headers and the status of each
request, without the token, other secrets and bodies."""

_FILES: Final = """\
  connector-async.toml                   the settings of a project
  ~/.config/connector-async/config.toml  the settings of the user; in
                                         $XDG_CONFIG_HOME if that is set
  ~/.config/connector-async/secrets/     client secrets, mode 0600
  SOURCE.connector-sync.db               the state of a sync
  MIRROR.connector-pull.db               the state of a pull"""

TOPICS: Final = {
    "settings": _SETTINGS,
    "secrets": _SECRETS,
    "output": _OUTPUT,
    "times": _TIMES,
    "messages": _MESSAGES,
    "files": _FILES,
    "exit-codes": "\n".join(
        fill(code.meaning, 78, initial_indent=f"  {code.value:>3}  ", subsequent_indent=" " * 7) for code in ExitCode
    ),
}
"""The text of each topic, less than 80 columns wide."""

ROOT_EPILOGUE: Final = "\n".join(
    [
        f"connector-async help TOPIC: {', '.join(TOPICS)}",
        "",
        "Exit codes:",
        TOPICS["exit-codes"],
        "",
        "Files:",
        TOPICS["files"],
    ]
)
"""What stands below the commands in the help of the root."""
