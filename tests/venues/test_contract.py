"""The contract of the ``Venue`` port. Every venue runs it; one joins by a parameter of ``harness``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from mmctl.core.events import Accepted, BalancesChanged, CancelRefused, Ended, Fill, NotFound, Rejected, Seen, Unsettled
from mmctl.core.order import CancelOrder, Side, State, TimeInForce
from mmctl.errors import VenueRefused, VenueUnreachable

from .harness import BTCUSDT, MAX_OPEN_ORDERS, SYMBOL, MockHarness, Session, VenueHarness

D = Decimal


@pytest.fixture(params=[pytest.param(MockHarness, id="mock", marks=pytest.mark.looptime)])
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[VenueHarness]:
    made = request.param()
    yield made
    await made.venue.close()


async def begin(harness: VenueHarness) -> Session:
    return Session(await harness.start(), harness.patience_s)


async def test_a_placed_order_shows_in_listing_and_query(harness: VenueHarness) -> None:
    session = await begin(harness)
    order = session.new(Side.BUY, "99.90", "0.2")
    await session.place(order)
    (accepted,) = session.answers(order.client_id)
    assert isinstance(accepted, Accepted)

    listing = await session.venue.open_orders(SYMBOL)
    (seen,) = listing.own
    assert (seen.client_id, seen.order_id) == (order.client_id, accepted.order_id)
    assert (seen.side, seen.price, seen.qty, seen.filled) == (Side.BUY, D("99.90"), D("0.2"), D(0))
    assert listing.symbol == SYMBOL
    assert (await session.venue.open_orders(None)).own[0].client_id == order.client_id

    found = await session.venue.query(SYMBOL, order.client_id)
    assert isinstance(found, Seen)
    assert found.price == D("99.90")


async def test_submit_answers_later_never_from_within(harness: VenueHarness) -> None:
    session = await begin(harness)
    session.venue.submit([session.new(Side.BUY, "99.90")], [])
    assert session.heard == []
    await session.until(lambda: bool(session.heard))


@pytest.mark.parametrize(("side", "price"), [(Side.BUY, "100.10"), (Side.BUY, "101"), (Side.SELL, "100.00")])
async def test_a_post_only_order_that_would_match_is_refused(harness: VenueHarness, side: Side, price: str) -> None:
    session = await begin(harness)
    order = session.new(side, price)
    await session.place(order)
    (refused,) = session.answers(order.client_id)
    assert isinstance(refused, Rejected)
    assert refused.code == "would_match"
    assert not harness.truth().own


@pytest.mark.parametrize(
    ("price", "qty", "code"),
    [
        ("99.905", "0.1", "filter_tick"),
        ("99.90", "0.1005", "filter_lot"),
        ("99.90", "0", "min_qty"),
        ("99.90", "1001", "max_qty"),
        ("99.90", "0.05", "min_notional"),
        ("200000.01", "0.1", "price_band"),
        ("99.90", "500", "balance"),
    ],
)
async def test_a_filter_refuses_for_good_and_by_name(harness: VenueHarness, price: str, qty: str, code: str) -> None:
    session = await begin(harness)
    order = session.new(Side.BUY, price, qty)
    await session.place(order)
    (refused,) = session.answers(order.client_id)
    assert isinstance(refused, Rejected)
    assert refused.code == code
    assert refused.reason
    assert not harness.truth().own


async def test_an_order_is_filled_in_parts_then_ends(harness: VenueHarness) -> None:
    session = await begin(harness)
    order = session.new(Side.BUY, "99.90", "0.3")
    await session.place(order)

    await harness.trade(Side.BUY, D("99.90"), D("0.1"))
    await session.until(lambda: len(session.events(Fill)) == 1)
    (seen,) = (await session.venue.open_orders(SYMBOL)).own
    assert seen.filled == D("0.1")

    await harness.trade(Side.BUY, D("99.90"), D("5"))
    await session.until(lambda: bool(session.events(Ended)) and len(session.events(Fill)) == 2)
    (end,) = session.events(Ended)
    assert (end.client_id, end.state, end.filled) == (order.client_id, State.FILLED, D("0.3"))
    assert not (await session.venue.open_orders(SYMBOL)).own

    fills = await session.venue.fills(SYMBOL, None)
    assert [(fill.client_id, fill.price, fill.qty, fill.maker) for fill in fills] == [
        (order.client_id, D("99.90"), D("0.1"), True),
        (order.client_id, D("99.90"), D("0.2"), True),
    ]
    assert sorted(fill.trade_id for fill in fills) == sorted(fill.trade_id for fill in session.events(Fill))
    assert await session.venue.fills(SYMBOL, fills[0].trade_id) == fills[1:]
    assert await session.venue.fills(SYMBOL, fills[1].trade_id) == []


async def test_an_order_that_takes_pays_the_books_price_and_the_rest_of_it_rests(harness: VenueHarness) -> None:
    session = await begin(harness)
    order = session.new(Side.BUY, "100.20", "1.5", TimeInForce.GTC)
    await session.place(order)
    await session.until(lambda: bool(session.events(Fill)))
    (fill,) = session.events(Fill)
    assert (fill.price, fill.qty, fill.maker) == (D("100.10"), D(1), False)
    (seen,) = (await session.venue.open_orders(SYMBOL)).own
    assert (seen.price, seen.filled) == (D("100.20"), D(1))


async def test_an_order_done_at_once_is_answered_by_its_end(harness: VenueHarness) -> None:
    session = await begin(harness)
    order = session.new(Side.SELL, "99.95", "0.5", TimeInForce.GTC)
    await session.place(order)
    await session.quiet()
    assert [type(event) for event in session.answers(order.client_id)] == [Ended]
    assert [event.qty for event in session.events(Fill)] == [D("0.5")]


async def test_a_cancel_ends_the_order(harness: VenueHarness) -> None:
    session = await begin(harness)
    order = session.new(Side.SELL, "100.50")
    await session.place(order)
    await session.cancel(order)
    (end,) = session.cancel_answers(order.client_id)
    assert isinstance(end, Ended)
    assert (end.state, end.filled) == (State.CANCELLED, D(0))
    assert not (await session.venue.open_orders(SYMBOL)).own
    asked = await session.venue.query(SYMBOL, order.client_id)
    assert isinstance(asked, Ended)
    assert asked.state is State.CANCELLED


async def test_a_cancel_of_what_the_venue_does_not_know_is_refused_as_not_found(harness: VenueHarness) -> None:
    session = await begin(harness)
    order = session.new(Side.SELL, "100.50")
    await session.cancel(order)
    (refused,) = session.cancel_answers(order.client_id)
    assert isinstance(refused, CancelRefused)
    assert refused.not_found
    asked = await session.venue.query(SYMBOL, order.client_id)
    assert isinstance(asked, NotFound)


async def test_every_request_of_a_batch_has_one_answer_joined_by_id(harness: VenueHarness) -> None:
    session = await begin(harness)
    old = session.bids(10)
    await session.place(*old)
    new = [session.new(Side.SELL, f"{D('100.20') + D('0.01') * k}") for k in range(9)]
    bad = session.new(Side.SELL, "100.215")
    session.venue.submit([*new, bad], [CancelOrder(SYMBOL, order.client_id) for order in old])
    await session.quiet()
    for order in new:
        assert [type(event) for event in session.of(order.client_id)] == [Accepted]
    assert [type(event) for event in session.of(bad.client_id)] == [Rejected]
    for order in old:
        assert [type(event) for event in session.of(order.client_id)] == [Accepted, Ended]
    assert {seen.client_id for seen in harness.truth().own} == {order.client_id for order in new}


async def test_open_orders_lock_and_ends_release(harness: VenueHarness) -> None:
    session = await begin(harness)
    bid, ask = session.new(Side.BUY, "99.90", "2"), session.new(Side.SELL, "100.50", "3")
    await session.place(bid, ask)
    await session.quiet()
    balances = await session.venue.balances()
    assert (balances.assets["USDT"].free, balances.assets["USDT"].locked) == (D("9800.20"), D("199.80"))
    assert (balances.assets["BTC"].free, balances.assets["BTC"].locked) == (D(7), D(3))
    assert session.balances_told() == balances.assets

    await session.cancel(bid, ask)
    await session.quiet()
    released = (await session.venue.balances()).assets
    assert {asset: each.locked for asset, each in released.items()} == {"BTC": D(0), "USDT": D(0)}
    assert {asset: each.free for asset, each in released.items()} == {"BTC": D(10), "USDT": D(10000)}
    assert session.balances_told() == released


async def test_a_fill_moves_both_assets_less_its_fee_and_balances_are_told_after_it(harness: VenueHarness) -> None:
    session = await begin(harness)
    await session.place(session.new(Side.BUY, "99.90", "1"))
    await harness.trade(Side.BUY, D("99.90"), D(1))
    await session.until(lambda: bool(session.events(Fill)) and bool(session.events(Ended)))
    await session.quiet()
    (fill,) = session.events(Fill)
    assert fill.fee_asset == "BTC"
    assets = (await session.venue.balances()).assets
    assert (assets["USDT"].free, assets["USDT"].locked) == (D("9900.10"), D(0))
    assert (assets["BTC"].free, assets["BTC"].locked) == (D(11) - fill.fee, D(0))
    last = session.heard[-1]
    assert isinstance(last.event, BalancesChanged)
    assert last.symbol == ""


async def test_foreign_orders_are_told_apart(harness: VenueHarness) -> None:
    session = await begin(harness)
    own = session.new(Side.BUY, "99.90")
    await session.place(own)
    foreign_id = await harness.place_foreign(Side.BUY, D("99.80"), D("0.4"))
    listing = await session.venue.open_orders(SYMBOL)
    assert [seen.client_id for seen in listing.own] == [own.client_id]
    (foreign,) = listing.foreign
    assert (foreign.client_id, foreign.symbol, foreign.side) == (foreign_id, SYMBOL, Side.BUY)
    assert (foreign.price, foreign.remaining) == (D("99.80"), D("0.4"))

    await harness.trade(Side.BUY, D("99.80"), D("0.2"))
    await session.until(lambda: bool(session.events(Fill)))
    await session.quiet()
    assert {fill.client_id for fill in await session.venue.fills(SYMBOL, None)} == {own.client_id}
    assert {event.client_id for event in session.events(Fill)} == {own.client_id}

    session.venue.submit([], [CancelOrder(SYMBOL, foreign_id, foreign.order_id)])
    await session.until(lambda: bool(session.cancel_answers(foreign_id)))
    assert not harness.truth().foreign


async def test_after_a_lost_reply_the_venue_tells_the_truth_when_asked(harness: VenueHarness) -> None:
    session = await begin(harness)
    harness.lose_replies(True)
    orders = session.bids(12)
    sent_s = asyncio.get_running_loop().time()
    session.venue.submit(orders, [])
    timeout_s, landing_s = session.venue.request_timeout_s, session.venue.landing_time_s
    waits_s = timeout_s + harness.patience_s + harness.held_up_s
    await session.until(lambda: len(session.events(Unsettled)) == len(orders), waits_s)
    answered_s = [heard.at_s for heard in session.heard if isinstance(heard.event, Unsettled)]
    assert max(answered_s) <= sent_s + timeout_s + harness.held_up_s

    await asyncio.sleep(landing_s - timeout_s + harness.patience_s)
    landed = {seen.client_id for seen in harness.truth().own}
    assert 0 < len(landed) < len(orders)
    for order in orders:
        asked = await session.venue.query(SYMBOL, order.client_id)
        assert isinstance(asked, Seen if order.client_id in landed else NotFound)


async def test_a_late_placement_lands_before_the_landing_time_and_is_told(harness: VenueHarness) -> None:
    session = await begin(harness)
    harness.lose_replies(True)
    orders = session.bids(20)
    sent_s = asyncio.get_running_loop().time()
    session.venue.submit(orders, [])
    timeout_s, landing_s = session.venue.request_timeout_s, session.venue.landing_time_s
    await asyncio.sleep(timeout_s + harness.patience_s)
    landed_soon = {seen.client_id for seen in harness.truth().own}
    await asyncio.sleep(landing_s - timeout_s)
    landed = {seen.client_id for seen in harness.truth().own}
    assert landed > landed_soon

    told = {heard.event.client_id: heard.at_s for heard in session.heard if isinstance(heard.event, Accepted)}
    assert landed - landed_soon <= set(told)
    assert max(told.values()) <= sent_s + landing_s + harness.patience_s + harness.held_up_s
    for order in orders:
        assert len([event for event in session.of(order.client_id) if isinstance(event, Unsettled)]) == 1
    await asyncio.sleep(2 * landing_s)
    assert {seen.client_id for seen in harness.truth().own} == landed


async def test_a_lost_cancel_is_unsettled_and_an_end_that_it_caused_is_told(harness: VenueHarness) -> None:
    session = await begin(harness)
    orders = session.bids(12)
    await session.place(*orders)
    harness.lose_replies(True)
    session.venue.submit([], [CancelOrder(SYMBOL, order.client_id) for order in orders])
    await asyncio.sleep(session.venue.request_timeout_s + harness.patience_s + harness.held_up_s)
    left = {seen.client_id for seen in harness.truth().own}
    assert 0 < len(left) < len(orders)
    for order in orders:
        said = [type(event) for event in session.of(order.client_id)]
        assert said == ([Accepted, Unsettled] if order.client_id in left else [Accepted, Unsettled, Ended])


async def test_a_client_order_id_is_taken_once(harness: VenueHarness) -> None:
    session = await begin(harness)
    order = session.new(Side.BUY, "99.90")
    await session.place(order)
    session.venue.submit([order], [])
    await session.until(lambda: bool(session.events(Rejected)))
    (refused,) = session.events(Rejected)
    assert refused.code == "duplicate_id"
    assert len(harness.truth().own) == 1


async def test_the_open_order_cap_counts_all_orders_of_the_symbol(harness: VenueHarness) -> None:
    session = await begin(harness)
    await harness.place_foreign(Side.BUY, D("99.00"), D("0.1"))
    orders = session.bids(MAX_OPEN_ORDERS)
    await session.place(*orders)
    (refused,) = session.events(Rejected)
    assert (refused.client_id, refused.code) == (orders[-1].client_id, "open_order_cap")
    assert len(harness.truth().own) == MAX_OPEN_ORDERS - 1


@pytest.mark.parametrize("tif", [TimeInForce.GTC, TimeInForce.GTX])
async def test_an_order_never_trades_with_our_own(harness: VenueHarness, tif: TimeInForce) -> None:
    session = await begin(harness)
    ask = session.new(Side.SELL, "100.05")
    await session.place(ask)
    bid = session.new(Side.BUY, "100.05", tif=tif)
    await session.place(bid)
    (refused,) = session.answers(bid.client_id)
    assert isinstance(refused, Rejected)
    assert refused.code == "self_trade"
    await session.quiet()
    assert not session.events(Fill)
    assert [seen.client_id for seen in harness.truth().own] == [ask.client_id]


async def test_a_failed_read_raises_and_is_never_an_empty_answer(harness: VenueHarness) -> None:
    session = await begin(harness)
    order = session.new(Side.BUY, "99.90")
    await session.place(order)
    harness.fail_reads(True)
    venue = session.venue
    for read in (
        venue.open_orders(SYMBOL),
        venue.open_orders(None),
        venue.query(SYMBOL, order.client_id),
        venue.balances(),
        venue.fills(SYMBOL, None),
    ):
        with pytest.raises(VenueUnreachable):
            await read
    harness.fail_reads(False)
    assert len((await venue.open_orders(SYMBOL)).own) == 1


async def test_filters_are_told_and_an_unknown_symbol_is_refused(harness: VenueHarness) -> None:
    session = await begin(harness)
    assert await session.venue.instrument(SYMBOL) == BTCUSDT
    with pytest.raises(VenueRefused, match="NOSUCH"):
        await session.venue.instrument("NOSUCH")


async def test_close_is_idempotent_and_leaves_nothing_behind(harness: VenueHarness) -> None:
    session = await begin(harness)
    await session.place(*session.bids(3))
    session.venue.submit(session.bids(3), [])
    heard = len(session.heard)
    await session.venue.close()
    await session.venue.close()
    await asyncio.sleep(2 * session.venue.landing_time_s)
    assert len(session.heard) == heard
    assert asyncio.all_tasks() == {asyncio.current_task()}
    with pytest.raises(VenueUnreachable):
        await session.venue.open_orders(SYMBOL)
