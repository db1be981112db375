"""Own quantity comes off the reference first, where own orders rest in the very market that is followed.

Otherwise the ladder would mirror itself, and grow.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from mmctl.core.book import Book, Level
from mmctl.core.instrument import Instrument
from mmctl.core.order import LIVE, Order, Side


def without_own(book: Book, orders: Iterable[Order], instrument: Instrument) -> Book:
    """``book`` less the remaining quantity of own live orders; a level that was only ours vanishes.

    Orders in flight or unknown count as resting: taking off too much makes a smaller ladder, too little
    makes one that feeds on itself. Lots that are finer than the book's scale make that scale finer.
    """
    tick_num, tick_den = (instrument.tick_size.scaleb(book.price_decimals)).as_integer_ratio()
    qty_decimals = max(book.qty_decimals, instrument.qty_decimals)
    lot = int(instrument.lot_size.scaleb(qty_decimals))
    own: dict[Side, dict[int, int]] = {side: {} for side in Side}
    for order in orders:
        price, off_scale = divmod(order.price * tick_num, tick_den)
        if order.state in LIVE and not off_scale:
            quantities = own[order.side]
            quantities[price] = quantities.get(price, 0) + order.remaining * lot
    if not any(own.values()):
        return book
    finer = 10 ** (qty_decimals - book.qty_decimals)
    return replace(
        book,
        bids=_less(book.bids, own[Side.BUY], finer),
        asks=_less(book.asks, own[Side.SELL], finer),
        qty_decimals=qty_decimals,
    )


def _less(levels: tuple[Level, ...], own: dict[int, int], finer: int) -> tuple[Level, ...]:
    left = (Level(level.price, level.qty * finer - own.get(level.price, 0)) for level in levels)
    return tuple(level for level in left if level.qty > 0)
