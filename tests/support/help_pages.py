"""The pages of the help as the parser makes them. `python -m tests.support.help_pages` stores them in the package."""

import json
from io import StringIO
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from cyclopts.help import HelpPanel
from cyclopts.help.specs import CommandNameRenderer, DescriptionRenderer, NameRenderer
from rich.console import Console, ConsoleOptions

from connector_async.cli import help_pages
from connector_async.cli.command_list import COMMANDS, GROUPS
from connector_async.cli.commands import app
from connector_async.cli.help_pages import HelpPage

FILE: Final = Path(help_pages.__file__).with_suffix(".json")


def parser_pages() -> dict[str, HelpPage]:
    """Return the page of each command, of each group, and of the root, which is the empty string."""
    return {name: _page(name) for name in ("", *GROUPS, *COMMANDS)}


def _page(name: str) -> HelpPage:
    recorder = _Recorder()
    command = app
    for word in name.split():
        command = command[word]
    with patch.object(app, "help_formatter", recorder):
        app.help_print(name.split(), console=Console(file=StringIO()))
    recorder.page["epilogue"] = command.help_epilogue or ""
    return recorder.page


class _Recorder:
    """A formatter of the parser that keeps a page instead of printing it."""

    def __init__(self) -> None:
        self.page: HelpPage = {"usage": "", "description": "", "panels": [], "epilogue": ""}

    def render_usage(self, _console: Console, _options: ConsoleOptions, usage: object) -> None:
        self.page["usage"] = f"Usage: {_plain(usage)}"

    def render_description(self, _console: Console, _options: ConsoleOptions, description: object) -> None:
        self.page["description"] = _plain(description)

    def __call__(self, _console: Console, _options: ConsoleOptions, panel: HelpPanel) -> None:
        names: Any = CommandNameRenderer() if panel.format == "command" else NameRenderer()
        describe = DescriptionRenderer()
        entries = {_plain(names(entry)): _plain(describe(entry)) for entry in panel.entries}
        if entries:
            self.page["panels"].append(
                {"title": _plain(panel.title), "description": _plain(panel.description), "entries": entries}
            )


def _plain(shown: Any) -> str:
    """Return what is printed on a terminal of any width without styles."""
    console = Console(file=StringIO(), width=100_000, color_system=None)
    with console.capture() as captured:
        console.print(shown)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().split("\n"))


if __name__ == "__main__":
    FILE.write_text(json.dumps(parser_pages(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
