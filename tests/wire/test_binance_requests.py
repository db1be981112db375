"""Request parameters, frames, replies of orders, and addresses."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from mmctl.core.order import CancelOrder, Layer, NewOrder, Side, State, TimeInForce, encode_own_id
from mmctl.errors import UsageError
from mmctl.wire import binance as wire
from mmctl.wire.binance_limits import Kind, Told
from mmctl.wire.binance_orders import read_account, read_order, read_orders, read_trades
from mmctl.wire.binance_urls import LIVE, TESTNET, BinanceUrls, place_of

D = Decimal
OWN = encode_own_id(Layer.FAR, Side.SELL, 3, 9)


def test_a_post_only_order_is_a_limit_maker_and_numbers_are_plain() -> None:
    order = NewOrder("BTCUSDT", OWN, Side.SELL, D("8.12E-6"), D("1E+3"), TimeInForce.GTX)
    assert wire.placement(order) == {
        "symbol": "BTCUSDT",
        "side": "SELL",
        "type": "LIMIT_MAKER",
        "quantity": "1000",
        "price": "0.00000812",
        "newClientOrderId": OWN,
        "newOrderRespType": "RESULT",
        "selfTradePreventionMode": "EXPIRE_TAKER",
    }
    taking = wire.placement(NewOrder("BTCUSDT", OWN, Side.BUY, D(1), D(1), TimeInForce.GTC))
    assert (taking["type"], taking["timeInForce"], taking["side"]) == ("LIMIT", "GTC", "BUY")


def test_a_cancel_leads_back_to_an_order_of_ours_and_leaves_others_alone() -> None:
    own = wire.cancellation(CancelOrder("BTCUSDT", OWN, "12"))
    assert own == {"symbol": "BTCUSDT", "origClientOrderId": OWN, "newClientOrderId": f"X{OWN}"}
    assert wire.cancellation(CancelOrder("BTCUSDT", "web_1", "12")) == {
        "symbol": "BTCUSDT",
        "origClientOrderId": "web_1",
    }


def test_a_query_goes_by_number_where_it_is_known() -> None:
    assert wire.order_asked("BTCUSDT", OWN, "12") == {"symbol": "BTCUSDT", "orderId": 12}
    assert wire.order_asked("BTCUSDT", OWN, None) == {"symbol": "BTCUSDT", "origClientOrderId": OWN}
    assert wire.trades_asked("BTCUSDT", "41") == {"symbol": "BTCUSDT", "limit": 1000, "fromId": 42}
    assert wire.stamped({"a": 1}, 5) == {"a": 1, "recvWindow": 2000, "timestamp": 5}


def test_frames_are_joined_by_id() -> None:
    sent = msgspec.json.decode(wire.ws_frame("7", "time", {}))
    assert sent == {"id": "7", "method": "time", "params": {}}
    frame = wire.read_frame(
        '{"id":"7","status":200,"result":{"serverTime":1656400526260},'
        '"rateLimits":[{"rateLimitType":"REQUEST_WEIGHT","interval":"MINUTE","intervalNum":1,"limit":6000,"count":70}]}'
    )
    assert frame.reply is not None
    assert (frame.request_id, frame.reply.ok) == ("7", True)
    assert wire.read_time_ms(frame.reply.result) == 1656400526260
    assert frame.reply.told == (Told(Kind.WEIGHT, 60, 70, 6000),)


def test_a_ban_says_when_it_ends() -> None:
    frame = wire.read_frame(
        '{"id":3,"status":418,"error":{"code":-1003,"msg":"Way too much request weight used.",'
        '"data":{"serverTime":1659142907531,"retryAfter":1659146400000}}}'
    )
    assert frame.reply is not None
    assert frame.reply.fault is not None
    assert (frame.request_id, frame.reply.ok, frame.reply.fault.code) == ("3", False, -1003)
    assert (frame.reply.retry_after_ms, frame.reply.at_ms) == (1659146400000, 1659142907531)


def test_an_event_is_no_reply() -> None:
    frame = wire.read_frame('{"subscriptionId":0,"event":{"e":"serverShutdown","E":1}}')
    assert (frame.reply, frame.event) == (None, b'{"e":"serverShutdown","E":1}')


@pytest.mark.parametrize("text", ["", "no", "[]", '{"id":{}}', '{"id":1,"status":"x"}', '{"error":{"code":"x"}}'])
def test_a_frame_of_another_shape_is_an_error(text: str) -> None:
    with pytest.raises(wire.UnknownShape):
        wire.read_frame(text)


def order_shape(**changed: object) -> bytes:
    shape: dict[str, object] = {
        "symbol": "BTCUSDT",
        "orderId": 12510053279,
        "orderListId": -1,
        "clientOrderId": OWN,
        "transactTime": 1655716096505,
        "price": "0.10000000",
        "origQty": "10.00000000",
        "executedQty": "0.00000000",
        "status": "NEW",
        "timeInForce": "GTC",
        "type": "LIMIT",
        "side": "BUY",
    }
    return msgspec.json.encode({**shape, **changed})


def test_an_open_order_is_seen() -> None:
    order = read_order(order_shape(status="PARTIALLY_FILLED", executedQty="4.0"))
    seen = order.seen(5.0)
    assert (seen.client_id, seen.order_id, seen.side) == (OWN, "12510053279", Side.BUY)
    assert (seen.price, seen.qty, seen.filled, seen.symbol) == (D("0.1"), D(10), D(4), "BTCUSDT")


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("FILLED", State.FILLED),
        ("CANCELED", State.CANCELLED),
        ("EXPIRED", State.EXPIRED),
        ("EXPIRED_IN_MATCH", State.EXPIRED),
        ("REJECTED", State.REJECTED),
    ],
)
def test_ends(status: str, state: State) -> None:
    order = read_order(order_shape(status=status, clientOrderId="cancel", origClientOrderId=OWN))
    assert not order.is_open
    assert (order.ended().client_id, order.ended().state) == (OWN, state)
    assert order.prevented is (status == "EXPIRED_IN_MATCH")


@pytest.mark.parametrize("changed", [{"status": "TOMORROW"}, {"side": "UP"}, {"price": "NaN"}, {"orderId": "x"}])
def test_an_order_of_another_shape_is_an_error_even_in_a_listing(changed: dict[str, object]) -> None:
    with pytest.raises(wire.UnknownShape):
        read_order(order_shape(**changed))
    with pytest.raises(wire.UnknownShape):
        read_orders(b"[" + order_shape() + b"," + order_shape(**changed) + b"]")


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"<html></html>", b'{"code":-1,"msg":"x"}'])
def test_no_other_shape_is_taken_for_nothing(body: bytes) -> None:
    for reader in (read_orders, read_trades, read_account, read_order):
        with pytest.raises(wire.UnknownShape):
            reader(body)


def test_an_account() -> None:
    account = read_account(
        b'{"canTrade":true,"canWithdraw":true,"uid":354937868,"permissions":["SPOT"],'
        b'"balances":[{"asset":"BTC","free":"1.3447112","locked":"0.08600000"}]}'
    )
    assert (account.user_id, account.can_trade, account.can_withdraw) == ("354937868", True, True)
    assert account.assets["BTC"].total == D("1.4307112")


@pytest.mark.parametrize(
    "urls",
    [
        LIVE,
        TESTNET,
        BinanceUrls("http://127.0.0.1:1", "ws://localhost:1/ws-api/v3", "ws://[::1]:1"),
    ],
)
def test_addresses_that_keys_may_go_to(urls: BinanceUrls) -> None:
    assert urls.checked() == urls


@pytest.mark.parametrize(
    ("rest", "words"),
    [
        ("http://api.binance.com", "not encrypted"),
        ("http://192.168.0.9", "not encrypted"),
        ("http://127.0.0.1.example.org", "not encrypted"),
        ("http://localhost.example.org", "not encrypted"),
        ("ftp://api.binance.com", "is none"),
        ("api.binance.com", "is none"),
        ("https://", "is none"),
        ("https://user:hunter2@api.binance.com", "more than a place"),
        ("https://api.binance.com?key=hunter2", "more than a place"),
        ("https://[", "cannot be read"),
    ],
)
def test_addresses_that_they_may_not(rest: str, words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        BinanceUrls(rest, LIVE.ws_api, LIVE.stream).checked()
    assert "hunter2" not in str(caught.value)


def test_a_place_holds_no_password() -> None:
    assert place_of("wss://a:b@ws-api.binance.com:443/ws-api/v3") == "ws-api.binance.com:443"


@pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity", "-1"])
@pytest.mark.parametrize("name", ["price", "qty", "free", "locked"])
def test_a_number_that_is_none_is_of_an_unknown_shape(name: str, text: str) -> None:
    trade = {"id": 1, "orderId": 2, "price": "1", "qty": "1", "commission": "-0.1", "commissionAsset": "BNB"}
    trade |= {"time": 3, "isBuyer": True, "isMaker": False}
    balance = {"asset": "BTC", "free": "1", "locked": "0"}
    assert read_trades(msgspec.json.encode([trade]))[0].commission == Decimal("-0.1")  # a rebate
    assert read_account(msgspec.json.encode({"balances": [balance]})).assets
    reader, shape = (
        (read_trades, [trade | {name: text}])
        if name in trade
        else (read_account, {"balances": [balance | {name: text}]})
    )
    with pytest.raises(wire.UnknownShape):
        reader(msgspec.json.encode(shape))
