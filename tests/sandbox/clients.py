"""A client of the tests' own: it signs by itself and shares no code with either side."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import aiohttp

from mmctl.sandbox.options import MarketKind, SandboxOptions
from mmctl.sandbox.server import Sandbox

SYMBOL = "BTCUSDT"
EMPTY = SandboxOptions(market=MarketKind.EMPTY)
STILL = SandboxOptions(market=MarketKind.STILL)
PATIENCE_S = 30.0
"""How long is waited for what has to come: a machine that is busy may take its time."""


def signature(secret: str, payload: str) -> str:
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


class Reply:
    """A REST reply that has been read."""

    def __init__(self, status: int, headers: Any, body: Any) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def error(self) -> tuple[int, int, str]:
        return self.status, self.body["code"], self.body["msg"]


class Client:
    """One account's requests, over REST and the WebSocket API."""

    def __init__(self, sandbox: Sandbox, session: aiohttp.ClientSession, account: int = 0) -> None:
        self.sandbox, self.session = sandbox, session
        self.spec = sandbox.options.accounts[account]
        self.offset_ms = 0

    async def rest(self, verb: str, path: str, *, signed: bool = True, key: str | None = None, **params: Any) -> Reply:
        headers = {}
        if signed:
            headers["X-MBX-APIKEY"] = self.spec.key if key is None else key
            params.setdefault("timestamp", self.now_ms())
        query = urlencode(params)
        if signed:
            query += f"&signature={signature(self.spec.secret, query)}"
        url = f"{self.sandbox.rest_url}{path}?{query}"
        async with self.session.request(verb, url, headers=headers) as reply:
            return Reply(reply.status, reply.headers, json.loads(await reply.read()))

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.offset_ms

    async def control(self, path: str, **given: Any) -> Any:
        url = self.sandbox.control_url + path
        request = self.session.post(url, json=given) if given else self.session.get(url)
        async with request as reply:
            return json.loads(await reply.read())

    async def place(self, side: str, price: str, qty: str = "0.01", **more: Any) -> Reply:
        params = {"symbol": SYMBOL, "side": side, "type": "LIMIT", "price": price, "quantity": qty} | more
        if params["type"] == "LIMIT":
            params.setdefault("timeInForce", "GTC")
        return await self.rest("POST", "/api/v3/order", **params)

    async def open_ids(self) -> list[str]:
        return [one["clientOrderId"] for one in (await self.rest("GET", "/api/v3/openOrders", symbol=SYMBOL)).body]


class Line:
    """One connection to the WebSocket API: replies by id, events in their order."""

    def __init__(self, client: Client, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.client, self.ws = client, ws
        self.events: list[dict[str, Any]] = []
        self._replies: dict[Any, dict[str, Any]] = {}
        self._ids = itertools.count(1)
        self.closed = False
        self._arrived = asyncio.Event()
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self.ws:
            content = json.loads(message.data)
            if "event" in content:
                self.events.append(content["event"])
            else:
                self._replies[content["id"]] = content
            self._arrived.set()
        self.closed = True
        self._arrived.set()

    def signed(self, params: dict[str, Any]) -> dict[str, Any]:
        params = {"apiKey": self.client.spec.key, "timestamp": self.client.now_ms(), **params}
        payload = "&".join(f"{name}={params[name]}" for name in sorted(params))
        return {**params, "signature": signature(self.client.spec.secret, payload)}

    async def send(self, method: str, *, signed: bool = True, **params: Any) -> int:
        number = next(self._ids)
        frame = {"id": number, "method": method, "params": self.signed(params) if signed else params}
        await self.ws.send_str(json.dumps(frame))
        return number

    async def ask(self, method: str, *, signed: bool = True, **params: Any) -> dict[str, Any]:
        """The whole reply. Raises ``TimeoutError`` where none comes, ``ConnectionError`` where the socket is cut."""
        return await self.reply(await self.send(method, signed=signed, **params))

    async def reply(self, number: int, within_s: float = PATIENCE_S) -> dict[str, Any]:
        async with asyncio.timeout(within_s):
            while number not in self._replies:
                if self.closed:
                    raise ConnectionError
                self._arrived.clear()
                await self._arrived.wait()
        return self._replies.pop(number)

    async def place(self, side: str, price: str, qty: str = "0.01", **more: Any) -> dict[str, Any]:
        params = {"symbol": SYMBOL, "side": side, "type": "LIMIT", "price": price, "quantity": qty} | more
        if params["type"] == "LIMIT":
            params.setdefault("timeInForce", "GTC")
        return await self.ask("order.place", **params)

    async def subscribe(self) -> int:
        return (await self.ask("userDataStream.subscribe.signature"))["result"]["subscriptionId"]  # type: ignore[no-any-return]

    async def told(self, count: int, kind: str = "executionReport") -> list[dict[str, Any]]:
        """The first ``count`` events of a kind."""
        async with asyncio.timeout(PATIENCE_S):
            while len(found := [event for event in self.events if event["e"] == kind]) < count:
                self._arrived.clear()
                await self._arrived.wait()
        return found


@asynccontextmanager
async def sandbox_client(options: SandboxOptions = EMPTY, account: int = 0) -> AsyncIterator[Client]:
    async with Sandbox(options) as sandbox, aiohttp.ClientSession() as session:
        yield Client(sandbox, session, account)


@asynccontextmanager
async def connected(client: Client, query: str = "") -> AsyncIterator[Line]:
    async with client.session.ws_connect(client.sandbox.ws_url + query) as ws:
        line = Line(client, ws)
        try:
            yield line
        finally:
            line.reader.cancel()
            await asyncio.gather(line.reader, return_exceptions=True)


@asynccontextmanager
async def line_of(options: SandboxOptions = EMPTY) -> AsyncIterator[Line]:
    async with sandbox_client(options) as client, connected(client) as line:
        yield line
