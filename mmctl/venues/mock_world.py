"""The world around a mock venue: the reference market moves, and whoever has no balance set gets one.

The pump reads the followed books through the same feed as the engine and shows them to the venue, so that
own orders fill as the market reaches them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

from mmctl.core.book import Book
from mmctl.core.spec import PairSpec
from mmctl.errors import FeedError
from mmctl.ports import Clock, Feed
from mmctl.venues.mock import MockVenue

PUMP_EVERY_S = 0.5
"""How often the venue is shown the market, and so how soon a fill can come."""

READ_DEADLINE_S = 2.0
"""How long a market is waited for before it is asked again."""

NEED_TIMES = 10
"""Balances are this many times what full ladders lock, unless the profile sets them."""

_SMALLEST = Decimal("0.00000001")


@dataclass(slots=True)
class _Followed:
    spec: PairSpec
    last_trade: int = 0
    funded: bool = False


class MockWorld:
    """Moves the market of one mock venue. ``fund`` says whether balances follow from the ladders' need."""

    def __init__(self, venue: MockVenue, feed: Feed, clock: Clock, pairs: Sequence[PairSpec], *, fund: bool) -> None:
        self._venue = venue
        self._feed = feed
        self._clock = clock
        self._followed = [_Followed(spec, funded=not fund) for spec in pairs]

    async def prime(self, timeout_s: float) -> None:
        """Show the venue each market once before the first round, as far as the feed answers in time."""
        for one in self._followed:
            if not one.funded:
                self._venue.deposit(one.spec.quote, quote_need(one.spec))
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.gather(*(self._show(one) for one in self._followed))
        except TimeoutError:
            return  # the rounds tell that there is no book; the pump goes on asking

    async def run(self) -> None:
        """Keep the markets moving until cancelled, each for itself: a feed that hangs for one stops no other."""
        async with asyncio.TaskGroup() as moving:
            for one in self._followed:
                moving.create_task(self._keep_moving(one))

    async def _keep_moving(self, one: _Followed) -> None:
        while True:
            await self._clock.sleep(PUMP_EVERY_S)
            try:
                async with asyncio.timeout(READ_DEADLINE_S):
                    await self._show(one)
            except Exception:  # noqa: BLE001 - saves the market: the engine meets the same fault, and tells it
                continue

    async def _show(self, one: _Followed) -> None:
        key = one.spec.follow
        try:
            book = await self._feed.read(key)
            trades = self._feed.trades(key, one.last_trade)
        except FeedError:
            return  # a market that cannot be seen does not move; the engine tells why
        if trades:
            # Trades from before the first look are history: nobody's order was there to be met.
            trades, one.last_trade = (trades if one.last_trade else ()), trades[-1].trade_id
        if not one.funded and book.fault is None:
            self._venue.deposit(one.spec.base, base_need(one.spec, book))
            one.funded = True
        self._venue.observe(one.spec.symbol, book, trades)


def quote_need(spec: PairSpec) -> Decimal:
    """Quote currency for the bids of all ladders of a pair, times ``NEED_TIMES``."""
    return NEED_TIMES * sum((layer.bid_levels * layer.max_amount for layer in spec.layers), Decimal(0))


def base_need(spec: PairSpec, book: Book) -> Decimal:
    """Base currency for the asks of all ladders at the book's mid, times ``NEED_TIMES``."""
    amount = NEED_TIMES * sum((layer.ask_levels * layer.max_amount for layer in spec.layers), Decimal(0))
    return amount if not book.mid else (amount / book.mid).quantize(_SMALLEST, ROUND_CEILING)
