"""A headless Chromium for the tests of pages. It is the system's: Playwright only drives it."""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, sync_playwright

T = TypeVar("T")

_PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")


class PageViewer:
    """Shows pages to functions, and fails if a page reports an error or requests something from elsewhere.

    It works in a thread of its own, because Playwright's event loop would block the one of a test.
    """

    def __init__(self, thread: ThreadPoolExecutor, browser: Browser) -> None:
        self._thread = thread
        self._browser = browser

    def show(self, url: str, look: Callable[[Page], T], *, dark: bool = False, width: int = 1100) -> T:
        """Return what a function has found on a page."""
        return self._thread.submit(self._show, url, look, "dark" if dark else "light", width).result()

    def _show(self, url: str, look: Callable[[Page], T], scheme: Literal["dark", "light"], width: int) -> T:
        page = self._browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        problems: list[str] = []
        origin = url if url.startswith("file:") else "/".join(url.split("/")[:3]) + "/"

        def note_message(message: ConsoleMessage) -> None:
            if message.type == "error":
                problems.append(message.text)

        def note_dialog(dialog: Dialog) -> None:
            problems.append(dialog.message)
            dialog.dismiss()

        def note_request(request: Request) -> None:
            if not request.url.startswith((origin, "data:", "blob:")):
                problems.append(request.url)

        page.on("console", note_message)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", note_dialog)
        page.on("request", note_request)
        try:
            page.goto(url)
            found = look(page)
            assert problems == []
            return found
        finally:
            page.close()


@contextmanager
def page_viewer() -> Iterator[PageViewer]:
    """Start the browser, or skip the test if there is none."""
    if _PROGRAM is None:
        pytest.skip("there is no Chromium; on Debian, the package chromium has it")
    with ThreadPoolExecutor(1) as thread:
        playwright = thread.submit(lambda: sync_playwright().start()).result()
        arguments = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []  # root has no sandbox
        browser = thread.submit(playwright.chromium.launch, executable_path=_PROGRAM, args=arguments).result()
        try:
            yield PageViewer(thread, browser)
        finally:
            thread.submit(browser.close).result()
            thread.submit(playwright.stop).result()


def take_screenshot(page: Page, path: Path) -> None:
    """Write the whole page as a PNG, and check that it is not narrower than its content."""
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    image = page.screenshot(path=path, full_page=True)
    assert image.startswith(b"\x89PNG")
    assert len(set(image)) > 100  # not one color
