"""Binance's market data is read exactly, and what is none is told from it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from mmctl.core.book import BookKey, Trade
from mmctl.errors import UsageError
from mmctl.wire import binance_market as wire

D = Decimal


def test_a_partial_depth_is_exact() -> None:
    depth = wire.decode_depth(
        b'{"lastUpdateId":160,"bids":[["0.00240000","10.00000000"]],"asks":[["0.0026","0.1000000000000000000001"]]}'
    )
    assert depth.last_id == 160
    assert depth.bids == [(D("0.0024"), D(10))]
    assert str(depth.asks[0][1]) == "0.1000000000000000000001"


def test_a_diff_has_its_ids_its_time_and_levels_that_go() -> None:
    diff = wire.decode_diff(
        '{"e":"depthUpdate","E":1672515782136,"s":"BNBBTC","U":157,"u":160,"b":[["0.0024","0"]],"a":[["0.0026","100"]]}'
    )
    assert (diff.event_ms, diff.first_id, diff.last_id) == (1672515782136, 157, 160)
    assert diff.bids == [(D("0.0024"), D(0))]


def test_a_trade() -> None:
    raw = b'{"e":"trade","E":2,"s":"BNBBTC","t":12345,"p":"0.001","q":"100","T":1672515782136,"m":true,"M":true}'
    assert wire.decode_trade(raw) == Trade(12345, D("0.001"), D(100), True, 1672515782136)


def test_an_envelope_keeps_its_event_as_it_came() -> None:
    envelope = wire.decode_envelope('{"stream":"a@trade","data":{"p":0.1}}')
    assert envelope.stream == "a@trade"
    assert bytes(envelope.data) == b'{"p":0.1}'
    assert not envelope.is_shutdown


@pytest.mark.parametrize(
    "text",
    [
        '{"e":"serverShutdown","E":1770123456789}',
        '{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}',
    ],
)
def test_a_shutdown_is_seen(text: str) -> None:
    assert wire.decode_envelope(text).is_shutdown


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        b"\xff",
        b"[]",
        b"null",
        b'{"lastUpdateId":"1","bids":[],"asks":[]}',
        b'{"lastUpdateId":1,"bids":[]}',
        b'{"lastUpdateId":1,"bids":[["1"]],"asks":[]}',
        b'{"lastUpdateId":1,"bids":[["NaN","1"]],"asks":[]}',
        b'{"lastUpdateId":1,"bids":[["1","Infinity"]],"asks":[]}',
        b'{"lastUpdateId":1,"bids":[["0","1"]],"asks":[]}',
        b'{"lastUpdateId":1,"bids":[["1","-1"]],"asks":[]}',
        b'{"lastUpdateId":1,"bids":[["one","1"]],"asks":[]}',
    ],
)
def test_what_is_no_depth(raw: bytes) -> None:
    with pytest.raises(wire.Unreadable):
        wire.decode_depth(raw)


def test_a_diff_that_runs_backwards_is_none() -> None:
    with pytest.raises(wire.Unreadable, match="first update 2 after its last 1"):
        wire.decode_diff(b'{"E":1,"U":2,"u":1,"b":[],"a":[]}')


def test_a_refusal_is_read() -> None:
    assert wire.decode_error(b'{"code":-1121,"msg":"Invalid\\n symbol."}') == (-1121, "Invalid symbol.")
    assert wire.decode_error(b"<html>busy</html>") is None


def test_symbols_in_any_case() -> None:
    assert wire.symbol_of(BookKey("binance_spot", "btcUsdt")) == "BTCUSDT"
    assert wire.partial_stream("BTCUSDT") == "btcusdt@depth20@100ms"


@pytest.mark.parametrize("symbol", ["", "BTC/USDT", "btcusdt@trade", "BTC USDT", "a&b", "x" * 41, "?", "BTC%2FUSDT"])
def test_what_is_no_symbol(symbol: str) -> None:
    with pytest.raises(UsageError, match="not a symbol of Binance"):
        wire.symbol_of(BookKey("binance_spot", symbol))


def test_another_exchange_is_named() -> None:
    with pytest.raises(UsageError, match="'okx_spot'"):
        wire.symbol_of(BookKey("okx_spot", "BTC-USDT"))


@pytest.mark.parametrize(
    ("levels", "limit", "weight"), [(1, 100, 5), (100, 100, 5), (101, 500, 25), (501, 1000, 50), (5000, 5000, 250)]
)
def test_requests_ask_for_what_their_weight_gives(levels: int, limit: int, weight: int) -> None:
    assert wire.depth_limit(levels) == limit
    assert wire.depth_weight(limit) == weight
