"""Reading the parameters of a request: what is missing, malformed or not allowed is refused in Binance's words."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from mmctl.sandbox.market import Market, OrderAsked
from mmctl.sandbox.matching import Order, Status
from mmctl.sandbox.refusals import Refusal, illegal, missing, not_required
from mmctl.sandbox.rules import DEFAULT_STP, ORDER_TYPES, STP_MODES, TIMES_IN_FORCE, number

Params = Mapping[str, object]
LEGAL_ID = r"^[a-zA-Z0-9-_]{1,36}$"
_ID = re.compile(r"[a-zA-Z0-9_-]{1,36}")
_FOREVER = 2**62


def required(params: Params, name: str) -> object:
    value = params.get(name)
    if value is None or value == "":
        raise missing(name)
    return value


def whole(params: Params, name: str, default: int) -> int:
    """A whole number of at least 0."""
    value = params.get(name)
    return default if value is None or value == "" else as_int(value, name)


def as_int(value: object, name: str = "") -> int:
    text = value if isinstance(value, str) else str(value)
    if not (text.isascii() and text.isdigit()):
        raise illegal(name, r"^[0-9]{1,20}$")
    return int(text)


def flag(params: Params, name: str) -> bool:
    return params.get(name) in (True, "true", "TRUE")


def symbols(params: Params) -> list[str]:
    """What ``symbol`` or ``symbols`` name; empty for all."""
    if params.get("symbol"):
        return [str(params["symbol"])]
    given = params.get("symbols")
    if isinstance(given, str):
        try:
            given = msgspec.json.decode(given)
        except msgspec.DecodeError:
            raise illegal("symbols", r'^\["[A-Z0-9-_.]{1,20}"(,"[A-Z0-9-_.]{1,20}"){0,}\]$') from None
    return [str(name) for name in given] if isinstance(given, list) else []


def by_limit(params: Params, weights: tuple[tuple[int, int], ...]) -> int:
    """The weight of a request by its ``limit``; one that cannot be read weighs the least."""
    given = str(params.get("limit") or weights[0][0])
    limit = int(given) if given.isascii() and given.isdigit() else 0
    return next((weight for upto, weight in weights if limit <= upto), weights[-1][1])


def client_id(params: Params, name: str) -> str | None:
    """A client order id, or ``None`` where none was sent."""
    given = params.get(name)
    if given is None:
        return None
    if not isinstance(given, str) or not _ID.fullmatch(given):
        raise illegal(name, LEGAL_ID)
    return given


def which_order(params: Params) -> tuple[int | None, str | None]:
    """``orderId`` and ``origClientOrderId``; one of them must be there."""
    given, own = params.get("orderId"), params.get("origClientOrderId")
    if given in (None, "") and own in (None, ""):
        raise Refusal(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
    return None if given in (None, "") else as_int(given, "orderId"), None if own in (None, "") else str(own)


def check_restrictions(params: Params, order: Order) -> None:
    wanted = params.get("cancelRestrictions")
    if wanted is None:
        return
    status = {"ONLY_NEW": Status.NEW, "ONLY_PARTIALLY_FILLED": Status.PARTIALLY_FILLED}.get(str(wanted))
    if status is None:
        raise Refusal(-1145, "Invalid cancelRestrictions")
    if order.is_open and order.status is not status:
        raise Refusal(-2011, "Order was not canceled due to cancel restrictions.")


def response_type(params: Params, order_type: str) -> str:
    given = params.get("newOrderRespType")
    if given is None:
        return "ACK" if order_type == "LIMIT_MAKER" else "FULL"
    if given not in ("ACK", "RESULT", "FULL"):
        raise Refusal(-1130, "Data sent for parameter 'newOrderRespType' is not valid.")
    return str(given)


def order(params: Params, market: Market, generated_id: Callable[[], str]) -> OrderAsked:
    """A placement that passes the filters. Raises ``Refusal``."""
    buy, kind, stp = _side(params), _type(params), _stp(params)
    own_id = client_id(params, "newClientOrderId") or generated_id()
    if kind == "MARKET":
        return _market_order(params, market, OrderAsked(own_id, buy, kind, "GTC", 0, 0, stp=stp))
    tif = "GTC"
    if kind == "LIMIT":
        tif = str(required(params, "timeInForce"))
        if tif not in TIMES_IN_FORCE:
            raise Refusal(-1115, "Invalid timeInForce.")
    elif "timeInForce" in params:
        raise not_required("timeInForce")
    if "quoteOrderQty" in params:
        raise not_required("quoteOrderQty")
    rules = market.rules
    given_qty, given_price = required(params, "quantity"), required(params, "price")
    price = rules.price(given_price)
    rules.check_percent_price(price, market.average)
    qty = rules.qty(given_qty)
    rules.check_notional(price * qty)
    return OrderAsked(own_id, buy, kind, tif, price, qty, stp=stp)


def _market_order(params: Params, market: Market, asked: OrderAsked) -> OrderAsked:
    for name in ("price", "timeInForce"):
        if name in params:
            raise not_required(name)
    rules = market.rules
    if params.get("quoteOrderQty") is not None:
        if params.get("quantity") is not None:
            raise not_required("quantity")
        asked.quote_qty = number("quoteOrderQty", params["quoteOrderQty"])
        if asked.quote_qty < rules.min_notional:
            raise Refusal(-1013, "Filter failure: NOTIONAL")
        asked.qty = _lots_for(market, asked)
        return asked
    asked.qty = rules.qty(required(params, "quantity"), market=True)
    if market.average and market.average * asked.qty * rules.amount < rules.min_notional:
        raise Refusal(-1013, "Filter failure: NOTIONAL")
    return asked


def _lots_for(market: Market, asked: OrderAsked) -> int:
    """As many lots as ``quote_qty`` buys, or brings when sold, at the prices that are there."""
    left, lots, unit = asked.quote_qty, 0, market.rules.amount
    half = market.book.half(buy=not asked.buy)
    for level in half.top(len(half.keys)):
        part = min(level.total, left // (level.price * unit))
        lots += part
        left -= part * level.price * unit
        if part < level.total:
            break
    if not lots:
        raise Refusal(-2010, "Order book liquidity is less than `LOT_SIZE` filter minimum quantity.")
    return lots


def _side(params: Params) -> bool:
    side = required(params, "side")
    if side not in ("BUY", "SELL"):
        raise Refusal(-1117, "Invalid side.")
    return side == "BUY"


def _type(params: Params) -> str:
    kind = required(params, "type")
    if kind not in ORDER_TYPES:
        raise Refusal(-1116, "Invalid orderType.")
    return str(kind)


def _stp(params: Params) -> str:
    given = params.get("selfTradePreventionMode")
    if given is None:
        return DEFAULT_STP
    if given not in STP_MODES:
        raise Refusal(-1013, "This symbol does not allow the specified self-trade prevention mode.")
    return str(given)


@dataclass(frozen=True, slots=True)
class TradesAsked:
    """Which trades are wanted."""

    order_id: int | None
    from_id: int
    start_ms: int
    end_ms: int
    limit: int
    oldest_first: bool


def trades(params: Params) -> TradesAsked:
    """The parameters of ``myTrades``. Raises ``Refusal``."""
    order_id = whole(params, "orderId", -1)
    limit = min(1000, max(1, whole(params, "limit", 500)))
    oldest_first = any(params.get(name) not in (None, "") for name in ("fromId", "startTime"))
    if "fromId" in params and ("startTime" in params or "endTime" in params):
        raise Refusal(-1128, "Combination of optional parameters invalid.")
    start, end = whole(params, "startTime", 0), whole(params, "endTime", _FOREVER)
    if start and end != _FOREVER and end - start > 86_400_000:
        raise Refusal(-1127, "More than 24 hours between startTime and endTime.")
    wanted_order = None if order_id < 0 else order_id
    return TradesAsked(wanted_order, whole(params, "fromId", 0), start, end, limit, oldest_first)
