"""What stops a live pair from losing much money fast: position, rate of fills, and the wrong market.

A live profile must set all three. Position counts every live order as if it were filled, so that the limit
holds whatever the venue does; where it leaves no room, placements are refused. Too many fills a minute mean
that somebody picks our quotes off: that is a kill switch, and a person has to resume. A reference mid far
from the maker venue's own mid means that the wrong market is followed: nothing is quoted until it is near.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from mmctl.core.instrument import Instrument
from mmctl.core.order import Order, Side

WINDOW_S = 60.0


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """``max_position`` is in base currency, to either side; ``max_basis_bps`` reference mid against the
    maker venue's own mid, in basis points of the latter."""

    max_position: Decimal
    max_fills_per_min: int
    max_basis_bps: Decimal


def exposure_room(
    limits: LiveLimits, position: Decimal, live: Iterable[Order], instrument: Instrument
) -> dict[Side, int]:
    """Lots that may still be placed on each side, with every live order counted as filled."""
    lots = dict.fromkeys(Side, 0)
    for order in live:
        lots[order.side] += order.remaining
    long_room = limits.max_position - position
    short_room = limits.max_position + position
    return {
        Side.BUY: max(0, instrument.lots(max(Decimal(0), long_room)) - lots[Side.BUY]),
        Side.SELL: max(0, instrument.lots(max(Decimal(0), short_room)) - lots[Side.SELL]),
    }


class FillRate:
    """Fills of the last minute. Times are given, never read."""

    def __init__(self, max_per_min: int) -> None:
        self._max = max_per_min
        self._at_s: deque[float] = deque(maxlen=max_per_min + 1)

    def note(self, now_s: float) -> bool:
        """Count a fill at monotonic time ``now_s``; says whether that is one too many within a minute."""
        self._at_s.append(now_s)
        return len(self._at_s) > self._max and now_s - self._at_s[0] < WINDOW_S


def basis_bps(reference_mid: Decimal, own_mid: Decimal) -> Decimal:
    """How far the reference lies from the maker venue's own mid, in basis points of the latter, unsigned."""
    return abs(reference_mid - own_mid) / own_mid * 10_000
