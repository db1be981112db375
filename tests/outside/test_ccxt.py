"""ccxt reads the sandbox as it reads Binance: what it makes of the replies, by its own parsers, must be right."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from mmctl.sandbox.options import MarketKind, SandboxOptions
from mmctl.sandbox.server import Sandbox

ccxt = pytest.importorskip("ccxt.async_support", reason="ccxt is in the dependency group `outside`")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
SYMBOL = "BTC/USDT"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxOptions(market=MarketKind.STILL)) as one:
        yield one


async def client_of(sandbox: Sandbox, account: int = 0) -> Any:
    spec = sandbox.options.accounts[account]
    options = {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False, "fetchMargins": False}
    exchange = ccxt.binance({"apiKey": spec.key, "secret": spec.secret, "options": options})
    for name in ("public", "private", "v3", "v1"):
        exchange.urls["api"][name] = f"{sandbox.rest_url}/api/v3"
    exchange.urls["api"]["sapi"] = f"{sandbox.rest_url}/sapi/v1"
    await exchange.load_markets()
    return exchange


@pytest.fixture
async def exchange(sandbox: Sandbox) -> AsyncIterator[Any]:
    one = await client_of(sandbox)
    yield one
    await one.close()


@pytest.fixture
async def other(sandbox: Sandbox) -> AsyncIterator[Any]:
    one = await client_of(sandbox, 1)
    yield one
    await one.close()


async def inside(exchange: Any) -> tuple[float, float]:
    """A bid and an ask within the spread, or at the touch where there is no room."""
    book = await exchange.fetch_order_book(SYMBOL, 5)
    return book["bids"][0][0], book["asks"][0][0]


async def test_markets(exchange: Any) -> None:
    market = exchange.market(SYMBOL)
    assert market["precision"] == {"amount": 0.00001, "price": 0.01, "base": 1e-08, "quote": 1e-08, "cost": None} or (
        market["precision"]["amount"] == 0.00001 and market["precision"]["price"] == 0.01
    )
    assert market["limits"]["cost"]["min"] == 5.0
    assert market["limits"]["amount"]["min"] == 0.00001
    assert market["spot"]
    assert market["active"]
    assert exchange.market("ETH/USDT")["precision"]["amount"] == 0.0001


async def test_balance_locks(exchange: Any) -> None:
    before = await exchange.fetch_balance()
    assert before["USDT"]["free"] == 1_000_000
    order = await exchange.create_order(SYMBOL, "limit", "buy", 0.01, 60_000, {"postOnly": True})
    after = await exchange.fetch_balance()
    assert after["USDT"]["used"] == 600
    assert after["USDT"]["total"] == 1_000_000
    await exchange.cancel_order(order["id"], SYMBOL)
    assert (await exchange.fetch_balance())["USDT"]["used"] == 0


async def test_place_open_and_cancel(exchange: Any) -> None:
    order = await exchange.create_order(SYMBOL, "limit", "sell", 0.02, 63_000, {"clientOrderId": "own-1"})
    assert (order["status"], order["side"], order["price"], order["amount"]) == ("open", "sell", 63_000, 0.02)
    [listed] = await exchange.fetch_open_orders(SYMBOL)
    assert (listed["id"], listed["clientOrderId"], listed["remaining"]) == (order["id"], "own-1", 0.02)
    cancelled = await exchange.cancel_order(order["id"], SYMBOL)
    assert cancelled["status"] == "canceled"
    assert await exchange.fetch_open_orders(SYMBOL) == []
    assert (await exchange.fetch_order(order["id"], SYMBOL))["status"] == "canceled"


async def test_post_only_is_refused(exchange: Any) -> None:
    _, ask = await inside(exchange)
    with pytest.raises(ccxt.OrderImmediatelyFillable):
        await exchange.create_order(SYMBOL, "limit", "buy", 0.01, ask, {"postOnly": True})
    assert await exchange.fetch_open_orders(SYMBOL) == []


async def test_partial_fill_and_trades(sandbox: Sandbox, exchange: Any, other: Any) -> None:
    # Between the other traders' touches, so that this order is the best of its side.
    book = sandbox.exchange.markets["BTCUSDT"].book
    best = book.bids.best()
    assert best is not None
    price = (best.price + 1) / 100
    order = await exchange.create_order(SYMBOL, "limit", "buy", 0.01, price, {"postOnly": True})
    taken = await other.create_order(SYMBOL, "limit", "sell", 0.004, price, {"timeInForce": "IOC"})
    assert (taken["status"], taken["filled"], taken["average"]) == ("closed", 0.004, price)
    found = await exchange.fetch_order(order["id"], SYMBOL)
    assert (found["status"], found["filled"], found["remaining"]) == ("open", 0.004, 0.006)
    [trade] = await exchange.fetch_my_trades(SYMBOL)
    assert (trade["order"], trade["amount"], trade["price"]) == (order["id"], 0.004, price)
    assert (trade["takerOrMaker"], trade["side"]) == ("maker", "buy")
    assert trade["fee"] == {"currency": "BTC", "cost": 0.000004}
    [theirs] = await other.fetch_my_trades(SYMBOL)
    assert (theirs["takerOrMaker"], theirs["fee"]["currency"]) == ("taker", "USDT")


async def test_market_order(exchange: Any) -> None:
    order = await exchange.create_order(SYMBOL, "market", "buy", 0.01)
    assert (order["status"], order["filled"]) == ("closed", 0.01)
    assert len(order["trades"]) >= 1


async def test_cancel_all(exchange: Any) -> None:
    for price in (59_000, 59_500, 60_000):
        await exchange.create_order(SYMBOL, "limit", "buy", 0.001, price)
    assert len(await exchange.fetch_open_orders(SYMBOL)) == 3
    assert {one["status"] for one in await exchange.cancel_all_orders(SYMBOL)} == {"canceled"}
    assert await exchange.fetch_open_orders(SYMBOL) == []


async def test_errors_are_known(exchange: Any) -> None:
    with pytest.raises(ccxt.InsufficientFunds):
        await exchange.create_order(SYMBOL, "limit", "buy", 100, 60_000)
    with pytest.raises(ccxt.OrderNotFound):
        await exchange.cancel_order("999999", SYMBOL)
    with pytest.raises(ccxt.OrderNotFound):
        await exchange.fetch_order("999999", SYMBOL)
    exchange.secret = "wrong"
    with pytest.raises(ccxt.AuthenticationError):
        await exchange.fetch_balance()
