"""Between models and the bytes of bodies, by cattrs.

Strict where a mistake would be silent (a naive date-time, a `null` or a number taken for a text), lenient where the
server may grow: unknown fields are kept. It knows nothing of HTTP.
"""

from .converters import RoundedIntegerError
from .wire_format import ValidItems, WireFormat

__all__ = ["RoundedIntegerError", "ValidItems", "WireFormat"]
