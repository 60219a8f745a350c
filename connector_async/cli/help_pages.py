"""Prints the help as the parser does. The parser itself needs the modules of the commands, and these need the client.

The pages are in `help_pages.json`, without the layout. `python -m tests.support.help_pages` stores them.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from math import ceil
from textwrap import wrap
from typing import Final, TypedDict

from connector_async._version import VERSION

from .command_list import GROUPS

_STYLING: Final = frozenset({"FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"})
"""Variables that change what rich prints."""
_LEAST_WIDTH: Final = 72
"""In a narrower terminal, long words are broken as well."""
_NOTES: Final = r"\[(?:choices|default):\s[^]]*\]|\[required\]"
"""What stands behind the description of an option."""

_Paint = Callable[[str, str], str]
"""Returns a text in a style: the parameters of the escape sequence SGR, such as `1;31`."""


class HelpPanel(TypedDict):
    """A box with commands, arguments or options."""

    title: str
    description: str
    entries: dict[str, str]
    """Names to description, such as `--output CHOICE` and `The format. [choices: table, json]`."""


class HelpPage(TypedDict):
    """The help of a command, of a group or of the root."""

    usage: str
    description: str
    panels: list[HelpPanel]
    epilogue: str


def output_without_parser(arguments: Sequence[str]) -> str | None:
    """Return what the arguments of the command line print; `None`: the parser has to print it."""
    if arguments == ["--version"]:
        return f"{VERSION}\n"
    name, width = _page_name(arguments), _width()
    if name is None or width < _LEAST_WIDTH or not _is_plain():
        return None
    import json  # noqa: PLC0415 - commands start without it

    folder = os.path.dirname(__file__)  # noqa: PTH120 - pathlib is slow to import
    with open(f"{folder}/help_pages.json", encoding="utf-8") as file:  # noqa: PTH123
        pages: dict[str, HelpPage] = json.load(file)
    return "".join(f"{line}\n" for line in _lines(pages[name], width)) if name in pages else None


def _page_name(arguments: Sequence[str]) -> str | None:
    """Return the command or group to print the help of, such as `sync run`; empty: the root; `None`: none."""
    words = list(arguments)
    if words[-1:] in (["-h"], ["--help"]):
        words.pop()
    elif words[:1] == ["help"]:
        words.pop(0)
    elif words and (len(words) > 1 or words[0] not in GROUPS):
        return None
    name = " ".join(words)
    return name if name.split() == words else None


def _is_plain() -> bool:
    """Return whether the standard output has the box characters, and nothing sets its styles but itself."""
    encoding = (sys.stdout.encoding or "utf-8").lower()
    is_dumb = os.environ.get("TERM", "").lower() in {"dumb", "unknown"}
    return encoding.startswith("utf") and os.name == "posix" and not is_dumb and _STYLING.isdisjoint(os.environ)


def _width() -> int:
    if columns := os.environ.get("COLUMNS"):
        return int(columns)
    for descriptor in range(3):  # also where the output is piped into a pager
        try:
            return os.get_terminal_size(descriptor).columns or 80
        except OSError:
            continue
    return 80


def _lines(page: HelpPage, width: int) -> Iterator[str]:
    paint = _styled if sys.stdout.isatty() else _unstyled
    yield paint(page["usage"], "1")
    yield ""
    yield from _wrap(page["description"], width)
    yield ""
    for panel in page["panels"]:
        yield from _panel(panel, width, paint)
    if page["epilogue"]:
        yield ""
        yield from _wrap(page["epilogue"], width)


def _styled(text: str, style: str) -> str:
    return f"\x1b[{style}m{text}\x1b[0m" if text.strip() else text


def _unstyled(text: str, _: str) -> str:
    return text


def _wrap(text: str, width: int) -> list[str]:
    return [part for line in text.split("\n") for part in wrap(line, width, break_on_hyphens=False) or [""]]


def _panel(panel: HelpPanel, width: int, paint: _Paint) -> Iterator[str]:
    """Draw a box with the names and the descriptions. If an entry is required, the names have marks before them."""
    most = ceil(width * 0.35)
    names = [wrap(name, most, subsequent_indent="  ", break_on_hyphens=False) for name in panel["entries"]]
    names_width = max(len(line) for lines in names for line in lines)
    marks = ["*" if text.endswith("[required]") else "" for text in panel["entries"].values()]
    marks_width = len("*  ") if any(marks) else 0
    text_width = width - marks_width - names_width - len("│   │") - 1
    yield f"╭─ {panel['title']} {'─' * (width - len(panel['title']) - 5)}╮"
    if panel["description"]:
        yield from (f"│ {line:{width - 4}} │" for line in [*_wrap(panel["description"], width - 4), ""])
    for mark, labels, text in zip(marks, names, panel["entries"].values(), strict=True):
        lines = _paint_notes([line.ljust(text_width) for line in _wrap(text, text_width)], paint)
        for start, label, line in zip_longest([mark], labels, lines, fillvalue=""):
            shown_mark, shown_label = paint(start.ljust(marks_width), "1;31"), paint(label.ljust(names_width), "36")
            yield f"│ {shown_mark}{shown_label}  {line or ' ' * text_width} │"
    yield f"╰{'─' * (width - 2)}╯"


def _paint_notes(lines: Sequence[str], paint: _Paint) -> list[str]:
    """Return the lines of a description, and style the notes in it."""

    def painted(note: re.Match[str]) -> str:
        style = "31" if note[0] == "[required]" else _gray()
        return "\n".join(paint(line, style) for line in note[0].split("\n"))

    return re.sub(_NOTES, painted, "\n".join(lines)).split("\n")


def _gray() -> str:
    terminal = f"{os.environ.get('COLORTERM', '')} {os.environ.get('TERM', '')}".lower()
    return "38;5;246" if re.search("truecolor|24bit|256color|kitty", terminal) else "37"
