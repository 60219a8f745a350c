"""Bring the appointments of many tenants in sync with a table of a database, which is read as a stream.

    DATABASE_URL=sqlite+aiosqlite:///clinic.db python examples/database_sync.py

Any database with an asyncio driver of SQLAlchemy will do. The state of the sync is a file of its own.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from connector_async import AppointmentService, ConnectorSession, NewAppointment, sync


class Base(DeclarativeBase):
    """The tables of the application."""


class Visit(Base):
    """A row of the table. Both times are in UTC."""

    __tablename__ = "visits"
    id: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str]
    title: Mapped[str]
    start_time: Mapped[datetime]
    end_time: Mapped[datetime]

    def record(self) -> sync.SourceRecord | sync.SourceProblem:
        """Return the record of the row, or the rule that the row breaks."""
        calendar = sync.Calendar(self.tenant_id)
        start, end = self.start_time.replace(tzinfo=UTC), self.end_time.replace(tzinfo=UTC)
        try:
            draft = NewAppointment(title=self.title, start_time=start, end_time=end)
            return sync.SourceRecord(key=self.id, calendar=calendar, appointment=draft)
        except ValueError as error:
            return sync.SourceProblem(source="visits", line=None, reason=str(error), key=self.id, calendar=calendar)


class VisitTable:
    """The table as a `Source`, in constant memory. A row that breaks a rule does not stop the others."""

    name = "visits"

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def records(self) -> AsyncIterator[sync.SourceRecord | sync.SourceProblem]:
        """Yield one record for each row. An error is a `SourceError`: half a table must not look like a whole one."""
        try:
            async with AsyncSession(self._engine) as database:
                async for visit in await database.stream_scalars(select(Visit).execution_options(yield_per=1000)):
                    yield visit.record()
        except SQLAlchemyError as error:
            raise sync.SourceError(f"visits: {type(error).__name__}") from None  # its message has the values of rows


async def main() -> None:
    """Run the sync once, and print how many appointments were created, updated, deleted and so on."""
    engine = create_async_engine(os.environ["DATABASE_URL"])
    async with ConnectorSession.from_env() as session, await sync.State.open("visits.db", owner="visits") as state:

        def service_of(calendar: sync.Calendar) -> AppointmentService:
            return AppointmentService(session.for_tenant(calendar.tenant_id))

        report = await sync.BulkSync(state, service_of, sync.SyncSettings()).run(VisitTable(engine), sync.SyncOptions())
    await engine.dispose()
    print({fate.value: number for fate, number in report.counts.items()}, *report.problems, sep="\n")


if __name__ == "__main__":
    asyncio.run(main())
