"""Binance's official spot SDK drives the sandbox over REST, the WebSocket API and the streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from mmctl.sandbox.options import MarketKind, SandboxOptions
from mmctl.sandbox.server import Sandbox

spot = pytest.importorskip("binance_sdk_spot.spot", reason="binance-sdk-spot is in the dependency group `outside`")

pytestmark = pytest.mark.filterwarnings("ignore")
SYMBOL = "BTCUSDT"


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    async with Sandbox(SandboxOptions(market=MarketKind.STILL)) as one:
        yield one


@pytest.fixture
def rest(sandbox: Sandbox) -> Any:
    configuration = spot.ConfigurationRestAPI(
        api_key=sandbox.key, api_secret=sandbox.secret, base_path=sandbox.rest_url, retries=0
    )
    return spot.Spot(config_rest_api=configuration).rest_api


@pytest.fixture
async def ws_api(sandbox: Sandbox) -> AsyncIterator[Any]:
    configuration = spot.ConfigurationWebSocketAPI(
        api_key=sandbox.key, api_secret=sandbox.secret, stream_url=sandbox.ws_url
    )
    connection = await spot.Spot(config_ws_api=configuration).websocket_api.create_connection()
    yield connection
    await connection.close_connection(close_session=True)


async def asked(call: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """The data of a REST call: the SDK blocks, so it runs in a thread."""
    return (await asyncio.to_thread(call, *given, **named)).data()


async def test_rest_reads(rest: Any) -> None:
    info = await asked(rest.exchange_info, symbol=SYMBOL)
    assert (info.symbols[0].base_asset, info.symbols[0].quote_asset) == ("BTC", "USDT")
    assert info.symbols[0].default_self_trade_prevention_mode == "EXPIRE_MAKER"
    assert {limit.limit for limit in info.rate_limits} == {6000, 100, 200_000, 61_000}
    depth = await asked(rest.depth, symbol=SYMBOL, limit=5)
    assert len(depth.bids) == len(depth.asks) == 5
    account = await asked(rest.get_account)
    assert account.uid == 1001
    assert {one.asset: one.free for one in account.balances}["USDT"] == "1000000.00000000"


async def test_rest_trades(rest: Any) -> None:
    order = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "time_in_force": "GTC"}
    placed = await asked(rest.new_order, **order, quantity=0.01, price=60_000, new_client_order_id="own-1")
    assert (placed.status, placed.client_order_id, placed.orig_qty) == ("NEW", "own-1", "0.01000000")
    [listed] = await asked(rest.get_open_orders, symbol=SYMBOL)
    assert listed.order_id == placed.order_id
    cancelled = await asked(rest.delete_order, symbol=SYMBOL, orig_client_order_id="own-1")
    assert (cancelled.status, cancelled.orig_client_order_id) == ("CANCELED", "own-1")
    taken = await asked(rest.new_order, symbol=SYMBOL, side="BUY", type="MARKET", quantity=0.01)
    assert (taken.status, taken.executed_qty) == ("FILLED", "0.01000000")
    trades = await asked(rest.my_trades, symbol=SYMBOL)
    assert sum(float(trade.qty) for trade in trades) == pytest.approx(0.01)
    assert all(trade.is_buyer and not trade.is_maker for trade in trades)
    limits = await asked(rest.rate_limit_order)
    assert [limit.count for limit in limits] == [1, 1]


async def test_rest_refuses(rest: Any) -> None:
    with pytest.raises(Exception, match="Unknown order sent"):
        await asked(rest.delete_order, symbol=SYMBOL, order_id=999_999)
    with pytest.raises(Exception, match="would immediately match and take"):
        await asked(rest.new_order, symbol=SYMBOL, side="BUY", type="LIMIT_MAKER", quantity=0.01, price=70_000)


async def test_ws_api_trades_and_tells(ws_api: Any) -> None:
    told: list[Any] = []
    subscription = await ws_api.user_data_stream_subscribe_signature()
    subscription.stream.on("message", told.append)
    order = {"symbol": SYMBOL, "side": "SELL", "type": "LIMIT", "time_in_force": "GTC"}
    reply = (await ws_api.order_place(**order, quantity=0.02, price=63_000, new_client_order_id="own-2")).data()
    assert (reply.result.status, reply.result.client_order_id) == ("NEW", "own-2")
    assert {limit.rate_limit_type for limit in reply.rate_limits} == {"ORDERS", "REQUEST_WEIGHT"}
    found = (await ws_api.order_status(symbol=SYMBOL, orig_client_order_id="own-2")).data()
    assert found.result.orig_qty == "0.02000000"
    cancelled = (await ws_api.order_cancel(symbol=SYMBOL, orig_client_order_id="own-2")).data()
    assert cancelled.result.orig_client_order_id == "own-2"
    await asyncio.sleep(0.1)
    reports = [one.actual_instance for one in told]
    kinds = [(one.x, one.C or one.c) for one in reports if hasattr(one, "x")]
    assert kinds == [("NEW", "own-2"), ("CANCELED", "own-2")]


async def test_streams(sandbox: Sandbox) -> None:
    configuration = spot.ConfigurationWebSocketStreams(stream_url=sandbox.stream_url)
    connection = await spot.Spot(config_ws_streams=configuration).websocket_streams.create_connection()
    books: list[Any] = []
    stream = await connection.partial_book_depth(symbol=SYMBOL, levels="20", update_speed="100ms")
    stream.on("message", books.append)
    await asyncio.sleep(0.5)
    await connection.close_connection(close_session=True)
    assert len(books) >= 3
    assert len(books[-1].bids) == len(books[-1].asks) == 20
