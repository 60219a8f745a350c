from connector_async.sandbox import LoggedRequest, RequestLog, SandboxOperation


def entry(operation: SandboxOperation = "get", tenant: str = "acme", status: int = 200) -> LoggedRequest:
    return LoggedRequest(
        method="GET", path="/appointment", operation=operation, tenant=tenant, status=status, request_id="r"
    )


def test_count_combines_filters() -> None:
    log = RequestLog()
    for logged in (entry(), entry(), entry(status=404), entry(tenant="other"), entry("create")):
        log.record(logged)

    assert log.count() == 5
    assert log.count(operation="get") == 4
    assert log.count(tenant="acme") == 4
    assert log.count(status=200) == 4
    assert log.count(operation="get", tenant="acme", status=200) == 2
    assert log.count(operation="delete") == 0


def test_only_the_latest_entries_are_kept_but_all_are_counted() -> None:
    log = RequestLog(keep=2)
    for status in (200, 404, 401):
        log.record(entry(status=status))

    assert [logged.status for logged in log.entries] == [404, 401]
    assert log.count(status=200) == 1


def test_ten_thousand_entries_are_kept_by_default() -> None:
    log = RequestLog()
    for _ in range(10_001):
        log.record(entry())

    assert len(log.entries) == 10_000
    assert log.count() == 10_001
