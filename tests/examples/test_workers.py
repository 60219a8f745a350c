import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from reminder_worker import work

from connector_async import AppointmentService, ClientCredentials, ConnectorSession, NewAppointment
from connector_async.sandbox import DelayFault, DropAfter, Sandbox, SeedAppointment, StatusFault
from tests.support.example_process import EXAMPLES, running
from tests.support.fake_redis import fake_redis
from tests.support.virtual_time import LoopClock

MISSING = "00000000-0000-0000-0000-000000000000"
HOUR = 3600
TIMES = ("2024-01-15T14:00:00Z", "2024-01-15T14:30:00Z")


def visit(start: datetime) -> SeedAppointment:
    return SeedAppointment(title="Visit", start=start, end=start + timedelta(minutes=30))


@pytest.mark.virtual_time
async def test_reminder_worker_reminds_once_of_each_appointment_for_hours(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    clock = LoopClock()
    begin = datetime.fromtimestamp(clock.time(), UTC)
    tenants = ["acme", "globex", "initech"]
    stop = asyncio.Event()
    async with (
        Sandbox(now=clock.time, monotonic=clock.monotonic) as sandbox,
        ConnectorSession(
            sandbox.base_url,
            tenant_id="acme",
            auth=ClientCredentials("sandbox", "sandbox-secret", clock=clock),
            clock=clock,
            keepalive_timeout=24 * HOUR,  # the pool has a timer for each, which would be most of the jumps
        ) as session,
    ):
        due = [begin + timedelta(hours=hour, minutes=12) for hour in range(12)]
        ids = {tenant: await sandbox.seed(tenant, [visit(start) for start in due]) for tenant in tenants}
        # The three attempts of the first round. The second round is still in time for the first appointment.
        sandbox.faults.script(*[StatusFault(500)] * 3, operation="preview", tenant="globex")
        asyncio.get_running_loop().call_later(6 * HOUR - 1, stop.set)
        await work(session, tenants, interval=600, stop=stop)
        assert clock.monotonic() == pytest.approx(6 * HOUR - 1)
        for tenant in tenants:
            assert sandbox.log.count(operation="token", tenant=tenant) >= 6  # each token expires after an hour
            assert 35 <= sandbox.log.count(operation="preview", tenant=tenant, status=200) < 40
    expected = [
        f"{tenant} {one} starts at {start:%H:%M}"
        for tenant in tenants
        for one, start in zip(ids[tenant][:6], due[:6], strict=True)
    ]
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(expected)
    (failure,) = [record.getMessage() for record in caplog.records if record.name == "reminder_worker"]
    assert failure.startswith("globex: ")


async def test_reminder_worker_survives_an_error_and_ends_on_sigterm(sandbox: Sandbox) -> None:
    (known,) = await sandbox.seed("acme", [visit(datetime.now(UTC) + timedelta(minutes=10))])
    sandbox.faults.script(StatusFault(403), tenant="acme", operation="preview")
    environment = {"TENANTS": "acme,globex", "INTERVAL": "0.05"}
    async with running(sandbox, str(EXAMPLES / "reminder_worker.py"), environment=environment) as process:
        await process.line(rf"^acme {known} starts at \d\d:\d\d$")
        process.terminate()
        assert await process.ended() == 0
    assert len(process.out) == 1
    (warning,) = process.err
    assert "WARNING reminder_worker: acme: " in warning
    assert sandbox.log.count(tenant="globex", operation="preview", status=200) >= 1


# Asks for seven appointments at once, and prints the id or the error of each.
BOOK_SEVEN = """
import json, sys
from celery import Celery

app = Celery()
tasks = [app.send_task("celery_tasks.book", ["acme", json.loads(sys.argv[1])]) for _ in range(7)]
for task in tasks:
    result = task.get(timeout=20, propagate=False)
    print(result if isinstance(result, str) else type(result).__name__)
"""


async def test_taskiq_worker_runs_what_another_process_asks_for(
    sandbox: Sandbox, appointments: AppointmentService, draft: NewAppointment
) -> None:
    moved = await appointments.create(draft)
    with fake_redis() as url:
        environment = {"REDIS_URL": url}
        worker = ("-m", "taskiq", "worker", "--workers", "1", "taskiq_worker:broker")
        async with running(sandbox, *worker, environment=environment) as process:
            await process.line("Listening started")
            for appointment_id, outcome in ((moved.appointment_id, "moved"), (MISSING, "NotFoundError")):
                arguments = (str(EXAMPLES / "taskiq_worker.py"), "acme", appointment_id, *TIMES)
                async with running(sandbox, *arguments, environment=environment) as program:
                    assert await program.ended() == 0
                assert program.err == []
                assert [line.split("(")[0] for line in program.out] == [outcome]
            process.terminate()
            assert await process.ended() == 0
    assert "Warning" not in "".join(process.err)
    found = await appointments.get(moved.appointment_id)
    assert found.start_time == datetime(2024, 1, 15, 14, tzinfo=UTC)
    assert sandbox.log.count(operation="update", status=200) == 1


async def test_celery_tasks_run_in_forked_processes_and_repeat_no_lost_create(
    draft: NewAppointment, credentials: ClientCredentials
) -> None:
    both = asyncio.Barrier(2)

    async def wait_for_both(_: float) -> None:
        await both.wait()

    # The tests may run as root, and Celery calls a method that redis has deprecated.
    ignored = ("-W", "ignore:You're running the worker with superuser", "-W", "ignore:Call to deprecated setex")
    worker = (*ignored, "-m", "celery", "--app", "celery_tasks", "worker", "--loglevel", "INFO")
    async with Sandbox(sleep=wait_for_both) as sandbox:
        # The first create waits for the second, which takes another process. The third one is lost.
        sandbox.faults.script(DelayFault(1), DelayFault(1), DropAfter(), operation="create")
        with fake_redis() as url:
            environment = {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": url}
            async with running(sandbox, *worker, environment=environment) as process:
                await process.line("ready")
                ask = ("-c", BOOK_SEVEN, json.dumps(draft.to_dict()))
                async with running(sandbox, *ask, environment=environment) as program:
                    assert await program.ended() == 0, (program.out, program.err, process.err)
                process.terminate()
                assert await process.ended() == 0
        async with ConnectorSession(sandbox.base_url, tenant_id="acme", auth=credentials) as session:
            shown = {found.appointment_id async for found in AppointmentService(session).preview()}
    assert program.err == []
    assert len(shown) == sandbox.log.count(operation="create") == 7  # the lost one is not repeated
    assert program.out.count("OutcomeUnknownError") == 1
    assert {*program.out} - {"OutcomeUnknownError"} < shown
    assert len({*program.out}) == 7
    children = {line.split("ForkPoolWorker-")[1].split("]")[0] for line in process.err if "succeeded" in line}
    assert children == {"1", "2"}
    assert "Warning" not in "".join(process.err)
