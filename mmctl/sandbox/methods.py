"""The methods that can be asked for: who may ask, what each weighs, and which parameters it reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mmctl.sandbox import answers, asking
from mmctl.sandbox.accounts import Account
from mmctl.sandbox.api import Api, Method

Params = Mapping[str, object]


def _weighs(weight: int) -> Callable[[Params], int]:
    return lambda params: weight


def _method(
    name: str,
    run: Callable[[Api, Account | None, Params], object],
    weight: int | Callable[[Params], int] = 1,
    security: str = "NONE",
    takes: str = "",
) -> Method:
    weighs = weight if callable(weight) else _weighs(weight)
    return Method(name, security, weighs, run, frozenset(takes.split()), name == "order.place")


_ORDER = (
    "symbol side type timeInForce quantity quoteOrderQty price newClientOrderId newOrderRespType"
    " selfTradePreventionMode strategyId strategyType"
)
_DEPTH_WEIGHTS = ((100, 5), (500, 25), (1000, 50), (5000, 250))

METHODS = {
    method.name: method
    for method in (
        _method("ping", answers.nothing),
        _method("time", answers.server_time),
        _method("exchangeInfo", answers.exchange_info, 20),
        _method("depth", answers.depth, lambda p: asking.by_limit(p, _DEPTH_WEIGHTS)),
        _method("ticker.book", answers.book_ticker, lambda p: 2 if "symbol" in p else 4),
        _method("order.place", answers.place, 1, "TRADE", _ORDER),
        _method(
            "order.test",
            answers.test_order,
            lambda p: 20 if asking.flag(p, "computeCommissionRates") else 1,
            "TRADE",
            _ORDER + " computeCommissionRates",
        ),
        _method("order.status", answers.query, 4, "USER_DATA", "symbol orderId origClientOrderId"),
        _method(
            "order.cancel",
            answers.cancel,
            1,
            "TRADE",
            "symbol orderId origClientOrderId newClientOrderId cancelRestrictions",
        ),
        _method(
            "openOrders.status", answers.open_orders, lambda p: 6 if p.get("symbol") else 80, "USER_DATA", "symbol"
        ),
        _method("openOrders.cancelAll", answers.cancel_all, 1, "TRADE", "symbol"),
        _method("account.status", answers.account_status, 20, "USER_DATA", "omitZeroBalances"),
        _method(
            "myTrades",
            answers.my_trades,
            lambda p: 5 if p.get("orderId") else 20,
            "USER_DATA",
            "symbol orderId startTime endTime fromId limit",
        ),
        _method("account.rateLimits.orders", answers.order_limits, 40, "USER_DATA"),
        _method(
            "myPreventedMatches",
            answers.prevented,
            lambda p: 2 if p.get("preventedMatchId") else 20,
            "USER_DATA",
            "symbol preventedMatchId orderId fromPreventedMatchId limit",
        ),
        _method("apiRestrictions", answers.api_restrictions, 1, "USER_DATA"),
        # What the WebSocket API does with a connection is done there; who may ask is checked here.
        _method("userDataStream.subscribe.signature", answers.nothing, 2, "USER_STREAM"),
        _method("userDataStream.unsubscribe", answers.nothing, 2, takes="subscriptionId"),
        _method("session.subscriptions", answers.nothing, 2),
        _method("session.status", answers.nothing, 2),
    )
}

ROUTES = {
    ("GET", "/api/v3/ping"): "ping",
    ("GET", "/api/v3/time"): "time",
    ("GET", "/api/v3/exchangeInfo"): "exchangeInfo",
    ("GET", "/api/v3/depth"): "depth",
    ("GET", "/api/v3/ticker/bookTicker"): "ticker.book",
    ("POST", "/api/v3/order"): "order.place",
    ("GET", "/api/v3/order"): "order.status",
    ("DELETE", "/api/v3/order"): "order.cancel",
    ("POST", "/api/v3/order/test"): "order.test",
    ("GET", "/api/v3/openOrders"): "openOrders.status",
    ("DELETE", "/api/v3/openOrders"): "openOrders.cancelAll",
    ("GET", "/api/v3/account"): "account.status",
    ("GET", "/api/v3/myTrades"): "myTrades",
    ("GET", "/api/v3/rateLimit/order"): "account.rateLimits.orders",
    ("GET", "/api/v3/myPreventedMatches"): "myPreventedMatches",
    ("GET", "/sapi/v1/account/apiRestrictions"): "apiRestrictions",
}
