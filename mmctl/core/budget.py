"""What an account can still place: free balances less what is reserved, and open orders left under a cap.

A placement reserves its funds the moment it is handed over. The reservation falls when the order ends, or
when balances arrive that were told after the venue accepted it and so hold its lock already. Until then the
funds count twice rather than not at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from mmctl.core.events import Balance
from mmctl.core.instrument import Instrument
from mmctl.core.order import Quote, Side
from mmctl.core.risk import Room


@dataclass(slots=True)
class _Reservation:
    asset: str
    amount: Decimal
    accepted_at_s: float | None = None


def need(instrument: Instrument, side: Side, price: int, qty: int) -> tuple[str, Decimal]:
    """The asset that an order locks, and how much of it: quote currency for a buy, base for a sell."""
    if side is Side.BUY:
        return instrument.quote, instrument.amount(price, qty)
    return instrument.base, instrument.qty(qty)


class Budget:
    """One account's funds and reservations, over all of its pairs."""

    def __init__(self) -> None:
        self._free: dict[str, Decimal] | None = None
        self._reserved: dict[str, _Reservation] = {}
        self._totals: defaultdict[str, Decimal] = defaultdict(Decimal)

    def update(self, balances: Mapping[str, Balance], told_at_s: float, *, whole: bool) -> None:
        """Take in balances that the venue told: all assets (``whole``) or those that changed.

        ``told_at_s`` is the monotonic time before which everything accepted is in them.
        """
        if whole or self._free is None:
            self._free = {}
        self._free.update({asset: balance.free for asset, balance in balances.items()})
        for client_id, kept in list(self._reserved.items()):
            if kept.accepted_at_s is not None and kept.accepted_at_s <= told_at_s:
                self.release(client_id)

    def free(self, asset: str) -> Decimal:
        """What may still be locked of ``asset``; nothing before the first balances."""
        if self._free is None:
            return Decimal(0)
        return self._free.get(asset, Decimal(0)) - self._totals[asset]

    def reserve(self, client_id: str, instrument: Instrument, quote: Quote) -> bool:
        """Set aside what ``quote`` locks; says no, and reserves nothing, where that is not free."""
        asset, amount = need(instrument, quote.side, quote.price, quote.qty)
        if self.free(asset) < amount:
            return False
        self._reserved[client_id] = _Reservation(asset, amount)
        self._totals[asset] += amount
        return True

    def accepted(self, client_id: str, at_s: float) -> None:
        """The venue rests the order: balances told after ``at_s`` hold its lock."""
        reservation = self._reserved.get(client_id)
        if reservation is not None and reservation.accepted_at_s is None:
            reservation.accepted_at_s = at_s

    def release(self, client_id: str) -> None:
        """The order is over, or never came to be."""
        reservation = self._reserved.pop(client_id, None)
        if reservation is not None:
            self._totals[reservation.asset] -= reservation.amount

    def room(self, instrument: Instrument, own_live: int, foreign: int, max_open_orders: int) -> Room:
        """What one pair may place now, beside ``own_live`` and ``foreign`` open orders of its symbol."""
        orders = max_open_orders - own_live
        if instrument.max_open_orders is not None:
            orders = min(orders, instrument.max_open_orders - own_live - foreign)
        return Room(
            orders=max(0, orders),
            base_lots=max(0, instrument.lots(self.free(instrument.base))),
            quote_units=max(0, int(self.free(instrument.quote) // instrument.amount_unit)),
        )
