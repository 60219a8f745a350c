"""The options that several commands share. Their rules, and where else they can be set, are in `settings`."""

import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import attrs
from cyclopts import Group, Parameter

from connector_async.wire import WireFormat

from .output_formats import OutputFormat

if TYPE_CHECKING:
    from jmespath.parser import ParsedResult

MESSAGES_GROUP: Final = Group("Messages", help="Messages and progress go to the standard error stream.", sort_key=2)
OUTPUT_GROUP: Final = Group("Output", sort_key=0)
SETTINGS_GROUP: Final = Group(
    "Settings",
    help="The first of these that has a setting wins: the option, the profile, CONNECTOR_... in the environment, "
    "connector-async.toml in this folder or the nearest parent that has one, ~/.config/connector-async/config.toml. "
    "Secrets are never options.",
    sort_key=1,
)


@Parameter(name="*", group=SETTINGS_GROUP)
@attrs.frozen(kw_only=True)
class ConnectionOptions:
    """How to reach the API, and for which tenant and user."""

    profile: Annotated[
        str | None, Parameter(help="The table [profiles.PROFILE] of the settings files to use; see configure.")
    ] = None
    base_url: Annotated[str | None, Parameter(help="The URL of the API.")] = None
    tenant_id: Annotated[str | None, Parameter(help="The tenant.")] = None
    format: Annotated[
        Literal["guide", "reference"] | None,
        Parameter(show_default="guide", help="The document of the API that the server follows."),
    ] = None
    ad_id: Annotated[str | None, Parameter(help="The id of the user in the directory; only for reference.")] = None
    domain_id: Annotated[str | None, Parameter(help="The tenant id of the directory; only for reference.")] = None
    rate_limit: Annotated[
        str | None,
        Parameter(show_default="60/60", help="The rate limit of each tenant: REQUESTS/SECONDS or unlimited."),
    ] = None
    deadline: Annotated[
        float | None,
        Parameter(show_default="60 for a single call", help="Seconds for each call, including retries and waits."),
    ] = None
    allow_http: Annotated[bool | None, Parameter(help="Allow http to hosts other than the loopback.")] = None
    assume_zone: Annotated[
        str | None,
        Parameter(help="The time zone of date-times without a UTC offset, from the server or in an iCalendar file."),
    ] = None

    verbose: Annotated[
        int,
        Parameter(
            name=("--verbose", "-v"),
            count=True,
            show_default=False,
            group=MESSAGES_GROUP,
            help="Print retries, penalties and tokens (as --log-level info); -vv prints each request (debug).",
        ),
    ] = 0
    quiet: Annotated[
        bool,
        Parameter(
            name=("--quiet", "-q"),
            negative="",
            group=MESSAGES_GROUP,
            help="Print no progress, waits and warnings (as --log-level error).",
        ),
    ] = False
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"] | None,
        Parameter(show_default="warning", group=MESSAGES_GROUP, help="The least level of what is printed."),
    ] = None
    debug_http: Annotated[
        bool | None,
        Parameter(
            negative="",
            group=MESSAGES_GROUP,
            help="Print the status and the headers of each request, without secrets and bodies.",
        ),
    ] = None

    def as_settings(self) -> dict[str, Any]:
        """Return the settings that the options set, by name; `None` means that an option is not given.

        Raises:
            ValueError: If several options set the level of the messages.
        """
        values = attrs.asdict(self)
        verbose, quiet = values.pop("verbose"), values.pop("quiet")
        if (verbose > 0) + quiet + (self.log_level is not None) > 1:
            raise ValueError("--verbose, --quiet and --log-level must not be given together")
        if quiet:
            values["log_level"] = "error"
        elif verbose:
            values["log_level"] = "info" if verbose == 1 else "debug"
        return values


@Parameter(name="*", group=OUTPUT_GROUP)
@attrs.frozen(kw_only=True)
class DisplayOptions:
    """How the records of a command are printed."""

    output: Annotated[
        Literal["table", "json", "jsonl", "csv", "tsv", "yaml"] | None,
        Parameter(show_default="table on a terminal, tsv elsewhere", help="The format."),
    ] = None
    json: Annotated[bool, Parameter(negative="", help="The same as --output jsonl.")] = False
    columns: Annotated[
        str | None, Parameter(help="The columns in their order, separated by commas: appointment_id,title.")
    ] = None
    limit: Annotated[int | None, Parameter(help="Print this many records at most.")] = None
    query: Annotated[
        str | None,
        Parameter(help="Print the result of a JMESPath expression on the array of all records: [].title."),
    ] = None

    @property
    def format(self) -> OutputFormat:
        """The format in which records are printed."""
        if self.output is not None:
            return OutputFormat(self.output)
        if self.json:
            return OutputFormat.JSONL
        return OutputFormat.TABLE if sys.stdout.isatty() else OutputFormat.TSV

    @property
    def is_structured(self) -> bool:
        """Whether the output is for programs that take whole objects, rather than rows of columns."""
        return self.format in {OutputFormat.JSON, OutputFormat.JSONL, OutputFormat.YAML}

    @property
    def hides_zeros(self) -> bool:
        """Whether a count of zero is left out: the columns of a table differ with what there is to say."""
        return self.format is OutputFormat.TABLE

    def check(self, columns: Sequence[str]) -> "tuple[tuple[str, ...] | None, ParsedResult | None]":
        """Return the columns that `--columns` selects and the compiled `--query`; `None` without the option.

        Raises:
            ValueError: If two options exclude each other, `limit` is not above zero, `columns` names another column, or
                `query` is not a JMESPath expression.
        """
        if self.json and self.output not in {None, "jsonl"}:
            raise ValueError("--json must not be given together with --output")
        if self.columns is not None and self.query is not None:
            raise ValueError("--columns must not be given together with --query, which can select fields itself")
        if self.limit is not None and self.limit < 1:
            raise ValueError("--limit must be at least 1")
        return self._selected_columns(columns), self._compiled_query()

    def _selected_columns(self, columns: Sequence[str]) -> tuple[str, ...] | None:
        if self.columns is None:
            return None
        selected = tuple(name.strip() for name in self.columns.split(","))
        unknown = next((name for name in selected if name not in columns), None)
        if unknown is not None:
            raise ValueError(f"--columns: {unknown!r} is not a column; the columns are {', '.join(columns)}")
        return selected

    def _compiled_query(self) -> "ParsedResult | None":
        if self.query is None:
            return None
        import jmespath  # noqa: PLC0415 - only a query needs it
        from jmespath.exceptions import JMESPathError  # noqa: PLC0415

        try:
            return jmespath.compile(self.query)
        except JMESPathError as error:
            reason = str(error).splitlines()[0]
        raise ValueError(f"--query must be a JMESPath expression: {reason}")


DEFAULT_CONNECTION: Final = ConnectionOptions()
DEFAULT_DISPLAY: Final = DisplayOptions()


def check_window(window: timedelta | None, wire_format: WireFormat) -> None:
    """Reject `--window` with a format whose previews take no range.

    Raises:
        ValueError: If a window is given and the format is the guide's.
    """
    if window is not None and not wire_format.carries_user:
        raise ValueError("--window is accepted only with --format reference")
