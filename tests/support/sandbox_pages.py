"""A user of the sandbox who walks the pages of a preview, by HTTP alone."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
from yarl import URL

from connector_async.sandbox import BodyFormat, PreviewPaging, Sandbox, SeedAppointment
from tests.support.sandbox_user import ANN, MEETING, REFERENCE_MEETING, Tenant, joined

DAY = {"startDate": "2024-01-15", "endDate": "2024-01-16"}
MOST_PAGES = 100
"""Of a walk: more of them mean that it goes in circles."""
SEED = SeedAppointment(
    title="Seed",
    start=datetime(2024, 1, 15, 10, tzinfo=UTC),
    end=datetime(2024, 1, 15, 11, tzinfo=UTC),
    domain_id=ANN["domainId"],
    ad_id=ANN["adId"],
)


def seeds(count: int) -> list[SeedAppointment]:
    """Make up some whose order of creation is not that of their starts, and most of which share theirs."""
    return [attrs.evolve(SEED, start=SEED.start - timedelta(microseconds=number % 3)) for number in range(count)]


@attrs.frozen
class Answer:
    url: URL
    status: int
    body: Any
    link: str | None
    """The `Link` header."""

    @property
    def ids(self) -> list[str]:
        items = self.body if isinstance(self.body, list) else self.body.get("items", self.body.get("value"))
        return [item["appointmentId"] for item in items]


@attrs.frozen
class RetryingCaller:
    sandbox: Sandbox
    tenant: Tenant
    body_format: BodyFormat

    @property
    def user(self) -> dict[str, str]:
        return {} if self.body_format is BodyFormat.GUIDE else ANN

    async def get(self, query: Mapping[str, str] | URL, **headers: str) -> Answer:
        """Ask for a page by its position or its URL."""
        path = URL(f"/{self.tenant.name}/appointment/preview")
        asked = {**self.user, **DAY} if self.user else {}
        url = query if isinstance(query, URL) else path.with_query({**asked, **query})
        async with self.tenant.session.get(url, headers={**self.tenant.headers, **headers}) as response:
            body = await response.json()
            return Answer(response.url, response.status, body, response.headers.get("Link"))

    async def ask(self, host_header: str, *, version: str = "1.1") -> str:
        """Ask for the first page with this line, or none, for the Host header, and return the whole answer."""
        url = URL(self.sandbox.base_url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        head = "".join(f"{name}: {value}\r\n" for name, value in self.tenant.headers.items())
        target = f"/{self.tenant.name}/appointment/preview"
        writer.write(f"GET {target} HTTP/{version}\r\n{host_header}{head}Connection: close\r\n\r\n".encode())
        async with asyncio.timeout(5):
            answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer.decode()

    async def create(self, start: str) -> str:
        meeting = MEETING if self.body_format is BodyFormat.GUIDE else REFERENCE_MEETING
        return str(await self.tenant.create(meeting, startTime=start))

    async def delete(self, appointment_id: str) -> None:
        status, _ = await self.tenant.call("DELETE", json={**self.user, "appointmentId": appointment_id})
        assert status == 200


@asynccontextmanager
async def calling(paging: PreviewPaging, size: int, body_format: BodyFormat) -> AsyncIterator[RetryingCaller]:
    sandbox = Sandbox(paging=paging, page_size=size, body_format=body_format)
    async with joined(sandbox) as tenant:
        yield RetryingCaller(sandbox, tenant, body_format)


@asynccontextmanager
async def calling_guide(paging: PreviewPaging, size: int, count: int) -> AsyncIterator[RetryingCaller]:
    async with calling(paging, size, BodyFormat.GUIDE) as caller:
        await caller.sandbox.seed("acme", seeds(count))
        yield caller


def following(paging: PreviewPaging, answer: Answer, shown: int) -> Mapping[str, str] | URL | None:
    """Tell how the page after this one is asked for; None after the last."""
    assert answer.status == 200, answer.body
    body = answer.body
    match paging:
        case PreviewPaging.ARRAY:
            return None
        case PreviewPaging.CURSOR:
            return None if body["nextCursor"] is None else {"cursor": body["nextCursor"]}
        case PreviewPaging.PAGE_NUMBERS:
            return {"page": str(body["page"] + 1)} if body["page"] < body["totalPages"] else None
        case PreviewPaging.OFFSET:
            return {"offset": str(shown)} if shown < body["total"] else None
        case PreviewPaging.LINK_HEADER:
            return None if answer.link is None else answer.url.join(target(answer))
        case PreviewPaging.NEXT_LINK:
            return None if body["nextLink"] is None else URL(body["nextLink"], encoded=True)


def target(answer: Answer) -> URL:
    assert answer.link is not None
    assert answer.link.startswith("</")
    assert answer.link.endswith('>; rel="next"')
    return URL(answer.link[1:].partition(">")[0], encoded=True)


async def walk(caller: RetryingCaller, paging: PreviewPaging) -> AsyncIterator[list[str]]:
    asked: Mapping[str, str] | URL | None = {}
    shown = 0
    for _ in range(MOST_PAGES):
        if asked is None:
            return
        answer = await caller.get(asked)
        shown += len(answer.ids)
        asked = following(paging, answer, shown)
        yield answer.ids
    raise AssertionError("the walk does not end")
