"""The built site in a browser: its search, its width on a phone, the keyboard, both color schemes, its links."""

import html
import importlib
import posixpath
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import axe_playwright_python
import pytest
from playwright.sync_api import Page
from sphinx.util.inventory import InventoryFile

from tests.support.browser import PageViewer, page_viewer
from tests.support.built_site import ROOT, built_site, served

PHONE = 360
# The theme hides what is wider than the page, so the boxes in it are measured.
WIDEST = "Math.max(...[...document.querySelectorAll('html, body, .main, .content, article')].map(e => e.scrollWidth))"
AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
VARIED = ("index", "how-to/sync-from-a-file", "explanation/exact-sync", "reference/python/otel", "search")
"""Small pages that have between them every kind of block: tables, code, sessions, diagrams, signatures, a form."""
RULES = ("color-contrast", "link-in-text-block", "object-alt", "image-alt", "label", "link-name", "button-name",
         "scrollable-region-focusable", "html-has-lang", "document-title", "bypass")  # fmt: skip


@pytest.fixture(scope="module")
def site() -> Path:
    return built_site()


@pytest.fixture(scope="module")
def url(site: Path) -> Iterator[str]:
    with served(site) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[PageViewer]:
    with page_viewer() as browser:
        yield browser


def pages(site: Path) -> list[str]:
    """Return the pages by their paths, without the listings of source code."""
    found = (page.relative_to(site) for page in site.rglob("*.html"))
    return sorted(page.as_posix() for page in found if page.parts[0] not in {"_modules", "_static"})


def test_search_for_a_header_finds_the_page_about_it(url: str, browser: PageViewer) -> None:
    def look(page: Page) -> list[str]:
        page.get_by_role("textbox", name="Search").first.fill("Retry-After")
        page.keyboard.press("Enter")
        page.wait_for_selector("#search-results li a")
        page.wait_for_selector("#search-results p.search-summary:has-text('found')")
        return [urlsplit(str(link.get_attribute("href"))).path for link in page.locator("#search-results li a").all()]

    assert "retries.html" in browser.show(url, look)[:5]


def test_pages_fit_a_phone_and_report_no_error(url: str, site: Path, browser: PageViewer) -> None:
    def look(page: Page) -> dict[str, int]:
        widths = {}
        for name in pages(site):
            page.goto(url + name)
            widths[name] = page.evaluate(WIDEST)
        return widths

    widths = browser.show(url, look, width=PHONE)  # fails for an error in the console, and a request to elsewhere
    assert len(widths) > 50
    assert {name: width for name, width in widths.items() if width > PHONE} == {}


def test_keyboard_reaches_the_content_the_search_and_the_navigation(url: str, browser: PageViewer) -> None:
    def look(page: Page) -> tuple[str, str, list[str]]:
        page.keyboard.press("Tab")
        first = page.evaluate("document.activeElement.textContent.trim()")
        page.keyboard.press("Enter")
        anchor = page.evaluate("location.hash")
        page.goto(url)
        reached = []
        for _ in range(20):
            page.keyboard.press("Tab")
            reached.append(page.evaluate("document.activeElement.name || document.activeElement.getAttribute('href')"))
        return first, anchor, reached

    first, anchor, reached = browser.show(url, look)
    assert (first, anchor) == ("Skip to content", "#furo-main-content")
    assert {"q", "tutorial.html", "how-to/index.html", "reference/index.html"} <= set(reached)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_is_readable_and_everything_has_a_name(url: str, browser: PageViewer, *, dark: bool) -> None:
    def look(page: Page) -> dict[str, Any]:
        found = {}
        for name in VARIED:
            page.goto(f"{url}{name}.html")
            page.evaluate(AXE.read_text())
            result = page.evaluate(f"axe.run({{runOnly: {list(RULES)}, resultTypes: ['violations']}})")
            found[name] = [(one["id"], node["html"]) for one in result["violations"] for node in one["nodes"]]
        color = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return {"found": {name: problems for name, problems in found.items() if problems}, "background": color}

    shown = browser.show(url, look, dark=dark, width=PHONE)
    assert shown["found"] == {}
    channels = [int(number) for number in re.findall(r"\d+", shown["background"])[:3]]
    assert (max(channels) < 64) is dark


def test_inventory_has_every_public_name(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Other projects link to these entries. The build fails for a name without one: this checks what it has written.
    monkeypatch.syspath_prepend(ROOT / "docs" / "_ext")
    extension = importlib.import_module("site_of_package")
    inventory = InventoryFile.load(BytesIO((site / "objects.inv").read_bytes()), "", posixpath.join)
    names = {name for kind, entries in inventory.items() if kind.startswith("py:") for name in entries}
    assert len(names) > 500
    assert extension.missing_names(names) == []
    assert extension.missing_names(names - {"connector_async.RetryPolicy", "connector_async.retry.RetryPolicy"})


def test_links_between_the_pages_lead_to_pages_and_anchors(site: Path) -> None:
    texts = {page.relative_to(site).as_posix(): page.read_text() for page in site.rglob("*.html")}
    anchors = {name: set(re.findall(r'\b(?:id|name)="([^"]+)"', text)) for name, text in texts.items()}
    broken = []
    for name in pages(site):
        for link in set(re.findall(r'<a\b[^>]*?\bhref="([^"]+)"', texts[name])):
            parts = urlsplit(html.unescape(link))
            if parts.scheme or parts.netloc:
                continue
            target = (site / name).parent / unquote(parts.path) if parts.path else site / name
            target = target / "index.html" if target.is_dir() else target
            path = target.resolve().relative_to(site.resolve()).as_posix()
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and path in anchors and anchor not in anchors[path]):
                broken.append(f"{name}: {link}")
    assert broken == []
