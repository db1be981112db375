"""What time a book gets: it ages whenever nobody vouches for it, and what is stamped on arrival never looks younger."""

from __future__ import annotations

import json
from typing import Any

import pytest
from binance_script import BTC, depth, diff

from mmctl.core.book import Level
from mmctl.errors import NoBook
from mmctl.feeds.binance_followed import Followed, Truth
from mmctl.wire.binance_market import decode_depth

WALL_MS = 1_700_000_000_000
TRUTH = Truth(lag_allowed_s=2.0, quiet_s=2.0)


def wall(now_s: float) -> int:
    return WALL_MS + round(now_s * 1000)


def followed(levels: int = 20) -> Followed:
    return Followed("BTCUSDT", levels, TRUTH)


def hear(one: Followed, data: dict[str, Any], now_s: float, proof_s: float | None = None) -> None:
    one.event(json.dumps(data), now_s, wall(now_s), now_s if proof_s is None else proof_s)


def answer(one: Followed, data: dict[str, Any], asked_s: float, *, on_socket: bool = True) -> None:
    one.answer(decode_depth(json.dumps(data)), asked_s, wall(asked_s), on_socket=on_socket)


def age_s(one: Followed, now_s: float, proof_s: float | None) -> float:
    return (wall(now_s) - one.book(BTC, proof_s).ts_ms) / 1000


def best_bid(one: Followed) -> float:
    return float(one.book(BTC, None).best_bid or 0)


# A partial depth has no time of its own


def test_an_event_counts_from_its_arrival() -> None:
    one = followed()
    hear(one, depth(1), now_s=10)
    assert age_s(one, 10, 10) == 0
    assert age_s(one, 13, 10) == 3


def test_silence_with_answered_pings_keeps_it_young_for_a_while_only() -> None:
    one = followed()
    hear(one, depth(1), now_s=10)
    assert age_s(one, 11.2, proof_s=11) == pytest.approx(0.2)
    assert age_s(one, 12.5, proof_s=12) == pytest.approx(0.5)
    assert age_s(one, 15, proof_s=15) == 3
    assert age_s(one, 40, proof_s=40) == 28


def test_without_a_socket_it_ages_from_the_last_event() -> None:
    one = followed()
    hear(one, depth(1), now_s=10)
    assert age_s(one, 11, proof_s=None) == 1
    one.restart()
    assert age_s(one, 11.5, proof_s=11.5) == 1.5, "the pings of a new socket say nothing of the old one's book"


def test_what_lay_in_a_buffer_is_not_young() -> None:
    one = followed()
    hear(one, depth(1), now_s=30, proof_s=20)
    assert age_s(one, 30, proof_s=20) == 8
    hear(one, depth(2), now_s=30.1, proof_s=30)
    assert age_s(one, 30.1, proof_s=30) == 0


def test_a_book_never_gets_older_by_news() -> None:
    one = followed()
    hear(one, depth(1), now_s=10)
    answer(one, depth(2, bids=[("99.6", "1")]), asked_s=14)
    hear(one, depth(3, bids=[("99.7", "1")]), now_s=14.1, proof_s=11)
    assert best_bid(one) == 99.7
    assert age_s(one, 14.1, 11) == pytest.approx(0.1)


# What requests say


def test_an_unchanged_book_is_as_young_as_the_question() -> None:
    one = followed()
    hear(one, depth(1), now_s=10)
    answer(one, depth(7), asked_s=20)
    assert age_s(one, 20.3, proof_s=20) == pytest.approx(0.3)
    assert one.behind_since_s is None


def test_what_is_older_than_an_unchanged_book_is_not_taken() -> None:
    one = followed()
    hear(one, depth(1), now_s=10)
    answer(one, depth(7), asked_s=11)
    hear(one, depth(5, bids=[("98", "3")]), now_s=11.1)
    assert best_bid(one) == 99.5


def test_a_changed_book_is_taken_and_the_stream_owes_it() -> None:
    one = followed()
    hear(one, depth(1), now_s=10)
    answer(one, depth(5, bids=[("98", "3")]), asked_s=20)
    assert best_bid(one) == 98
    assert one.behind_since_s == 20
    assert age_s(one, 23, proof_s=23) == 3, "silence of a stream that stands still proves nothing"
    hear(one, depth(4), now_s=20.5)
    assert best_bid(one) == 98, "what is older does not come back"
    hear(one, depth(5, bids=[("98", "3")]), now_s=20.6)
    assert one.behind_since_s is None


def test_an_exchange_that_counts_anew_is_believed_after_a_while() -> None:
    one = followed()
    hear(one, depth(1000), now_s=10)
    hear(one, depth(1, bids=[("98", "3")]), now_s=11)
    assert best_bid(one) == 99.5
    hear(one, depth(2, bids=[("98", "3")]), now_s=12.5)
    assert best_bid(one) == 98


# What is no book


def test_an_unreadable_newest_is_never_replaced_by_an_older_one() -> None:
    one = followed()
    hear(one, depth(1), now_s=10)
    one.event(b'{"lastUpdateId":2}', 11, wall(11), 11)
    with pytest.raises(NoBook, match="btcusdt@depth20@100ms has another shape"):
        one.book(BTC, 11)
    assert one.true_s(11) == float("-inf")
    hear(one, depth(3), now_s=12)
    assert age_s(one, 12, 12) == 0


def test_two_levels_at_one_price_are_no_book() -> None:
    one = followed()
    hear(one, depth(1, bids=[("99", "1"), ("99.0", "2")]), now_s=10)
    with pytest.raises(NoBook, match="two levels"):
        one.book(BTC, 10)
    assert one.has_book


def test_an_empty_and_a_crossed_book_are_the_cores_to_judge() -> None:
    one = followed()
    hear(one, depth(1, bids=[], asks=[]), now_s=10)
    assert one.book(BTC, 10).fault == "the book is empty"
    hear(one, depth(2, bids=[("101", "1")]), now_s=10)
    assert "crossed" in str(one.book(BTC, 10).fault)


def test_levels_are_exact_and_in_order() -> None:
    one = followed()
    hear(one, depth(1, bids=[("99.10", "0.00000001"), ("99.2", "3")], asks=[("100.5", "2"), ("100.05", "1")]), 10)
    book = one.book(BTC, 10)
    assert book.price_decimals == 2
    assert book.bids == (Level(9920, 300_000_000), Level(9910, 1))
    assert book.asks == (Level(10005, 100_000_000), Level(10050, 200_000_000))
    assert book.source == "binance"


# More than 20 levels


def test_a_change_has_binances_own_time() -> None:
    one = followed(levels=50)
    hear(one, diff(5, 6), now_s=10)
    assert one.wants_snapshot
    assert not one.has_book
    answer(one, depth(6), asked_s=10.1)
    hear(one, diff(7, 8, bids=[("99.6", "1")], event_ms=wall(11) - 1500), now_s=11)
    assert best_bid(one) == 99.6
    assert age_s(one, 11, 10.5) == 1.5
    assert age_s(one, 12, proof_s=11.5) == 2.0, "half a second of silence was proven"


def test_a_gap_makes_the_old_book_age_until_a_snapshot_joins() -> None:
    one = followed(levels=50)
    answer(one, depth(6), asked_s=10)
    hear(one, diff(7, 7, event_ms=wall(10.1)), now_s=10.1)
    hear(one, diff(9, 9, bids=[("90", "1")]), now_s=11)
    assert one.wants_snapshot
    assert age_s(one, 12, proof_s=12) == pytest.approx(1.9)
    answer(one, depth(8, bids=[("97", "1")]), asked_s=12)
    assert one.wants_snapshot, "the snapshot is older than the first event after the gap"
    assert best_bid(one) == 97, "but it is newer than what was there"
    answer(one, depth(9, bids=[("96", "1"), ("90", "1")]), asked_s=12.2)
    assert not one.wants_snapshot
    assert best_bid(one) == 96


def test_an_unreadable_change_is_a_gap() -> None:
    one = followed(levels=50)
    answer(one, depth(6), asked_s=10)
    one.event(b'{"E":1,"U":7,"u":7}', 11, wall(11), 11)
    assert one.wants_snapshot
    with pytest.raises(NoBook):
        one.book(BTC, 11)
    answer(one, depth(7), asked_s=11.1)
    assert best_bid(one) == 99.5


def test_a_request_from_before_the_socket_is_shown_but_not_carried_on() -> None:
    one = followed(levels=50)
    answer(one, depth(6), asked_s=10, on_socket=False)
    assert best_bid(one) == 99.5
    assert one.wants_snapshot
    assert one.limit(socket_up=False) == 100
    assert one.limit(socket_up=True) == 500


def test_a_snapshot_that_lags_is_not_shown() -> None:
    one = followed(levels=50)
    answer(one, depth(6), asked_s=10)
    hear(one, diff(7, 9, bids=[("99.6", "1")]), now_s=10.1)
    one.restart()
    answer(one, depth(6), asked_s=10.2)
    assert best_bid(one) == 99.6
    hear(one, diff(7, 9, bids=[("99.6", "1")]), now_s=10.3)
    hear(one, diff(10, 10, bids=[("99.7", "1")]), now_s=10.4)
    assert best_bid(one) == 99.7


def test_two_clocks_that_stamp_in_turns_do_not_turn_time_back() -> None:
    one = followed(levels=50)
    answer(one, depth(6), asked_s=10)
    first = one.book(BTC, 10).ts_ms
    hear(one, diff(7, 7, bids=[("99.6", "1")], event_ms=wall(10.1) - 400), now_s=10.1)
    assert one.book(BTC, 10).ts_ms == first
    hear(one, diff(8, 8, event_ms=wall(10.2) - 5000), now_s=10.2)
    assert one.book(BTC, 10).ts_ms == wall(10.2) - 5000, "a clock that was set right is believed"


def test_only_the_wanted_levels_are_shown() -> None:
    one = followed(levels=30)
    many = [(str(1000 - number), "1") for number in range(60)]
    answer(one, depth(6, bids=many, asks=[("2000", "1")]), asked_s=10, on_socket=False)
    assert len(one.book(BTC, None).bids) == 30
    answer(one, depth(7, bids=many, asks=[("2000", "1")]), asked_s=10)
    hear(one, diff(8, 8, bids=[("1001", "2")]), now_s=11)
    assert len(one.book(BTC, None).bids) == 30
    assert best_bid(one) == 1001


# Trades


def trade(number: int, price: str = "1.5") -> str:
    return json.dumps({"e": "trade", "t": number, "p": price, "q": "2", "T": 5, "m": False})


def test_trades_come_once_in_order_and_are_bounded() -> None:
    one = followed()
    for number in (1, 2, 2, 1, 3):
        one.trade(trade(number))
    one.trade(trade(4, price="none"))
    assert [each.trade_id for each in one.trades(1)] == [2, 3]
    for number in range(10, 3000):
        one.trade(trade(number))
    assert len(one.trades(0)) == 1000
