"""Whether a page without a next one is the last: what a response says about that beside its items.

A list that was cut looks like a whole one. So every member of the envelope, the headers that speak of pages and the
status are each put into one of five classes, the signs:

- `WHOLE`: it says that nothing follows. A total that equals the number of items; `totalPages: 1`; `hasMore: false`.
- `MORE`: it says that something follows, or that this is a part. `hasMore: true`; a larger total; a cursor; status 206.
- `PART`: it describes one page and says nothing of others. `limit`, `offset`, `page`, `count`: a server that cuts lists
  sends these, so the list is whole only if something else says `WHOLE`.
- `UNKNOWN`: a member that has no meaning here. It may be the server's own way to say `MORE`.
- `SILENT`: it says nothing about pages, whatever its value. `requestId`, `apiVersion`, `success: true`.

`check_whole` accepts a list for which nobody has named a paging style: no `MORE`, no `UNKNOWN`, and no `PART` without a
`WHOLE`. `check_last` accepts the end that a named style has found: only `MORE` contradicts it.
"""

import enum
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from .base import PageResponse, malformed

MAX_MEMBERS: Final = 100
"""Members of an envelope, those of the objects in it included. A larger one is not searched, and not accepted."""
MAX_DEPTH: Final = 4
"""Levels of objects in an envelope, the envelope itself included."""
_MAX_NAME: Final = 64
_MAX_MESSAGE: Final = 1_000


class Sign(enum.Enum):
    """What a member, a header or the status says about further pages; see the module."""

    WHOLE = enum.auto()
    MORE = enum.auto()
    PART = enum.auto()
    UNKNOWN = enum.auto()
    SILENT = enum.auto()


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# The names of members, without case and punctuation: `@odata.count` is odatacount, `has_more` is hasmore.
#
# How many items there are on all pages.
_TOTALS: Final = _names(
    """
    odatacount total totalcount totalelements totalentries totalhits totalitemcount totalitems totalrecords
    totalresults totalrows totalsize
    """
)
# How many pages there are.
_PAGE_TOTALS: Final = _names(
    """
    numpages pagecount pages totalpagecount totalpages
    """
)
# One page: its number, its place, how many items it may have, how many it has.
_EXTENTS: Final = _names(
    """
    batch batchsize count currentitemcount currentpage endcursor first firstitemonpage from index isfirst
    isfirstpage itemcount itemsperpage lastitemonpage length limit maxitems maxpagesize maxresults number
    numberofelements offset page pageindex pageno pagenum pagenumber pagesize perpage recordcount recordsperpage
    resultcount resultsperpage returned rowcount size skip start startat startcursor startindex take to top
    """
)
# Where the next page is; empty where there is none.
_NEXT: Final = _names(
    """
    after bookmark continuation continuationtoken continue cursor lastevaluatedkey marker next
    nextcontinuationtoken nextcursor nextid nextindex nextkey nextlink nextmarker nextoffset nextpage
    nextpagecursor nextpagelink nextpagetoken nextpageurl nextrecordsurl nextstart nexttoken nexturl
    odatanextlink pagetoken pagingtoken resumptiontoken scrollid
    """
)
# Whether a page follows.
_HAS_MORE: Final = _names(
    """
    hasmore hasmoreitems hasmorepages hasmoreresults hasnext hasnextpage ismore more moreavailable moreitems
    moreresults
    """
)
# Whether something is missing; without it something may follow all the same.
_INCOMPLETE: Final = _names(
    """
    capped exceededtransferlimit incomplete incompleteresults isincomplete islimited ispartial istruncated
    itemsremaining limited limitexceeded limitreached partial partialresult partialresults remaining remainingcount
    remainingitems remainingpages truncated
    """
)
# Whether this is the end.
_IS_LAST: Final = _names(
    """
    complete completed done end endoflist endofresults eof exhausted final iscomplete isdone isend isfinal
    islast islastpage
    """
)
_LAST_PAGE: Final = _names("last lastpage")
# What is before this page: nothing, on the first one.
_PREVIOUS: Final = _names(
    """
    before hasprev hasprevious haspreviouspage hasprevpage prev prevcursor previous previouscursor previouslink
    previouspage previouspageurl prevpage prevpageurl
    """
)
# How the request went: silent while it went well.
_SUCCESS: Final = _names(
    """
    isok issuccess issuccessful isvalid ok succeeded success successful
    """
)
_STATUS: Final = _names(
    """
    code httpstatus httpstatuscode responsecode responsestatus result resultcode state status statuscode
    statustext
    """
)
_MESSAGE: Final = _names(
    """
    description detail info message msg responsemessage resultmessage statusmessage
    """
)
_FAULTS: Final = _names(
    """
    errcode errmsg error errorcode errorcount errordetails errormessage errors exception failed failure failures
    fault haserror haserrors haswarnings iserror isfailed isfailure warning warningcount warnings
    """
)
# What says nothing about pages, whatever it is.
_HARMLESS: Final = _names(
    """
    activityid api apiversion build cached correlationid culture date datetime debug deprecated duration
    durationinms durationms elapsed elapsedms elapsedtime empty environment etag executiontime executiontimems
    generatedat host hostname instance isempty kind language locale method nextsynctoken object odatacontext
    odatadeltalink odataetag odatametadata odatametadataetag odatatype operationid path processingtime region
    release requestid responseid responsetime schema server servername servertime service sessionid spanid
    synctoken tenant tenantid time timestamp timetaken timezone took traceid traceparent tracestate
    transactionid type utctime version
    """
)

_UNFINISHED: Final = frozenset({202, 206, 207, 226})
"""Accepted, Partial Content, Multi-Status, IM Used (RFC 9110, 4918, 3229): a list that came with one may be a part."""
_GOOD_WORDS: Final = frozenset(
    {"", "0", "00", "200", "200 ok", "complete", "completed", "done", "found", "ok", "okay", "success", "successful"}
    | {"succeeded", "true", "none"}
)
_TELLS_OF_PAGES: Final = re.compile(
    r"partial|incomplete|truncat|capped|limit|offset|remaining|\bcontinue|\bmore\b|\bnext\b|\bpages?\b|\bfirst\b|\btop\b"
    r"|\bof \d|\d\s*/\s*\d",
    re.IGNORECASE,
)

# The words of headers; `X-Total-Count` has x, total and count.
_ABOUT_PAGES: Final = re.compile(
    "count|pag[ei]|total|next|more|remaining|results|cursor|continu|limit|offset|skip|range|prefer|partial|truncat"
    "|incomplete|warning"
)
_NOT_OF_PAGES: Final = _names(
    """
    attempt attempts call calls concurrency concurrent duration envoy forwarded hop hops latency quota rate
    ratelimit ratelimited redirect redirects request requests retries retry runtime throttle throttling time
    timing
    """
)
_TOTAL_WORDS: Final = _names(
    """
    total totalcount totalitems totalpages
    """
)
_NEXT_WORDS: Final = _names(
    """
    continuation cursor hasmore hasnext incomplete more next nextcursor nextpage pagination partial truncated
    """
)
_EXTENT_WORDS: Final = _names(
    """
    count current index item itemcount items limit max number offset page pagesize per perpage range records
    results size skip start x
    """
)
_EMPTY_WORDS: Final = frozenset({"", "0", "false", "none", "null"})


def check_whole(answer: PageResponse, items: list[Any], key: str | None, *, page: int | None) -> None:
    """Raise unless a response says or leaves no doubt that its page is the last one.

    Args:
        answer: The response.
        items: Of the page.
        key: Where the items are; `None`: the body is their array.
        page: The number of the page. `None`: it has none, and is not the first.

    Raises:
        DecodingError: There may be more pages; it names the member, the header or the status.
    """
    is_first = page == 1
    signs = list(_signs(answer, key, count=len(items) if is_first else None, page=page or 0))
    is_sure = not is_first or any(sign is Sign.WHOLE for _, sign in signs)
    for place, sign in signs:
        if sign in (Sign.MORE, Sign.UNKNOWN) or (sign is Sign.PART and not is_sure):
            one_page = "OnePage()" if key is None else f'OnePage(items="{key}")'
            raise malformed(f"{place}: there may be more pages; name the paging style ({one_page} if there are none)")


def check_last(answer: PageResponse, items: list[Any], key: str | None, *, is_first: bool) -> None:
    """Raise when a response says that pages follow the one that its named style has found to be the last.

    Args:
        answer: The response.
        items: Of the page.
        key: Where the items are; `None`: the body is their array.
        is_first: Whether it is the first page, so that a total must be no more than its items. The status is looked at
            only then: some servers send every part of a list with 206.

    Raises:
        DecodingError: It says so; the error names the member, the header or the status.
    """
    for place, sign in _signs(answer, key, count=len(items) if is_first else None, page=1 if is_first else None):
        if sign is Sign.MORE and (is_first or place != "status"):
            raise malformed(f"{place}: says that there are more pages, and the named paging style found no next one")


def _signs(answer: PageResponse, key: str | None, *, count: int | None, page: int | None) -> Iterator[tuple[str, Sign]]:
    """Yield the place and the sign of the status, of each header and of each member of an envelope.

    Args:
        answer: The response.
        key: Where the items are; `None`: the body is their array.
        count: The number of all items, if the page is the last; `None`: not known.
        page: The number of the page; 0: it has none; `None`: the number of pages is the style's own matter.
    """
    if answer.status in _UNFINISHED:
        yield "status", Sign.MORE
    for name, value in answer.headers.items():
        lower = name.lower()
        if _ABOUT_PAGES.search(lower):  # most headers do not, and nobody knows the names of all
            yield name[:_MAX_NAME], _sign_of_header(lower, value.strip().lower(), count)
    if isinstance(answer.body, dict):
        yield from _signs_of_envelope(answer.body, key, count, page)


def _signs_of_envelope(
    envelope: dict[str, Any], key: str | None, count: int | None, page: int | None
) -> Iterator[tuple[str, Sign]]:
    """Yield the places and signs of an envelope's members and of those of the objects in it, without recursion.

    The items and other lists are not searched: a list may be as long as the body.
    """
    objects, seen = [("$", envelope, 1)], 0
    while objects:
        path, members, depth = objects.pop()
        seen += len(members)
        if seen > MAX_MEMBERS:
            yield path, Sign.UNKNOWN
            return
        for name, value in members.items():
            if members is envelope and name == key:
                continue
            place = f"{path}.{name}" if len(name) <= _MAX_NAME and name.isprintable() else f"{path}.…"
            sign = Sign.UNKNOWN if len(name) > _MAX_NAME else _sign_of_member(_plain(name), value, count, page)
            if sign is Sign.UNKNOWN and isinstance(value, dict) and depth < MAX_DEPTH:
                objects.append((place, value, depth + 1))
            else:
                yield place, sign


def _sign_of_member(name: str, value: Any, count: int | None, page: int | None) -> Sign:
    """Return what a member says, by its name and its value. The name is as the tables have it."""
    is_empty = value is None or value in ("", [], {})
    if name == "self":  # the link to this page itself (RFC 8288)
        return Sign.SILENT
    if name in _NEXT or (name.startswith("next") and name not in _HARMLESS):
        return Sign.WHOLE if is_empty or value is False else Sign.MORE
    if is_empty:
        return Sign.SILENT
    if isinstance(value, dict | list):
        return Sign.UNKNOWN
    for names, rule in _RULES:
        if name in names:
            return rule(value, count, page)
    return Sign.UNKNOWN


def _of_last(value: Any, *_: int | None) -> Sign:
    if value in (True, 1, "true"):
        return Sign.WHOLE
    return Sign.MORE if value in (False, 0, "false") else Sign.UNKNOWN


def _of_last_page(value: Any, count: int | None, page: int | None) -> Sign:
    """Read `last` or `lastPage`, which may also be the number of the last page."""
    return _of_page_total(value, count, page) if type(value) is int and value > 0 else _of_last(value, count, page)


def _of_total(value: Any, count: int | None, _: int | None) -> Sign:
    if type(value) is not int:
        return Sign.UNKNOWN
    if count is None:
        return Sign.SILENT
    return Sign.WHOLE if value == count else Sign.MORE if value > count else Sign.UNKNOWN


def _of_page_total(value: Any, count: int | None, page: int | None) -> Sign:
    if type(value) is not int or (value == 0 and count):
        return Sign.UNKNOWN
    if page is None:
        return Sign.SILENT
    return Sign.WHOLE if value <= 1 or value == page else Sign.MORE


def _of_flag(value: Any, *_: int | None) -> Sign:
    return Sign.WHOLE if value in (False, 0, "false") else Sign.MORE


def _of_incomplete(value: Any, *_: int | None) -> Sign:
    return Sign.SILENT if value in (False, 0, "false") else Sign.MORE


def _of_previous(value: Any, _: int | None, page: int | None) -> Sign:
    return Sign.UNKNOWN if value is not False and page == 1 else Sign.SILENT


def _of_success(value: Any, *_: int | None) -> Sign:
    return Sign.SILENT if value is True or value == 1 or _is_good(value) else Sign.UNKNOWN


def _of_status(value: Any, *_: int | None) -> Sign:
    number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) else value
    if number in _UNFINISHED:
        return Sign.MORE
    if isinstance(value, str) and _TELLS_OF_PAGES.search(value[:_MAX_MESSAGE]):
        return Sign.MORE
    return Sign.SILENT if number is True or type(number) is int or _is_good(value) else Sign.UNKNOWN


def _of_message(value: Any, *_: int | None) -> Sign:
    is_harmless = isinstance(value, str) and len(value) <= _MAX_MESSAGE and not _TELLS_OF_PAGES.search(value)
    return Sign.SILENT if is_harmless else Sign.UNKNOWN


def _of_fault(value: Any, *_: int | None) -> Sign:
    return Sign.SILENT if value in (False, 0) or _is_good(value) else Sign.UNKNOWN


def _is_good(value: Any) -> bool:
    return isinstance(value, str) and value[:_MAX_NAME].strip().lower() in _GOOD_WORDS


_RULES: Final[tuple[tuple[frozenset[str], Callable[[Any, int | None, int | None], Sign]], ...]] = (
    (_HARMLESS, lambda *_: Sign.SILENT),
    (_EXTENTS, lambda *_: Sign.PART),
    (_TOTALS, _of_total),
    (_LAST_PAGE, _of_last_page),
    (_IS_LAST, _of_last),
    (_PAGE_TOTALS, _of_page_total),
    (_HAS_MORE, _of_flag),
    (_INCOMPLETE, _of_incomplete),
    (_PREVIOUS, _of_previous),
    (_SUCCESS, _of_success),
    (_STATUS, _of_status),
    (_MESSAGE, _of_message),
    (_FAULTS, _of_fault),
)


def _sign_of_header(name: str, value: str, count: int | None) -> Sign:
    """Return what a header says whose name speaks of pages, or only looks so. Both are in lower case."""
    if name == "warning":  # RFC 7234, section 5.5
        return Sign.MORE if _TELLS_OF_PAGES.search(value) else Sign.SILENT
    if name == "content-range":  # RFC 9110, section 14.4
        total = value.rpartition("/")[2]
        return _of_header_total(total, count) if total.isdecimal() else Sign.MORE
    if name == "preference-applied":  # RFC 7240, section 3
        return Sign.PART if _ABOUT_PAGES.search(value) else Sign.SILENT
    if name == "accept-ranges":  # RFC 9110, section 14.3
        return Sign.SILENT if value in ("bytes", "none") else Sign.PART
    words, joined = frozenset(re.split(r"[-_.]", name)), _plain(name.removeprefix("x-"))
    if words & _NEXT_WORDS or joined in _NEXT or joined in _HAS_MORE:
        return Sign.WHOLE if value in _EMPTY_WORDS else Sign.MORE
    if joined in _INCOMPLETE:
        return Sign.SILENT if value in _EMPTY_WORDS else Sign.MORE
    if words & _NOT_OF_PAGES:
        return Sign.SILENT
    if words & _TOTAL_WORDS:
        is_of_pages = not words.isdisjoint({"page", "pages", "totalpages"})
        return _of_header_total(value, 1 if is_of_pages and count is not None else count)
    if "pages" in words:
        return _of_header_total(value, None if count is None else 1)
    return Sign.PART if words <= _EXTENT_WORDS or "count" in words else Sign.SILENT


def _of_header_total(value: str, count: int | None) -> Sign:
    if not re.fullmatch("[0-9]{1,18}", value):
        return Sign.SILENT if value in _EMPTY_WORDS else Sign.UNKNOWN
    return _of_total(int(value), count, None)


def _plain(name: str) -> str:
    """Return a name as the tables have it."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
