"""The acceptance table: what must hold, by row, and the tests that hold it.

A test names its rows in a marker, `@pytest.mark.row("R1")`. `pytest --rows` prints the tests of each row.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator

import pytest

ROWS = {
    # Retries and deadlines
    "R1": "A GET that gets 503, 503 and 200 is three requests and a success.",
    "R2": "A GET, PUT or DELETE whose connection is always dropped is one request an attempt.",
    "R3": "A POST whose response is lost is sent once, and is unknown unless `verify` finds out whether it happened.",
    "R4": "A POST whose connection is refused, times out, or whose host does not resolve is retried.",
    "R5": "A POST is retried after 429, and after 503 with `Retry-After`; not after 500, 502 and 504.",
    "R6": "A DELETE whose response was lost and whose retry gets 404 is a success.",
    "R7": "400, 403, 404, 409, 422 and 501 are not retried.",
    "R8": "The backoff doubles up to its cap and is drawn evenly below it.",
    "R9": "`Retry-After` is honored as seconds or as a date; everything else is backoff, never an exception.",
    "R10": "`Retry-After` over the cap ends the call at once, and the error says how long it was.",
    "R11": "The retry quota bounds the retries of each tenant, and successes refund it.",
    "R12": "The deadline ends the last attempt, and no wait goes beyond it.",
    "R13": "A deadline that expires in the limiter, the pool or the token request is kept, and nothing is sent.",
    "R14": "A call that is cancelled at any stage raises `CancelledError` and leaves nothing behind.",
    "R15": "Retries after a large error body with a pool of one connection do not deadlock.",
    "R16": "A truncated, mislabeled or malformed response is a typed error.",
    "R17": "A response that drips one byte at a time is bounded by the timeout of the attempt.",
    "R18": "A deadline that expires while a POST is in flight leaves its outcome unknown.",
    "R19": "A tenacity `stop` of the caller counts the requests.",
    "R20": "No POST is lost to a server that closes idle connections after 5 s.",
    # Authentication
    "A1": "Twenty callers without a token share one token request.",
    "A2": "Twenty callers whose token was revoked share one token request.",
    "A3": "A call that always gets 401 is two requests and one new token.",
    "A4": "A late 401 for an old token does not fetch another token.",
    "A5": "A caller that is cancelled while it fetches the token takes nothing from the others.",
    "A6": "A token that cannot be renewed is used until it expires.",
    "A7": "Rejected credentials are not retried and fail fast for a while.",
    "A8": "A lifetime that is missing or absurd does no harm; tokens expire by the monotonic clock.",
    "A9": "A request never carries the token of one tenant and the id of another.",
    # Rate limit
    "L1": "300 calls at the documented limit get no 429 and lose at most 2 % of the time.",
    "L2": "After a 429 the tenant's calls pause for as long as it says; other tenants proceed.",
    "L3": "A cancelled wait keeps the order, and its slot is given back or costs one interval.",
    "L4": "No window ever has more requests than its burst and rate allow.",
    # Pages, bulk calls, sessions
    "P1": "A preview that is resumed from any page's token yields every item exactly once.",
    "P2": "A repeated token is an error, and a preview that is left or fails leaves no task.",
    "B1": "A hundred inputs of which seven fail are a hundred outcomes, within the limit of concurrency.",
    "B2": "A bulk that ends early reports the rest as not started.",
    "B3": "The memory of a bulk is flat over a million inputs.",
    "C1": "One session serves several event loops and leaves nothing behind when it is never closed.",
    "C2": "An own aiohttp session is closed once, a borrowed one never.",
    "C3": "Each child of a fork has connections of its own.",
    # Hostile and odd servers
    "H1": "A large preview of wrong items is a typed error, with bounded time and memory.",
    "H2": "A long list beside the items is read within the same bounds.",
    "H3": "A response that arrives on an idle connection is never taken for that of the next request.",
    "H4": "Creates are not lost to a server that closes each connection after its response.",
    "H5": "A request that got no connection was not sent, and is retried.",
    "H6": "A date in `Retry-After` is measured from the response's own `Date`.",
    "H7": "A byte order mark before a JSON body is skipped.",
    "H8": "A 204 without a body is not an appointment, whatever its `Content-Encoding`.",
    "H9": "Deep JSON and integers beyond 64 bits are kept exactly or are a typed error.",
    "H10": "A list of items is never taken as complete when anything says that there may be more.",
    "H11": "Nothing is sent during a penalty, even when calls that wait are cancelled.",
    "H12": "Cancelling ten thousand waiting calls does not block the event loop.",
    "H13": "The state of a hundred thousand tenants is bounded, and no frame of an error holds a secret.",
    "H14": "Thousands of event loops over one session leave nothing behind, and closing it is quick.",
    "H15": "A create whose response cannot be decoded is unknown, and not repeatable.",
    "H16": "Single calls get their rate-limit slots before bulk calls of the same tenant.",
    "H17": "A server's id that no URL can carry is reported, and harms no other record or tenant.",
    # Sync
    "S1": "A state belongs to one server: another one is rejected before anything is sent, unless it is bound anew.",
    "S2": "A run from another folder, or after the state was lost, creates nothing twice.",
    "S3": "A plan, a check and a run list each unreadable record with line and reason, and end with exit code 3.",
    "S4": "The reason of each failure is reported: on stderr, as JSON, for a key; a permanent one is not waited for.",
    "S5": "What is edited in the source during a two-way run survives it, and so does what no record models.",
    "S6": "A description that previews omit is unknown, and never taken for an empty one.",
    "S7": "A create that lost its response is recognized although the server has changed what it was sent.",
    "S8": "A pending create has the time of its attempt, and a process that wakes up late sends nothing.",
    "S9": "An empty or capped preview is not believed, and nothing is created again on its word.",
    "S10": "A server that shows writes late makes no double, and loses no record of the source.",
    "S11": "An id that changes, or belongs to another record, makes no double and no wrong delete.",
    "S12": "A plan or a CSV that was cut off and what is not a file are rejected; many bad rows take seconds.",
    "S13": "A calendar that cannot be read does not keep a pull from mirroring the others, and the reason is reported.",
    "S14": "Two-way syncs that are killed, for each policy: nothing twice, nothing missing, both sides equal.",
    "S15": "After a power loss, the state has forgotten only what is durable in the source.",
    # Many machines
    # `.ci/run postgres` runs the tests of the sync on PostgreSQL, with the collation of a language and with C.
    "M1": "A sync is the same on PostgreSQL as on SQLite, whatever the collation of the database is.",
    "M2": "Of processes that open an empty database at once, one creates the state; a run survives a restart of it.",
    "M3": "A run by shares has every record once, whatever workers or restarts of PostgreSQL end in the middle of it.",
    "M4": "Workers that are stopped for longer than a lease send at most one create twice, and it is reported.",
    "M5": "Processes that share a store keep the limit of a tenant evenly, and a 429 pauses all of them.",
    "M6": "A run over more tenants than PostgreSQL has connections for is done, and survives refused connections.",
}
"""What each row asks for. Every row has a test; `tests/system/test_acceptance.py` asserts it."""

_GROUPS = "RALPBCHSM"


def order(row: str) -> tuple[int, int, str]:
    """Return the sort key of a row: its group, its number, and what has neither last."""
    group = _GROUPS.index(row[0]) if re.fullmatch(rf"[{_GROUPS}]\d+", row) else len(_GROUPS)
    return group, int(row[1:]) if group < len(_GROUPS) else 0, row


def tests_of_rows(items: Iterable[pytest.Item]) -> dict[str, list[str]]:
    """Return the ids of the test functions that each row is marked on, without their parameters."""
    tests: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for item in items:
        for marker in item.iter_markers("row"):
            for row in marker.args:
                tests[row][item.nodeid.partition("[")[0]] = None
    return {row: list(tests[row]) for row in sorted(tests, key=order)}


def rows_in(source: str) -> Iterator[str]:
    """Yield each row that a test module's source marks a test with."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.row":
            yield from (ast.literal_eval(argument) for argument in node.args)
