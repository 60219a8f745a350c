import itertools
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

from connector_async.sandbox import SEED_AD_ID, SEED_DOMAIN_ID, BodyFormat, Sandbox, SeedAppointment, synthetic_seeds
from tests.support.sandbox_user import at, signed_in

SEED = SeedAppointment(title="Seed", start=at(10), end=at(11))


async def test_seeds_exist_under_the_returned_ids_before_the_first_request() -> None:
    sandbox = Sandbox()
    async with signed_in(sandbox) as acme:
        east = timezone(timedelta(hours=2))
        later = attrs.evolve(SEED, start=at(10).astimezone(east), end=at(11).astimezone(east), description="Late")
        ids = await sandbox.seed("acme", [SEED, later])
        assert await sandbox.seed("other", [SEED])
        times = {"title": "Seed", "startTime": "2024-01-15T10:00:00Z", "endTime": "2024-01-15T11:00:00Z"}
        assert await acme.call("GET", "/preview") == (
            200,
            [
                {"appointmentId": ids[0], **times, "description": None},
                {"appointmentId": ids[1], **times, "description": "Late"},
            ],
        )
        assert sandbox.log.count() == 2


async def test_seed_belongs_to_its_user_in_the_reference_format() -> None:
    sandbox = Sandbox(body_format=BodyFormat.REFERENCE)
    async with signed_in(sandbox) as acme:
        own = attrs.evolve(SEED, ad_id="ann", content_type="Html", time_zone="Tokyo Standard Time", show_as="Free")
        ids = await sandbox.seed("acme", [SEED, own])
        for ad_id, expected in ((SEED_AD_ID, ids[0]), ("ann", ids[1])):
            user = {"domainId": SEED_DOMAIN_ID, "adId": ad_id}
            query = {**user, "startDate": "2024-01-15", "endDate": "2024-01-16"}
            status, (shown,) = await acme.call("GET", "/preview", params=query)
            assert (status, shown["appointmentId"]) == (200, expected)
        assert shown["body"] == {"content": "", "contentType": "Html"}
        assert (shown["timeZone"], shown["showAs"]) == ("Tokyo Standard Time", "Free")


async def test_seeding_requires_a_running_sandbox() -> None:
    with pytest.raises(RuntimeError, match="not running"):
        await Sandbox().seed("acme", [SEED])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": ""}, "title"),
        ({"start": datetime(2024, 1, 15)}, "start must be aware"),
        ({"end": at(9)}, "end must not be before start"),
        ({"ad_id": ""}, "ad_id"),
        ({"time_zone": "Nowhere"}, "time_zone"),
        ({"show_as": "Asleep"}, "show_as"),
        ({"content_type": "Rtf"}, "content_type"),
    ],
)
def test_seed_that_no_request_could_create_is_rejected(changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attrs.evolve(SEED, **changes)


def test_synthetic_seeds_are_always_the_same_and_in_order() -> None:
    seeds = synthetic_seeds(25)
    assert seeds == synthetic_seeds(25)
    assert len(seeds) == 25
    assert all(one.start < other.start for one, other in itertools.pairwise(seeds))
    assert synthetic_seeds(0) == []
