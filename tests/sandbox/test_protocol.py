"""REST and the WebSocket API, by a raw client that signs by itself."""

from __future__ import annotations

import pytest

from mmctl.sandbox.options import SandboxOptions
from tests.sandbox.clients import EMPTY, STILL, SYMBOL, connected, line_of, sandbox_client, signature


async def test_public_paths() -> None:
    async with sandbox_client(STILL) as client:
        assert (await client.rest("GET", "/api/v3/ping", signed=False)).body == {}
        time = (await client.rest("GET", "/api/v3/time", signed=False)).body["serverTime"]
        assert abs(time - client.now_ms()) < 1000
        depth = (await client.rest("GET", "/api/v3/depth", signed=False, symbol=SYMBOL, limit=20)).body
        assert len(depth["bids"]) == len(depth["asks"]) == 20
        ticker = (await client.rest("GET", "/api/v3/ticker/bookTicker", signed=False, symbol=SYMBOL)).body
        assert [ticker["bidPrice"], ticker["bidQty"]] == depth["bids"][0]
        assert [ticker["askPrice"], ticker["askQty"]] == depth["asks"][0]
        everyone = (await client.rest("GET", "/api/v3/ticker/bookTicker", signed=False)).body
        assert [one["symbol"] for one in everyone] == ["BTCUSDT", "ETHUSDT"]


async def test_exchange_info_shows_live_filters_and_limits() -> None:
    async with sandbox_client() as client:
        info = (await client.rest("GET", "/api/v3/exchangeInfo", signed=False)).body
        assert [one["symbol"] for one in info["symbols"]] == ["BTCUSDT", "ETHUSDT"]
        filters = {one["filterType"]: one for one in info["symbols"][0]["filters"]}
        assert filters["PRICE_FILTER"]["tickSize"] == "0.01000000"
        assert filters["LOT_SIZE"]["stepSize"] == "0.00001000"
        assert filters["NOTIONAL"]["minNotional"] == "5.00000000"
        assert filters["MAX_NUM_ORDERS"]["maxNumOrders"] == 200
        assert info["rateLimits"][0] == {
            "rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000
        }  # fmt: skip


async def test_an_order_from_placing_to_cancelling_over_rest() -> None:
    async with sandbox_client() as client:
        placed = (await client.place("BUY", "60000.00", newClientOrderId="own-1")).body
        assert placed["status"] == "NEW"
        assert placed["fills"] == []
        found = (await client.rest("GET", "/api/v3/order", symbol=SYMBOL, origClientOrderId="own-1")).body
        assert (found["orderId"], found["price"]) == (placed["orderId"], "60000.00000000")
        assert await client.open_ids() == ["own-1"]
        everywhere = (await client.rest("GET", "/api/v3/openOrders")).body
        assert [one["clientOrderId"] for one in everywhere] == ["own-1"]
        gone = (await client.rest("DELETE", "/api/v3/order", symbol=SYMBOL, orderId=placed["orderId"])).body
        assert (gone["status"], gone["origClientOrderId"]) == ("CANCELED", "own-1")
        assert gone["clientOrderId"] != "own-1"
        assert await client.open_ids() == []
        again = await client.rest("DELETE", "/api/v3/order", symbol=SYMBOL, origClientOrderId="own-1")
        assert again.error == (400, -2011, "Unknown order sent.")
        found = (await client.rest("GET", "/api/v3/order", symbol=SYMBOL, origClientOrderId="own-1")).body
        assert found["status"] == "CANCELED"


async def test_bulk_cancel_ends_all_of_one_symbol() -> None:
    async with sandbox_client() as client:
        for price in ("60000.00", "60001.00"):
            await client.place("BUY", price)
        await client.place("BUY", "2500.00", qty="0.1", symbol="ETHUSDT")
        gone = (await client.rest("DELETE", "/api/v3/openOrders", symbol=SYMBOL)).body
        assert [one["status"] for one in gone] == ["CANCELED", "CANCELED"]
        left = (await client.rest("GET", "/api/v3/openOrders")).body
        assert [one["symbol"] for one in left] == ["ETHUSDT"]
        assert (await client.rest("DELETE", "/api/v3/openOrders", symbol=SYMBOL)).body["code"] == -2011


async def test_money_locks_and_fees_are_taken_from_what_is_received() -> None:
    async with sandbox_client() as client:
        other = type(client)(client.sandbox, client.session, 1)
        await client.place("BUY", "60000.00", "0.1", newClientOrderId="m")
        taken = (await other.place("SELL", "59000.00", "0.04", timeInForce="IOC")).body
        assert [fill | {"tradeId": 0} for fill in taken["fills"]] == [
            {"price": "60000.00000000", "qty": "0.04000000", "commission": "2.40000000", "commissionAsset": "USDT",
             "tradeId": 0}
        ]  # fmt: skip
        balances = {one["asset"]: one for one in (await client.rest("GET", "/api/v3/account")).body["balances"]}
        assert balances["USDT"] == {"asset": "USDT", "free": "994000.00000000", "locked": "3600.00000000"}
        assert balances["BTC"]["free"] == "20.03996000"
        [trade] = (await client.rest("GET", "/api/v3/myTrades", symbol=SYMBOL)).body
        assert (trade["isMaker"], trade["isBuyer"], trade["commission"]) == (True, True, "0.00004000")
        assert trade["quoteQty"] == "2400.00000000"
        counts = (await client.rest("GET", "/api/v3/rateLimit/order")).body
        assert [one["count"] for one in counts] == [0, 0], "an order that traded counts no more"


REFUSED = [
    ({"price": "60000.005"}, (400, -1013, "Filter failure: PRICE_FILTER")),
    ({"price": "60000.123456789"}, (400, -1111, "Parameter 'price' has too much precision.")),
    ({"price": "6e4"}, (400, -1100, "Illegal characters found in parameter 'price'; legal range is "
                                    "'^([0-9]{1,20})(\\.[0-9]{1,20})?$'.")),
    ({"quantity": "0.000001"}, (400, -1013, "Filter failure: LOT_SIZE")),
    ({"quantity": "0.00001"}, (400, -1013, "Filter failure: NOTIONAL")),
    ({"price": "400000.00"}, (400, -1013, "Filter failure: PERCENT_PRICE_BY_SIDE")),
    ({"quantity": "100"}, (400, -2010, "Account has insufficient balance for requested action.")),
    ({"symbol": "NOPE"}, (400, -1121, "Invalid symbol.")),
    ({"side": "HOLD"}, (400, -1117, "Invalid side.")),
    ({"type": "STOP"}, (400, -1116, "Invalid orderType.")),
    ({"timeInForce": "GTX"}, (400, -1115, "Invalid timeInForce.")),
    ({"timeInForce": ""},
     (400, -1102, "Mandatory parameter 'timeInForce' was not sent, was empty/null, or malformed.")),
    ({"type": "LIMIT_MAKER", "timeInForce": "GTC"}, (400, -1106, "Parameter 'timeInForce' sent when not required.")),
    ({"type": "LIMIT_MAKER", "price": "62000.00"}, (400, -2010, "Order would immediately match and take.")),
    ({"newClientOrderId": "a b"}, (400, -1100, "Illegal characters found in parameter 'newClientOrderId'; legal range "
                                               "is '^[a-zA-Z0-9-_]{1,36}$'.")),
    ({"newClientOrderId": "taken"}, (400, -2010, "Duplicate order sent.")),
    ({"selfTradePreventionMode": "SOME"},
     (400, -1013, "This symbol does not allow the specified self-trade prevention mode.")),
    ({"extra": "1"}, (400, -1104, "Not all sent parameters were read; read '8' parameter(s) but was sent '9'.")),
    ({"timestamp": ""}, (400, -1102, "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed.")),
    ({"timestamp": "1"}, (400, -1021, "Timestamp for this request is outside of the recvWindow.")),
    ({"timestamp": "99999999999999"},
     (400, -1021, "Timestamp for this request was 1000ms ahead of the server's time.")),
    ({"recvWindow": "60001"}, (400, -1131, "recvWindow must be less than 60000")),
]  # fmt: skip


@pytest.mark.parametrize(("changed", "error"), REFUSED)
async def test_refusals_have_binances_codes_and_texts(changed: dict[str, str], error: tuple[int, int, str]) -> None:
    async with sandbox_client() as client:
        other = type(client)(client.sandbox, client.session, 1)
        await other.place("SELL", "61000.00", "0.01")
        await client.place("BUY", "50000.00", newClientOrderId="taken")
        given = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT", "price": "60000.00", "quantity": "0.01"}
        if changed.get("type") != "LIMIT_MAKER":
            given["timeInForce"] = "GTC"
        rest = await client.rest("POST", "/api/v3/order", **(given | changed))
        assert rest.error == error
        async with connected(client) as line:
            reply = await line.ask("order.place", **(given | changed))
            told = (reply["status"], reply["error"]["code"], reply["error"]["msg"])
            if "extra" not in changed:  # the API key is one more parameter there
                assert told == error
            else:
                assert told[1] == -1104


async def test_who_may_not_ask() -> None:
    async with sandbox_client() as client:
        path = "/api/v3/account"
        assert (await client.rest("GET", path, key="short")).error == (401, -2014, "API-key format invalid.")
        unknown = (401, -2015, "Invalid API-key, IP, or permissions for action.")
        assert (await client.rest("GET", path, key="x" * 64)).error == unknown
        wrong = {"timestamp": client.now_ms(), "signature": "0" * 64}
        async with client.session.get(
            client.sandbox.rest_url + path, params=wrong, headers={"X-MBX-APIKEY": client.spec.key}
        ) as reply:
            assert (reply.status, (await reply.json())["code"]) == (400, -1022)
        async with client.session.get(client.sandbox.rest_url + path, headers={"X-MBX-APIKEY": client.spec.key}) as one:
            assert (await one.json())["msg"] == (
                "Mandatory parameter 'signature' was not sent, was empty/null, or malformed."
            )
        readonly = type(client)(client.sandbox, client.session, 2)
        assert (await readonly.rest("GET", path)).status == 200
        assert (await readonly.place("BUY", "60000.00")).error == unknown
        may = (await readonly.rest("GET", "/sapi/v1/account/apiRestrictions")).body
        assert (may["enableSpotAndMarginTrading"], may["enableWithdrawals"]) == (False, False)


async def test_a_body_is_signed_too_and_microseconds_are_taken() -> None:
    async with sandbox_client() as client:
        query = f"symbol={SYMBOL}&side=BUY&type=LIMIT&timeInForce=GTC"
        body = f"price=60000.00&quantity=0.01&timestamp={client.now_ms() * 1000}"
        signed = f"{body}&signature={signature(client.spec.secret, query + body).upper()}"
        async with client.session.post(
            f"{client.sandbox.rest_url}/api/v3/order?{query}", data=signed.encode(),
            headers={"X-MBX-APIKEY": client.spec.key, "Content-Type": "application/x-www-form-urlencoded"},
        ) as reply:  # fmt: skip
            assert (reply.status, (await reply.json())["status"]) == (200, "NEW")


async def test_the_open_order_cap() -> None:
    async with line_of(SandboxOptions(market=EMPTY.market, open_order_cap=2)) as line:
        for _ in range(2):
            assert (await line.place("BUY", "60000.00"))["status"] == 200
        reply = await line.place("BUY", "60000.00")
        assert (reply["error"]["code"], reply["error"]["msg"]) == (-1013, "Filter failure: MAX_NUM_ORDERS")


@pytest.mark.parametrize(
    ("tif", "qty", "status", "reason"),
    [
        ("IOC", "0.03", "EXPIRED", "UNFILLED_IOC_QUANTITY_EXPIRED"),
        ("FOK", "0.03", "EXPIRED", "UNFILLED_FOK_ORDER_EXPIRED"),
        ("FOK", "0.02", "FILLED", None),
    ],
)
async def test_what_may_not_rest_expires(tif: str, qty: str, status: str, reason: str | None) -> None:
    async with sandbox_client() as client:
        other = type(client)(client.sandbox, client.session, 1)
        await other.place("SELL", "60000.00", "0.02")
        placed = (await client.place("BUY", "60000.00", qty, timeInForce=tif)).body
        assert (placed["status"], placed.get("expiryReason")) == (status, reason)
        assert placed["executedQty"] == ("0.00000000" if status == "EXPIRED" and tif == "FOK" else "0.02000000")
        assert await client.open_ids() == []


async def test_market_orders_by_quantity_and_by_amount() -> None:
    async with sandbox_client(STILL) as client:
        bought = await client.rest("POST", "/api/v3/order", symbol=SYMBOL, side="BUY", type="MARKET", quantity="0.2")
        assert (bought.body["status"], bought.body["executedQty"]) == ("FILLED", "0.20000000")
        spent = (
            await client.rest("POST", "/api/v3/order", symbol=SYMBOL, side="BUY", type="MARKET", quoteOrderQty="1000")
        ).body
        assert 999 < float(spent["cummulativeQuoteQty"]) <= 1000
        assert spent["origQuoteOrderQty"] == "1000.00000000"


async def test_order_test_places_nothing() -> None:
    async with line_of() as line:
        order = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT_MAKER", "price": "60000.00", "quantity": "0.01"}
        assert (await line.ask("order.test", **order))["result"] == {}
        assert (await line.ask("order.test", **order | {"price": "0.001"}))["error"]["code"] == -1013
        assert (await line.ask("openOrders.status", symbol=SYMBOL))["result"] == []


async def test_ws_replies_are_joined_by_id_and_carry_limits() -> None:
    async with line_of() as line:
        numbers = [await line.send("time", signed=False) for _ in range(5)]
        replies = [await line.reply(number) for number in reversed(numbers)]
        assert all(reply["status"] == 200 for reply in replies)
        placed = await line.place("BUY", "60000.00")
        assert [one["rateLimitType"] for one in placed["rateLimits"]] == ["ORDERS", "ORDERS", "REQUEST_WEIGHT"]
        assert [one["count"] for one in placed["rateLimits"]][:2] == [1, 1]
        assert "rateLimits" not in await line.ask("ping", signed=False, returnRateLimits=False)
        assert (await line.ask("order.nonsense", signed=False))["status"] == 400
        assert (await line.ask("v3/ping", signed=False))["result"] == {}


async def test_ws_frames_that_are_no_requests() -> None:
    async with sandbox_client() as client, client.session.ws_connect(client.sandbox.ws_url) as ws:
        await ws.send_str("{nonsense")
        assert (await ws.receive_json())["error"]["code"] == -1135
        await ws.send_str('{"id": 1, "params": {}}')
        assert (await ws.receive_json())["status"] == 400


async def test_limits_can_be_left_out_for_a_connection() -> None:
    async with sandbox_client() as client, connected(client, "?returnRateLimits=false") as line:
        assert "rateLimits" not in await line.ask("ping", signed=False)
        assert "rateLimits" in await line.ask("ping", signed=False, returnRateLimits=True)


async def test_user_events_of_a_whole_life() -> None:
    async with sandbox_client() as client, connected(client) as line:
        other = type(client)(client.sandbox, client.session, 1)
        assert await line.subscribe() == 0
        assert (await line.ask("userDataStream.subscribe.signature"))["error"]["code"] == -2035
        await line.place("BUY", "60000.00", "0.02", newClientOrderId="own-1")
        await other.place("SELL", "60000.00", "0.005")
        await line.ask("order.cancel", symbol=SYMBOL, origClientOrderId="own-1", newClientOrderId="cancel-1")
        new, trade, cancel = await line.told(3)
        assert (new["x"], new["X"], new["c"], new["C"], new["w"]) == ("NEW", "NEW", "own-1", "", True)
        assert (trade["x"], trade["X"], trade["l"], trade["z"]) == (
            "TRADE", "PARTIALLY_FILLED", "0.00500000", "0.00500000"
        )  # fmt: skip
        assert (trade["m"], trade["N"], trade["n"], trade["L"]) == (True, "BTC", "0.00000500", "60000.00000000")
        assert (cancel["x"], cancel["X"], cancel["c"], cancel["C"]) == ("CANCELED", "CANCELED", "cancel-1", "own-1")
        positions = await line.told(3, "outboundAccountPosition")
        assert {one["a"] for one in positions[-1]["B"]} == {"BTC", "USDT"}
        assert positions[-1]["B"][1]["l"] == "0.00000000"
        assert (await line.ask("userDataStream.unsubscribe", signed=False))["result"] == {}
        assert (await line.told(1, "eventStreamTerminated"))[0]["E"]
        events = len(line.events)
        await line.place("BUY", "60000.00")
        assert len(line.events) == events


async def test_a_prevented_self_trade_is_told_and_listed() -> None:
    async with line_of() as line:
        await line.subscribe()
        await line.place("SELL", "60000.00", "0.02", newClientOrderId="maker")
        reply = await line.place(
            "BUY", "60000.00", "0.01", newClientOrderId="taker", selfTradePreventionMode="EXPIRE_TAKER"
        )
        assert (reply["result"]["status"], reply["result"]["preventedQuantity"]) == ("EXPIRED_IN_MATCH", "0.01000000")
        event = (await line.told(3))[-1]
        assert (event["x"], event["X"], event["c"], event["A"]) == (
            "TRADE_PREVENTION", "EXPIRED_IN_MATCH", "taker", "0.01000000"
        )  # fmt: skip
        number = reply["result"]["preventedMatchId"]
        [match] = (await line.ask("myPreventedMatches", symbol=SYMBOL, preventedMatchId=number))["result"]
        assert match["selfTradePreventionMode"] == "EXPIRE_TAKER"
        truth = await line.client.control("/truth")
        assert (len(truth["prevented_matches"]), truth["self_trades"]) == (1, 0)


async def test_a_refused_post_only_order_is_told_as_rejected() -> None:
    async with line_of() as line:
        await line.subscribe()
        await line.place("SELL", "60000.00", selfTradePreventionMode="NONE")
        await line.place("BUY", "60000.00", type="LIMIT_MAKER", newClientOrderId="late")
        event = (await line.told(2))[-1]
        assert (event["x"], event["r"], event["c"]) == ("REJECTED", "WOULD_MATCH_IMMEDIATELY", "late")


async def test_a_closed_market_takes_no_order() -> None:
    async with sandbox_client() as client:
        await client.place("BUY", "60000.00")
        await client.control("/symbols", symbol=SYMBOL, status="BREAK")
        assert (await client.place("BUY", "60000.00")).error == (400, -1013, "Market is closed.")
        assert (await client.rest("DELETE", "/api/v3/openOrders", symbol=SYMBOL)).status == 200


HOSTILE: list[dict[str, object]] = [
    {"symbol": ["BTCUSDT"]},
    {"symbol": {"a": 1}},
    {"side": None},
    {"type": []},
    {"price": {"p": 1}},
    {"price": True},
    {"quantity": -1},
    {"quantity": "9" * 20},
    {"quantity": "1e400"},
    {"recvWindow": "nan"},
    {"recvWindow": -1},
    {"timestamp": -1},
    {"timestamp": "\u0661"},
    {"newClientOrderId": 5},
    {"newOrderRespType": ["ACK"]},
    {"selfTradePreventionMode": {}},
]


async def test_hostile_parameters_are_refused_and_the_connection_lives() -> None:
    async with line_of() as line:
        order = {"symbol": SYMBOL, "side": "BUY", "type": "LIMIT_MAKER", "price": "60000.00", "quantity": "0.01"}
        for changed in HOSTILE:
            reply = await line.ask("order.place", **order | changed)
            assert reply["status"] == 400, changed
        for changed in ({"orderId": {}}, {"orderId": "x"}, {"origClientOrderId": []}, {"orderId": 10**40}):
            assert (await line.ask("order.cancel", symbol=SYMBOL, **changed))["status"] == 400, changed
        assert (await line.ask("depth", signed=False, symbol=SYMBOL, limit="x"))["status"] == 400
        assert (await line.ask("myTrades", symbol=SYMBOL, fromId="x"))["status"] == 400
        assert (await line.ask("openOrders.status", symbol=SYMBOL))["result"] == []
