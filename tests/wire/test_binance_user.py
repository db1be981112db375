"""The user data stream, with the shapes of user-data-stream.md, as our events."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest

from mmctl.core.events import Accepted, Balance, BalancesChanged, Ended, Event, Fill, Rejected
from mmctl.core.order import Layer, Side, State, encode_own_id
from mmctl.wire.binance import UnknownShape, original_id
from mmctl.wire.binance_user import BalancesTold, FundsMoved, OrderTold, StreamOver, read_user_event

D = Decimal
OWN = encode_own_id(Layer.NEAR, Side.BUY, 1, 7)


def report(**changed: object) -> bytes:
    shape: dict[str, object] = {
        "e": "executionReport",
        "E": 1499405658658,
        "s": "ETHBTC",
        "c": OWN,
        "S": "BUY",
        "o": "LIMIT_MAKER",
        "f": "GTC",
        "q": "1.00000000",
        "p": "0.10264410",
        "g": -1,
        "C": "",
        "x": "NEW",
        "X": "NEW",
        "r": "NONE",
        "i": 4293153,
        "l": "0.00000000",
        "z": "0.00000000",
        "L": "0.00000000",
        "n": "0",
        "N": None,
        "T": 1499405658657,
        "t": -1,
        "I": 8641984,
        "w": True,
        "m": False,
        "M": False,
        "V": "EXPIRE_TAKER",
    }
    return msgspec.json.encode({**shape, **changed})


TRADE: dict[str, object] = {
    "x": "TRADE", "X": "PARTIALLY_FILLED", "l": "0.40000000", "L": "0.10264000", "z": "0.40000000",
    "n": "0.00040000", "N": "ETH", "t": 77, "m": True,
}  # fmt: skip
FILL = Fill(OWN, "4293153", "77", Side.BUY, D("0.10264"), D("0.4"), D("0.0004"), "ETH", True, 1499405658657)


@pytest.mark.parametrize(
    ("changed", "events"),
    [
        ({}, [Accepted(OWN, "4293153")]),
        (TRADE, [FILL]),
        ({**TRADE, "X": "FILLED", "z": "1.0"}, [FILL, Ended(OWN, "4293153", State.FILLED, D("1.0"))]),
        (
            {"x": "CANCELED", "X": "CANCELED", "c": "cancel-1", "C": OWN, "z": "0.4"},
            [Ended(OWN, "4293153", State.CANCELLED, D("0.4"))],
        ),
        ({"x": "CANCELED", "X": "CANCELED"}, [Ended(OWN, "4293153", State.CANCELLED, D(0))]),
        (
            {"x": "EXPIRED", "X": "EXPIRED", "eR": "EXCHANGE_CANCELED"},
            [Ended(OWN, "4293153", State.EXPIRED, D(0), "exchange canceled")],
        ),
        (
            {"x": "TRADE_PREVENTION", "X": "EXPIRED_IN_MATCH", "z": "0.1"},
            [Ended(OWN, "4293153", State.EXPIRED, D("0.1"), "self-trade prevention")],
        ),
        ({"x": "TRADE_PREVENTION", "X": "PARTIALLY_FILLED"}, []),
        (
            {"x": "REJECTED", "X": "REJECTED", "r": "WOULD_MATCH_IMMEDIATELY"},
            [Rejected(OWN, "would_match", "would match immediately")],
        ),
        ({"x": "REPLACED", "X": "NEW"}, []),
    ],
)
def test_a_report_says(changed: dict[str, object], events: list[Event]) -> None:
    told = read_user_event(report(**changed))
    assert isinstance(told, OrderTold)
    assert (told.symbol, told.client_id, told.order_id) == ("ETHBTC", OWN, "4293153")
    assert list(told.events) == events


@pytest.mark.parametrize(("filled", "untraded"), [("0.0", True), ("0.1", False)])
def test_an_order_that_met_our_own_is_marked_where_it_never_traded(filled: str, untraded: bool) -> None:
    told = read_user_event(report(x="EXPIRED", X="EXPIRED_IN_MATCH", z=filled))
    assert isinstance(told, OrderTold)
    assert told.untraded_prevention is untraded


def test_a_cancel_of_ours_marks_the_order_that_it_ended() -> None:
    assert original_id(f"X{OWN}") == OWN
    assert original_id("Xanything") == "Xanything"
    told = read_user_event(report(c=f"X{OWN}"))
    assert isinstance(told, OrderTold)
    assert told.client_id == OWN


def test_balances_and_the_rest() -> None:
    position = {"e": "outboundAccountPosition", "E": 1, "u": 1, "B": [{"a": "ETH", "f": "10000.0", "l": "0.5"}]}
    told = read_user_event(msgspec.json.encode(position))
    assert told == BalancesTold(BalancesChanged({"ETH": Balance(D("10000.0"), D("0.5"))}))
    moved = {"e": "balanceUpdate", "E": 1, "a": "BTC", "d": "100.0", "T": 1}
    assert read_user_event(msgspec.json.encode(moved)) == FundsMoved("BTC")
    for kind in ("eventStreamTerminated", "serverShutdown"):
        assert isinstance(read_user_event(msgspec.json.encode({"e": kind, "E": 1})), StreamOver)
    assert read_user_event(b'{"e":"listStatus","s":"ETHBTC"}') is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"e":"executionReport"}',
        report(x="TRADE"),
        report(z="many"),
        report(x="TRADE", t=1, S="UP"),
    ],
)
def test_another_shape_is_an_error(body: bytes) -> None:
    with pytest.raises(UnknownShape):
        read_user_event(body)


@pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity", "-Infinity", "-1"])
@pytest.mark.parametrize("name", ["l", "L", "z"])
def test_a_report_whose_numbers_are_none_is_of_an_unknown_shape(name: str, text: str) -> None:
    with pytest.raises(UnknownShape):
        read_user_event(report(**{"x": "TRADE", "X": "FILLED", "t": 5, name: text}))


@pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity", "-1"])
@pytest.mark.parametrize("name", ["f", "l"])
def test_a_balance_that_is_no_number_is_of_an_unknown_shape(name: str, text: str) -> None:
    asset = {"a": "BTC", "f": "1", "l": "2", name: text}
    with pytest.raises(UnknownShape):
        read_user_event(msgspec.json.encode({"e": "outboundAccountPosition", "B": [asset]}))
