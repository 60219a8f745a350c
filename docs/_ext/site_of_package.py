"""What the site adds to Sphinx: links of docstrings, pages made from the package's own tables, and completeness."""

import importlib
import io
import pydoc
import re
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, TypeVar

from docutils import nodes
from docutils.parsers.rst.states import Inliner
from docutils.utils import unescape
from rich.console import Console
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

PUBLIC = ("", ".exceptions", ".otel", ".rate_limit", ".retry", ".sandbox", ".sync", ".testing")
"""The public modules, by what stands behind `connector_async` in their names."""
logger = logging.getLogger(__name__)


def backticks(
    _role: str, rawtext: str, text: str, _line: int, inliner: Inliner, *_: object
) -> tuple[Sequence[nodes.Node], Sequence[nodes.system_message]]:
    """Make a name of the reference a link, and everything else code: docstrings are written with single backticks."""
    name = unescape(text).removesuffix("()")
    code = nodes.literal(rawtext, unescape(text), classes=["py"])
    if not all(part.isidentifier() for part in name.split(".")):
        return [code], []
    environment: BuildEnvironment = inliner.document.settings.env
    link = pending_xref(
        rawtext, code, refdomain="py", reftype="obj", reftarget=name, refdoc=environment.current_document.docname
    )
    for scope in ("py:module", "py:class"):
        link[scope] = environment.ref_context.get(scope)
    link["in_backticks"] = True
    return [link], []


def leave_as_code(_app: Sphinx, _env: BuildEnvironment, node: pending_xref, content: nodes.Node) -> nodes.Node | None:
    """Resolve what is in backticks without being documented, such as a parameter, and the types of other packages."""
    target = str(node["reftarget"])
    if node.get("in_backticks"):
        return content
    is_elsewhere = node["refdomain"] == "py" and not target.startswith("connector_async.")
    found = pydoc.locate(target) if is_elsewhere else None
    return content if found is not None or isinstance(pydoc.locate(target), TypeVar) else None


_kept: dict[str, list[str]] = {}


def keep_from_napoleon(_app: Sphinx, what: str, name: str, _value: object, _options: object, lines: list[str]) -> None:
    """Hide the docstrings of attributes, since napoleon reads `Personal data: the title.` as a type and a text."""
    if what in {"attribute", "data", "property"}:
        _kept[name] = lines[:]
        lines.clear()


def put_back(_app: Sphinx, _what: str, name: str, _value: object, _options: object, lines: list[str]) -> None:
    """Show them again."""
    lines[:] = _kept.pop(name, lines)


def leave_out_private_bases(_app: Sphinx, _name: str, _value: object, _options: object, bases: list[type]) -> None:
    """Leave out classes of the package that are not public; their members are listed with those of the class."""
    public = {id(value) for _, value in public_objects()}
    shown = [base for base in bases if id(base) in public or not base.__module__.startswith("connector_async")]
    bases[:] = shown or [object]


def public_objects() -> Iterator[tuple[str, object]]:
    """Yield each public name with its module, and its object."""
    for suffix in PUBLIC:
        module = importlib.import_module(f"connector_async{suffix}")
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        for name in getattr(module, "__all__", own):
            if not name.startswith("_"):
                yield f"{module.__name__}.{name}", getattr(module, name)


def missing_names(documented: set[str]) -> list[str]:
    """Return the public names that the reference does not have, by their own name or by that of another module."""
    objects = [getattr(importlib.import_module(module), name, None) for module, _, name in map(split, documented)]
    present = {id(value) for value in objects if value is not None}
    return [name for name, value in public_objects() if name not in documented and id(value) not in present]


def split(name: str) -> tuple[str, str, str]:
    """Split a documented name into its public module, a dot, and the rest; members of classes have no module."""
    module, dot, rest = name.rpartition(".")
    return (module, dot, rest) if module in {f"connector_async{suffix}" for suffix in PUBLIC} else ("builtins", dot, "")


def check_public_names(_app: Sphinx, environment: BuildEnvironment) -> None:
    """Warn of each public name without a page, which fails the build."""
    domain: PythonDomain = environment.domains.python_domain
    for name in missing_names(set(domain.objects)):
        logger.warning("%s is public, and has no page in docs/reference/python", name)


def name_diagrams(_app: Sphinx, _page: str, _template: str, context: dict[str, Any], _doctree: object) -> None:
    """Give each diagram its text as a name, since screen readers do not read what is inside of an `object`."""
    drawing = re.compile(r'(<object [^>]*class="graphviz"[^>]*)>(\s*<p class="warning">(.*?)</p>)', re.DOTALL)
    if "body" in context:
        context["body"] = drawing.sub(r'\1 role="img" aria-label="\3">\2', context["body"])


class CommandHelp(SphinxDirective):
    """The help of each command, as `--help` prints it."""

    def run(self) -> list[nodes.Node]:
        """Return a section for each command."""
        from connector_async.cli.command_list import COMMANDS  # noqa: PLC0415 - not at each start of Sphinx
        from connector_async.cli.commands import app  # noqa: PLC0415

        lines: list[str] = []
        for name in COMMANDS:
            printed = io.StringIO()
            app.help_print(name.split(), console=Console(file=printed, width=100, force_terminal=False))
            lines += [name, "-" * len(name), "", ".. code-block:: text", ""]
            lines += [f"   {line}".rstrip() for line in printed.getvalue().strip().splitlines()]
            lines.append("")
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


class ExitCodes(SphinxDirective):
    """The exit codes of the command, from their enumeration."""

    def run(self) -> list[nodes.Node]:
        """Return a table."""
        from connector_async.cli.exit_codes import ExitCode  # noqa: PLC0415 - not at each start of Sphinx

        rows = [(str(code.value), code.meaning) for code in ExitCode]
        return self.parse_text_to_nodes(table(["code", "meaning"], rows))


class SettingsTable(SphinxDirective):
    """The settings of the command, from the table that the command itself reads; `source` for those of a source."""

    optional_arguments = 1
    kinds: ClassVar = {str: "string", float: "number", bool: "boolean", tuple: "string, or list", dict: "table"}

    def run(self) -> list[nodes.Node]:
        """Return a table."""
        from connector_async.cli.settings import SETTINGS, SOURCE_SETTINGS, Setting  # noqa: PLC0415 - as above

        def cells(setting: Setting) -> tuple[str, ...]:
            value = str(setting.default).lower() if isinstance(setting.default, bool) else setting.default
            default = "" if value is None else f"``{value}``"
            return (f"``{setting.name}``", self.kinds[setting.kind], default)

        if self.arguments == ["source"]:
            return self.parse_text_to_nodes(
                table(["in the table ``[source]``", "kind", "default"], [cells(one) for one in SOURCE_SETTINGS])
            )
        rows = []
        for setting in SETTINGS:
            where = "the environment alone" if setting.is_secret else "per tenant as well" if setting.per_tenant else ""
            rows.append((*cells(setting), f"``{setting.variable}``", where))
        return self.parse_text_to_nodes(table(["in a file", "kind", "default", "variable", "where"], rows))


class WireFields(SphinxDirective):
    """The key of each field in the two wire formats, and what is sent unless a model sets it, from the layouts."""

    def run(self) -> list[nodes.Node]:
        """Return a table."""
        import attrs  # noqa: PLC0415 - as above

        from connector_async.models import Appointment, DirectoryUser  # noqa: PLC0415 - as above
        from connector_async.wire.field_layout import GUIDE_LAYOUT, REFERENCE_LAYOUT  # noqa: PLC0415 - as above

        layouts = (GUIDE_LAYOUT, REFERENCE_LAYOUT)
        rows = []
        for field in [name for name in attrs.fields_dict(Appointment) if name != "extra"]:
            keys = [layout.keys.get(field, "") for layout in layouts]
            defaults = {**REFERENCE_LAYOUT.create_defaults, **REFERENCE_LAYOUT.description_defaults}
            rows.append((f"``{field}``", *map(code, keys), code(defaults.get(keys[1], ""))))
        for field in attrs.fields_dict(DirectoryUser):
            keys = [layout.user_keys.get(field, "") for layout in layouts]
            rows.append((f"``{field}`` of the user", *map(code, keys), ""))
        heads = ["field", "``WireFormat.GUIDE``", "``WireFormat.REFERENCE``", "default in the reference's format"]
        return self.parse_text_to_nodes(table(heads, rows))


class RecordFields(SphinxDirective):
    """The fields of a record in each file format, from the tables of the formats."""

    def run(self) -> list[nodes.Node]:
        """Return a table."""
        from connector_async.sync.formats.icalendar.event import FIELD_OF  # noqa: PLC0415 - as above
        from connector_async.sync.records import FIELDS  # noqa: PLC0415 - as above

        rows = []
        for field in FIELDS:
            properties = [code(name) for name, of in FIELD_OF.items() if of == field]
            rows.append((f"``{field}``", f"``{field}``", f"``{field}``", ", ".join(properties)))
        return self.parse_text_to_nodes(table(["field", "member of JSON Lines", "column of CSV", "iCalendar"], rows))


class StateSchema(SphinxDirective):
    """The tables of a state, from their definitions."""

    kinds: ClassVar = {"TEXT": "text", "INTEGER": "integer", "BIGINT": "integer", "DOUBLE": "float", "BLOB": "bytes"}

    def run(self) -> list[nodes.Node]:
        """Return a heading, what the table is for, and its columns, for each table."""
        from connector_async.sync.state import schema  # noqa: PLC0415 - as above

        texts = attribute_docs("connector_async.sync.state.schema")
        lines: list[str] = [f"These are the tables of revision ``{schema.REVISIONS[-1]}``, the newest.", ""]
        for one in schema.metadata.tables.values():
            lines += [one.name, "-" * len(one.name), "", *texts["", one.name].splitlines(), ""]
            rows = []
            for column in one.columns:
                note = "key" if column.primary_key else "may be NULL" if column.nullable else ""
                rows.append((f"``{column.name}``", self.kinds.get(str(column.type), str(column.type)), note))
            lines += [*table(["column", "type", ""], rows).splitlines(), ""]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def attribute_docs(module: str) -> dict[tuple[str, str], str]:
    """Return the docstrings of a module's variables and of its classes' attributes, which Python does not keep."""
    from sphinx.pycode import ModuleAnalyzer  # noqa: PLC0415 - as above

    found = ModuleAnalyzer.for_module(module).find_attr_docs()
    return {name: "\n".join(lines).strip() for name, lines in found.items()}


def code(string: str) -> str:
    """Return a string as code; an empty one stays empty."""
    return f"``{string}``" if string else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in reStructuredText."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [heads, *rows]:
        for number, cell in enumerate(row):
            first, *rest = cell.splitlines() or [""]
            lines.append(f"   {'* -' if number == 0 else '  -'} {first}".rstrip())
            lines += [f"       {line}".rstrip() for line in rest]
    return "\n".join([*lines, ""])


def setup(app: Sphinx) -> ExtensionMetadata:
    """Register everything above."""
    app.add_role("backticks", backticks)
    app.add_directive("command-help", CommandHelp)
    app.add_directive("exit-codes", ExitCodes)
    app.add_directive("settings-table", SettingsTable)
    app.add_directive("state-schema", StateSchema)
    app.add_directive("wire-fields", WireFields)
    app.add_directive("record-fields", RecordFields)
    app.connect("missing-reference", leave_as_code)
    app.connect("autodoc-process-docstring", keep_from_napoleon, priority=400)  # napoleon has 500
    app.connect("autodoc-process-docstring", put_back, priority=600)
    app.connect("autodoc-process-bases", leave_out_private_bases)
    app.connect("env-check-consistency", check_public_names)
    app.connect("html-page-context", name_diagrams)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
