"""The reference book, exact on its feed's own scale, and how fresh it is.

Prices and quantities are whole numbers of ``10**-price_decimals`` and ``10**-qty_decimals``: the scale of
the feed, not of any venue. A quote is rounded to the venue's ticks once, later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Clamped, Context, Decimal, Inexact, InvalidOperation, Overflow, localcontext
from hashlib import blake2b
from operator import gt, lt
from typing import NamedTuple

_EXACT = Context(prec=60, Emin=-60, Emax=60, traps=[Clamped, Inexact, InvalidOperation, Overflow])
"""Wide enough for any market; whatever does not fit is refused rather than rounded."""


class Level(NamedTuple):
    """One price level: price and quantity on the book's scale."""

    price: int
    qty: int


class Trade(NamedTuple):
    """One trade of the reference market; ``trade_id`` only ever grows, ``buyer_is_maker`` as venues say it."""

    trade_id: int
    price: Decimal
    qty: Decimal
    buyer_is_maker: bool
    at_ms: int


class BookKey(NamedTuple):
    """Whose book: the followed exchange and its symbol, as the profile writes them."""

    exchange: str
    symbol: str

    def __str__(self) -> str:
        return f"{self.exchange} {self.symbol}"


@dataclass(frozen=True, slots=True)
class Book:
    """A reference order book at ``ts_ms`` (the source's own time, ms since the epoch).

    Bids descend and asks ascend from the touch. A book may be empty, one-sided or crossed: ``fault`` says
    so, and such a book is never quoted on.
    """

    key: BookKey
    ts_ms: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    price_decimals: int
    qty_decimals: int
    source: str

    @classmethod
    def of(
        cls,
        key: BookKey,
        ts_ms: int,
        bids: Iterable[tuple[Decimal, Decimal]],
        asks: Iterable[tuple[Decimal, Decimal]],
        source: str,
    ) -> Book:
        """A book from (price, quantity) pairs in ``Decimal``, in any order; empty levels are left out.

        Raises ``ValueError`` for a price that is not above zero, a negative quantity, one that is not a
        finite number, or two levels of one side at the same price.
        """
        sides = [[level for level in side if level[1]] for side in (bids, asks)]
        # A book is read many times a second, so whole columns are scaled, and sorted only where they need it.
        prices, price_decimals = _scaled([price for side in sides for price, _ in side])
        qtys, qty_decimals = _scaled([qty for side in sides for _, qty in side])
        cut = len(sides[0])
        levels = tuple([tuple.__new__(Level, pair) for pair in zip(prices, qtys, strict=True)])
        own_bids, own_asks = levels[:cut], levels[cut:]
        if not all(map(gt, prices[: cut - 1], prices[1:cut])):
            own_bids = _sorted(own_bids, descending=True)
        if not all(map(lt, prices[cut:-1], prices[cut + 1 :])):
            own_asks = _sorted(own_asks, descending=False)
        return cls(key, ts_ms, own_bids, own_asks, price_decimals, qty_decimals, source)

    @property
    def fault(self) -> str | None:
        """Why this book cannot be quoted on, or ``None``."""
        if not self.bids and not self.asks:
            return "the book is empty"
        if not self.bids:
            return "the book is one-sided: it has no bids"
        if not self.asks:
            return "the book is one-sided: it has no asks"
        if self.bids[0].price >= self.asks[0].price:
            return (
                f"the book is crossed: best bid {self.price(self.bids[0].price)}"
                f" >= best ask {self.price(self.asks[0].price)}"
            )
        return None

    def digest(self) -> str:
        """16 hex digits that tell this book from any other: of its time, its scales and every level."""
        sides = "|".join(",".join(f"{price}:{qty}" for price, qty in side) for side in (self.bids, self.asks))
        text = f"{self.ts_ms}|{self.price_decimals}|{self.qty_decimals}|{sides}"
        return blake2b(text.encode(), digest_size=8).hexdigest()

    def price(self, scaled: int) -> Decimal:
        """A price of this book in quote currency."""
        return Decimal(scaled).scaleb(-self.price_decimals)

    def qty(self, scaled: int) -> Decimal:
        """A quantity of this book in base currency."""
        return Decimal(scaled).scaleb(-self.qty_decimals)

    @property
    def best_bid(self) -> Decimal | None:
        return self.price(self.bids[0].price) if self.bids else None

    @property
    def best_ask(self) -> Decimal | None:
        return self.price(self.asks[0].price) if self.asks else None

    @property
    def mid(self) -> Decimal | None:
        """Half way between the touches, in quote currency; ``None`` without both."""
        if not self.bids or not self.asks:
            return None
        return self.price(self.bids[0].price + self.asks[0].price) / 2


def _sorted(levels: tuple[Level, ...], *, descending: bool) -> tuple[Level, ...]:
    if len({level.price for level in levels}) < len(levels):
        raise ValueError("two levels of one side have the same price")
    return tuple(sorted(levels, reverse=descending))


def _scaled(values: list[Decimal]) -> tuple[list[int], int]:
    """``values``, which must be finite and above zero, as whole numbers of one scale, and its digits after the point.

    The exponent of an exact sum is the smallest of its terms': one look at it spares a look at each.
    """
    with localcontext(_EXACT):
        try:
            total = sum(values, Decimal(0))
            if not total.is_finite() or (values and min(values) <= 0):
                bad = next(value for value in values if not value.is_finite() or value <= 0)
                raise ValueError(f"{bad} is not a price or a quantity above zero")
            exponent = total.as_tuple().exponent
            decimals = max(0, -exponent) if isinstance(exponent, int) else 0
            unit = Decimal(10) ** decimals
            return list(map(int, map(unit.__mul__, values))), decimals
        except ArithmeticError:
            raise ValueError("a price or a quantity has more digits than a book can hold") from None
