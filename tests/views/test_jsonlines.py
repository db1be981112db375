"""JSON version 1: every field of every event is there, and numbers are texts that a program can add up."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from report_samples import FAR_BID, NEAR_ASK, PLANNED, ROUND, SHOWN, STARTED, STOPPED, SUMMARY, TRADE
from view_samples import BTC, SHIB, TS_MS, own

from mmctl.core.book import Book, BookKey
from mmctl.core.order import Layer, Side
from mmctl.core.report import (
    Faulted,
    Filled,
    PairSummary,
    Skipped,
)
from mmctl.views import jsonlines

FIELDS = {
    "start": "version profile mode venue account pairs epoch halts",
    "round": "pair ts_ms layer round forced book target keep place cancel refused outcome took",
    "skip": "pair layer reason detail",
    "fill": "pair client_id order_id layer side price qty filled state fee maker",
    "fault": "pair kind detail action",
    "summary": "rounds placed kept cancelled rejected unknown fills faults position open_orders elapsed_ms",
    "book": "pair exchange symbol ts_ms age_ms bids asks own foreign",
    "plan": "pair keep place cancel refused changes",
    "stopped": "venue account scope pairs halt proof engines cancelled remaining foreign first_empty_ms took_ms",
    "error": "kind message hint",
}
LINES = [
    jsonlines.encode(STARTED),
    jsonlines.encode(ROUND),
    jsonlines.encode(Skipped("BTC-USDT", TS_MS, Layer.FAR, "stale_book", "3.2 s old")),
    jsonlines.encode(Filled("BTC-USDT", BTC, NEAR_ASK, TRADE)),
    jsonlines.encode(Faulted("BTC-USDT", TS_MS, "venue_unreachable", "cut\nagain", "cancelled near")),
    jsonlines.encode(SUMMARY),
    jsonlines.book(SHOWN),
    jsonlines.plan(PLANNED),
    jsonlines.stopped(STOPPED),
    jsonlines.error("usage", "no such pair: X", "name one of BTC-USDT"),
]
EVENTS: dict[str, dict[str, Any]] = {(event := json.loads(line))["event"]: event for line in LINES}


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_of_every_event_is_there(name: str) -> None:
    event = EVENTS[name]
    assert event["v"] == 1
    assert not set(FIELDS[name].split()) - set(event)
    assert "unread" not in event


@pytest.mark.parametrize("line", LINES)
def test_one_object_is_one_line(line: str) -> None:
    assert "\n" not in line
    assert list(json.loads(line))[:2] == ["v", "event"]


ORDER = {
    "pair": "BTC-USDT",
    "client_id": NEAR_ASK.client_id,
    "order_id": "77",
    "layer": "near",
    "side": "sell",
    "price": "61837.69",
    "qty": "0.02000",
    "filled": "0.00500",
    "state": "open",
}


def test_an_order_is_an_object_of_its_own_fields() -> None:
    assert EVENTS["round"]["keep"] == [ORDER]
    assert EVENTS["round"]["cancel"] == [ORDER | {"reason": "unmatched"}]
    assert EVENTS["book"]["own"] == [ORDER]


def test_a_round_in_full() -> None:
    event = EVENTS["round"]
    assert event["ts_ms"] == TS_MS
    assert event["layer"] == "near"
    assert event["book"] == {"source": "mock", "bid": "61837.63", "ask": "61837.64", "age_ms": 120.457}
    assert event["target"] == [{"side": "sell", "price": "61837.69", "qty": "0.02000", "level": 1}]
    assert event["refused"][0].items() >= {"side": "buy", "level": 3, "reason": "min_amount"}.items()
    assert event["outcome"] == {"placed": 1, "rejected": 0, "cancelled": 1, "unknown": 0}
    assert event["took"] == {"read_ms": 0.31, "decide_ms": 0.4, "send_ms": 0.05}
    assert event["follow_up"] is False


def test_a_fill_keeps_the_order_and_the_trade_apart() -> None:
    event = EVENTS["fill"]
    assert event.items() >= ORDER.items()
    trade = {"ts_ms": 5, "trade_id": "t9", "trade_price": "61837.69", "trade_qty": "0.00500"}
    assert event.items() >= {**trade, "fee": "0.00000812", "fee_asset": "BNB", "maker": True}.items()


def test_a_summary_has_all_pairs() -> None:
    assert EVENTS["summary"]["position"] == {"BTC-USDT": "-0.00001", "SHIB-USDT": "0"}
    assert [order["client_id"] for order in EVENTS["summary"]["open_orders"]] == [FAR_BID.client_id]


def test_one_unread_pair_makes_the_open_orders_null() -> None:
    unread = PairSummary("SHIB-USDT", SHIB, Decimal(0), None, "timed out")
    event = json.loads(jsonlines.encode(replace(SUMMARY, pairs=(SUMMARY.pairs[0], unread))))
    assert event["open_orders"] is None
    assert event["unread"] == "SHIB-USDT: timed out"


def test_no_pair_at_all_is_an_empty_list_that_was_read() -> None:
    event = json.loads(jsonlines.encode(replace(SUMMARY, pairs=())))
    assert (event["open_orders"], event["position"]) == ([], {})
    assert "unread" not in event


def test_a_book_beside_an_unread_venue() -> None:
    event = json.loads(jsonlines.book(replace(SHOWN, own=None, foreign=None, unread="the profile has no keys")))
    assert (event["own"], event["foreign"], event["unread"]) == (None, None, "the profile has no keys")


def test_a_book_keeps_its_feeds_digits() -> None:
    tiny = Book.of(BookKey("B", "S"), 1, [(Decimal("8.12E-6"), Decimal("1E+7"))], [], "redis")
    event = json.loads(jsonlines.book(replace(SHOWN, book=tiny)))
    assert (event["bids"], event["asks"]) == ([["0.00000812", "10000000"]], [])


def test_a_planned_placement_has_no_client_id_yet() -> None:
    event = EVENTS["plan"]
    assert event["changes"] == 2
    placement = {"pair": "BTC-USDT", "layer": "near", "side": "sell", "price": "61837.69", "qty": "0.02000"}
    assert event["place"] == [placement | {"client_id": None, "reason": "new"}]
    assert event["keep"][0]["reason"] == "matched"


def test_what_a_stop_could_not_read_is_null() -> None:
    unread = replace(STOPPED, remaining=None, foreign=None, position=None, first_empty_ms=None, unread="timed out")
    event = json.loads(jsonlines.stopped(unread))
    assert [event[name] for name in ("remaining", "foreign", "position", "first_empty_ms")] == [None] * 4
    assert event["unread"] == "timed out"


def test_a_stop_that_read_all_but_never_saw_an_empty_venue_has_nothing_unread() -> None:
    assert "unread" not in json.loads(jsonlines.stopped(replace(STOPPED, first_empty_ms=None)))


def test_a_stop_lists_what_remains_and_engines_as_objects() -> None:
    event = EVENTS["stopped"]
    assert event["cancelled"] == ["N0B1"]
    assert event["engines"] == [{"name": "host:42", "epoch": 17, "state": "acknowledged"}]
    assert [order["client_id"] for order in event["remaining"]] == [FAR_BID.client_id]
    assert event["position"] == {"BTC-USDT": "0.5"}


def numbers(value: object, name: str = "") -> list[tuple[str, object]]:
    if isinstance(value, Mapping):
        return [each for key, inner in value.items() for each in numbers(inner, str(key))]
    if isinstance(value, list):
        return [each for inner in value for each in numbers(inner, name)]
    return [(name, value)]


@pytest.mark.parametrize("name", FIELDS)
def test_money_is_text_and_only_durations_are_fractions(name: str) -> None:
    for field, value in numbers(EVENTS[name]):
        if field in {"price", "qty", "filled", "fee", "bid", "ask", "trade_price", "trade_qty"}:
            assert isinstance(value, str)
            assert "e" not in value.lower()
        if isinstance(value, float):
            assert field.endswith("_ms")
        if field == "ts_ms":
            assert isinstance(value, int)


def test_small_prices_of_own_orders_are_fixed_point() -> None:
    order = own(Layer.NEAR, Side.BUY, 812, 123_456)
    event = json.loads(jsonlines.encode(replace(ROUND, instrument=SHIB, keep=(order,))))
    assert (event["keep"][0]["price"], event["keep"][0]["qty"]) == ("0.00000812", "123456")


def test_a_path_that_is_not_utf8_is_still_one_line_of_json() -> None:
    path = b"profiles/\xff.toml".decode("utf-8", "surrogateescape")
    line = jsonlines.encode(replace(STARTED, profile=path))
    assert line.isascii()
    assert json.loads(line)["profile"] == path
