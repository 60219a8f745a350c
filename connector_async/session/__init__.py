"""The one way a request takes: token, send, one replay after a 401.

It knows no fields of appointments and does not decide when to send again.
"""

from .connector_session import ConnectorSession, correlation_id

__all__ = ["ConnectorSession", "correlation_id"]
