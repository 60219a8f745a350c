import asyncio
import gc
import importlib
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest

from benchmarks import __main__ as suite
from benchmarks import (
    calendar_file,
    concurrent_calls,
    conversion,
    instructions,
    picture,
    rounds,
    scale,
    server,
    shared_limit,
    tenants,
    workers,
    workload,
)
from benchmarks.libraries import Library, all_libraries
from benchmarks.peers import Calls, Draft, Peer
from benchmarks.rounds import FLOOR_AGAIN, Figures, Measurement, quartiles
from benchmarks.tables import Band, Bars, Lines, Settings, Table, compare
from connector_async.sync.formats import file_source
from connector_async.sync.records import SourceRecord
from tests.support.postgres import FLAVORS, PostgresServer

PEERS = (
    "aiohttp_alone",
    "aiohttp_retry_client",
    "aiohttp_tenacity",
    "azure",
    "gcal",
    "httpx_stamina",
    "open_ai",
    "ours",
    "slack",
    # Not in the group `test`, like the next ones, and one of the two generators needs Java.
    *(["generated"] if importlib.util.find_spec("openapi_generator_cli") and shutil.which("java") else []),
    *(["niquests_session"] if importlib.util.find_spec("niquests") else []),
    *(["aiosonic_client"] if importlib.util.find_spec("aiosonic") else []),
    *(["pyreqwest_client"] if importlib.util.find_spec("pyreqwest") else []),
    *(["kiota"] if importlib.util.find_spec("kiota_bundle") else []),
)


def measurement(*again: float) -> Measurement:
    """Return the figures of a floor that took a second in each round, and `again` seconds in its second run."""
    ones = [1.0] * len(again)
    return Measurement({"floor": Figures(10, ones, ones), FLOOR_AGAIN: Figures(10, again, ones)}, "floor")


def test_command_writes_the_figures_of_its_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, picture = tmp_path / "results.json", tmp_path / "picture.svg"

    suite.main(
        ["--only", "conversion", "--rounds", "2", "--scale", "0.002", "--json", str(results), "--plot", str(picture)]
    )

    printed = capsys.readouterr().out
    written = json.loads(results.read_text(encoding="utf-8"))
    assert written["settings"] == {"rounds": 2, "scale": 0.002}
    assert [table["name"] for table in written["tables"]] == [
        "conversion.decoding_1000",
        "conversion.encoding_1000",
        "conversion.decoding_100000",
        "conversion.encoding_100000",
        "conversion.decoding_held",
    ]
    for table in written["tables"]:
        assert table["title"] in printed
        for row in table["rows"]:
            assert all(cell in printed for cell in row)
            figures = table["figures"][row[0]]
            assert len(figures["cpu"]) == len(figures["wall"]) == 2
            assert f"{quartiles(figures['cpu']).middle / figures['calls'] * 1e6:.2f}" == row[1]
    svg = picture.read_text(encoding="utf-8")
    assert "<text" in svg
    assert "msgspec" in svg


def test_missing_peer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "niquests", None)
    for name in ("benchmarks.single_call", "benchmarks.peers.niquests_session"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    with pytest.raises(SystemExit, match=r"niquests.*pip install"):
        suite.main(["--only", "single_call"])


def test_each_contestant_runs_once_a_round_in_a_rotating_order() -> None:
    turns: list[tuple[str, int]] = []

    def contestant(name: str) -> rounds.Contestant:
        async def run(calls: int) -> None:
            turns.append((name, calls))

        return run

    async def measure_both() -> Measurement:
        return await rounds.measure(
            {"floor": contestant("floor"), "other": contestant("other")}, floor="floor", rounds=2, calls=50
        )

    result = asyncio.run(measure_both())

    assert turns[:3] == [("floor", 50), ("other", 50), ("floor", 50)]  # warm-up
    assert [name for name, calls in turns[3:] if calls == 50] == ["floor", "other", "floor", "other", "floor", "floor"]
    assert {len(figures.cpu) for figures in result.figures.values()} == {2}
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("again", [(1.0, 1.0, 1.0), (0.98, 1.0, 1.02), (0.5, 1.0, 1.0, 1.0, 2.0)])
def test_quiet_machine_gives_no_warning(again: tuple[float, ...]) -> None:
    assert measurement(*again).warnings() == ()


@pytest.mark.parametrize("again", [(1.1, 1.1, 1.1), (0.9, 1.0, 1.0, 0.9), (1.0, 1.0, 1.1, 1.1)])
def test_noisy_machine_gives_a_warning(again: tuple[float, ...]) -> None:
    noisy = measurement(*again)

    (warning,) = noisy.warnings()
    table = compare(noisy, name="a.b", title="something", unit="call")

    assert warning.startswith("NOISY")
    assert str(noisy.noise()) in warning
    assert warning in str(table)


def test_ratios_are_taken_round_by_round() -> None:
    slow = Figures(10, [2.0, 4.0, 6.0], [1.0, 1.0, 1.0])
    fast = Figures(10, [1.0, 2.0, 3.0], [1.0, 1.0, 1.0])

    assert str(slow.cpu_ratio(fast)) == "2.000 (2.000 to 2.000)"
    assert str(quartiles([1.5])) == "1.500 (1.500 to 1.500)"


def test_table_is_printed_with_its_notes() -> None:
    table = Table(
        name="a.b", title="Something", columns=["", "cost"], rows=[["one", "1"]], notes=["Of note."], warnings=["NOISY"]
    )

    assert str(table).splitlines() == [
        "### Something", "", "|     | cost |", "| --- | ---  |", "| one | 1    |", "", "Of note.", "", "NOISY",
    ]  # fmt: skip


def test_chart_leaves_out_the_second_run_of_the_floor() -> None:
    chart = compare(measurement(1.0, 1.0), name="a.b", title="something", unit="call", ours=["floor"]).chart

    assert isinstance(chart, Bars)
    assert list(chart.values) == ["floor"]


def test_picture_has_the_limits_and_the_mark_of_each_line_at_its_name(tmp_path: Path) -> None:
    lines = Lines(
        title="CPU of a get",
        x_label="tasks",
        y_label="× raw",
        lines={"one": [(1, 1.0), (1_000, 1.05)], "other": [(1, 1.2), (1_000, 1.2)]},
        ours=["one"],
        band=Band(label="aim: within 10 %", lower=0.9, upper=1.1),
    )

    picture.draw([Table(name="a.b", title="c", columns=[""], rows=[], chart=lines)], tmp_path / "picture.svg")

    svg = (tmp_path / "picture.svg").read_text(encoding="utf-8")
    for text in ("aim: within 10 %", "● one", "■ other", "1,000"):
        assert f">{text}</text>" in svg


def test_names_of_lines_with_equal_ends_are_kept_apart() -> None:
    heights = picture._kept_apart({"one": 0.5, "other": 0.5, "in two\nlines": 0.5, "far": 0.0})

    assert heights["far"] == 0.0
    below, middle, above = sorted(height for name, height in heights.items() if name != "far")
    assert below < middle < above
    assert above - below >= 2 * picture._LINE_HEIGHT
    assert middle == pytest.approx(0.5, abs=picture._LINE_HEIGHT)


@pytest.mark.parametrize("name", PEERS)
async def test_each_peer_makes_the_calls(name: str) -> None:
    module = importlib.import_module(f"benchmarks.peers.{name}")
    peers = [value for value in vars(module).values() if isinstance(value, Peer)]
    assert peers
    with server.running() as base_url:
        for peer in peers:
            async with peer.open(base_url) as calls:
                await workload.check(calls)


async def test_contestant_that_makes_no_call_is_rejected() -> None:
    async def nothing(_: Any) -> str:
        return ""

    with pytest.raises(AssertionError):
        await workload.check(Calls(get=nothing, create=nothing))


async def test_each_call_uses_a_new_id() -> None:
    ids: list[str] = []

    async def get(appointment_id: str) -> str:
        ids.append(appointment_id)
        return ""

    async def create(_: Draft) -> str:
        raise AssertionError

    await workload.workload(Calls(get=get, create=create), "get", tasks=4)(10)

    assert len(set(ids)) == len(ids) == 10


async def test_tenants_take_turns() -> None:
    called: list[str] = []

    async def get(tenant_id: str, _: str) -> str:
        called.append(tenant_id)
        return ""

    await tenants._in_turn(get, 3)(5)

    assert called == ["tenant-0", "tenant-1", "tenant-2", "tenant-0", "tenant-1"]


async def test_growth_by_tenants_is_measured_beside_one_tenant() -> None:
    with server.running() as base_url:
        table = await tenants._by_tenants(base_url, Settings(rounds=1, scale=0.001))
        alone = await tenants.bytes_of_tenant(base_url, "session", 50)
        with_token = await tenants.bytes_of_tenant(base_url, "token", 50)

    assert [row[0] for row in table.rows] == ["1", "10", "100"]
    assert isinstance(table.chart, Lines)
    assert all([size for size, _ in points] == [1, 10, 100] for points in table.chart.lines.values())
    assert 500 < alone < with_token < 10_000


async def test_calls_at_the_same_time_must_all_end_right() -> None:
    async def get(appointment_id: str) -> str:
        return "another title" if appointment_id.endswith("0") else server.TITLE

    with pytest.raises(AssertionError):
        await concurrent_calls.at_once(get, 10)


async def test_calls_at_the_same_time_are_measured_for_each_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(concurrent_calls, "_megabytes", lambda *_: 1.0)
    with server.running() as base_url:
        table = await concurrent_calls._measure(base_url, Settings(rounds=1, scale=0.001))
        growth = await concurrent_calls._growth(base_url, "connector_async", 5, 10)

    assert [row[0] for row in table.rows] == ["100", "1,000"]
    assert growth >= 0


def test_library_that_loses_a_field_is_rejected() -> None:
    ours = all_libraries()[0]
    losing = Library(name="losing", strictness="", load=ours.load, dump=lambda _: b'{"startTime":"","endTime":""}')

    with pytest.raises(AssertionError, match="losing"):
        conversion.check([losing])


def test_processes_take_slots_from_a_shared_store() -> None:
    with PostgresServer.started(FLAVORS["pgserver"]) as postgres:
        slots, median, tail = shared_limit.take_in_processes(postgres.url("postgres"), 2, keys=3, tasks=2, grants=100)
        stored = postgres.execute("SELECT count(*) FROM connector_rate_limits WHERE key LIKE 'https:%'")
    assert slots > 0
    assert 0 < median <= tail
    assert stored == [(3,)]


def test_workers_of_a_benchmark_do_the_whole_run() -> None:
    records = workers._records(2, 3)
    with PostgresServer.started(FLAVORS["pgserver"]) as postgres:
        figures = asyncio.run(workers._work(postgres.url("postgres"), "benchmark", records, 1))
    assert figures["minimum"] == 6
    assert figures["requests"] == 8  # and a token of each tenant
    assert figures["connections"] >= 1
    assert figures["megabytes"] > 0


async def test_both_readers_read_each_event_of_the_calendar(tmp_path: Path) -> None:
    for contestant in calendar_file.contestants(tmp_path).values():
        await contestant(3)

    path = calendar_file.calendar_file(tmp_path, 3)
    records = [item async for item in file_source(path, tenant_id="tenant").records()]
    assert [record.appointment.start_time.isoformat() for record in records if isinstance(record, SourceRecord)] == [
        "2024-01-01T08:00:00+00:00",
        "2024-01-01T08:30:00+00:00",
        "2024-01-01T09:00:00+00:00",
    ]


async def test_reader_that_does_not_read_an_event_is_rejected(tmp_path: Path) -> None:
    path = calendar_file.calendar_file(tmp_path, 2)
    path.write_bytes(path.read_bytes().replace(b"DTSTART;TZID=Europe/Berlin:2", b"X-START:2", 1))

    with pytest.raises(AssertionError, match="start_time is missing"):
        await calendar_file.read(path)


def test_sizes_are_scaled_and_at_least_one() -> None:
    settings = Settings(scale=0.001)

    assert (settings.size(100_000), settings.size(10), settings.rounds_or(7)) == (100, 1, 7)
    assert Settings(rounds=3).rounds_or(7) == 3


@pytest.mark.parametrize("name", ["limit", "parts", "middleware", "bulk"])
def test_module_measures_and_returns_tables(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    found = module.measure(Settings(rounds=2, scale=0.01))
    tables = found if isinstance(found, list) else [found]
    assert tables
    assert all(table.rows and all(len(row) == len(table.columns) for row in table.rows) for table in tables)


def test_ratio_that_has_grown_by_more_than_the_margin_is_reported() -> None:
    ratios = {"get": 1.06, "create": 1.02, "new": 0.1}
    assert instructions.grown(ratios, {"get": 1.0, "create": 1.0}) == [
        "get: 1.060 times the instructions of its floor, 1.000 before",
        "new: 0.100 times the instructions of its floor, 0.000 before",
    ]


def test_every_counted_case_has_a_ratio_to_compare_with() -> None:
    assert json.loads(instructions.BASELINE.read_text(encoding="utf-8")).keys() == instructions.CASES.keys()


class TestScale:
    SETUP = scale.Setup(name="test", concurrency=2)
    COSTS = scale.Costs(worker=10, slots=1_000, commits=1_000, commits_of_request=0, commits_of_tenant=0)

    def simulate(self, creates: list[int], machines: int = 1, **changes: Any) -> scale.Result:
        return scale.simulate(creates, machines, attrs.evolve(self.SETUP, **changes), self.COSTS)

    def test_tenants_progress_at_their_rate_limit(self) -> None:
        result = self.simulate([30, 60])
        assert result.seconds == pytest.approx(60)
        assert result.bound == "rate limit"

    def test_a_worker_has_so_many_tenants_in_work(self) -> None:
        result = self.simulate([60] * 8)
        assert result.seconds == pytest.approx(240)
        assert result.bound == "tenants in work"
        assert self.simulate([60] * 8, machines=2).seconds == pytest.approx(120)

    def test_a_worker_sends_so_much(self) -> None:
        result = self.simulate([10] * 100, concurrency=100)
        assert result.seconds == pytest.approx(100)
        assert result.bound == "workers"

    def test_machines_without_a_connection_do_not_work(self) -> None:
        result = self.simulate([60] * 8, machines=4, server_connections=14)
        assert result.seconds == pytest.approx(120)
        assert result.workers == 2

    def test_databases_and_redis_carry_more(self) -> None:
        creates = [100] * 10_000
        one, eight, redis = (
            scale.simulate(creates, 100, setup, scale.Costs())
            for setup in (
                scale.Setup(name="one", concurrency=1_000),
                scale.Setup(name="eight", concurrency=1_000, databases=8),
                scale.Setup(name="redis", concurrency=1_000, has_redis=True),
            )
        )
        assert (one.bound, redis.bound) == ("database", "Redis")
        assert one.seconds > redis.seconds > eight.seconds
        assert one.seconds == pytest.approx(8 * eight.seconds, rel=0.2)

    def test_table_and_chart_have_each_setup(self) -> None:
        (table,) = scale.measure(Settings(scale=0.01))
        assert isinstance(table.chart, Lines)
        assert list(table.chart.lines) == [setup.name for setup in scale.SETUPS]
        assert {len(row) for row in table.rows} == {len(scale.SETUPS) + 1}
