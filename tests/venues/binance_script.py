"""A server on 127.0.0.1 that answers as a test's script says: replies, silence, cuts and nonsense.

Each method of the WebSocket API, and its REST twin under the same name, has a function from parameters to what is done.
Without one, it answers as a quiet exchange does that takes every order.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from mmctl.clock import SystemClock
from mmctl.venues.binance import BinanceTimes, BinanceUrls, BinanceVenue
from mmctl.wire import binance as wire
from mmctl.wire.binance_sign import Signer

KEY, SECRET = "K" * 64, "S" * 64
SIGNER = Signer(KEY, SECRET)
FAST = BinanceTimes(
    recv_window_ms=200,
    settle_s=0.6,
    request_timeout_s=0.4,
    read_timeout_s=0.4,
    connect_timeout_s=1.0,
    reconnect_first_s=0.05,
    reconnect_most_s=0.2,
    quiet_s=5.0,
    probe_s=0.2,
    stream_lag_s=5.0,
)
"""Times of a test: as those of the venue, but soon over."""

Params = dict[str, Any]
Open = Callable[..., Any]
"""The fixture that opens a venue of the script and gives a session of it."""

CALLS = {
    (call.verb, call.path): call.method
    for call in (
        *(wire.PLACE, wire.TEST, wire.CANCEL, wire.STATUS, wire.OPEN_ORDERS, wire.CANCEL_ALL),
        *(wire.ACCOUNT, wire.TRADES, wire.EXCHANGE_INFO, wire.TIME, wire.PING),
    )
}


@dataclass(frozen=True)
class Answer:
    """A reply: ``result``, or an error's ``code`` and ``msg``; ``raw`` instead of all that."""

    result: Any = None
    status: int = 200
    code: int | None = None
    msg: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    data: dict[str, int] | None = None
    raw: bytes | None = None
    limits: list[dict[str, Any]] = field(default_factory=list)

    def body(self) -> bytes:
        if self.raw is not None:
            return self.raw
        return msgspec.json.encode(self.result if self.code is None else {"code": self.code, "msg": self.msg})

    def frame(self, request_id: str) -> bytes:
        if self.raw is not None:
            return self.raw
        error = {"code": self.code, "msg": self.msg} | ({"data": self.data} if self.data else {})
        content = {"result": self.result} if self.code is None else {"error": error}
        return msgspec.json.encode({"id": request_id, "status": self.status, **content, "rateLimits": self.limits})


SILENCE, CUT = Answer(status=-1), Answer(status=-2)
"""No reply at all, and the end of the connection."""


def refused(code: int, msg: str, status: int = 400, **more: Any) -> Answer:
    return Answer(status=status, code=code, msg=msg, **more)


@dataclass(frozen=True)
class Asked:
    """One request as the server got it."""

    way: str
    method: str
    params: Params


class Script:
    """The server's mind. ``on`` holds what a test wants said; ``asked`` what came."""

    def __init__(self) -> None:
        self.on: dict[str, Callable[[Params], Answer]] = {}
        self.asked: list[Asked] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.streams: list[web.WebSocketResponse] = []
        self.clock_ahead_ms = 0
        self.refuse_sockets = 0
        """The status that new connections get instead, if any; 429 and 418 with a ``Retry-After`` of a second."""
        self.refused_sockets = 0
        self.reports = True
        """Whether the user data stream tells of every order that is taken."""
        self._numbers = itertools.count(101)

    def count(self, method: str, way: str | None = None) -> int:
        return sum(one.method == method and way in (None, one.way) for one in self.asked)

    def now_ms(self) -> int:
        return SystemClock().wall_ms() + self.clock_ahead_ms

    def answer(self, way: str, method: str, params: Params) -> Answer:
        self.asked.append(Asked(way, method, params))
        return self.on.get(method, self._quiet)(params | {"_method": method})

    def _quiet(self, params: Params) -> Answer:
        method = params["_method"]
        if method in ("order.place", "order.cancel"):
            return Answer(order_shape(params, next(self._numbers)))
        return Answer(
            {
                "time": {"serverTime": self.now_ms()},
                "account.status": {"canTrade": True, "uid": 7, "balances": []},
                "openOrders.status": [],
                "myTrades": [],
                "openOrders.cancelAll": [],
                "userDataStream.subscribe.signature": {"subscriptionId": 0},
                "order.status": {},
                "order.test": {},
                "ping": {},
            }.get(method)
        )

    async def tell(self, event: Params) -> None:
        """Say ``event`` on every user data stream."""
        for socket in self.streams:
            await socket.send_bytes(msgspec.json.encode({"subscriptionId": 0, "event": event}))

    async def cut(self, sockets: list[web.WebSocketResponse] | None = None) -> None:
        """Cut connections without a word: all, or those."""
        for socket in list(self.sockets if sockets is None else sockets):
            _abort(socket._req)

    async def rest(self, request: web.Request) -> web.StreamResponse:
        form = dict(await request.post()) if request.method == "POST" else dict(request.query)
        method = CALLS[request.method, request.path]
        answer = self.answer("rest", method, form)
        if answer is SILENCE:
            await asyncio.sleep(30)
        if answer in (SILENCE, CUT):
            _abort(request)
            return web.Response()
        if method == "order.place" and self.reports and answer.code is None and answer.status == 200:
            await self.tell(new_report(answer.result))
        return web.Response(status=answer.status, body=answer.body(), headers=answer.headers)

    async def socket(self, request: web.Request) -> web.StreamResponse:
        if self.refuse_sockets:
            self.refused_sockets += 1
            headers = {"Retry-After": "1"} if self.refuse_sockets in (418, 429) else {}
            return web.Response(status=self.refuse_sockets, headers=headers)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT and not await self._serve(socket, request, message.data):
                    break
        finally:
            self.sockets.remove(socket)
            if socket in self.streams:
                self.streams.remove(socket)
        return socket

    async def _serve(self, socket: web.WebSocketResponse, request: web.Request, text: str) -> bool:
        asked = msgspec.json.decode(text)
        answer = self.answer("ws", asked["method"], asked["params"])
        if answer is CUT:
            _abort(request)
            return False
        if answer is SILENCE:
            return True
        await socket.send_bytes(answer.frame(asked["id"]))
        taken = answer.code is None and answer.status == 200
        if asked["method"] == wire.SUBSCRIBE.method and taken:
            self.streams.append(socket)
        if asked["method"] == "order.place" and self.reports and taken and answer.raw is None:
            await self.tell(new_report(answer.result))
        return True


def _abort(request: web.BaseRequest | None) -> None:
    if request is not None and request.transport is not None:
        request.transport.abort()


def order_shape(params: Params, order_id: int = 5, **changed: Any) -> Params:
    """An order as a placement's or a cancel's reply shows it."""
    shape = {
        "symbol": params.get("symbol", "BTCUSDT"),
        "orderId": order_id,
        "clientOrderId": params.get("newClientOrderId", "cancel"),
        "price": params.get("price", "1"),
        "origQty": params.get("quantity", "1"),
        "executedQty": "0",
        "status": "NEW",
        "side": params.get("side", "BUY"),
    }
    if "origClientOrderId" in params:
        shape |= {"origClientOrderId": params["origClientOrderId"], "status": "CANCELED"}
    return shape | changed


def new_report(order: Params, **changed: Any) -> Params:
    """The report of an order that has just been taken."""
    return {
        "e": "executionReport",
        "s": order["symbol"],
        "c": order["clientOrderId"],
        "S": order["side"],
        "x": "NEW",
        "X": "NEW",
        "i": order["orderId"],
        "z": "0",
        "C": "",
    } | changed


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[BinanceUrls]:
    """The script's server, as long as it is wanted."""
    app = web.Application()
    app.router.add_get("/ws-api/v3", script.socket)
    app.router.add_route("*", "/api/v3/{call:.*}", script.rest)
    server = TestServer(app)
    await server.start_server(shutdown_timeout=0.05)
    place = f"127.0.0.1:{server.port}"
    try:
        yield BinanceUrls(f"http://{place}", f"ws://{place}/ws-api/v3", f"ws://{place}")
    finally:
        await server.close()


def new_venue(urls: BinanceUrls, **options: Any) -> BinanceVenue:
    """A venue of that server, not open yet."""
    given: dict[str, Any] = {"account": "main", "key": KEY, "secret": SECRET, "mode": "sandbox", "times": FAST}
    return BinanceVenue(SystemClock(), urls=urls, **given | options)


BOTH_WAYS = pytest.mark.parametrize("use_ws", [True, False], ids=["ws", "rest"])


def times(**changed: float) -> BinanceTimes:
    """A test's times, some of them changed."""
    return replace(FAST, **changed)  # type: ignore[arg-type]
