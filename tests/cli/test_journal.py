"""``mmctl explain`` and ``mmctl journal`` on journals as engines write them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from mmctl.core.entries import Entry, Kind, Plain
from mmctl.core.order import Layer, Side, encode_own_id
from mmctl.engine.journal_store import JournalStore

from .harness import Caller, mmctl

T0_MS = 1_700_000_000_000
BID = encode_own_id(Layer.NEAR, Side.BUY, 17, 1)
OTHER = encode_own_id(Layer.NEAR, Side.BUY, 17, 2)
BOOK: dict[str, Plain] = {
    "source": "binance", "bid": "61837.63", "ask": "61837.64", "age_ms": 85, "ts_ms": T0_MS - 85, "digest": "9f3a5c01",
}  # fmt: skip


def entry(kind: Kind, after_ms: int, client_id: str = "", order_id: str = "", **body: Plain) -> Entry:
    return Entry(kind, T0_MS + after_ms, "binance", "main", "4242", "BTCUSDT", client_id, order_id, body)


def decision(number: int, after_ms: int, **changes: Plain) -> Entry:
    body: dict[str, Plain] = {
        "decision": f"17-{number}",
        "layer": "near",
        "round": number,
        "forced": False,
        "book": BOOK,
    }
    target = [["buy", level, f"6180{level}.00", "0.500"] for level in (1, 2, 3)] + [["sell", 1, "61900.00", "0.500"]]
    lists: dict[str, Plain] = {"target": target, "keep": [], "cancel": [], "refused": []}
    return entry(Kind.DECISION, after_ms, **(body | lists | changes))


def intent(client_id: str, after_ms: int, number: int = 1) -> Entry:
    body: dict[str, Plain] = {
        "decision": f"17-{number}",
        "layer": "near",
        "side": "buy",
        "level": 2,
        "price": "61802.00",
    }
    return entry(Kind.INTENT, after_ms, client_id, **body, qty="0.500", time_in_force="GTX", epoch=17)


STORY = [
    entry(Kind.START, 0, epoch=17, version="0.1.0"),
    decision(1, 100),
    intent(BID, 101),
    intent(OTHER, 101),
    entry(Kind.REQUEST, 102, BID, request="place", reason=""),
    entry(Kind.REPLY, 140, BID, "777", event="accepted", state="open", detail=""),
    *(decision(number, number * 1000, keep=[OTHER, BID]) for number in range(2, 6)),
    entry(
        Kind.FILL, 5500, BID, "777", trade_id="31", side="buy", price="61802.00", qty="0.100", fee="0.00001",
        fee_asset="BNB", maker=True, traded_ms=T0_MS + 5499,
    ),
    decision(6, 6000, keep=[OTHER], cancel=[[BID, "price: no quote within 2 bps"]], forced=True),
    entry(Kind.REQUEST, 6001, BID, "777", request="cancel", reason="price: no quote within 2 bps"),
    entry(Kind.END, 86_400_000, BID, "777", state="cancelled", evidence="as asked", told_by="ended"),
    decision(7, 86_400_100, keep=[OTHER]),
]  # fmt: skip


@pytest.fixture
def written(state_dir: Path) -> Path:
    return write(state_dir, STORY)


def write(state_dir: Path, entries: list[Entry]) -> Path:
    path = state_dir / "journal.sqlite"
    with closing(JournalStore(path)) as store:
        store.write(entries)
    return path


EXPLAINED = f"""\
{BID} on binance, account main, BTCUSDT, order 777 there
  near buy 0.500 at 61802.00, level 2, GTX, epoch 17
  cancelled: the venue said so: as asked; filled 0.100
2023-11-14 UTC
22:13:20.100 wanted     by decision 17-1, round 1 of near, at level 2, one of 3
                        on its side; it answers the book of binance: bid
                        61837.63, ask 61837.64, 85 ms old, digest 9f3a5c01
22:13:20.101 intent     near buy 0.500 at 61802.00, decision 17-1
22:13:20.102 request    place
22:13:20.140 reply      accepted, now open
22:13:22.000 kept       by decision 17-2, round 2 of near; in 4 rounds, the last
                        at 22:13:25.000
22:13:25.500 fill       buy 0.100 at 61802.00, maker, fee 0.00001 BNB, trade 31
22:13:26.000 let go     by decision 17-6, round 6 of near, forced: price: no
                        quote within 2 bps
22:13:26.001 request    cancel: price: no quote within 2 bps
2023-11-15 UTC
22:13:20.000 end        cancelled: the venue said so: as asked
"""


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("order", [BID, "777"])
def test_explain_tells_the_whole_story_for_80_columns(call: Caller, order: str) -> None:
    done = call("explain", order)
    assert (done.code, done.out, done.err) == (0, EXPLAINED, "")
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.usefixtures("written")
def test_explain_as_json(call: Caller) -> None:
    done = call("explain", BID, "--output", "json")
    assert (done.code, done.err, len(done.events)) == (0, "", 1)
    told = done.events[0]
    story = told.pop("story")
    assert told == {
        "v": 1, "event": "explain", "pair": "BTC-USDT", "client_id": BID, "order_id": "777", "venue": "binance",
        "account": "main", "symbol": "BTCUSDT", "layer": "near", "side": "buy", "price": "61802.00", "qty": "0.500",
        "level": 2, "time_in_force": "GTX", "epoch": 17, "filled": "0.100", "state": "cancelled",
        "evidence": "the venue said so: as asked", "decision": "17-1", "book": BOOK,
    }  # fmt: skip
    assert [(one["ts_ms"] - T0_MS, one["kind"]) for one in story[:4]] == [
        (100, "decision"), (101, "intent"), (102, "request"), (140, "reply"),
    ]  # fmt: skip
    assert story[4]["body"] == {
        "verdict": "keep", "decision": "17-2", "layer": "near", "round": 2, "forced": False, "rounds": 4,
        "until_ms": T0_MS + 5000,
    }  # fmt: skip
    assert story[6]["body"]["reason"] == "price: no quote within 2 bps"
    assert story[-1]["kind"] == "end"


def test_a_stop_that_cancelled_it_is_part_of_its_story(call: Caller, state_dir: Path) -> None:
    receipt: dict[str, Plain] = {"by": "anna@desk", "proof": "acknowledged", "cancelled": [BID, OTHER], "remaining": []}
    elsewhere = Entry(Kind.STOP, T0_MS, "binance", "second", body=receipt)
    write(state_dir, [*STORY[:6], Entry(Kind.STOP, T0_MS + 900, "binance", "main", body=receipt), elsewhere])
    assert call("explain", BID).out.endswith(
        "22:13:20.900 stop       by anna@desk, proof acknowledged: its receipt says\n" + " " * 24 + "cancelled\n"
    )
    told = call("explain", BID, "--output", "json").events[0]["story"]
    assert told[-1]["body"] == {
        "verdict": "stop", "by": "anna@desk", "proof": "acknowledged", "receipt": "cancelled",
    }  # fmt: skip
    assert [one["kind"] for one in told].count("stop") == 1


def test_what_rotation_took_is_said_to_be_missing(call: Caller, state_dir: Path) -> None:
    write(state_dir, [*STORY[2:3], *STORY[4:6]])
    done = call("explain", BID)
    assert "the decision it came from is not in the journal (any more)" in done.out
    assert "open; filled 0" in done.out
    write(state_dir, [entry(Kind.REPLY, 1, OTHER, event="cancel_refused", state="unknown", detail="")])
    done = call("explain", OTHER)
    assert "its intent is not in the journal (any more)" in done.out
    assert call("explain", OTHER, "--output", "json").events[0]["price"] is None


def test_an_id_that_two_accounts_share_is_two_stories(call: Caller, state_dir: Path) -> None:
    second = Entry(Kind.INTENT, T0_MS, "binance", "second", "", "BTCUSDT", BID, body=STORY[2].body)
    write(state_dir, [*STORY, second])
    assert [one["account"] for one in call("explain", BID, "--output", "json").events] == ["main", "second"]
    assert "\n\n" in call("explain", BID).out


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("output", ["text", "json"])
def test_an_unknown_id_is_one_line_with_what_it_says_by_itself(call: Caller, output: str, written: Path) -> None:
    own = encode_own_id(Layer.FAR, Side.SELL, 99, 5)
    done = call("explain", own, "--output", output)
    said = done.events[0]["message"] if output == "json" else done.err
    assert done.code == 2
    assert f"{written} does not know the order {own}; by its id it is a far sell, number 5 of epoch 99" in said
    for other in ("nobody", "", "778", own[:-1], "%", "N0%", "\udcff"):
        done = call("explain", other, "--output", output)
        assert done.code == 2
        assert len((done.out + done.err).splitlines()) == 1


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize("option", ["--order", "--pair"])
def test_a_filter_that_is_no_text_finds_nothing(call: Caller, option: str) -> None:
    done = call("journal", option, "\udcff")
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize("verb", [("explain", BID), ("journal",)])
def test_without_a_journal_it_ends_with_2_and_makes_none(call: Caller, state_dir: Path, verb: tuple[str, ...]) -> None:
    done = call(*verb)
    assert done.code == 2
    assert f"there is no journal at {state_dir}" in done.err
    assert not state_dir.exists()


@pytest.mark.parametrize("verb", [("explain", BID), ("journal",)])
def test_a_journal_of_a_newer_version_is_one_line(call: Caller, written: Path, verb: tuple[str, ...]) -> None:
    with closing(sqlite3.connect(written)) as db:
        db.execute("PRAGMA user_version = 2")
    done = call(*verb)
    assert done.code == 70
    assert f"the journal {written} is of version 2" in done.err
    assert "newer mmctl" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("verb", [("explain", BID), ("journal",)])
def test_rubbish_is_one_line(call: Caller, state_dir: Path, verb: tuple[str, ...]) -> None:
    state_dir.mkdir()
    (state_dir / "journal.sqlite").write_bytes(b"rubbish " * 1000)
    done = call(*verb)
    assert done.code == 70
    assert "file is not a database" in done.err
    assert "move it away" in done.err
    assert len(done.err.splitlines()) == 1


LISTED = f"""\
2023-11-14 22:13:20.000 start    BTCUSDT epoch 17, version 0.1.0
2023-11-14 22:13:20.100 decision BTCUSDT 17-1 near: target 4, keep 0, cancel 0, refused 0, bid 61837.63 ask 61837.64
2023-11-14 22:13:20.101 intent   BTCUSDT {BID} near buy 0.500 at 61802.00, decision 17-1
"""


@pytest.mark.usefixtures("written")
def test_journal_lists_a_line_an_entry_the_newest_last(call: Caller) -> None:
    done = call("journal")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(LISTED)
    assert len(done.out.splitlines()) == len(STORY)
    assert call("journal", "--limit", "2").out == "".join(f"{line}\n" for line in done.out.splitlines()[-2:])


def kinds(done: Any) -> list[str]:
    assert done.code == 0, done
    return [one["kind"] for one in done.events]


@pytest.mark.usefixtures("written")
def test_journal_filters(call: Caller, state_dir: Path) -> None:
    def listed(*options: str) -> list[str]:
        return kinds(call("journal", "--output", "json", *options))

    assert listed("--kind", "fill", "--kind", "end") == ["fill", "end"]
    of_order = ["intent", "request", "reply", "fill", "request", "end"]
    assert listed("--order", BID) == listed("--order", "777") == of_order
    assert listed("--order", BID, "--kind", "reply") == ["reply"]
    assert listed("--order", "nobody") == listed("--since", "10m") == listed("--pair", "ETH-USDT") == []
    assert len(listed("--pair", "btc/usdt")) == len(listed("--symbol", "BTCUSDT")) == len(STORY)
    write(state_dir, [Entry(Kind.STOP, 4_000_000_000_000, "binance", "main", body={"by": "anna"})])
    assert listed("--since", "10m") == listed("--since", "1h", "--kind", "stop") == ["stop"]


@pytest.mark.usefixtures("written")
def test_an_entry_as_json(call: Caller) -> None:
    done = call("journal", "--kind", "reply", "--output", "json")
    assert done.events == [
        {
            "v": 1, "event": "entry", "seq": 6, "pair": "BTC-USDT", "ts_ms": T0_MS + 140, "kind": "reply",
            "venue": "binance", "account": "main", "symbol": "BTCUSDT", "client_id": BID, "order_id": "777",
            "body": {"event": "accepted", "state": "open", "detail": ""},
        }
    ]  # fmt: skip


@pytest.mark.usefixtures("written")
@pytest.mark.parametrize(
    "wrong", [("--limit", "0"), ("--limit", "x"), ("--since", "0s"), ("--since", "-1m"), ("--kind", "x")]
)
def test_bad_options_end_with_2(call: Caller, wrong: tuple[str, str]) -> None:
    done = call("journal", *wrong)
    assert done.code == 2
    assert wrong[0] in done.err
    assert len(done.err.splitlines()) == 1


def test_a_kind_of_every_sort_is_shown_on_its_line(call: Caller, state_dir: Path) -> None:
    odd: dict[str, Plain] = {"by": "a\nb\x1b[2J", "remaining": None, "cancelled": [BID], "why": {"x": 1}, "unread": ""}
    write(state_dir, [entry(kind, 0, trade_id="1", qty="1", side="buy", **odd) for kind in Kind if kind != Kind.INTENT])
    done = call("journal")
    assert len(done.out.splitlines()) == len(Kind) - 1
    assert "\x1b" not in done.out
    assert f"cancelled [{BID}], why (x 1)" in done.out
    assert all(json.loads(line) for line in call("journal", "--output", "json").out.splitlines())


@pytest.mark.usefixtures("written")
def test_neither_needs_a_profile_nor_a_venue(tmp_path: Path) -> None:
    done = mmctl("explain", BID, cwd=tmp_path)
    assert (done.code, done.out) == (0, EXPLAINED)


def test_both_look_while_an_engine_writes(call: Caller, written: Path) -> None:
    with closing(JournalStore(written)) as store:
        store._db.execute("BEGIN IMMEDIATE")
        assert call("explain", BID).out == EXPLAINED
        assert len(call("journal").out.splitlines()) == len(STORY)
        store._db.execute("ROLLBACK")
