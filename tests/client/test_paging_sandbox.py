"""Each paging style of the sandbox, walked by the client: named, and detected where that is possible."""

from datetime import UTC, datetime
from typing import Any

import pytest

from connector_async import (
    AppointmentService,
    AutoDetectPaging,
    ClientCredentials,
    CursorPaging,
    DecodingError,
    DirectoryUser,
    LinkHeader,
    NextLink,
    OffsetLimit,
    OnePage,
    PageNumbers,
    PagingStyle,
    WireFormat,
)
from connector_async.sandbox import (
    DEFAULT_CLIENT_ID,
    DEFAULT_CLIENT_SECRET,
    SEED_AD_ID,
    SEED_DOMAIN_ID,
    BodyFormat,
    PreviewPaging,
    Sandbox,
    synthetic_seeds,
)
from tests.support.paging import walks_from_each_page
from tests.support.services import open_service

NAMED: dict[PreviewPaging, PagingStyle] = {
    PreviewPaging.ARRAY: OnePage(),
    PreviewPaging.CURSOR: CursorPaging(),
    PreviewPaging.PAGE_NUMBERS: PageNumbers(page="page", total_pages="totalPages"),
    PreviewPaging.OFFSET: OffsetLimit(limit=10, total="total"),
    PreviewPaging.LINK_HEADER: LinkHeader(),
    PreviewPaging.NEXT_LINK: NextLink(),
}
SPAN = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


def service(sandbox: Sandbox, body_format: BodyFormat, paging: PagingStyle) -> AppointmentService:
    guide = body_format is BodyFormat.GUIDE
    return open_service(
        sandbox.base_url,
        user=None if guide else DirectoryUser(SEED_AD_ID, SEED_DOMAIN_ID),
        paging=paging,
        auth=ClientCredentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET),
        wire_format=WireFormat.GUIDE if guide else WireFormat.REFERENCE,
    )


# Each style is walked both ways, and in both formats.
GUIDE_WHEN_NAMED = (PreviewPaging.ARRAY, PreviewPaging.PAGE_NUMBERS, PreviewPaging.NEXT_LINK)
WALKS = [
    (style, is_named, BodyFormat.GUIDE if is_named is (style in GUIDE_WHEN_NAMED) else BodyFormat.REFERENCE)
    for style in PreviewPaging
    for is_named in (True, False)
    if is_named or style is not PreviewPaging.OFFSET
]


@pytest.mark.row("P1")
@pytest.mark.parametrize(("style", "is_named", "body_format"), WALKS)
async def test_walk_from_any_page_returns_each_appointment_once(
    style: PreviewPaging, body_format: BodyFormat, *, is_named: bool
) -> None:
    span: Any = () if body_format is BodyFormat.GUIDE else SPAN
    async with Sandbox(paging=style, page_size=10, body_format=body_format) as sandbox:
        ids = sorted(await sandbox.seed("acme", synthetic_seeds(34)))
        pager = service(sandbox, body_format, NAMED[style] if is_named else AutoDetectPaging()).preview(*span)
        assert sorted([item.appointment_id async for item in pager]) == ids
        assert sandbox.log.count(operation="preview") == (1 if style is PreviewPaging.ARRAY else 4)
        assert all(sorted(walk) == ids for walk in await walks_from_each_page(pager))


@pytest.mark.parametrize("body_format", list(BodyFormat))
async def test_offsets_cannot_be_detected(body_format: BodyFormat) -> None:
    span: Any = () if body_format is BodyFormat.GUIDE else SPAN
    async with Sandbox(paging=PreviewPaging.OFFSET, page_size=10, body_format=body_format) as sandbox:
        await sandbox.seed("acme", synthetic_seeds(34))
        with pytest.raises(DecodingError) as caught:  # more pages, and nothing says how to request them
            await service(sandbox, body_format, AutoDetectPaging()).preview(*span).collect()
        assert caught.value.problems[0].startswith("$.total: there may be more pages")
