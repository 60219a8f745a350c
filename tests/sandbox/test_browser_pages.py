"""The pages of the sandbox, as a browser shows them, and that they stay out of the way of the API."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import aiohttp
import pytest
from aiohttp import web
from playwright.sync_api import Page, Route

from connector_async.sandbox import (
    BodyFormat,
    DelayFault,
    DropAfter,
    FaultRates,
    Sandbox,
    SandboxLimit,
    SeedAppointment,
    StatusFault,
    browser_pages,
)
from connector_async.testing import ThreadedSandbox
from tests.support.browser import PageViewer, page_viewer, take_screenshot

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
MONDAY = datetime(2024, 1, 15, 10, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"
SEND = """async ([tenant, title, start]) => {
    const body = (value) => ({ method: "POST", headers: headers, body: JSON.stringify(value) });
    const headers = { "Content-Type": "application/json", tenantId: tenant };
    const credentials = { clientId: "sandbox", clientSecret: "sandbox-secret" };
    const token = await (await fetch(`/${tenant}/authentication/token`, body(credentials))).json();
    headers.Authorization = `Bearer ${token.accessToken ?? token.token}`;
    const times = { startTime: start, endTime: start };
    try { return (await fetch(`/${tenant}/appointment`, body({ title, ...times }))).status; } catch { return 0; }
}"""
"""Creates an appointment through the API, as any client does."""


@pytest.fixture(scope="module")
def browser() -> Iterator[PageViewer]:
    with page_viewer() as browser:
        yield browser


@pytest.fixture
async def served() -> AsyncIterator[Sandbox]:
    async with Sandbox() as sandbox:
        yield sandbox


def seed(title: str, start: datetime = MONDAY, **fields: Any) -> SeedAppointment:
    return SeedAppointment(title=title, start=start, end=start + timedelta(minutes=45), **fields)


def texts(page: Page, selector: str) -> list[str]:
    return page.locator(selector).all_text_contents()


@pytest.mark.parametrize(("dark", "width"), [(False, 1100), (True, 1100), (False, 360)])
def test_root_page_shows_calendars_and_a_week(browser: PageViewer, tmp_path: Path, *, dark: bool, width: int) -> None:
    with ThreadedSandbox(body_format=BodyFormat.REFERENCE) as sandbox:
        later = seed("In the week after", MONDAY + timedelta(days=7))
        asyncio.run(sandbox.seed("acme", [seed(HOSTILE), seed("At the same time"), later]))
        asyncio.run(sandbox.seed("globex", [seed("Of another tenant", ad_id="bob")]))

        def look(page: Page) -> None:
            page.get_by_text("connected", exact=True).wait_for()
            page.locator(".event").first.wait_for()
            assert texts(page, "#calendar option") == ["acme, sandbox-user (3)", "globex, bob (1)"]
            assert texts(page, ".event") == [f"10:00 {HOSTILE}", "10:00 At the same time"]
            assert texts(page, "#range") == ["2024-01-15 to 2024-01-21, in UTC"]
            first, second = (event.bounding_box() for event in page.locator(".event").all())
            assert first is not None
            assert second is not None
            assert first["y"] == second["y"]
            assert first["x"] + first["width"] <= second["x"] + 0.1
            day = page.locator(".day").first.bounding_box()
            assert day is not None
            assert second["x"] + second["width"] <= day["x"] + day["width"] + 0.1
            take_screenshot(page, tmp_path / "week.png")
            page.get_by_role("button", name="Next week").click()
            page.get_by_text("10:00 In the week after").wait_for()
            assert texts(page, "#range") == ["2024-01-22 to 2024-01-28, in UTC"]
            page.get_by_label("Calendar").select_option("globex, bob (1)")
            page.get_by_text("10:00 Of another tenant").wait_for()
            assert texts(page, ".event") == ["10:00 Of another tenant"]

        browser.show(f"{sandbox.base_url}/", look, dark=dark, width=width)


def test_root_page_shows_requests_as_they_come(browser: PageViewer) -> None:
    with ThreadedSandbox() as sandbox:

        def look(page: Page) -> None:
            page.get_by_text("connected", exact=True).wait_for()
            page.get_by_text("No tenant has an appointment yet.").wait_for()
            assert page.evaluate(SEND, ["acme", HOSTILE, "2024-01-15T10:00:00Z"]) == 200
            page.locator(".event").wait_for()
            assert texts(page, ".event") == [f"10:00 {HOSTILE}"]
            create, token = (row.locator("td").all_text_contents()[1:] for row in page.locator("#requests tr").all())
            assert create == ["acme", "create", "POST /appointment", "200", ""]
            assert token == ["acme", "token", "POST /authentication/token", "200", ""]
            assert texts(page, "#totals") == ["2 since the page was opened."]
            page.reload()
            page.locator("#requests tr").nth(1).wait_for()
            assert texts(page, "#requests tr td:first-child") == ["earlier", "earlier"]

        browser.show(f"{sandbox.base_url}/", look)
        assert sandbox.log.count() == 2


def test_request_that_comes_while_the_page_loads_is_shown_once(browser: PageViewer) -> None:
    with ThreadedSandbox() as sandbox:
        earlier: list[object] = []  # the stream of the first load, if its end was not noticed yet

        def answer_late(route: Route) -> None:
            state = route.fetch()
            while all(listener in earlier for listener in sandbox.log._listeners):
                time.sleep(0.01)  # the page has not opened its stream yet
            with suppress(HTTPError):
                urlopen(f"{sandbox.base_url}/acme/appointment")
            route.fulfill(response=state)

        def look(page: Page) -> None:
            page.get_by_text("connected", exact=True).wait_for()
            earlier.extend(sandbox.log._listeners)
            page.route("**/_sandbox/state", answer_late)
            page.reload()
            page.locator("#requests tr").first.wait_for()
            assert texts(page, "#requests td:nth-child(3)") == ["get"]
            assert texts(page, "#requests td:first-child") != ["earlier"]

        browser.show(f"{sandbox.base_url}/", look)


def test_switches_of_the_root_page_turn_faults_on_and_off(browser: PageViewer) -> None:
    with ThreadedSandbox(fault_rates=FaultRates({DelayFault(0.001): 0.05})) as sandbox:

        def look(page: Page) -> None:
            page.get_by_role("switch", name="delay-0.001").wait_for()
            assert page.get_by_role("switch", name="delay-0.001").is_checked()
            page.get_by_label("Share of the requests").select_option("100 %")
            page.get_by_text("on, 100.0 %").wait_for()
            page.get_by_role("switch", name="delay-0.001").click()
            page.get_by_text("on, 100.0 %").wait_for(state="detached")
            assert sandbox.faults.rates == {}
            page.get_by_role("switch", name="status-503").click()
            page.get_by_text("on, 100.0 %").wait_for()
            assert sandbox.faults.rates == {StatusFault(503): 1.0}
            page.get_by_role("switch", name="drop-after").click()
            page.get_by_text("on, 50.0 %").nth(1).wait_for()
            assert sandbox.faults.rates == {StatusFault(503): 0.5, DropAfter(): 0.5}

        browser.show(f"{sandbox.base_url}/", look)


def test_docs_page_renders_the_openapi_document(browser: PageViewer, tmp_path: Path) -> None:
    with ThreadedSandbox() as sandbox:

        def look(page: Page) -> None:
            page.locator(".opblock").first.wait_for()
            assert texts(page, ".opblock-summary-path span") == [
                "/{tenantId}/authentication/token",
                *["/{tenantId}/appointment"] * 4,
                "/{tenantId}/appointment/preview",
            ]
            assert "Connector Public API" in texts(page, "h1.title, h2.title")[0]
            take_screenshot(page, tmp_path / "docs.png")

        browser.show(f"{sandbox.base_url}/docs", look)


@pytest.mark.parametrize("dark", [False, True])
def test_docs_page_follows_the_color_scheme(browser: PageViewer, tmp_path: Path, *, dark: bool) -> None:
    with ThreadedSandbox() as sandbox:

        def look(page: Page) -> None:
            page.locator(".opblock").first.wait_for()
            take_screenshot(page, tmp_path / "docs.png")
            paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
            assert (paper == "rgb(28, 32, 34)") is dark
            page.emulate_media(color_scheme="light" if dark else "dark")
            # A function to wait for is evaluated from its text, which the policy of the page forbids.
            page.locator("html.dark-mode").wait_for(state="detached" if dark else "attached")

        browser.show(f"{sandbox.base_url}/docs", look, dark=dark)


async def test_docs_page_without_the_viewer_names_the_extra(served: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser_pages, "find_spec", lambda _: None)
    async with aiohttp.ClientSession(served.base_url, headers=HTML) as session:
        async with session.get("/docs") as response:
            assert "pip install 'connector-async[viewer]'" in await response.text()
        async with session.get("/_sandbox/swagger-ui.css") as response:
            assert response.status == 404


async def test_pages_load_nothing_from_elsewhere_and_run_no_inline_script(served: Sandbox) -> None:
    async with aiohttp.ClientSession(served.base_url, headers=HTML) as session:
        for path in ("/", "/docs"):
            async with session.get(path) as response:
                assert response.content_type == "text/html"
                policy = response.headers["Content-Security-Policy"]
                assert "default-src 'none'; script-src 'self';" in policy
                assert "frame-ancestors 'none'" in policy
                assert "http" not in await response.text()


@pytest.mark.parametrize("path", ["/", "/docs", "/_sandbox/state", "/_sandbox/events"])
@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Host": "127.0.0.1.evil.example:80"}, {"Host": "192.0.2.1"}, {"Host": ""}],
    ids=["name", "prefix", "address", "empty"],
)
async def test_page_is_not_served_under_another_host(served: Sandbox, path: str, headers: dict[str, str]) -> None:
    async with (
        aiohttp.ClientSession(served.base_url, headers=HTML | headers) as session,
        session.get(path) as response,
    ):
        assert response.status == 404
        assert response.content_type == "application/problem+json"


@pytest.mark.parametrize("host", ["localhost", "[::1]:8080", "127.0.0.2"])
async def test_page_is_served_under_every_name_of_the_loopback(served: Sandbox, host: str) -> None:
    async with (
        aiohttp.ClientSession(served.base_url, headers=HTML | {"Host": host}) as session,
        session.get("/") as response,
    ):
        assert response.status == 200


async def test_page_is_not_served_to_another_machine(served: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web.BaseRequest, "remote", "192.0.2.1")
    async with aiohttp.ClientSession(served.base_url) as session, session.get("/", headers=HTML) as response:
        assert response.status == 404


async def test_api_is_unaffected_by_the_pages() -> None:
    async with Sandbox(limit=SandboxLimit(requests=2)) as sandbox:
        async with aiohttp.ClientSession(sandbox.base_url, headers=HTML) as session:
            for _ in range(3):  # neither counted nor limited
                async with session.get("/") as response:
                    assert response.status == 200
            assert sandbox.log.count() == 0
            for tenant in ("docs", "_sandbox"):  # tenants of these names have an API like any other
                credentials = {"clientId": "sandbox", "clientSecret": "sandbox-secret"}
                async with session.post(f"/{tenant}/authentication/token", json=credentials) as response:
                    assert response.status == 200
            assert sandbox.log.count(operation="token", status=200) == 2
        async with aiohttp.ClientSession(sandbox.base_url) as session:
            for path in ("/", "/docs"):  # a client that does not ask for HTML gets what it got before
                async with session.get(path) as response:
                    assert (response.status, response.content_type) == (404, "application/problem+json")


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain", "Origin": "{own}"},  # what a form of another website can send
        {"Content-Type": "application/json", "Origin": "http://evil.example"},
        {"Content-Type": "application/json"},
    ],
    ids=["content type", "other origin", "no origin"],
)
async def test_faults_are_not_changed_by_another_website(served: Sandbox, headers: dict[str, str]) -> None:
    sent = {name: value.format(own=served.base_url) for name, value in headers.items()}
    async with (
        aiohttp.ClientSession(served.base_url) as session,
        session.post("/_sandbox/faults", data=b'{"faults":["status-503"],"share":1}', headers=sent) as refused,
    ):
        assert refused.status == 404
    assert served.faults.rates == {}


@pytest.mark.parametrize(
    "body", ["", "[]", '{"faults":["nonsense"],"share":1}', '{"faults":["status-503"],"share":2}', '{"faults":[1]}']
)
async def test_invalid_faults_are_rejected(served: Sandbox, body: str) -> None:
    headers = {"Content-Type": "application/json", "Origin": served.base_url}
    async with (
        aiohttp.ClientSession(served.base_url, headers=headers) as session,
        session.post("/_sandbox/faults", data=body) as response,
    ):
        assert response.status == 400
    assert served.faults.rates == {}


@pytest.mark.parametrize("query", ["", "?start=soon&domain_id=&ad_id=", "?start=9999-12-31&domain_id=&ad_id="])
async def test_invalid_week_is_rejected(served: Sandbox, query: str) -> None:
    async with aiohttp.ClientSession(served.base_url) as session, session.get(f"/_sandbox/week{query}") as response:
        assert response.status == 400


async def test_open_page_does_not_delay_the_end_of_the_sandbox() -> None:
    async with Sandbox() as sandbox:
        session = aiohttp.ClientSession(sandbox.base_url)
        response = await session.get("/_sandbox/events")
        await response.content.readline()
        started_at = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - started_at < 0.9  # a handler that goes on is cancelled after 1 s
    assert (await response.content.read()).strip() == b""
    await session.close()


async def test_browser_that_leaves_is_noticed(served: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser_pages, "_SECONDS_BETWEEN_COMMENTS", 0.01)
    async with aiohttp.ClientSession(served.base_url) as session, session.get("/_sandbox/events") as response:
        await response.content.readuntil(b"\n:\n")
        assert len(served.log._listeners) == 1
    async with asyncio.timeout(5):
        while served.log._listeners:
            await asyncio.sleep(0.01)


async def test_browser_that_does_not_read_gets_no_endless_queue(
    served: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser_pages, "_QUEUED_EVENTS", 1)
    async with aiohttp.ClientSession(served.base_url) as session, session.get("/_sandbox/events") as response:
        await response.content.readline()
        async with session.get("/acme/appointment"):
            pass
        (listener,) = served.log._listeners
        entry = served.log.entries[0]
        for _ in range(5):  # without a turn of the event loop between them
            listener(entry)
        await asyncio.sleep(0.02)
        assert (await response.content.readany()).count(b"data: ") <= 3
