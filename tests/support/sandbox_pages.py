"""A user of the sandbox who walks the pages of a preview over plain HTTP."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import attrs
from yarl import URL

from connector_async.sandbox import BodyFormat, PreviewPaging, Sandbox, SeedAppointment
from tests.support.sandbox_user import ANN, MEETING, REFERENCE_MEETING, Tenant, at, signed_in

DAY = {"startDate": "2024-01-15", "endDate": "2024-01-16"}
MOST_PAGES = 100
"""A walk over more pages than this is taken to be endless."""
SEED = SeedAppointment(title="Seed", start=at(10), end=at(11), domain_id=ANN["domainId"], ad_id=ANN["adId"])


def unordered_seeds(count: int, *, starts: int = 3) -> list[SeedAppointment]:
    """Return seeds with so many different starts that repeat, created in another order than they start."""
    return [attrs.evolve(SEED, start=SEED.start - timedelta(microseconds=number % starts)) for number in range(count)]


@attrs.frozen
class Page:
    url: URL
    status: int
    body: Any
    link: str | None
    """The `Link` header."""

    @property
    def ids(self) -> list[str]:
        items = self.body if isinstance(self.body, list) else self.body.get("items", self.body.get("value"))
        return [str(item["appointmentId"]) for item in items]


@attrs.frozen
class PreviewUser:
    sandbox: Sandbox
    tenant: Tenant
    body_format: BodyFormat

    @property
    def user(self) -> dict[str, str]:
        return {} if self.body_format is BodyFormat.GUIDE else ANN

    async def get(self, query: Mapping[str, str] | URL, **headers: str) -> Page:
        """Request a page by its query or its URL."""
        path = URL(f"/{self.tenant.name}/appointment/preview")
        range_query = {**self.user, **DAY} if self.user else {}
        url = query if isinstance(query, URL) else path.with_query({**range_query, **query})
        async with self.tenant.session.get(url, headers={**self.tenant.headers, **headers}) as response:
            body = await response.json()
            return Page(response.url, response.status, body, response.headers.get("Link"))

    async def get_raw(self, host_line: str, *, version: str = "1.1") -> str:
        """Request the first page with this Host line, or an empty one, and return the raw response."""
        url = URL(self.sandbox.base_url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        head = "".join(f"{name}: {value}\r\n" for name, value in self.tenant.headers.items())
        path = f"/{self.tenant.name}/appointment/preview"
        writer.write(f"GET {path} HTTP/{version}\r\n{host_line}{head}Connection: close\r\n\r\n".encode())
        async with asyncio.timeout(5):
            response = await reader.read()
        writer.close()
        await writer.wait_closed()
        return response.decode()

    async def create(self, start: str) -> str:
        meeting = MEETING if self.body_format is BodyFormat.GUIDE else REFERENCE_MEETING
        return str(await self.tenant.create(meeting, startTime=start))

    async def delete(self, appointment_id: str) -> None:
        status, _ = await self.tenant.call("DELETE", json={**self.user, "appointmentId": appointment_id})
        assert status == 200


@asynccontextmanager
async def open_preview(
    paging: PreviewPaging, size: int, body_format: BodyFormat, *, integer_ids: bool = False
) -> AsyncIterator[PreviewUser]:
    sandbox = Sandbox(paging=paging, page_size=size, body_format=body_format, integer_ids=integer_ids)
    async with signed_in(sandbox) as tenant:
        yield PreviewUser(sandbox, tenant, body_format)


@asynccontextmanager
async def open_guide_preview(paging: PreviewPaging, size: int, count: int) -> AsyncIterator[PreviewUser]:
    """Open a preview in the guide format, with so many appointments."""
    async with open_preview(paging, size, BodyFormat.GUIDE) as user:
        await user.sandbox.seed("acme", unordered_seeds(count))
        yield user


def next_query(paging: PreviewPaging, page: Page, seen: int) -> Mapping[str, str] | URL | None:
    """Return the query or URL of the page after this one; None after the last one.

    Args:
        paging: The style of the preview.
        page: The page.
        seen: Number of appointments on this page and all before it.
    """
    assert page.status == 200, page.body
    body = page.body
    match paging:
        case PreviewPaging.ARRAY:
            return None
        case PreviewPaging.CURSOR:
            return None if body["nextCursor"] is None else {"cursor": body["nextCursor"]}
        case PreviewPaging.PAGE_NUMBERS:
            return {"page": str(body["page"] + 1)} if body["page"] < body["totalPages"] else None
        case PreviewPaging.OFFSET:
            return {"offset": str(seen)} if seen < body["total"] else None
        case PreviewPaging.LINK_HEADER:
            return None if page.link is None else page.url.join(link_target(page))
        case PreviewPaging.NEXT_LINK:
            return None if body["nextLink"] is None else URL(body["nextLink"], encoded=True)


def link_target(page: Page) -> URL:
    """Return the target of the `Link` header."""
    assert page.link is not None
    assert page.link.startswith("</")
    assert page.link.endswith('>; rel="next"')
    return URL(page.link[1:].partition(">")[0], encoded=True)


async def walk(user: PreviewUser, paging: PreviewPaging) -> AsyncIterator[list[str]]:
    """Yield the ids on each page."""
    query: Mapping[str, str] | URL | None = {}
    seen = 0
    for _ in range(MOST_PAGES):
        if query is None:
            return
        page = await user.get(query)
        seen += len(page.ids)
        query = next_query(paging, page, seen)
        yield page.ids
    raise AssertionError("the walk does not end")
