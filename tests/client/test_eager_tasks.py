"""Features that create tasks, in an event loop with eager tasks (Python 3.12 and later)."""

import asyncio
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from connector_async import (
    AppointmentService,
    BulkReport,
    ClientCredentials,
    Clock,
    ConnectorSession,
    DirectoryUser,
    NewAppointment,
    OutcomeUnknownError,
    PageNumbers,
    RateLimit,
    Status,
    Token,
    WireFormat,
    found_by_preview,
)
from connector_async.protocol import Response
from connector_async.sandbox import DropAfter, Sandbox, StatusFault
from tests.support.hostile import HostileServer, hang, http
from tests.support.services import FIELDS, open_service

if sys.version_info >= (3, 12):

    @pytest.fixture
    async def eager_tasks() -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()
        factory = loop.get_task_factory()
        loop.set_task_factory(asyncio.eager_task_factory)
        try:
            async with asyncio.timeout(20):
                yield
        finally:
            loop.set_task_factory(factory)

    @pytest.mark.usefixtures("eager_tasks")
    async def test_calls_and_bulk_operations_work_with_eager_tasks(
        appointments: AppointmentService, sandbox: Sandbox, draft: NewAppointment
    ) -> None:
        sandbox.faults.script(StatusFault(503), DropAfter(), operation="create")
        await appointments.create(draft, verify=found_by_preview())
        created = await BulkReport().collect(appointments.create_many([draft] * 40, concurrency=8))
        assert created.counts == {Status.DONE: 40}
        found = await asyncio.gather(*[appointments.preview().collect() for _ in range(5)])
        ids = [appointment.appointment_id for appointment in found[0]]
        deleted = await BulkReport().collect(appointments.delete_many(ids))
        assert deleted.counts == {Status.DONE: 41}
        assert sandbox.log.count(operation="token") == 1

    @pytest.mark.usefixtures("eager_tasks")
    async def test_callers_share_one_token_request_with_eager_tasks(sandbox: Sandbox) -> None:
        auth = ClientCredentials("sandbox", "sandbox-secret")
        async with ConnectorSession(
            sandbox.base_url, tenant_id="acme", auth=auth, rate_limit=RateLimit.unlimited()
        ) as session:
            await asyncio.gather(*[AppointmentService(session).preview().collect() for _ in range(20)])
        assert sandbox.log.count(operation="token") == 1

    def test_token_fetch_that_ends_within_create_task_does_not_deadlock() -> None:
        class AtOnce:
            """A `TokenSend` that responds without a wait."""

            base_url = "https://api.example"

            async def post_token_request(self, body: bytes) -> Response:  # noqa: ARG002 - the protocol's parameter
                return Response(status=200, headers={}, body=b'{"accessToken":"t","expiresIn":3600}')

            def create_task(self, fetch: Any) -> asyncio.Task[Token]:
                return asyncio.create_task(fetch)

        async def fetch() -> None:
            asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
            auth = ClientCredentials("id", "secret")
            fetched.extend(await asyncio.gather(*[auth.token("acme", AtOnce()) for _ in range(3)]))

        fetched: list[Token] = []
        # In a thread, since a deadlock would block the event loop with all its timeouts.
        thread = threading.Thread(target=lambda: asyncio.run(fetch()), daemon=True)
        thread.start()
        thread.join(5)
        assert [token.value.reveal() for token in fetched] == ["t"] * 3

    @pytest.mark.usefixtures("eager_tasks")
    async def test_prefetched_pages_and_concurrent_windows_work_with_eager_tasks() -> None:
        pages = [{"items": [FIELDS | {"appointmentId": str(number)}], "totalPages": 3} for number in range(3)]
        async with HostileServer(*[http(200, orjson.dumps(page)) for page in pages]) as server:
            paging = PageNumbers(items="items", total_pages="totalPages")
            pager = open_service(server, paging=paging).preview(prefetch=1)
            assert [appointment.appointment_id async for appointment in pager] == ["0", "1", "2"]
        async with HostileServer(http(200, b"[]")) as server:
            user = DirectoryUser(ad_id="a", domain_id="d")
            service = open_service(server, user=user, wire_format=WireFormat.REFERENCE)
            start, window = datetime(2024, 1, 15, tzinfo=UTC), timedelta(days=1)
            walk = service.preview(start, start + 9 * window, window=window, concurrency=3)
            assert await walk.collect() == []
            assert len(server.requests) == 9

    @pytest.mark.usefixtures("eager_tasks")
    async def test_closing_ends_waiting_calls_with_eager_tasks(draft: NewAppointment) -> None:
        async with HostileServer(hang) as server:
            service = open_service(server, clock=Clock(), rate_limit=RateLimit(limit=2, per=60, burst=1))
            creating = asyncio.create_task(service.create(draft))
            waiting = asyncio.create_task(service.get("1"))
            while not server.requests:
                await asyncio.sleep(0.001)
            await service.session.aclose()
            ends = await asyncio.gather(creating, waiting, return_exceptions=True)
        assert Counter(type(end) for end in ends) == {OutcomeUnknownError: 1, RuntimeError: 1}
