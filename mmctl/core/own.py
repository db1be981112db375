"""Own quantity comes off the reference first, where own orders rest in the very market that is followed.

Otherwise the ladder would mirror itself, and grow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal

from mmctl.core.book import Book, Level
from mmctl.core.instrument import Instrument
from mmctl.core.order import Order, Side


def without_own(book: Book, orders: Iterable[Order], instrument: Instrument) -> Book:
    """``book`` less the remaining quantity of own live orders; a level that was only ours vanishes.

    Orders in flight or unknown count as resting: taking off too much makes a smaller ladder, too little
    makes one that feeds on itself.
    """
    own: defaultdict[tuple[Side, int], int] = defaultdict(int)
    for order in orders:
        if order.is_live:
            price = (instrument.price(order.price)).scaleb(book.price_decimals)
            if price == int(price):
                qty = instrument.qty(order.remaining).scaleb(book.qty_decimals)
                own[order.side, int(price)] += _ceil(qty)
    if not own:
        return book
    return replace(
        book,
        bids=_less(book.bids, {price: qty for (side, price), qty in own.items() if side is Side.BUY}),
        asks=_less(book.asks, {price: qty for (side, price), qty in own.items() if side is Side.SELL}),
    )


def _less(levels: tuple[Level, ...], own: dict[int, int]) -> tuple[Level, ...]:
    left = (Level(level.price, level.qty - own.get(level.price, 0)) for level in levels)
    return tuple(level for level in left if level.qty > 0)


def _ceil(value: Decimal) -> int:
    whole = int(value)
    return whole if whole == value else whole + 1
