"""Bearer tokens and the providers that get them.

A provider sends its requests through a callable of the session. It knows no HTTP library and no appointments.
Most programs need one provider, so most are imported at their first use. `SharedClientCredentials` needs libraries from
an extra.
"""

from typing import TYPE_CHECKING

from connector_async._first_use import first_use

from .client_credentials import ClientCredentials
from .tokens import CachingTokenProvider, Secret, StaticToken, Token, TokenProvider, TokenSend

if TYPE_CHECKING:
    from .shared_client_credentials import SharedClientCredentials
    from .token_from_callable import TokenFromCallable
    from .token_from_command import TokenFromCommand
    from .token_from_file import TokenFromFile

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

__getattr__ = first_use(
    __name__,
    {
        "shared_client_credentials": ("SharedClientCredentials",),
        "token_from_callable": ("TokenFromCallable",),
        "token_from_command": ("TokenFromCommand",),
        "token_from_file": ("TokenFromFile",),
    },
)
