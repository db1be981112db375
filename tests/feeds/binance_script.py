"""A server on this machine that plays Binance's market data as the test says: streams and the depth request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from mmctl.clock import SystemClock
from mmctl.core.book import BookKey
from mmctl.feeds.binance import BinanceFeed, Timing
from mmctl.feeds.binance_followed import Truth
from mmctl.feeds.binance_socket import Upkeep
from mmctl.wire.binance_urls import BinanceUrls

BTC = BookKey("binance_spot", "BTCUSDT")
ETH = BookKey("binance_spot", "ethusdt")
BTC_TOP = "btcusdt@depth20@100ms"
BTC_DIFF = "btcusdt@depth@100ms"
PATIENCE_S = 30.0

QUICK = Timing(
    first_poll_s=0.1,
    poll_after_s=0.3,
    poll_every_s=0.1,
    poll_wait_s=0.3,
    request_s=0.5,
    unreachable_after_s=0.8,
    truth=Truth(lag_allowed_s=0.3, quiet_s=0.3),
    upkeep=Upkeep(
        connect_s=1.0,
        ping_every_s=0.05,
        dead_after_s=0.4,
        silent_after_s=30.0,
        close_s=0.2,
        retry_least_s=0.02,
        retry_most_s=0.1,
        settled_s=5.0,
    ),
)

Side = Iterable[tuple[str, str]]


def depth(last_id: int, bids: Side = (("99.5", "1"),), asks: Side = (("100.5", "2"),)) -> dict[str, Any]:
    """A partial depth event, or a snapshot."""
    return {"lastUpdateId": last_id, "bids": list(bids), "asks": list(asks)}


def diff(first: int, last: int, bids: Side = (), asks: Side = (), event_ms: int | None = None) -> dict[str, Any]:
    stamp = SystemClock().wall_ms() if event_ms is None else event_ms
    return {
        "e": "depthUpdate",
        "E": stamp,
        "s": "BTCUSDT",
        "U": first,
        "u": last,
        "b": list(bids),
        "a": list(asks),
    }


class ScriptedBinance:
    """What the server does next is in its fields; what it was asked, too."""

    def __init__(self) -> None:
        self.depths: dict[str, dict[str, Any]] = {}
        self.takes_sockets = True
        self.answers_pings = True
        self.rest_reply: Callable[[], web.Response] | None = None
        self.rest_delay_s = 0.0
        self.sockets: list[web.WebSocketResponse] = []
        self.opened = 0
        self.streams: list[str] = []
        self.asked: list[tuple[str, int]] = []
        self.pongs: list[bytes] = []
        self.greeting: list[tuple[str, dict[str, Any]]] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/stream", self._stream)
        app.router.add_get("/api/v3/depth", self._depth)
        return app

    async def say(self, stream: str, data: object) -> None:
        await self.say_raw(json.dumps({"stream": stream, "data": data}))

    async def say_raw(self, text: str) -> None:
        for socket in self.sockets:
            await socket.send_str(text)

    def cut(self) -> None:
        """Sockets end without a farewell."""
        for socket in self.sockets:
            transport = socket._req.transport if socket._req is not None else None
            if transport is not None:
                transport.abort()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if not self.takes_sockets:
            return web.Response(status=503)
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        self.streams = request.query["streams"].split("/")
        self.opened += 1
        for stream, data in self.greeting:
            await socket.send_str(json.dumps({"stream": stream, "data": data}))
        self.sockets.append(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.PING and self.answers_pings:
                    await socket.pong(message.data)
                elif message.type is WSMsgType.PONG:
                    self.pongs.append(message.data)
        finally:
            self.sockets.remove(socket)
        return socket

    async def _depth(self, request: web.Request) -> web.Response:
        symbol = request.query["symbol"]
        self.asked.append((symbol, int(request.query["limit"])))
        await asyncio.sleep(self.rest_delay_s)
        if self.rest_reply is not None:
            return self.rest_reply()
        if symbol not in self.depths:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        return web.json_response(self.depths[symbol])


@asynccontextmanager
async def playing(
    *keys: BookKey, timing: Timing = QUICK, **options: Any
) -> AsyncIterator[tuple[ScriptedBinance, BinanceFeed]]:
    """A server, and a feed that follows ``keys`` there."""
    script = ScriptedBinance()
    server = TestServer(script.app())
    await server.start_server()
    feed = BinanceFeed(SystemClock(), urls_of(server), keys or (BTC,), timing=timing, **options)
    try:
        yield script, feed
    finally:
        before = asyncio.all_tasks()
        await feed.close()
        assert not [task for task in asyncio.all_tasks() & before if "binance" in repr(task.get_coro())]
        await server.close()


def urls_of(server: TestServer) -> BinanceUrls:
    place = f"127.0.0.1:{server.port}"
    return BinanceUrls(f"http://{place}", f"ws://{place}/ws-api/v3", f"ws://{place}")


async def until(true: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Come back when ``true`` is; fail after a while."""
    async with asyncio.timeout(patience_s):
        while not true():  # noqa: ASYNC110 - what is waited for is the feed's own state, which tells nobody
            await asyncio.sleep(0.005)
