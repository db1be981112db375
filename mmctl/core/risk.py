"""The limits that every quote passes before it is planned: collar, amount, and the reference's touch.

A limit turns a quote into a ``Refusal`` with its reason. How many orders and how much money there is room
for is ``Room``; the plan spends it from the touch outward.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from math import ceil, floor
from typing import NamedTuple

from mmctl.core.book import Book
from mmctl.core.instrument import Instrument
from mmctl.core.order import Quote, Side
from mmctl.core.report import Refusal


class Touch(NamedTuple):
    """The reference's touch in ticks of the instrument: a bid at ``ask`` or above would meet its best
    ask, an ask at ``bid`` or below its best bid."""

    bid: int
    ask: int


def touch_ticks(book: Book, instrument: Instrument) -> Touch:
    """The touch of a usable ``book``: its best bid rounded down, its best ask rounded up, to ticks."""
    tick = instrument.tick_size
    bid, ask = book.price(book.bids[0].price), book.price(book.asks[0].price)
    return Touch(floor(bid / tick), ceil(ask / tick))


@dataclass(frozen=True, slots=True)
class Room:
    """What may still be placed now, beside all that is live, in flight or unknown.

    ``orders`` is a number of orders; ``base_lots`` is what sells may use, in lots; ``quote_units`` what
    buys may use, in ticks times lots; ``buy_lots`` and ``sell_lots`` are what the position limit leaves, in
    lots. ``None`` is no bound.
    """

    orders: int | None = None
    base_lots: int | None = None
    quote_units: int | None = None
    buy_lots: int | None = None
    sell_lots: int | None = None


UNBOUNDED = Room()


def approve(
    quotes: Iterable[Quote],
    book: Book,
    touch: Touch,
    instrument: Instrument,
    collar_bps: Decimal,
    max_units: int,
) -> tuple[list[Quote], list[Refusal]]:
    """Split ``quotes`` into those within every limit and refusals.

    The collar is ``collar_bps`` to either side of the reference mid; ``max_units`` the largest amount of an
    order in ticks times lots. A quote that meets the reference's opposite touch is refused (``touch``).
    """
    middle_ticks_twice = (book.price(book.bids[0].price) + book.price(book.asks[0].price)) / instrument.tick_size
    width = collar_bps / 10_000
    lowest = ceil(middle_ticks_twice * (1 - width) / 2)
    highest = floor(middle_ticks_twice * (1 + width) / 2)
    good: list[Quote] = []
    refused: list[Refusal] = []
    buy = Side.BUY
    for quote in quotes:
        price = quote.price
        if not lowest <= price <= highest:
            detail = f"{instrument.price_text(price)} is further than {collar_bps} bps from the mid"
            refused.append(Refusal(quote.layer, quote.side, quote.level, "collar", detail))
        elif price * quote.qty > max_units:
            detail = f"amount {instrument.amount(price, quote.qty):f} is above the maximum"
            refused.append(Refusal(quote.layer, quote.side, quote.level, "max_amount", detail))
        elif price >= touch.ask if quote.side is buy else price <= touch.bid:
            detail = f"{instrument.price_text(price)} would meet the reference's opposite touch"
            refused.append(Refusal(quote.layer, quote.side, quote.level, "touch", detail))
        else:
            good.append(quote)
    return good, refused
