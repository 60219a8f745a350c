"""Bearer tokens and the providers that get them.

A provider sends its requests through a callable of the session. It knows no HTTP library and no appointments.
"""

from .client_credentials import ClientCredentials
from .token_from_callable import TokenFromCallable
from .token_from_command import TokenFromCommand
from .token_from_file import TokenFromFile
from .tokens import CachingTokenProvider, Secret, StaticToken, Token, TokenProvider, TokenSend

__all__ = [
    "CachingTokenProvider",
    "ClientCredentials",
    "Secret",
    "StaticToken",
    "Token",
    "TokenFromCallable",
    "TokenFromCommand",
    "TokenFromFile",
    "TokenProvider",
    "TokenSend",
]
