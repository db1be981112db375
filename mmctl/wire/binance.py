"""What is asked of Binance spot: each call once, with its REST and its WebSocket API twin, and the reply's envelope.

Methods, paths and weights are from rest-api.md and web-socket-api.md. What a reply holds is read in
``binance_orders`` (orders, account, trades), ``binance_symbols`` (filters), ``binance_user`` (the user data stream),
``binance_errors`` (refusals) and ``binance_limits`` (counters).
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from mmctl.core.instrument import plain
from mmctl.core.order import CancelOrder, NewOrder, Side, TimeInForce, decode_own_id
from mmctl.wire.binance_limits import Told, WireLimit, told_by_array
from mmctl.wire.binance_sign import Params, Value

RECV_WINDOW_MS = 2000
"""How long after its time stamp the venue may still take a request up."""

TRADES_PER_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Call:
    """One thing that can be asked. ``weight`` counts against the address, ``orders`` against the account. ``ends``: it
    ends orders."""

    method: str
    verb: str
    path: str
    weight: int
    signed: bool = True
    orders: int = 0
    ends: bool = False


PLACE = Call("order.place", "POST", "/api/v3/order", 1, orders=1)
TEST = Call("order.test", "POST", "/api/v3/order/test", 1)
CANCEL = Call("order.cancel", "DELETE", "/api/v3/order", 1, ends=True)
STATUS = Call("order.status", "GET", "/api/v3/order", 4)
OPEN_ORDERS = Call("openOrders.status", "GET", "/api/v3/openOrders", 6)
ALL_OPEN_ORDERS = Call("openOrders.status", "GET", "/api/v3/openOrders", 80)
CANCEL_ALL = Call("openOrders.cancelAll", "DELETE", "/api/v3/openOrders", 1, ends=True)
ACCOUNT = Call("account.status", "GET", "/api/v3/account", 20)
TRADES = Call("myTrades", "GET", "/api/v3/myTrades", 20)
EXCHANGE_INFO = Call("exchangeInfo", "GET", "/api/v3/exchangeInfo", 20, signed=False)
DEPTH = Call("depth", "GET", "/api/v3/depth", 5, signed=False)
TIME = Call("time", "GET", "/api/v3/time", 1, signed=False)
PING = Call("ping", "GET", "/api/v3/ping", 1, signed=False)
SUBSCRIBE = Call("userDataStream.subscribe.signature", "", "", 2)
"""The user data stream; there is no REST twin."""

NOTHING_TO_CANCEL = -2011
"""What a bulk cancel is refused with where nothing is open."""

CONNECT_WEIGHT = 2
"""What opening a WebSocket API connection costs."""


def placement(order: NewOrder) -> dict[str, Value]:
    """Parameters of a placement: post-only as ``LIMIT_MAKER``; one that would meet an own order expires.

    ``RESULT`` is the least reply that says whether a taking order rests, is done, or was expired in the match.
    """
    post_only = order.time_in_force is TimeInForce.GTX
    params: dict[str, Value] = {
        "symbol": order.symbol,
        "side": _SIDES[order.side],
        "type": "LIMIT_MAKER" if post_only else "LIMIT",
        "quantity": plain(order.qty),
        "price": plain(order.price),
        "newClientOrderId": order.client_id,
        "newOrderRespType": "RESULT",
        "selfTradePreventionMode": "EXPIRE_TAKER",
    }
    if not post_only:
        params["timeInForce"] = order.time_in_force.value
    return params


def cancellation(cancel: CancelOrder) -> dict[str, Value]:
    """Parameters of a cancel.

    The venue gives a cancelled order the cancel's own id; a mark that leads back to ours keeps it known as own.
    """
    params: dict[str, Value] = {"symbol": cancel.symbol, "origClientOrderId": cancel.client_id}
    if decode_own_id(cancel.client_id) is not None:
        params["newClientOrderId"] = _CANCEL_MARK + cancel.client_id
    return params


def order_asked(symbol: str, client_id: str, order_id: str | None) -> dict[str, Value]:
    """Parameters of a query for one order: by the venue's number where it is known, since that never changes."""
    if order_id is not None:
        return {"symbol": symbol, "orderId": int(order_id)}
    return {"symbol": symbol, "origClientOrderId": client_id}


def trades_asked(symbol: str, after_trade_id: str | None) -> dict[str, Value]:
    """Parameters of a page of own trades after a trade id; without one, the newest page."""
    params: dict[str, Value] = {"symbol": symbol, "limit": TRADES_PER_PAGE}
    if after_trade_id is not None:
        params["fromId"] = int(after_trade_id) + 1
    return params


def original_id(client_id: str) -> str:
    """The order's own id, where ``client_id`` is the mark of a cancel of ours."""
    return client_id.removeprefix(_CANCEL_MARK) if _is_mark(client_id) else client_id


def stamped(params: Params, timestamp_ms: int, recv_window_ms: int = RECV_WINDOW_MS) -> dict[str, Value]:
    """``params`` with the time stamp and for how long they are valid; the next step is to sign them."""
    return {**params, "recvWindow": recv_window_ms, "timestamp": timestamp_ms}


def ws_frame(request_id: str, method: str, params: Params) -> str:
    """One request of the WebSocket API."""
    return msgspec.json.encode({"id": request_id, "method": method, "params": params}).decode()


_SIDES = {Side.BUY: "BUY", Side.SELL: "SELL"}
_CANCEL_MARK = "X"


def _is_mark(client_id: str) -> bool:
    return client_id.startswith(_CANCEL_MARK) and decode_own_id(client_id[len(_CANCEL_MARK) :]) is not None


class WireFault(msgspec.Struct, frozen=True):
    """Why a request failed: Binance's code and text; ``data`` may hold ``retryAfter`` (ms since the epoch)."""

    code: int
    msg: str
    data: msgspec.Raw = msgspec.Raw(b"{}")


class _Frame(msgspec.Struct, frozen=True):
    id: str | int | None = None
    status: int = 0
    result: msgspec.Raw = msgspec.Raw(b"")
    error: WireFault | None = None
    rateLimits: tuple[WireLimit, ...] = ()  # noqa: N815 - Binance's own name
    event: msgspec.Raw = msgspec.Raw(b"")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer by either way. ``fault`` is ``None`` where all went well or where the venue gave no reason.

    ``retry_after_ms`` is when the venue may be asked again, in ms since the epoch by its own clock, and ``at_ms`` what
    that clock showed then, where it was told: the wait is the difference, however far off our idea of its clock is.
    """

    status: int
    result: bytes
    fault: WireFault | None = None
    told: tuple[Told, ...] = ()
    retry_after_ms: int | None = None
    at_ms: int | None = None

    @property
    def ok(self) -> bool:
        return self.status == 200 and self.fault is None


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of the WebSocket API: a reply to ``request_id``, or an event."""

    request_id: str | None
    reply: Reply | None
    event: bytes


class UnknownShape(ValueError):
    """What the venue sent is not JSON, or not of a shape that we know."""


def read_frame(text: str | bytes) -> Frame:
    """A frame of the WebSocket API. Raises ``UnknownShape``."""
    try:
        frame = _FRAMES.decode(text)
        retry = _RETRY_DATA.decode(frame.error.data if frame.error is not None else b"{}")
    except (msgspec.DecodeError, ValueError):
        raise UnknownShape("a frame of an unknown shape") from None
    if bytes(frame.event):
        return Frame(None, None, bytes(frame.event))
    told = told_by_array(frame.rateLimits)
    reply = Reply(frame.status, bytes(frame.result), frame.error, told, retry.retryAfter, retry.serverTime)
    return Frame(None if frame.id is None else str(frame.id), reply, b"")


def read_fault(body: bytes) -> WireFault | None:
    """The error in the body of a REST reply, or ``None`` where it holds none."""
    try:
        return _FAULTS.decode(body)
    except (msgspec.DecodeError, ValueError):
        return None


class _Time(msgspec.Struct, frozen=True):
    serverTime: int  # noqa: N815 - Binance's own name


def read_time_ms(body: bytes) -> int:
    """The venue's time in ms since the epoch. Raises ``UnknownShape``."""
    try:
        return _TIMES.decode(body).serverTime
    except (msgspec.DecodeError, ValueError):
        raise UnknownShape("a time of an unknown shape") from None


class _RetryData(msgspec.Struct, frozen=True):
    retryAfter: int | None = None  # noqa: N815 - Binance's own names
    serverTime: int | None = None  # noqa: N815


_FRAMES = msgspec.json.Decoder(_Frame)
_FAULTS = msgspec.json.Decoder(WireFault)
_TIMES = msgspec.json.Decoder(_Time)
_RETRY_DATA = msgspec.json.Decoder(_RetryData)
