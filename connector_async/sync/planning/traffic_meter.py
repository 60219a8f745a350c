"""Reading off what is sent for one tenant, for its report and for the budget of the run."""

from connector_async.session import ConnectorSession, Traffic
from connector_async.sync.budget import Budget
from connector_async.sync.report import TenantReport


class TrafficMeter:
    """Reads the traffic of one tenant since it was first asked to.

    Args:
        budget: Is told how many requests more were sent.
        report: Gets the sums.
    """

    def __init__(self, budget: Budget, report: TenantReport) -> None:
        self._budget = budget
        self._report = report
        self._session: ConnectorSession | None = None
        self._before = Traffic()

    def watch(self, session: ConnectorSession) -> None:
        """Read this session, one of the tenant's; any of them tells for all."""
        if self._session is None:
            self._session = session
            self._before = session.traffic

    def note(self) -> None:
        """Bring the report and the budget up to date."""
        if self._session is None:
            return
        now = self._session.traffic
        requests = now.requests - self._before.requests
        self._budget.spend(requests - self._report.requests)
        self._report.requests = requests
        self._report.waited = now.waited - self._before.waited
