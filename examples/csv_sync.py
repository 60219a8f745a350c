"""Bring the appointments of many tenants in sync with a CSV file, in 20 lines.

    python examples/csv_sync.py visits.csv

docs/sync.md has the columns. The exit code is 1 if something is left to do or to correct.
"""

import asyncio
import sys

from connector_async import AppointmentService, ConnectorSession
from connector_async.sync import BulkSync, Calendar, State, SyncOptions, SyncSettings, file_source


async def main(path: str) -> int:
    """Run the sync once, print what became of the records of each tenant, and return the exit code."""
    async with ConnectorSession.from_env() as session, await State.open(f"{path}.db", owner="csv_sync") as state:

        def service_of(calendar: Calendar) -> AppointmentService:
            return AppointmentService(session.for_tenant(calendar.tenant_id), user=calendar.user)

        report = await BulkSync(state, service_of, SyncSettings()).run(file_source(path), SyncOptions())
    for tenant_id, tenant in report.tenants.items():
        print(tenant_id, f"{tenant.in_sync} of {tenant.records} in sync", *(one.reason for one in tenant.reasons))
    for problem in report.problems:
        print(problem)
    return 0 if all(one.in_sync == one.records for one in report.tenants.values()) and not report.unreadable else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
