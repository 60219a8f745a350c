"""A run by shares for tests: a queue in memory, and workers in the process of the test."""

from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import orjson

from connector_async.sync import RunReport, SourceProblem, SourceRecord, State, SyncOptions, SyncSettings
from connector_async.sync.distributed import Share, ShareResult, ShareWorker, enqueue
from tests.support.syncing import ListSource, Syncing


@attrs.define
class MemoryQueue:
    """A queue that delivers shares in order, as their JSON."""

    messages: deque[bytes] = attrs.field(factory=deque)

    async def put(self, share: Share) -> None:
        self.messages.append(orjson.dumps(share.as_json()))

    def take(self) -> Share:
        return Share.from_json(orjson.loads(self.messages.popleft()))

    def shares(self) -> list[Share]:
        return [Share.from_json(orjson.loads(message)) for message in self.messages]


@attrs.define
class Sharing:
    """Enqueues records, and works on their shares."""

    sync: Syncing
    queue: MemoryQueue = attrs.field(factory=MemoryQueue)
    settings: SyncSettings = attrs.field(factory=lambda: SyncSettings(grace=0.0, pause=0.0))

    @property
    def place(self) -> str:
        return str(self.sync.location or self.sync.path)

    async def enqueue(
        self, records: Iterable[SourceRecord | SourceProblem], *, quantum: int = 1_000, **options: Any
    ) -> RunReport:
        return await enqueue(
            ListSource(records),
            self.place,
            self.queue,
            self.sync.service,
            options=SyncOptions(**{"assume_empty": True} | options),
            settings=self.settings,
            quantum=quantum,
            clock=self.sync.clock,
        )

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[State]:
        async with await State.open(self.place, owner="worker", clock=self.sync.clock, wait=5) as state:
            yield state

    async def drain(self) -> list[ShareResult]:
        """Work on all shares, and return the results."""
        results = []
        async with self.opened() as state:
            worker = ShareWorker(state, self.sync.service)
            while self.queue.messages:
                share = self.queue.take()
                results.append(await worker.work(share))
                if results[-1] is ShareResult.MORE:
                    await self.queue.put(share)
        return results
