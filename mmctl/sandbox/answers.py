"""What each method answers: public reads, orders, and an account's own things. Each may raise ``Refusal``."""

from __future__ import annotations

from collections.abc import Mapping

from mmctl.sandbox import asking, reports
from mmctl.sandbox.accounts import Account
from mmctl.sandbox.api import Api
from mmctl.sandbox.market import Market
from mmctl.sandbox.numbers import text
from mmctl.sandbox.refusals import Refusal, missing, unknown_order

Params = Mapping[str, object]


def _needed(account: Account | None) -> Account:
    assert account is not None
    return account


def server_time(api: Api, account: Account | None, params: Params) -> object:
    return {"serverTime": api.exchange.now_ms()}


def exchange_info(api: Api, account: Account | None, params: Params) -> object:
    wanted = asking.symbols(params)
    markets = [api.exchange.market(name) for name in wanted] if wanted else list(api.exchange.markets.values())
    return {
        "timezone": "UTC",
        "serverTime": api.exchange.now_ms(),
        "rateLimits": api.limits.info(),
        "exchangeFilters": [],
        "symbols": [market.rules.info() for market in markets],
    }


def depth(api: Api, account: Account | None, params: Params) -> object:
    return _market(api, params).depth(min(5000, asking.whole(params, "limit", 100)))


def book_ticker(api: Api, account: Account | None, params: Params) -> object:
    if "symbol" in params:
        return _market(api, params).ticker()
    wanted = asking.symbols(params) or list(api.exchange.markets)
    return [api.exchange.market(name).ticker() for name in wanted]


def place(api: Api, account: Account | None, params: Params) -> object:
    account, exchange = _needed(account), api.exchange
    market = _market(api, params)
    asked = asking.order(params, market, api.generated_id)
    account.count_placement(asked.client_id)
    respond = asking.response_type(params, asked.type)
    exchange.check(account, market, asked)
    api.limits.use_order(account, exchange.now_ms())
    order = exchange.place(account, market, asked)
    if respond == "ACK":
        return reports.acknowledged(order)
    return reports.placed(order, market.rules, full=respond == "FULL")


def test_order(api: Api, account: Account | None, params: Params) -> object:
    market = _market(api, params)
    asked = asking.order(params, market, api.generated_id)
    api.exchange.check(_needed(account), market, asked)
    if asking.flag(params, "computeCommissionRates"):
        rates = {"maker": "0.00000000", "taker": "0.00000000"}
        maker, taker = api.exchange.purse.maker_ppm * 100, api.exchange.purse.taker_ppm * 100
        return {
            "standardCommissionForOrder": {"maker": text(maker), "taker": text(taker)},
            "specialCommissionForOrder": rates,
            "taxCommissionForOrder": rates,
            "discount": {
                "enabledForAccount": False,
                "enabledForSymbol": False,
                "discountAsset": "BNB",
                "discount": "0.00000000",
            },
        }
    return {}


def query(api: Api, account: Account | None, params: Params) -> object:
    market = _market(api, params)
    order_id, client_id = asking.which_order(params)
    return reports.queried(api.exchange.find(_needed(account), market, order_id, client_id), market.rules)


def cancel(api: Api, account: Account | None, params: Params) -> object:
    account, market = _needed(account), _market(api, params)
    order_id, client_id = asking.which_order(params)
    try:
        order = api.exchange.find(account, market, order_id, client_id)
    except Refusal:
        raise unknown_order() from None
    asking.check_restrictions(params, order)
    cancel_id = asking.client_id(params, "newClientOrderId") or api.generated_id()
    return reports.cancelled(api.exchange.cancel(account, market, order, cancel_id), market.rules)


def open_orders(api: Api, account: Account | None, params: Params) -> object:
    account, exchange = _needed(account), api.exchange
    symbol = _market(api, params).symbol if params.get("symbol") else None
    lag = api.faults.now.listing_lag_ms
    if lag:
        at = exchange.now_ms() - int(lag)
        known = [*account.orders.values(), *account.ended.values()]
        seen = [one for one in known if one.created_ms <= at and (one.is_open or one.updated_ms > at)]
        seen.sort(key=lambda one: one.order_id)
        return [
            reports.as_of(one, exchange.markets[one.symbol].rules, at)
            for one in seen
            if symbol in (None, one.symbol)
        ]  # fmt: skip
    return [
        reports.queried(one, exchange.markets[one.symbol].rules)
        for one in account.orders.values()
        if symbol in (None, one.symbol)
    ]


def cancel_all(api: Api, account: Account | None, params: Params) -> object:
    account, market = _needed(account), _market(api, params)
    orders = [order for order in account.orders.values() if order.symbol == market.symbol]
    if not orders:
        raise unknown_order()
    return [
        reports.cancelled(api.exchange.cancel(account, market, order, api.generated_id()), market.rules)
        for order in orders
    ]


def account_status(api: Api, account: Account | None, params: Params) -> object:
    exchange = api.exchange
    omit = asking.flag(params, "omitZeroBalances")
    return reports.account_status(_needed(account), exchange.purse.maker_ppm, exchange.purse.taker_ppm, omit_zero=omit)


def my_trades(api: Api, account: Account | None, params: Params) -> object:
    market, wanted = _market(api, params), asking.trades(params)
    found = [
        trade
        for trade in _needed(account).trades
        if trade.order.symbol == market.symbol
        and (wanted.order_id is None or trade.order.order_id == wanted.order_id)
        and trade.trade_id >= wanted.from_id
        and wanted.start_ms <= trade.at_ms <= wanted.end_ms
    ]
    found = found[: wanted.limit] if wanted.oldest_first else found[-wanted.limit :]
    return [reports.own_trade(trade, market.rules) for trade in found]


def order_limits(api: Api, account: Account | None, params: Params) -> object:
    return api.limits.orders(_needed(account), api.exchange.now_ms())


def prevented(api: Api, account: Account | None, params: Params) -> object:
    market, own = _market(api, params), _needed(account)
    match_id, order_id = (asking.whole(params, name, -1) for name in ("preventedMatchId", "orderId"))
    if match_id < 0 and order_id < 0:
        raise missing("orderId")
    return [
        one
        for one in api.exchange.counters.prevented
        if one["symbol"] == market.symbol
        and own.by_id(asking.as_int(one["takerOrderId"])) is not None
        and (one["preventedMatchId"] == match_id or order_id in (one["takerOrderId"], one["makerOrderId"]))
    ]


def api_restrictions(api: Api, account: Account | None, params: Params) -> object:
    own = _needed(account)
    return {
        "ipRestrict": False,
        "createTime": 1_700_000_000_000,
        "enableReading": True,
        "enableSpotAndMarginTrading": own.may_trade,
        "enableWithdrawals": own.may_withdraw,
        "enableInternalTransfer": False,
        "enableMargin": False,
        "enableFutures": False,
        "permitsUniversalTransfer": False,
        "enableVanillaOptions": False,
    }


def nothing(api: Api, account: Account | None, params: Params) -> object:
    return {}


def _market(api: Api, params: Params) -> Market:
    symbol = params.get("symbol")
    if not symbol:
        raise missing("symbol")
    return api.exchange.market(symbol)
