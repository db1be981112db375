"""The other traders: they keep a book around a moving middle, and now and then one takes.

Ten times a second they move their orders to where the reference market has them. What meets another
client's order on the way trades with it, as anywhere.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from mmctl.core.book import BookKey, Level
from mmctl.feeds.synthetic import MockMarket, Synthetic
from mmctl.sandbox.exchange import Exchange
from mmctl.sandbox.faults import Faults
from mmctl.sandbox.market import Market
from mmctl.sandbox.matching import Order
from mmctl.sandbox.options import SymbolSpec

STEP_S = 0.1
LEVELS = 30
FAR = 10**6
"""A market taker's limit is this many times the price away."""

SWEEP_CHANCE = 0.01
"""Of a tenth of a second in which somebody takes all that rests near the touch: once in ten seconds."""

SWEEP_BPS = (1.0, 5.0)
"""How far from the touch that reaches: to where a market maker's own orders lie."""

Sides = tuple[dict[int, int], dict[int, int]]
"""Lots by price in ticks, of bids and of asks."""


@dataclass(frozen=True, slots=True)
class Taker:
    """Somebody who takes at once what can be had at ``price`` or better; ``deep`` is far more than usual."""

    buy: bool
    price: int
    lots: int
    deep: bool = False


class Reference(Protocol):
    """Where the other traders' orders are to be."""

    def step(self) -> tuple[Sides | None, list[Taker]]:
        """The next tenth of a second: the book, unless it stays as it is, and who takes after that."""


class SeededMarket:
    """A made-up market, the same for the same seed; standing still it stays at its first step."""

    def __init__(self, spec: SymbolSpec, seed: int, *, still: bool) -> None:
        market = MockMarket(spec.start_price, spec.tick_size, spec.lot_size, levels=LEVELS)
        self._key = BookKey("sandbox", spec.symbol)
        self._market = Synthetic(self._key, market, _seed_of(spec.symbol, seed))
        self._spec, self._still, self._step = spec, still, 0
        self._dice = random.Random(_seed_of(spec.symbol, seed))

    def step(self) -> tuple[Sides | None, list[Taker]]:
        book = self._market.book(self._step)
        tick, lot = _unit(self._spec.tick_size, book.price_decimals), _unit(self._spec.lot_size, book.qty_decimals)
        sides = _lots(book.bids, tick, lot), _lots(book.asks, tick, lot)
        takers = [] if self._still else [*self._takers(), *self._sweeps(sides)]
        self._step += not self._still
        return sides, takers

    def _takers(self) -> list[Taker]:
        tick, lot = self._spec.tick_size, self._spec.lot_size
        return [
            Taker(not trade.buyer_is_maker, int(trade.price / tick), int(trade.qty / lot))
            for trade in self._market.trades(self._step)
        ]

    def _sweeps(self, sides: Sides) -> Iterator[Taker]:
        """Now and then somebody wants a good part of what all others have up to some price, or all of it."""
        if self._dice.random() >= SWEEP_CHANCE:
            return
        buy = self._dice.random() < 0.5
        reach = 1 + (1 if buy else -1) * self._dice.uniform(*SWEEP_BPS) / 1e4
        levels = sides[1] if buy else sides[0]
        limit = round(min(levels) * reach if buy else max(levels) * reach)
        wanted = sum(lots for price, lots in levels.items() if (price <= limit if buy else price >= limit))
        yield Taker(buy, limit, max(1, int(wanted * self._dice.uniform(0.3, 1.0))), deep=True)


def _unit(step: Decimal, decimals: int) -> int:
    return int(step.scaleb(decimals))


def _lots(levels: Sequence[Level], tick: int, lot: int) -> dict[int, int]:
    return {level.price // tick: level.qty // lot for level in levels}


def _seed_of(symbol: str, seed: int) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed} {symbol}".encode(), digest_size=8).digest(), "big")


class Others:
    """The other traders of one market.

    ``offset_bps`` moves their whole book, to try out what follows; while it is ``held`` they only keep it as it is.
    """

    def __init__(self, exchange: Exchange, market: Market, reference: Reference | None, faults: Faults) -> None:
        self.offset_bps = 0.0
        self.held = False
        self._exchange, self._market, self._reference, self._faults = exchange, market, reference, faults
        self._resting: tuple[dict[int, list[Order]], dict[int, list[Order]]] = ({}, {})
        self._sides: Sides | None = None

    def step(self) -> None:
        """The next tenth of a second."""
        if self._reference is not None:
            sides, takers = (None, list[Taker]()) if self.held else self._reference.step()
            self._sides = sides or self._sides
            self.show()
            for taker in takers:
                self.take(buy=taker.buy, price=self._moved_price(taker.price), lots=taker.lots)
                if taker.deep:
                    self.show()  # the others are back at once, so that the reference stays a whole book
        if self._faults.strikes("partial_burst"):
            self._burst()

    def take(self, *, buy: bool, price: int | None, lots: int) -> int:
        """Take up to ``lots`` at ``price`` or better, at any price for ``None``; returns how many were had."""
        best = self._market.book.half(buy=not buy).best()
        if best is None:
            return 0
        limit = price if price is not None else best.price * FAR if buy else 1
        return self._exchange.place_other(self._market, buy=buy, price=limit, lots=lots, rest=False).executed

    def _burst(self) -> None:
        """Many small takers, one after another, at one side of the touch."""
        sides = [buy for buy in (True, False) if self._market.book.half(buy=not buy).keys]
        if not sides:
            return
        buy = sides[int(self._faults.chance() * len(sides))]
        best = self._market.book.half(buy=not buy).best()
        assert best is not None
        count = 3 + int(self._faults.chance() * 6)
        lots = max(1, next(iter(best.queue.values())).left // (count + 1))
        for _ in range(count):
            self.take(buy=buy, price=best.price, lots=lots)

    def _moved_price(self, ticks: int) -> int:
        return ticks if not self.offset_bps else max(1, round(ticks * (1 + self.offset_bps / 10_000)))

    def _moved(self, side: dict[int, int]) -> dict[int, int]:
        if not self.offset_bps:
            return side
        moved: dict[int, int] = {}
        for price, lots in side.items():
            at = self._moved_price(price)
            moved[at] = moved.get(at, 0) + lots
        return moved

    def show(self) -> None:
        """Move the orders: first what goes, then what comes, so that the others never trade among themselves."""
        if self._sides is None:
            return
        sides = self._moved(self._sides[0]), self._moved(self._sides[1])
        for half, wanted in zip(self._resting, sides, strict=True):
            self._withdraw(half, wanted)
        for buy, half, wanted in zip((True, False), self._resting, sides, strict=True):
            for price, lots in wanted.items():
                orders = half.get(price)
                missing = lots - (sum([order.left for order in orders]) if orders else 0)
                if missing > 0:
                    order = self._exchange.place_other(self._market, buy=buy, price=price, lots=missing)
                    if order.is_open:
                        half.setdefault(price, []).append(order)
        if sides[0] and sides[1]:
            self._market.average = (max(sides[0]) + min(sides[1])) // 2

    def _withdraw(self, half: dict[int, list[Order]], wanted: dict[int, int]) -> None:
        """Drop what was filled, cancel what is at no wanted price, and make smaller what is too large."""
        for price in list(half):
            orders = [order for order in half[price] if order.is_open]
            surplus = sum([order.left for order in orders]) - wanted.get(price, 0)
            for order in self._newest(orders, surplus):
                orders.remove(order)
            if orders:
                half[price] = orders
            else:
                del half[price]

    def _newest(self, orders: list[Order], surplus: int) -> Iterator[Order]:
        """Take ``surplus`` lots away, the newest orders first; yields those that are gone."""
        for order in reversed(list(orders)):
            if surplus <= 0:
                return
            if order.left <= surplus:
                surplus -= order.left
                self._exchange.cancel_other(self._market, order)
                yield order
            else:
                self._exchange.shrink_other(self._market, order, surplus)
                return
