"""The shapes of orders, trades, balances and user events, in Binance's field names."""

from __future__ import annotations

from collections.abc import Iterable

from mmctl.sandbox.accounts import Account, Trade
from mmctl.sandbox.matching import Order
from mmctl.sandbox.numbers import text
from mmctl.sandbox.rules import Rules

Json = dict[str, object]


def side(order: Order) -> str:
    return "BUY" if order.buy else "SELL"


def acknowledged(order: Order) -> Json:
    """The ``ACK`` of a placement."""
    return {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderListId": -1,
        "clientOrderId": order.client_id,
        "transactTime": order.updated_ms,
    }


def _amounts(order: Order, rules: Rules) -> Json:
    return {
        "price": rules.price_text(order.price),
        "origQty": rules.qty_text(order.qty),
        "executedQty": rules.qty_text(order.executed),
        "origQuoteOrderQty": text(order.quote_qty),
        "cummulativeQuoteQty": rules.quote_text(order.quote),
        "status": order.status.value,
        "timeInForce": order.tif,
        "type": order.type,
        "side": side(order),
    }


def _conditional(shape: Json, order: Order, rules: Rules) -> Json:
    """Adds the fields that are there for some orders only."""
    if order.match_id >= 0:
        shape["preventedMatchId"] = order.match_id
        shape["preventedQuantity"] = rules.qty_text(order.prevented)
    if order.expiry:
        shape["expiryReason"] = order.expiry
    return shape


def placed(order: Order, rules: Rules, *, full: bool) -> Json:
    """The ``RESULT`` of a placement, or its ``FULL`` form with the trades that it made at once."""
    shape = acknowledged(order) | _amounts(order, rules)
    shape["workingTime"] = order.working_ms
    if full:
        shape["fills"] = [
            {
                "price": rules.price_text(trade.price),
                "qty": rules.qty_text(trade.qty),
                "commission": text(trade.commission),
                "commissionAsset": trade.asset,
                "tradeId": trade.trade_id,
            }
            for trade in order.fills
            if isinstance(trade, Trade)
        ]
    shape["selfTradePreventionMode"] = order.stp
    return _conditional(shape, order, rules)


def cancelled(order: Order, rules: Rules) -> Json:
    """The reply to a cancel: the order's own client id is ``origClientOrderId``, the cancel's ``clientOrderId``."""
    shape = {
        "symbol": order.symbol,
        "origClientOrderId": order.client_id,
        "orderId": order.order_id,
        "orderListId": -1,
        "clientOrderId": order.cancel_id,
        "transactTime": order.updated_ms,
    } | _amounts(order, rules)
    shape["selfTradePreventionMode"] = order.stp
    return _conditional(shape, order, rules)


def queried(order: Order, rules: Rules) -> Json:
    """An order as a query or a listing shows it."""
    shape: Json = {
        "symbol": order.symbol,
        "orderId": order.order_id,
        "orderListId": -1,
        "clientOrderId": order.client_id,
    } | _amounts(order, rules)
    shape["stopPrice"] = shape["icebergQty"] = "0.00000000"
    shape["time"] = order.created_ms
    shape["updateTime"] = order.updated_ms
    shape["isWorking"] = True
    shape["workingTime"] = order.working_ms
    shape["selfTradePreventionMode"] = order.stp
    return _conditional(shape, order, rules)


def as_of(order: Order, rules: Rules, at_ms: int) -> Json:
    """An order as a listing that lags saw it at ``at_ms``, when it was open."""
    executed = quote = 0
    for trade in order.fills:
        if isinstance(trade, Trade) and trade.at_ms <= at_ms:
            executed += trade.qty
            quote += trade.qty * trade.price
    shape = queried(order, rules)
    shape["executedQty"], shape["cummulativeQuoteQty"] = rules.qty_text(executed), rules.quote_text(quote)
    shape["status"] = "PARTIALLY_FILLED" if executed else "NEW"
    shape["updateTime"] = min(order.updated_ms, at_ms)
    return shape


def own_trade(trade: Trade, rules: Rules) -> Json:
    return {
        "symbol": trade.order.symbol,
        "id": trade.trade_id,
        "orderId": trade.order.order_id,
        "orderListId": -1,
        "price": rules.price_text(trade.price),
        "qty": rules.qty_text(trade.qty),
        "quoteQty": rules.quote_text(trade.price * trade.qty),
        "commission": text(trade.commission),
        "commissionAsset": trade.asset,
        "time": trade.at_ms,
        "isBuyer": trade.order.buy,
        "isMaker": trade.maker,
        "isBestMatch": True,
    }


def account_status(account: Account, maker_ppm: int, taker_ppm: int, *, omit_zero: bool) -> Json:
    rates = {"maker": text(maker_ppm * 100), "taker": text(taker_ppm * 100), "buyer": text(0), "seller": text(0)}
    return {
        "makerCommission": maker_ppm // 100,
        "takerCommission": taker_ppm // 100,
        "buyerCommission": 0,
        "sellerCommission": 0,
        "commissionRates": rates,
        "canTrade": True,
        "canWithdraw": True,
        "canDeposit": True,
        "brokered": False,
        "requireSelfTradePrevention": False,
        "preventSor": False,
        "updateTime": account.updated_ms,
        "accountType": "SPOT",
        "balances": [
            {"asset": asset, "free": text(free), "locked": text(account.locked[asset])}
            for asset, free in sorted(account.free.items())
            if not omit_zero or free or account.locked[asset]
        ],
        "permissions": ["SPOT"],
        "uid": account.uid,
        "tradeGroupId": account.trade_group,
    }


def execution(order: Order, rules: Rules, kind: str, execution_id: int, now_ms: int) -> Json:
    """An ``executionReport``; in a cancel the order's own client id is in ``C``, and ``c`` is the cancel's."""
    is_cancel = kind == "CANCELED"
    shape: Json = {
        "e": "executionReport",
        "E": now_ms,
        "s": order.symbol,
        "c": order.cancel_id if is_cancel else order.client_id,
        "S": side(order),
        "o": order.type,
        "f": order.tif,
        "q": rules.qty_text(order.qty),
        "p": rules.price_text(order.price),
        "P": "0.00000000",
        "F": "0.00000000",
        "g": -1,
        "C": order.client_id if is_cancel else "",
        "x": kind,
        "X": order.status.value,
        "r": "NONE",
        "i": order.order_id,
        "l": "0.00000000",
        "z": rules.qty_text(order.executed),
        "L": "0.00000000",
        "n": "0",
        "N": None,
        "T": order.updated_ms,
        "t": -1,
        "I": execution_id,
        "w": order.is_open and not order.market,
        "m": False,
        "M": False,
        "O": order.created_ms,
        "Z": rules.quote_text(order.quote),
        "Y": "0.00000000",
        "Q": text(order.quote_qty),
        "W": order.working_ms,
        "V": order.stp,
    }
    if order.expiry:
        shape["eR"] = order.expiry
    return shape


def position(account: Account, assets: Iterable[str], now_ms: int) -> Json:
    """An ``outboundAccountPosition`` of ``assets``."""
    return {
        "e": "outboundAccountPosition",
        "E": now_ms,
        "u": account.updated_ms,
        "B": [
            {"a": asset, "f": text(account.free.get(asset, 0)), "l": text(account.locked.get(asset, 0))}
            for asset in assets
        ],
    }
