"""The examples of each command, which its help and the manual page show. The tests parse each of them."""

from typing import Final

EXAMPLES: Final = {
    "get": (
        "connector-async get 9f0c5a0e-6a53-4d3c-9a3e-0c8c2b1f7d11",
        "connector-async get ID1 ID2 --output json --columns appointment_id,title",
    ),
    "preview": (
        "connector-async preview --start today --end +7d --assume-zone Europe/Berlin",
        "connector-async preview --output csv --columns start_time,title --limit 20",
    ),
    "create": (
        "connector-async create --title Visit --start-time 2024-01-15T10:00Z --end-time 2024-01-15T11:00Z",
        "connector-async create --from visits.csv --preset outlook --resume visits.resume",
    ),
    "update": (
        'connector-async update ID --title "Visit, room 4"',
        "connector-async update ID --start-time +1d --end-time +1d1h --dry-run",
    ),
    "delete": ("connector-async delete ID1 ID2 --yes", "connector-async delete - --yes < ids"),
    "api": (
        "connector-async api GET /appointment/preview",
        "connector-async api PUT /appointment --query appointmentId=ID --json - --include",
    ),
    "configure": ("connector-async configure", "connector-async configure --profile test"),
    "demo": ("connector-async demo", "connector-async demo --help"),
    "sandbox": ("connector-async sandbox", "connector-async sandbox --port 8081"),
    "auth login": ("connector-async auth login", "connector-async auth login --profile test --no-keyring"),
    "auth status": ("connector-async auth status", "connector-async auth status --output json"),
    "auth check": ("connector-async auth check", "connector-async auth check --tenant-id globex"),
    "config show": ("connector-async config show", "connector-async config show --profile test"),
    "config path": ("connector-async config path", "connector-async config path --output json"),
    "config set": (
        "connector-async config set assume_zone Europe/Berlin",
        "connector-async config set base_url https://api.example --profile test",
    ),
    "sync run": (
        "connector-async sync run visits.csv",
        "connector-async sync run visits.jsonl --dead-letters failed.jsonl --max-duration 600",
    ),
    "sync plan": (
        "connector-async sync plan visits.csv",
        "connector-async sync plan visits.csv --out visits.plan --exit-code",
    ),
    "sync apply": ("connector-async sync apply visits.plan", "connector-async sync apply visits.plan --output json"),
    "sync check": ("connector-async sync check visits.csv", "connector-async sync check visits.csv --exit-code"),
    "sync pull": (
        "connector-async sync pull --to mirror.jsonl",
        "connector-async sync pull --to mirror.ics --calendars calendars.csv",
    ),
    "sync retry-failed": (
        "connector-async sync retry-failed RUN visits.csv",
        "connector-async sync retry-failed RUN visits.csv --dead-letters failed.jsonl",
    ),
    "sync enqueue": (
        "connector-async sync enqueue visits.csv --state postgresql://user@host/database",
        "connector-async sync enqueue visits.csv --embedded-postgres --max-delete 5%",
    ),
    "sync work": (
        "connector-async sync work --state postgresql://user@host/database",
        "connector-async sync work visits.csv --cron '0 * * * *' --embedded-postgres",
    ),
    "sync status": ("connector-async sync status", "connector-async sync status --state visits.connector-sync.db"),
    "sync report": (
        "connector-async sync report --html run.html",
        "connector-async sync report RUN --html run.html --state visits.connector-sync.db",
    ),
    "sync explain": ("connector-async sync explain KEY", "connector-async sync explain KEY --archived"),
    "source check": (
        "connector-async source check visits.csv",
        "connector-async source check - --source-format ics --assume-zone Europe/Berlin",
    ),
    "state check": ("connector-async state check", "connector-async state check --state visits.connector-sync.db"),
    "state backup": (
        "connector-async state backup backup.db",
        "connector-async state backup backup.db --state visits.connector-sync.db",
    ),
    "state export": (
        "connector-async state export state.jsonl",
        "connector-async state export state.jsonl --state visits.connector-sync.db",
    ),
    "state import": (
        "connector-async state import state.jsonl --state new.connector-sync.db",
        "connector-async state import state.jsonl",
    ),
    "help": ("connector-async help exit-codes", "connector-async help --man > connector-async.1"),
}
"""Two for each command, by its name."""


def examples_of(command: str) -> str:
    """Return the examples of a command as its help shows them; empty if it has none."""
    examples = EXAMPLES.get(command, ())
    return "\n".join(["Examples:", *(f"  {example}" for example in examples)]) if examples else ""
