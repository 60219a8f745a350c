"""The version of the package. The build reads it here, and the command prints it without loading the client."""

from typing import Final

VERSION: Final = "0.1.0"
