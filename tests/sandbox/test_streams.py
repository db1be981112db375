"""Market streams: what they show is the book, at every moment, and trades are told."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from typing import Any

import aiohttp
import pytest

from mmctl.sandbox.options import MarketKind, SandboxOptions
from mmctl.sandbox.sockets import Sockets
from tests.sandbox.clients import PATIENCE_S, STILL, SYMBOL, Client, sandbox_client

MOVING = SandboxOptions(seed=3, market=MarketKind.MOVING)


async def some(ws: aiohttp.ClientWebSocketResponse, count: int) -> list[Any]:
    async with asyncio.timeout(PATIENCE_S):
        return [json.loads(await ws.receive_str()) for _ in range(count)]


def stream(client: Client, path: str) -> Any:
    return client.session.ws_connect(client.sandbox.stream_url + path)


@pytest.mark.parametrize("levels", [5, 10, 20])
async def test_partial_depth_comes_ten_times_a_second(levels: int) -> None:
    async with sandbox_client(MOVING) as client, stream(client, f"/ws/btcusdt@depth{levels}@100ms") as ws:
        start = time.monotonic()
        books = await some(ws, 6)
        assert 0.3 < time.monotonic() - start < PATIENCE_S
        assert all(len(book["bids"]) == len(book["asks"]) == levels for book in books)
        assert all(float(book["bids"][0][0]) < float(book["asks"][0][0]) for book in books)
        numbers = [book["lastUpdateId"] for book in books]
        assert numbers == sorted(set(numbers))


async def test_diffs_applied_to_a_snapshot_give_the_book() -> None:
    async with sandbox_client(MOVING) as client, stream(client, "/ws/btcusdt@depth@100ms") as ws:
        await some(ws, 1)
        depth = (await client.rest("GET", "/api/v3/depth", signed=False, symbol=SYMBOL, limit=5000)).body
        sides, at = (dict(depth["bids"]), dict(depth["asks"])), depth["lastUpdateId"]
        await client.place("BUY", "61000.00", "0.5")
        for event in await some(ws, 8):
            if event["u"] <= at:
                continue
            assert event["U"] <= at + 1 <= event["u"] + 1
            at = event["u"]
            for side, changes in zip(sides, (event["b"], event["a"]), strict=True):
                side.update(changes)
                for price in [price for price, qty in changes if not float(qty)]:
                    side.pop(price)
            book = client.sandbox.exchange.markets[SYMBOL]
            if at == book.book.update_id:
                shown = book.sides(5000)
                assert sides == (dict(shown["bids"]), dict(shown["asks"]))
        assert sides[0]["61000.00000000"] == "0.50000000"


async def test_combined_streams_are_wrapped_and_trades_told() -> None:
    names = "btcusdt@trade/btcusdt@bookTicker"
    async with sandbox_client(STILL) as client, stream(client, f"/stream?streams={names}") as ws:
        await client.control("/market/trade", symbol=SYMBOL, side="SELL", quantity="0.001")
        seen = {one["stream"]: one["data"] for one in await some(ws, 2)}
        trade = seen["btcusdt@trade"]
        assert (trade["e"], trade["q"], trade["m"]) == ("trade", "0.00100000", True)
        assert seen["btcusdt@bookTicker"]["b"] == trade["p"]


async def test_subscribing_by_request() -> None:
    async with sandbox_client(STILL) as client, stream(client, "/ws") as ws:
        await ws.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@depth5@100ms"], "id": 1})
        assert await some(ws, 1) == [{"result": None, "id": 1}]
        assert "lastUpdateId" in (await some(ws, 1))[0]
        await ws.send_json({"method": "UNSUBSCRIBE", "params": ["btcusdt@depth5@100ms"], "id": 2})
        while (await some(ws, 1))[0] != {"result": None, "id": 2}:
            pass
        await ws.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 3})
        assert await some(ws, 1) == [{"result": [], "id": 3}]
        await ws.send_str("{nonsense")
        assert (await some(ws, 1))[0]["code"] == 3
        await ws.send_json({"method": "DANCE", "id": 4})
        assert (await some(ws, 1))[0]["code"] == 2


async def test_the_server_pings_and_cuts_who_does_not_answer() -> None:
    async with sandbox_client(STILL) as client:
        async with client.session.ws_connect(f"{client.sandbox.stream_url}/ws", autoping=False) as ws:
            pinging = asyncio.create_task(client.sandbox.streams.sockets.ping_forever(0.02))
            message = await ws.receive(timeout=PATIENCE_S)
            assert message.type is aiohttp.WSMsgType.PING
            [socket] = client.sandbox.streams.sockets.open
            before = socket.last_pong
            await ws.pong(message.data)
            async with asyncio.timeout(PATIENCE_S):
                while socket.last_pong == before:
                    await ws.receive()
            socket.last_pong -= 61
            while (await ws.receive(timeout=PATIENCE_S)).type is aiohttp.WSMsgType.PING:
                pass
            pinging.cancel()
            await asyncio.gather(pinging, return_exceptions=True)
        assert isinstance(client.sandbox.streams.sockets, Sockets)


async def test_a_stalled_stream_says_nothing_while_its_socket_lives() -> None:
    async with sandbox_client(MOVING) as client, stream(client, "/ws/btcusdt@depth5@100ms") as ws:
        await some(ws, 1)
        came_s = [time.monotonic()]
        assert await client.control("/connections/stall", kind="streams", seconds=1.2) == {"stalled": 1}
        for _ in range(12):
            await some(ws, 1)
            came_s.append(time.monotonic())
        assert max(after - before for before, after in itertools.pairwise(came_s)) > 0.6
        await ws.ping()


async def test_the_end_is_told() -> None:
    async with sandbox_client(STILL) as client, stream(client, "/ws") as ws:
        await client.sandbox.close()
        assert (await some(ws, 1))[0]["e"] == "serverShutdown"
        assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
