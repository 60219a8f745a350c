"""The command `help`: prints a topic, or the manual page."""

import sys
from typing import Annotated

from cyclopts import Parameter

from .output import write_output
from .topics import TOPICS


def help_(
    topic: Annotated[str | None, Parameter(name="TOPIC", help=f"One of {', '.join(TOPICS)}, or a command.")] = None,
    /,
    *more: Annotated[str, Parameter(show=False)],
    man: Annotated[bool, Parameter(negative="", help="Print the manual page in roff, for man -l.")] = False,
) -> None:
    """Print a topic that holds for all commands, the help of a command, or the manual page.

    Without a topic, it prints the help of the root.
    """
    from .commands import app  # noqa: PLC0415 - it lists this command, too

    if man:
        from .manual import manual_page  # noqa: PLC0415 - it loads the modules of all commands

        write_output(manual_page(app))
    elif topic in TOPICS:
        write_output(f"{TOPICS[topic]}\n")
    else:
        words = [] if topic is None else [topic, *more]
        known = app
        for word in words:
            if word not in known:
                names = ", ".join(TOPICS)
                raise ValueError(f"TOPIC must be a command or one of {names}")
            known = known[word]
        sys.stdout.flush()
        app.help_print(words)
