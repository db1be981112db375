"""What an operator wants of a pair: the values that ``decide`` works from, checked before they get here.

Margins and differences are in basis points, times in seconds, amounts in quote currency, quantities in
base currency. ``mmctl.profile`` states bounds and defaults; this module only carries the values.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from mmctl.core.book import BookKey
from mmctl.core.limits import LiveLimits
from mmctl.core.order import Layer, Side, TimeInForce


class LayerSide(StrEnum):
    """Which sides a layer quotes."""

    BOTH = "BOTH"
    BID = "BID"
    ASK = "ASK"

    def quotes(self, side: Side) -> bool:
        return self is LayerSide.BOTH or (self is LayerSide.BID) == (side is Side.BUY)


class Strategy(StrEnum):
    """How a layer makes its quotes from the reference book."""

    MIRROR = "mirror"
    SPREAD = "spread"


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One ladder of a pair.

    ``qty_tolerance`` t keeps an order whose remaining quantity is between ``(1 - t)`` and ``1 / (1 - t)``
    of its quote's. ``force_refresh_num`` is the number of rounds after which everything is replaced.
    """

    layer: Layer
    interval_s: float
    quote_timeout_s: float
    side: LayerSide
    time_in_force: TimeInForce
    strategy: Strategy
    buy_margin_bps: Decimal
    sell_margin_bps: Decimal
    qty_multiplier: Decimal
    ask_levels: int
    bid_levels: int
    max_amount: Decimal
    min_qty: Decimal
    min_amount: Decimal
    diff_per_round_bps: Decimal
    qty_tolerance: Decimal
    force_refresh_num: int

    def margin_bps(self, side: Side) -> Decimal:
        return self.buy_margin_bps if side is Side.BUY else self.sell_margin_bps

    def levels(self, side: Side) -> int:
        """How many quotes of ``side`` are wanted: 0 where the layer does not quote that side."""
        if not self.side.quotes(side):
            return 0
        return self.bid_levels if side is Side.BUY else self.ask_levels


@dataclass(frozen=True, slots=True)
class PairSpec:
    """One pair of a profile: what is followed, where it is made, and how.

    ``near`` or ``far`` is ``None`` where that ladder is off. ``price_decimals`` and ``qty_decimals`` are
    the profile's own rounding, ``None`` where it leaves it to the venue. ``shares_market`` says that own
    orders rest in the very market that is followed, so that own quantity is taken off its book.
    """

    name: str
    base: str
    quote: str
    symbol: str
    venue: str
    account: str
    follow: BookKey
    near: LayerSpec | None
    far: LayerSpec | None
    collar_bps: Decimal
    max_open_orders: int
    frozen_after_s: float
    seed: int
    price_decimals: int | None = None
    qty_decimals: int | None = None
    shares_market: bool = False
    limits: LiveLimits | None = None

    @property
    def layers(self) -> tuple[LayerSpec, ...]:
        return tuple(layer for layer in (self.near, self.far) if layer is not None)

    def layer(self, which: Layer) -> LayerSpec | None:
        return self.near if which is Layer.NEAR else self.far

    @property
    def key(self) -> tuple[str, str, str]:
        """Venue, account and symbol: at most one engine, and one pair of a profile, has this key."""
        return (self.venue, self.account, self.symbol)
