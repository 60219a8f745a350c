"""Writes the manual page in roff (man(7)), from the commands, their options, their examples and the topics."""

from collections.abc import Iterator
from typing import Final

from cyclopts import App

from connector_async._version import VERSION

from .command_list import COMMANDS
from .examples import EXAMPLES
from .topics import TOPICS

_HEADINGS: Final = {"exit-codes": "EXIT STATUS"}


def manual_page(app: App) -> str:
    """Return the manual page of the command."""
    lines = [
        f'.TH CONNECTOR\\-ASYNC 1 "" "connector\\-async {_escaped(VERSION)}" "User Commands"',
        ".SH NAME",
        f"connector\\-async \\- {_escaped('a client for the Connector Public API, and a local server of it')}",
        ".SH SYNOPSIS",
        ".B connector\\-async",
        "COMMAND [ARGUMENTS] [OPTIONS]",
        ".SH COMMANDS",
    ]
    for name, (_, description) in COMMANDS.items():
        lines += _command(app, name, description)
    for name, text in TOPICS.items():
        lines += [f".SH {_HEADINGS.get(name, name.upper())}", ".nf", *map(_escaped, text.splitlines()), ".fi"]
    return "\n".join(lines) + "\n"


def _command(app: App, name: str, description: str) -> Iterator[str]:
    yield f".SS connector\\-async {_escaped(name)}"
    for number, paragraph in enumerate(description.split("\n\n")):
        if number:
            yield ".PP"
        yield _escaped(paragraph)
    command = app
    for word in name.split():
        command = command[word]
    for argument in command.assemble_argument_collection():
        if argument.show and argument.parameter.help:
            yield ".TP"
            yield f".B {_escaped(', '.join(argument.names) or argument.name)}"
            yield _escaped(" ".join(argument.parameter.help.split()))
    yield ".PP"
    yield "Examples:"
    yield ".nf"
    yield from (_escaped(f"  {example}") for example in EXAMPLES[name])
    yield ".fi"


def _escaped(text: str) -> str:
    r"""Return a line of text in which roff finds no request: `\\&` keeps a dot or an apostrophe at its start a text."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
