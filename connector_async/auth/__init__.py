"""Where bearer tokens come from.

A provider sends through the callable that the session hands in; it knows no HTTP library and no appointments.
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
