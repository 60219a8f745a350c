"""Between models and the bytes of bodies, by cattrs.

Strict where a mistake would be silent (a naive date-time, a `null` or a number taken for a string), lenient where the
server may grow: unknown fields are kept. It knows nothing of HTTP.

What the API's documents say, and which points are open, is in `docs/api-contract.md`: "contract, open point 9" in this
package means that page.
"""

from .problems import MAX_PROBLEMS
from .wire_format import WireFormat, exactly_if_needed

__all__ = ["MAX_PROBLEMS", "WireFormat", "exactly_if_needed"]
