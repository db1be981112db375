"""Reference books from Redis, in the ring layout of ``mmctl.wire.redis_ring``.

One command reads a fresh book: the ticks around now and, for the few slots where the writer is expected,
their values. Only where that does not settle which book is the newest, the whole ring's ticks are read, and
then the values of its newest slots: three commands at most, whatever is stored.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from mmctl.core.book import Book, BookKey, Trade
from mmctl.errors import NoBook
from mmctl.feeds.redis_link import RedisLine, RedisLink
from mmctl.ports import Clock
from mmctl.wire.redis_ring import (
    AHEAD_TICKS,
    SLOTS,
    SOURCE,
    TICK_MS,
    Ring,
    Unreadable,
    candidates,
    decode_book,
    newest_first,
    read_ticks,
    runs_ahead,
    tick_of,
)

_FIRST_LOOK = range(-20, AHEAD_TICKS + 1)
"""Where a first read looks for the writer, in ticks from now: a book up to two seconds old costs one command."""

_LATE_TICKS = 4
"""A writer may be this much later than ever lately, and still be read with one command."""

_SENTINEL_TICKS = 10
"""Ticks are looked for beyond what is valid, so that a clock that runs ahead shows at once."""

_REMEMBERED = 16
"""How many last finds say where the writer is expected next."""

_MAX_PAIRS = 1024
"""Each pair has a connection of its own, so this bounds those too."""

_MAX_FALLBACK = 100
"""How many slots are tried, newest first, where the newest have no readable value: ten seconds' worth."""


class RedisFeed:
    """The ``Feed`` that reads what a market-data process writes into Redis."""

    source = SOURCE

    def __init__(self, url: str, clock: Clock, *, timeout_s: float = 2.0) -> None:
        """``timeout_s`` bounds a whole read. Raises ``UsageError`` for an address that is none."""
        self._link = RedisLink(url, timeout_s)
        self._clock = clock
        self._timeout_s = timeout_s
        self._pairs: dict[BookKey, _PairReader] = {}

    async def read(self, key: BookKey) -> Book:
        """The newest book of ``key``, usable or not, at most a minute old; ``ts_ms`` is its tick's time.

        Raises ``NoBook`` naming the key and what was wrong with it, ``FeedUnreachable`` where Redis
        refuses or does not answer in time. The next call tries afresh.
        """
        pair = self._pairs.get(key)
        if pair is None:
            if len(self._pairs) >= _MAX_PAIRS:
                await self._pairs.pop(next(iter(self._pairs))).line.close()
            pair = self._pairs[key] = _PairReader(key, self._link, self._clock)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await pair.read()
        except TimeoutError:
            raise self._link.silent(self._timeout_s) from None

    def trades(self, key: BookKey, after_id: int) -> Sequence[Trade]:
        """None: the ring holds books only."""
        return ()

    async def close(self) -> None:
        """Close the connections. Never raises."""
        while self._pairs:
            _, pair = self._pairs.popitem()
            await pair.line.close()


class _PairReader:
    """One ring, read over a line of its own: what holds up one pair holds up no other."""

    def __init__(self, key: BookKey, link: RedisLink, clock: Clock) -> None:
        self.line = RedisLine(link)
        self._key, self._ring, self._clock, self._where = key, Ring(key), clock, link.where
        self._offsets: deque[int] = deque(maxlen=_REMEMBERED)

    async def read(self) -> Book:
        """The newest book, in one command where the writer is about where it was lately."""
        ring, look = self._ring, self._look()
        asked_tick = tick_of(self._clock.wall_ms())
        near = range(asked_tick + look.start, asked_tick + AHEAD_TICKS + _SENTINEL_TICKS + 1)
        valued = range(asked_tick + look.start, asked_tick + look.stop)
        reply = await self.line.mget(ring.tick_keys(near) + ring.value_keys(valued))
        for tick in candidates(near, reply[: len(near)], tick_of(self._clock.wall_ms())):
            if tick not in valued:
                break  # its value was not asked for, and it may be readable
            try:
                book = decode_book(self._key, tick, reply[len(near) + tick - valued.start])
            except Unreadable:
                continue
            self._offsets.append(tick - asked_tick)
            return book
        return await self._search()

    def _look(self) -> range:
        """Where the newest book is expected, in ticks from now: where it was lately, and a little around it."""
        if not self._offsets:
            return _FIRST_LOOK
        return range(min(self._offsets) - _LATE_TICKS, min(max(self._offsets) + 1, AHEAD_TICKS) + 1)

    async def _search(self) -> Book:
        """The newest book of the whole ring, in two commands; or why there is none."""
        ring, slots = self._ring, range(SLOTS)
        ticks = read_ticks(slots, await self.line.mget(ring.tick_keys(slots)))
        now_tick = tick_of(self._clock.wall_ms())
        tried = newest_first(ticks, now_tick)[:_MAX_FALLBACK]
        if not tried or runs_ahead(ticks, now_tick):
            raise self._nothing_valid(ticks, now_tick)
        reply = await self.line.mget([*map(ring.tick_key, tried), *map(ring.value_key, tried)])
        # A slot that was overwritten between the two commands no longer is what its tick said.
        unchanged = set(read_ticks(tried, reply[: len(tried)]))
        faults = []
        for tick, raw in zip(tried, reply[len(tried) :], strict=True):
            if tick not in unchanged:
                continue
            try:
                book = decode_book(self._key, tick, raw)
            except Unreadable as fault:
                faults.append(f"the value of {ring.tick_key(tick).decode()} {fault}")
                continue
            if tick - now_tick >= _FIRST_LOOK.start:
                self._offsets.append(tick - now_tick)
            return book
        newest_fault = faults[0] if faults else "every slot was written again while it was read"
        raise NoBook(
            f"Redis at {self._where} has no readable book of {self._key}: {newest_fault}",
            "is the market-data process writing whole books?",
        )

    def _nothing_valid(self, ticks: Sequence[int], now_tick: int) -> NoBook:
        newest = max(ticks, default=None)
        if newest is None:
            return NoBook(
                f"Redis at {self._where} has no book of {self._key}: no key {self._ring.prefix}0 to {SLOTS - 1}",
                "is the market-data process running, and are exchange, symbol and database right?",
            )
        offset_s = (newest - now_tick) * TICK_MS / 1000
        if newest > now_tick + AHEAD_TICKS:
            return NoBook(
                f"the newest book of {self._key} in Redis at {self._where} is {offset_s:.1f} s ahead of this clock",
                "set the clocks of both machines; one second is borne",
            )
        return NoBook(
            f"the newest book of {self._key} in Redis at {self._where} is {-offset_s:.0f} s old",
            "is the market-data process still running?",
        )
