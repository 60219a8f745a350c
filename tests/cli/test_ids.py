"""Ids of appointments from the standard input."""

from collections.abc import Callable

import pytest

from connector_async.cli.exit_codes import ExitCode
from connector_async.sandbox import Sandbox
from tests.support.command_line import CommandLine

Input = Callable[[bytes], None]


def test_ids_are_read_from_the_standard_input(command: CommandLine, standard_input: Input) -> None:
    first, second, third = (command.create() for _ in range(3))
    standard_input(f"\n {first}\r\n\n{second}".encode())
    got = command("get", third, "-", "--json")
    assert [record["appointment_id"] for record in got.records] == [third, first, second]
    standard_input(f"{first}\nmissing\n".encode())
    deleted = command("delete", "-", "--yes", "--json")
    assert (deleted.code, len(deleted.records)) == (ExitCode.DEAD_LETTERS, 1)
    assert deleted.err.startswith("connector-async: missing: DELETE ")


def test_output_of_preview_is_input_of_delete(command: CommandLine, standard_input: Input) -> None:
    command.create()
    command.create()
    for _ in range(2):  # the second time, there is none
        standard_input(command("preview", "--columns", "appointment_id").out.encode())
        assert command("delete", "-", "--yes").code == ExitCode.DONE
    assert command("preview", "--json").records == []


def test_deleting_ids_of_the_standard_input_needs_yes(
    sandbox: Sandbox, command: CommandLine, standard_input: Input
) -> None:
    standard_input(b"a\nb\n")
    assert "--yes must be given to delete 2 appointments" in command("delete", "-").err
    assert sandbox.log.count(operation="delete") == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\n\n..\n", "standard input, line 3: an id must not be '.' or '..'"),
        (b"a\nb\tc\n", "standard input, line 2: an id must"),
        (b"\xff\n", "standard input, line 1: must be UTF-8"),
        (b"appointment_id\nappointment_id\n..", "standard input, line 3: an id must not be"),
    ],
)
@pytest.mark.parametrize("name", ["get", "delete"])
def test_invalid_id_is_named_with_its_line_before_anything_is_sent(
    sandbox: Sandbox, command: CommandLine, standard_input: Input, name: str, content: bytes, message: str
) -> None:
    standard_input(content)
    done = command(name, "-")
    assert (done.code, done.out) == (ExitCode.USAGE, "")
    assert done.err.startswith(f"connector-async: {message}")
    assert sandbox.log.count() == 0


def test_standard_input_is_read_once(command: CommandLine) -> None:
    assert "- must be given once" in command("get", "-", "-").err


@pytest.mark.parametrize("name", ["get", "delete"])
def test_argument_after_two_hyphens_is_an_id(command: CommandLine, standard_input: Input, name: str) -> None:
    one = command(name, "--", "-x")
    assert (one.code, "404" in one.err) == (ExitCode.OTHER, True)
    standard_input(b"b\n")
    many = command(name, *(["--yes"] if name == "delete" else []), "a", "--", "--json", "-", "--")
    assert [line.split(":")[1].strip() for line in many.err.splitlines()] == ["a", "--json", "b", "--"]


@pytest.mark.parametrize("arguments", [["--bogus=Secret"], ["1", "--bogus=Secret"], ["1", "-x"]])
def test_unknown_option_is_not_an_id(command: CommandLine, arguments: list[str]) -> None:
    for name in ("get", "delete"):
        option = arguments[-1].partition("=")[0]
        done = command(name, *arguments)
        assert (done.code, done.err.startswith(f"connector-async: Unknown option: {option}.")) == (ExitCode.USAGE, True)
        assert "Secret" not in done.err
    misspelled = command("get", "1", "--collumns", "title")
    assert misspelled.err == "connector-async: Unknown option: --collumns. Did you mean --columns?\n"
