"""The site: each public name has a page, and what the extension in docs/_ext adds to Sphinx."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PUBLIC = ("", ".exceptions", ".otel", ".rate_limit", ".retry", ".sandbox", ".sync", ".testing")
REFERENCE = "".join(page.read_text() for page in sorted((DOCS / "reference" / "python").glob("*.rst")))
CONFIGURATION = f"""
import sys
sys.path.insert(0, {str(DOCS / "_ext")!r})
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "site_of_package"]
default_role = "backticks"
nitpicky = True
autodoc_default_options = {{"members": True, "show-inheritance": True}}
"""


def build(folder: Path, page: str) -> tuple[str, list[str]]:
    """Build a site of one page, and return its HTML and the warnings, without those of public names."""
    (folder / "conf.py").write_text(CONFIGURATION)
    (folder / "index.rst").write_text(f"Title\n=====\n\n{page}\n")
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(folder), str(folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": "", "NO_COLOR": "1"})
    return (folder / "out" / "index.html").read_text(), done.stderr.splitlines()


def others(warnings: list[str]) -> list[str]:
    return [line for line in warnings if "is public, and has no page" not in line]


def test_each_public_name_has_one_place_in_the_reference() -> None:
    listed = re.findall(r"^\.\. auto\w+:: ([\w.]+)$", REFERENCE, re.MULTILINE)
    assert len(listed) == len(set(listed))
    found = set()
    for name in listed:
        module, _, attribute = name.rpartition(".")
        found.add(id(getattr(importlib.import_module(module), attribute)))
    for suffix in PUBLIC:
        module_object = importlib.import_module(f"connector_async{suffix}")
        for name in getattr(module_object, "__all__", ()):
            assert name == "__version__" or id(getattr(module_object, name)) in found, name


def test_public_name_without_a_page_is_a_warning(tmp_path: Path) -> None:
    _, warnings = build(tmp_path, ".. autoclass:: connector_async.Traffic")
    assert others(warnings) == []
    missing = {re.sub(r".*: (\S+) is public.*", r"\1", line) for line in warnings}
    assert "connector_async.ConnectorSession" in missing
    assert "connector_async.sync.BulkSync" in missing
    assert "connector_async.Traffic" not in missing


def test_backticks_are_links_where_a_name_is_documented(tmp_path: Path) -> None:
    page = "`connector_async.Traffic`, `no_such_name` and `a + b`\n\n.. autoclass:: connector_async.Traffic\n"
    html, warnings = build(tmp_path, page)
    assert others(warnings) == []
    assert re.search(r'href="#connector_async.Traffic"[^>]*><code', html)
    links = re.findall(r"<a [^>]*>(.*?)</a>", html, re.DOTALL)
    assert "no_such_name" in html
    assert not any("no_such_name" in link for link in links)


def test_text_before_a_colon_is_not_the_type_of_an_attribute(tmp_path: Path) -> None:
    html, warnings = build(tmp_path, ".. autoclass:: connector_async.NewAppointment\n   :no-show-inheritance:")
    assert [line for line in others(warnings) if "Personal data" in line] == []
    assert "Not blank. Personal data" in html


def test_unknown_name_in_a_role_is_a_warning(tmp_path: Path) -> None:
    _, warnings = build(tmp_path, ":py:class:`connector_async.NoSuchName`")
    assert [line for line in others(warnings) if "connector_async.NoSuchName" in line]


@pytest.mark.parametrize(
    ("directive", "text"),
    [
        ("command-help", "Usage: connector-async sync run"),
        ("exit-codes", "SIGTERM ended the command."),
        ("settings-table", "CONNECTOR_BASE_URL"),
        ("settings-table", "boolean"),
        ("settings-table:: source", "date_format"),
        ("state-schema", "replaced_hashes"),
        ("state-schema", "These are the tables of revision 0006"),
        ("wire-fields", "body.contentType"),
        ("record-fields", "X-CONNECTOR-TENANT-ID"),
    ],
)
def test_generated_page_has_what_the_package_says(directive: str, text: str, tmp_path: Path) -> None:
    html, warnings = build(tmp_path, f".. {directive}" + ("" if "::" in directive else "::"))
    assert others(warnings) == []
    assert text in re.sub(r"<[^>]+>", "", html)
