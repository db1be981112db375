"""The mock venue beyond the contract: chance by seed, latency, lag, stalls, bounded memory, kept balances."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from decimal import Decimal

import looptime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmctl.clock import SystemClock
from mmctl.core.events import Accepted, BalancesChanged, CancelRefused, Ended, Fill, NotFound, Rejected, Unsettled
from mmctl.core.order import CancelOrder, NewOrder, Side, State, TimeInForce
from mmctl.errors import VenueRefused, VenueUnreachable
from mmctl.venues.mock import MockOptions, MockVenue
from mmctl.venues.mock_exchange import MockExchange

from .harness import BALANCES, BTCUSDT, SYMBOL, Session, book

D = Decimal
SURE = MockOptions(latency_ms=20, latency_jitter_ms=0)
WIDE = replace(BTCUSDT, max_open_orders=None)


def begin(options: MockOptions = SURE) -> tuple[MockVenue, Session]:
    venue = MockVenue(SystemClock(wall_offset_ms=0), {SYMBOL: WIDE}, BALANCES, options)
    venue.observe(SYMBOL, book(1000, [("100.00", "1")], [("100.10", "1")]))
    return venue, Session(venue)


def now_s() -> float:
    return asyncio.get_running_loop().time()


def cancels(orders: list[NewOrder]) -> list[CancelOrder]:
    return [CancelOrder(order.symbol, order.client_id) for order in orders]


async def eventful(seed: int) -> list[tuple[float, object]]:
    """Everything that is heard of some rounds with every fault there is."""
    options = MockOptions(seed=seed, reject_rate=0.2, timeout_rate=0.3, latency_jitter_ms=40, listing_lag_ms=50)
    venue, session = begin(options)
    for turn in range(5):
        orders = session.bids(6)
        venue.submit(orders, [])
        await asyncio.sleep(0.1)
        venue.observe(SYMBOL, book(2000 + turn, [("99.80", "1")], [("99.88", "0.2")]))
        venue.submit([], cancels(orders))
        await asyncio.sleep(0.03)
        session.heard.append(replace(session.heard[-1], event=(await venue.open_orders(SYMBOL)).own))
    await asyncio.sleep(20)
    await venue.close()
    return [(heard.at_s, heard.event) for heard in session.heard]


def test_the_same_seed_and_calls_give_the_same_outcome() -> None:
    def outcome(seed: int) -> list[tuple[float, object]]:
        with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
            return runner.run(eventful(seed))

    assert outcome(3) == outcome(3)
    assert outcome(3) != outcome(4)
    kinds = {type(event) for _, event in outcome(3)}
    assert {Accepted, Rejected, Unsettled, Ended, CancelRefused, Fill, BalancesChanged} <= kinds


@pytest.mark.looptime
async def test_an_answer_takes_both_ways_and_comes_by_the_timeout_at_the_latest() -> None:
    venue, session = begin()
    order = session.new(Side.BUY, "99.90")
    venue.submit([order], [])
    await session.quiet()
    assert [heard.at_s for heard in session.heard] == pytest.approx([0.04, 0.04])
    assert [type(heard.event) for heard in session.heard] == [Accepted, BalancesChanged]
    await venue.close()


@pytest.mark.looptime
async def test_replies_overtake_each_other_and_balances_come_after_their_causes() -> None:
    venue, session = begin(MockOptions(latency_ms=5, latency_jitter_ms=50))
    orders = session.bids(20)
    await session.place(*orders)
    await session.quiet()
    replied = [event.client_id for event in session.events(Accepted)]
    assert replied != [order.client_id for order in orders]
    assert sorted(replied) == sorted(order.client_id for order in orders)
    assert isinstance(session.heard[-1].event, BalancesChanged)
    locked = sum(order.price * order.qty for order in orders)
    assert session.balances_told()["USDT"].locked == locked
    await venue.close()


@pytest.mark.looptime
async def test_a_latency_beyond_the_timeout_is_unsettled_first_and_told_by_the_stream_later() -> None:
    venue, session = begin(MockOptions(latency_ms=600, latency_jitter_ms=0, request_timeout_s=1.0))
    order, off_tick = session.new(Side.BUY, "99.90"), session.new(Side.BUY, "99.905")
    venue.submit([order, off_tick], [])
    await asyncio.sleep(3)
    assert [type(event) for event in session.of(order.client_id)] == [Unsettled, Accepted]
    assert [type(event) for event in session.of(off_tick.client_id)] == [Unsettled]
    with pytest.raises(VenueUnreachable):
        await venue.open_orders(SYMBOL)
    assert now_s() == pytest.approx(4.0), "a read gives up at the time-out too"
    await venue.close()


@pytest.mark.looptime
async def test_lost_requests_arrive_or_not_on_time_or_late() -> None:
    venue, session = begin(replace(SURE, timeout_rate=1.0))
    orders = session.bids(60, "0.06")
    venue.submit(orders, [])
    await asyncio.sleep(0.1)
    soon = {seen.client_id for seen in venue.open_now(SYMBOL).own}
    await asyncio.sleep(4.901)
    assert len(session.events(Unsettled)) == 60
    before = {seen.client_id for seen in venue.open_now(SYMBOL).own}
    await asyncio.sleep(5.1)
    landed = {seen.client_id for seen in venue.open_now(SYMBOL).own}
    assert soon < before < landed
    assert {event.client_id for event in session.events(Accepted)} == landed - before
    await venue.close()


@pytest.mark.looptime
async def test_a_cancel_does_not_reach_a_placement_that_lands_after_it() -> None:
    venue, session = begin(replace(SURE, timeout_rate=1.0, seed=2))
    orders = session.bids(20)
    venue.submit(orders, [])
    venue.set_options(SURE)
    await asyncio.sleep(0.1)
    venue.submit([], cancels(orders))
    await asyncio.sleep(15)
    refused = {event.client_id for event in session.events(CancelRefused)}
    assert {seen.client_id for seen in venue.open_now(SYMBOL).own} & refused
    await venue.close()


@pytest.mark.looptime
async def test_the_venue_refuses_at_random_as_busy() -> None:
    venue, session = begin(replace(SURE, reject_rate=0.5))
    orders = session.bids(20)
    await session.place(*orders)
    refused = session.events(Rejected)
    assert {event.code for event in refused} == {"venue_busy"}
    assert 0 < len(refused) < 20
    assert len(venue.open_now(SYMBOL).own) == 20 - len(refused)
    await venue.close()


@pytest.mark.looptime
async def test_listings_and_queries_lag_but_never_by_more_than_they_may() -> None:
    venue, session = begin(replace(SURE, listing_lag_ms=400))
    stays, goes = session.bids(2)
    await session.place(stays, goes)
    await asyncio.sleep(1)
    await session.cancel(goes)
    shown = []
    for _ in range(12):
        listing = await venue.open_orders(SYMBOL)
        shown.append(len(listing.own))
    assert 2 in shown[:6]
    assert shown[-3:] == [1, 1, 1]

    late = session.new(Side.BUY, "99.50")
    await session.place(late)
    asked = [type(await venue.query(SYMBOL, late.client_id)) for _ in range(12)]
    assert NotFound in asked
    assert NotFound not in asked[-2:]
    await venue.close()


@pytest.mark.looptime
async def test_a_lagging_listing_shows_the_filled_quantity_of_then() -> None:
    venue, session = begin(replace(SURE, listing_lag_ms=60_000))
    order = session.new(Side.BUY, "99.90", "1")
    await session.place(order)
    await asyncio.sleep(60)
    venue.observe(SYMBOL, book(2000, [("99", "1")], [("99.90", "0.4")]))
    await asyncio.sleep(1)
    shown = {seen.filled for _ in range(10) for seen in (await venue.open_orders(SYMBOL)).own}
    assert D(0) in shown
    assert shown <= {D(0), D("0.4")}
    await asyncio.sleep(60)
    assert [seen.filled for seen in (await venue.open_orders(SYMBOL)).own] == [D("0.4")]
    await venue.close()


@pytest.mark.looptime
async def test_a_stalled_line_times_out_and_lands_what_still_may_when_it_moves() -> None:
    venue, session = begin()
    resting, order, too_late = session.bids(3)
    await session.place(resting)
    heard = len(session.heard)
    venue.stall()
    venue.submit([too_late], [])
    await asyncio.sleep(5.5)
    venue.submit([order], cancels([resting]))
    with pytest.raises(VenueUnreachable):
        await venue.open_orders(SYMBOL)
    assert [type(each.event) for each in session.heard[heard:]] == [Unsettled] * 3
    assert now_s() == pytest.approx(10.54)
    venue.resume()
    await session.quiet()
    assert [seen.client_id for seen in venue.open_now(SYMBOL).own] == [order.client_id]
    assert [type(event) for event in session.of(order.client_id)] == [Unsettled, Accepted]
    assert [type(event) for event in session.of(resting.client_id)] == [Accepted, Unsettled, Ended]
    assert [type(event) for event in session.of(too_late.client_id)] == [Unsettled]
    await venue.close()


@pytest.mark.looptime
async def test_an_end_that_overtakes_the_answer_is_the_answer() -> None:
    venue, session = begin(replace(SURE, timeout_rate=1.0, seed=1))
    orders = session.bids(8)
    venue.submit(orders, [])
    await asyncio.sleep(0.1)
    landed = {seen.client_id for seen in venue.open_now(SYMBOL).own}
    assert landed
    venue.observe(SYMBOL, book(2000, [("99", "1")], [("99.50", "50")]))
    await asyncio.sleep(5)
    for client_id in landed:
        assert Counter(type(event) for event in session.of(client_id)) == {Fill: 1, Ended: 1}
    await venue.close()


@pytest.mark.looptime
async def test_memory_of_ended_orders_and_trades_is_bounded_and_says_so() -> None:
    venue, session = begin(replace(SURE, history_limit=3))
    orders = session.bids(6)
    await session.place(*orders)
    venue.observe(SYMBOL, book(2000, [("99", "1")], [("99.50", "50")]))
    await session.quiet()
    assert isinstance(await venue.query(SYMBOL, orders[0].client_id), NotFound)
    assert isinstance(await venue.query(SYMBOL, orders[5].client_id), Ended)
    assert venue.placed_ids == tuple(order.client_id for order in orders[3:])
    assert [fill.trade_id for fill in await venue.fills(SYMBOL, "2")] == ["3", "4", "5", "6"]
    with pytest.raises(VenueRefused, match="no longer has all trades"):
        await venue.fills(SYMBOL, "1")
    await venue.close()


@pytest.mark.looptime
async def test_nothing_is_called_after_close_whatever_is_observed() -> None:
    venue, session = begin()
    order = session.new(Side.BUY, "99.90")
    await session.place(order)
    await venue.close()
    heard = len(session.heard)
    venue.observe(SYMBOL, book(2000, [("99", "1")], [("99.50", "50")]))
    await asyncio.sleep(30)
    assert len(session.heard) == heard
    with pytest.raises(VenueUnreachable, match="closed"):
        venue.submit([order], [])


@pytest.mark.looptime
async def test_a_listener_that_answers_at_once_does_not_hold_up_the_loop() -> None:
    venue, session = begin(MockOptions(latency_ms=0, latency_jitter_ms=0))
    turns = 0

    def replace_order(symbol: str, event: object) -> None:
        nonlocal turns
        if isinstance(event, Accepted) and turns < 1000:
            turns += 1
            venue.submit([session.new(Side.BUY, "99.90", "0.06")], [CancelOrder(SYMBOL, event.client_id)])

    venue.listen(replace_order)
    venue.submit([session.new(Side.BUY, "99.90", "0.06")], [])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert turns < 3
    await asyncio.sleep(1)
    assert turns == 1000
    assert len(venue.open_now().own) == 1
    await venue.close()


@pytest.mark.looptime
async def test_a_deposit_is_free_at_once_and_told() -> None:
    venue, session = begin()
    venue.deposit("USDT", D("0.5"))
    venue.deposit("BNB", D(2))
    await session.quiet()
    assert {asset: each.free for asset, each in session.balances_told().items()} == {"USDT": D("10000.5"), "BNB": D(2)}
    assert (await venue.balances()).assets["BNB"].total == D(2)
    await venue.close()


@pytest.mark.looptime
async def test_the_id_of_an_ended_order_is_not_free_again() -> None:
    venue, session = begin()
    order = session.new(Side.BUY, "99.90")
    await session.place(order)
    await session.cancel(order)
    venue.submit([order], [])
    await session.quiet()
    assert [event.code for event in session.events(Rejected)] == ["duplicate_id"]
    await venue.close()


@pytest.mark.looptime
async def test_prevented_matches_are_counted_and_foreign_orders_count_as_ours() -> None:
    venue, session = begin()
    venue.place_foreign(SYMBOL, Side.SELL, D("100.05"), D(1))
    bid = session.new(Side.BUY, "100.06", tif=TimeInForce.GTC)
    await session.place(bid)
    assert [event.code for event in session.events(Rejected)] == ["self_trade"]
    assert (venue.prevented_matches, venue.self_trades) == (1, 0)
    await venue.close()


@pytest.mark.looptime
async def test_a_foreign_order_that_is_refused_raises() -> None:
    venue, _ = begin()
    with pytest.raises(VenueRefused, match="tick size"):
        venue.place_foreign(SYMBOL, Side.BUY, D("99.905"), D(1))
    await venue.close()


prices = st.integers(9900, 10100).map(lambda ticks: D(ticks) / 100)
quantities = st.integers(1, 30_000).map(lambda lots: D(lots) / 1000)
placements = st.tuples(st.just("place"), st.sampled_from(Side), prices, quantities, st.sampled_from(TimeInForce))
removals = st.tuples(st.just("cancel"), st.integers(0, 30))
moves = st.tuples(st.just("observe"), prices, st.integers(1, 50), quantities, st.integers(0, 2))


@given(st.lists(st.one_of(placements, removals, moves), max_size=60))
def test_balances_are_conserved_never_negative_and_match_the_open_orders(steps: list[tuple]) -> None:
    exchange = MockExchange({SYMBOL: WIDE}, BALANCES, D(10), D("7.5"), 1000, 60.0)
    fills: list[Fill] = []
    placed: list[NewOrder] = []
    ts_ms = 0
    for number, (what, *arguments) in enumerate(steps):
        if what == "place":
            new = NewOrder(SYMBOL, f"id{number}", *arguments)
            answer, at_once = exchange.place(new, float(number), 0)
            fills += at_once
            if not isinstance(answer, Rejected):
                placed.append(new)
        elif what == "cancel" and placed:
            exchange.cancel(CancelOrder(SYMBOL, placed[arguments[0] % len(placed)].client_id), float(number))
        elif what == "observe":
            bid, spread, qty, ts_step = arguments
            ts_ms += ts_step
            reference = book(ts_ms, [(f"{bid}", f"{qty}")], [(f"{bid + D(spread) / 100}", f"{qty}")])
            told = exchange.observe(SYMBOL, reference, (), float(number), 0)
            fills += [fill for fill, _ in told]
        check(exchange, placed, fills, float(number))


def check(exchange: MockExchange, placed: list[NewOrder], fills: list[Fill], at_s: float) -> None:
    base, quote = BALANCES["BTC"], BALANCES["USDT"]
    for fill in fills:
        sign = 1 if fill.side is Side.BUY else -1
        base += sign * fill.qty - (fill.fee if fill.fee_asset == "BTC" else 0)
        quote -= sign * fill.qty * fill.price + (fill.fee if fill.fee_asset == "USDT" else 0)
    balances = exchange.wallet.balances()
    assert (balances["BTC"].total, balances["USDT"].total) == (base, quote)
    assert all(each.free >= 0 and each.locked >= 0 for each in balances.values())

    open_now = exchange.open_at(SYMBOL, at_s)
    assert balances["BTC"].locked == sum(each.remaining for each in open_now if each.side is Side.SELL)
    assert balances["USDT"].locked == sum(each.remaining * each.price for each in open_now if each.side is Side.BUY)
    assert exchange.own_crossings() == 0

    filled: Counter[str] = Counter()
    for fill in fills:
        filled[fill.client_id] += fill.qty
    for new in placed:
        order = exchange.find(SYMBOL, new.client_id, at_s)
        assert order is not None
        assert order.filled == filled[new.client_id] <= new.qty
        assert (order.state is State.FILLED) == (order.remaining == 0)
