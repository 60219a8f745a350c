"""JSON bodies to models and back, with cattrs.

Decoding is strict where a mistake would be silent (a naive date-time, a number or `null` instead of a string) and
lenient where the server may grow: unknown fields are kept. `hooks` and `converters` say exactly how strict.

The API's documents and their open points are in `docs/api-contract.md`. "Contract, open point 9" in this package means
that page. Nothing here knows of HTTP.
"""

from .problems import MAX_PROBLEMS
from .wire_format import WireFormat, exactly_if_needed

__all__ = ["MAX_PROBLEMS", "WireFormat", "exactly_if_needed"]
