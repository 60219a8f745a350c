"""Every style that the sandbox serves, walked by the client: named, and recognized where it can be."""

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


@pytest.mark.parametrize("recognized", [False, True], ids=["named", "recognized"])
@pytest.mark.parametrize("body_format", list(BodyFormat))
@pytest.mark.parametrize("style", list(PreviewPaging))
async def test_p1_every_appointment_comes_once_from_any_page_on(
    style: PreviewPaging,
    body_format: BodyFormat,
    *,
    recognized: bool,
) -> None:
    span: Any = () if body_format is BodyFormat.GUIDE else SPAN
    async with Sandbox(paging=style, page_size=10, body_format=body_format) as sandbox:
        ids = await sandbox.seed("acme", synthetic_seeds(34))
        paging = AutoDetectPaging() if recognized else NAMED[style]
        pager = service(sandbox, body_format, paging).preview(*span)
        if recognized and style is PreviewPaging.OFFSET:
            with pytest.raises(DecodingError) as caught:  # there is more, and how to ask for it is not told
                await pager.collect()
            assert caught.value.problems[0].startswith("$.total: there may be more pages")
            return
        assert sorted([item.appointment_id async for item in pager]) == sorted(ids)
        assert sandbox.log.count(operation="preview") == (1 if style is PreviewPaging.ARRAY else 4)
        taken: list[str] = []
        async for page in pager.pages():
            taken += [item.appointment_id for item in page.items]
            if page.continuation_token is not None:
                rest = [page async for page in pager.pages(continuation_token=page.continuation_token)]
                assert sorted(taken + [item.appointment_id for page in rest for item in page.items]) == sorted(ids)
