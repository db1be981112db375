"""The market of a drill: a book that moves by chance, the other traders at the venue, and a feed that fails."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal

from mmctl.core.book import Book, BookKey, Level, Trade
from mmctl.core.spec import PairSpec, Strategy
from mmctl.drill.timeline import Timeline
from mmctl.errors import FeedUnreachable, NoBook
from mmctl.feeds.synthetic import MockMarket, Synthetic
from mmctl.sandbox.exchange import Exchange
from mmctl.sandbox.faults import Faults
from mmctl.sandbox.market import Market as VenueMarket
from mmctl.sandbox.others import Others, Sides, Taker

T0_MS = 1_700_000_000_000
"""What true time 0 of a drill is, in ms since the epoch."""

STEP_S = 1.0
LEAST_LEVELS = 12
VENUE_LEVELS = 3
"""Levels a side that the other traders have at a venue whose book is not followed: enough to be met."""

FLICKERS = 1009
"""Sizes that the deepest level of a market that stands still goes through."""

FRESH_MS = 100
"""Books are stamped to a tenth of a second."""


def wall_ms(timeline: Timeline) -> int:
    """True wall time."""
    return T0_MS + int(timeline.now_s * 1000)


class Reference:
    """The followed market of one pair."""

    def __init__(self, spec: PairSpec, venue: VenueMarket, start: Decimal, timeline: Timeline, seed: int) -> None:
        rules = venue.rules.spec
        wanted = [max(layer.ask_levels, layer.bid_levels) for layer in spec.layers if layer.strategy is Strategy.MIRROR]
        self.spec, self.levels = spec, max(LEAST_LEVELS, *wanted, 0) + 2
        market = MockMarket(start, rules.tick_size, rules.lot_size, levels=self.levels)
        self._made = Synthetic(spec.follow, market, seed)
        self._timeline = timeline
        self._at = 0
        self.still = False
        self._flicker = 0
        self.book = self._made.book(0)
        self._tick = int(rules.tick_size.scaleb(self.book.price_decimals))
        self._lot = int(rules.lot_size.scaleb(self.book.qty_decimals))

    def move(self, steps: int) -> None:
        """So many tenths of a second of market go by at once; held still, only the deepest level's size changes."""
        if self.still:
            # Never the same as a few seconds ago, whenever it is read.
            self._flicker = (self._flicker + 1) % FLICKERS
            last = self.book.bids[-1]
            more = self._lot if self._flicker else -self._lot * (FLICKERS - 1)
            bids = (*self.book.bids[:-1], Level(last.price, max(self._lot, last.qty + more)))
            self.book = replace(self.book, bids=bids)
            return
        self._at += steps
        self.book = self._made.book(self._at)

    def now(self) -> Book:
        """The book as its exchange shows it now."""
        return replace(self.book, ts_ms=wall_ms(self._timeline) // FRESH_MS * FRESH_MS)

    def sides(self, levels: int) -> Sides:
        """The first levels in ticks and lots of the venue."""
        tick, lot = self._tick, self._lot
        return (
            {level.price // tick: level.qty // lot for level in self.book.bids[:levels]},
            {level.price // tick: level.qty // lot for level in self.book.asks[:levels]},
        )


class Street:
    """One symbol: its reference, the other traders at the venue, and what its feed does wrong."""

    def __init__(
        self, reference: Reference, exchange: Exchange, market: VenueMarket, faults: Faults, dice: random.Random
    ) -> None:
        self.reference, self.market = reference, market
        self._exchange, self._dice = exchange, dice
        self._shared = reference.spec.shares_market
        self._others = Others(exchange, market, self, faults)
        self.speed = 1
        self.answer: Callable[[], Book] | None = None
        """What the feed says instead of the truth; it may raise."""
        self.hangs = False
        self._others.step()

    def step(self) -> tuple[Sides | None, list[Taker]]:
        """As the other traders ask for it."""
        return self.reference.sides(self.reference.levels if self._shared else VENUE_LEVELS), []

    def move(self) -> None:
        """A second goes by."""
        if self.reference.still:
            self.reference.move(1)
            if self._shared:
                self._others.step()
        elif self._dice.random() < 0.7:
            self.reference.move(self._dice.randint(1, self.speed))
            self._others.step()

    def show(self) -> None:
        """The other traders follow at once."""
        self._others.step()

    def sweep(self, bps: float, lots_share: float) -> None:
        """Somebody takes everything up to ``bps`` from the touch, or a part of it."""
        buy = self._dice.random() < 0.5
        half = self.market.book.half(buy=not buy)
        best = half.best()
        if best is None:
            return
        price = max(1, round(best.price * (1 + (bps if buy else -bps) / 1e4)))
        got, _ = self.market.book.reachable(buy=buy, price=price, lots=10**15)
        for _ in range(self._dice.randint(1, 4)):
            self._others.take(buy=buy, price=price, lots=max(1, int(got * lots_share)))

    def book(self) -> Book:
        """The newest book of the market that is followed."""
        if not self._shared:
            return self.reference.now()
        now, book = self.reference.now(), self.market.book
        tick, lot = self.reference._tick, self.reference._lot
        sides = [
            tuple(Level(one.price * tick, one.total * lot) for one in half.top(self.reference.levels))
            for half in (book.bids, book.asks)
        ]
        return replace(now, bids=sides[0], asks=sides[1])

    def mend(self) -> None:
        self.answer, self.hangs = None, False

    def spoil(self) -> str:
        """Let the feed fail in one of its ways; says which."""
        self.mend()
        last = self.book()
        ways: dict[str, Callable[[], Book]] = {
            "silent": lambda: last,
            "gone": lambda: _raise(FeedUnreachable("the feed does not answer")),
            "none": lambda: _raise(NoBook("there is no book")),
            "one_sided": lambda: replace(self.book(), asks=()),
            "empty": lambda: replace(self.book(), bids=(), asks=()),
            "crossed": lambda: replace(self.book(), bids=(Level(last.asks[0].price, last.asks[0].qty), *last.bids)),
            "future": lambda: replace(self.book(), ts_ms=self.book().ts_ms + 30_000),
            "frozen": lambda: replace(last, ts_ms=self.book().ts_ms),
            "hangs": lambda: last,
        }
        name = self._dice.choice(list(ways))
        self.answer, self.hangs = ways[name], name == "hangs"
        return name


def _raise(error: Exception) -> Book:
    raise error


class DrillFeed:
    """The ``Feed`` of one process."""

    source = "drill"

    def __init__(self, streets: Mapping[BookKey, Street], on_book: Callable[[BookKey, Book], None]) -> None:
        self._streets, self._on_book = streets, on_book

    async def read(self, key: BookKey) -> Book:
        street = self._streets[key]
        if street.hangs:
            await asyncio.Event().wait()
        book = street.book() if street.answer is None else street.answer()
        self._on_book(key, book)
        return book

    def trades(self, key: BookKey, after_id: int) -> Sequence[Trade]:
        return ()

    async def close(self) -> None:
        """Nothing to let go of."""
