"""A list of appointments in pages, and the walks that start at each page."""

from connector_async import Appointment, AsyncPager
from tests.support.services import FIELDS

SIZE = 10
COUNT = 34
ITEMS = [FIELDS | {"appointmentId": str(number)} for number in range(COUNT)]
IDS = [str(number) for number in range(COUNT)]


def items_from(offset: int, size: int = SIZE) -> list[dict[str, str]]:
    return ITEMS[offset : offset + size]


async def walks_from_each_page(pager: AsyncPager[Appointment]) -> list[list[str]]:
    """Return one list of ids for each page: those up to the page, and those of a new walk from its token."""
    walks: list[list[str]] = []
    seen: list[str] = []
    async for page in pager.pages():
        seen += [item.appointment_id for item in page.items]
        token = page.continuation_token
        rest = [] if token is None else [page async for page in pager.pages(continuation_token=token)]
        walks.append(seen + [item.appointment_id for page in rest for item in page.items])
    return walks
