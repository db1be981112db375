"""The sandbox's books in Redis, in the layout of the original's market-data process: a ring of ticks and values."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence

import msgspec

from mmctl.core.book import BookKey
from mmctl.sandbox.market import Market
from mmctl.wire.redis_address import server_of
from mmctl.wire.redis_ring import Ring, tick_of

EXCHANGE = "binance_spot"
LEVELS = 20
TIMEOUT_S = 1.0


class Publisher:
    """Writes every book ten times a second; a write that is late makes the next one wait, not the market.

    Raises ``UsageError`` for an address that is none.
    """

    def __init__(self, url: str, markets: Sequence[Market]) -> None:
        self.where = server_of(url)
        import redis.asyncio
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff
        from redis.exceptions import RedisError

        self._errors = (RedisError, OSError)
        self._client = redis.asyncio.Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=Retry(NoBackoff(), 0)
        )
        self._rings = [(Ring(BookKey(EXCHANGE, market.symbol)), market) for market in markets]
        self._writing: asyncio.Task[None] | None = None
        self._failed = False

    def publish(self) -> None:
        """Write all books as they are now, unless the last write is still under way."""
        if self._writing is None or self._writing.done():
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        tick = tick_of(time.time_ns() // 1_000_000)
        pipeline = self._client.pipeline(transaction=False)
        for ring, market in self._rings:
            # The value first: whoever finds the tick finds its book.
            pipeline.set(ring.value_key(tick), _value(market))
            pipeline.set(ring.tick_key(tick), tick)
        try:
            await pipeline.execute()
            self._failed = False
        except self._errors as error:
            if not self._failed:
                sys.stderr.write(f"mmctl: Redis at {self.where} does not take the books: {error}\n")
            self._failed = True

    async def close(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        await self._client.aclose()


def _value(market: Market) -> bytes:
    """A book as the original writes it: prices and quantities are JSON numbers, which text can be cut into exactly."""
    sides = {
        name: [[msgspec.Raw(price.encode()), msgspec.Raw(qty.encode())] for price, qty in levels]
        for name, levels in market.sides(LEVELS).items()
    }
    return msgspec.json.encode(sides)
