"""The command source check, and the options that describe a source, in every command that reads one."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from connector_async.cli.exit_codes import ExitCode
from connector_async.sandbox import Sandbox
from tests.support.cli_syncing import row, titles, write_source
from tests.support.command_line import COMMAND, PERSONAL, CommandLine, isolate

OUTLOOK = (
    '"Subject","Start Date","Start Time","End Date","End Time","All day event","Location"\r\n'
    f'"{PERSONAL} visit","1/10/2024","9:00:00 AM","1/10/2024","10:00:00 AM","False","{PERSONAL}"\r\n'
)
PRESET = ("--preset", "outlook", "--assume-zone", "Europe/Berlin")
PLAIN = "key,title,start_time,end_time\r\nk-1,Visit,2024-01-15T10:00:00Z,2024-01-15T11:00:00Z\r\n"
EVENT = (
    "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:e-1\r\nSUMMARY:Visit\r\nDTSTART:20240115T100000Z\r\nEND:VEVENT\r\n"
    "END:VCALENDAR\r\n"
)


@pytest.fixture
def offline(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CommandLine:
    """Return the command line in an empty folder, without any setting."""
    isolate(monkeypatch, tmp_path)
    return CommandLine(capsys)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the empty folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def put(name: str, content: str) -> str:
    Path(name).write_bytes(content.encode())
    return name


def test_check_prints_counts_without_a_server(offline: CommandLine) -> None:
    name = put("visits.csv", OUTLOOK + "x,1/10/2024,9:00:00 AM,1/10/2024,10:00:00 AM,False,\r\n")
    done = offline("source", "check", name, *PRESET, "--tenant-id", "acme")
    assert (done.code, done.err) == (ExitCode.DONE, "")
    (counts,) = done.rows
    shown = {name: counts[name] for name in ("records", "problems", "cancelled", "ignored")}
    assert shown == {"records": "2", "problems": "0", "cancelled": "0", "ignored": "All day event (2), Location (1)"}
    assert sorted(path.name for path in Path().iterdir()) == ["visits.csv"]  # no state


def test_columns_that_are_ignored_equally_often_are_sorted_by_name(offline: CommandLine) -> None:
    name = put(
        "visits.csv",
        "key,title,start_time,end_time,f,e,d,c,b,a\n1,Visit,2024-01-01T10:00Z,2024-01-01T11:00Z,1,1,1,1,1,1\n",
    )
    done = offline("source", "check", name, "--ignore-unknown", "--tenant-id", "acme")
    assert "a (1), b (1), c (1), d (1), e (1), f (1)" in done.out


def test_check_prints_every_problem_with_line_key_and_reason(offline: CommandLine) -> None:
    bad = "".join(f"k-{number},Visit,never,2024-01-15T11:00:00Z\r\n" for number in range(2, 42))
    name = put("visits.csv", f"{PLAIN}{bad},,,x\r\n")
    done = offline("source", "check", name, "--tenant-id", "acme")
    assert done.code == ExitCode.DEAD_LETTERS
    messages = done.err.splitlines()
    assert len(messages) == 41
    assert messages[0] == "connector-async: visits.csv:3: key k-2: start_time: not an RFC 3339 date-time"
    assert messages[-1] == "connector-async: visits.csv:43: title is missing"
    assert [(row["records"], row["problems"]) for row in done.rows] == [("1", "41")]


def test_check_prints_json_lines(offline: CommandLine) -> None:
    name = put("visits.csv", f"{PLAIN}k-2,,,\r\n")
    done = offline("source", "check", name, "--tenant-id", "acme", "--json")
    assert (done.code, done.err) == (ExitCode.DEAD_LETTERS, "")
    problem, counts = done.records
    place = {"source": "visits.csv", "line": 3, "key": "k-2", "tenant_id": "acme", "domain_id": "", "ad_id": ""}
    assert problem == {"kind": "problem", **place, "reason": "title is missing"}
    zero = {"cancelled": 0, "superseded": 0, "series": 0, "instances": 0, "ignored": {}}
    assert counts == {"kind": "counts", "records": 1, "problems": 1, **zero}


def test_check_reports_keys_that_occur_twice_in_a_calendar_as_a_run_does(offline: CommandLine) -> None:
    rows = [row("a"), row("b"), row("a", "globex"), row("a")]
    done = offline("source", "check", write_source(Path("visits.jsonl"), rows))
    assert done.code == ExitCode.DEAD_LETTERS
    assert done.err == "connector-async: visits.jsonl: key a: key occurs 2 times\n"
    assert [(row["records"], row["problems"]) for row in done.rows] == [("2", "1")]


def test_check_shows_in_which_time_recurring_events_are_expanded(offline: CommandLine) -> None:
    name = put("visits.ics", EVENT)
    arguments = ("source", "check", name, "--tenant-id", "acme", "--json")
    (counts,) = offline(*arguments, "--from", "2024-01-01T00:00:00+01:00").records
    assert (counts["expanded_from"], counts["expanded_to"]) == ("2023-12-31T23:00:00Z", "2024-12-30T23:00:00Z")
    (counts,) = offline(*arguments, "--to", "9999-01-01T00:00:00Z").records
    assert (counts["records"], counts["expanded_to"]) == (1, "9999-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--map", "title"), '--map must be FIELD=COLUMN or FIELD="COLUMN"+"COLUMN"'),
        (("--map", 'title="a"b'), '--map must be FIELD=COLUMN or FIELD="COLUMN"+"COLUMN"'),
        (("--map", "title=a+"), '--map must be FIELD=COLUMN or FIELD="COLUMN"+"COLUMN"'),
        (("--map", "title=a", "--map", "title=b"), "--map must name each field once"),
        (("--map", "titel=a"), "--map must have fields of key, tenant_id, ad_id, "),
        (("--map", "title=Notes"), "the header of visits.csv lacks the column Notes"),
        (("--map", "all_day=a"), "--date-format must be given where all_day is mapped"),
        (("--date-format", "%Q"), "--date-format must be a format of datetime.strptime"),
        (("--date-format", "%d.%m.%Y"), "--assume-zone must be given: the times of the source are local ones"),
        (("--preset", "outlook"), "--assume-zone must be given: the times of the source are local ones"),
        (("--from", "soon"), "--from: 'soon' is not a time"),
        (("--from", "2024-01-01T00:00:00Z", "--to", "2024-01-01T00:00:00Z"), "--to must be after --from"),
        (("--from", "9999-01-01T00:00:00Z"), "--to must be given: a year after --from is after the year 9999"),
        (("--source-format", "ics", *PRESET), "--map, --date-format and --preset must not be given for iCalendar"),
    ],
)
def test_invalid_option_of_a_source_is_rejected_by_name(
    offline: CommandLine, arguments: tuple[str, ...], message: str
) -> None:
    done = offline("source", "check", put("visits.csv", PLAIN), "--tenant-id", "acme", *arguments)
    assert done.code in {ExitCode.USAGE, ExitCode.OTHER}
    assert done.err.startswith(f"connector-async: {message}")


@pytest.mark.parametrize("command", [("source", "check"), ("sync", "run"), ("sync", "plan")])
def test_unknown_option_in_place_of_the_source_is_not_taken_for_a_file(
    offline: CommandLine, command: tuple[str, ...]
) -> None:
    done = offline(*command, "--bogus=x")
    assert done.code == ExitCode.USAGE
    assert done.err.startswith("connector-async: Unknown option: --bogus. A file of that name is ./--bogus")


def test_quoted_columns_may_have_the_signs_of_a_mapping(offline: CommandLine) -> None:
    put("visits.csv", '"a+b","c=""d""",start_time,end_time\r\nk-1,Visit,2024-01-15T10:00:00Z,2024-01-15T11:00:00Z\r\n')
    mapping = ("--map", 'key = "a+b"'.replace(" ", ""), "--map", 'title="c=""d"""+"c=""d"""')
    assert offline("source", "check", "visits.csv", "--tenant-id", "acme", *mapping).rows[0]["records"] == "1"


def test_table_of_a_settings_file_describes_the_source(offline: CommandLine) -> None:
    name = put("termine.csv", OUTLOOK.replace("Subject", "Betreff").replace("1/10/2024", "10.1.2024"))
    settings = (
        'tenant_id = "acme"\nassume_zone = "Europe/Berlin"\n[source]\npreset = "outlook"\n'
        'date_format = ["%d.%m.%Y %I:%M:%S %p"]\n'
        '[source.map]\ntitle = "Betreff"\nstart_time = ["Start Date", "Start Time"]\n'
        "end_time = '\"End Date\"+End Time'\n"
    )
    put("connector-async.toml", settings)
    assert offline("source", "check", name).rows[0]["records"] == "1"
    shown = {
        record["setting"]: (record["value"], record["origin"]) for record in offline("config", "show", "--json").records
    }
    assert shown["source.preset"] == ("outlook", "./connector-async.toml [source]")
    assert shown["source.map"][0].startswith("title=Betreff, start_time=Start Date+Start Time")
    assert "source.ignore_unknown" not in shown
    rejected = offline("source", "check", name, "--map", "title=Subject")  # replaces the map of the file
    assert rejected.err == "connector-async: the header of termine.csv lacks the column Subject\n"


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("source = 5", "source must be a table"),
        ("[source]\npresets = 'outlook'", "[source] presets is unknown; accepted are preset, map, date_format, "),
        ("[source]\ntenant_id = 'acme'", "[source] tenant_id is unknown; accepted are preset, map, date_format, "),
        ("[source]\npreset = 'lotus'", "[source] preset must be outlook or google"),
        ("[source]\nmap = 'title=Subject'", "[source] map must be a table"),
        ("[source]\nmap = { titel = 'Subject' }", "[source] map must have fields of key"),
        ("[source]\nmap = { title = 'a+' }", "[source] map must be a table such as {"),
        ("[source]\nmap = { title = [5] }", "[source] map: the column of title must be a str, not int"),
        ("[source]\ndate_format = 5", "[source] date_format must be a string or a list of strings"),
        ("[source]\ndate_format = '%H'", "[source] date_format must have the day"),
        ("[source]\nignore_unknown = 'yes'", "[source] ignore_unknown must be true or false"),
        ("preset = 'outlook'", "preset is unknown; accepted are base_url"),
    ],
)
def test_invalid_table_of_a_settings_file_is_rejected_with_its_rule(
    offline: CommandLine, content: str, rule: str
) -> None:
    put("connector-async.toml", content)
    done = offline("source", "check", put("visits.csv", PLAIN))
    assert done.code == ExitCode.USAGE
    assert done.err.startswith(f"connector-async: ./connector-async.toml: {rule}")


def test_mapped_source_is_planned_checked_and_run_but_not_in_two_way_mode(
    command: CommandLine, sandbox: Sandbox
) -> None:
    name = put("visits.csv", OUTLOOK)
    for arguments in (("run", name), ("plan", name)):
        rejected = command("sync", *arguments, "--mode", "two-way", *PRESET)
        assert rejected.code == ExitCode.USAGE
        assert rejected.err.startswith("connector-async: --mode must not be two-way with --map, --date-format or")
    assert not Path("visits.connector-sync.db").exists()
    assert "1 change to make" in command("sync", "plan", name, *PRESET).err
    assert command("sync", "run", name, *PRESET).code == ExitCode.DONE
    assert titles(sandbox) == [f"{PERSONAL} visit"]
    assert "0 differences" in command("sync", "check", name, *PRESET).err
    assert command("sync", "run", name, *PRESET, "--mode", "check", "--exit-code").code == ExitCode.NOTHING_TO_DO


def test_two_way_run_keeps_ignored_columns(command: CommandLine) -> None:
    name = put("visits.csv", PLAIN.replace("key,", "room;key,").replace("k-1,", "12;k-1,").replace(",", ";"))
    options = ("--mode", "two-way", "--ignore-unknown", "--grace", "0")
    assert command("sync", "run", name, *options).code == ExitCode.DONE
    created = command.create("New")
    assert command("sync", "run", name, *options).code == ExitCode.DONE
    *before, added = Path(name).read_text().splitlines()
    assert before == ["room;key;title;start_time;end_time", "12;k-1;Visit;2024-01-15T10:00:00Z;2024-01-15T11:00:00Z"]
    assert added == f";server:{created};New;2024-01-15T10:00:00Z;2024-01-15T11:00:00Z"


def test_standard_input_is_a_source_and_its_copy_is_removed(
    command: CommandLine, sandbox: Sandbox, standard_input: Callable[[bytes], None], temporary: Path
) -> None:
    options = ("-", "--source-format", "csv", "--state", "state.db")
    for arguments in (("plan", *options), ("run", *options), ("check", *options)):
        standard_input(PLAIN.encode())
        done = command("sync", *arguments)
        assert done.code == ExitCode.DONE, done.err
    assert titles(sandbox) == ["Visit"]
    standard_input(PLAIN.replace("Visit", "").encode())
    assert "connector-async: standard input:2: title is missing" in command("sync", "run", *options).err
    standard_input(b"key\r\n")
    assert command("sync", "run", *options).err == (
        "connector-async: the header of standard input lacks the column title\n"
    )
    standard_input(PLAIN.encode())
    assert command("source", "check", *options[:3]).rows[0]["records"] == "1"
    assert list(temporary.iterdir()) == []


def test_occurrences_that_leave_the_range_stay_and_the_range_is_said(
    command: CommandLine, sandbox: Sandbox, standard_input: Callable[[bytes], None]
) -> None:
    series = EVENT.replace("SUMMARY", "RRULE:FREQ=DAILY;COUNT=3\nSUMMARY")
    options = ("-", "--source-format", "ics", "--state", "state.db", "--max-delete", "100%", "--allow-empty")
    for start in ("2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"):
        standard_input(series.encode())
        done = command("sync", "run", *options, "--from", start)
        assert done.code == ExitCode.DONE, done.err
    assert "recurring events were expanded from 2025-01-01T00:00:00Z to 2026-01-01T00:00:00Z" in done.err
    assert titles(sandbox) == ["Visit"] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sync", "run", "-", "--state", "s.db"), "--source-format must be given with standard input"),
        (("source", "check", "-"), "--source-format must be given with standard input"),
        (("sync", "run", "-", "--source-format", "csv"), "--state must be given with standard input"),
        (("source", "check", "-", "--source-format", "csv", "--preset", "outlook"), "--assume-zone must be given"),
        (
            ("sync", "run", "-", "--source-format", "csv", "--state", "s.db", "--mode", "two-way"),
            "--mode must not be two-way with standard input, which cannot be written back",
        ),
    ],
)
def test_standard_input_is_not_read_without_what_it_needs(
    command: CommandLine, standard_input: Callable[[bytes], None], arguments: tuple[str, ...], message: str
) -> None:
    standard_input(PLAIN.encode())
    done = command(*arguments)
    assert done.code == ExitCode.USAGE
    assert done.err.startswith(f"connector-async: {message}")
    assert os.lseek(0, 0, os.SEEK_CUR) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_copy_of_the_standard_input_is_private_and_removed_after_a_signal(
    temporary: Path, tmp_path: Path, number: signal.Signals
) -> None:
    arguments = ("source", "check", "-", "--source-format", "csv")
    with Popen([*COMMAND, *arguments], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdin is not None
        process.stdin.write(PLAIN)
        process.stdin.flush()
        deadline = time.monotonic() + 30
        while not (copies := [path for path in temporary.iterdir() if path.stat().st_size]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert [path.stat().st_mode & 0o777 for path in copies] == [0o600]
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}[number]
    assert "Traceback" not in err
    assert list(temporary.iterdir()) == []


def test_create_reads_csv_and_icalendar_without_keys(
    command: CommandLine, sandbox: Sandbox, standard_input: Callable[[bytes], None]
) -> None:
    bad = ",never,2024-01-15T11:00:00Z\r\n"
    name = put("visits.csv", PLAIN.replace("key,", "").replace("k-1,", "") + f"Visit{bad}")
    done = command("create", "--from", name, "--json")
    assert done.code == ExitCode.DEAD_LETTERS
    created, failed = done.records
    assert (created["record"], created["line"], created["status"]) == (1, None, "done")
    assert (failed["record"], failed["line"], failed["status"]) == (2, 3, "failed")
    assert failed["error"].startswith("start_time is not a time; accepted are 2024-01-15T10:00Z; with a time_zone or")
    assert command("create", "--from", put("visits.ics", EVENT)).out.splitlines()[1].split()[:3] == ["1", "e-1", "done"]
    standard_input(OUTLOOK.replace(PERSONAL, "Long").encode())
    assert command("create", "--from", "-", "--source-format", "csv", *PRESET, "--json").code == ExitCode.DONE
    assert sorted(titles(sandbox)) == ["Long visit", "Visit", "Visit"]


def test_create_keeps_to_the_calendar_of_the_settings(command: CommandLine, sandbox: Sandbox) -> None:
    name = put("visits.csv", PLAIN.replace("key", "tenant_id").replace("k-1", "globex"))
    (failed,) = command("create", "--from", name, "--json").records
    assert failed["error"] == "the calendar must be that of --tenant-id, --ad-id and --domain-id, or not be named"
    assert sandbox.log.count(operation="create") == 0


def test_options_of_a_source_need_a_file_to_create_from(command: CommandLine) -> None:
    done = command("create", "--title", "Visit", "--preset", "outlook")
    assert (done.code, done.err) == (
        ExitCode.USAGE,
        "connector-async: --from must be given with the options of a source\n",
    )
