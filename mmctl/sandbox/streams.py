"""Market streams: partial and differential depth, best bid and ask, trades; single, combined, and by request."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any

import msgspec

from mmctl.sandbox.exchange import Exchange
from mmctl.sandbox.faults import Faults
from mmctl.sandbox.market import Market, MarketTrade
from mmctl.sandbox.sockets import CLOSE_S, Socket, Sockets

if TYPE_CHECKING:
    from aiohttp import web

MAX_STREAMS = 1024
STEPS_A_SECOND = 10

_NAME = re.compile(r"([a-z0-9]+)@(?:depth(5|10|20)?(@100ms)?|(bookTicker|trade))")
_encode = msgspec.json.Encoder().encode
Json = dict[str, Any]


class Listener:
    """One connection: what it listens to, and whether its messages are wrapped."""

    def __init__(self, socket: Socket, names: list[str], *, combined: bool) -> None:
        self.socket = socket
        self.names = dict.fromkeys(names)
        self.combined = combined

    def send(self, name: str, raw: bytes, latency_s: float) -> None:
        if not self.socket.stalled:
            self.socket.push(b'{"stream":"%b","data":%b}' % (name.encode(), raw) if self.combined else raw, latency_s)


class Streams:
    """All stream connections. ``step`` is called ten times a second."""

    def __init__(self, exchange: Exchange, faults: Faults) -> None:
        self.sockets = Sockets()
        self._exchange, self._faults = exchange, faults
        self._listeners: set[Listener] = set()
        self._by_name: dict[str, set[Listener]] = {}
        self._shown: dict[str, tuple[int, ...]] = {}
        self._diffs = {symbol: (Diff(market), Diff(market)) for symbol, market in exchange.markets.items()}
        self._steps = 0
        self._scheduled: set[str] = set()
        exchange.on_market_trade = self._on_trade
        exchange.on_change = self._on_change

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Serve one connection until it ends: ``/ws``, ``/ws/<name>`` or ``/stream?streams=``."""
        from aiohttp import WSMsgType, web

        if self._faults.now.maintenance:
            return web.Response(status=503)
        combined = request.path.startswith("/stream")
        given = request.query.get("streams", "") if combined else request.match_info.get("name", "")
        ws = web.WebSocketResponse(timeout=CLOSE_S, compress=False, autoping=False)
        await ws.prepare(request)
        listener = Listener(Socket(request, ws, self._faults), [], combined=combined)
        self.sockets.add(listener.socket)
        self._listeners.add(listener)
        self._subscribe(listener, [name for name in given.split("/") if name])
        try:
            async for message in ws:
                if message.type is WSMsgType.TEXT:
                    listener.socket.push(self._answer(listener, message.data))
                elif message.type is WSMsgType.PING:
                    await ws.pong(message.data)
                elif message.type is WSMsgType.PONG:
                    listener.socket.last_pong = time.monotonic()
        finally:
            self.sockets.open.discard(listener.socket)
            self._listeners.discard(listener)
            self._unsubscribe(listener, list(listener.names))
            await listener.socket.over()
        return ws

    # Requests on a connection

    def _answer(self, listener: Listener, text: str) -> bytes:
        try:
            asked = msgspec.json.decode(text)
        except msgspec.DecodeError:
            return _encode({"code": 3, "msg": "Invalid JSON: expected value at line 1 column 1"})
        if not isinstance(asked, dict) or not isinstance(asked.get("method"), str):
            return _encode({"code": 2, "msg": "Invalid request: missing field `method` at line 1 column 1"})
        params = asked.get("params")
        names = [name for name in params if isinstance(name, str)] if isinstance(params, list) else []
        result: object = None
        match asked["method"]:
            case "SUBSCRIBE":
                self._subscribe(listener, names)
            case "UNSUBSCRIBE":
                self._unsubscribe(listener, names)
            case "LIST_SUBSCRIPTIONS":
                result = list(listener.names)
            case "SET_PROPERTY":
                listener.combined = params == ["combined", True]
            case "GET_PROPERTY":
                result = listener.combined
            case other:
                message = (
                    f"Invalid request: unknown variant `{other}`, expected one of `SUBSCRIBE`, `UNSUBSCRIBE`, "
                    "`LIST_SUBSCRIPTIONS`, `SET_PROPERTY`, `GET_PROPERTY` at line 1 column 28"
                )
                return _encode({"code": 2, "msg": message, "id": asked.get("id")})
        return _encode({"result": result, "id": asked.get("id")})

    def _subscribe(self, listener: Listener, names: list[str]) -> None:
        """Names that mean nothing are taken and stay silent, as on the live venue."""
        for name in names[: MAX_STREAMS - len(listener.names)]:
            listener.names[name] = None
            self._by_name.setdefault(name, set()).add(listener)

    def _unsubscribe(self, listener: Listener, names: list[str]) -> None:
        for name in names:
            if name in listener.names:
                del listener.names[name]
                self._by_name[name].discard(listener)
                if not self._by_name[name]:
                    del self._by_name[name]

    # What is sent

    def step(self) -> None:
        """A tenth of a second has passed: send depth."""
        self._steps += 1
        second = self._steps % STEPS_A_SECOND == 0
        for listener in self._listeners:
            if self._faults.strikes("stall"):
                listener.socket.stall(self._faults.now.stall_s)
        for market in self._exchange.markets.values():
            changed = market.book.changed
            for diff in self._diffs[market.symbol]:
                diff.changed |= changed
            changed.clear()
        for name in list(self._by_name):
            found = _NAME.fullmatch(name)
            market_ = self._exchange.markets.get(found[1].upper()) if found else None
            if found and market_ is not None and not found[4] and (found[3] or second):
                self._send_depth(name, market_, found[2], fast=bool(found[3]))
        for fast_diff, slow_diff in self._diffs.values():
            fast_diff.forget()
            if second:
                slow_diff.forget()

    def _send_depth(self, name: str, market: Market, levels: str | None, *, fast: bool) -> None:
        if levels:
            self._send(name, _encode(market.depth(int(levels))))
            return
        diff = self._diffs[market.symbol][0 if fast else 1]
        if diff.changed:
            self._send(name, _encode(diff.event(self._exchange.now_ms())))

    def _on_trade(self, market: Market, trade: MarketTrade) -> None:
        name = f"{market.symbol.lower()}@trade"
        if name not in self._by_name:
            return
        event = {
            "e": "trade",
            "E": self._exchange.now_ms(),
            "s": market.symbol,
            "t": trade.trade_id,
            "p": market.rules.price_text(trade.price),
            "q": market.rules.qty_text(trade.qty),
            "T": trade.at_ms,
            "m": trade.buyer_is_maker,
            "M": True,
        }
        self._send(name, _encode(event))

    def _on_change(self, market: Market) -> None:
        """The best prices are looked at once all that happens now has happened."""
        if f"{market.symbol.lower()}@bookTicker" in self._by_name and market.symbol not in self._scheduled:
            self._scheduled.add(market.symbol)
            asyncio.get_running_loop().call_soon(self._send_ticker, market)

    def _send_ticker(self, market: Market) -> None:
        self._scheduled.discard(market.symbol)
        bid, ask = market.book.bids.best(), market.book.asks.best()
        if bid is None or ask is None:
            return
        now = (bid.price, bid.total, ask.price, ask.total)
        if self._shown.get(market.symbol) == now:
            return
        self._shown[market.symbol] = now
        ticker = market.ticker()
        event = {
            "u": market.book.update_id,
            "s": market.symbol,
            "b": ticker["bidPrice"],
            "B": ticker["bidQty"],
            "a": ticker["askPrice"],
            "A": ticker["askQty"],
        }
        self._send(f"{market.symbol.lower()}@bookTicker", _encode(event))

    def _send(self, name: str, raw: bytes) -> None:
        latency = self._faults.latency_s()
        for listener in self._by_name.get(name, ()):
            listener.send(name, raw, latency)

    async def goodbye(self, now_ms: int) -> None:
        """The server is about to shut down: say so and close."""
        event = {"e": "serverShutdown", "E": now_ms}
        wrapped = _encode({"stream": "!serverShutdown", "data": event})
        raw = _encode(event)
        await asyncio.gather(
            *(listener.socket.goodbye(wrapped if listener.combined else raw) for listener in self._listeners)
        )


class Diff:
    """What changed in a market since the last event of one speed."""

    def __init__(self, market: Market) -> None:
        self.changed: set[tuple[bool, int]] = set()
        self._market = market
        self._last = market.book.update_id

    def event(self, now_ms: int) -> Json:
        """A ``depthUpdate`` of everything since the last."""
        book, rules = self._market.book, self._market.rules
        sides: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])
        for buy, price in sorted(self.changed):
            level = book.half(buy=buy).levels.get(price)
            sides[0 if buy else 1].append((rules.price_text(price), rules.qty_text(level.total if level else 0)))
        return {
            "e": "depthUpdate",
            "E": now_ms,
            "s": self._market.symbol,
            "U": self._last + 1,
            "u": book.update_id,
            "b": sides[0],
            "a": sides[1],
        }

    def forget(self) -> None:
        self.changed.clear()
        self._last = self._market.book.update_id
