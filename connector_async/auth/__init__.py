"""Bearer tokens and the providers that get them.

A provider sends its requests through a callable of the session. It knows no HTTP library and no appointments.
`SharedClientCredentials` is imported at its first use, because it needs libraries from an extra.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .client_credentials import ClientCredentials
from .token_from_callable import TokenFromCallable
from .token_from_command import TokenFromCommand
from .token_from_file import TokenFromFile
from .tokens import CachingTokenProvider, Secret, StaticToken, Token, TokenProvider, TokenSend

if TYPE_CHECKING:
    from .shared_client_credentials import SharedClientCredentials

__all__ = [
    "CachingTokenProvider",
    "ClientCredentials",
    "Secret",
    "SharedClientCredentials",
    "StaticToken",
    "Token",
    "TokenFromCallable",
    "TokenFromCommand",
    "TokenFromFile",
    "TokenProvider",
    "TokenSend",
]


def __getattr__(name: str) -> Any:
    if name != "SharedClientCredentials":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.shared_client_credentials"), name)
