"""From a reference book to the wanted quotes of one layer: ``mirror`` and ``spread``.

Every price is computed as an exact ratio of integers and rounded once, outward: bids down, asks up.
Quantities are rounded down. A quote that may not be is a ``Refusal`` with its reason, never silently gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b
from math import ceil
from typing import NamedTuple

from mmctl.core.book import Book, Level
from mmctl.core.instrument import Instrument
from mmctl.core.order import Quote, Side
from mmctl.core.report import Refusal
from mmctl.core.spec import LayerSpec, Strategy

_UNBOUNDED = 10**100
"""More ticks or lots than any market has, where the venue sets no bound."""


class Ladder(NamedTuple):
    """A layer's quotes, each side from the touch outward, and what was refused on the way."""

    asks: tuple[Quote, ...]
    bids: tuple[Quote, ...]
    refused: tuple[Refusal, ...]

    def side(self, side: Side) -> tuple[Quote, ...]:
        return self.bids if side is Side.BUY else self.asks


class _Ratio(NamedTuple):
    """An exact factor ``num / den``."""

    num: int
    den: int


@dataclass(frozen=True, slots=True)
class _Scale:
    """Factors from one book's scale to ticks and lots: of a price before its margin, and of a quantity."""

    price: _Ratio
    qty: _Ratio


@lru_cache(maxsize=2048)
def _draw(seed: int, pair: str, side: str, level: int, refreshes: int) -> tuple[int, int]:
    """Two numbers below 2**64 that any process draws alike for the same level of the same ladder."""
    digest = blake2b(f"{seed}|{pair}|{side}|{level}|{refreshes}".encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")


class LayerQuoter:
    """Makes one layer's ladder. Near and far are two objects of this class."""

    def __init__(self, pair: str, spec: LayerSpec, instrument: Instrument, seed: int) -> None:
        self.spec = spec
        self.instrument = instrument
        self._pair = pair
        self._seed = seed
        lot, unit = instrument.lot_size, instrument.amount_unit
        self.max_units = int(spec.max_amount // unit)
        """The most that one order may come to, in units of one tick times one lot."""
        self._min_units = ceil(max(spec.min_amount, instrument.min_notional) / unit)
        self._min_lots = max(1, ceil(max(spec.min_qty, instrument.min_qty) / lot))
        self._max_lots = _UNBOUNDED if instrument.max_qty is None else int(instrument.max_qty // lot)
        self._min_ticks = max(1, ceil(instrument.min_price / instrument.tick_size))
        top = instrument.max_price
        self._max_ticks = _UNBOUNDED if top is None else int(top // instrument.tick_size)
        self._scales: dict[tuple[int, int], _Scale] = {}
        self._moved = {side: _moved(spec.margin_bps(side), side) for side in Side}

    def ladder(self, book: Book, refreshes: int) -> Ladder:
        """The layer's ladder from a usable ``book``; ``refreshes`` counts its forced refreshes so far."""
        refused: list[Refusal] = []
        asks = self._side(book, Side.SELL, refreshes, self.spec.ask_levels, refused)
        bids = self._side(book, Side.BUY, refreshes, self.spec.bid_levels, refused)
        return Ladder(asks, bids, tuple(refused))

    def innermost(self, book: Book, side: Side) -> int | None:
        """The price in ticks of the layer's quote of ``side`` nearest to the touch, if it has one."""
        wanted = self.spec.levels(side)
        if self.spec.strategy is Strategy.MIRROR:
            wanted = min(1, wanted)  # the walk goes on until one stands
        quotes = self._side(book, side, 0, wanted, [])
        return quotes[0].price if quotes else None

    def _side(self, book: Book, side: Side, refreshes: int, levels: int, refused: list[Refusal]) -> tuple[Quote, ...]:
        if not levels or not self.spec.side.quotes(side):
            return ()
        scale = self._scale(book)
        if self.spec.strategy is Strategy.MIRROR:
            return self._mirror(book, side, scale, levels, refused)
        return self._spread(book, side, scale, levels, refreshes, refused)

    def _mirror(self, book: Book, side: Side, scale: _Scale, wanted: int, refused: list[Refusal]) -> tuple[Quote, ...]:
        """Walk the reference side outward; levels that round to one tick are one quote, cut after adding."""
        moved = self._moved[side]
        # Floor division rounds a bid down, and the negative price of an ask up: away from the touch.
        sign, reference = (1, book.bids) if side is Side.BUY else (-1, book.asks)
        num, den = sign * scale.price.num * moved.num, scale.price.den * moved.den
        quotes: list[Quote] = []
        at, count = 0, len(reference)
        while at < count and len(quotes) < wanted:
            level = at + 1
            floor = reference[at].price * num // den
            qty = reference[at].qty
            at += 1
            while at < count and reference[at].price * num // den == floor:
                qty += reference[at].qty
                at += 1
            quote = self._quote(side, sign * floor, qty * scale.qty.num // scale.qty.den, level, refused)
            if quote is not None:
                quotes.append(quote)
        return tuple(quotes)

    def _spread(
        self, book: Book, side: Side, scale: _Scale, wanted: int, refreshes: int, refused: list[Refusal]
    ) -> tuple[Quote, ...]:
        """Level k lies at ``touch * (1 ± margin)**k``, computed exactly and rounded once."""
        moved = self._moved[side]
        sign, reference = (1, book.bids) if side is Side.BUY else (-1, book.asks)
        num, den = sign * reference[0].price * scale.price.num, scale.price.den
        quotes: list[Quote] = []
        for level in range(1, wanted + 1):
            num *= moved.num
            den *= moved.den
            price = sign * (num // den)
            qty = self._drawn_lots(reference, side, scale, level, refreshes)
            quote = self._quote(side, price, qty, level, refused)
            if quote is not None:
                quotes.append(quote)
        return tuple(quotes)

    def _drawn_lots(self, reference: tuple[Level, ...], side: Side, scale: _Scale, level: int, refreshes: int) -> int:
        """A quantity of the reference side, times a factor in [0.95, 1.0), times the multiplier, in lots."""
        pick, spice = _draw(self._seed, self._pair, side, level, refreshes)
        qty = reference[pick % len(reference)].qty * scale.qty.num
        # 0.95 + 0.05 * spice / 2**64 is (19 * 2**64 + spice) / (20 * 2**64), without a float.
        return qty * ((19 << 64) + spice) // (scale.qty.den * 20 << 64)

    def _quote(self, side: Side, price: int, lots: int, level: int, refused: list[Refusal]) -> Quote | None:
        """The quote at ``price`` for at most ``lots``, or a refusal."""
        if self._min_ticks <= price <= self._max_ticks:
            lots = min(lots, self.max_units // price, self._max_lots)
            if lots >= self._min_lots and price * lots >= self._min_units:
                return Quote(self.spec.layer, side, price, lots, level)
        refused.append(self._refusal(side, price, lots, level))
        return None

    def _refusal(self, side: Side, price: int, lots: int, level: int) -> Refusal:
        """Why a quote at ``price``, already cut to ``lots``, may not be."""
        instrument = self.instrument
        at = f"price {instrument.price_text(price)}"
        if price < self._min_ticks:
            reason = "below_tick" if price < 1 else "price_band"
            detail = f"{at} is under {instrument.price_text(self._min_ticks)}"
        elif price > self._max_ticks:
            reason, detail = "price_band", f"{at} is above {instrument.price_text(self._max_ticks)}"
        elif lots < self._min_lots:
            reason = "min_qty"
            detail = f"quantity {instrument.qty_text(lots)} is under {instrument.qty_text(self._min_lots)}"
        else:
            reason, unit = "min_amount", instrument.amount_unit
            detail = f"amount {instrument.amount(price, lots):f} is under {self._min_units * unit:f}"
        return Refusal(self.spec.layer, side, level, reason, detail)

    def _scale(self, book: Book) -> _Scale:
        """The factors for this book's scale; a feed has a handful of scales, so they are kept."""
        key = (book.price_decimals, book.qty_decimals)
        scale = self._scales.get(key)
        if scale is None:
            if len(self._scales) >= 64:
                self._scales.clear()
            multiplier = self.spec.qty_multiplier
            tick, lot = _ratio(self.instrument.tick_size), _ratio(self.instrument.lot_size)
            factor = _ratio(multiplier)
            scale = _Scale(
                price=_Ratio(tick.den, tick.num * 10**book.price_decimals),
                qty=_Ratio(factor.num * lot.den, factor.den * lot.num * 10**book.qty_decimals),
            )
            self._scales[key] = scale
        return scale


def _moved(margin_bps: Decimal, side: Side) -> _Ratio:
    """The factor that moves a price outward by a margin; a bid is not moved below zero."""
    margin = _ratio(margin_bps / 10_000)
    if side is Side.BUY:
        return _Ratio(max(0, margin.den - margin.num), margin.den)
    return _Ratio(margin.den + margin.num, margin.den)


def _ratio(value: Decimal) -> _Ratio:
    return _Ratio(*value.as_integer_ratio())
