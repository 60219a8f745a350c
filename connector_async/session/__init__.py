"""The one way a request takes: its turn under the rate limit, its token, the sending, one replay after a 401.

It knows no fields of appointments and does not decide when to try again.
"""

from .connector_session import ConnectorSession
from .request_sender import correlation_id
from .tenant import Traffic
from .token import token_of

__all__ = ["ConnectorSession", "Traffic", "correlation_id", "token_of"]
