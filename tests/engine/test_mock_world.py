"""The world around the mock venue: markets that move each for itself, and balances that follow the ladders."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal

from mmctl.clock import SystemClock
from mmctl.core.book import Trade
from mmctl.core.order import CancelOrder, Side
from mmctl.core.spec import PairSpec
from mmctl.errors import FeedUnreachable
from mmctl.venues.mock import MockVenue
from mmctl.venues.mock_world import NEED_TIMES, PUMP_EVERY_S, MockWorld, base_need, quote_need

from .world import (
    BTC,
    ETH,
    SURE,
    T0_MS,
    VIRTUAL,
    D,
    FakeFeed,
    both,
    ghost,
    instrument,
    make_book,
    now_s,
    pair_spec,
    strangers,
)

pytestmark = VIRTUAL

PAIRS = (both("BTC"), both("ETH"))


def make(specs: Sequence[PairSpec] = PAIRS, *, fund: bool = True) -> tuple[MockWorld, MockVenue, FakeFeed]:
    clock = SystemClock(wall_offset_ms=T0_MS)
    venue = MockVenue(clock, {spec.symbol: instrument(spec.base) for spec in specs}, {}, SURE)
    feed = FakeFeed(clock)
    return MockWorld(venue, feed, clock, specs, fund=fund), venue, feed


@asynccontextmanager
async def moving(world: MockWorld, venue: MockVenue) -> AsyncIterator[None]:
    pump = asyncio.create_task(world.run())
    try:
        yield
    finally:
        assert not pump.done(), "the world stood still"
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)
        await venue.close()


def free(venue: MockVenue, asset: str) -> Decimal:
    return venue._exchange.wallet.free(asset)


async def test_balances_are_ten_ladders_from_the_first_book(state_dir: object) -> None:
    world, venue, _ = make()
    await world.prime(0.5)
    spec = PAIRS[0]
    assert quote_need(spec) == NEED_TIMES * (3 + 2) * 1000
    assert free(venue, "USDT") == 2 * quote_need(spec)
    assert free(venue, "BTC") == base_need(spec, make_book(BTC, T0_MS)) == D(NEED_TIMES * 5 * 1000) / 100
    await venue.close()


async def test_balances_that_are_given_stay_as_they_are() -> None:
    world, venue, _ = make(fund=False)
    await world.prime(0.5)
    assert free(venue, "USDT") == 0
    await venue.close()


async def test_a_pair_without_a_book_is_funded_when_one_comes() -> None:
    world, venue, feed = make()
    feed.fail(BTC, FeedUnreachable("gone"))
    feed.serve(ETH, lambda: make_book(ETH, T0_MS, levels=0))
    await world.prime(0.5)
    assert free(venue, "BTC") == free(venue, "ETH") == 0
    async with moving(world, venue):
        feed.mend(BTC)
        feed.mend(ETH)
        await asyncio.sleep(2 * PUMP_EVERY_S)
        assert free(venue, "BTC") == free(venue, "ETH") == 500
        await asyncio.sleep(5)
        assert free(venue, "BTC") == 500, "once"


async def test_priming_waits_for_no_feed_longer_than_it_may() -> None:
    world, venue, feed = make()
    feed.hang(BTC)
    began_s = now_s()
    await world.prime(0.5)
    assert now_s() - began_s <= 0.5 + 1e-6
    assert free(venue, "ETH") > 0, "the others are shown"
    await venue.close()


async def test_a_market_whose_feed_hangs_holds_up_no_other() -> None:
    world, venue, feed = make()
    await world.prime(0.5)
    bid = ghost(next(strangers(7, Side.BUY)), Side.BUY, "99.50", "ETHUSDT", qty="0.1")
    venue.submit([bid], [])
    await asyncio.sleep(0.1)
    feed.hang(BTC)
    async with moving(world, venue):
        await asyncio.sleep(3)
        feed.mids[ETH] = D("99")
        await asyncio.sleep(2 * PUMP_EVERY_S)
        assert not venue.open_now("ETHUSDT").own, "it is filled although BTC's market cannot be seen"
        feed.mend(BTC)
        feed.mids[BTC] = D("50")
        other = ghost(next(strangers(8, Side.BUY)), Side.BUY, "49", "BTCUSDT", qty="0.2")
        await asyncio.sleep(4)
        venue.submit([other], [])
        await asyncio.sleep(0.1)
        feed.mids[BTC] = D("48")
        await asyncio.sleep(2 * PUMP_EVERY_S)
        assert not venue.open_now("BTCUSDT").own, "and a feed that is back is seen again"


async def test_each_trade_is_given_once_and_none_from_before_the_first_look() -> None:
    world, venue, feed = make((pair_spec("BTC"),))
    trades: list[Trade] = [Trade(5, D("99.50"), D(1), True, T0_MS)]
    seen: list[tuple[int, ...]] = []
    feed.trades = lambda key, after_id: [one for one in trades if one.trade_id > after_id]  # type: ignore[method-assign]
    observe = venue.observe

    def observed(symbol: str, book: object, some: Sequence[Trade] = ()) -> None:
        seen.append(tuple(one.trade_id for one in some))
        observe(symbol, book, some)  # type: ignore[arg-type]

    venue.observe = observed  # type: ignore[method-assign, assignment]
    await world.prime(0.5)
    async with moving(world, venue):
        await asyncio.sleep(1.1)
        trades.append(Trade(6, D("99.50"), D(1), True, T0_MS + 1000))
        trades.append(Trade(7, D("99.50"), D(1), True, T0_MS + 1000))
        await asyncio.sleep(2)
    assert [ids for ids in seen if ids] == [(6, 7)]


async def test_a_bug_of_the_feed_stops_no_market_for_good() -> None:
    world, venue, feed = make()
    await world.prime(0.5)
    async with moving(world, venue):
        feed.fail(BTC, ValueError("a bug of the feed"))
        await asyncio.sleep(3)
        feed.mend(BTC)
        shown: list[str] = []
        venue.observe = lambda symbol, book, trades=(): shown.append(symbol)  # type: ignore[method-assign]
        await asyncio.sleep(2 * PUMP_EVERY_S)
        assert set(shown) == {"BTCUSDT", "ETHUSDT"}


async def test_a_cancel_is_not_needed_to_end_the_world() -> None:
    world, venue, _ = make()
    await world.prime(0.5)
    before = asyncio.all_tasks()
    async with moving(world, venue):
        venue.submit([], [CancelOrder("BTCUSDT", "nothing")])
        await asyncio.sleep(5)
    await asyncio.sleep(0)
    assert not asyncio.all_tasks() - before
