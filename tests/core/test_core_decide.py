"""From a book to a decision: guards, own quantity, both layers, and the defects that a whole turn would show."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from core_samples import BTC, COARSE, book, layer_spec, own, pair_spec

from mmctl.core.book import Book
from mmctl.core.decide import WAITS, Decision, PairDecider
from mmctl.core.order import LIVE, CancelState, Layer, Order, Side, State
from mmctl.core.own import without_own
from mmctl.core.risk import UNBOUNDED, Room, approve, touch_ticks
from mmctl.core.spec import LayerSide, PairSpec, Strategy

BUY, SELL = Side.BUY, Side.SELL

BOOK = book(
    [("100.00", "1"), ("99.90", "2"), ("99.80", "3"), ("99.70", "4"), ("99.60", "5")],
    [("100.10", "1"), ("100.20", "2"), ("100.30", "3"), ("100.40", "4"), ("100.50", "5")],
)


def decided(spec: PairSpec, layer: Layer, live: list[Order] | None = None, the_book: Book = BOOK) -> Decision:
    decider = PairDecider(spec, BTC)
    return decider.decide(layer, the_book, live or [], UNBOUNDED, forced=False, refreshes=0)


def far_spec(**changes: Any) -> Any:
    margins = {"buy_margin_bps": "10", "sell_margin_bps": "10"}
    return layer_spec(Layer.FAR, Strategy.SPREAD, **{**margins, **changes})


def refusals(decision: Decision, reason: str) -> list[tuple[Side, int]]:
    return [(one.side, one.level) for one in decision.refused if one.reason == reason]


# The collar


@pytest.mark.parametrize(
    ("collar", "bids", "asks"),
    [
        # The mid is 100.05; 10 bps of it are 0.10005.
        ("10", [10000], [10010]),
        ("15", [10000, 9990], [10010, 10020]),
        ("1000", [10000, 9990, 9980, 9970, 9960], [10010, 10020, 10030, 10040, 10050]),
        ("1", [], []),
        ("20000", [10000, 9990, 9980, 9970, 9960], [10010, 10020, 10030, 10040, 10050]),
    ],
)
def test_no_quote_lies_outside_the_collar_around_the_mid(collar: str, bids: list[int], asks: list[int]) -> None:
    decision = decided(pair_spec(layer_spec(), collar_bps=Decimal(collar)), Layer.NEAR)
    assert [one.price for one in decision.target if one.side is BUY] == bids
    assert [one.price for one in decision.target if one.side is SELL] == asks
    assert len(refusals(decision, "collar")) == 10 - len(bids) - len(asks)


def test_a_quote_exactly_on_the_collar_is_within_it() -> None:
    wide = book([("99", "1"), ("90", "1"), ("89.99", "1")], [("101", "1"), ("110", "1"), ("110.01", "1")])
    decision = decided(pair_spec(layer_spec()), Layer.NEAR, the_book=wide)
    assert [one.price for one in decision.target] == [10100, 11000, 9900, 9000]
    assert refusals(decision, "collar") == [(SELL, 3), (BUY, 3)]


# Self-trade, against the reference


@pytest.mark.parametrize(
    ("side", "price", "fine"),
    [(BUY, 10009, True), (BUY, 10010, False), (BUY, 10011, False), (SELL, 10001, True), (SELL, 10000, False)],
)
def test_no_quote_meets_the_references_opposite_touch(side: Side, price: int, fine: bool) -> None:
    quotes = [one._replace(price=price, side=side) for one in decided(pair_spec(layer_spec()), Layer.NEAR).target[:1]]
    good, refused = approve(quotes, BOOK, touch_ticks(BOOK, BTC), BTC, Decimal(1000), 10**18)
    assert bool(good) is fine
    assert [one.reason for one in refused] == ([] if fine else ["touch"])


@pytest.mark.parametrize(("bid", "ask", "ticks"), [("100.2", "100.3", (200, 201)), ("100.5", "101", (201, 202))])
def test_a_touch_off_the_venues_tick_is_judged_exactly(bid: str, ask: str, ticks: tuple[int, int]) -> None:
    """An ask at 100.5 lies above a bid of 100.2, so 200 is the highest tick that an ask may not have."""
    touch = touch_ticks(book([(bid, "1")], [(ask, "1")]), COARSE)
    assert (touch.bid, touch.ask) == ticks


def test_an_amount_above_the_maximum_is_refused_by_name() -> None:
    quotes = decided(pair_spec(layer_spec()), Layer.NEAR).target
    most = min(one.price * one.qty for one in quotes)
    good, refused = approve(quotes, BOOK, touch_ticks(BOOK, BTC), BTC, Decimal(1000), most)
    assert {one.price * one.qty for one in good} == {most}
    assert {one.reason for one in refused} == {"max_amount"}


def test_every_bid_is_below_every_own_ask_of_either_layer() -> None:
    live = [own(1, SELL, 9990, layer=Layer.FAR, state=State.UNKNOWN)]
    decision = decided(pair_spec(layer_spec(), far_spec()), Layer.NEAR, live)
    assert [one.price for one in decision.plan.place if one.side is BUY] == [9980, 9970, 9960]
    assert refusals(decision, "would_cross_own") == [(BUY, 1), (BUY, 2)]


def test_an_own_order_beyond_the_references_touch_goes_now() -> None:
    live = [own(1, BUY, 10010, layer=Layer.FAR)]
    decision = decided(pair_spec(layer_spec(), far_spec()), Layer.NEAR, live)
    assert [(wanted.order.price, wanted.reason) for wanted in decision.plan.cancel] == [(10010, "crosses_touch")]


# Far beside near


def test_a_far_level_nearer_than_nears_innermost_is_refused() -> None:
    near = layer_spec(buy_margin_bps="25", sell_margin_bps="15")
    decision = decided(pair_spec(near, far_spec()), Layer.FAR)
    # Near's innermost: 100 * 0.9975 = 99.75 and 100.1 * 1.0015 = 100.25015 -> 100.26. Far bids: 99.90, 99.80,
    # 99.70, ...; far asks: 100.2001 -> 100.21, 100.30, ...
    assert refusals(decision, "inside_near") == [(SELL, 1), (BUY, 1), (BUY, 2)]
    assert next(one.price for one in decision.target if one.side is BUY) == 9970
    assert next(one.price for one in decision.target if one.side is SELL) == 10031


def test_a_far_level_at_nears_innermost_price_is_not_nearer() -> None:
    near = layer_spec(buy_margin_bps="10", sell_margin_bps="10")
    decision = decided(pair_spec(near, far_spec()), Layer.FAR)
    assert not refusals(decision, "inside_near")
    assert len(decision.target) == 10


def test_far_is_free_on_a_side_that_near_does_not_quote() -> None:
    for near in (
        None,
        layer_spec(buy_margin_bps="25", side=LayerSide.ASK),
        layer_spec(buy_margin_bps="25", bid_levels=0),
        layer_spec(buy_margin_bps="25", min_qty="100"),
    ):
        decision = decided(pair_spec(near, far_spec()), Layer.FAR)
        assert not [one for one in refusals(decision, "inside_near") if one[0] is BUY]


def test_near_is_never_refused_for_being_near() -> None:
    spec = pair_spec(layer_spec(), far_spec())
    assert not refusals(decided(spec, Layer.NEAR), "inside_near")


@pytest.mark.parametrize("strategy", list(Strategy))
@pytest.mark.parametrize("layer", list(Layer))
def test_both_strategies_serve_either_layer(strategy: Strategy, layer: Layer) -> None:
    one = layer_spec(layer, strategy, buy_margin_bps="10", sell_margin_bps="10")
    spec = pair_spec(one) if layer is Layer.NEAR else pair_spec(None, one)
    decision = decided(spec, layer)
    assert len(decision.target) == 10
    assert {quote.layer for quote in decision.target} == {layer}


# Own quantity


def sizes(the_book: Book) -> list[Decimal]:
    """The quantities of the bids."""
    return [the_book.qty(level.qty) for level in the_book.bids]


@pytest.mark.parametrize("state", sorted(LIVE))
@pytest.mark.parametrize("layer", list(Layer))
def test_own_live_quantity_comes_off_the_reference(state: State, layer: Layer) -> None:
    mine = own(1, BUY, 9990, 150_000, layer=layer, state=state, filled=30_000)
    less = without_own(BOOK, [mine], BTC)
    assert sizes(less) == [1, Decimal("0.8"), 3, 4, 5]
    assert [less.qty(level.qty) for level in less.asks] == [1, 2, 3, 4, 5]
    assert [level.price for level in less.asks] == [level.price for level in BOOK.asks]


def test_a_level_that_was_only_ours_vanishes_and_the_touch_moves() -> None:
    less = without_own(BOOK, [own(1, BUY, 10000, 100_000), own(2, SELL, 10010, 250_000)], BTC)
    assert (less.best_bid, less.best_ask) == (Decimal("99.9"), Decimal("100.2"))


def test_several_own_orders_on_one_level_add_up_and_take_off_at_most_what_is_there() -> None:
    less = without_own(BOOK, [own(n, BUY, 9990, 90_000) for n in range(3)], BTC)
    assert [level.price for level in less.bids] == [10000, 9980, 9970, 9960]


def test_an_ask_takes_nothing_off_the_bids_and_ended_orders_take_off_nothing() -> None:
    orders = [own(1, SELL, 9990, 50_000), own(2, BUY, 9990, 50_000, state=State.CANCELLED)]
    assert sizes(without_own(BOOK, orders, BTC)) == [1, 2, 3, 4, 5]


def test_lots_finer_than_the_books_scale_come_off_exactly() -> None:
    """A book of whole numbers has no decimals; one lot of ours must not take off a whole coin."""
    assert BOOK.qty_decimals == 0
    assert sizes(without_own(BOOK, [own(1, BUY, 9990, 1)], BTC))[1] == Decimal("1.99999")


def test_a_price_that_the_books_scale_cannot_show_takes_off_nothing() -> None:
    coarse = book([("100", "1"), ("99", "2")], [("101", "1")])
    assert sizes(without_own(coarse, [own(1, BUY, 9991, 100_000), own(2, BUY, 9900, 50_000)], BTC)) == [1, 1.5]


def test_only_own_quantity_in_the_followed_market_comes_off() -> None:
    mine = [own(1, BUY, 10000, 100_000)]
    apart, shared = pair_spec(layer_spec()), pair_spec(layer_spec(), shares_market=True)
    assert PairDecider(apart, BTC).reference(BOOK, mine) is BOOK
    assert PairDecider(shared, BTC).reference(BOOK, mine).best_bid == Decimal("99.9")
    alone = [own(n, BUY, price, 500_000) for n, price in enumerate([10000, 9990, 9980, 9970, 9960])]
    assert PairDecider(shared, BTC).reference(BOOK, alone).fault == "the book is one-sided: it has no bids"


def test_the_ladder_does_not_feed_on_itself() -> None:
    """The market shows the book plus our own ladder; every round then wants the same."""
    spec = pair_spec(layer_spec(qty_multiplier="0.5"), shares_market=True)
    decider = PairDecider(spec, BTC)
    first = decider.decide(Layer.NEAR, BOOK, [], UNBOUNDED, forced=False, refreshes=0)
    live = [own(n, one.side, one.price, one.qty) for n, one in enumerate(first.plan.place)]

    def with_own(levels: Any, side: Side) -> list[tuple[Decimal, Decimal]]:
        mine = {BTC.price(order.price): BTC.qty(order.qty) for order in live if order.side is side}
        return [(BOOK.price(p), BOOK.qty(q) + mine.get(BOOK.price(p), Decimal(0))) for p, q in levels]

    market = Book.of(BOOK.key, BOOK.ts_ms, with_own(BOOK.bids, BUY), with_own(BOOK.asks, SELL), "test")
    second = decider.decide(Layer.NEAR, decider.reference(market, live), live, UNBOUNDED, forced=False, refreshes=0)
    assert second.target == first.target
    assert second.plan.is_empty


# What a whole turn showed in the original


def place_all(decision: Decision, live: list[Order], start: int) -> list[Order]:
    gone = {wanted.order.client_id for wanted in decision.plan.cancel}
    kept = [order for order in live if order.client_id not in gone]
    placed = [
        own(start + n, one.side, one.price, one.qty, layer=one.layer) for n, one in enumerate(decision.plan.place)
    ]
    return kept + placed


def test_the_first_round_places_the_best_bid() -> None:
    decision = decided(pair_spec(layer_spec()), Layer.NEAR)
    assert [one.price for one in decision.plan.place][:2] == [10010, 10000]
    assert len(decision.plan.place) == 10


def test_a_filled_level_is_quoted_again_in_the_next_round() -> None:
    spec = pair_spec(layer_spec())
    live = place_all(decided(spec, Layer.NEAR), [], 0)
    best = max((order for order in live if order.side is BUY), key=lambda order: order.price)
    left = [order for order in live if order is not best]
    left.append(replace(best, state=State.FILLED, filled=best.qty))
    decision = decided(spec, Layer.NEAR, left)
    assert [(one.side, one.price) for one in decision.plan.place] == [(BUY, 10000)]
    assert not decision.plan.cancel
    assert len(decision.plan.keep) == 9


def test_a_partly_filled_level_is_quoted_anew_only_below_the_tolerance() -> None:
    spec = pair_spec(layer_spec())
    live = place_all(decided(spec, Layer.NEAR), [], 0)
    half = [replace(order, filled=order.qty // 2) for order in live]
    assert decided(spec, Layer.NEAR, half).plan.is_empty
    less = [replace(order, filled=order.qty // 2 + 1) for order in live]
    assert len(decided(spec, Layer.NEAR, less).plan.place) == 10


def test_one_new_level_on_top_places_one_and_cancels_at_most_one() -> None:
    spec = pair_spec(layer_spec())
    live = place_all(decided(spec, Layer.NEAR), [], 0)
    levels = [("100.05", "1"), ("100.00", "1"), ("99.90", "2"), ("99.80", "3"), ("99.70", "4"), ("99.60", "5")]
    asks = [("100.10", "1"), ("100.20", "2"), ("100.30", "3"), ("100.40", "4"), ("100.50", "5")]
    plan = decided(spec, Layer.NEAR, live, book(levels, asks)).plan
    assert [one.price for one in plan.place] == [10005]
    assert [wanted.order.price for wanted in plan.cancel] == [9960]


def test_far_and_near_leave_each_others_orders_alone() -> None:
    spec = pair_spec(layer_spec(), far_spec())
    live = place_all(decided(spec, Layer.NEAR), [], 0)
    live = place_all(decided(spec, Layer.FAR, live), live, 100)
    assert len(live) == 20
    assert decided(spec, Layer.NEAR, live).plan.is_empty
    assert decided(spec, Layer.FAR, live).plan.is_empty


def test_each_layer_has_its_own_difference() -> None:
    spec = pair_spec(layer_spec(diff_per_round_bps="1"), far_spec(diff_per_round_bps="4", qty_multiplier="0.5"))
    live = place_all(decided(spec, Layer.NEAR), [], 0)
    live = place_all(decided(spec, Layer.FAR, live), live, 100)
    levels = ["99.97", "99.87", "99.77", "99.67", "99.57"], ["100.07", "100.17", "100.27", "100.37", "100.47"]
    down = book(*([(price, str(n)) for n, price in enumerate(side, 1)] for side in levels))
    # Three ticks are 3 bps: too much for near, not for far, whose quantities are not drawn anew either.
    assert len(decided(spec, Layer.NEAR, live, down).plan.place) == 10
    far = decided(spec, Layer.FAR, live, down)
    assert far.plan.is_empty
    assert len(far.plan.keep) == 10


def test_what_waits_is_told_with_a_sentence() -> None:
    live = [own(1, BUY, 9000, cancel=CancelState.SENT), own(2, BUY, 9990, 1, state=State.UNKNOWN)]
    live.append(own(3, SELL, 10000, 1, layer=Layer.FAR, state=State.UNKNOWN))
    decider = PairDecider(pair_spec(layer_spec()), BTC)
    room = Room(orders=6, base_lots=400_000)
    decision = decider.decide(Layer.NEAR, BOOK, live, room, forced=False, refreshes=0)
    told = {one.reason: one.detail for one in decision.refused}
    assert told == {reason: WAITS[reason] for reason in told}
    assert set(told) == {"unsettled_at_price", "unconfirmed_cancel", "would_cross_own", "balance"}


def test_the_target_is_what_is_left_after_risk_whatever_waits() -> None:
    decider = PairDecider(pair_spec(layer_spec()), BTC)
    decision = decider.decide(Layer.NEAR, BOOK, [], Room(orders=0), forced=False, refreshes=0)
    assert len(decision.target) == 10
    assert not decision.plan.place
    assert {one.reason for one in decision.refused} == {"open_order_cap"}
