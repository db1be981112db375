"""The direct feed against the sandbox: every book that it shows is one that the exchange had."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest
from binance_script import BTC, QUICK, until

from mmctl.clock import SystemClock
from mmctl.core.book import Book
from mmctl.errors import FeedError
from mmctl.feeds.binance import BinanceFeed
from mmctl.sandbox.options import SandboxOptions
from mmctl.sandbox.server import Sandbox
from mmctl.wire.binance_market import unpadded
from mmctl.wire.binance_urls import BinanceUrls

WIDE = 50


def remember_books(sandbox: Sandbox, levels: int) -> dict[int, Book]:
    """Every book of the exchange from now on, by its update id."""
    books: dict[int, Book] = {}
    market = sandbox.exchange.markets["BTCUSDT"]
    step = sandbox.step

    def remember() -> None:
        step()
        told = market.depth(levels)
        # Without the zeros that the wire pads with, as the feed shows it: a book is compared in ticks and lots.
        sides = [unpadded([(Decimal(price), Decimal(qty)) for price, qty in told[side]]) for side in ("bids", "asks")]
        books[told["lastUpdateId"]] = Book.of(BTC, 0, *sides, "truth")

    sandbox.step = remember  # type: ignore[method-assign]
    return books


async def shown(feed: BinanceFeed, books: dict[int, Book], count: int) -> None:
    """Read ``count`` different books; each is fresh and the exchange's own."""
    seen: set[int] = set()
    async with asyncio.timeout(60):
        while len(seen) < count:
            try:
                book = await feed.read(BTC)
            except FeedError:
                await asyncio.sleep(0.05)
                continue
            last_id = feed._markets["BTCUSDT"].followed._last_id
            assert (book.bids, book.asks) == (books[last_id].bids, books[last_id].asks)
            assert abs(SystemClock().wall_ms() - book.ts_ms) < 10_000
            seen.add(last_id)
            await asyncio.sleep(0.03)


@pytest.mark.parametrize("levels", [20, WIDE])
async def test_every_book_is_one_of_the_exchange(levels: int) -> None:
    async with Sandbox(SandboxOptions(seed=7)) as sandbox:
        books = remember_books(sandbox, levels)
        await asyncio.sleep(0.15)
        urls = BinanceUrls(sandbox.rest_url, sandbox.ws_url, sandbox.stream_url)
        feed = BinanceFeed(SystemClock(), urls, [BTC], levels=levels, trades=True, timing=QUICK)
        try:
            await shown(feed, books, 10)
            opened = sandbox.streams.sockets.opened
            sandbox.streams.sockets.cut_all()
            await until(lambda: sandbox.streams.sockets.opened > opened)
            await shown(feed, books, 5)
            for socket in sandbox.streams.sockets.open:
                socket.stall(1.0)
            await shown(feed, books, 5)
            await until(lambda: bool(feed.trades(BTC, 0)), 60)
        finally:
            await feed.close()
