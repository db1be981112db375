"""Binance's user data stream (user-data-stream.md) as our events.

In a report of a cancel the order's own client id is in ``C``, since ``c`` is then that of the cancel; otherwise it is
in ``c``. ``EXPIRED`` and ``TRADE_PREVENTION`` are ends when the order's state says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import msgspec

from mmctl.core.events import Accepted, Balance, BalancesChanged, Ended, Fill, OrderEvent, Rejected
from mmctl.wire.binance import UnknownShape, original_id
from mmctl.wire.binance_errors import REJECT_REASONS
from mmctl.wire.binance_orders import END_STATES, PREVENTED, SIDES, check_amounts


@dataclass(frozen=True, slots=True)
class OrderTold:
    """What one report says of one order: its events in order, a trade before the end that it made.

    ``untraded_prevention`` marks an order that ended without a trade since it would have met an own one.
    """

    symbol: str
    client_id: str
    order_id: str
    events: tuple[OrderEvent, ...]
    untraded_prevention: bool = False


@dataclass(frozen=True, slots=True)
class BalancesTold:
    """Assets that changed."""

    event: BalancesChanged


@dataclass(frozen=True, slots=True)
class StreamOver:
    """The stream, or its server, says that it ends: subscribe anew."""

    reason: str


@dataclass(frozen=True, slots=True)
class FundsMoved:
    """A deposit, withdrawal, transfer or outside lock of ``asset``; the balances are told by another event."""

    asset: str


UserEvent = OrderTold | BalancesTold | StreamOver | FundsMoved | None
"""``None`` is an event that says nothing to us, such as the status of an order list."""


class _Kind(msgspec.Struct, frozen=True):
    e: str


class _Report(msgspec.Struct, frozen=True):
    s: str
    c: str
    S: str
    x: str
    X: str
    i: int
    z: Decimal
    C: str = ""
    l: Decimal = Decimal(0)  # noqa: E741 - Binance's own name
    L: Decimal = Decimal(0)
    n: Decimal | None = None
    N: str | None = None
    T: int = 0
    t: int = -1
    m: bool = False
    r: str = "NONE"
    eR: str = ""  # noqa: N815

    def __post_init__(self) -> None:
        check_amounts(self.z, self.l, self.L, abs(self.n or Decimal(0)))


class _Asset(msgspec.Struct, frozen=True):
    a: str
    f: Decimal
    l: Decimal  # noqa: E741 - Binance's own name

    def __post_init__(self) -> None:
        check_amounts(self.f, self.l)


class _Position(msgspec.Struct, frozen=True):
    B: tuple[_Asset, ...]


class _Moved(msgspec.Struct, frozen=True):
    a: str


_KINDS = msgspec.json.Decoder(_Kind)
_REPORTS = msgspec.json.Decoder(_Report)
_POSITIONS = msgspec.json.Decoder(_Position)
_MOVES = msgspec.json.Decoder(_Moved)
_OVER = {"eventStreamTerminated": "the user data stream was ended", "serverShutdown": "the venue's server shuts down"}


def read_user_event(body: bytes) -> UserEvent:
    """One event of the user data stream. Raises ``UnknownShape``."""
    try:
        kind = _KINDS.decode(body).e
        if kind == "executionReport":
            return _report(_REPORTS.decode(body))
        if kind == "outboundAccountPosition":
            assets = _POSITIONS.decode(body).B
            return BalancesTold(BalancesChanged({one.a: Balance(one.f, one.l) for one in assets}))
        if kind in ("balanceUpdate", "externalLockUpdate"):
            return FundsMoved(_MOVES.decode(body).a)
    except (msgspec.DecodeError, ValueError, ArithmeticError, KeyError):
        raise UnknownShape("a user event of an unknown shape") from None
    return StreamOver(_OVER[kind]) if kind in _OVER else None


def _report(report: _Report) -> OrderTold:
    client_id = report.C if report.x == "CANCELED" and report.C else original_id(report.c)
    order_id = str(report.i)
    events: list[OrderEvent] = []
    if report.x == "NEW":
        events.append(Accepted(client_id, order_id))
    elif report.x == "TRADE":
        events.append(_fill(report, client_id))
    elif report.x == "REJECTED":
        code = REJECT_REASONS.get(report.r, "rejected")
        events.append(Rejected(client_id, code, report.r.replace("_", " ").lower()))
    if report.X in END_STATES and report.x != "REJECTED":
        reason = "self-trade prevention" if report.X == PREVENTED else report.eR.replace("_", " ").lower()
        events.append(Ended(client_id, order_id, END_STATES[report.X], report.z, reason))
    prevented = report.X == PREVENTED and not report.z
    return OrderTold(report.s, client_id, order_id, tuple(events), prevented)


def _fill(report: _Report, client_id: str) -> Fill:
    if report.t < 0:
        raise ValueError("a trade without its number")
    return Fill(
        client_id=client_id,
        order_id=str(report.i),
        trade_id=str(report.t),
        side=SIDES[report.S],
        price=report.L,
        qty=report.l,
        fee=report.n or Decimal(0),
        fee_asset=report.N or "",
        maker=report.m,
        at_ms=report.T,
    )
