"""All of them, the floor first. One that is not installed is an error; the dependency group `bench` has each."""

from typing import Final

from benchmarks.peers import (
    aiohttp_alone,
    aiohttp_tenacity,
    azure,
    gcal,
    httpx_stamina,
    niquests_session,
    open_ai,
    ours,
    slack,
)

ALL: Final = (
    aiohttp_alone.PEER,
    ours.PEER,
    aiohttp_tenacity.PEER,
    gcal.PEER,
    slack.PEER,
    azure.PEER,
    open_ai.PEER,
    open_ai.PEER_ON_AIOHTTP,
    httpx_stamina.PEER,
    niquests_session.PEER,
)
