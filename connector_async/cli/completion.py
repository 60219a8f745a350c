"""The command `--install-completion`: writes the script with which a shell completes commands and options."""

from typing import Final

from cyclopts.completion.install import create_install_completion_command

from .commands import app

install: Final = create_install_completion_command(app.install_completion, add_to_startup=True)
