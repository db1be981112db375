"""The rate ledger: the venue's counters with our own unanswered requests on top, in the venue's intervals."""

from __future__ import annotations

import pytest

from mmctl.wire.binance_limits import (
    Kind,
    Limit,
    RateLedger,
    Told,
    WireLimit,
    limits_of,
    told_by_array,
    told_by_headers,
)

MINUTE_MS = 60_000
START_MS = 1_700_000_040_000 // MINUTE_MS * MINUTE_MS
WEIGHT = Limit(Kind.WEIGHT, 60, 100)
ORDERS = Limit(Kind.ORDERS, 10, 10)


@pytest.fixture
def ledger() -> RateLedger:
    made = RateLedger()
    made.set_limits([WEIGHT, ORDERS])
    return made


def test_headers_and_arrays_say_the_same() -> None:
    headers = {"X-MBX-USED-WEIGHT": "9", "x-mbx-used-weight-1m": "321", "X-MBX-ORDER-COUNT-10S": "12", "Date": "3"}
    assert told_by_headers(headers) == (Told(Kind.WEIGHT, 60, 321), Told(Kind.ORDERS, 10, 12))
    entries = (
        WireLimit("ORDERS", "SECOND", 10, 50, 12),
        WireLimit("ORDERS", "DAY", 1, 160000, 4043),
        WireLimit("CONNECTIONS", "MINUTE", 5, 300, 1),
        WireLimit("REQUEST_WEIGHT", "MINUTE", 1, 6000),
    )
    assert told_by_array(entries) == (Told(Kind.ORDERS, 10, 12, 50), Told(Kind.ORDERS, 86400, 4043, 160000))
    assert limits_of(entries) == (
        Limit(Kind.ORDERS, 10, 50),
        Limit(Kind.ORDERS, 86400, 160000),
        Limit(Kind.WEIGHT, 60, 6000),
    )


def test_a_share_of_each_limit_is_kept(ledger: RateLedger) -> None:
    for _ in range(8):
        assert ledger.lacking(1, 1, START_MS, share=0.8) is None
        ledger.take(1, 1, START_MS)
    assert ledger.lacking(1, 1, START_MS, share=0.8) == ORDERS
    assert ledger.lacking(1, 0, START_MS, share=0.8) is None
    ledger.take(72, 0, START_MS)
    assert ledger.lacking(1, 0, START_MS, share=0.8) == WEIGHT
    assert ledger.lacking(20, 0, START_MS, share=1.0) is None
    assert ledger.lacking(21, 0, START_MS, share=1.0) == WEIGHT


def test_the_venues_count_holds_with_what_is_in_flight_on_top(ledger: RateLedger) -> None:
    first, _second = ledger.take(1, 1, START_MS), ledger.take(1, 1, START_MS)
    ledger.settle(first, [Told(Kind.WEIGHT, 60, 40), Told(Kind.ORDERS, 10, 5)], START_MS)
    assert ledger.used(START_MS) == {WEIGHT: 41, ORDERS: 6}


def test_orders_that_fill_are_given_back_weight_never_is(ledger: RateLedger) -> None:
    tickets = [ledger.take(1, 1, START_MS) for _ in range(3)]
    ledger.settle(tickets[0], [Told(Kind.WEIGHT, 60, 50), Told(Kind.ORDERS, 10, 7)], START_MS)
    ledger.settle(tickets[2], [Told(Kind.WEIGHT, 60, 30), Told(Kind.ORDERS, 10, 2)], START_MS)
    assert ledger.used(START_MS) == {WEIGHT: 52, ORDERS: 3}
    # An older request's reply, which came later, is no newer news.
    ledger.settle(tickets[1], [Told(Kind.ORDERS, 10, 1)], START_MS)
    assert ledger.used(START_MS)[ORDERS] == 3


def test_a_lost_request_stays_counted_and_one_in_flight_counts_in_the_next_interval_too(ledger: RateLedger) -> None:
    lost, kept = ledger.take(5, 1, START_MS), ledger.take(1, 1, START_MS)
    ledger.lose(lost, START_MS)
    ledger.lose(lost, START_MS)
    assert ledger.used(START_MS) == {WEIGHT: 6, ORDERS: 2}
    assert ledger.used(START_MS + MINUTE_MS) == {WEIGHT: 1, ORDERS: 1}
    ledger.settle(kept, [Told(Kind.WEIGHT, 60, 99)], START_MS + MINUTE_MS)
    assert ledger.used(START_MS + MINUTE_MS)[WEIGHT] == 1  # 99 may be the count of the minute before


def test_limits_that_are_told_replace_those_assumed(ledger: RateLedger) -> None:
    ticket = ledger.take(1, 0, START_MS)
    ledger.settle(ticket, [Told(Kind.WEIGHT, 60, 3, 1200)], START_MS)
    assert ledger.used(START_MS)[Limit(Kind.WEIGHT, 60, 1200)] == 3
    ledger.set_limits([])
    assert ledger.lacking(10**9, 10**9, START_MS, share=0.8) is None


def test_a_clock_that_is_found_to_be_ahead_stops_no_quoting_until_it_is_caught_up(ledger: RateLedger) -> None:
    ahead_ms = START_MS + 3_600_000
    ledger.settle(ledger.take(1, 1, ahead_ms), [], ahead_ms)
    assert ledger.lacking(1, 1, ahead_ms, share=0.8) is None
    for second in range(60):  # from here on the venue's time is known
        now_ms = START_MS + 1000 * second
        assert ledger.lacking(1, 1, now_ms, share=0.8) is None
        ledger.settle(ledger.take(0, 1, now_ms), [Told(Kind.ORDERS, 10, 1)], now_ms)
    assert ledger.used(START_MS + 60_000)[ORDERS] == 0


def test_back_in_an_interval_all_that_was_counted_since_it_began_counts(ledger: RateLedger) -> None:
    for now_ms, count in ((START_MS + 9_900, 5), (START_MS + 10_100, 2)):
        for _ in range(count):
            ledger.settle(ledger.take(0, 1, now_ms), [], now_ms)
            ledger.lacking(0, 1, now_ms, share=0.8)
    assert ledger.used(START_MS + 10_100)[ORDERS] == 2
    assert ledger.used(START_MS + 9_950)[ORDERS] == 7  # measured anew: 150 ms earlier than thought
    assert ledger.used(START_MS + 10_000)[ORDERS] == 0
