"""``exchangeInfo`` into an instrument, and the rule and value that a refused order broke."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from mmctl.core.instrument import Instrument
from mmctl.core.order import NewOrder, Side, TimeInForce
from mmctl.wire.binance import UnknownShape
from mmctl.wire.binance_limits import Kind, Limit
from mmctl.wire.binance_symbols import SymbolRules, broken_rule, read_exchange_info

D = Decimal

FILTERS: list[dict[str, object]] = [
    {"filterType": "PRICE_FILTER", "minPrice": "0.01000000", "maxPrice": "1000000.00000000", "tickSize": "0.01000000"},
    {"filterType": "LOT_SIZE", "minQty": "0.00001000", "maxQty": "9000.00000000", "stepSize": "0.00001000"},
    {"filterType": "ICEBERG_PARTS", "limit": 10},
    {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "73.66090083", "stepSize": "0.00000000"},
    {"filterType": "TRAILING_DELTA", "minTrailingAboveDelta": 10, "maxTrailingAboveDelta": 2000},
    {
        "filterType": "PERCENT_PRICE_BY_SIDE",
        "bidMultiplierUp": "5",
        "bidMultiplierDown": "0.2",
        "askMultiplierUp": "6",
        "askMultiplierDown": "0.3",
        "avgPriceMins": 5,
    },
    {
        "filterType": "NOTIONAL",
        "minNotional": "5.00000000",
        "applyMinToMarket": True,
        "maxNotional": "9000000.00000000",
        "applyMaxToMarket": False,
        "avgPriceMins": 5,
    },
    {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
    {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": 5},
]


def info(filters: list[dict[str, object]], status: str = "TRADING") -> bytes:
    symbol = {
        "symbol": "BTCUSDT",
        "status": status,
        "baseAsset": "BTC",
        "baseAssetPrecision": 8,
        "quoteAsset": "USDT",
        "quoteAssetPrecision": 8,
        "filters": filters,
        "allowedSelfTradePreventionModes": ["EXPIRE_TAKER", "EXPIRE_MAKER"],
    }
    limit = {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61000}
    return msgspec.json.encode({"timezone": "UTC", "rateLimits": [limit], "symbols": [symbol]})


def rules_of(filters: list[dict[str, object]]) -> SymbolRules:
    return read_exchange_info(info(filters)).symbols["BTCUSDT"]


def test_filters_become_an_instrument() -> None:
    read = read_exchange_info(info(FILTERS))
    assert read.limits == (Limit(Kind.RAW, 300, 61000),)
    rules = read.symbols["BTCUSDT"]
    assert rules.trading
    assert rules.instrument == Instrument(
        symbol="BTCUSDT",
        base="BTC",
        quote="USDT",
        tick_size=D("0.01"),
        lot_size=D("0.00001"),
        min_qty=D("0.00001"),
        max_qty=D(9000),
        min_notional=D(5),
        min_price=D("0.01"),
        max_price=D(1000000),
        max_open_orders=200,
    )
    assert (rules.instrument.price_decimals, rules.instrument.qty_decimals) == (2, 5)


@pytest.mark.parametrize(
    ("filters", "field", "value"),
    [
        ([], "tick_size", D("0.00000001")),
        ([], "lot_size", D("0.00000001")),
        ([], "max_open_orders", None),
        ([{**FILTERS[0], "maxPrice": "0.00000000"}], "max_price", None),
        ([{**FILTERS[0], "tickSize": "0.00000000"}], "tick_size", D("0.00000001")),
        ([{"filterType": "MIN_NOTIONAL", "minNotional": "10.00000000"}], "min_notional", D(10)),
        ([*FILTERS, {"filterType": "OF_TOMORROW", "anything": {}}], "max_open_orders", 200),
    ],
)
def test_a_rule_that_is_missing_or_zero_sets_no_bound(
    filters: list[dict[str, object]], field: str, value: object
) -> None:
    assert getattr(rules_of(filters).instrument, field) == value


@pytest.mark.parametrize("body", [b"", b"[]", b'{"symbols":[{"symbol":"A"}]}', b'{"symbols":7}', b"<html>"])
def test_another_shape_is_an_error(body: bytes) -> None:
    with pytest.raises(UnknownShape):
        read_exchange_info(body)


def test_a_symbol_at_rest_is_not_trading() -> None:
    assert not read_exchange_info(info(FILTERS, "BREAK")).symbols["BTCUSDT"].trading


@pytest.mark.parametrize(
    ("price", "qty", "refused_as", "code", "words"),
    [
        ("50000.005", "1", "filter_price", "filter_tick", "50000.005 is off tick: the tick size is 0.01"),
        ("1000000.01", "1", "filter_price", "price_band", "price 1000000.01 is outside"),
        ("50000", "0.000015", "filter_lot_size", "filter_lot", "quantity 0.000015 is off lot"),
        ("50000", "0", "min_qty", "min_qty", "quantity 0 is under the minimum quantity"),
        ("50000", "9001", "filter_lot_size", "max_qty", "quantity 9001 is over the maximum quantity"),
        ("50000", "0.00009", "filter_notional", "min_notional", "amount 4.50000 is under the minimum notional"),
        ("50000", "200", "filter_notional", "max_notional", "amount 10000000 is over the maximum notional"),
        ("50000.005", "1", "filter_precision", "filter_tick", "50000.005"),
        ("400000", "1", "percent_price", "percent_price", "price 400000 is outside 0.2 to 5 times"),
        ("50000", "1", "open_order_cap", "open_order_cap", "200 open orders on BTCUSDT"),
    ],
)
def test_a_refusal_names_the_rule_and_the_value(price: str, qty: str, refused_as: str, code: str, words: str) -> None:
    order = NewOrder("BTCUSDT", "x", Side.BUY, D(price), D(qty), TimeInForce.GTX)
    broken = broken_rule(rules_of(FILTERS), order, refused_as)
    assert broken is not None
    assert broken[0] == code
    assert words in broken[1]


@pytest.mark.parametrize("refused_as", ["balance", "would_match", "filter_price", "filter_notional"])
def test_nothing_is_named_where_our_copy_shows_nothing(refused_as: str) -> None:
    order = NewOrder("BTCUSDT", "x", Side.BUY, D(50000), D(1), TimeInForce.GTX)
    assert broken_rule(rules_of(FILTERS), order, refused_as) is None


@pytest.mark.parametrize(
    "rule",
    [
        {"filterType": "LOT_SIZE", "minQty": "NaN", "maxQty": "1", "stepSize": "1"},
        {"filterType": "PRICE_FILTER", "minPrice": "0", "maxPrice": "Infinity", "tickSize": "1"},
        {"filterType": "NOTIONAL", "minNotional": "-5", "maxNotional": "9"},
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": -1},
    ],
)
def test_a_rule_that_is_no_number_is_an_error(rule: dict[str, object]) -> None:
    symbol = {"symbol": "A", "status": "TRADING", "baseAsset": "B", "quoteAsset": "Q", "filters": [rule]}
    with pytest.raises(UnknownShape):
        read_exchange_info(msgspec.json.encode({"symbols": [symbol]}))
