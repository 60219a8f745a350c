"""The course of the requests over time: bounded, and without losing any."""

from connector_async.sync.request_timeline import MOST_INTERVALS, RequestTimeline


def test_requests_are_counted_in_the_interval_of_their_time() -> None:
    timeline = RequestTimeline()
    for seconds, requests in ((0.0, 2), (0.9, 1), (3.0, 4)):
        timeline.add(seconds, requests)
    assert (timeline.interval, timeline.requests) == (1.0, [3, 0, 0, 4])


def test_long_run_has_longer_intervals_instead_of_more() -> None:
    timeline = RequestTimeline()
    for second in range(MOST_INTERVALS + 1):
        timeline.add(float(second), 1)
    assert timeline.interval == 2.0
    assert timeline.requests == [2] * (MOST_INTERVALS // 2) + [1]
    timeline.add(7 * 24 * 3600.0, 5)
    assert len(timeline.requests) <= MOST_INTERVALS
    assert sum(timeline.requests) == MOST_INTERVALS + 6
    assert timeline.requests[0] == MOST_INTERVALS + 1
