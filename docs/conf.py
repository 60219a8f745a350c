"""The site of the documents: built by `.ci/run site`, with every warning as an error."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import connector_async

project = "connector_async"
author = "connector_async maintainers"
project_copyright = author
version = release = connector_async.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.graphviz",
    "site_of_package",  # in _ext
]
exclude_patterns = ["_build"]
nitpicky = True
nitpick_ignore = [
    *[
        ("py:class", f"connector_async.{name}")  # in signatures, but nothing that a caller names
        for name in (
            "_clock.Deadline",
            "appointments.watch.WatchScope",
            "bulk_calls.inputs.Inputs",
            "rate_limit.limiter.Sleep",
            "sync.formats.csv_file.CsvSource",
            "sync.request_timeline.RequestTimeline",
            "sync.formats.icalendar.file.ICalendarSource",
            "sync.formats.json_lines.JsonLinesSource",
            "sync.guard.DeleteCount",
            "sync.planning.saved_plan.SavedPlanner",
            "sync.planning.saved_plan._Origin",
            "sync.planning.planner.PlanningContext",
            "sync.planning.saved_plan._Section",
            "sync.records.LastSynced",
            "sync.scope.Selection",
            "sync.state.db.engine.Serials",
            "sync.state.db.engine.Transaction",
            "sync.state.db.lease.Leases",
            "sync.state.db.location.Location",
            "sync.state.journal.Journal",
            "sync.state.identity.Identity",
            "sync.state.identity.Target",
            "sync.state.reader.StateReader",
            "wire.wire_format.ValidItems",
        )
    ],
    ("py:exc", "BudgetSpentError"),  # caught before it reaches a caller
    ("py:exc", "RoundedIntegerError"),
    ("py:class", "RetryCallState"),  # tenacity's, which writes it as a string
    ("py:class", "tenacity.retry.retry_base"),  # `tenacity.retry` is a function, too
]

myst_enable_extensions = ["colon_fence"]  # directives in ::: fences; the others are blocks that tests run
myst_heading_anchors = 4  # as GitHub makes them

default_role = "backticks"  # of _ext: a link where the name is documented, else code
add_module_names = False
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 100
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
viewcode_line_numbers = True

graphviz_output_format = "svg"

html_theme = "furo"
html_title = f"connector_async {version}"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_theme_options = {
    "source_repository": "https://github.com/connector-async/connector-async/",
    "source_branch": "main",
    "source_directory": "docs/",
}
html_show_copyright = False
