"""The exchange itself: its markets and accounts, and everything that can happen to an order in them.

It knows neither sockets nor signatures. Whoever shows it to the world (``api``, ``streams``) calls it and
is called back with user events and market trades.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from mmctl.sandbox.accounts import Account, account_of_order
from mmctl.sandbox.market import Market, MarketTrade, OrderAsked
from mmctl.sandbox.matching import Order, Status, same_owner
from mmctl.sandbox.options import AccountSpec, SandboxOptions
from mmctl.sandbox.purse import Purse
from mmctl.sandbox.refusals import (
    Refusal,
    duplicate_order,
    filter_failure,
    invalid_symbol,
    no_such_order,
    unknown_order,
    would_take,
)
from mmctl.sandbox.telling import Teller

Json = dict[str, object]
KEPT_PREVENTED = 10_000

_OTHERS = AccountSpec("others", "", "", 0, {})


def _system_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Counters:
    """What happened so far."""

    placed: int = 0
    cancelled: int = 0
    rejected: int = 0
    trades: int = 0
    self_trades: int = 0
    prevented: deque[Json] = field(default_factory=lambda: deque(maxlen=KEPT_PREVENTED))


class Exchange:
    """All markets and accounts. ``clock_offset_ms`` is by how much its clock is ahead of ``wall_ms``, ours."""

    def __init__(self, options: SandboxOptions, wall_ms: Callable[[], int] = _system_ms) -> None:
        self._wall_ms = wall_ms
        self.accounts = {spec.name: Account(spec) for spec in options.accounts}
        self.by_key = {account.key: account for account in self.accounts.values()}
        self.others = Account(_OTHERS, others=True)
        self.purse = Purse(int(options.maker_fee_bps * 100), int(options.taker_fee_bps * 100))
        self.teller = Teller(self.now_ms)
        self.counters = Counters()
        self.clock_offset_ms = 0
        self.markets = {
            spec.symbol: Market(spec, options.open_order_cap, self._on_fill, self._on_prevented)
            for spec in options.symbols
        }
        self.on_market_trade: Callable[[Market, MarketTrade], None] | None = None
        self.on_change: Callable[[Market], None] | None = None
        self.on_first_fill: Callable[[Account, int], None] | None = None
        self._last_order_id = 0

    def now_ms(self) -> int:
        return self._wall_ms() + self.clock_offset_ms

    def market(self, symbol: object) -> Market:
        """The market of that symbol. Raises ``Refusal``."""
        market = self.markets.get(symbol) if isinstance(symbol, str) else None
        if market is None:
            raise invalid_symbol()
        return market

    def place(self, account: Account, market: Market, asked: OrderAsked) -> Order:
        """Take a placement, match it, and let the rest of it rest. Raises ``Refusal``."""
        self.check(account, market, asked)
        order = self._order(account, market, asked)
        try:
            self.purse.fund(market, order)
            if order.type == "LIMIT_MAKER" and market.book.would_take(buy=order.buy, price=order.price):
                self.purse.release(market, order)
                raise would_take()
        except Refusal as refusal:
            self.counters.rejected += 1
            order.status = Status.REJECTED
            self.teller.rejected(order, market, refusal)
            raise
        self.counters.placed += 1
        account.opened(order)
        self.teller.report(order, market, "NEW")
        self._match(market, order)
        return order

    def check(self, account: Account, market: Market, asked: OrderAsked) -> None:
        """What can be said of a placement without touching the market. Raises ``Refusal``."""
        market.rules.check_status()
        if (market.symbol, asked.client_id) in account.open_by_client:
            raise duplicate_order()
        if account.open_count[market.symbol] >= market.rules.open_order_cap:
            raise filter_failure("MAX_NUM_ORDERS")

    def cancel(self, account: Account, market: Market, order: Order, cancel_id: str) -> Order:
        """Cancel an open order. Raises ``Refusal``."""
        if not order.is_open or order.account is not account:
            raise unknown_order()
        market.book.remove(order)
        order.status, order.cancel_id, order.updated_ms = Status.CANCELED, cancel_id, self.now_ms()
        self.counters.cancelled += 1
        self._ended(market, order)
        self.teller.report(order, market, "CANCELED")
        self.teller.positions(order, market)
        self._changed(market)
        return order

    def find(self, account: Account, market: Market, order_id: int | None, client_id: str | None) -> Order:
        """The order of that id; given both, the client id is checked against it. Raises ``Refusal``."""
        if order_id is not None:
            order = account.by_id(order_id)
            if order is not None and client_id is not None and client_id != order.client_id:
                raise no_such_order()
        else:
            order = account.by_client(market.symbol, client_id or "")
        if order is None or order.symbol != market.symbol:
            raise no_such_order()
        return order

    # The other traders' orders: no filters, no events, and money without end

    def place_other(self, market: Market, *, buy: bool, price: int, lots: int, rest: bool = True) -> Order:
        """An order at ``price`` or better, and what is left rests or goes."""
        asked = OrderAsked("", buy, "LIMIT", "GTC" if rest else "IOC", price, lots)
        order = self._order(self.others, market, asked)
        self.purse.fund(market, order)
        self._match(market, order)
        return order

    def cancel_other(self, market: Market, order: Order) -> None:
        """Take a resting order away."""
        market.book.remove(order)
        order.status = Status.CANCELED
        self._ended(market, order)
        self._changed(market)

    def shrink_other(self, market: Market, order: Order, lots: int) -> None:
        """Make a resting order smaller by ``lots``, fewer than it has left."""
        market.book.shrink(order, lots)
        self.purse.free_part(market, order, lots)
        self._changed(market)

    # Matching

    def _match(self, market: Market, order: Order) -> None:
        rest = order.tif == "GTC" and not order.market
        whole = order.tif != "FOK" or self._can_fill(market, order)
        if whole:
            market.book.place(order, rest=rest)
        if not whole:
            self._expire(market, order, "UNFILLED_FOK_ORDER_EXPIRED")
        elif not order.is_open:
            self._ended(market, order)
        elif not rest:
            self._expire(market, order, "INSUFFICIENT_LIQUIDITY" if order.market else "UNFILLED_IOC_QUANTITY_EXPIRED")
        self.teller.positions(order, market)
        self._changed(market)

    @staticmethod
    def _can_fill(market: Market, order: Order) -> bool:
        skipped = None if order.stp == "NONE" else order.account
        got, _ = market.book.reachable(buy=order.buy, price=order.price, lots=order.qty, skipped=skipped)
        return got == order.qty

    def _on_fill(self, taker: Order, maker: Order, price: int, lots: int) -> None:
        market, now = self.markets[taker.symbol], self.now_ms()
        market.last_trade_id += 1
        self.counters.trades += 1
        if same_owner(taker.account, maker.account) and taker.account is not self.others:
            self.counters.self_trades += 1
        self._filled(market, taker, price, lots, now, maker=False)
        self._filled(market, maker, price, lots, now, maker=True)
        shown = MarketTrade(market.last_trade_id, price, lots, maker.buy, now)
        market.trades.append(shown)
        if self.on_market_trade is not None:
            self.on_market_trade(market, shown)
        if not maker.is_open:
            self._ended(market, maker)
        self.teller.positions(maker, market)

    def _filled(self, market: Market, order: Order, price: int, lots: int, now_ms: int, *, maker: bool) -> None:
        order.updated_ms = now_ms
        trade = self.purse.settle(market, order, price, lots, maker=maker)
        account = account_of_order(order)
        if account.others:
            return
        account.trades.append(trade)
        if not order.fills and self.on_first_fill is not None:
            self.on_first_fill(account, now_ms)
        order.fills.append(trade)
        self.teller.traded(order, market, trade)

    def _on_prevented(self, taker: Order, maker: Order, price: int, takes: int, makes: int) -> None:
        market, now = self.markets[taker.symbol], self.now_ms()
        self.counters.prevented.append(market.prevented_match(taker, maker, price, takes, makes, now))
        for order, other, lots in ((taker, maker, takes), (maker, taker, makes)):
            if not lots:
                continue
            order.match_id, order.updated_ms = market.last_match_id, now
            if order.is_open and not order.market:
                self.purse.free_part(market, order, lots)
            self.teller.prevented(order, market, other, lots, price)
        if makes and not maker.is_open:
            self._ended(market, maker)
            self.teller.positions(maker, market)

    def _expire(self, market: Market, order: Order, reason: str) -> None:
        order.status, order.expiry, order.updated_ms = Status.EXPIRED, reason, self.now_ms()
        self._ended(market, order)
        self.teller.report(order, market, "EXPIRED")

    def _ended(self, market: Market, order: Order) -> None:
        self.purse.release(market, order)
        account = account_of_order(order)
        if not account.others:
            account.closed(order)

    def _changed(self, market: Market) -> None:
        if self.on_change is not None:
            self.on_change(market)

    def _order(self, account: Account, market: Market, asked: OrderAsked) -> Order:
        self._last_order_id += 1
        order = Order(
            account,
            self._last_order_id,
            asked.client_id,
            buy=asked.buy,
            price=asked.price,
            qty=asked.qty,
            stp=asked.stp,
        )
        order.symbol, order.type, order.tif, order.quote_qty = market.symbol, asked.type, asked.tif, asked.quote_qty
        order.market = asked.type == "MARKET"
        order.created_ms = order.updated_ms = order.working_ms = self.now_ms()
        return order
