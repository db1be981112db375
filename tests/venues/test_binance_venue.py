"""The Binance venue against scripted replies: each request has one answer, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import gc
from decimal import Decimal

import pytest

from mmctl.core.events import (
    Accepted,
    Balance,
    BalancesChanged,
    CancelRefused,
    Ended,
    Event,
    Rejected,
    Request,
    Unsettled,
)
from mmctl.core.order import CancelOrder, Side, State, TimeInForce
from mmctl.venues.binance_owed import WsRequest
from mmctl.venues.binance_requests import Pending

from .binance_script import (
    BOTH_WAYS,
    CUT,
    KEY,
    SIGNER,
    SILENCE,
    Answer,
    Open,
    Script,
    new_report,
    order_shape,
    refused,
)
from .harness import SYMBOL

D = Decimal


# The plain course of things


@BOTH_WAYS
async def test_orders_go_the_chosen_way_signed_and_stamped(script: Script, open_venue: Open, use_ws: bool) -> None:
    session = await open_venue(use_ws=use_ws)
    assert session.venue.over_socket is use_ws
    orders = session.bids(3)
    await session.place(*orders)
    assert [type(event) for order in orders for event in session.answers(order.client_id)] == [Accepted] * 3
    way = "ws" if use_ws else "rest"
    assert script.count("order.place", way) == script.count("order.place") == 3
    params = next(one.params for one in script.asked if one.method == "order.place")
    signature = params.pop("signature")
    if use_ws:
        assert params["apiKey"] == KEY
        assert SIGNER.ws_params({k: v for k, v in params.items() if k != "apiKey"})["signature"] == signature
    else:
        assert SIGNER.query(params).endswith(f"signature={signature}")
    assert abs(int(params["timestamp"]) - script.now_ms()) < 1000
    await session.cancel(*orders)
    assert script.count("order.cancel", way) == 3
    ends = [event for order in orders for event in session.cancel_answers(order.client_id)]
    assert [(type(event), event.state) for event in ends] == [(Ended, State.CANCELLED)] * 3


async def test_placements_leave_before_cancels_and_without_waiting(script: Script, open_venue: Open) -> None:
    script.on["order.place"] = script.on["order.cancel"] = lambda _: SILENCE
    session = await open_venue()
    orders = session.bids(20)
    session.venue.submit(orders, [CancelOrder(SYMBOL, "web_1")])
    await session.until(lambda: script.count("order.cancel") == 1)
    assert [one.params["newClientOrderId"] for one in script.asked if one.method == "order.place"] == [
        order.client_id for order in orders
    ]
    assert script.asked[-1].method == "order.cancel"


@BOTH_WAYS
@pytest.mark.parametrize(
    ("status", "executed", "kind"),
    [("NEW", "0", Accepted), ("PARTIALLY_FILLED", "0.1", Accepted), ("FILLED", "1", Ended), ("EXPIRED", "0", Ended)],
)
async def test_a_placements_reply(
    script: Script, open_venue: Open, use_ws: bool, status: str, executed: str, kind: type[Event]
) -> None:
    script.on["order.place"] = lambda p: Answer(order_shape(p, status=status, executedQty=executed))
    session = await open_venue(use_ws=use_ws)
    order = session.new(Side.BUY, "1", tif=TimeInForce.GTC)
    await session.place(order)
    assert [type(event) for event in session.answers(order.client_id)] == [kind]


async def test_one_that_meets_our_own_is_refused_whoever_tells_first(script: Script, open_venue: Open) -> None:
    session = await open_venue()
    script.on["order.place"] = lambda p: Answer(order_shape(p, status="EXPIRED_IN_MATCH"))
    first, second = session.bids(2)
    await session.place(first)
    script.on["order.place"] = lambda _: SILENCE
    session.venue.submit([second], [])
    shape = order_shape({"newClientOrderId": second.client_id})
    await script.tell(new_report(shape))
    await script.tell(new_report(shape, x="EXPIRED", X="EXPIRED_IN_MATCH"))
    await session.quiet()
    for order in (first, second):
        assert [(type(event), event.code) for event in session.of(order.client_id)] == [(Rejected, "self_trade")]


async def test_replies_and_the_stream_tell_each_thing_once(script: Script, open_venue: Open) -> None:
    session = await open_venue()
    order = session.new(Side.BUY, "1")
    await session.place(order)
    await session.cancel(order)
    shape = order_shape({"newClientOrderId": order.client_id}, 101)
    await script.tell(new_report(shape, x="CANCELED", X="CANCELED", c="y", C=order.client_id))
    await script.tell(new_report(shape, x="CANCELED", X="CANCELED", c="y", C=order.client_id))
    await session.quiet()
    assert [type(event) for event in session.of(order.client_id)] == [Accepted, Ended]


async def test_balances_wait_for_the_reports_of_orders_that_replies_told_of(script: Script, open_venue: Open) -> None:
    session = await open_venue()
    script.reports = False
    order = session.new(Side.BUY, "1")
    await session.place(order)
    await script.tell({"e": "outboundAccountPosition", "B": [{"a": "BTC", "f": "2", "l": "0"}]})
    await asyncio.sleep(0.05)
    assert not session.events(BalancesChanged)  # it may lack the order's lock
    await script.tell(new_report(order_shape({"newClientOrderId": order.client_id}, 101)))
    await script.tell({"e": "outboundAccountPosition", "B": [{"a": "USDT", "f": "1", "l": "1"}]})
    await session.until(lambda: bool(session.events(BalancesChanged)))
    assert session.balances_told() == {"BTC": Balance(D(2), D(0)), "USDT": Balance(D(1), D(1))}


async def test_events_of_others_are_left_out(script: Script, open_venue: Open) -> None:
    session = await open_venue()
    await script.tell(new_report(order_shape({"newClientOrderId": "web_1"})))
    await script.tell(new_report(order_shape({"newClientOrderId": "web_1"}), x="CANCELED", X="CANCELED"))
    await session.quiet()
    assert session.heard == []


# Refusals


@BOTH_WAYS
@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        (refused(-2010, "Order would immediately match and take."), "would_match", "immediately match"),
        (refused(-2010, "Account has insufficient balance for requested action."), "balance", "insufficient"),
        (refused(-1013, "Filter failure: LOT_SIZE"), "filter_lot_size", "LOT_SIZE"),
        (refused(-2015, "Invalid API-key, IP, or permissions for action.", 401), "permission", "permissions"),
        (refused(-1022, "Signature for this request is not valid."), "signature", "API secret"),
        (refused(-1121, "Invalid symbol."), "symbol", "symbol"),
    ],
)
async def test_a_definite_refusal_is_told_with_its_mend(
    script: Script, open_venue: Open, use_ws: bool, answer: Answer, code: str, words: str
) -> None:
    script.on["order.place"] = lambda _: answer
    session = await open_venue(use_ws=use_ws)
    order = session.new(Side.BUY, "1")
    await session.place(order)
    (event,) = session.answers(order.client_id)
    assert isinstance(event, Rejected)
    assert event.code == code
    assert words in event.reason


@BOTH_WAYS
@pytest.mark.parametrize(
    "answer",
    [
        refused(-1007, "Timeout waiting for response from backend server.", 504),
        refused(-1000, "An unknown error occurred."),
        refused(-2010, "Account has insufficient balance for requested action.", 503),
        Answer({"orderId": "a word"}),
        Answer({"symbol": "BTCUSDT"}),
        Answer(raw=b"<html>maintenance</html>"),
        Answer(order_shape({"newClientOrderId": "another"})),
        CUT,
        SILENCE,
    ],
    ids=str,
)
async def test_all_else_is_unsettled_and_never_sent_again(
    script: Script, open_venue: Open, use_ws: bool, answer: Answer
) -> None:
    session = await open_venue(use_ws=use_ws)
    for method in ("order.place", "order.cancel"):
        script.on[method] = lambda _: answer
    order, other = session.bids(2)
    session.venue.submit([order], [CancelOrder(SYMBOL, other.client_id)])
    await session.until(lambda: len(session.events(Unsettled)) == 2)
    await session.quiet()
    assert [event.request for event in session.of(order.client_id)] == [Request.PLACE]
    assert [event.request for event in session.of(other.client_id)] == [Request.CANCEL]
    assert script.count("order.place") == 1
    assert script.count("order.cancel") <= 1


@BOTH_WAYS
async def test_a_cancel_of_an_unknown_order(script: Script, open_venue: Open, use_ws: bool) -> None:
    script.on["order.cancel"] = lambda _: refused(-2011, "Unknown order sent.")
    session = await open_venue(use_ws=use_ws)
    order = session.new(Side.BUY, "1")
    await session.cancel(order)
    (event,) = session.cancel_answers(order.client_id)
    assert event == CancelRefused(order.client_id, True, "Unknown order sent.")


def _requests() -> int:
    return sum(isinstance(one, Pending | WsRequest) for one in gc.get_objects())


@BOTH_WAYS
async def test_a_request_that_is_over_is_free_without_a_collection(
    script: Script, open_venue: Open, use_ws: bool
) -> None:
    """Thousands an hour that only the garbage collector frees are memory that grows, and pauses."""
    session = await open_venue(use_ws=use_ws)
    gc.collect()
    kept = _requests()
    gc.disable()
    try:
        for order in session.bids(5):
            await session.place(order)
            session.venue.submit([], [CancelOrder(SYMBOL, order.client_id)])
            await session.until(lambda placed=order: bool(session.cancel_answers(placed.client_id)))
        await session.quiet()
        assert _requests() <= kept + 2, "the reader has the last one in hand"
    finally:
        gc.enable()
