"""cancel-near, cancel-all and resume, on a mock venue in the place of a live one that holds orders."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

import pytest

from mmctl.core.book import Book, BookKey
from mmctl.core.instrument import Instrument
from mmctl.core.order import CancelOrder, Layer, NewOrder, Side, TimeInForce, encode_own_id
from mmctl.engine.halt import FileHaltLatch, who
from mmctl.engine.journal import journal_path
from mmctl.engine.lock import locked, stop_lock
from mmctl.errors import UsageError, VenueRefused, VenueUnreachable
from mmctl.ports import Halt, HaltScope, Listing, Venue
from mmctl.profile_stop import StopAccount
from mmctl.venues.mock import MockOptions, MockVenue

from .harness import PATIENCE_S, QUICK, ROOT, Caller, Done, ended, is_round, quick_profile, read_until, started
from .test_bad_input import told_as_json, told_in_one_line

D = Decimal
LIVE = QUICK + '[accounts.main]\nvenue = "binance"\n'
ACCOUNT = {"BTC": D(10), "USDT": D(1_000_000), "ETH": D(100)}
FAST = MockOptions(latency_ms=1, latency_jitter_ms=1, landing_time_s=0.2)


class SystemClock:
    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall_ms(self) -> int:
        return 1_800_000_000_000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))


@dataclass
class Held:
    """What the account holds when the stop comes, and how its venue behaves."""

    near: int = 3
    far: int = 2
    foreign: int = 1
    symbol: str = "BTCUSDT"
    options: MockOptions = FAST
    unreachable: int = 0
    refused: bool = False
    unlisted: bool = False
    stubborn: bool = False
    intruder: bool = False
    deaf: bool = False
    arrives: signal.Signals | None = None
    venues: list[MockVenue] = field(default_factory=list)

    def make(self, venue: str, account: str) -> Venue:
        made = HeldVenue(self, venue, account)
        self.venues.append(made)
        return made

    def make_for_stop(self, account: StopAccount, *, several: bool | None, bulk: bool) -> Venue:
        return self.make(account.venue, account.name)

    @property
    def left(self) -> Listing:
        return self.venues[-1].kept


class HeldVenue(MockVenue):
    """A live venue to all who ask; its orders were placed before anybody came."""

    def __init__(self, held: Held, venue: str, account: str) -> None:
        instrument = Instrument(held.symbol, "BTC", "USDT", D("0.01"), D("0.00001"))
        super().__init__(SystemClock(), {held.symbol: instrument}, ACCOUNT, held.options, name=venue, account=account)
        self.held = held
        self.kept = Listing(None, 0.0, (), ())

    async def open(self) -> None:
        if self.held.refused:
            raise VenueRefused("binance does not know this key", "mend MMCTL_BINANCE_API_KEY")
        if self.held.unreachable:
            self.held.unreachable -= 1
            raise VenueUnreachable("binance did not answer", "is the network there?")
        await super().open()
        self.place(Layer.NEAR, self.held.near, epoch=7)
        self.place(Layer.FAR, self.held.far, epoch=7)
        async with asyncio.timeout(PATIENCE_S):
            while len(self.open_now().own) < self.held.near + self.held.far:  # noqa: ASYNC110 - nobody listens yet
                await asyncio.sleep(0.01)
        for number in range(self.held.foreign):
            self.place_foreign(self.held.symbol, Side.BUY, D(900 + number), D("0.1"), f"web_{number}")
        if self.held.stubborn:
            self.submit = lambda places, cancels: None  # type: ignore[method-assign]
        if self.held.arrives is not None:
            asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), self.held.arrives)
        if self.held.intruder:
            asyncio.get_running_loop().call_later(0.05, self.place, Layer.NEAR, 1, 8)

    def place(self, layer: Layer, count: int, epoch: int) -> None:
        orders = [
            NewOrder(
                self.held.symbol,
                encode_own_id(layer, Side.BUY, epoch, number + 1 + 100 * (layer is Layer.FAR)),
                Side.BUY,
                D(1000 - number) - 50 * (layer is Layer.FAR),
                D("0.1"),
                TimeInForce.GTX,
            )
            for number in range(count)
        ]
        MockVenue.submit(self, orders, [])

    def submit(self, places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
        super().submit(places, () if self.held.deaf else cancels)

    async def open_orders(self, symbol: str | None) -> Listing:
        if self.held.unlisted:
            raise VenueUnreachable("binance did not answer a listing")
        return await super().open_orders(symbol)

    async def depth(self, symbol: str) -> Book:
        bids, asks = [(D(61800), D(1))], [(D(61801), D(1))]
        return Book.of(BookKey("binance_spot", symbol), 0, bids, asks, "held")

    async def close(self) -> None:
        self.kept = self.open_now()
        await super().close()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    held = Held()
    monkeypatch.setattr("mmctl.cli.stop.stop_venue", held.make_for_stop)
    return held


@pytest.fixture
def live(tmp_path: Path) -> str:
    """A profile with a live venue."""
    return quick_profile(tmp_path, text=LIVE)


def halts() -> tuple[Halt, ...]:
    return FileHaltLatch(Path(os.environ["MMCTL_STATE_DIR"])).halts()


def ids(listing: Listing) -> set[str]:
    return {seen.client_id for seen in listing.own}


def stopped(done: Done) -> dict[str, object]:
    (one,) = done.events
    assert (one["v"], one["event"]) == (1, "stopped")
    named = "venue account scope pairs halt proof engines cancelled remaining foreign first_empty_ms took_ms"
    assert set(named.split()) <= set(one)
    return one


def test_cancel_near_takes_near_and_leaves_the_rest(call: Caller, held: Held, live: str) -> None:
    done = call("cancel-near", "--profile", live, "--pair", "btc_usdt", "--why", "drill", "--output", "json")
    assert done.code == 0, done
    one = stopped(done)
    assert (one["venue"], one["account"], one["scope"], one["pairs"]) == ("binance", "main", "near", ["BTC-USDT"])
    assert (one["halt"], one["remaining"], one["foreign"], one["far_left"]) == ("set", [], 1, 2)
    assert one["proof"] == "waited", "own orders were found, and nobody could be asked who placed them"
    assert len(one["cancelled"]) == 3
    assert all(each.startswith("N0") for each in one["cancelled"])
    assert 0 < one["first_empty_ms"] <= one["took_ms"] < 30_000, "long before the deadline"
    assert one["position"] == {"BTC-USDT": "10"}
    assert len(held.left.foreign) == 1
    assert len(ids(held.left)) == 2
    assert all(each.startswith("F0") for each in ids(held.left))
    (halt,) = halts()
    assert halt.scope == HaltScope("binance", "main", "BTCUSDT", Layer.NEAR)
    assert halt.why == "drill"
    assert done.err.splitlines()[0] == "mmctl: stopping near on binance, account main: BTC-USDT"


def test_cancel_all_takes_both_ladders_of_the_whole_account(call: Caller, held: Held, live: str) -> None:
    done = call("cancel-all", "--profile", live, "--output", "json")
    assert done.code == 0, done
    one = stopped(done)
    assert (one["scope"], one["halt"], one["remaining"], one["far_left"]) == ("all", "set", [], 0)
    assert len(one["cancelled"]) == 5
    assert ids(held.left) == set()
    assert len(held.left.foreign) == 1
    (halt,) = halts()
    assert halt.scope == HaltScope("binance", "main", None, None)
    assert "account main: all symbols" in done.err


def test_cancel_all_of_one_pair_halts_that_pair(call: Caller, held: Held, live: str) -> None:
    assert call("cancel-all", "--profile", live, "--pair", "BTCUSDT").code == 0
    assert [halt.scope for halt in halts()] == [HaltScope("binance", "main", "BTCUSDT", None)]


def test_a_stop_needs_no_profile(call: Caller, held: Held, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMCTL_PROFILE", str(tmp_path / "broken.toml"))
    monkeypatch.setattr("mmctl.cli.stop_targets.STRANGER_INTERVAL_S", 0.1)
    monkeypatch.setenv("MMCTL_STATEDIR", "/tmp")
    done = call("cancel-near", "--venue", "binance", "--pair", "btc-usdt", "--output", "json")
    assert done.code == 0, done
    assert stopped(done)["pairs"] == ["BTCUSDT"]
    assert "MMCTL_STATEDIR is not read" in done.err
    assert halts()[0].scope == HaltScope("binance", "main", "BTCUSDT", Layer.NEAR)
    done = call("cancel-all", "--venue", "binance", "--account", "second", "--all-symbols", "--output", "json")
    assert (done.code, stopped(done)["account"]) == (0, "second")
    assert halts()[-1].scope == HaltScope("binance", "second", None, None)


def test_a_stop_of_nothing_proves_that_there_is_nothing(call: Caller, held: Held, live: str) -> None:
    held.near = held.far = 0
    done = call("cancel-all", "--profile", live, "--output", "json")
    one = stopped(done)
    assert (done.code, one["proof"], one["cancelled"], one["remaining"]) == (0, "none", [], [])


def test_without_a_halt_a_running_engine_may_quote_again(call: Caller, held: Held, live: str) -> None:
    done = call("cancel-near", "--profile", live, "--no-halt", "--output", "json")
    assert (done.code, stopped(done)["halt"]) == (0, "not_set")
    assert halts() == ()


def test_a_halt_that_cannot_be_set_is_exit_1_and_the_orders_go_all_the_same(
    call: Caller, held: Held, live: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MMCTL_STATE_DIR", str(tmp_path / "file"))
    done = call("cancel-all", "--profile", live, "--output", "json")
    assert done.code == 1
    one = stopped(done)
    assert (one["halt"], one["remaining"], len(one["cancelled"])) == ("failed", [], 5)
    assert "the halt does not stand everywhere, an engine may quote again" in done.err
    assert "MMCTL_STATE_DIR" in done.err


def test_a_process_that_hangs_with_the_halt_files_lock_hangs_no_stop(
    call: Caller, held: Held, live: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmctl.engine.lock.LOCK_WAIT_S", 0.1)
    with locked(Path(os.environ["MMCTL_STATE_DIR"]) / "halts.lock"):
        done = call("cancel-all", "--profile", live, "--output", "json")
    one = stopped(done)
    assert (done.code, one["halt"], one["remaining"], len(one["cancelled"])) == (1, "failed", [], 5)
    assert "another process keeps its lock" in done.err


def test_a_resume_that_came_between_is_told(
    call: Caller, held: Held, live: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One on another host knows of no stop here, and Redis carries it over."""
    listed = HeldVenue.open_orders
    latch = FileHaltLatch(Path(os.environ["MMCTL_STATE_DIR"]))

    async def open_orders(venue: HeldVenue, symbol: str | None) -> Listing:
        latch.resume(lambda halt: True, by="anna", at_ms=1_800_000_000_000)
        return await listed(venue, symbol)

    monkeypatch.setattr(HeldVenue, "open_orders", open_orders)
    done = call("cancel-near", "--profile", live, "--output", "json")
    assert (done.code, stopped(done)["halt"], stopped(done)["remaining"]) == (1, "failed", [])
    assert "a resume lifted it meanwhile" in done.err


def test_a_deadline_of_zero_is_one_look(call: Caller, held: Held, live: str) -> None:
    done = call("cancel-all", "--profile", live, "--deadline", "0", "--output", "json")
    one = stopped(done)
    assert (done.code, one["proof"], one["remaining"], len(one["cancelled"])) == (1, "not_proven", [], 5)
    assert "nothing is left to see, and nothing is proven before" in done.err
    assert "stop again with --deadline" in done.err
    held.stubborn = True
    done = call("cancel-all", "--profile", live, "--deadline", "0s", "--output", "json")
    assert (done.code, len(stopped(done)["remaining"])) == (1, 5)
    assert "stop again" not in done.err


def test_an_engine_that_does_not_answer_is_named(call: Caller, held: Held, live: str) -> None:
    folder = Path(os.environ["MMCTL_STATE_DIR"]) / "engines"
    folder.mkdir(parents=True)
    (folder / "binance-main-7.json").write_text("rubbish")
    done = call("cancel-near", "--profile", live)
    assert done.code == 0
    assert "binance-main-7: not reached" in done.out
    assert f"binance-main-7: {folder / 'binance-main-7.json'} is not an engine's record" in done.err
    assert "did not acknowledge the halt; the venue was watched instead" in done.err
    (folder / "binance-main-7.json").unlink()
    one = stopped(call("cancel-near", "--profile", live, "--output", "json"))
    assert one["engines"] == [{"name": "engine 7, unknown here", "epoch": 7, "state": "not_reached"}]


def test_the_whole_receipt_is_in_the_journal(call: Caller, held: Held, live: str) -> None:
    assert call("cancel-near", "--profile", live, "--pair", "BTC-USDT", "--why", "drill").code == 0
    assert call("resume", "--profile", live).code == 0
    (stop, resume) = call("journal", "--output", "json").events
    assert (stop["kind"], stop["symbol"], resume["kind"]) == ("stop", "BTCUSDT", "resume")
    body = stop["body"]
    assert (body["why"], body["scope"], body["halt"], body["proof"]) == ("drill", "near", "set", "waited")
    assert body["by"] == resume["body"]["by"] == who()
    assert body["looks"][0][1] == 3
    assert body["looks"][-1][1] == 0
    assert body["first_empty_ms"] <= body["took_ms"]
    assert len(body["cancelled"]) == 3
    assert body["halt_uids"] == resume["body"]["uids"]
    assert [one["epoch"] for one in body["engines"]] == [7]


def test_a_journal_that_cannot_be_written_holds_no_stop_up(call: Caller, held: Held, live: str) -> None:
    journal_path(Path(os.environ["MMCTL_STATE_DIR"])).mkdir(parents=True)
    done = call("cancel-all", "--profile", live, "--output", "json")
    assert (done.code, stopped(done)["remaining"]) == (0, [])
    assert "mmctl: not in the journal: " in done.err


def test_rubbish_in_the_halt_file_hides_no_halt(call: Caller, held: Held, live: str) -> None:
    folder = Path(os.environ["MMCTL_STATE_DIR"])
    folder.mkdir(exist_ok=True)
    (folder / "halts.jsonl").write_text("rubbish\n")
    done = call("cancel-all", "--profile", live)
    assert done.code == 0
    assert "halts in force: halt 1: both layers of all symbols on binance main" in done.out
    assert "line 1 of" in done.err
    mended = call("resume", "--profile", live)
    assert mended.code == 0
    (broken,) = folder.glob("halts.broken-*")
    assert f"mended {folder / 'halts.jsonl'}: what was no halt record is kept beside it, as {broken.name}" in mended.err
    assert halts() == ()
    assert "mended" not in call("resume", "--profile", live).err


def test_what_remains_at_the_deadline_is_listed_with_exit_1(call: Caller, held: Held, live: str) -> None:
    held.stubborn = True
    done = call("cancel-near", "--profile", live, "--deadline", "0.4s", "--output", "json")
    assert done.code == 1
    one = stopped(done)
    assert (one["proof"], one["cancelled"], one["first_empty_ms"]) == ("not_proven", [], None)
    assert [(order["pair"], order["layer"], order["price"]) for order in one["remaining"]] == [
        ("BTC-USDT", "near", "1000.00"),
        ("BTC-USDT", "near", "999.00"),
        ("BTC-USDT", "near", "998.00"),
    ]
    assert 300 <= one["took_ms"] < 30_000
    text = call("cancel-near", "--profile", live, "--deadline", "0.4s")
    assert "remaining own orders 3" in text.out
    assert "near buy  1000.00" in text.out


def test_an_engine_that_still_places_is_exit_1_with_its_epoch(call: Caller, held: Held, live: str) -> None:
    held.intruder = True
    done = call("cancel-near", "--profile", live, "--output", "json")
    assert done.code == 1
    assert stopped(done)["remaining"] == []
    assert "an engine of epoch 8 still places orders" in done.err


def test_a_venue_that_cannot_be_listed_is_exit_4(call: Caller, held: Held, live: str) -> None:
    held.unlisted = True
    done = call("cancel-all", "--profile", live, "--deadline", "0.4s", "--output", "json")
    assert done.code == 4
    one = stopped(done)
    assert (one["halt"], one["remaining"], one["foreign"], one["proof"]) == ("set", None, None, "not_proven")
    assert "did not answer a listing" in one["unread"]
    assert len(halts()) == 1
    assert "remaining orders could not be read" in call("cancel-all", "--profile", live, "--deadline", "0.4s").out


def test_a_venue_that_refuses_is_exit_4_and_the_halt_is_set(call: Caller, held: Held, live: str) -> None:
    held.refused = True
    done = call("cancel-all", "--profile", live, "--output", "json")
    assert done.code == 4
    one = stopped(done)
    assert (one["halt"], one["remaining"]) == ("set", None)
    assert "does not know this key" in one["unread"]
    assert len(halts()) == 1


def test_a_venue_that_does_not_answer_is_tried_again(
    call: Caller, held: Held, live: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmctl.cli.stop.OPEN_AGAIN_S", 0.05)
    held.unreachable = 3
    assert call("cancel-all", "--profile", live).code == 0
    assert ids(held.left) == set()
    held.unreachable = 1000
    done = call("cancel-all", "--profile", live, "--deadline", "0.3s", "--output", "json")
    assert (done.code, stopped(done)["remaining"]) == (4, None)


def test_one_account_holds_up_no_other(
    call: Caller, held: Held, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first account's venue cannot be had from here: the second is stopped all the same."""
    text = QUICK.replace("[pairs.BTC-USDT]", '[pairs.BTC-USDT]\naccount = "spot"') + (
        '[accounts.a]\nvenue = "okx_spot"\n[accounts.spot]\nvenue = "binance"\n'
        '[pairs.ETH-USDT]\naccount = "a"\nprice_decimals = 2\nqty_decimals = 4\n'
    )
    path = quick_profile(tmp_path, text=text)

    def make(account: StopAccount, *, several: bool | None, bulk: bool) -> Venue:
        if account.venue != "binance":
            raise UsageError(f"mmctl has no adapter for the venue {account.venue!r}", "cancel on the venue itself")
        return held.make_for_stop(account, several=several, bulk=bulk)

    monkeypatch.setattr("mmctl.cli.stop.stop_venue", make)
    done = call("cancel-all", "--profile", path, "--output", "json")
    assert done.code == 2
    assert stopped(done)["account"] == "spot"
    assert ids(held.left) == set()
    assert "'okx_spot' (cancel on the venue itself): nothing was done there" in done.err


def test_a_reader_that_has_gone_does_not_end_a_stop(
    held: Held, live: str, monkeypatch: pytest.MonkeyPatch, call: Caller
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("mmctl.cli.options.typer.echo", gone)
    monkeypatch.setattr("mmctl.cli.options.silence", lambda _: None)
    assert call("cancel-all", "--profile", live).code == 0
    assert ids(held.left) == set()


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGHUP, 1), (signal.SIGINT, 130), (signal.SIGTERM, 1)],
    ids=["SIGHUP", "SIGINT", "SIGTERM"],
)
def test_a_stop_outlives_its_terminal_but_not_who_ends_it(
    call: Caller, held: Held, live: str, number: signal.Signals, code: int
) -> None:
    held.stubborn, held.arrives = True, number
    deadline = "60s" if number is signal.SIGINT else "0.6s"
    done = call("cancel-all", "--profile", live, "--deadline", deadline, "--output", "json")
    assert done.code == code
    interrupted = number is not signal.SIGHUP
    assert ("interrupted: own orders may remain, halts stay set" in done.err) == interrupted
    assert len(done.of("stopped")) == (not interrupted)
    (halt,) = halts()
    (written,) = call("journal", "--kind", "stop", "--output", "json").events
    body = written["body"]
    assert (body["by"], body["proof"], body["halt_uids"]) == (who(), "not_proven", [halt.uid])
    assert (body["unread"] == "it was interrupted") == interrupted


def test_text_says_what_an_operator_asks(call: Caller, held: Held, live: str) -> None:
    done = call("cancel-near", "--profile", live, "--no-color")
    assert done.code == 0
    for said in (
        "binance account main near of BTC-USDT: cancelled 3 in ",
        "halt set, proof waited",
        "remaining own orders 0",
        "far orders left 2, foreign orders left 1",
        "position BTC-USDT 10 (not flattened)",
        "halts in force: halt 1: near of all symbols on binance main",
    ):
        assert said in done.out


@pytest.mark.parametrize("verb", ["cancel-near", "cancel-all"])
def test_the_mock_venue_cannot_be_stopped_from_outside(
    call: Caller, quick: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.chdir(ROOT)
    told_in_one_line(call(verb, "--profile", quick), 2, "mock venue", "binance-spot")
    told_as_json(call(verb, "--profile", quick, "--output", "json"), 2, "mock venue", "binance-spot")
    monkeypatch.chdir(tmp_path)
    told_in_one_line(call(verb, "--profile", quick), 2, "live venue: sandbox")
    assert halts() == ()


# resume


def halt_by_hand(scope: HaltScope, why: str = "drill") -> Halt:
    return FileHaltLatch(Path(os.environ["MMCTL_STATE_DIR"])).set(scope, by="anna", at_ms=1_800_000_000_000, why=why)


def test_resume_lifts_a_halt_and_names_it(call: Caller, quick: str) -> None:
    halt_by_hand(HaltScope("mock", "main", "BTCUSDT", Layer.NEAR))
    halted = call("dry-run", "--profile", quick, "--rounds", "2", "--output", "json")
    assert halted.code == 3
    assert halted.events[0]["halts"] == [str(halts()[0])]
    assert {one["reason"] for one in halted.of("skip") if one["layer"] == "near"} == {"halted"}
    assert [one["layer"] for one in halted.of("round")] == ["far"]
    done = call("resume", "--profile", quick)
    assert done.code == 0
    assert done.out.startswith("lifted halt 1: near of BTCUSDT on mock main, by anna, since 2027-")
    assert done.out.rstrip().endswith(": drill")
    assert halts() == ()
    assert call("dry-run", "--profile", quick, "--rounds", "1").code == 0


def test_resume_lets_no_halt_move_the_cursor(call: Caller, quick: str) -> None:
    halt_by_hand(HaltScope("mock", "main", None, None), "\x1b[31mred\nlifted halt 9: all")
    done = call("resume", "--profile", quick)
    assert done.out.endswith(":  [31mred lifted halt 9: all\n")
    assert len(done.out.splitlines()) == 1


def test_resume_lifts_only_what_is_in_scope(call: Caller, quick: str) -> None:
    halt_by_hand(HaltScope("mock", "main", None, None), "everything")
    halt_by_hand(HaltScope("mock", "main", "BTCUSDT", None), "one pair")
    halt_by_hand(HaltScope("binance", "main", None, None), "another venue")
    done = call("resume", "--profile", quick, "--pair", "BTC-USDT")
    assert "lifted halt 2: " in done.out
    assert "still halted: halt 1: " in done.out
    assert "resume without --pair lifts it" in done.out
    assert [halt.number for halt in halts()] == [1, 3]
    (event,) = call("resume", "--profile", quick, "--output", "json").events
    assert (event["event"], len(event["lifted"]), event["halts"]) == ("resumed", 1, [])
    assert [halt.number for halt in halts()] == [3]
    again = call("resume", "--profile", quick)
    assert (again.code, again.out) == (0, "nothing was halted in this scope\n")


def test_resume_lifts_nothing_where_it_cannot_tell_whether_a_stop_sweeps(call: Caller, quick: str) -> None:
    folder = Path(os.environ["MMCTL_STATE_DIR"])
    latch = FileHaltLatch(folder)
    latch.set(HaltScope("mock", "main"), by="anna", at_ms=1_800_000_000_000, why="drill")
    path = stop_lock(folder, "mock", "main")
    path.mkdir()
    done = call("resume", "--profile", quick)
    assert done.code not in (0, 1), done
    assert str(path) in done.err
    assert "Traceback" not in done.err
    assert latch.halts()


def test_a_halt_set_while_quoting_ends_it_and_resume_lets_it_go_on(call: Caller, quick: str) -> None:
    with started("dry-run", "--profile", quick, "--output", "json") as process:
        read = read_until(process, is_round("near"))
        halt_by_hand(HaltScope("mock", "main", "BTCUSDT", Layer.NEAR))
        read += read_until(process, lambda one: one["event"] == "fault" and one["kind"] == "halted")
        assert call("resume", "--profile", quick).code == 0
        read += read_until(process, is_round("near"))
        process.terminate()
        done = ended(process, read)
    assert done.code == 0
    assert any("anna" in one["detail"] for one in done.of("fault"))


def test_a_disk_that_hangs_holds_up_no_cancel_for_long(
    call: Caller, held: Held, live: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    going = threading.Event()
    monkeypatch.setattr("mmctl.engine.halt.os.fsync", lambda descriptor: going.wait(30))
    try:
        done = call("cancel-all", "--profile", live, "--output", "json")
        assert not going.is_set()
    finally:
        going.set()
    one = stopped(done)
    assert (done.code, one["halt"], one["remaining"]) == (1, "failed", [])
    assert "was not written within 2 s: its disk hangs" in done.err
