"""The contract's world for the Binance venue: a sandbox in a thread of its own, and a bad line in front of it.

The line passes REST and WebSocket API through, and loses, delays or fails what a test wants. It knows the protocol only
as far as the names of methods.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar

import aiohttp
import msgspec
from aiohttp import web
from yarl import URL

from mmctl.clock import SystemClock
from mmctl.core.order import Side, decode_own_id
from mmctl.ports import ForeignOrder, Listing
from mmctl.sandbox.options import STANDARD_ACCOUNTS, MarketKind, SandboxOptions, SymbolSpec
from mmctl.sandbox.server import Sandbox
from mmctl.venues.binance import BinanceTimes, BinanceUrls, BinanceVenue
from mmctl.wire import binance as wire
from mmctl.wire.binance_orders import read_orders
from mmctl.wire.binance_sign import Signer, Value

from .harness import BALANCES, BTCUSDT, MAX_OPEN_ORDERS, SYMBOL

D = Decimal
_T = TypeVar("_T")

TIMES = BinanceTimes(
    recv_window_ms=3000,
    settle_s=0.5,
    request_timeout_s=0.7,
    read_timeout_s=10.0,
    reconnect_first_s=0.05,
    reconnect_most_s=0.2,
)
LATE_S = 2.2
"""When a late placement arrives: after its time-out, and while its time stamp still holds."""

HELD_EVENT_S = 0.8
"""How long the user data stream lags while replies are lost, so that it answers no request in time."""

MAKER = STANDARD_ACCOUNTS[1]
"""The other account, whose orders are the reference market."""

CHANGES = {"order.place", "order.cancel"}


class BadLine:
    """Passes everything through to ``rest_url`` and ``ws_url``, as well as it is told to."""

    def __init__(self, rest_url: str, ws_url: str) -> None:
        self._rest_url, self._ws_url = rest_url, ws_url
        self.loses = self.fails_reads = False
        self._turns = itertools.cycle(("lose", "do", "late", "lose"))
        self._late: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        self.url = ""

    async def start(self) -> None:
        self.session = aiohttp.ClientSession()
        app = web.Application()
        app.router.add_get("/ws-api/v3", self._socket)
        app.router.add_route("*", "/{path:.*}", self._rest)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        self._over.set()
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)
        await self.session.close()
        await self._runner.cleanup()

    async def _rest(self, request: web.Request) -> web.StreamResponse:
        signed = "X-MBX-APIKEY" in request.headers
        if self.fails_reads and signed and request.method == "GET":
            return web.Response(status=503, text="busy")
        body = await request.read()
        changes = request.path == "/api/v3/order" and request.method != "GET"
        turn = next(self._turns) if changes and self.loses else ""
        if turn == "late" and request.method == "DELETE":
            turn = "lose"
        if turn == "late":
            await asyncio.sleep(LATE_S)
        if turn != "lose":
            url = URL(f"{self._rest_url}{request.raw_path}", encoded=True)
            headers = {
                name: request.headers[name] for name in ("X-MBX-APIKEY", "Content-Type") if name in request.headers
            }
            async with self.session.request(request.method, url, data=body, headers=headers) as response:
                content = await response.read()
                told = {name: value for name, value in response.headers.items() if name.lower().startswith("x-mbx")}
                if not turn:
                    return web.Response(status=response.status, body=content, headers=told)
        await self._over.wait()
        return web.Response(status=500)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        near = web.WebSocketResponse()
        await near.prepare(request)
        async with self.session.ws_connect(self._ws_url) as far:
            down = asyncio.create_task(self._down(far, near))
            async for message in near:
                asked = msgspec.json.decode(message.data)
                turn = next(self._turns) if self.loses and asked["method"] in CHANGES else ""
                if turn == "lose" or (turn == "late" and asked["method"] == "order.cancel"):
                    continue
                if turn:
                    # Under another id: the reply then means nothing to who asked.
                    text = msgspec.json.encode(asked | {"id": f"lost-{asked['id']}"}).decode()
                    self._after(LATE_S if turn == "late" else 0.0, far, text)
                else:
                    await far.send_str(message.data)
            down.cancel()
            await asyncio.gather(down, return_exceptions=True)
        return near

    def _after(self, wait_s: float, socket: Any, text: str) -> None:
        async def send() -> None:
            await asyncio.sleep(wait_s)
            with suppress(ConnectionError):
                await socket.send_str(text)

        task = asyncio.create_task(send())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _down(self, far: aiohttp.ClientWebSocketResponse, near: web.WebSocketResponse) -> None:
        async for message in far:
            if self.loses and '"event"' in message.data:
                self._after(HELD_EVENT_S, near, message.data)
            else:
                await near.send_str(message.data)


class BinanceHarness:
    """The Binance venue against the sandbox; ``use_ws`` is the way that orders go."""

    patience_s = 0.5
    held_up_s = 1.0

    def __init__(self, *, use_ws: bool) -> None:
        self._use_ws = use_ws
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.venue: BinanceVenue | None = None

    def _there(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do that in the sandbox's thread; nothing there waits for this one."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def start(self) -> BinanceVenue:
        self._there(self._start_there())
        line = self._line.url
        urls = BinanceUrls(f"http://{line}", f"ws://{line}/ws-api/v3", f"ws://{line}")
        self.venue = BinanceVenue(
            SystemClock(),
            account="main",
            key=self._sandbox.key,
            secret=self._sandbox.secret,
            urls=urls,
            mode="sandbox",
            use_ws=self._use_ws,
            times=TIMES,
        )
        await self.venue.open()
        await self.venue.instrument(SYMBOL)
        return self.venue

    async def _start_there(self) -> None:
        spec = SymbolSpec(
            BTCUSDT.base,
            BTCUSDT.quote,
            BTCUSDT.tick_size,
            BTCUSDT.lot_size,
            D(100),
            min_notional=BTCUSDT.min_notional,
            min_price=D(0),
            max_price=D(100000),
            max_qty=D(1000),
        )
        options = SandboxOptions(
            seed=7,
            symbols=(spec,),
            accounts=(replace(STANDARD_ACCOUNTS[0], balances=BALANCES), MAKER),
            market=MarketKind.EMPTY,
            limits="off",
            open_order_cap=MAX_OPEN_ORDERS,
        )
        self._sandbox = await Sandbox(options).__aenter__()
        self._line = BadLine(self._sandbox.rest_url, self._sandbox.ws_url)
        await self._line.start()
        await self._reference()

    async def _control(self, path: str, asked: dict[str, str]) -> None:
        async with self._line.session.post(f"{self._sandbox.control_url}{path}", json=asked) as response:
            assert response.status == 200, await response.text()

    async def _as_maker(self, call: wire.Call, params: dict[str, Value]) -> None:
        """The other account, which is the reference market, asks for something; it may have nothing to cancel."""
        signer = Signer(MAKER.key, MAKER.secret)
        query = signer.query(wire.stamped({"symbol": SYMBOL, **params}, SystemClock().wall_ms()))
        url = URL(f"{self._sandbox.rest_url}{call.path}?{query}", encoded=True)
        async with self._line.session.request(call.verb, url, headers={"X-MBX-APIKEY": signer.key}) as response:
            assert call is wire.CANCEL_ALL or response.status == 200, await response.text()

    async def _reference(self) -> None:
        for side, price in (("BUY", "100.00"), ("SELL", "100.10")):
            order: dict[str, Value] = {"type": "LIMIT", "timeInForce": "GTC", "side": side, "price": price}
            await self._as_maker(wire.PLACE, {**order, "quantity": "1"})

    async def trade(self, side: Side, price: Decimal, qty: Decimal) -> None:
        async def take() -> None:
            await self._as_maker(wire.CANCEL_ALL, {})
            taken = {"symbol": SYMBOL, "side": side.opposite.name, "price": f"{price}", "quantity": f"{qty}"}
            await self._control("/market/trade", taken)
            await self._reference()

        self._there(take())

    async def place_foreign(self, side: Side, price: Decimal, qty: Decimal) -> str:
        asked = {
            "account": "main",
            "symbol": SYMBOL,
            "side": side.name,
            "price": f"{price}",
            "quantity": f"{qty}",
            "newClientOrderId": "web_1",
        }
        self._there(self._control("/orders", asked))
        return "web_1"

    def lose_replies(self, lost: bool) -> None:
        self._line.loses = lost

    def fail_reads(self, fail: bool) -> None:
        self._line.fails_reads = fail

    def truth(self) -> Listing:
        async def look() -> Any:
            async with self._line.session.get(f"{self._sandbox.control_url}/truth") as response:
                return await response.json()

        shown = self._there(look())["accounts"]["main"]["open_orders"]
        orders = [one.seen(0.0) for one in read_orders(msgspec.json.encode(shown))]
        foreign = tuple(
            ForeignOrder(SYMBOL, one.order_id, one.client_id, one.side, one.price, one.qty - one.filled)
            for one in orders
            if decode_own_id(one.client_id) is None
        )
        own = tuple(one for one in orders if decode_own_id(one.client_id) is not None)
        return Listing(SYMBOL, 0.0, own, foreign)

    async def stop(self) -> None:
        """Close the venue, the line and the sandbox, and end the thread."""
        if self.venue is not None:
            await self.venue.close()
            self._there(self._stop_there())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()

    async def _stop_there(self) -> None:
        await self._line.stop()
        await self._sandbox.close()
