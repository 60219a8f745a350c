"""Bearer tokens and the providers that get them.

A provider sends its requests through a callable of the session. It knows no HTTP library and no appointments.
"""

from .client_credentials import ClientCredentials
from .tokens import CachingTokenProvider, Secret, StaticToken, Token, TokenProvider, TokenSend

__all__ = [
    "CachingTokenProvider",
    "ClientCredentials",
    "Secret",
    "StaticToken",
    "Token",
    "TokenProvider",
    "TokenSend",
]
