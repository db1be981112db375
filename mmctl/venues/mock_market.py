"""One symbol of the mock venue: own resting orders in price-time priority against the reference market.

An order joins its price behind the reference quantity that is shown there. Trades at that price move it
forward, and so does a shown quantity that becomes less than what was ahead; quantity that is withdrawn is
taken to have stood behind us, which is the careful guess. It is filled by what is left of a trade at its price
once its turn has come, by a trade through its price, and by the opposite side of the book reaching its price.

Fills are whole lots. Liquidity of one book is taken once; a new time stamp, or what a level grew by, is new.
Prices and quantities are ``Decimal``: the reference's scale is its own and may change from book to book.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from mmctl.core.book import Book, Trade
from mmctl.core.order import Side, State

ZERO = Decimal(0)


@dataclass(slots=True, eq=False)
class MockOrder:
    """An order on the mock venue; ``number`` is its place in time.

    ``ahead`` is the reference quantity before it at its price, ``None`` until a book shows that price;
    ``joined_ms`` the reference's time when it came. ``filled_since`` holds the filled total after each fill.
    """

    number: int
    symbol: str
    client_id: str
    order_id: str
    side: Side
    price: Decimal
    qty: Decimal
    opened_at_s: float
    filled: Decimal = ZERO
    ahead: Decimal | None = None
    joined_ms: int = -1
    state: State = State.OPEN
    ended_at_s: float | None = None
    filled_since: list[tuple[float, Decimal]] = field(default_factory=list)

    @property
    def remaining(self) -> Decimal:
        return self.qty - self.filled

    def filled_at(self, as_of_s: float) -> Decimal:
        """What was filled at a monotonic time."""
        return next((filled for at_s, filled in reversed(self.filled_since) if at_s <= as_of_s), ZERO)


class Match(NamedTuple):
    """A trade of ``order`` with the reference market; its ``filled`` counts it already."""

    order: MockOrder
    price: Decimal
    qty: Decimal
    maker: bool


def reaches(side: Side, price: Decimal, other: Decimal) -> bool:
    """Whether an order of ``side`` at ``price`` meets or crosses an opposite one at ``other``."""
    return price >= other if side is Side.BUY else price <= other


def _priority(order: MockOrder) -> tuple[Decimal, int]:
    return (-order.price if order.side is Side.BUY else order.price, order.number)


class MockMarket:
    """The own orders that rest in one symbol, and what the reference market does to them."""

    def __init__(self, lot_size: Decimal) -> None:
        self._lot_size = lot_size
        self._resting: dict[Side, list[MockOrder]] = {Side.BUY: [], Side.SELL: []}
        self._book: Book | None = None
        self._seen_ms = -1
        self._taken: dict[tuple[Side, Decimal], Decimal] = {}

    def __len__(self) -> int:
        return len(self._resting[Side.BUY]) + len(self._resting[Side.SELL])

    def resting(self, side: Side) -> Sequence[MockOrder]:
        """The open orders of ``side``, first in turn first."""
        return self._resting[side]

    def meets_reference(self, side: Side, price: Decimal) -> bool:
        """Whether such an order would meet the reference's opposite touch; no, where there is no usable book."""
        if self._book is None:
            return False
        touch = self._book.best_ask if side is Side.BUY else self._book.best_bid
        return touch is not None and reaches(side, price, touch)

    def meets_own(self, side: Side, price: Decimal) -> MockOrder | None:
        """The own resting order that such an order would trade with first."""
        opposite = self._resting[side.opposite]
        return opposite[0] if opposite and reaches(side, price, opposite[0].price) else None

    def take(self, order: MockOrder) -> list[Match]:
        """Trade an arriving order with what the reference book offers up to its price."""
        matches: list[Match] = []
        self._fill_from_book(order, matches, maker=False)
        return matches

    def rest(self, order: MockOrder) -> None:
        """Let an order join its price, behind what the reference shows there."""
        order.joined_ms = self._seen_ms
        if self._book is not None:
            order.ahead = _shown(self._book, order, dict(_levels(self._book, order.side)))
        insort(self._resting[order.side], order, key=_priority)

    def remove(self, order: MockOrder) -> None:
        """Take a resting order off."""
        self._resting[order.side].remove(order)

    def observe(self, book: Book, trades: Sequence[Trade]) -> list[Match]:
        """The reference market moved: its trades since the last call (each given once), then its book now.

        A book that cannot be used fills nothing and leaves every order in its place.
        """
        matches: list[Match] = []
        if book is self._book and not trades:
            return matches
        for trade in trades:
            for side in Side:
                self._fill_from_trade(side, trade, matches)
        if book.ts_ms != self._seen_ms:
            self._taken.clear()
        self._seen_ms = book.ts_ms
        self._book = book if book.fault is None else None
        for side in Side:
            if self._book is not None:
                self._fill_from_touch(side, matches)
                self._move_up(self._book, side)
            if matches:
                self._resting[side] = [order for order in self._resting[side] if order.remaining]
        return matches

    def _fill_from_trade(self, side: Side, trade: Trade, matches: list[Match]) -> None:
        """What one trade does to a side: it goes to better prices first, then through the queue at its own."""
        left, passed = trade.qty, ZERO
        for order in self._resting[side]:
            if order.joined_ms >= trade.at_ms:
                continue  # the book that it joined shows this trade already
            if order.price != trade.price:
                if not reaches(side, order.price, trade.price):
                    break
            elif trade.buyer_is_maker != (side is Side.BUY) or order.ahead is None:
                break  # the other side traded at this price, or nobody knows who stands before us
            else:
                waited = min(left, max(ZERO, order.ahead - passed))
                passed += waited
                left -= waited
                order.ahead = max(ZERO, order.ahead - passed)
            left -= self._fill(order, order.price, left, matches, maker=True)

    def _fill_from_touch(self, side: Side, matches: list[Match]) -> None:
        for order in self._resting[side]:
            if not self.meets_reference(side, order.price):
                break
            self._fill_from_book(order, matches, maker=True)

    def _fill_from_book(self, order: MockOrder, matches: list[Match], *, maker: bool) -> None:
        """Trade with the opposite levels that the order's price reaches: a maker at its price, a taker at theirs."""
        opposite = order.side.opposite
        for price, left in self._liquidity(order):
            qty = self._fill(order, order.price if maker else price, left, matches, maker=maker)
            self._taken[opposite, price] = self._taken.get((opposite, price), ZERO) + qty
            if not order.remaining:
                break

    def _liquidity(self, order: MockOrder) -> Iterator[tuple[Decimal, Decimal]]:
        """Price and untaken quantity of the opposite levels within the order's price, from the touch."""
        if self._book is None:
            return
        opposite = order.side.opposite
        for level in _levels(self._book, opposite):
            price = self._book.price(level[0])
            if not reaches(order.side, order.price, price):
                break
            yield price, self._book.qty(level[1]) - self._taken.get((opposite, price), ZERO)

    def _fill(
        self, order: MockOrder, price: Decimal, available: Decimal, matches: list[Match], *, maker: bool
    ) -> Decimal:
        """Fill the order by whole lots of ``available``; says how much that was."""
        qty = min(order.remaining, available // self._lot_size * self._lot_size)
        if qty <= 0:
            return ZERO
        order.filled += qty
        matches.append(Match(order, price, qty, maker))
        return qty

    def _move_up(self, book: Book, side: Side) -> None:
        """Nobody stands behind more reference quantity than is shown."""
        if not self._resting[side]:
            return
        levels = dict(_levels(book, side))
        for order in self._resting[side]:
            shown = _shown(book, order, levels)
            if shown is not None:
                order.ahead = shown if order.ahead is None else min(order.ahead, shown)


def _levels(book: Book, side: Side) -> Sequence[tuple[int, int]]:
    return book.bids if side is Side.BUY else book.asks


def _shown(book: Book, order: MockOrder, levels: Mapping[int, int]) -> Decimal | None:
    """The reference quantity at the order's price; ``None`` beyond the last level that the book shows."""
    scaled = order.price.scaleb(book.price_decimals)
    deepest = _levels(book, order.side)[-1][0]
    if scaled != deepest and reaches(order.side, Decimal(deepest), scaled):
        return None
    on_scale = int(scaled)
    return book.qty(levels.get(on_scale, 0)) if on_scale == scaled else ZERO
