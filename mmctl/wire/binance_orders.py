"""Binance's replies about orders, the account and its trades, as what our port speaks of.

An order's own client id is in ``origClientOrderId`` where a reply is about a cancel, otherwise in ``clientOrderId``.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TypeVar

import msgspec

from mmctl.core.events import Balance, Ended, Seen
from mmctl.core.order import Side, State
from mmctl.wire.binance import UnknownShape, original_id

OPEN_STATES = frozenset({"NEW", "PARTIALLY_FILLED", "PENDING_NEW", "PENDING_CANCEL"})
END_STATES = {
    "FILLED": State.FILLED,
    "CANCELED": State.CANCELLED,
    "EXPIRED": State.EXPIRED,
    "EXPIRED_IN_MATCH": State.EXPIRED,
    "REJECTED": State.REJECTED,
}
PREVENTED = "EXPIRED_IN_MATCH"
"""The state of an order that would have traded with our own, and ended instead."""

SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}


def check_amounts(*amounts: Decimal) -> None:
    """Raises ``ValueError`` for what is no price, quantity or balance: less than nothing, or no number at all."""
    if not all(amount.is_finite() and amount >= 0 for amount in amounts):
        raise ValueError("a price or quantity that is none")


class WireOrder(msgspec.Struct, frozen=True):
    """One order as a placement (``RESULT``), a cancel, a query or a listing shows it."""

    symbol: str
    orderId: int  # noqa: N815 - Binance's own names, here and below
    clientOrderId: str  # noqa: N815
    side: str
    price: Decimal
    origQty: Decimal  # noqa: N815
    executedQty: Decimal  # noqa: N815
    status: str
    origClientOrderId: str = ""  # noqa: N815
    expiryReason: str = ""  # noqa: N815

    def __post_init__(self) -> None:
        if self.side not in SIDES or not (self.status in OPEN_STATES or self.status in END_STATES):
            raise ValueError("an order's side or status is none that we know")
        check_amounts(self.price, self.origQty, self.executedQty)

    @property
    def own_id(self) -> str:
        """The client id that the order was placed with."""
        return self.origClientOrderId or original_id(self.clientOrderId)

    @property
    def is_open(self) -> bool:
        return self.status in OPEN_STATES

    @property
    def prevented(self) -> bool:
        """Whether it ended, untraded, because it would have met an own order."""
        return self.status == PREVENTED and not self.executedQty

    def seen(self, asked_at_s: float) -> Seen:
        """As an open order; ``asked_at_s`` is the monotonic time of asking."""
        return Seen(
            client_id=self.own_id,
            order_id=str(self.orderId),
            side=SIDES[self.side],
            price=self.price,
            qty=self.origQty,
            filled=self.executedQty,
            asked_at_s=asked_at_s,
            symbol=self.symbol,
        )

    def ended(self) -> Ended:
        """As an order that is over. Raises ``KeyError`` for one that is open."""
        reason = "self-trade prevention" if self.status == PREVENTED else self.expiryReason
        return Ended(self.own_id, str(self.orderId), END_STATES[self.status], self.executedQty, reason)


class WireTrade(msgspec.Struct, frozen=True):
    """One of the account's trades; whose order it was, only ``orderId`` says."""

    id: int
    orderId: int  # noqa: N815
    price: Decimal
    qty: Decimal
    commission: Decimal
    commissionAsset: str  # noqa: N815
    time: int
    isBuyer: bool  # noqa: N815
    isMaker: bool  # noqa: N815

    def __post_init__(self) -> None:
        check_amounts(self.price, self.qty, abs(self.commission))


class _WireBalance(msgspec.Struct, frozen=True):
    asset: str
    free: Decimal
    locked: Decimal

    def __post_init__(self) -> None:
        check_amounts(self.free, self.locked)


class _Account(msgspec.Struct, frozen=True):
    balances: tuple[_WireBalance, ...]
    canTrade: bool = True  # noqa: N815
    canWithdraw: bool = False  # noqa: N815
    uid: int | None = None
    permissions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Account:
    """The account behind a key; ``user_id`` is the venue's own number for it, whichever key is used."""

    user_id: str | None
    can_trade: bool
    can_withdraw: bool
    permissions: tuple[str, ...]
    assets: dict[str, Balance]


def read_order(body: bytes) -> WireOrder:
    """One order. Raises ``UnknownShape``."""
    return _decoded(_ORDER, body, "an order")


def read_orders(body: bytes) -> tuple[WireOrder, ...]:
    """A listing of orders, whole. Raises ``UnknownShape`` where any part of it cannot be read."""
    return _decoded(_ORDERS, body, "a listing of orders")


def read_trades(body: bytes) -> tuple[WireTrade, ...]:
    """The account's trades, oldest first. Raises ``UnknownShape``."""
    return _decoded(_TRADES, body, "a list of trades")


def read_account(body: bytes) -> Account:
    """The account and its balances. Raises ``UnknownShape``."""
    account = _decoded(_ACCOUNT, body, "an account")
    return Account(
        user_id=None if account.uid is None else str(account.uid),
        can_trade=account.canTrade,
        can_withdraw=account.canWithdraw,
        permissions=account.permissions,
        assets={one.asset: Balance(one.free, one.locked) for one in account.balances},
    )


def read_cancelled(body: bytes) -> int:
    """How many reports the reply to a bulk cancel holds. Raises ``UnknownShape``."""
    return len(_decoded(_REPORTS, body, "a list of cancelled orders"))


_ORDER = msgspec.json.Decoder(WireOrder)
_ORDERS = msgspec.json.Decoder(tuple[WireOrder, ...])
_TRADES = msgspec.json.Decoder(tuple[WireTrade, ...])
_ACCOUNT = msgspec.json.Decoder(_Account)
_REPORTS = msgspec.json.Decoder(tuple[msgspec.Raw, ...])
_T = TypeVar("_T")


def _decoded(decoder: msgspec.json.Decoder[_T], body: bytes, what: str) -> _T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, ValueError, ArithmeticError):
        raise UnknownShape(f"{what} of an unknown shape") from None
