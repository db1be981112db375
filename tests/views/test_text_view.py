"""Plain lines: one for each report, whatever a venue writes into it; and the plan, in text and in colour."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from decimal import Decimal

import pytest
from report_samples import FAR_BID, NEAR_ASK, PLANNED, ROUND, SHOWN, STARTED, STOPPED, SUMMARY, TRADE
from view_samples import BTC, TS_MS, drawn

from mmctl.core.order import Layer
from mmctl.core.report import Faulted, Filled, PairSummary, Report, Skipped
from mmctl.views import plan, text

SKIPPED = Skipped("BTC-USDT", TS_MS, Layer.FAR, "stale_book", "3.2 s old")
FAULTED = Faulted("BTC-USDT", TS_MS, "venue_unreachable", "cut", "cancelled near, backing off 2s")
ASK_ID, BID_ID = NEAR_ASK.client_id, FAR_BID.client_id

LINES: list[tuple[Report, str]] = [
    (
        STARTED,
        "MOCK venue mock account main pairs BTC-USDT halts halt 1 by anna epoch 17"
        " profile profiles/default.toml mmctl 0.1.0",
    ),
    (
        ROUND,
        "22:13:20.123 BTC-USDT near #12 bid 61837.63 ask 61837.64 age 0.1s"
        " keep 1 place 1 cancel 1 refused 1 -> placed 1 cancelled 1",
    ),
    (
        replace(ROUND, forced=True, follow_up=True, rejected=2, unknown=3),
        "22:13:20.123 BTC-USDT near #12 forced follow-up bid 61837.63 ask 61837.64 age 0.1s"
        " keep 1 place 1 cancel 1 refused 1 -> placed 1 cancelled 1 rejected 2 unknown 3",
    ),
    (SKIPPED, "22:13:20.123 BTC-USDT far skipped stale_book: 3.2 s old"),
    (replace(SKIPPED, detail=""), "22:13:20.123 BTC-USDT far skipped stale_book"),
    (
        Filled("BTC-USDT", BTC, NEAR_ASK, TRADE),
        "00:00:00.005 BTC-USDT near fill sell 0.00500 at 61837.69 maker fee 0.00000812 BNB"
        f" filled 0.00500 of 0.02000 {ASK_ID}",
    ),
    (FAULTED, "22:13:20.123 BTC-USDT fault venue_unreachable: cut -> cancelled near, backing off 2s"),
]


@pytest.mark.parametrize(("report", "line"), LINES)
def test_a_report_is_a_line(report: Report, line: str) -> None:
    assert text.render(report) == line


SUMMARY_TEXT = f"""\
ended after 12.3s: rounds 24 placed 30 kept 200 cancelled 29 rejected 1 unknown 0 fills 2 faults 1
BTC-USDT position -0.00001 (not flattened) BTC, own orders remaining 1
  far  buy  61537.64 0.50000 of 0.50000 open {BID_ID}
SHIB-USDT position 0 SHIB, own orders remaining 0"""

BOOK_TEXT = f"""\
BTC-USDT BINANCE BTCUSDT at 22:13:20.123 age 0.1s from mock
  ask 61837.65 1.0
  ask 61837.64 0.5
  bid 61837.63 0.5
  bid 61837.62 1.0
own orders 1
  near sell 61837.69 0.01500 of 0.02000 open {ASK_ID}
foreign orders 3"""

PLAN_TEXT = """\
BTC-USDT:
+ place  near sell 61837.69 x 0.02000  new
- cancel near sell 61837.69 x 0.01500  unmatched
= keep   far  buy  61537.64 x 0.50000  matched
! refuse near buy  level 3: min_amount (4.9 is under 5 USDT)
Plan: 1 to place, 1 to cancel, 1 to keep."""

HERE = " here (engines that acknowledge cancel their own)"
STOPPED_TEXT = f"""\
binance account main near of BTC-USDT: cancelled 1{HERE} in 0.3s, halt set, proof acknowledged
remaining own orders 1
  BTC-USDT far  buy  61537.64 0.50000 of 0.50000 open {BID_ID}
far orders left 1, foreign orders left 0
position BTC-USDT 0.5 (not flattened)
host:42: acknowledged
halts in force: 1 near by anna"""


def test_answers_of_several_lines() -> None:
    assert text.render(SUMMARY) == SUMMARY_TEXT
    assert text.book(SHOWN) == BOOK_TEXT
    assert text.plan(PLANNED) == PLAN_TEXT
    assert text.stopped(STOPPED) == STOPPED_TEXT


def test_what_was_not_read_is_said() -> None:
    unread = PairSummary("BTC-USDT", BTC, Decimal(0), None, "timed out")
    assert text.render(replace(SUMMARY, pairs=(unread,))).endswith("own orders could not be read: timed out")
    shown = text.book(replace(SHOWN, own=None, foreign=None, unread="the profile has no keys"))
    assert shown.splitlines()[-2:] == ["own orders not read: the profile has no keys", "foreign orders not read"]
    stop = text.stopped(replace(STOPPED, remaining=None, foreign=None, position=None, unread="timed out"))
    assert stop.splitlines()[1:4] == [
        "remaining orders could not be read: timed out",
        "far orders left 1, foreign orders left not read",
        "position not read",
    ]


def test_an_unusable_book_says_so() -> None:
    one_sided = replace(SHOWN.book, asks=())
    assert "not usable: the book is one-sided: it has no asks" in text.book(replace(SHOWN, book=one_sided))


def test_an_error_is_one_line() -> None:
    assert text.error("usage", "no such\npair: X", "name one") == "error: no such pair: X (name one)"
    assert text.error("fault", "broken") == "error: broken"


HOSTILE = "a\nb\x1b[31mc\u202ed\r\udcff"


@pytest.mark.parametrize("report", [replace(SKIPPED, detail=HOSTILE), replace(FAULTED, detail=HOSTILE, action=HOSTILE)])
def test_words_from_outside_cannot_break_a_line_or_move_a_cursor(report: Report) -> None:
    line = text.render(report)
    assert line.isprintable()
    assert "a b [31mc d" in line


@pytest.mark.parametrize(
    ("ts_ms", "shown"),
    [(0, "00:00:00.000"), (43_203_120, "12:00:03.120"), (-1, "23:59:59.999"), (10**18 + 7, "01:46:40.007")],
)
def test_any_time_stamp_can_be_shown(ts_ms: int, shown: str) -> None:
    assert text.clock(ts_ms) == shown


def test_a_plan_in_colour_is_the_same_text() -> None:
    assert drawn(plan.plan(PLANNED), 80, 24) == PLAN_TEXT + "\n"
    coloured = drawn(plan.plan(PLANNED), 80, 24, color_system="truecolor")
    assert "\x1b[38;2;" in coloured
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == PLAN_TEXT + "\n"


def test_an_empty_plan_says_that_there_is_nothing_to_do() -> None:
    empty = replace(PLANNED, keep=(), place=(), cancel=(), refused=())
    assert text.plan(empty) == "BTC-USDT:\nPlan: 0 to place, 0 to cancel, 0 to keep."


def test_lines_and_json_do_without_rich() -> None:
    """Its import would double the start of every verb whose output is piped."""
    code = "import sys, mmctl.views.text, mmctl.views.jsonlines; sys.exit('rich' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
