"""A price-time matching engine over whole ticks and lots. Pure: no clock, no I/O, no balances.

The best price goes first, and at one price the oldest order. Whoever uses the book is told of each fill and
of each self-trade prevented, at the moment when both orders show it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Protocol


class Status(StrEnum):
    """An order's state, in Binance's words."""

    NEW = "NEW"
    PARTIALLY_FILLED = "PARTIALLY_FILLED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    EXPIRED_IN_MATCH = "EXPIRED_IN_MATCH"
    REJECTED = "REJECTED"


OPEN = frozenset({Status.NEW, Status.PARTIALLY_FILLED})


class Owner(Protocol):
    """Whose order it is; two owners of one ``trade_group`` other than -1 count as one for self-trades."""

    trade_group: int


class Order:
    """One order. ``price`` is in ticks (0 for a market order), quantities are in lots.

    ``quote`` is what has been paid or received, in ticks times lots. ``prevented`` lots fell to self-trade
    prevention.
    """

    __slots__ = (
        *("account", "buy", "cancel_id", "client_id", "created_ms", "executed", "expiry", "fills", "locked"),
        *("market", "match_id", "order_id", "prevented", "price", "qty", "quote", "quote_qty", "status", "stp"),
        *("symbol", "tif", "type", "updated_ms", "working_ms"),
    )

    def __init__(
        self, account: Owner, order_id: int, client_id: str, *, buy: bool, price: int, qty: int, stp: str = "NONE"
    ) -> None:
        self.account = account
        self.order_id = order_id
        self.client_id = client_id
        self.buy = buy
        self.price = price
        self.qty = qty
        self.stp = stp
        self.type = "LIMIT"
        self.tif = "GTC"
        self.symbol = ""
        self.market = False
        self.status = Status.NEW
        self.executed = self.quote = self.prevented = self.locked = self.quote_qty = 0
        self.created_ms = self.updated_ms = self.working_ms = 0
        self.match_id = -1
        self.expiry = self.cancel_id = ""
        self.fills: list[object] = []

    @property
    def left(self) -> int:
        """Lots that can still trade."""
        return self.qty - self.executed - self.prevented

    @property
    def is_open(self) -> bool:
        return self.status is Status.NEW or self.status is Status.PARTIALLY_FILLED


class Level:
    """The orders at one price, oldest first, and the lots they have left."""

    __slots__ = ("price", "queue", "total")

    def __init__(self, price: int) -> None:
        self.price = price
        self.total = 0
        self.queue: OrderedDict[int, Order] = OrderedDict()


class Half:
    """One side of a book. ``keys`` ascend, the best first: prices of asks, negated prices of bids."""

    __slots__ = ("keys", "levels", "sign")

    def __init__(self, *, bids: bool) -> None:
        self.sign = -1 if bids else 1
        self.keys: list[int] = []
        self.levels: dict[int, Level] = {}

    def best(self) -> Level | None:
        return self.levels[self.keys[0] * self.sign] if self.keys else None

    def top(self, count: int) -> list[Level]:
        """The ``count`` best levels, best first."""
        sign, levels = self.sign, self.levels
        return [levels[key * sign] for key in self.keys[:count]]

    def orders(self) -> Iterator[Order]:
        """All orders, by price, then time."""
        for level in self.top(len(self.keys)):
            yield from level.queue.values()

    def add(self, order: Order) -> None:
        level = self.levels.get(order.price)
        if level is None:
            level = self.levels[order.price] = Level(order.price)
            insort(self.keys, order.price * self.sign)
        level.queue[order.order_id] = order
        level.total += order.left

    def drop_level(self, price: int) -> None:
        del self.levels[price]
        del self.keys[bisect_left(self.keys, price * self.sign)]


FillHook = Callable[[Order, Order, int, int], None]
"""Taker, maker, price in ticks, quantity in lots."""
PreventHook = Callable[[Order, Order, int, int, int], None]
"""Taker, maker, price, lots taken from the taker, lots taken from the maker."""


class Book:
    """The book of one symbol. ``update_id`` counts changes of levels; ``changed`` collects them until taken."""

    def __init__(self, on_fill: FillHook, on_prevented: PreventHook) -> None:
        self.bids = Half(bids=True)
        self.asks = Half(bids=False)
        self.update_id = 1
        self.changed: set[tuple[bool, int]] = set()
        self._on_fill = on_fill
        self._on_prevented = on_prevented

    def half(self, *, buy: bool) -> Half:
        return self.bids if buy else self.asks

    def place(self, order: Order, *, rest: bool) -> None:
        """Match ``order``, then let what is left rest where ``rest`` says so."""
        self._match(order)
        if rest and order.left and order.is_open:
            self.half(buy=order.buy).add(order)
            self._touched(order.buy, order.price)

    def remove(self, order: Order) -> None:
        """Take a resting order off the book."""
        half = self.half(buy=order.buy)
        level = half.levels[order.price]
        del level.queue[order.order_id]
        level.total -= order.left
        if not level.queue:
            half.drop_level(order.price)
        self._touched(order.buy, order.price)

    def shrink(self, order: Order, lots: int) -> None:
        """Make a resting order smaller by ``lots``, fewer than it has left; it keeps its place."""
        order.qty -= lots
        self.half(buy=order.buy).levels[order.price].total -= lots
        self._touched(order.buy, order.price)

    def would_take(self, *, buy: bool, price: int) -> bool:
        """Whether an order at ``price`` would meet the other side."""
        best = self.half(buy=not buy).best()
        return best is not None and (best.price <= price if buy else best.price >= price)

    def reachable(self, *, buy: bool, price: int | None, lots: int, skipped: Owner | None = None) -> tuple[int, int]:
        """Lots, of at most ``lots``, that an order could trade now, and what they cost in ticks times lots.

        Orders of ``skipped`` do not count: self-trade prevention keeps them from trading.
        """
        got = cost = 0
        half = self.half(buy=not buy)
        for key in half.keys:
            level = half.levels[key * half.sign]
            if got == lots or (price is not None and (level.price > price if buy else level.price < price)):
                break
            there = level.total
            if skipped is not None:
                there -= sum(one.left for one in level.queue.values() if same_owner(one.account, skipped))
            part = min(there, lots - got)
            got += part
            cost += part * level.price
        return got, cost

    def _match(self, taker: Order) -> None:
        half = self.half(buy=not taker.buy)
        limit = taker.price
        while taker.left and half.keys:
            level = half.levels[half.keys[0] * half.sign]
            price = level.price
            if not taker.market and (price > limit if taker.buy else price < limit):
                return
            maker = next(iter(level.queue.values()))
            if taker.stp != "NONE" and same_owner(taker.account, maker.account):
                self._prevent(taker, maker, level)
                if not taker.is_open:
                    return
                continue
            self._fill(taker, maker, level, min(taker.left, maker.left))

    def _fill(self, taker: Order, maker: Order, level: Level, lots: int) -> None:
        price = level.price
        for order in (taker, maker):
            order.executed += lots
            order.quote += lots * price
            if order.left == 0:
                order.status = Status.EXPIRED_IN_MATCH if order.prevented else Status.FILLED
            else:
                order.status = Status.PARTIALLY_FILLED
        level.total -= lots
        self._settle_maker(maker, level)
        self._on_fill(taker, maker, price, lots)

    def _settle_maker(self, maker: Order, level: Level) -> None:
        """Take a maker with nothing left off its level, and an empty level off the book."""
        if maker.left == 0:
            del level.queue[maker.order_id]
            if not level.queue:
                self.half(buy=maker.buy).drop_level(level.price)
        self._touched(maker.buy, level.price)

    def _prevent(self, taker: Order, maker: Order, level: Level) -> None:
        """Self-trade prevention: the taker's mode says whose remaining lots expire."""
        mode = taker.stp
        smaller = min(taker.left, maker.left)
        takes = {"EXPIRE_TAKER": taker.left, "EXPIRE_MAKER": 0, "EXPIRE_BOTH": taker.left}.get(mode, smaller)
        makes = {"EXPIRE_TAKER": 0, "EXPIRE_MAKER": maker.left, "EXPIRE_BOTH": maker.left}.get(mode, smaller)
        for order, lots in ((taker, takes), (maker, makes)):
            order.prevented += lots
            if order.left == 0:
                order.status = Status.EXPIRED_IN_MATCH
        if makes:
            level.total -= makes
            self._settle_maker(maker, level)
        self._on_prevented(taker, maker, level.price, takes, makes)

    def _touched(self, buy: bool, price: int) -> None:
        self.update_id += 1
        self.changed.add((buy, price))


def same_owner(one: Owner, other: Owner) -> bool:
    """Whether a trade between the two would be a self-trade."""
    return one is other or (one.trade_group != -1 and one.trade_group == other.trade_group)
