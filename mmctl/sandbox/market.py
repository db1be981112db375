"""One symbol's market: its rules, its book, its last trades, and what a placement in it asks for."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from mmctl.sandbox.matching import Book, FillHook, Order, PreventHook
from mmctl.sandbox.options import SymbolSpec
from mmctl.sandbox.rules import Rules

Json = dict[str, object]
KEPT_MARKET_TRADES = 1000


@dataclass(slots=True)
class MarketTrade:
    """A trade as everybody sees it."""

    trade_id: int
    price: int
    qty: int
    buyer_is_maker: bool
    at_ms: int


@dataclass(slots=True)
class OrderAsked:
    """A placement that passed the filters: price in ticks, quantity in lots, 0 where there is none."""

    client_id: str
    buy: bool
    type: str
    tif: str
    price: int
    qty: int
    quote_qty: int = 0
    stp: str = "NONE"


class Market:
    """One symbol: its rules, its book, its last trades."""

    def __init__(self, spec: SymbolSpec, open_order_cap: int, on_fill: FillHook, on_prevented: PreventHook) -> None:
        self.symbol, self.base, self.quote = spec.symbol, spec.base, spec.quote
        self.rules = Rules.of(spec, open_order_cap)
        self.book = Book(on_fill, on_prevented)
        self.trades: deque[MarketTrade] = deque(maxlen=KEPT_MARKET_TRADES)
        self.last_trade_id = 0
        self.last_match_id = 0
        self.average = int(spec.start_price / spec.tick_size)
        """What PERCENT_PRICE_BY_SIDE measures from, in ticks: the market's own middle, kept by who moves it."""

    def depth(self, levels: int) -> Json:
        return {"lastUpdateId": self.book.update_id, **self.sides(levels)}

    def sides(self, levels: int) -> dict[str, list[tuple[str, str]]]:
        price, qty = self.rules.price_text, self.rules.qty_text
        return {
            "bids": [(price(level.price), qty(level.total)) for level in self.book.bids.top(levels)],
            "asks": [(price(level.price), qty(level.total)) for level in self.book.asks.top(levels)],
        }

    def ticker(self) -> Json:
        bid, ask = self.book.bids.best(), self.book.asks.best()
        price, qty = self.rules.price_text, self.rules.qty_text
        return {
            "symbol": self.symbol,
            "bidPrice": price(bid.price if bid else 0),
            "bidQty": qty(bid.total if bid else 0),
            "askPrice": price(ask.price if ask else 0),
            "askQty": qty(ask.total if ask else 0),
        }

    def prevented_match(self, taker: Order, maker: Order, price: int, takes: int, makes: int, now_ms: int) -> Json:
        """The record of a self-trade that was prevented, with a number of its own."""
        self.last_match_id += 1
        match: Json = {
            "symbol": self.symbol,
            "preventedMatchId": self.last_match_id,
            "takerOrderId": taker.order_id,
            "makerSymbol": self.symbol,
            "makerOrderId": maker.order_id,
            "tradeGroupId": taker.account.trade_group,
            "selfTradePreventionMode": taker.stp,
            "price": self.rules.price_text(price),
        }
        for name, lots in (("takerPreventedQuantity", takes), ("makerPreventedQuantity", makes)):
            if lots:
                match[name] = self.rules.qty_text(lots)
        return match | {"transactTime": now_ms}
