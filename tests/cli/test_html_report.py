"""The page of a run: its numbers, as a browser shows them, and that nothing in it is executed or personal."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from playwright.sync_api import Page

from connector_async.cli import html_report
from connector_async.cli.exit_codes import ExitCode
from connector_async.sandbox import Sandbox, StatusFault
from tests.support.browser import PageViewer, page_viewer, take_screenshot
from tests.support.cli_syncing import DESCRIPTION, fill, row, write_source
from tests.support.command_line import PERSONAL, CommandLine

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def browser() -> Iterator[PageViewer]:
    with page_viewer() as browser:
        yield browser


def text_of(page: Page, selector: str) -> list[str]:
    return [text.strip() for text in page.locator(selector).all_text_contents()]


def table(page: Page, selector: str) -> list[dict[str, str]]:
    heading = text_of(page, f"{selector} th")
    return [
        dict(zip(heading, (cell.strip() for cell in row.locator("td").all_text_contents()), strict=True))
        for row in page.locator(f"{selector} tbody tr").all()
    ]


def test_page_shows_the_numbers_of_the_run(
    command: CommandLine, sandbox: Sandbox, source: Path, browser: PageViewer, tmp_path: Path
) -> None:
    sandbox.faults.script(StatusFault(422), StatusFault(422), operation="create", tenant="globex")
    write_source(source, [row(f"k{number}", tenant) for tenant in ("acme", "globex", HOSTILE) for number in range(4)])
    done = command("sync", "run", str(source), "--rate-limit", "6000/60", "--json")
    assert done.code == ExitCode.DEAD_LETTERS
    (report,) = done.records
    page_file = tmp_path / "report.html"
    done = command("sync", "report", "--html", str(page_file))
    assert (done.code, done.out) == (ExitCode.DONE, "")
    assert done.err == f"connector-async: run {report['run_id']}: written to {page_file}\n"

    def look(page: Page) -> dict[str, Any]:
        take_screenshot(page, tmp_path / "report.png")
        return {
            "heading": text_of(page, "h1"),
            "figures": dict(zip(text_of(page, ".figures dt"), text_of(page, ".figures dd"), strict=True)),
            "outcomes": dict(zip(*[iter(text_of(page, "#counts td"))] * 2, strict=True)),
            "tenants": table(page, "#per-tenant"),
            "timelines": dict(zip(text_of(page, "h3"), text_of(page, ".timeline"), strict=True)),
            "charts": [chart.bounding_box() for chart in page.locator("figure svg").all()],
            "letters": table(page, "#letter-rows"),
            "background": page.evaluate("getComputedStyle(document.body).backgroundColor"),
        }

    shown = browser.show(page_file.as_uri(), look)
    assert shown["heading"] == [f"Run {report['run_id']}"]
    assert shown["figures"]["requests sent"] == str(report["requests"])
    assert shown["figures"]["requests needed"] == str(report["minimum"])
    assert shown["figures"]["dead letters"] == "2"
    assert shown["outcomes"] == {"created": "10", "refused": "2"}
    requests = {tenant["tenant"]: tenant["requests"] for tenant in shown["tenants"]}
    assert requests == {name: str(tenant["requests"]) for name, tenant in report["tenants"].items()}
    assert {tenant["tenant"]: tenant["refused"] for tenant in shown["tenants"]} == {
        "acme": "0",
        "globex": "2",
        HOSTILE: "0",
    }
    assert {name: sum(map(int, line.split(","))) for name, line in timelines(shown)} == {
        name: tenant["requests"] for name, tenant in report["tenants"].items()
    }
    assert len(shown["charts"]) == 4
    assert all(chart["width"] > 500 and chart["height"] > 40 for chart in shown["charts"])
    assert [(letter["tenant"], letter["operation"]) for letter in shown["letters"]] == [("globex", "create")] * 2
    assert all("(422)" in letter["reason"] for letter in shown["letters"])

    content = page_file.read_text(encoding="utf-8")
    assert PERSONAL not in content
    assert DESCRIPTION not in content
    assert "<script" not in content
    assert HOSTILE not in content
    dark = browser.show(page_file.as_uri(), look, dark=True)
    assert (shown["background"], dark["background"]) == ("rgb(255, 255, 255)", "rgb(20, 23, 27)")
    assert dark | {"background": "", "charts": []} == shown | {"background": "", "charts": []}
    browser.show(page_file.as_uri(), lambda page: take_screenshot(page, tmp_path / "narrow.png"), width=360)


def timelines(shown: dict[str, Any]) -> Iterator[tuple[str, str]]:
    return ((name, line.rpartition(": ")[2]) for name, line in shown["timelines"].items())


def test_page_of_a_killed_run_says_what_is_not_recorded(
    command: CommandLine, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from connector_async.sync.state.journal import Journal  # noqa: PLC0415 - beside its use

    async def end_run(*_: object) -> None:
        pass

    monkeypatch.setattr(Journal, "end_run", end_run)
    assert command("sync", "run", fill(source)).code == ExitCode.DONE
    assert command("sync", "report", "--html", str(tmp_path / "report.html")).code == ExitCode.DONE
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "It is still running, or was killed: what it sent over time is not recorded." in content
    assert "Its outcomes are not recorded yet." in content


def test_page_is_bounded(
    command: CommandLine, sandbox: Sandbox, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(html_report, "_MOST_CHARTS", 1)
    monkeypatch.setattr(html_report, "_MOST_LETTERS", 2)
    sandbox.faults.script(*[StatusFault(422)] * 5, operation="create", tenant="acme")
    command("sync", "run", fill(source, 5, "acme", "globex"))
    assert command("sync", "report", "--html", str(tmp_path / "report.html")).code == ExitCode.DONE
    content = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert content.count("<h3>") == 1
    assert "1 more tenants sent requests" in content
    assert content.count("InvalidRequestError") == 2
    assert "3 more are in the state" in content
    assert '<dd id="dead-letters">5</dd>' in content


def test_earlier_run_is_chosen_by_its_id(command: CommandLine, source: Path, tmp_path: Path) -> None:
    first = command("sync", "run", fill(source), "--json").records[0]["run_id"]
    second = command("sync", "run", str(source), "--json").records[0]["run_id"]
    for arguments, run_id in (((first,), first), ((), second)):
        assert command("sync", "report", *arguments, "--html", str(tmp_path / "report.html")).code == ExitCode.DONE
        assert f"<title>Run {run_id}</title>" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_unknown_run_is_rejected(command: CommandLine, source: Path, tmp_path: Path) -> None:
    command("sync", "run", fill(source))
    done = command("sync", "report", "other", "--html", str(tmp_path / "report.html"))
    assert (done.code, done.err) == (
        ExitCode.USAGE,
        "connector-async: RUN must be a run of the state: it has no run other\n",
    )
    assert not (tmp_path / "report.html").exists()


def test_missing_extra_is_named(command: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(
        SystemExit, match=r"jinja2 is missing; install it with: pip install 'connector-async\[report\]'"
    ):
        command("sync", "report", "--html", str(tmp_path / "report.html"))


def test_status_shows_no_reports_of_tenants(command: CommandLine, source: Path) -> None:
    command("sync", "run", fill(source))
    (status,) = command("sync", "status", "--json").records
    assert status["runs"][0]["counts"] == {"created": 12}
    assert b"timeline" not in orjson.dumps(status)
