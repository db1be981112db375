"""The built-in feed: made-up markets that need no server and no keys, the same for the same seed.

A market steps ten times a second on the wall clock. Only the steps that somebody reads are ever made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from mmctl.core.book import Book, BookKey, Trade
from mmctl.errors import NoBook
from mmctl.feeds.synthetic import SOURCE, STEP_MS, MockMarket, Synthetic
from mmctl.ports import Clock

__all__ = ["MockFeed", "MockMarket"]

_HISTORY_STEPS = 100
"""Trades are told of for ten seconds: a reader that was away for longer misses some, as with any feed."""

_NAMED = 10


class MockFeed:
    """The ``Feed`` of the markets it is given.

    Two feeds with one seed show the same books at the same moment, in one process or in two.
    """

    source = SOURCE

    def __init__(self, clock: Clock, markets: Mapping[BookKey, MockMarket], seed: int) -> None:
        self._clock = clock
        self._markets = {key: Synthetic(key, market, _seed_of(key, seed)) for key, market in markets.items()}
        self._newest: dict[BookKey, Book] = {}

    async def read(self, key: BookKey) -> Book:
        """The book of the present step, at most 100 ms old. Raises ``NoBook`` for a market that it does not have."""
        market, step = self._market(key), self._step()
        newest = self._newest.get(key)
        if newest is None or newest.ts_ms != step * STEP_MS:
            newest = self._newest[key] = market.book(step)
        return newest

    def trades(self, key: BookKey, after_id: int) -> Sequence[Trade]:
        """The trades after ``after_id`` of the last ten seconds, oldest first. Raises ``NoBook`` as ``read``."""
        market, last = self._market(key), self._step()
        first = max(last - _HISTORY_STEPS + 1, market.step_of(after_id))
        return [trade for step in range(first, last + 1) for trade in market.trades(step) if trade.trade_id > after_id]

    async def close(self) -> None:
        """Nothing to let go of."""

    def _step(self) -> int:
        return self._clock.wall_ms() // STEP_MS

    def _market(self, key: BookKey) -> Synthetic:
        market = self._markets.get(key)
        if market is None:
            names = ", ".join(str(known) for known in list(self._markets)[:_NAMED]) or "none"
            more = f" and {len(self._markets) - _NAMED} more" if len(self._markets) > _NAMED else ""
            raise NoBook(f"the mock feed has no market {key}", f"it has {names}{more}")
        return market


def _seed_of(key: BookKey, seed: int) -> int:
    """A seed for each market, so that no two move alike."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {key}".encode(), digest_size=8).digest(), "big")
