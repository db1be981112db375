"""The Binance venue in trouble: cuts, silence, limits, clocks, keys, addresses. No storm, and each told in a line."""

from __future__ import annotations

import asyncio
import logging
import shutil
import ssl
import traceback
from decimal import Decimal
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from mmctl.core.events import (
    Accepted,
    CancelRefused,
    Ended,
    Gap,
    Rejected,
    Unsettled,
)
from mmctl.core.order import CancelOrder, Side
from mmctl.errors import UsageError, VenueRefused, VenueUnreachable
from mmctl.venues.binance import BinanceUrls
from mmctl.venues.binance_gate import HOLD_MARGIN_S
from mmctl.wire.binance import SUBSCRIBE

from .binance_script import (
    BOTH_WAYS,
    CUT,
    KEY,
    SECRET,
    SILENCE,
    Answer,
    Open,
    Params,
    Script,
    new_report,
    new_venue,
    order_shape,
    refused,
    times,
)
from .harness import SYMBOL

D = Decimal


# Cuts and silence


async def test_a_cut_in_the_middle_of_a_batch(script: Script, open_venue: Open) -> None:
    session = await open_venue()
    taken = iter(range(99))
    quiet = script._quiet
    script.on["order.place"] = lambda p: quiet(p) if next(taken) < 3 else CUT
    orders = session.bids(8)
    session.venue.submit(orders, [])
    await session.until(lambda: all(session.answers(order.client_id) for order in orders))
    await session.quiet()
    kinds = [type(event) for order in orders for event in session.answers(order.client_id)]
    assert kinds == [Accepted] * 3 + [Unsettled] * 5
    ids = [one.params["newClientOrderId"] for one in script.asked if one.method == "order.place"]
    assert len(ids) == len(set(ids))
    await session.until(lambda: session.venue.over_socket)  # it comes back by itself


async def test_where_the_socket_is_refused_rest_serves(script: Script, open_venue: Open) -> None:
    session = await open_venue(user_stream=False)
    await script.cut()
    script.refuse_sockets = 503
    await session.until(lambda: not session.venue.over_socket)
    order = session.new(Side.BUY, "1")
    await session.place(order)
    assert script.count("order.place", "rest") == 1
    script.refuse_sockets = 0
    await session.until(lambda: session.venue.over_socket)


async def test_a_venue_opens_without_the_socket_for_orders(script: Script, open_venue: Open) -> None:
    script.refuse_sockets = 503
    session = await open_venue(user_stream=False)
    await session.place(session.new(Side.BUY, "1"))
    assert script.count("order.place", "rest") == 1


async def test_what_the_stream_tells_settles_a_placement_whose_reply_is_lost(script: Script, open_venue: Open) -> None:
    session = await open_venue()
    script.on["order.place"] = lambda _: SILENCE
    rests, late, ended = session.bids(3)
    session.venue.submit([rests, late, ended], [])
    await script.tell(new_report(order_shape({"newClientOrderId": rests.client_id})))
    await script.tell(new_report(order_shape({"newClientOrderId": ended.client_id}), x="EXPIRED", X="EXPIRED"))
    await session.until(lambda: bool(session.events(Unsettled)))
    await script.tell(new_report(order_shape({"newClientOrderId": late.client_id})))
    await session.quiet()
    assert [type(event) for event in session.of(rests.client_id)] == [Accepted]
    assert [type(event) for event in session.of(late.client_id)] == [Unsettled, Accepted]
    assert [type(event) for event in session.of(ended.client_id)] == [Ended]


@pytest.mark.parametrize(
    "told", [{"x": "REJECTED", "X": "REJECTED"}, {"x": "TRADE_PREVENTION", "X": "EXPIRED_IN_MATCH"}]
)
async def test_a_reply_that_never_comes_is_not_waited_for_beyond_the_landing_time(
    script: Script, open_venue: Open, told: Params
) -> None:
    session = await open_venue()
    script.on["order.place"] = lambda _: SILENCE
    order = session.new(Side.BUY, "1")
    session.venue.submit([order], [])
    await session.until(lambda: script.count("order.place") == 1)
    await script.tell(new_report(order_shape({"newClientOrderId": order.client_id}), **told))
    await session.until(lambda: bool(session.of(order.client_id)))
    assert [type(event) for event in session.of(order.client_id)] == [Rejected]
    await session.until(lambda: not any(session.venue._gate.ledger._in_flight.values()), 3.0)
    assert not session.venue._links.orders._waiting
    assert len(session.of(order.client_id)) == 1


async def test_cancels_that_were_given_up_in_a_hold_do_not_leave_after_it(script: Script, open_venue: Open) -> None:
    session = await open_venue(times=times(request_timeout_s=0.3))
    first, second = session.bids(2)
    await session.place(first, second)
    now_ms = script.now_ms()
    data = {"serverTime": now_ms, "retryAfter": now_ms + 700}
    script.on["openOrders.status"] = lambda _: refused(-1003, "Too many.", 429, headers={"Retry-After": "1"}, data=data)
    with pytest.raises(VenueUnreachable):
        await session.venue.open_orders(SYMBOL)
    await session.cancel(first)
    assert [type(event) for event in session.cancel_answers(first.client_id)] == [CancelRefused]
    await asyncio.sleep(session.venue.hold_s - 0.2)
    await session.cancel(second)
    assert [type(event) for event in session.cancel_answers(second.client_id)] == [Ended]
    assert script.count("order.cancel") == 1


async def test_a_stream_that_was_cut_comes_back_and_a_gap_is_told(script: Script, open_venue: Open) -> None:
    session = await open_venue()
    await script.cut(script.streams)
    await session.until(lambda: len(session.events(Gap)) == 2)
    lost, back = session.events(Gap)
    assert "lost" in str(lost)
    assert "back" in str(back)
    assert script.count("userDataStream.subscribe.signature") == 2


async def test_a_stream_that_does_not_come_back_is_told_once(script: Script, open_venue: Open) -> None:
    session = await open_venue()
    script.on["userDataStream.subscribe.signature"] = lambda _: refused(-2015, "Invalid API-key.", 401)
    await script.cut(script.streams)
    await session.until(lambda: script.count("userDataStream.subscribe.signature") == 4)
    assert [event.reason.split(":")[0] for event in session.events(Gap) if isinstance(event, Gap)] == [
        "the user data stream was lost",
        "the user data stream does not come back",
    ]


@pytest.mark.parametrize("event", [{"e": "eventStreamTerminated"}, {"e": "serverShutdown"}])
async def test_a_stream_that_says_it_ends_is_made_anew(script: Script, open_venue: Open, event: Params) -> None:
    session = await open_venue()
    await script.tell(event)
    await session.until(lambda: script.count("userDataStream.subscribe.signature") == 2)
    await session.until(lambda: len(session.events(Gap)) == 2)


async def test_a_subscription_that_died_while_its_socket_lives_is_noticed(script: Script, open_venue: Open) -> None:
    session = await open_venue(times=times(stream_lag_s=0.1))
    script.reports = False
    await session.place(session.new(Side.BUY, "1"))
    await session.until(lambda: script.count("userDataStream.subscribe.signature") == 2)
    assert "did not report" in str(session.events(Gap)[0])


async def test_a_socket_that_lives_and_says_nothing_is_given_up(script: Script, open_venue: Open) -> None:
    session = await open_venue(times=times(quiet_s=0.05, probe_s=0.1), user_stream=False)
    await session.until(lambda: script.count("time", "ws") >= 2)  # it answers, so it is kept
    assert session.venue.over_socket
    script.on["time"] = lambda _: SILENCE
    await session.until(lambda: not session.venue.over_socket)


async def test_a_user_event_of_an_unknown_shape_is_a_gap(script: Script, open_venue: Open) -> None:
    session = await open_venue()
    await script.tell({"e": "executionReport", "s": 5})
    await session.until(lambda: bool(session.events(Gap)))


# Limits


async def test_quoting_stops_at_its_share_and_cancels_go_on(script: Script, open_venue: Open) -> None:
    limit = {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 10}
    script.on["order.place"] = lambda p: Answer(
        order_shape(p), limits=[limit | {"count": script.count("order.place", "ws")}]
    )
    session = await open_venue()
    first = session.new(Side.BUY, "1")
    await session.place(first)
    orders = session.bids(20)
    session.venue.submit(orders, [CancelOrder(SYMBOL, first.client_id)])
    assert len(session.heard) == 1  # never from within
    await session.quiet()
    assert script.count("order.place") == 8
    codes = [event.code for event in session.events(Rejected) if isinstance(event, Rejected)]
    assert codes == ["rate_budget"] * 13
    assert isinstance(session.cancel_answers(first.client_id)[0], Ended)


@BOTH_WAYS
@pytest.mark.parametrize("status", [429, 418])
async def test_nothing_leaves_before_the_venue_allows_it_then_cancels_first(
    script: Script, open_venue: Open, use_ws: bool, status: int
) -> None:
    session = await open_venue(use_ws=use_ws, times=times(request_timeout_s=2.5, settle_s=4.0))
    first = session.new(Side.BUY, "1")
    await session.place(first)

    def ban(params: Params) -> Answer:
        until_ms = script.now_ms() + 1000
        return refused(-1003, "Too many requests.", status, headers={"Retry-After": "1"}, data={"retryAfter": until_ms})

    script.on["order.place"] = ban
    second, third = session.bids(2)
    await session.place(second)
    del script.on["order.place"]
    asked = len(script.asked)
    assert 0 < session.venue.hold_s <= 1 + HOLD_MARGIN_S
    session.venue.submit([third], [CancelOrder(SYMBOL, first.client_id)])
    with pytest.raises(VenueUnreachable, match="held for another"):
        await session.venue.open_orders(SYMBOL)
    await session.until(lambda: bool(session.of(third.client_id)))
    assert [event.code for event in session.of(third.client_id)] == ["rate_budget"]
    await asyncio.sleep(0.5)
    assert len(script.asked) == asked
    await session.until(lambda: bool(session.cancel_answers(first.client_id)), 2.0)
    assert [one.method for one in script.asked[asked:]] == ["order.cancel"]
    assert isinstance(session.cancel_answers(first.client_id)[0], Ended)


@pytest.mark.parametrize("moved_ms", [-1500, 1500])
async def test_a_hold_counts_from_the_time_that_comes_with_it(script: Script, open_venue: Open, moved_ms: int) -> None:
    session = await open_venue()
    script.clock_ahead_ms = moved_ms  # within recvWindow: nobody has had a reason to measure it again
    now_ms = script.now_ms()
    data = {"serverTime": now_ms, "retryAfter": now_ms + 1000}
    script.on["order.place"] = lambda _: refused(-1003, "Too many requests.", 429, data=data)
    await session.place(session.new(Side.BUY, "1"))
    assert 0.9 < session.venue.hold_s <= 1 + HOLD_MARGIN_S


@pytest.mark.parametrize("status", [429, 418])
async def test_a_hold_that_a_new_user_data_stream_is_told_is_obeyed(
    script: Script, open_venue: Open, status: int
) -> None:
    session = await open_venue()

    def hold(params: Params) -> Answer:
        now_ms = script.now_ms()
        data = {"serverTime": now_ms, "retryAfter": now_ms + 600}
        return refused(-1003, "Too many requests.", status, data=data)

    asked = script.count(SUBSCRIBE.method)
    script.on[SUBSCRIBE.method] = hold
    await script.cut(script.streams)
    await session.until(lambda: script.count(SUBSCRIBE.method) > asked)
    await session.until(lambda: session.venue.hold_s > 0)
    sent = len(script.asked)
    await session.place(session.new(Side.BUY, "1"))
    await asyncio.sleep(0.4)
    assert len(script.asked) == sent
    del script.on[SUBSCRIBE.method]
    await session.until(lambda: bool(script.streams), 2.0)


@pytest.mark.parametrize("status", [429, 418])
async def test_a_hold_that_a_new_connection_is_told_is_obeyed(script: Script, open_venue: Open, status: int) -> None:
    session = await open_venue()
    script.refuse_sockets = status
    await script.cut()
    await session.until(lambda: session.venue.hold_s > 0)
    refused_so_far, sent = script.refused_sockets, len(script.asked)
    assert refused_so_far <= 2, "one of each kind"
    await asyncio.sleep(0.2)
    with pytest.raises(VenueUnreachable, match="held for another"):
        await session.venue.open_orders(SYMBOL)
    await asyncio.sleep(0.6)
    assert script.refused_sockets <= 2
    assert len(script.asked) == sent
    script.refuse_sockets = 0
    await session.until(lambda: bool(script.streams), 3.0)


async def test_a_hold_that_answers_no_request_is_obeyed(script: Script, open_venue: Open) -> None:
    session = await open_venue()
    now_ms = script.now_ms()
    error = {"code": -1003, "msg": "Too many.", "data": {"serverTime": now_ms, "retryAfter": now_ms + 700}}
    await script.streams[0].send_json({"id": None, "status": 429, "error": error})
    await session.until(lambda: session.venue.hold_s > 0.5)


async def test_a_limit_on_orders_alone_leaves_cancels_free(script: Script, open_venue: Open) -> None:
    session = await open_venue()
    script.on["order.place"] = lambda _: refused(-1015, "Too many new orders.", 429, data={"retryAfter": 2 * 10**12})
    order, next_order = session.bids(2)
    await session.place(order)
    await session.place(next_order)
    assert script.count("order.place") == 1
    await session.cancel(order)
    assert script.count("order.cancel") == 1


# Clock, keys, addresses


async def test_a_clock_that_is_off_by_a_minute_is_measured_and_does_not_matter(
    script: Script, open_venue: Open
) -> None:
    script.clock_ahead_ms = 60_000
    session = await open_venue()
    assert abs(session.venue.clock_offset_ms - 60_000) < 500
    await session.place(session.new(Side.BUY, "1"))
    assert abs(script.asked[-1].params["timestamp"] - script.now_ms()) < 1000


async def test_a_clock_that_goes_off_is_measured_again_once_then_told(script: Script, open_venue: Open) -> None:
    session = await open_venue()
    off = refused(-1021, "Timestamp for this request is outside of the recvWindow.")
    answers = iter([off, Answer([]), off, off])
    script.on["openOrders.status"] = lambda _: next(answers)
    measured = script.count("time")
    await session.venue.open_orders(SYMBOL)
    assert script.count("time") > measured
    script.clock_ahead_ms = -90_000
    with pytest.raises(VenueRefused, match=r"90\.\d+ s ahead of the venue's.*NTP"):
        await session.venue.open_orders(SYMBOL)
    script.on["order.place"] = lambda _: off
    order = session.new(Side.BUY, "1")
    await session.place(order)
    (event,) = session.answers(order.client_id)
    assert isinstance(event, Rejected)
    assert event.code == "clock"
    assert "90." in event.reason


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (refused(-2014, "API-key format invalid.", 401), "check the API key"),
        (refused(-2015, "Invalid API-key, IP, or permissions for action.", 401), "check the API key"),
        (refused(-1022, "Signature for this request is not valid."), "check the API secret"),
        (Answer({"canTrade": False, "balances": []}), "may not trade"),
    ],
)
async def test_a_wrong_key_is_refused_at_the_start(
    script: Script, open_venue: Open, answer: Answer, words: str
) -> None:
    script.on["account.status"] = lambda _: answer
    with pytest.raises(VenueRefused, match=words):
        await open_venue()


async def test_a_stream_that_is_refused_at_the_start(script: Script, open_venue: Open) -> None:
    script.on["userDataStream.subscribe.signature"] = lambda _: refused(-2015, "Invalid API-key.", 401)
    with pytest.raises(VenueRefused, match="user data stream"):
        await open_venue()


async def test_an_address_where_nobody_is() -> None:
    venue = new_venue(BinanceUrls("http://127.0.0.1:1", "ws://127.0.0.1:1/ws-api/v3", "ws://127.0.0.1:1"))
    with pytest.raises(VenueUnreachable, match=r"127\.0\.0\.1:1 cannot be reached.*check the address"):
        await venue.open()
    await venue.close()


def test_plain_addresses_are_for_loopback_only() -> None:
    with pytest.raises(UsageError, match="not encrypted"):
        new_venue(BinanceUrls("http://192.168.0.9", "wss://a/ws-api/v3", "wss://a"))


async def test_a_certificate_that_does_not_verify(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    asked = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2")
    quiet = asyncio.subprocess.DEVNULL
    made = await asyncio.create_subprocess_exec(
        openssl, *asked, "-keyout", key, "-out", certificate, stdout=quiet, stderr=quiet
    )
    assert await made.wait() == 0
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    server = TestServer(web.Application(), scheme="https")
    await server.start_server(ssl=context)
    place = f"127.0.0.1:{server.port}"
    venue = new_venue(BinanceUrls(f"https://{place}", f"wss://{place}/ws-api/v3", f"wss://{place}"))
    with pytest.raises(VenueUnreachable, match=r"certificate of 127\.0\.0\.1:.* does not verify .*clock"):
        await venue.open()
    await venue.close()
    await server.close()


async def test_key_secret_and_signature_are_in_no_text(
    script: Script, open_venue: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    session = await open_venue()
    script.on["order.place"] = lambda p: refused(-1022, f"bad {p['signature']} of {p['apiKey']}")
    script.on["openOrders.status"] = lambda p: refused(-1000, f"bad {p['signature']}")
    script.on["myTrades"] = lambda _: CUT
    order = session.new(Side.BUY, "1")
    await session.place(order)
    texts = [repr(session.venue), repr(vars(session.venue)), *(repr(heard) for heard in session.heard)]
    for read in (session.venue.open_orders(SYMBOL), session.venue.fills(SYMBOL, None)):
        with pytest.raises(VenueUnreachable) as caught:
            await read
        assert caught.value.__cause__ is None
        texts.append("".join(traceback.format_exception(caught.value)))
    texts += [record.getMessage() for record in caplog.records if record.name != "aiohttp.access"]  # the server's own
    signatures = [str(one.params["signature"]) for one in script.asked if "signature" in one.params]
    assert len(signatures) > 3
    for text in texts:
        assert not [one for one in (KEY, SECRET, *signatures) if one in text]
