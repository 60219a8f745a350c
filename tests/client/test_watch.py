"""`watch()`: which changes it yields and when, what a snapshot resumes, and that no error loses or invents an event."""

import asyncio
import itertools
import json
import pickle
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from connector_async import (
    Appointment,
    AppointmentEvent,
    AppointmentService,
    AuthenticationError,
    ClientCredentials,
    ConnectorError,
    ConnectorSession,
    Created,
    CursorPaging,
    DecodingError,
    Deleted,
    DirectoryUser,
    ForbiddenError,
    InvalidArgumentError,
    NewAppointment,
    PaginationError,
    RateLimit,
    RetryPolicy,
    ServerError,
    TransportError,
    Updated,
    Watch,
    WireFormat,
)
from connector_async.sandbox import (
    BodyFormat,
    DelayFault,
    DropBefore,
    PreviewPaging,
    Sandbox,
    StatusFault,
    TruncatedResponse,
    synthetic_seeds,
)
from tests.support.hostile import HostileServer, http
from tests.support.services import FIELDS, FOUND, PREVIEW, open_service
from tests.support.virtual_time import LoopClock, now, ticking

pytestmark = pytest.mark.virtual_time

TEN = datetime(2024, 1, 15, 10, tzinfo=UTC)
DAY = timedelta(days=1)
ONCE = RetryPolicy.none()
NO_ITEMS = http(200, b"[]")


def visit(title: str, **fields: Any) -> NewAppointment:
    arguments: dict[str, Any] = {"start_time": TEN, "end_time": TEN + timedelta(hours=1), **fields}
    return NewAppointment(title=title, **arguments)


@asynccontextmanager
async def connected(
    sandbox: Sandbox, *, wire_format: WireFormat = WireFormat.GUIDE, **options: Any
) -> AsyncIterator[AppointmentService]:
    """Open a service of the sandbox that makes one attempt, on the time of the running loop."""
    clock = LoopClock(0.0)
    async with (
        ticking(0.5),  # the sandbox works in a thread
        ConnectorSession(
            sandbox.base_url,
            tenant_id="acme",
            auth=ClientCredentials("sandbox", "sandbox-secret", clock=clock),
            wire_format=wire_format,
            rate_limit=RateLimit.unlimited(),
            clock=clock,
        ) as session,
    ):
        yield AppointmentService(session, retry=ONCE, **options)


@pytest.fixture
async def service(sandbox: Sandbox) -> AsyncIterator[AppointmentService]:
    async with connected(sandbox) as opened:
        yield opened


async def take(watch: Watch, count: int = 1) -> list[AppointmentEvent]:
    async with asyncio.timeout(200):
        return [await anext(watch) for _ in range(count)]


async def nothing_happens(watch: Watch, seconds: float = 5) -> None:
    """Assert that there is no event in two polls."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(watch), seconds)


class Calendar:
    """A server with a preview and appointments that a test edits one by one."""

    def __init__(self, *ids: str) -> None:
        self.items: dict[str, dict[str, Any]] = {each: FIELDS | {"appointmentId": each} for each in ids}
        self.shown: Callable[[dict[str, Any]], dict[str, Any] | None] = lambda item: item
        """What the preview has of an item."""
        self.found: Callable[[str], bytes] | None = None
        """The response to a request for one appointment."""
        self.looked_up: list[str] = []

    async def respond(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = urlsplit(self.server.requests[-1].target)
        if target.path.endswith("/preview"):
            shown = [self.shown(item) for item in self.items.values()]
            writer.write(http(200, json.dumps([item for item in shown if item is not None]).encode()))
            return
        appointment_id = parse_qs(target.query)["appointmentId"][0]
        self.looked_up.append(appointment_id)
        if self.found is not None:
            writer.write(self.found(appointment_id))
            return
        item = next((item for key, item in self.items.items() if key.lower() == appointment_id.lower()), None)
        writer.write(http(404) if item is None else http(200, json.dumps(item).encode()))

    @asynccontextmanager
    async def watched(self, *args: Any, **options: Any) -> AsyncIterator[Watch]:
        """Start a watch that knows the items."""
        async with HostileServer(self.respond) as self.server:
            service = open_service(self.server, clock=LoopClock(0.0), retry=ONCE)
            watch = service.watch(*args, interval=2, **options)
            await watch.start()
            yield watch


async def test_created_updated_and_deleted_appointments_are_yielded(
    sandbox: Sandbox, service: AppointmentService
) -> None:
    _, changed, deleted = [await service.create(visit(title)) for title in ("kept", "changed", "deleted")]
    watch, started_at = service.watch(), now()
    await watch.start()
    await service.delete(deleted.appointment_id)
    await service.update(changed.appointment_id, title="other", end_time=TEN + timedelta(hours=2))
    new = await service.create(visit("new", description="notes"))
    update, creation, deletion = await take(watch, 3)
    assert isinstance(update, Updated)
    assert (update.appointment_id, update.appointment.title) == (changed.appointment_id, "other")
    assert update.changed == ("title", "end_time")
    assert isinstance(creation, Created)
    assert creation.appointment == await service.get(new.appointment_id)
    assert deletion == Deleted(deleted.appointment_id)
    assert 60 <= now() - started_at < 70


async def test_existing_appointments_are_known_unless_they_are_to_be_created(service: AppointmentService) -> None:
    created = await service.create(visit("first"))
    await nothing_happens(service.watch(interval=2))
    watch = service.watch(interval=2, initial="created")
    assert json.loads(await watch.start())["known"] == {}
    assert [event.appointment_id for event in await take(watch)] == [created.appointment_id]
    await nothing_happens(watch)


async def test_watch_resumes_from_a_snapshot_with_what_has_happened_since(service: AppointmentService) -> None:
    kept, deleted = [await service.create(visit(title)) for title in ("kept", "deleted")]
    snapshot = await service.watch().start()
    started_at = now()
    await service.delete(deleted.appointment_id)
    await service.update(kept.appointment_id, description="notes")
    update, deletion = await take(service.watch(snapshot=snapshot), 2)
    assert isinstance(update, Updated)
    assert update.changed == ("description",)
    assert deletion == Deleted(deleted.appointment_id)
    assert now() - started_at < 50


async def test_snapshot_has_an_event_only_once_it_was_handled(service: AppointmentService) -> None:
    ids = [(await service.create(visit(title))).appointment_id for title in ("first", "second", "third")]
    watch = service.watch(interval=2, initial="created")
    seen: list[str] = []
    async for event in watch:
        seen.append(event.appointment_id)
        if len(seen) == 2:
            break  # the second event was delivered, and not handled
    again = service.watch(interval=2, snapshot=watch.snapshot)
    assert sorted([seen[0], *(event.appointment_id for event in await take(again, 2))]) == sorted(ids)
    async for event in watch:  # so does another loop over the same watch
        assert event.appointment_id == seen[1]
        break


async def test_acknowledged_event_is_in_the_snapshot(service: AppointmentService) -> None:
    await service.create(visit("first"))
    watch = service.watch(interval=2, initial="created")
    watch.acknowledge()  # nothing was delivered
    assert [type(event) for event in await take(watch)] == [Created]
    watch.acknowledge()
    watch.acknowledge()
    await nothing_happens(service.watch(interval=2, snapshot=watch.snapshot))
    await nothing_happens(aiter(watch))


async def test_event_in_doubt_is_delivered_again_even_if_its_change_was_taken_back(service: AppointmentService) -> None:
    _, changed = [await service.create(visit(title)) for title in ("kept", "changed")]
    watch = service.watch(interval=2)
    await watch.start()
    await service.update(changed.appointment_id, title="other")
    snapshots: list[str] = []
    await take(watch)
    snapshots.append(watch.snapshot)
    new = await service.create(visit("new"))
    await take(watch)
    snapshots.append(watch.snapshot)
    await service.update(changed.appointment_id, title="changed")
    await service.delete(new.appointment_id)
    update = Updated(await service.get(changed.appointment_id), ())
    assert await take(service.watch(snapshot=snapshots[0])) == [update]
    again = service.watch(snapshot=snapshots[1])
    assert again.snapshot == snapshots[1]
    reverted, deletion = await take(again, 2)
    assert reverted == Updated(update.appointment, ("title",))
    assert deletion == Deleted(new.appointment_id)
    await nothing_happens(again, 100)


async def test_snapshot_before_the_first_poll_starts_anew(service: AppointmentService) -> None:
    snapshot = service.watch(interval=2).snapshot
    created = await service.create(visit("first"))
    watch = service.watch(interval=2, snapshot=snapshot, initial="created")
    assert [event.appointment_id for event in await take(watch)] == [created.appointment_id]


async def test_failed_polls_are_reported_and_lose_and_invent_nothing(
    sandbox: Sandbox, service: AppointmentService, caplog: pytest.LogCaptureFixture
) -> None:
    created = await service.create(visit("Secret"))
    errors: list[ConnectorError] = []
    watch = service.watch(interval=2, on_error=errors.append)
    started_at = now()
    await watch.start()
    sandbox.faults.script(StatusFault(503), DropBefore(), TruncatedResponse(), operation="preview")
    await service.delete(created.appointment_id)
    assert await take(watch) == [Deleted(created.appointment_id)]
    assert [type(error) for error in errors] == [ServerError, TransportError, TransportError]
    assert 8 <= now() - started_at < 18
    warnings = [record.getMessage() for record in caplog.records if "watch for" in record.getMessage()]
    assert len(warnings) == 3
    assert warnings[0].startswith("watch for tenant acme: a request failed (ServerError 503, request ")
    assert re.search(r"the next poll is in [12] s$", warnings[0])
    assert "Secret" not in caplog.text


@pytest.mark.parametrize("body", [b"", b"<html>", b'[{"appointmentId":"1"}]', b'{"items":[],"hasMore":true}'], ids=str)
async def test_preview_that_cannot_be_read_is_an_error_and_no_deletion(body: bytes) -> None:
    errors: list[ConnectorError] = []
    async with HostileServer(PREVIEW, http(200, body), PREVIEW) as server:
        watch = open_service(server, clock=LoopClock(), retry=ONCE).watch(interval=2, on_error=errors.append)
        await watch.start()
        await nothing_happens(watch)
        assert all("/preview" in request.target for request in server.requests)
    assert [type(error) for error in errors] == [DecodingError]


@pytest.mark.parametrize(("status", "error"), [(401, AuthenticationError), (403, ForbiddenError)])
async def test_refused_poll_is_raised_and_the_watch_can_go_on(status: int, error: type[Exception]) -> None:
    errors: list[ConnectorError] = []
    async with HostileServer(PREVIEW, http(status), PREVIEW, NO_ITEMS, http(404)) as server:
        watch = open_service(server, clock=LoopClock(), retry=ONCE).watch(interval=2, on_error=errors.append)
        await watch.start()
        with pytest.raises(error):
            await anext(watch)
        assert await take(watch) == [Deleted("123")]
    assert errors == []
    assert now() == pytest.approx(6, abs=0.5)


async def test_error_on_a_later_page_hides_no_appointment() -> None:
    paging = CursorPaging(items="items", cursor="nextCursor", parameter="cursor")
    async with (
        Sandbox(paging=PreviewPaging.CURSOR, page_size=2) as sandbox,
        connected(sandbox, paging=paging) as service,
    ):
        ids = await sandbox.seed("acme", synthetic_seeds(5))
        errors: list[ConnectorError] = []
        watch = service.watch(interval=2, on_error=errors.append)
        await watch.start()
        sandbox.faults.script(DelayFault(0), StatusFault(500), operation="preview")
        await service.delete(ids[0])
        await service.delete(ids[4])
        assert await take(watch, 2) == [Deleted(ids[0]), Deleted(ids[4])]
    assert [type(error) for error in errors] == [ServerError]


async def test_paging_error_is_reported_and_retried() -> None:
    page = http(200, b'{"items":[],"nextCursor":"same"}')
    errors: list[ConnectorError] = []
    async with HostileServer(page) as server:
        paging = CursorPaging(items="items", cursor="nextCursor", parameter="cursor")
        service = open_service(server, clock=LoopClock(), paging=paging)
        await nothing_happens(service.watch(interval=2, on_error=errors.append), 3)
    assert [type(error) for error in errors] == [PaginationError] * 2


async def test_appointment_that_a_preview_misses_is_looked_up_before_it_is_deleted() -> None:
    calendar = Calendar("1", "2")
    async with calendar.watched() as watch:
        calendar.shown = lambda _: None  # a preview that lags, or is wrongly empty
        await nothing_happens(watch)
        assert calendar.looked_up == ["1", "2"] * 2  # by each of two polls
        calendar.items["1"] = calendar.items["1"] | {"title": "Other", "description": None}
        del calendar.items["2"]
        update, deletion = await take(watch, 2)
        assert isinstance(update, Updated)
        assert update.changed == ("title", "description")
        assert deletion == Deleted("2")
        await nothing_happens(watch)


async def test_skipped_item_is_no_deletion() -> None:
    calendar = Calendar("1", "2")
    errors: list[ConnectorError] = []
    async with calendar.watched(on_invalid="skip", on_error=errors.append) as watch:
        calendar.items["1"] = {"appointmentId": "1"}
        del calendar.items["2"]
        assert await take(watch) == [Deleted("2")]
        await nothing_happens(watch)
    assert {type(error) for error in errors} == {DecodingError}


async def test_appointment_that_moves_out_of_the_range_is_updated_and_then_not_watched() -> None:
    calendar = Calendar("1")
    async with calendar.watched(TEN, TEN + DAY) as watch:
        before = calendar.items["1"]
        calendar.items["1"] = before | {"startTime": "2024-02-15T10:00:00Z", "endTime": "2024-02-15T11:00:00Z"}
        (update,) = await take(watch)
        assert isinstance(update, Updated)
        assert update.appointment.start_time == datetime(2024, 2, 15, 10, tzinfo=UTC)
        assert update.changed == ("start_time", "end_time")
        await nothing_happens(watch)
        assert calendar.looked_up == ["1"]
        calendar.items["1"] = before
        assert [type(event) for event in await take(watch)] == [Created]


async def test_description_that_previews_omit_is_unknown() -> None:
    calendar = Calendar("1")
    calendar.shown = lambda item: {key: value for key, value in item.items() if key != "description"}
    async with calendar.watched() as watch:
        await nothing_happens(watch)
        calendar.items["1"] = calendar.items["1"] | {"title": "Other"}
        (update,) = await take(watch)
        assert isinstance(update, Updated)
        assert update.changed == ("title",)
        assert calendar.looked_up == []


async def test_description_that_is_not_shown_any_more_is_looked_up_once() -> None:
    calendar = Calendar("1", "2")
    async with calendar.watched() as watch:
        calendar.items["1"] = calendar.items["1"] | {"description": None}
        (update,) = await take(watch)
        assert isinstance(update, Updated)
        assert (update.appointment_id, update.changed) == ("1", ("description",))
        calendar.shown = lambda item: {key: value for key, value in item.items() if key != "description"}
        await nothing_happens(watch, 9)
        assert calendar.looked_up == ["1", "2"]
        calendar.shown = lambda item: item
        calendar.items["2"] = calendar.items["2"] | {"description": "Other"}
        (update,) = await take(watch)
        assert isinstance(update, Updated)
        assert (update.appointment_id, update.changed) == ("2", ("description",))


async def test_ids_that_differ_in_case_alone_are_the_same() -> None:
    calendar = Calendar("ab", "Ab", "x")  # the first two are of a server that minds the case
    async with calendar.watched() as watch:
        calendar.shown = lambda item: item | {"appointmentId": item["appointmentId"].replace("x", "X")}
        await nothing_happens(watch)
        calendar.items["x"] = calendar.items["x"] | {"title": "Other"}
        (update,) = await take(watch)
        assert isinstance(update, Updated)
        assert (update.appointment_id, update.changed) == ("X", ("title",))
        await nothing_happens(watch)
        calendar.items = {"AB": FIELDS | {"appointmentId": "AB"}, "x": calendar.items["x"]}
        calendar.found = lambda _: http(404)
        creation, *deletions = await take(watch, 3)
        assert isinstance(creation, Created)
        assert creation.appointment_id == "AB"
        assert deletions == [Deleted("ab"), Deleted("Ab")]


async def test_id_that_no_request_can_name_is_deleted_when_it_is_not_shown() -> None:
    calendar = Calendar("..", ".")
    async with calendar.watched() as watch:
        calendar.items[".."] = calendar.items[".."] | {"description": None, "title": "Other"}
        del calendar.items["."]
        update, deletion = await take(watch, 2)
        assert isinstance(update, Updated)
        assert (update.appointment_id, update.changed) == ("..", ("title",))
        assert deletion == Deleted(".")
        assert calendar.looked_up == []


async def test_lookup_that_fails_is_reported_and_left_to_the_next_poll() -> None:
    calendar = Calendar("1", "2")
    errors: list[ConnectorError] = []
    async with calendar.watched(on_error=errors.append) as watch:
        calendar.items.clear()
        calendar.found = lambda appointment_id: http(500 if appointment_id == "1" else 404)
        assert await take(watch) == [Deleted("2")]
        calendar.found = lambda _: http(401)
        with pytest.raises(AuthenticationError):
            await anext(watch)
        calendar.found, raised_at = None, now()
        assert await take(watch) == [Deleted("1")]
        assert now() - raised_at == pytest.approx(2, abs=0.3)
    assert [type(error) for error in errors] == [ServerError]


async def test_polls_are_an_interval_apart_from_start_to_start() -> None:
    times: list[float] = []

    async def slow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        times.append(round(now()))
        await asyncio.sleep(7)
        writer.write(PREVIEW)

    async with HostileServer(slow) as server:
        watch = open_service(server, clock=LoopClock()).watch(interval=20)
        await nothing_happens(watch, 65)
        assert times == [0, 20, 40, 60]
        await asyncio.sleep(100)  # a consumer that takes long
        await nothing_happens(watch, 25)
        assert times == [0, 20, 40, 60, 165, 185]


async def test_polls_wait_for_slots_and_let_single_calls_go_first() -> None:
    times: list[tuple[float, bool]] = []
    errors: list[ConnectorError] = []

    async def record(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_preview = "/preview" in server.requests[-1].target
        times.append((now(), is_preview))
        page = len(times)
        writer.write(http(200, b'{"items":[],"nextCursor":"%d"}' % page) if is_preview else FOUND)

    async with HostileServer(record) as server:
        paging = CursorPaging(items="items", cursor="nextCursor", parameter="cursor")
        second = RateLimit(limit=61, per=60, burst=1)
        service = open_service(server, clock=LoopClock(), paging=paging, rate_limit=second)
        waiting = asyncio.create_task(anext(service.watch(interval=1, on_error=errors.append)))
        for _ in range(5):
            await asyncio.sleep(10.5)
            started_at = now()
            await service.get("123", deadline=3)
            assert now() - started_at < 2.1
        await service.session.penalize(90)
        await asyncio.sleep(100)
        waiting.cancel()
        await asyncio.wait([waiting])
    gaps = [after - before for (before, _), (after, _) in itertools.pairwise(times)]
    assert min(gaps) > 0.99
    assert sum(not is_preview for _, is_preview in times) == 5
    assert len(times) > 45
    assert errors == []  # a bulk call has no deadline of its own


async def test_closed_session_ends_the_watch_with_an_error(sandbox: Sandbox) -> None:
    async with connected(sandbox) as service:
        watch = service.watch(interval=2)
        await watch.start()
        waiting = asyncio.create_task(anext(watch))
        await asyncio.sleep(1)
        await service.session.aclose()
        with pytest.raises(RuntimeError, match="the session was closed"):
            await waiting
        with pytest.raises(RuntimeError, match="the session is closed"):
            await anext(service.watch(interval=2))


async def test_cancellation_loses_no_event(sandbox: Sandbox, service: AppointmentService) -> None:
    created = await service.create(visit("first"))
    watch = service.watch(interval=2)
    await watch.start()
    await service.delete(created.appointment_id)
    await nothing_happens(watch, 1)  # while it waits
    sandbox.faults.script(DelayFault(5), operation="preview")
    await nothing_happens(watch, 3)  # during a poll
    sandbox.faults.script(DelayFault(5), operation="get")
    await nothing_happens(watch, 3)  # during a lookup
    assert await take(watch) == [Deleted(created.appointment_id)]


async def test_only_one_task_may_wait_for_an_event(service: AppointmentService) -> None:
    watch = service.watch(interval=2)
    waiting = asyncio.create_task(anext(watch))
    await asyncio.sleep(1)
    for call in (anext(watch), watch.start()):
        with pytest.raises(RuntimeError, match="another task waits for an event of this watch"):
            await call
    waiting.cancel()
    await asyncio.wait([waiting])
    assert json.loads(await watch.start())["known"] == {}


async def test_two_watches_of_one_service_each_yield_every_event(service: AppointmentService) -> None:
    watches = [service.watch(interval=seconds) for seconds in (10, 25)]
    await asyncio.gather(*(watch.start() for watch in watches))
    created = await service.create(visit("first"))
    first, second = await asyncio.gather(*(take(watch) for watch in watches))
    assert first == second == [Created(await service.get(created.appointment_id))]


async def test_range_bounds_the_events(service: AppointmentService) -> None:
    watch = service.watch(TEN, TEN + DAY, interval=2)
    await watch.start()
    await service.create(visit("before", start_time=TEN - DAY, end_time=TEN))
    await service.create(visit("after", start_time=TEN + DAY, end_time=TEN + DAY))
    inside = await service.create(visit("inside"))
    assert [event.appointment_id for event in await take(watch)] == [inside.appointment_id]
    await nothing_happens(watch)


async def test_reference_format_watches_the_range_of_a_user_in_windows() -> None:
    async with (
        Sandbox(body_format=BodyFormat.REFERENCE) as sandbox,
        connected(sandbox, wire_format=WireFormat.REFERENCE, user=DirectoryUser("ann", "contoso")) as service,
    ):
        with pytest.raises(InvalidArgumentError, match="start"):
            service.watch(interval=2)
        watch = service.watch(TEN, TEN + 3 * DAY, interval=2, window=DAY)
        await watch.start()
        created = await service.create(visit("first", description="<b>x</b>", description_type="Html"))
        assert [event.appointment_id for event in await take(watch)] == [created.appointment_id]
        await service.update(created.appointment_id, description="", description_type="Text", time_zone="Europe/Oslo")
        (update,) = await take(watch)
        assert isinstance(update, Updated)
        assert update.changed == ("description", "description_type", "time_zone")
        assert sandbox.log.count(operation="preview") == 9
        other = AppointmentService(service.session, user=DirectoryUser("bob", "contoso"))
        with pytest.raises(InvalidArgumentError, match="the same server, wire format, tenant, user and time range"):
            other.watch(TEN, TEN + 3 * DAY, snapshot=watch.snapshot)


async def test_snapshot_of_another_target_or_range_is_rejected(service: AppointmentService) -> None:
    snapshot = await service.watch(TEN).start()
    service.watch(TEN, snapshot=snapshot)
    others: list[Callable[[], Watch]] = [
        lambda: service.watch(interval=2, snapshot=snapshot),
        lambda: service.watch(TEN, TEN + DAY, snapshot=snapshot),
        lambda: AppointmentService(service.session.for_tenant("globex")).watch(TEN, snapshot=snapshot),
        lambda: open_service("http://127.0.0.1:1").watch(TEN, snapshot=snapshot),
    ]
    for other in others:
        with pytest.raises(InvalidArgumentError, match="the same server, wire format, tenant, user and time range"):
            other()


@pytest.mark.parametrize(
    "change",
    [{"format": 2}, {"known": []}, {"known": {"1": 2}}, {"known": {"1": "a b"}}, {"in_doubt": {}}, {"in_doubt": [1]}],
    ids=str,
)
async def test_snapshot_of_another_form_is_rejected(service: AppointmentService, change: dict[str, Any]) -> None:
    snapshot = json.loads(service.watch(interval=2).snapshot)
    for wrong in (json.dumps(snapshot | change), "", "[]"):
        with pytest.raises(InvalidArgumentError, match="snapshot must be that of a watch of this version"):
            service.watch(snapshot=wrong)


async def test_snapshot_holds_no_personal_data_and_is_small(sandbox: Sandbox, service: AppointmentService) -> None:
    ids = await sandbox.seed("acme", synthetic_seeds(100))
    titles = {appointment.title for appointment in await service.preview().collect()}
    snapshot = await service.watch(interval=2).start()
    assert list(json.loads(snapshot)["known"]) == ids
    assert not any(title in snapshot for title in titles)
    assert "00:00" not in snapshot
    assert len(snapshot) < 120 * 100


def test_events_are_pickled_and_hide_personal_data_in_their_repr() -> None:
    appointment = Appointment("1", "Secret", TEN, TEN, "Private")
    for event in (Created(appointment), Updated(appointment, ("title",)), Deleted("1")):
        assert pickle.loads(pickle.dumps(event)) == event
        assert "Secret" not in repr(event)
        assert "Private" not in repr(event)
        assert hash(event) == hash(pickle.loads(pickle.dumps(event)))
        with pytest.raises(AttributeError):
            event.appointment_id = "2"  # type: ignore[misc]


async def test_error_of_on_error_ends_the_loop(sandbox: Sandbox, service: AppointmentService) -> None:
    def give_up(error: ConnectorError) -> None:
        raise LookupError("given up") from error

    sandbox.faults.script(StatusFault(500), operation="preview")
    watch = service.watch(interval=2, on_error=give_up)
    with pytest.raises(LookupError, match="given up"):
        await anext(watch)
    await watch.start()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"interval": 0}, ValueError, "interval must be above zero"),
        ({"interval": "60"}, TypeError, "interval must be a number of seconds, not str"),
        ({"initial": "updated"}, ValueError, "initial must be 'known' or 'created'"),
        ({"snapshot": {}}, TypeError, "snapshot must be a str, not dict"),
        ({"on_error": 1}, TypeError, "on_error must be callable, not int"),
        ({"on_error": test_cancellation_loses_no_event}, TypeError, "on_error must be a plain function"),
        ({"start": datetime(2024, 1, 15)}, ValueError, "start must be aware"),
        ({"deadline": 0}, ValueError, "deadline must be above zero"),
        ({"on_invalid": "ignore"}, ValueError, "on_invalid must be 'raise' or 'skip'"),
    ],
    ids=str,
)
async def test_invalid_argument_is_rejected(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        open_service("http://127.0.0.1:1").watch(**options)
