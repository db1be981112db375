"""Binance's rate limits: what the venue says of its counters, and a ledger of what may still be used.

Limits count in fixed intervals of the venue's clock (web-socket-api.md, "How to interpret rate limits"). Weight and raw
requests count for the address, orders for the account, and other programs may use both: so the venue's own counters in
its replies are the truth, with our own unanswered requests on top. A request counts before it leaves, and one without
an answer stays counted. Pure: the venue's time is passed in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec


class Kind(StrEnum):
    """What a limit counts."""

    WEIGHT = "REQUEST_WEIGHT"
    ORDERS = "ORDERS"
    RAW = "RAW_REQUESTS"


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``limit`` in each interval of ``interval_s`` seconds."""

    kind: Kind
    interval_s: int
    limit: int

    def __str__(self) -> str:
        return f"{_WORDS[self.kind]} of {self.interval_s} s"


@dataclass(frozen=True, slots=True)
class Told:
    """A counter as a reply shows it; ``limit`` is ``None`` where the reply does not say it."""

    kind: Kind
    interval_s: int
    count: int
    limit: int | None = None


class WireLimit(msgspec.Struct, frozen=True):
    """One entry of a ``rateLimits`` array; ``count`` is there in replies, not in ``exchangeInfo``."""

    rateLimitType: str  # noqa: N815 - Binance's own names
    interval: str
    intervalNum: int  # noqa: N815
    limit: int
    count: int | None = None


_KINDS = {kind.value: kind for kind in Kind}
_SECONDS = {"SECOND": 1, "MINUTE": 60, "HOUR": 3600, "DAY": 86400}
_LETTERS = {"S": 1, "M": 60, "H": 3600, "D": 86400}
_HEADER = re.compile(r"x-mbx-(used-weight|order-count)-(\d+)([smhd])", re.IGNORECASE)
_WORDS = {Kind.WEIGHT: "request weight", Kind.ORDERS: "orders", Kind.RAW: "requests"}

DEFAULTS = (
    Limit(Kind.WEIGHT, 60, 6000),
    Limit(Kind.ORDERS, 10, 50),
    Limit(Kind.ORDERS, 86400, 160_000),
    Limit(Kind.RAW, 300, 61_000),
)
"""Limits of the documents' examples, in force until the venue has told its own."""


def limits_of(entries: Iterable[WireLimit]) -> tuple[Limit, ...]:
    """The limits that ``exchangeInfo`` states; kinds that we do not count (connections) are left out."""
    return tuple(
        Limit(_KINDS[entry.rateLimitType], _SECONDS[entry.interval] * entry.intervalNum, entry.limit)
        for entry in entries
        if entry.rateLimitType in _KINDS and entry.interval in _SECONDS
    )


def told_by_array(entries: Iterable[WireLimit]) -> tuple[Told, ...]:
    """The counters in a reply of the WebSocket API."""
    return tuple(
        Told(_KINDS[entry.rateLimitType], _SECONDS[entry.interval] * entry.intervalNum, entry.count, entry.limit)
        for entry in entries
        if entry.rateLimitType in _KINDS and entry.interval in _SECONDS and entry.count is not None
    )


def told_by_headers(headers: Mapping[str, str]) -> tuple[Told, ...]:
    """The counters in the headers of a REST reply: ``X-MBX-USED-WEIGHT-1M``, ``X-MBX-ORDER-COUNT-10S``."""
    told = []
    for name, value in headers.items():
        match = _HEADER.fullmatch(name)
        if match and value.isdecimal():
            kind = Kind.WEIGHT if match[1].lower() == "used-weight" else Kind.ORDERS
            told.append(Told(kind, int(match[2]) * _LETTERS[match[3].upper()], int(value)))
    return tuple(told)


@dataclass(slots=True, eq=False)
class Ticket:
    """A request that was counted: its cost by kind, its number, and when it left by the venue's clock."""

    cost: dict[Kind, int]
    number: int
    sent_ms: int
    open: bool = True


@dataclass(slots=True)
class _Counter:
    """One limit's use: ``used`` by answered and lost requests of interval ``window``; those in flight come on top."""

    limit: Limit
    window: int = 0
    used: int = 0
    before: int = 0
    """What was used of the interval before."""
    newest: int = -1
    """The number of the last request whose reply told the counter."""


@dataclass(slots=True)
class RateLedger:
    """What is used of each limit, as far as we know."""

    _counters: dict[tuple[Kind, int], _Counter] = field(default_factory=dict)
    _in_flight: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    _numbers: int = 0

    def __post_init__(self) -> None:
        self.set_limits(DEFAULTS)

    def set_limits(self, limits: Iterable[Limit]) -> None:
        """The venue's limits, which may be none; what was counted so far stays counted."""
        fresh = {(limit.kind, limit.interval_s): limit for limit in limits}
        old = self._counters
        self._counters = {key: old.get(key, _Counter(limit)) for key, limit in fresh.items()}
        for key, limit in fresh.items():
            self._counters[key].limit = limit

    def lacking(self, weight: int, orders: int, now_ms: int, *, share: float) -> Limit | None:
        """The first limit of which a request would overstep that ``share``."""
        cost = _cost(weight, orders)
        for counter in self._counters.values():
            self._roll(counter, now_ms)
            needed = cost[counter.limit.kind]
            allowed = counter.limit.limit * share
            if needed and counter.used + self._in_flight[counter.limit.kind] + needed > allowed:
                return counter.limit
        return None

    def take(self, weight: int, orders: int, now_ms: int) -> Ticket:
        """Count a request that is about to leave."""
        self._numbers += 1
        ticket = Ticket(_cost(weight, orders), self._numbers, now_ms)
        for kind, cost in ticket.cost.items():
            self._in_flight[kind] += cost
        return ticket

    def settle(self, ticket: Ticket, told: Iterable[Told], now_ms: int) -> None:
        """A reply came: the venue's counters hold, with what is in flight on top."""
        if not self._close(ticket, now_ms):
            return
        for one in told:
            counter = self._counters.get((one.kind, one.interval_s))
            if counter is None:
                continue
            if one.limit is not None and one.limit != counter.limit.limit:
                counter.limit = Limit(one.kind, one.interval_s, one.limit)
            if ticket.sent_ms // (one.interval_s * 1000) != counter.window:
                continue  # it may tell of the interval before
            if one.kind is Kind.ORDERS and ticket.number > counter.newest:
                counter.used = one.count  # it may fall: orders that fill are given back
                counter.newest = ticket.number
            else:
                counter.used = max(counter.used, one.count)

    def lose(self, ticket: Ticket, now_ms: int) -> None:
        """No reply will come; the venue may have counted the request all the same."""
        self._close(ticket, now_ms)

    def used(self, now_ms: int) -> dict[Limit, int]:
        """What is used of each limit now, requests in flight included."""
        return dict(self.counts(now_ms))

    def counts(self, now_ms: int) -> list[tuple[Limit, int]]:
        """As ``used``, for whoever looks at every request."""
        for counter in self._counters.values():
            self._roll(counter, now_ms)
        return [(one.limit, one.used + self._in_flight[one.limit.kind]) for one in self._counters.values()]

    def _close(self, ticket: Ticket, now_ms: int) -> bool:
        if not ticket.open:
            return False
        ticket.open = False
        for kind, cost in ticket.cost.items():
            self._in_flight[kind] -= cost
        for counter in self._counters.values():
            self._roll(counter, now_ms)
            counter.used += ticket.cost[counter.limit.kind]
        return True

    @staticmethod
    def _roll(counter: _Counter, now_ms: int) -> None:
        """Count for the interval of ``now_ms``; back in an earlier one, since the venue's time was measured anew, all
        that was counted meanwhile counts for it too."""
        window = now_ms // (counter.limit.interval_s * 1000)
        if window > counter.window:
            counter.before = counter.used if window == counter.window + 1 else 0
            counter.window, counter.used, counter.newest = window, 0, -1
        elif window < counter.window:
            counter.used += counter.before if window == counter.window - 1 else 0
            counter.window, counter.before, counter.newest = window, 0, -1


def _cost(weight: int, orders: int) -> dict[Kind, int]:
    return {Kind.WEIGHT: weight, Kind.ORDERS: orders, Kind.RAW: 1}
