"""What a venue can say of own orders, of an account, and of itself.

Prices and quantities are ``Decimal`` in the venue's units: events come from the edge. Every event about an
order names it by client order id; nothing is ever joined by position.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from mmctl.core.order import Side, State


class Request(StrEnum):
    """What was asked of the venue."""

    PLACE = "place"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The venue took the order and rests it."""

    client_id: str
    order_id: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """A definite refusal of a placement, from the venue's closed list: the order never rested.

    ``code`` is a short word of ours (``would_match``, ``balance``, ``open_order_cap``, ``filter``, ...),
    ``reason`` the venue's own text.
    """

    client_id: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unsettled:
    """No definite answer came to a request: a time-out, a cut, a reply of unknown shape."""

    client_id: str
    request: Request
    reason: str


@dataclass(frozen=True, slots=True)
class Fill:
    """One trade of an own order; ``trade_id`` is unique within the symbol. ``fee`` is in ``fee_asset``."""

    client_id: str
    order_id: str
    trade_id: str
    side: Side
    price: Decimal
    qty: Decimal
    fee: Decimal
    fee_asset: str
    maker: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The order is over; ``filled`` is the venue's total in base currency where it gave one."""

    client_id: str
    order_id: str | None
    state: State
    filled: Decimal | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CancelRefused:
    """The venue did not cancel. ``not_found``: it does not know the order, which proves nothing by itself."""

    client_id: str
    not_found: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Seen:
    """The venue showed the order as open, in a listing or in answer to a query.

    ``asked_at_s`` is the monotonic time at which the venue was asked; ``symbol`` the venue's.
    """

    client_id: str
    order_id: str
    side: Side
    price: Decimal
    qty: Decimal
    filled: Decimal
    asked_at_s: float
    symbol: str = ""


@dataclass(frozen=True, slots=True)
class NotFound:
    """A query for the order found nothing; ``asked_at_s`` is the monotonic time of asking."""

    client_id: str
    asked_at_s: float


@dataclass(frozen=True, slots=True)
class Balance:
    """One asset of an account: what is free and what open orders lock."""

    free: Decimal
    locked: Decimal

    @property
    def total(self) -> Decimal:
        return self.free + self.locked


@dataclass(frozen=True, slots=True)
class BalancesChanged:
    """The account's assets that changed, after everything the venue told before this event."""

    balances: dict[str, Balance]


@dataclass(frozen=True, slots=True)
class Gap:
    """The venue's event stream had a gap: what it told may be missing, so a reconcile is due."""

    reason: str


OrderEvent = Accepted | Rejected | Unsettled | Fill | Ended | CancelRefused | Seen | NotFound
Event = OrderEvent | BalancesChanged | Gap
