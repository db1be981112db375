"""What accounts are told: ``executionReport`` and ``outboundAccountPosition``, where somebody listens."""

from __future__ import annotations

from collections.abc import Callable

from mmctl.sandbox import reports
from mmctl.sandbox.accounts import Account, Trade, account_of_order
from mmctl.sandbox.market import Market
from mmctl.sandbox.matching import Order
from mmctl.sandbox.numbers import text
from mmctl.sandbox.refusals import Refusal

Json = dict[str, object]


class Teller:
    """Makes the user events and hands them to ``on_user_event``."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.on_user_event: Callable[[Account, Json], None] | None = None
        self._now_ms = now_ms
        self._last_execution_id = 0

    def report(self, order: Order, market: Market, kind: str, **more: object) -> None:
        """An ``executionReport`` of ``kind``; ``more`` are fields that differ from the usual."""
        account = account_of_order(order)
        if not account.watchers or self.on_user_event is None:
            return
        self._last_execution_id += 1
        event = reports.execution(order, market.rules, kind, self._last_execution_id, self._now_ms())
        event.update(more)
        self.on_user_event(account, event)

    def rejected(self, order: Order, market: Market, refusal: Refusal) -> None:
        """The matching engine's own refusals are told on the user stream too."""
        reason = "INSUFFICIENT_BALANCES" if "balance" in refusal.message else "WOULD_MATCH_IMMEDIATELY"
        self.report(order, market, "REJECTED", r=reason)

    def traded(self, order: Order, market: Market, trade: Trade) -> None:
        rules = market.rules
        self.report(
            order, market, "TRADE",
            l=rules.qty_text(trade.qty), L=rules.price_text(trade.price), n=text(trade.commission), N=trade.asset,
            t=trade.trade_id, m=trade.maker, M=True, Y=rules.quote_text(trade.price * trade.qty),
        )  # fmt: skip

    def prevented(self, order: Order, market: Market, other: Order, lots: int, price: int) -> None:
        """Of the lots that ``order`` lost to self-trade prevention against ``other``."""
        rules = market.rules
        self.report(
            order, market, "TRADE_PREVENTION",
            v=order.match_id, A=rules.qty_text(order.prevented), B=rules.qty_text(lots),
            u=order.account.trade_group, U=other.order_id, Cs=other.symbol, pl=rules.qty_text(0),
            pL=rules.price_text(price), pY=rules.quote_text(0),
        )  # fmt: skip

    def positions(self, order: Order, market: Market) -> None:
        """The balances that the order may have changed."""
        account = account_of_order(order)
        if account.watchers and self.on_user_event is not None:
            self.on_user_event(account, reports.position(account, (market.base, market.quote), self._now_ms()))
