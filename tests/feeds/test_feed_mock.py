"""The built-in feed: the same for the same seed however it is read, and always a sane market."""

from __future__ import annotations

import time
from decimal import Decimal
from itertools import pairwise
from statistics import median

import pytest
from feed_samples import NOW_MS, HandClock
from hypothesis import given, settings
from hypothesis import strategies as st

from mmctl.core.book import Book, BookKey
from mmctl.errors import NoBook
from mmctl.feeds.mock import MockFeed, MockMarket

BTC, ETH = BookKey("mock", "BTCUSDT"), BookKey("mock", "ETHUSDT")
MARKETS = {
    BTC: MockMarket(Decimal(60_000), Decimal("0.01"), Decimal("0.00001")),
    ETH: MockMarket(Decimal(2_500), Decimal("0.01"), Decimal("0.0001")),
}


def mock(
    seed: int = 7, at_ms: int = NOW_MS, markets: dict[BookKey, MockMarket] = MARKETS
) -> tuple[MockFeed, HandClock]:
    clock = HandClock(at_ms)
    return MockFeed(clock, markets, seed), clock


async def books(step_ms: int, count: int, seed: int = 7) -> list[Book]:
    feed, clock = mock(seed)
    read = []
    for _ in range(count):
        read.append(await feed.read(BTC))
        clock.now_ms += step_ms
    return read


async def test_the_same_seed_gives_the_same_books() -> None:
    assert await books(100, 50) == await books(100, 50)
    assert await books(100, 5) != await books(100, 5, seed=8)


async def test_it_does_not_matter_how_often_it_is_read() -> None:
    often, seldom = await books(10, 500), await books(500, 10)
    assert [book for book in often if book in seldom] == [book for book in seldom for _ in range(10)]


async def test_two_markets_do_not_move_alike() -> None:
    feed, _ = mock(markets={BTC: MARKETS[BTC], ETH: MARKETS[BTC]})
    assert (await feed.read(BTC)).bids != (await feed.read(ETH)).bids


async def test_a_book_has_its_steps_own_time() -> None:
    feed, clock = mock(at_ms=NOW_MS + 99)
    first = await feed.read(BTC)
    assert first.ts_ms == NOW_MS
    clock.now_ms += 1
    second = await feed.read(BTC)
    assert second.ts_ms == NOW_MS + 100
    assert (second.bids, second.asks) != (first.bids, first.asks)


async def test_a_long_pause_costs_no_more_than_a_short_one() -> None:
    feed, clock = mock()
    await feed.read(BTC)
    clock.now_ms += 365 * 86_400_000
    began = time.perf_counter()
    await feed.read(BTC)
    feed.trades(BTC, 0)
    assert time.perf_counter() - began < 5, "a year has 315 million steps"


async def test_an_unknown_market_names_those_that_exist() -> None:
    feed, _ = mock()
    message = r"the mock feed has no market mock DOGEUSDT .it has mock BTCUSDT, mock ETHUSDT"
    with pytest.raises(NoBook, match=message):
        await feed.read(BookKey("mock", "DOGEUSDT"))
    with pytest.raises(NoBook, match=message):
        feed.trades(BookKey("mock", "DOGEUSDT"), 0)
    await feed.close()


def assert_sane(book: Book, market: MockMarket) -> None:
    assert book.fault is None
    assert 1 <= len(book.bids) <= market.levels
    assert len(book.asks) == market.levels
    assert [level.price for level in book.bids] == sorted({level.price for level in book.bids}, reverse=True)
    assert [level.price for level in book.asks] == sorted({level.price for level in book.asks})
    for level in book.bids + book.asks:
        assert book.price(level.price) > 0
        assert book.price(level.price) % market.tick_size == 0
        assert book.qty(level.qty) > 0
        assert book.qty(level.qty) % market.lot_size == 0


steps_of_size = st.sampled_from([Decimal(text) for text in ("0.00000001", "0.0001", "0.05", "0.25", "1", "5", "1E+1")])


@settings(max_examples=300, deadline=None)
@given(
    start=st.decimals("0.00000001", 1_000_000, places=8),
    tick=steps_of_size,
    lot=steps_of_size,
    levels=st.integers(1, 40),
    spread_bps=st.decimals("0.01", 500, places=2),
    seed=st.integers(-(2**70), 2**70),
    at_ms=st.integers(0, 4_000_000_000_000),
)
async def test_books_and_trades_are_sane_whatever_the_market(
    start: Decimal, tick: Decimal, lot: Decimal, levels: int, spread_bps: Decimal, seed: int, at_ms: int
) -> None:
    market = MockMarket(start, tick, lot, levels=levels, spread_bps=spread_bps)
    feed, clock = mock(seed, at_ms, {BTC: market})
    for _ in range(3):
        assert_sane(await feed.read(BTC), market)
        clock.now_ms += 100
    for trade in feed.trades(BTC, -1):
        assert trade.price > 0
        assert trade.price % tick == 0
        assert trade.qty > 0
        assert trade.qty % lot == 0


async def test_the_price_moves_and_never_runs_away() -> None:
    mids = [book.mid for book in await books(60_000, 3_000)]
    assert all(mid is not None and abs(mid / 60_000 - 1) < Decimal("0.01") for mid in mids)
    assert len(set(mids)) > 2_900


async def test_the_spread_is_a_few_ticks_or_basis_points() -> None:
    spreads = [(book.asks[0].price - book.bids[0].price) / book.bids[0].price * 1e4 for book in await books(100, 3_000)]
    assert 0.05 < median(spreads) < 1
    assert max(spreads) < 3


async def test_depth_grows_away_from_the_touch() -> None:
    sampled = await books(1_000, 300)
    near = sum(level.qty for book in sampled for level in book.bids[:5])
    far = sum(level.qty for book in sampled for level in book.bids[-5:])
    assert far > 2 * near


async def test_there_are_bursts() -> None:
    mids = [float(book.mid or 0) for book in await books(100, 6_000)]
    moves = sorted(abs(b - a) for a, b in pairwise(mids))
    assert moves[int(len(moves) * 0.995)] > 4 * median(moves)


async def test_sizes_change_in_every_step_and_most_levels_stay_for_a_while() -> None:
    read = await books(100, 200)
    kept = []
    for before, after in pairwise(read):
        assert before.bids != after.bids
        kept.append(len(set(before.bids) & set(after.bids)))
    assert median(kept) >= 10


async def test_trades_grow_and_lie_in_their_book() -> None:
    feed, clock = mock()
    seen, last = [], -1
    for _ in range(600):
        book = await feed.read(BTC)
        new = [trade for trade in feed.trades(BTC, last) if trade.at_ms == book.ts_ms]
        if new:
            levels = book.bids if new[0].buyer_is_maker else book.asks
            assert [trade.price for trade in new] == [book.price(level.price) for level in levels[: len(new)]]
            assert all(trade.qty <= book.qty(level.qty) for trade, level in zip(new, levels, strict=False))
            last = new[-1].trade_id
        seen += new
        clock.now_ms += 100
    ids = [trade.trade_id for trade in seen]
    assert ids == sorted(set(ids))
    assert len(seen) > 30
    assert {trade.buyer_is_maker for trade in seen} == {True, False}
    assert max(ids.count(id_) for id_ in ids) == 1


async def test_trades_are_told_once_and_bounded() -> None:
    feed, clock = mock()
    first = feed.trades(BTC, -1)
    assert first
    assert first[0].at_ms > NOW_MS - 10_000
    assert feed.trades(BTC, first[-1].trade_id) == []
    assert feed.trades(BTC, first[3].trade_id) == first[4:]
    clock.now_ms += 5_000
    more = feed.trades(BTC, first[-1].trade_id)
    assert all(trade.trade_id > first[-1].trade_id for trade in more)
    clock.now_ms += 3_600_000
    assert len(feed.trades(BTC, -1)) <= 800


@pytest.mark.parametrize("field", ["start_price", "tick_size", "lot_size", "levels", "spread_bps", "touch_amount"])
def test_a_market_of_nothing_is_refused(field: str) -> None:
    values = {"start_price": Decimal(1), "tick_size": Decimal(1), "lot_size": Decimal(1), field: 0}
    with pytest.raises(ValueError, match=f"{field} of a mock market is 0"):
        MockMarket(**values)


async def test_a_step_is_cheap() -> None:
    feed, clock = mock()
    spent = []
    for _ in range(500):
        clock.now_ms += 100
        began = time.perf_counter()
        await feed.read(BTC)
        spent.append(time.perf_counter() - began)
    assert median(spent) < 0.001  # about 0.06 ms on an idle machine
