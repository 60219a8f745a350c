import asyncio
import gc
import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as suite
from benchmarks import conversion, rounds, server, workload
from benchmarks.libraries import Library, all_libraries
from benchmarks.peers import Calls, Draft, Peer
from benchmarks.rounds import FLOOR_AGAIN, Figures, Measured, quartiles
from benchmarks.tables import Bars, Settings, Table, compared

PEERS = (
    "aiohttp_alone",
    "aiohttp_tenacity",
    "azure",
    "gcal",
    "httpx_stamina",
    "open_ai",
    "ours",
    "slack",
    *(["niquests_session"] if importlib.util.find_spec("niquests") else []),  # not in the group `test`
)


def measured(*again: float) -> Measured:
    ones = [1.0] * len(again)
    return Measured({"floor": Figures(10, ones, ones), FLOOR_AGAIN: Figures(10, again, ones)}, "floor")


def test_the_command_writes_what_its_tables_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found, picture = tmp_path / "found.json", tmp_path / "picture.svg"

    suite.main(
        ["--only", "conversion", "--rounds", "2", "--scale", "0.002", "--json", str(found), "--plot", str(picture)]
    )

    printed = capsys.readouterr().out
    written = json.loads(found.read_text(encoding="utf-8"))
    assert written["settings"] == {"rounds": 2, "scale": 0.002}
    assert [table["name"] for table in written["tables"]] == [
        "conversion.decoding_1000",
        "conversion.encoding_1000",
        "conversion.decoding_100000",
        "conversion.encoding_100000",
    ]
    for table in written["tables"]:
        assert table["title"] in printed
        for row in table["rows"]:
            assert all(cell in printed for cell in row)
            figures = table["figures"][row[0]]
            assert len(figures["cpu"]) == len(figures["wall"]) == 2
            assert f"{quartiles(figures['cpu']).middle / figures['calls'] * 1e6:.2f}" == row[1]
    drawn = picture.read_text(encoding="utf-8")
    assert "<text" in drawn
    assert "msgspec" in drawn


def test_a_peer_that_is_not_installed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "niquests", None)
    for name in ("benchmarks.single_call", "benchmarks.peers.all_peers", "benchmarks.peers.niquests_session"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    with pytest.raises(SystemExit, match=r"niquests.*pip install"):
        suite.main(["--only", "single_call"])


def test_each_contestant_runs_once_a_round_and_the_first_moves_on() -> None:
    turns: list[tuple[str, int]] = []

    def contestant(name: str) -> rounds.Contestant:
        async def run(calls: int) -> None:
            turns.append((name, calls))

        return run

    async def both() -> Measured:
        return await rounds.measure(
            {"floor": contestant("floor"), "other": contestant("other")}, floor="floor", rounds=2, calls=50
        )

    found = asyncio.run(both())

    assert turns[:3] == [("floor", 50), ("other", 50), ("floor", 50)]  # to warm up
    assert [name for name, calls in turns[3:] if calls == 50] == ["floor", "other", "floor", "other", "floor", "floor"]
    assert {len(figures.cpu) for figures in found.figures.values()} == {2}
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("again", [(1.0, 1.0, 1.0), (0.98, 1.0, 1.02), (0.5, 1.0, 1.0, 1.0, 2.0)])
def test_a_quiet_machine_is_not_warned_of(again: tuple[float, ...]) -> None:
    assert measured(*again).warnings() == ()


@pytest.mark.parametrize("again", [(1.1, 1.1, 1.1), (0.9, 1.0, 1.0, 0.9), (1.0, 1.0, 1.1, 1.1)])
def test_a_noisy_machine_is_warned_of(again: tuple[float, ...]) -> None:
    noisy = measured(*again)

    (warning,) = noisy.warnings()
    table = compared(noisy, name="a.b", title="something", each="call")

    assert warning.startswith("NOISY")
    assert str(noisy.noise()) in warning
    assert warning in str(table)


def test_the_ratios_are_taken_round_by_round() -> None:
    slow = Figures(10, [2.0, 4.0, 6.0], [1.0, 1.0, 1.0])
    fast = Figures(10, [1.0, 2.0, 3.0], [1.0, 1.0, 1.0])

    assert str(slow.cpu_over(fast)) == "2.000 (2.000 to 2.000)"
    assert str(quartiles([1.5])) == "1.500 (1.500 to 1.500)"


def test_a_table_is_shown_with_its_notes() -> None:
    table = Table(
        name="a.b", title="Something", columns=["", "cost"], rows=[["one", "1"]], notes=["Of note."], warnings=["NOISY"]
    )

    assert str(table).splitlines() == [
        "### Something", "", "|     | cost |", "| --- | ---  |", "| one | 1    |", "", "Of note.", "", "NOISY",
    ]  # fmt: skip


def test_a_bar_stands_for_each_contestant_and_not_for_the_floor_again() -> None:
    chart = compared(measured(1.0, 1.0), name="a.b", title="something", each="call", ours=["floor"]).chart

    assert isinstance(chart, Bars)
    assert list(chart.values) == ["floor"]


@pytest.mark.parametrize("name", PEERS)
async def test_each_peer_makes_the_calls(name: str) -> None:
    module = importlib.import_module(f"benchmarks.peers.{name}")
    peers = [each for each in vars(module).values() if isinstance(each, Peer)]
    assert peers
    with server.running() as base_url:
        for peer in peers:
            async with peer.open(base_url) as calls:
                await workload.check(calls)


async def test_a_contestant_that_makes_no_call_is_refused() -> None:
    async def nothing(_: Any) -> str:
        return ""

    with pytest.raises(AssertionError):
        await workload.check(Calls(get=nothing, create=nothing))


async def test_each_call_has_an_id_of_its_own() -> None:
    asked: list[str] = []

    async def get(appointment_id: str) -> str:
        asked.append(appointment_id)
        return ""

    async def create(_: Draft) -> str:
        raise AssertionError

    await workload.workload(Calls(get=get, create=create), "get", tasks=4)(10)

    assert len(set(asked)) == len(asked) == 10


def test_a_library_that_loses_a_field_is_refused() -> None:
    ours = all_libraries()[0]
    losing = Library(name="losing", strict="", load=ours.load, dump=lambda _: b'{"startTime":"","endTime":""}')

    with pytest.raises(AssertionError, match="losing"):
        conversion.check([losing])


def test_sizes_are_scaled_and_never_none() -> None:
    settings = Settings(scale=0.001)

    assert (settings.size(100_000), settings.size(10), settings.rounds_or(7)) == (100, 1, 7)
    assert Settings(rounds=3).rounds_or(7) == 3
