"""An invented market: its book and trades at any step are a function of seed and step, and of nothing else.

Nothing is carried from step to step, so it does not matter who reads how often, and a pause costs nothing.
The price is the sum of smoothed noise of many wavelengths: it drifts like a random walk over seconds and
minutes, and stays within one per cent of where it began for ever. Binary floats serve here because nothing is
measured, only made up: what leaves this module are whole ticks and lots.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from mmctl.core.book import Book, BookKey, Level, Trade
from mmctl.core.instrument import decimals_of

STEP_MS = 100
SOURCE = "mock"

_TRADES_PER_STEP = 8
_WAVES = tuple((4 ** (n + 1), 0.3 * 2**n) for n in range(8))
"""Wavelength in steps, from half a second to two hours, and height in basis points."""

_FAST_WAVES = 3
"""The shortest waves are the ones that grow in a burst."""

_BURST_STEPS = 600
_CELL_BPS = 0.2
"""Levels lie in cells of the price axis, one each at a place of its own, and stay there while the touch moves."""

_GROWTH = 0.25
_MASK = (1 << 64) - 1
_UNIT = 2.0**-64


@dataclass(frozen=True, slots=True)
class MockMarket:
    """What a made-up market is like.

    The price moves around ``start_price``; ``tick_size`` is in quote currency, ``lot_size`` in base
    currency, ``levels`` the depth of each side, ``spread_bps`` the usual spread and ``touch_amount`` the usual
    amount at the touch in quote currency. Raises ``ValueError`` for what is not above zero.
    """

    start_price: Decimal
    tick_size: Decimal
    lot_size: Decimal
    levels: int = 20
    spread_bps: Decimal = Decimal("0.2")
    touch_amount: Decimal = Decimal(5000)

    def __post_init__(self) -> None:
        for name in ("start_price", "tick_size", "lot_size", "levels", "spread_bps", "touch_amount"):
            value = Decimal(getattr(self, name))
            if not value.is_finite() or value <= 0:
                raise ValueError(f"{name} of a mock market is {value}: it must be above zero")


class Synthetic:
    """One such market. ``seed`` is any whole number of at most 64 bits."""

    def __init__(self, key: BookKey, market: MockMarket, seed: int) -> None:
        self._key, self._market, self._seed = key, market, seed & _MASK
        self._start_ticks = float(market.start_price / market.tick_size)
        self._spread_ticks = self._start_ticks * float(market.spread_bps) / 1e4
        self._cell = max(1, round(self._start_ticks * _CELL_BPS / 1e4))
        self._lots = float(market.touch_amount / market.start_price / market.lot_size)
        self._price_decimals = decimals_of(market.tick_size)
        self._qty_decimals = decimals_of(market.lot_size)
        self._tick_units = int(market.tick_size.scaleb(self._price_decimals))
        self._lot_units = int(market.lot_size.scaleb(self._qty_decimals))

    def book(self, step: int) -> Book:
        """The book of ``step``, stamped with the step's own time: ``step * STEP_MS`` since the epoch."""
        burst = self._burst(step)
        bid, ask = self._touch(step, burst)
        bids = self._side(step, bid, -1, self._market.levels, burst)
        asks = self._side(step, ask, 1, self._market.levels, burst)
        return Book(
            self._key, step * STEP_MS, tuple(bids), tuple(asks), self._price_decimals, self._qty_decimals, SOURCE
        )

    def trades(self, step: int) -> list[Trade]:
        """The trades of ``step``: seldom any, at the touch; in a burst a few that walk through the levels."""
        dice = _mix(self._seed ^ _mix(step * 8 + 1))
        burst = self._burst(step)
        if (dice & 0xFF) >= 64 + 160 * burst:
            return []
        count = 1 + int((dice >> 8 & 0xFF) / 256 * (1 + (_TRADES_PER_STEP - 2) * burst))
        seller_takes = bool(dice >> 16 & 1)
        touch = self._touch(step, burst)[0 if seller_takes else 1]
        trades = []
        for number, (price, qty) in enumerate(self._side(step, touch, -1 if seller_takes else 1, count, burst)):
            # Every level but the last is taken whole.
            share = 1.0 if number < count - 1 else 0.05 + 0.6 * (dice >> 24 & 0xFF) / 256
            lots = max(1, int(qty // self._lot_units * share))
            trades.append(
                Trade(
                    step * _TRADES_PER_STEP + number,
                    Decimal(price).scaleb(-self._price_decimals),
                    lots * self._market.lot_size,
                    seller_takes,
                    step * STEP_MS,
                )
            )
        return trades

    @staticmethod
    def step_of(trade_id: int) -> int:
        """The step whose trades include this id."""
        return trade_id // _TRADES_PER_STEP

    def _burst(self, step: int) -> float:
        """How wild the market is, from 0 to 1: one minute in three holds a burst of two to ten seconds."""
        minute, at = divmod(step, _BURST_STEPS)
        dice = _mix(self._seed ^ _mix(minute * 8 + 2))
        if dice % 3:
            return 0.0
        half = 10 + (dice >> 8) % 41
        middle = half + (dice >> 16) % (_BURST_STEPS - 2 * half)
        return max(0.0, 1.0 - abs(at - middle) / half)

    def _touch(self, step: int, burst: float) -> tuple[int, int]:
        """Best bid and ask in ticks."""
        offset_bps = 0.0
        for number, (length, height) in enumerate(_WAVES):
            node, at = divmod(step, length)
            before = _mix(self._seed + (number << 48) ^ node) * _UNIT
            after = _mix(self._seed + (number << 48) ^ (node + 1)) * _UNIT
            place = at / length
            value = before + (after - before) * place * place * (3 - 2 * place)
            offset_bps += (2 * value - 1) * height * (1 + 4 * burst if number < _FAST_WAVES else 1)
        mid = self._start_ticks * (1 + offset_bps / 1e4)
        noise = 0.5 + _mix(self._seed ^ _mix((step // 4) * 8 + 3)) * _UNIT
        spread = max(1, round(self._spread_ticks * noise * (1 + 3 * burst)))
        bid = max(1, int(mid - spread / 2))
        return bid, bid + spread

    def _side(self, step: int, touch: int, outward: int, count: int, burst: float) -> list[Level]:
        """The first ``count`` levels from ``touch`` outward, fewer where bids come to zero."""
        cell, lots = self._cell, self._lots / (1 + burst)
        levels = [self._level(touch, _mix(self._seed ^ (step << 1 | (outward > 0))), lots)]
        at = touch // cell
        salt = self._seed + outward & _MASK
        while len(levels) < count:
            dice = _mix(salt ^ at)
            price = at * cell + dice % cell
            at += outward
            if price < 1:
                if at < 0:
                    break
                continue
            if (price - touch) * outward <= 0:
                continue
            # Away from the touch a size holds for a while, and not all change at once.
            fresh = (dice ^ ((step + (dice & 15)) >> 3) * 0x9E3779B97F4A7C15) * 0xD6E8FEB86659FD93 & _MASK
            levels.append(self._level(price, fresh, lots * (1 + _GROWTH * len(levels))))
        return levels

    def _level(self, price: int, dice: int, lots: float) -> Level:
        return Level(price * self._tick_units, max(1, int(lots * (0.3 + 1.4 * dice * _UNIT))) * self._lot_units)


def _mix(number: int) -> int:
    """64 well-stirred bits of ``number``: the finalizer of SplitMix64, the same on every machine."""
    number = (number & _MASK) * 0x9E3779B97F4A7C15 & _MASK
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _MASK
    return number ^ number >> 31
