"""An instrument: how a venue counts prices and quantities of one symbol.

Inside ``mmctl.core`` a price is a whole number of ticks and a quantity a whole number of lots. This module
is the only place where they become ``Decimal`` or text, and back.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import cached_property

from mmctl.core.order import Side


def plain(value: Decimal) -> str:
    """Fixed-point text of ``value``, never in exponent form: ``0.00000812``, not ``8.12E-6``."""
    return f"{value:f}"


def decimals_of(step: Decimal) -> int:
    """Digits after the point that text of a multiple of ``step`` needs."""
    exponent = step.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


@dataclass(frozen=True)
class Instrument:
    """One symbol's filters on its venue.

    ``tick_size`` is in quote currency, ``lot_size``, ``min_qty`` and ``max_qty`` in base currency,
    ``min_notional`` (price times quantity) in quote currency. ``max_qty`` and ``max_open_orders`` are
    ``None`` where the venue sets no bound. ``min_price`` and ``max_price`` are its fixed price band.
    """

    symbol: str
    base: str
    quote: str
    tick_size: Decimal
    lot_size: Decimal
    min_qty: Decimal = Decimal(0)
    max_qty: Decimal | None = None
    min_notional: Decimal = Decimal(0)
    min_price: Decimal = Decimal(0)
    max_price: Decimal | None = None
    max_open_orders: int | None = None

    def __post_init__(self) -> None:
        if self.tick_size <= 0 or self.lot_size <= 0:
            raise ValueError(f"{self.symbol}: tick size and lot size must be above zero")

    @cached_property
    def price_decimals(self) -> int:
        return decimals_of(self.tick_size)

    @cached_property
    def qty_decimals(self) -> int:
        return decimals_of(self.lot_size)

    def price(self, ticks: int) -> Decimal:
        """The price of ``ticks`` in quote currency."""
        return ticks * self.tick_size

    def qty(self, lots: int) -> Decimal:
        """The quantity of ``lots`` in base currency."""
        return lots * self.lot_size

    def amount(self, ticks: int, lots: int) -> Decimal:
        """Price times quantity, in quote currency."""
        return ticks * lots * self.amount_unit

    @cached_property
    def amount_unit(self) -> Decimal:
        """What one lot costs at one tick, in quote currency."""
        return self.tick_size * self.lot_size

    def price_text(self, ticks: int) -> str:
        """Fixed-point text of a price, with as many decimals as the tick size has."""
        return f"{ticks * self.tick_size:.{self.price_decimals}f}"

    def qty_text(self, lots: int) -> str:
        """Fixed-point text of a quantity, with as many decimals as the lot size has."""
        return f"{lots * self.lot_size:.{self.qty_decimals}f}"

    def ticks(self, price: Decimal, side: Side) -> int:
        """``price`` in ticks, rounded outward where it is off tick: down for a buy, up for a sell."""
        rounding = ROUND_FLOOR if side is Side.BUY else ROUND_CEILING
        return int((price / self.tick_size).to_integral_value(rounding=rounding))

    def lots(self, qty: Decimal) -> int:
        """``qty`` in lots, rounded down."""
        return int(qty // self.lot_size)

    def on_tick(self, price: Decimal) -> bool:
        return price % self.tick_size == 0

    def on_lot(self, qty: Decimal) -> bool:
        return qty % self.lot_size == 0
