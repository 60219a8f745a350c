"""The default style, which detects the common forms of paging from the response. `detection` does the work."""

from typing import Any

import attrs

from .base import PageRequest, PageResponse


@attrs.frozen
class AutoDetectPaging:
    """An array, or an object with the items and a cursor, a page number or a link to the next page.

    A `Link` header is followed beside an array and beside an object. A response that may have more pages, and does not
    say how to request them in one of these forms, is an error; name the server's style then. Reasons are `limit`,
    `offset`, `page` or `count` without a total, a status such as 206, an unknown key, and a second list.
    """

    def request(self, token: str | None) -> PageRequest:
        """Return the cursor or page number of the token, or the query of its link."""
        from .detection import request_page  # noqa: PLC0415 - see `connector_async.pagination`

        return request_page(token)

    def read(self, response: PageResponse, token: str | None) -> tuple[list[Any], str | None]:
        """Return the items and the token of the next page."""
        from .detection import read_page  # noqa: PLC0415 - see `connector_async.pagination`

        return read_page(response, token)
