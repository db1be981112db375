"""The story of an order: its last state and the evidence of its end, from what its entries say."""

from __future__ import annotations

import pytest

from mmctl.core.entries import Entry, Kind, Plain
from mmctl.core.story import told

ID = "N0B0000000H00000001ZZ"


def of(kind: Kind, **body: Plain) -> Entry:
    return Entry(kind, 0, "mock", "main", symbol="BTCUSDT", client_id=ID, body=body)


PLACED = [of(Kind.INTENT, price="1", qty="2", decision="1-1"), of(Kind.REQUEST, request="place")]


@pytest.mark.parametrize(
    ("entries", "state", "evidence"),
    [
        (PLACED[:1], "intended", ""),
        (PLACED, "in_flight", ""),
        ([*PLACED, of(Kind.REPLY, event="accepted", state="open")], "open", ""),
        ([*PLACED, of(Kind.REPLY, event="unsettled", state="unknown", detail="time-out")], "unknown", ""),
        (
            [*PLACED, of(Kind.END, state="rejected", told_by="rejected", evidence="it would match")],
            "rejected",
            "the venue refused it: it would match",
        ),
        (
            [*PLACED, of(Kind.END, state="never_landed", told_by="not_found", evidence="")],
            "never_landed",
            "the venue does not know it",
        ),
        ([PLACED[0], of(Kind.END, state="not_sent", evidence="halted")], "not_sent", "halted"),
        (
            [*PLACED, of(Kind.END, state="cancelled", told_by="ended"), of(Kind.REPLY, event="accepted", state="open")],
            "cancelled",
            "the venue said so",
        ),
        ([*PLACED, of(Kind.END, state="never_landed", told_by="not_found"), of(Kind.ADOPTED)], "open", ""),
        ([of(Kind.END)], "ended", ""),
    ],
)
def test_the_last_state_and_what_it_rests_on(entries: list[Entry], state: str, evidence: str) -> None:
    story = told(ID, entries)
    assert (story.state, story.evidence) == (state, evidence)


def test_a_trade_that_is_told_twice_fills_once() -> None:
    fills = [of(Kind.FILL, trade_id=trade, qty="0.10") for trade in ("1", "2", "1")]
    assert told(ID, [*PLACED, *fills]).filled == "0.20"
    assert told(ID, [*PLACED, of(Kind.FILL, trade_id="1", qty="much")]).filled == ""


@pytest.mark.parametrize("broken", [None, "text", [], [[]], [[None]], {"x": 1}, 3])
def test_a_decision_of_another_shape_says_nothing(broken: Plain) -> None:
    decision = Entry(Kind.DECISION, 0, "mock", "main", body={"decision": "1-2", "keep": broken, "cancel": broken})
    assert len(told(ID, [*PLACED, decision]).chapters) == len(PLACED)
