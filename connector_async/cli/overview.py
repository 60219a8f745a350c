"""The version, and the help of the root and of the groups, as cyclopts prints them.

They need no parser, and importing cyclopts and rich takes four fifths of the time of `connector-async --help`. cyclopts
prints the help of a command, which has the command's options.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from textwrap import wrap
from typing import Final

from connector_async._version import VERSION

from .command_list import COMMANDS, DESCRIPTION, GROUPS, INSTALL_COMPLETION
from .topics import ROOT_EPILOGUE

_FLAGS: Final = {
    "--help (-h)": "Display this message and exit.",
    "--install-completion": INSTALL_COMPLETION,
    "--version": "Display application version.",
}
_STYLING: Final = frozenset({"FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"})
"""Variables that change what rich prints."""
_LEAST_WIDTH: Final = 60
"""In a narrower terminal, names are broken as well."""


def overview(arguments: Sequence[str]) -> str | None:
    """Return what the arguments of the command line print; `None`: the parser has to print it."""
    if arguments == ["--version"]:
        return f"{VERSION}\n"
    group = arguments[0] if arguments and arguments[0] in GROUPS else None
    rest = arguments if group is None else arguments[1:]
    width = _width()
    if rest not in ([], ["-h"], ["--help"]) or width < _LEAST_WIDTH or not _is_plain():
        return None
    return "".join(f"{line}\n" for line in _help(group, width, on_terminal=sys.stdout.isatty()))


def _is_plain() -> bool:
    """Return whether the standard output has the box characters, and nothing sets its styles but itself."""
    encoding = (sys.stdout.encoding or "utf-8").lower()
    is_dumb = os.environ.get("TERM", "").lower() in {"dumb", "unknown"}
    return encoding.startswith("utf") and os.name == "posix" and not is_dumb and _STYLING.isdisjoint(os.environ)


def _width() -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit():
        return int(columns)
    for descriptor in range(3):  # also where the output is piped into a pager
        try:
            return os.get_terminal_size(descriptor).columns or 80
        except OSError:
            continue
    return 80


def _help(group: str | None, width: int, *, on_terminal: bool) -> Iterator[str]:
    prefix = "" if group is None else f"{group} "
    bold, cyan, end = ("\x1b[1m", "\x1b[36m", "\x1b[0m") if on_terminal else ("", "", "")
    commands = {name.removeprefix(prefix): text for name, (_, text) in COMMANDS.items() if name.startswith(prefix)}
    if group is None:
        commands = {name: text for name, text in commands.items() if " " not in name} | GROUPS
    yield f"{bold}Usage: connector-async {prefix}COMMAND{end}"
    yield ""
    yield from wrap(DESCRIPTION if group is None else GROUPS[group], width, break_on_hyphens=False)
    yield ""
    yield from _panel(dict(sorted(commands.items())) | (_FLAGS if group is None else {}), width, cyan, end)
    if group is None:
        yield ""
        for line in ROOT_EPILOGUE.split("\n"):
            yield from wrap(line, width, break_on_hyphens=False) or [""]


def _panel(entries: Mapping[str, str], width: int, style: str, end: str) -> Iterator[str]:
    """Draw a box with each name and the first paragraph of its text."""
    names_width = max(map(len, entries))
    text_width = width - names_width - len("│   │") - 1
    yield f"╭─ Commands {'─' * (width - 13)}╮"
    for name, text in entries.items():
        lines = wrap(text.partition("\n\n")[0], text_width, break_on_hyphens=False)
        for label, line in zip_longest([name], lines, fillvalue=""):
            yield f"│ {style}{label:{names_width}}{end}  {line:{text_width}} │"
    yield f"╰{'─' * (width - 2)}╯"
