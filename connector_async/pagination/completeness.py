"""Whether a page that names no next page is the last one.

A list that the server cut short looks like a complete one. So every part of the response that could speak of other
pages is read as one of five signs (`Sign`): the status, the headers that are about pages, and each member of the
envelope, which is the object that has the items.

    Sign        Meaning                                     Examples
    COMPLETE    No page follows.                            a total equal to the number of items, `hasMore: false`
    MORE        A page follows, or this list is a part.     `hasMore: true`, a larger total, a cursor, status 206
    PAGED       Describes this page and no other.           `limit`, `offset`, `page`, `count`
    UNKNOWN     No known meaning; it could mean MORE.       any other member
    IRRELEVANT  Says nothing about pages.                   `requestId`, `apiVersion`, `success: true`

Two questions are decided by the signs:

- `check_complete`, for auto-detected paging: is this surely the whole list? MORE and UNKNOWN say no. PAGED says no as
  well unless another sign is COMPLETE, because servers that cut lists send a limit or a count.
- `check_last`, for a named style: did the style miss the next page? Only MORE says so.

To teach a new name, add it to its row of `_MEMBERS`. A member that is not listed is UNKNOWN: with auto-detected paging
it is an error that asks for the paging style, and a named style ignores it.
"""

import enum
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from .base import PageResponse, style_mismatch

MAX_MEMBERS: Final = 100
"""Members of an envelope, including those of the objects in it. A larger envelope is neither searched nor accepted."""
MAX_DEPTH: Final = 4
"""Levels of objects in an envelope, including the envelope itself."""
_MAX_NAME: Final = 64
_MAX_MESSAGE: Final = 1_000


class Sign(enum.Enum):
    """What a member, a header or the status says about other pages. The module's docstring has the table."""

    COMPLETE = enum.auto()
    MORE = enum.auto()
    PAGED = enum.auto()
    UNKNOWN = enum.auto()
    IRRELEVANT = enum.auto()


def check_complete(response: PageResponse, items: list[Any], key: str | None, *, page: int | None) -> None:
    """Reject a response that may not be the last page.

    Args:
        response: The response.
        items: The items of the page.
        key: The key of the items. `None`: the body is their array.
        page: The number of the page. `None`: it has no number and is not the first.

    Raises:
        DecodingError: If there may be more pages. The problem names the member, the header or the status.
    """
    is_first = page == 1
    signs = list(_signs(response, key, count=len(items) if is_first else None, page=page or 0))
    # After the first page the style itself has found the end, as long as nothing contradicts it.
    is_complete = not is_first or any(sign is Sign.COMPLETE for _, sign in signs)
    for place, sign in signs:
        if sign in (Sign.MORE, Sign.UNKNOWN) or (sign is Sign.PAGED and not is_complete):
            style = "OnePage()" if key is None else f'OnePage(items="{key}")'
            raise style_mismatch(f"{place}: there may be more pages; name the paging style ({style} if there are none)")


def check_last(response: PageResponse, items: list[Any], key: str | None, *, is_first: bool) -> None:
    """Reject a response that says that more pages follow, although its named style found no next page.

    Args:
        response: The response.
        items: The items of the page.
        key: The key of the items. `None`: the body is their array.
        is_first: Whether it is the first page. Only then are a total and the status compared: a total counts the items
            of all pages, and some servers send every part of a list with 206.

    Raises:
        DecodingError: If more pages follow. The problem names the member, the header or the status.
    """
    count, page = (len(items), 1) if is_first else (None, None)
    for place, sign in _signs(response, key, count=count, page=page):
        if sign is Sign.MORE and (is_first or place != "status"):
            raise style_mismatch(
                f"{place}: says that there are more pages, but the named paging style found no next page"
            )


def _signs(
    response: PageResponse, key: str | None, *, count: int | None, page: int | None
) -> Iterator[tuple[str, Sign]]:
    """Yield the place and the sign of the status, of each header about pages, and of each member of an envelope.

    Args:
        response: The response.
        key: The key of the items. `None`: the body is their array.
        count: The number of all items if this page is the last. `None`: unknown.
        page: The number of the page; 0 if it has none. `None`: do not compare it with a number of pages.
    """
    if response.status in _PARTIAL_STATUSES:
        yield "status", Sign.MORE
    for name, value in response.headers.items():
        lower = name.lower()
        if _PAGING_HEADER.search(lower):  # others are ignored: nobody knows the names of all headers
            yield name[:_MAX_NAME], _sign_of_header(lower, value.strip().lower(), count)
    if isinstance(response.body, dict):
        yield from _signs_of_envelope(response.body, key, count, page)


def _signs_of_envelope(
    envelope: dict[str, Any], key: str | None, count: int | None, page: int | None
) -> Iterator[tuple[str, Sign]]:
    """Yield the place and the sign of each member of an envelope and of the objects in it, without recursion.

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
            sign = Sign.UNKNOWN if len(name) > _MAX_NAME else _sign_of_member(_normalize(name), value, count, page)
            if sign is Sign.UNKNOWN and isinstance(value, dict) and depth < MAX_DEPTH:
                objects.append((place, value, depth + 1))
            else:
                yield place, sign


def _sign_of_member(name: str, value: Any, count: int | None, page: int | None) -> Sign:
    """Return the sign of a member by its normalized name and its value."""
    is_empty = value is None or value in ("", [], {})
    if name == "self":  # the link to this page (RFC 8288)
        return Sign.IRRELEVANT
    if name in _NEXT_PAGE or (name.startswith("next") and name not in _NOT_ABOUT_PAGES):
        return Sign.COMPLETE if is_empty or value is False else Sign.MORE
    if is_empty:
        return Sign.IRRELEVANT
    if isinstance(value, dict | list):
        return Sign.UNKNOWN
    for names, rule in _MEMBERS:
        if name in names:
            return rule(value, count, page)
    return Sign.UNKNOWN


def _normalize(name: str) -> str:
    """Return a name as the tables have it: `@odata.count` is `odatacount`, `has_more` is `hasmore`."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


# The rules: each takes the value of a member, the number of all items if this page is the last (`None`: unknown), and
# the number of the page (`None`: not compared).


def _always(sign: Sign) -> "_Rule":
    return lambda *_: sign


def _total_of_items(value: Any, count: int | None, _: int | None) -> Sign:
    if type(value) is not int:
        return Sign.UNKNOWN
    if count is None:
        return Sign.IRRELEVANT
    return Sign.COMPLETE if value == count else Sign.MORE if value > count else Sign.UNKNOWN


def _total_of_pages(value: Any, count: int | None, page: int | None) -> Sign:
    if type(value) is not int or (value == 0 and count):
        return Sign.UNKNOWN
    if page is None:
        return Sign.IRRELEVANT
    return Sign.COMPLETE if value <= 1 or value == page else Sign.MORE


def _is_last(value: Any, *_: int | None) -> Sign:
    if value in (True, 1, "true"):
        return Sign.COMPLETE
    return Sign.MORE if value in (False, 0, "false") else Sign.UNKNOWN


def _is_last_or_last_page(value: Any, count: int | None, page: int | None) -> Sign:
    """Read `last` or `lastPage`: a flag, or the number of the last page."""
    return _total_of_pages(value, count, page) if type(value) is int and value > 0 else _is_last(value, count, page)


def _has_more(value: Any, *_: int | None) -> Sign:
    return Sign.COMPLETE if value in (False, 0, "false") else Sign.MORE


def _is_incomplete(value: Any, *_: int | None) -> Sign:
    """Read a flag that says that items are missing. Unset it does not say that no page follows."""
    return Sign.IRRELEVANT if value in (False, 0, "false") else Sign.MORE


def _previous_page(value: Any, _: int | None, page: int | None) -> Sign:
    """Read a link to the previous page, which the first page cannot have."""
    return Sign.UNKNOWN if value is not False and page == 1 else Sign.IRRELEVANT


def _success(value: Any, *_: int | None) -> Sign:
    return Sign.IRRELEVANT if value is True or value == 1 or _is_success_word(value) else Sign.UNKNOWN


def _status(value: Any, *_: int | None) -> Sign:
    number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) else value
    if number in _PARTIAL_STATUSES:
        return Sign.MORE
    if isinstance(value, str) and _PAGING_WORDS.search(value[:_MAX_MESSAGE]):
        return Sign.MORE
    return Sign.IRRELEVANT if number is True or type(number) is int or _is_success_word(value) else Sign.UNKNOWN


def _message(value: Any, *_: int | None) -> Sign:
    is_harmless = isinstance(value, str) and len(value) <= _MAX_MESSAGE and not _PAGING_WORDS.search(value)
    return Sign.IRRELEVANT if is_harmless else Sign.UNKNOWN


def _error(value: Any, *_: int | None) -> Sign:
    return Sign.IRRELEVANT if value in (False, 0) or _is_success_word(value) else Sign.UNKNOWN


def _is_success_word(value: Any) -> bool:
    return isinstance(value, str) and value[:_MAX_NAME].strip().lower() in _SUCCESS_WORDS


def _names(names: str) -> frozenset[str]:
    return frozenset(names.split())


# The members by normalized name.

# Where the next page is. They are looked up before the table, because an empty value says that there is none.
_NEXT_PAGE: Final = _names(
    """
    after bookmark continuation continuationtoken continue cursor lastevaluatedkey marker next
    nextcontinuationtoken nextcursor nextid nextindex nextkey nextlink nextmarker nextoffset nextpage
    nextpagecursor nextpagelink nextpagetoken nextpageurl nextrecordsurl nextstart nexttoken nexturl
    odatanextlink pagetoken pagingtoken resumptiontoken scrollid
    """
)
_NOT_ABOUT_PAGES: Final = _names(
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
_HAS_MORE: Final = _names(
    """
    hasmore hasmoreitems hasmorepages hasmoreresults hasnext hasnextpage ismore more moreavailable moreitems
    moreresults
    """
)
_IS_INCOMPLETE: Final = _names(
    """
    capped exceededtransferlimit incomplete incompleteresults isincomplete islimited ispartial istruncated
    itemsremaining limited limitexceeded limitreached partial partialresult partialresults remaining remainingcount
    remainingitems remainingpages truncated
    """
)

_Rule = Callable[[Any, int | None, int | None], Sign]
_MEMBERS: Final[tuple[tuple[frozenset[str], _Rule], ...]] = (
    (_NOT_ABOUT_PAGES, _always(Sign.IRRELEVANT)),
    (  # this page: its number or position, how many items it may have or has
        _names(
            """
            batch batchsize count currentitemcount currentpage endcursor first firstitemonpage from index isfirst
            isfirstpage itemcount itemsperpage lastitemonpage length limit maxitems maxpagesize maxresults number
            numberofelements offset page pageindex pageno pagenum pagenumber pagesize perpage recordcount
            recordsperpage resultcount resultsperpage returned rowcount size skip start startat startcursor startindex
            take to top
            """
        ),
        _always(Sign.PAGED),
    ),
    (  # the number of items on all pages
        _names(
            """
            odatacount total totalcount totalelements totalentries totalhits totalitemcount totalitems totalrecords
            totalresults totalrows totalsize
            """
        ),
        _total_of_items,
    ),
    (_names("last lastpage"), _is_last_or_last_page),
    (
        _names(
            """
            complete completed done end endoflist endofresults eof exhausted final iscomplete isdone isend isfinal
            islast islastpage
            """
        ),
        _is_last,
    ),
    (_names("numpages pagecount pages totalpagecount totalpages"), _total_of_pages),
    (_HAS_MORE, _has_more),
    (_IS_INCOMPLETE, _is_incomplete),
    (
        _names(
            """
            before hasprev hasprevious haspreviouspage hasprevpage prev prevcursor previous previouscursor previouslink
            previouspage previouspageurl prevpage prevpageurl
            """
        ),
        _previous_page,
    ),
    (_names("isok issuccess issuccessful isvalid ok succeeded success successful"), _success),
    (
        _names(
            """
            code httpstatus httpstatuscode responsecode responsestatus result resultcode state status statuscode
            statustext
            """
        ),
        _status,
    ),
    (_names("description detail info message msg responsemessage resultmessage statusmessage"), _message),
    (
        _names(
            """
            errcode errmsg error errorcode errorcount errordetails errormessage errors exception failed failure failures
            fault haserror haserrors haswarnings iserror isfailed isfailure warning warningcount warnings
            """
        ),
        _error,
    ),
)
"""Names to the rule that reads their value. No name is in two rows."""

_PARTIAL_STATUSES: Final = frozenset({202, 206, 207, 226})
"""Accepted, Partial Content, Multi-Status, IM Used (RFC 9110, 4918, 3229): the list may be a part."""
_SUCCESS_WORDS: Final = frozenset(
    {"", "0", "00", "200", "200 ok", "complete", "completed", "done", "found", "ok", "okay", "success", "successful"}
    | {"succeeded", "true", "none"}
)
_PAGING_WORDS: Final = re.compile(
    r"partial|incomplete|truncat|capped|limit|offset|remaining|\bcontinue|\bmore\b|\bnext\b|\bpages?\b|\bfirst\b|\btop\b"
    r"|\bof \d|\d\s*/\s*\d",
    re.IGNORECASE,
)
"""What a message about a part of a list says, such as `3 of 34`."""


# Headers. Their names are split into words: `X-Total-Count` has x, total and count.

_PAGING_HEADER: Final = re.compile(
    "count|pag[ei]|total|next|more|remaining|results|cursor|continu|limit|offset|skip|range|prefer|partial|truncat"
    "|incomplete|warning"
)
_NEXT_PAGE_WORDS: Final = _names(
    """
    continuation cursor hasmore hasnext incomplete more next nextcursor nextpage pagination partial truncated
    """
)
_OTHER_WORDS: Final = _names(
    """
    attempt attempts call calls concurrency concurrent duration envoy forwarded hop hops latency quota rate
    ratelimit ratelimited redirect redirects request requests retries retry runtime throttle throttling time
    timing
    """
)
"""Words of headers that count something else, such as `X-RateLimit-Remaining`."""
_TOTAL_WORDS: Final = _names("total totalcount totalitems totalpages")
_THIS_PAGE_WORDS: Final = _names(
    """
    count current index item itemcount items limit max number offset page pagesize per perpage range records
    results size skip start x
    """
)
_EMPTY_WORDS: Final = frozenset({"", "0", "false", "none", "null"})


def _sign_of_header(name: str, value: str, count: int | None) -> Sign:
    """Return the sign of a header that `_PAGING_HEADER` matches. Name and value are in lower case."""
    if name == "warning":  # RFC 7234, section 5.5
        return Sign.MORE if _PAGING_WORDS.search(value) else Sign.IRRELEVANT
    if name == "content-range":  # RFC 9110, section 14.4
        total = value.rpartition("/")[2]
        return _total_in_header(total, count) if total.isdecimal() else Sign.MORE
    if name == "preference-applied":  # RFC 7240, section 3
        return Sign.PAGED if _PAGING_HEADER.search(value) else Sign.IRRELEVANT
    if name == "accept-ranges":  # RFC 9110, section 14.3
        return Sign.IRRELEVANT if value in ("bytes", "none") else Sign.PAGED
    words, joined = frozenset(re.split(r"[-_.]", name)), _normalize(name.removeprefix("x-"))
    if words & _NEXT_PAGE_WORDS or joined in _NEXT_PAGE or joined in _HAS_MORE:
        return Sign.COMPLETE if value in _EMPTY_WORDS else Sign.MORE
    if joined in _IS_INCOMPLETE:
        return Sign.IRRELEVANT if value in _EMPTY_WORDS else Sign.MORE
    if words & _OTHER_WORDS:
        return Sign.IRRELEVANT
    if words & _TOTAL_WORDS:
        counts_pages = not words.isdisjoint({"page", "pages", "totalpages"})
        return _total_in_header(value, 1 if counts_pages and count is not None else count)
    if "pages" in words:
        return _total_in_header(value, None if count is None else 1)
    return Sign.PAGED if words <= _THIS_PAGE_WORDS or "count" in words else Sign.IRRELEVANT


def _total_in_header(value: str, count: int | None) -> Sign:
    if not re.fullmatch("[0-9]{1,18}", value):
        return Sign.IRRELEVANT if value in _EMPTY_WORDS else Sign.UNKNOWN
    return _total_of_items(int(value), count, None)
