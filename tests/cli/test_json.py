"""``--output json``: every line an object of version 1 with the fields that are promised, and nothing else."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from .harness import QUICK, Caller, Done, mmctl, quick_profile

FIXED_POINT = re.compile(r"-?\d+(\.\d+)?")
FIELDS = {
    "start": "version profile mode venue account pairs epoch halts",
    "round": "pair ts_ms layer round forced book target keep place cancel refused outcome took",
    "skip": "pair layer reason detail",
    "fill": "pair client_id layer side price qty filled state fee maker",
    "fault": "pair kind detail action",
    "summary": "rounds placed kept cancelled rejected unknown fills faults position open_orders elapsed_ms",
    "book": "pair exchange symbol ts_ms age_ms bids asks own foreign",
    "plan": "pair keep place cancel refused changes",
    "error": "kind message hint",
}
ORDER = "pair client_id layer side price qty"


def has(fields: str, one: dict[str, Any]) -> None:
    assert set(fields.split()) <= set(one), one


def promised(one: dict[str, Any]) -> None:
    """One object keeps what its event promises."""
    assert one["v"] == 1
    has(FIELDS[one["event"]], one)
    for name, value in one.items():
        if name == "ts_ms":
            assert isinstance(value, int)
            assert value > 1_600_000_000_000
        elif name.endswith("_ms"):
            assert isinstance(value, int | float)


def on_step(text: object, step: str) -> None:
    assert isinstance(text, str)
    assert FIXED_POINT.fullmatch(text), text
    assert Decimal(text) % Decimal(step) == 0


def quotes_of(one: dict[str, Any]) -> list[dict[str, Any]]:
    return [*one["target"], *one["keep"], *one["place"], *one["cancel"]]


@pytest.fixture(scope="module")
def three_rounds(tmp_path_factory: pytest.TempPathFactory) -> Done:
    folder = tmp_path_factory.mktemp("json")
    two = QUICK + "[pairs.ETH-USDT]\nprice_decimals = 3\nqty_decimals = 4\nmock_price = 2650\n"
    return mmctl("dry-run", "--rounds", "3", "--output", "json", "--profile", quick_profile(folder, text=two))


def test_first_start_last_summary_and_nothing_else(three_rounds: Done) -> None:
    assert (three_rounds.code, three_rounds.err) == (0, "")
    events = [one["event"] for one in three_rounds.events]
    assert events[0] == "start"
    assert events[-1] == "summary"
    assert set(events[1:-1]) <= {"round", "skip", "fill", "fault"}
    assert events.count("round") >= 8
    for one in three_rounds.events:
        promised(one)
    start = three_rounds.events[0]
    assert (start["mode"], start["venue"], start["account"]) == ("mock", "mock", "main")
    assert start["pairs"] == ["BTC-USDT", "ETH-USDT"]
    assert start["halts"] == []
    assert isinstance(start["epoch"], int)
    assert Path(start["profile"]).name == "quick.toml"


def test_every_quote_is_on_tick_and_lot_in_fixed_point(three_rounds: Done) -> None:
    seen = 0
    for one in three_rounds.of("round"):
        tick, lot = {"BTC-USDT": ("0.01", "0.00001"), "ETH-USDT": ("0.001", "0.0001")}[one["pair"]]
        for quote in quotes_of(one):
            on_step(quote["price"], tick)
            on_step(quote["qty"], lot)
            seen += 1
        for order in (*one["keep"], *one["place"], *one["cancel"]):
            has(ORDER, order)
            assert order["pair"] == one["pair"]
            assert len(order["client_id"]) <= 32
            assert order["client_id"].isalnum()
        for order in one["cancel"]:
            assert order["reason"]
        on_step(one["book"]["bid"], tick)
        on_step(one["book"]["ask"], tick)
        has("source bid ask age_ms", one["book"])
        has("placed rejected cancelled unknown", one["outcome"])
        has("read_ms decide_ms send_ms", one["took"])
    assert seen > 100


def test_quotes_keep_their_margin_and_never_cross(three_rounds: Done) -> None:
    for one in three_rounds.of("round"):
        bid, ask = Decimal(one["book"]["bid"]), Decimal(one["book"]["ask"])
        margin = Decimal(5 if one["layer"] == "near" else 20) / 10_000
        for quote in one["target"]:
            price, amount = Decimal(quote["price"]), Decimal(quote["price"]) * Decimal(quote["qty"])
            assert price <= bid * (1 - margin) if quote["side"] == "buy" else price >= ask * (1 + margin)
            assert amount <= (2000 if one["layer"] == "near" else 3000)


def test_ids_are_never_used_twice_and_outcomes_add_up(three_rounds: Done) -> None:
    rounds, summary = three_rounds.of("round"), three_rounds.events[-1]
    ids = [order["client_id"] for one in rounds for order in one["place"]]
    assert len(ids) == len(set(ids)) == summary["placed"]
    assert all(one["outcome"]["placed"] == len(one["place"]) for one in rounds)
    assert set(summary["position"]) == {"BTC-USDT", "ETH-USDT"}
    for amount in summary["position"].values():
        assert FIXED_POINT.fullmatch(amount)


def test_show_book_and_diff(call: Caller, quick: str) -> None:
    shown = call("show-book", "--profile", quick, "--output", "json")
    assert (shown.code, shown.err) == (0, "")
    (book,) = shown.events
    promised(book)
    assert len(book["bids"]) == len(book["asks"]) == 20
    for price, qty in (*book["bids"], *book["asks"]):
        on_step(price, "0.01")
        on_step(qty, "0.00001")
    assert (book["own"], book["foreign"]) == ([], 0)
    (plan,) = call("diff", "--profile", quick, "--output", "json").events
    promised(plan)
    assert plan["changes"] == len(plan["place"]) == 20
    for order in plan["place"]:
        has(ORDER, order)
        assert order["client_id"] is None


def test_diff_without_a_change_ends_with_0(call: Caller, tmp_path: Path) -> None:
    """No balance: every quote is refused, with its reason, and nothing would change."""
    path = quick_profile(tmp_path, text=QUICK.replace("[redis]", "[mock.balances]\nUSDT = 0\n[redis]"))
    done = call("diff", "--profile", path, "--output", "json")
    assert done.code == 0
    (plan,) = done.events
    assert plan["changes"] == 0
    assert len(plan["refused"]) == 20
    assert all(one["reason"] for one in plan["refused"])


def test_text_is_plain_lines(call: Caller, quick: str) -> None:
    for arguments in (("dry-run", "--rounds", "2"), ("show-book",), ("diff",)):
        done = call(*arguments, "--profile", quick)
        assert "\x1b" not in done.out
        assert all(line == line.rstrip() for line in done.out.splitlines())


def test_faults_and_fills_keep_their_fields(call: Caller, tmp_path: Path) -> None:
    """A venue that loses and refuses things, and an order in the way of the market."""
    text = QUICK.replace("latency_jitter_ms = 2\n", "latency_jitter_ms = 2\nreject_rate = 0.2\n").replace(
        "buy_margin_bps = 5\nsell_margin_bps = 5", "buy_margin_bps = 0\nsell_margin_bps = 0\nforce_refresh_num = 0"
    )
    done = call("dry-run", "--for", "3s", "--output", "json", "--profile", quick_profile(tmp_path, text=text))
    assert done.code == 0
    for one in done.events:
        promised(one)
    summary = done.events[-1]
    assert summary["rejected"] > 0
    assert summary["fills"] == len(done.of("fill"))
    assert summary["faults"] == len(done.of("fault"))
    assert summary["open_orders"] == []
