"""Orders a second that the sandbox takes from one client over the WebSocket API, and whether all is right at the end.

    python tests/bench/bench_sandbox.py [--orders 20000]

The sandbox runs in this process, the client in another. Ends with 1 below 3,000 orders a second, or where the
book, the depth stream, the user events or the listing of open orders do not agree with the replies.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import random
import sys
import time
from typing import Any

import aiohttp
import msgspec

from mmctl.sandbox.options import MarketKind, SandboxOptions
from mmctl.sandbox.server import Sandbox

LIMIT = 3000
IN_FLIGHT = 100
SYMBOL = "BTCUSDT"
encode = msgspec.json.Encoder().encode
decode = msgspec.json.decode


class Client:
    """Places and takes as fast as replies come; remembers what the replies said."""

    def __init__(self, given: dict[str, str], orders: int) -> None:
        self.given, self.orders = given, orders
        self.secret = given["secret"].encode()
        self.open: dict[str, str] = {}
        self.filled = 0
        self.refused: list[Any] = []
        self.latencies: list[float] = []

    def request(self, number: int, method: str, **params: Any) -> bytes:
        params["apiKey"], params["timestamp"] = self.given["key"], time.time_ns() // 1_000_000
        payload = "&".join([f"{name}={params[name]}" for name in sorted(params)])
        params["signature"] = hmac.digest(self.secret, payload.encode(), "sha256").hex()
        return encode({"id": number, "method": method, "params": params})

    def requests(self) -> Any:
        """Mostly orders that rest on 400 prices, some that take; each has its id."""
        dice, middle = random.Random(1), int(float(self.given["middle"]))
        for number in range(self.orders):
            buy, takes = dice.random() < 0.5, dice.random() < 0.05
            away = dice.randrange(100, 300) if not takes else -5
            price = f"{middle - away if buy else middle + away}.00"
            yield number, self.request(
                number, "order.place", symbol=SYMBOL, side="BUY" if buy else "SELL", type="LIMIT", price=price,
                timeInForce="IOC" if takes else "GTC", quantity="0.00100", newClientOrderId=f"b{number}",
                newOrderRespType="RESULT",
            )  # fmt: skip

    async def run(self) -> dict[str, Any]:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(self.given["ws_url"], max_msg_size=0) as ws,
        ):
            start = time.perf_counter()
            await self._place(ws)
            took = time.perf_counter() - start
        percentiles = sorted(self.latencies)
        return {
            "took_s": took,
            "open": self.open,
            "filled": self.filled,
            "refused": self.refused[:5],
            "p50_ms": percentiles[len(percentiles) // 2] * 1000,
            "p99_ms": percentiles[len(percentiles) * 99 // 100] * 1000,
        }

    async def _place(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        requests, more = self.requests(), True
        sent: dict[int, float] = {}
        while more or sent:
            while more and len(sent) < IN_FLIGHT:
                number, frame = next(requests, (None, b""))
                if number is None:
                    more = False
                    break
                sent[number] = time.perf_counter()
                await ws.send_frame(frame, aiohttp.WSMsgType.TEXT)
            reply = decode(await ws.receive_str())
            self.latencies.append(time.perf_counter() - sent.pop(reply["id"]))
            if reply["status"] != 200:
                self.refused.append(reply)
                continue
            result = reply["result"]
            self.filled += result["executedQty"] != "0.00000000"
            if result["status"] in ("NEW", "PARTIALLY_FILLED"):
                self.open[result["clientOrderId"]] = result["price"]


class Watcher:
    """Keeps a book from the depth stream, and the open orders from user events."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.sides: tuple[dict[str, str], dict[str, str]] = ({}, {})
        self.update_id = 0
        self.gaps = 0
        self.open: set[str] = set()

    async def depth(self, session: aiohttp.ClientSession, ready: asyncio.Event) -> None:
        name = f"{SYMBOL.lower()}@depth@100ms"
        async with session.ws_connect(f"{self.sandbox.stream_url}/ws/{name}", max_msg_size=0) as ws:
            first = json.loads(await ws.receive_str()) if self.sandbox.exchange.counters.placed else None
            async with session.get(f"{self.sandbox.rest_url}/api/v3/depth?symbol={SYMBOL}&limit=5000") as reply:
                snapshot = await reply.json()
            self.update_id = snapshot["lastUpdateId"]
            self.sides = (dict(snapshot["bids"]), dict(snapshot["asks"]))
            if first is not None:
                self.apply(first)
            ready.set()
            async for message in ws:
                self.apply(json.loads(message.data))

    def apply(self, event: dict[str, Any]) -> None:
        if event["u"] <= self.update_id:
            return
        self.gaps += event["U"] > self.update_id + 1
        self.update_id = event["u"]
        for side, changes in zip(self.sides, (event["b"], event["a"]), strict=True):
            for price, qty in changes:
                if float(qty):
                    side[price] = qty
                else:
                    side.pop(price, None)

    async def events(self, session: aiohttp.ClientSession, client: Client, ready: asyncio.Event) -> None:
        async with session.ws_connect(self.sandbox.ws_url, max_msg_size=0) as ws:
            await ws.send_str(client.request(0, "userDataStream.subscribe.signature").decode())
            async for message in ws:
                event = json.loads(message.data).get("event")
                ready.set()
                if event and event["e"] == "executionReport":
                    if event["X"] in ("NEW", "PARTIALLY_FILLED"):
                        self.open.add(event["c"])
                    else:
                        self.open.discard(event["c"])


async def measure(orders: int, *, watched: bool) -> float:
    """Orders a second; raises ``SystemExit`` where something is wrong at the end."""
    options = SandboxOptions(limits="off", open_order_cap=10**6, market=MarketKind.STILL)
    async with Sandbox(options) as sandbox, aiohttp.ClientSession() as session:
        given = {
            "ws_url": sandbox.ws_url, "key": sandbox.key, "secret": sandbox.secret,
            "middle": str(sandbox.exchange.markets[SYMBOL].average / 100),
        }  # fmt: skip
        watcher, tasks = Watcher(sandbox), []
        for watch in (watcher.depth, lambda *a: watcher.events(a[0], Client(given, 0), a[1])) if watched else ():
            ready = asyncio.Event()
            tasks.append(asyncio.create_task(watch(session, ready)))
            await ready.wait()
        process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "--client", json.dumps(given), "--orders", str(orders), stdout=-1
        )
        out, _ = await process.communicate()
        said = json.loads(out)
        await asyncio.sleep(0.5)
        faults = await check(sandbox, session, said, watcher if watched else None, Client(given, 0))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    rate = orders / said["took_s"]
    print(
        f"{'with' if watched else 'without'} depth and user streams: {rate:7.0f} orders/s, {orders} orders, "
        f"{said['filled']} traded at once, {len(said['open'])} rest; reply p50 {said['p50_ms']:.1f} ms, "
        f"p99 {said['p99_ms']:.1f} ms with {IN_FLIGHT} in flight"
    )
    if faults:
        raise SystemExit("wrong at the end: " + "; ".join(faults))
    return rate


async def check(
    sandbox: Sandbox, session: aiohttp.ClientSession, said: dict[str, Any], watcher: Watcher | None, signer: Client
) -> list[str]:
    """What does not agree."""
    async with session.ws_connect(sandbox.ws_url, max_msg_size=0) as ws:
        await ws.send_str(signer.request(1, "openOrders.status", symbol=SYMBOL).decode())
        listed = {one["clientOrderId"]: one["price"] for one in json.loads(await ws.receive_str())["result"]}
    async with session.get(f"{sandbox.rest_url}/api/v3/depth?symbol={SYMBOL}&limit=5000") as reply:
        depth = await reply.json()
    faults = [f"refused: {said['refused']}"] if said["refused"] else []
    if listed != said["open"]:
        faults.append(f"the listing has {len(listed)} orders, the replies say {len(said['open'])}")
    if float(depth["bids"][0][0]) >= float(depth["asks"][0][0]):
        faults.append("the book is crossed")
    if watcher is not None:
        if watcher.gaps or watcher.sides != (dict(depth["bids"]), dict(depth["asks"])):
            faults.append(f"the depth stream's book is not the snapshot ({watcher.gaps} gaps)")
        if watcher.open != set(listed):
            faults.append(f"user events say {len(watcher.open)} orders are open, the listing {len(listed)}")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=20_000)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.client:
        print(json.dumps(asyncio.run(Client(json.loads(given.client), given.orders).run())))
        return 0
    watched = asyncio.run(measure(given.orders // 4, watched=True))
    rate = asyncio.run(measure(given.orders, watched=False))
    print(f"at least {LIMIT} orders/s: {rate:.0f} without streams, {watched:.0f} with them in the sandbox's process")
    return 0 if rate >= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
