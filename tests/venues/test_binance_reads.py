"""What the Binance venue reads: a part or a failure is an error, never an empty answer."""

from __future__ import annotations

from decimal import Decimal

import pytest

from mmctl.core.events import (
    Ended,
    NotFound,
    Seen,
)
from mmctl.core.order import NewOrder, Side, State
from mmctl.errors import VenueRefused, VenueUnreachable
from mmctl.venues.binance import OWNERS_ASKED

from .binance_script import (
    CUT,
    SILENCE,
    Answer,
    Open,
    Params,
    Script,
    order_shape,
    refused,
)
from .harness import SYMBOL

D = Decimal


# Reads


@pytest.mark.parametrize(
    "answer",
    [
        Answer(raw=b"<html>"),
        Answer({"orders": []}),
        Answer([order_shape({}), {"symbol": "x"}]),
        Answer(None),
        refused(-1000, "An unknown error."),
        Answer(status=503, raw=b"busy"),
        Answer(status=302, headers={"Location": "https://127.0.0.1:1/"}),
        CUT,
        SILENCE,
    ],
    ids=str,
)
async def test_a_failed_listing_is_an_error_never_empty(script: Script, open_venue: Open, answer: Answer) -> None:
    session = await open_venue()
    script.on["openOrders.status"] = lambda _: answer
    with pytest.raises(VenueUnreachable):
        await session.venue.open_orders(SYMBOL)


async def test_a_query_says_open_ended_or_not_found(script: Script, open_venue: Open) -> None:
    session = await open_venue()
    own = session.new(Side.BUY, "1").client_id
    answers: list[Answer] = [
        Answer(order_shape({"newClientOrderId": own})),
        Answer(order_shape({"newClientOrderId": f"X{own}"}, status="CANCELED", executedQty="0.5")),
        refused(-2013, "Order does not exist."),
        refused(-2026, "Order was canceled or expired with no executed qty over 90 days ago."),
    ]
    script.on["order.status"] = lambda _: answers.pop(0)
    said = [await session.venue.query(SYMBOL, own) for _ in range(4)]
    assert [type(one) for one in said] == [Seen, Ended, NotFound, Ended]
    assert isinstance(said[1], Ended)
    assert (said[1].client_id, said[1].filled, said[1].state) == (own, D("0.5"), State.CANCELLED)
    asked = [one.params for one in script.asked if one.method == "order.status"]
    assert ("origClientOrderId" in asked[0], asked[1].get("orderId")) == (True, "5")


async def test_fills_are_joined_to_orders_by_asking_for_those_unknown(script: Script, open_venue: Open) -> None:
    session = await open_venue()
    own = session.new(Side.BUY, "1").client_id
    trade = {"price": "1", "qty": "1", "commission": "0.1", "commissionAsset": "BNB", "time": 1, "isBuyer": True}
    trades: list[Params] = [{"id": n, "orderId": 5 + n % 3, "isMaker": True, **trade} for n in range(6)]
    script.on["myTrades"] = lambda p: Answer([one for one in trades if one["id"] >= int(p.get("fromId", 0))])
    ids = {"5": Answer(order_shape({"newClientOrderId": own})), "6": Answer(order_shape({"newClientOrderId": "web"}))}
    script.on["order.status"] = lambda p: ids.get(p["orderId"], refused(-2013, "Order does not exist."))
    assert [fill.trade_id for fill in await session.venue.fills(SYMBOL, None)] == ["0", "3"]
    assert [fill.trade_id for fill in await session.venue.fills(SYMBOL, "0")] == ["3"]
    assert script.count("order.status") == 3


async def test_a_symbol_that_is_not_listed_or_not_trading(script: Script, open_venue: Open) -> None:
    session = await open_venue()
    script.on["exchangeInfo"] = lambda _: refused(-1121, "Invalid symbol.")
    with pytest.raises(VenueRefused, match="NOSUCH is not listed"):
        await session.venue.instrument("NOSUCH")
    symbol = {"symbol": SYMBOL, "status": "BREAK", "baseAsset": "BTC", "quoteAsset": "USDT", "filters": []}
    script.on["exchangeInfo"] = lambda _: Answer({"symbols": [symbol], "rateLimits": []})
    with pytest.raises(VenueRefused, match=r"not trading.*BREAK"):
        await session.venue.instrument(SYMBOL)


async def test_after_close_nothing_is_asked_or_told(script: Script, open_venue: Open) -> None:
    session = await open_venue()
    script.on["order.place"] = lambda _: SILENCE
    order: NewOrder = session.new(Side.BUY, "1")
    session.venue.submit([order], [])
    await session.venue.close()
    await session.venue.close()
    await session.quiet()
    assert session.heard == []
    with pytest.raises(VenueUnreachable):
        session.venue.submit([order], [])
    with pytest.raises(VenueUnreachable):
        await session.venue.balances()


async def test_an_accounts_past_is_not_asked_for_order_by_order(script: Script, open_venue: Open) -> None:
    session = await open_venue()
    trade = {"price": "1", "qty": "1", "commission": "0", "commissionAsset": "BNB", "time": 1, "isBuyer": True}
    trades: list[Params] = [{"id": n, "orderId": n, "isMaker": True, **trade} for n in range(500)]
    script.on["myTrades"] = lambda p: Answer(trades if "fromId" not in p else trades[:100])
    script.on["order.status"] = lambda p: Answer(order_shape({"newClientOrderId": "web"}))
    assert await session.venue.fills(SYMBOL, None) == []
    assert script.count("order.status") == OWNERS_ASKED
    await session.venue.fills(SYMBOL, "0")
    assert script.count("order.status") == OWNERS_ASKED + 100, "after a trade that is known, none is left out"
