"""One value of each report and answer, for the tests of text and JSON."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from view_samples import BTC, MID, SHIB, TS_MS, book, own

from mmctl.core.events import Fill
from mmctl.core.order import Layer, Quote, Side, State
from mmctl.core.report import (
    BookLine,
    BookShown,
    EngineSeen,
    PairOrders,
    PairSummary,
    Planned,
    Refusal,
    RoundDone,
    Started,
    Stopped,
    Summary,
    Wanted,
)

NEAR_ASK = own(Layer.NEAR, Side.SELL, MID + 5, 2_000, 1, order_id="77", filled=500)
FAR_BID = own(Layer.FAR, Side.BUY, MID - 30_000, 50_000, 2)
REFUSAL = Refusal(Layer.NEAR, Side.BUY, 3, "min_amount", "4.9 is under 5 USDT")
STARTED = Started("0.1.0", "profiles/default.toml", "mock", "mock", "main", ("BTC-USDT",), 17, ("halt 1 by anna",))
ROUND = RoundDone(
    pair="BTC-USDT",
    ts_ms=TS_MS,
    layer=Layer.NEAR,
    round=12,
    forced=False,
    follow_up=False,
    book=BookLine("mock", "61837.63", "61837.64", 120.4567),
    instrument=BTC,
    target=(Quote(Layer.NEAR, Side.SELL, MID + 5, 2_000, 1),),
    keep=(NEAR_ASK,),
    place=(replace(NEAR_ASK, state=State.IN_FLIGHT, order_id=None, filled=0),),
    cancel=(Wanted(NEAR_ASK, "unmatched"),),
    refused=(REFUSAL,),
    placed=1,
    rejected=0,
    cancelled=1,
    unknown=0,
    read_ms=0.31,
    decide_ms=0.4,
    send_ms=0.05,
)
TRADE = Fill("x", "77", "t9", Side.SELL, Decimal("61837.69"), Decimal("0.00500"), Decimal("8.12E-6"), "BNB", True, 5)
SUMMARY = Summary(
    rounds=24,
    placed=30,
    kept=200,
    cancelled=29,
    rejected=1,
    unknown=0,
    fills=2,
    faults=1,
    pairs=(PairSummary("BTC-USDT", BTC, Decimal("-1E-5"), (FAR_BID,)), PairSummary("SHIB-USDT", SHIB, Decimal(0), ())),
    elapsed_ms=12_300.5,
)
SHOWN = BookShown("BTC-USDT", BTC, book(2), 120.0, (NEAR_ASK,), 3)
PLANNED = Planned(
    pair="BTC-USDT",
    instrument=BTC,
    keep=(Wanted(FAR_BID, "matched"),),
    place=(Wanted(replace(NEAR_ASK, client_id="", order_id=None, filled=0), "new"),),
    cancel=(Wanted(NEAR_ASK, "unmatched"),),
    refused=(REFUSAL,),
)
STOPPED = Stopped(
    venue="binance",
    account="main",
    scope="near",
    pairs=("BTC-USDT",),
    halt="set",
    proof="acknowledged",
    engines=(EngineSeen("host:42", 17, "acknowledged"),),
    cancelled=("N0B1",),
    remaining=(PairOrders("BTC-USDT", BTC, (FAR_BID,)),),
    foreign=0,
    far_left=1,
    position={"BTC-USDT": Decimal("0.5")},
    halts=("1 near by anna",),
    first_empty_ms=80.5,
    took_ms=300.0,
)
