"""halt and status: what engines say of themselves, what is halted, and what cannot be read."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from mmctl.core.order import Layer
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.journal import journal_path
from mmctl.engine.journal_store import JournalStore
from mmctl.engine.record_file import RecordFile
from mmctl.engine.records import EngineRecord, LayerRecord, PairRecord, record_path, this_machine
from mmctl.ports import Halt, HaltScope

from .harness import QUICK, Caller, Done, RedisServer, free_port, quick_profile
from .test_stop_redis import register

LIVE = QUICK + '[accounts.main]\nvenue = "binance"\n'


@pytest.fixture
def folder() -> Path:
    return Path(os.environ["MMCTL_STATE_DIR"])


@pytest.fixture
def live(tmp_path: Path) -> str:
    return quick_profile(tmp_path, text=LIVE)


def halts() -> tuple[Halt, ...]:
    return FileHaltLatch(Path(os.environ["MMCTL_STATE_DIR"])).halts()


def record(
    epoch: int = 7, *, quiet_s: float = 0.0, account: str = "main", acknowledged: tuple[str, ...] = ()
) -> EngineRecord:
    """What a running engine says; its pair got on ``quiet_s`` ago."""
    host, boot_id = this_machine()
    boot_s, wall_ms = time.clock_gettime(time.CLOCK_BOOTTIME), time.time_ns() // 1_000_000
    layers = (LayerRecord(Layer.NEAR, 3.0, "ok", 10, 1), LayerRecord(Layer.FAR, 30.0, "halted: by anna", 0))
    pair = PairRecord("BTC-USDT", "BTCUSDT", layers, wall_ms - round(1000 * quiet_s), boot_s - quiet_s)
    return EngineRecord(
        "binance", account, None, epoch, host, boot_id, os.getpid(), "1.2.3", "live", 12.0, wall_ms, wall_ms, boot_s,
        1, (pair,), acknowledged,
    )  # fmt: skip


@contextmanager
def engine(folder: Path, told: EngineRecord) -> Iterator[RecordFile]:
    """An engine that lives in this process."""
    file = RecordFile(record_path(folder, told.venue, told.account, told.epoch))
    file.write(told)
    try:
        yield file
    finally:
        file.close(keep=True)


def status(done: Done) -> dict[str, object]:
    (one,) = done.events
    assert (one["v"], one["event"]) == (1, "status")
    return one


def test_halt_sets_a_halt_and_names_it(call: Caller, live: str, folder: Path) -> None:
    done = call("halt", "--profile", live, "--pair", "btc/usdt", "--layer", "far", "--why", "auction")
    assert done.code == 0
    (halt,) = halts()
    assert (halt.scope, halt.why) == (HaltScope("binance", "main", "BTCUSDT", Layer.FAR), "auction")
    assert done.out == f"{halt}\nno engine known\n"
    assert done.err == "mmctl: halting far on binance, account main: BTC-USDT\n"
    store = JournalStore(journal_path(folder))
    try:
        assert store._db.execute("SELECT kind, symbol FROM entries").fetchall() == [("halt", "BTCUSDT")]
    finally:
        store.close()


def test_halt_is_for_both_ladders_and_the_mock_venue_too(call: Caller, quick: str) -> None:
    (one,) = call("halt", "--profile", quick, "--output", "json").events
    assert (one["event"], one["halt"], one["engines"]) == ("halted", "set", [])
    assert [(each["venue"], each["symbol"], each["layer"]) for each in one["halts"]] == [("mock", None, None)]
    assert halts()[0].scope == HaltScope("mock", "main", None, None)


def test_halt_says_who_has_seen_it(call: Caller, live: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmctl.engine.everywhere.new_uid", lambda: "known")
    monkeypatch.setattr("mmctl.cli.halt_verb.ACKNOWLEDGE_WITHIN_S", 0.1)
    with engine(folder, record(7, acknowledged=("known",))), engine(folder, record(8)):
        done = call("halt", "--profile", live, "--output", "json")
    assert [(one["epoch"], one["state"]) for one in done.events[0]["engines"]] == [
        (7, "acknowledged"),
        (8, "not_reached"),
    ]
    assert done.code == 0


def test_an_engine_that_ends_meanwhile_is_not_waited_for(
    call: Caller, live: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmctl.cli.halt_verb.ACKNOWLEDGE_WITHIN_S", 60.0)
    file = RecordFile(record_path(folder, "binance", "main", 7))
    file.write(record(7))
    ends = threading.Timer(1.0, lambda: file.close(keep=False))
    ends.start()
    done = call("halt", "--profile", live, "--output", "json")
    ends.join()
    assert (done.code, done.events[0]["engines"]) == (0, [])


def test_a_halt_that_does_not_stand_is_exit_1(
    call: Caller, live: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = call("halt", "--profile", live, "--redis-url", f"redis://127.0.0.1:{free_port()}/0")
    assert (done.code, len(halts())) == (1, 1)
    assert "an engine may quote again: Redis at" in done.err
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MMCTL_STATE_DIR", str(tmp_path / "file"))
    done = call("halt", "--profile", live)
    assert done.code == 1
    assert "an engine may quote again: the halt file" in done.err
    assert done.out.startswith("not everywhere: halt ")


def test_status_of_nothing(call: Caller) -> None:
    done = call("status")
    assert (done.code, done.out) == (0, "no engine known\nnothing is halted\n")
    one = status(call("status", "--output", "json"))
    assert (one["engines"], one["halts"], "unread" in one) == ([], [], False)


def test_status_tells_of_engines_and_halts(call: Caller, folder: Path) -> None:
    host = socket.gethostname()
    with engine(folder, record()):
        done = call("status")
        assert done.code == 0
        lines = done.out.splitlines()
        assert lines[0] == "binance account main"
        assert re.match(rf"  engine 7 \(pid {os.getpid()} on {re.escape(host)}\) live: quoting, told [0-9]\.", lines[1])
        assert re.match(
            r"    BTC-USDT near ok, 10 open, 1 unanswered; far halted: by anna, 0 open; got on [0-9]\.", lines[2]
        )
        assert lines[3] == "nothing is halted"
        FileHaltLatch(folder).set(HaltScope("binance", "main"), by="anna", at_ms=1_800_000_000_000, why="drill")
        done = call("status", "--output", "json")
    assert done.code == 1
    one = status(done)
    (seen,), (halt,) = one["engines"], one["halts"]  # type: ignore[misc]
    assert (seen["epoch"], seen["condition"], seen["pid"], seen["mode"]) == (7, "quoting", os.getpid(), "live")
    assert seen["pairs"][0]["layers"][0] == {"layer": "near", "status": "ok", "resting": 10, "unanswered": 1}
    assert (halt["by"], halt["at_ms"], halt["why"], halt["symbol"]) == ("anna", 1_800_000_000_000, "drill", None)


def test_status_tells_of_engines_that_are_not_well(call: Caller, folder: Path) -> None:
    with engine(folder, record(7)):
        pass
    (folder / "engines" / "binance-main-6.json").write_text("{")
    with engine(folder, record(8, quiet_s=60)), engine(folder, replace(record(9), held="its record is not written")):
        done = call("status", "--output", "json")
    assert done.code == 1
    one = status(done)
    found = [(each["epoch"], each["condition"]) for each in one["engines"]]  # type: ignore[attr-defined]
    assert found == [(None, "unreadable"), (7, "dead"), (8, "silent"), (9, "held")]
    assert "binance-main-6.json is not an engine's record" in str(one["unread"])


def test_status_is_of_the_accounts_asked_for(call: Caller, folder: Path, live: str) -> None:
    FileHaltLatch(folder).set(HaltScope("binance", "second"), by="anna", at_ms=0, why="drill")
    with engine(folder, record()), engine(folder, record(8, account="second")):
        assert call("status").out.count("engine ") == 2
        done = call("status", "--profile", live)
        assert (done.code, done.out.count("engine "), "drill" in done.out) == (0, 1, False)
        done = call("status", "--venue", "binance", "--account", "second")
        assert (done.code, "engine 8" in done.out, "drill" in done.out) == (1, True, True)


def test_status_works_with_a_broken_profile(call: Caller, folder: Path, live: str) -> None:
    Path(live).write_text("[accounts.main\n")
    with engine(folder, record()):
        done = call("status", "--profile", live)
    assert (done.code, "engine 7" in done.out) == (0, True)
    assert "not TOML" in done.err
    assert "all that the state folder knows is shown" in done.err


def test_status_of_a_mock_is_told_as_for_a_stop(call: Caller, quick: str) -> None:
    done = call("status", "--profile", quick)
    assert (done.code, done.out) == (2, "")
    assert "trades on the mock venue" in done.err


def test_rubbish_in_the_halt_file_is_no_absence_of_halts(call: Caller, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "halts.jsonl").write_text("rubbish\n")
    done = call("status")
    assert done.code == 1
    assert "no halt is known" in done.out
    assert "is not a halt record (`mmctl resume` mends it)" in done.out
    one = status(call("status", "--output", "json"))
    assert (one["halts"], "is not a halt record" in str(one["unread"])) == (None, True)


def test_engines_in_redis_are_seen(call: Caller, server: RedisServer, books: redis.Redis, live: str) -> None:
    register(server.url)
    done = call("status", "--profile", live, "--redis-url", server.url)
    assert done.code == 1
    assert "engine 7 (pid 42 on another) live: silent" in done.out
    assert f"by Redis at 127.0.0.1:{server.port}" in done.out


def test_without_a_profile_engines_of_other_hosts_are_seen_too(
    call: Caller, server: RedisServer, books: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(server.url)
    monkeypatch.setenv("MMCTL_REDIS_URL", server.url)
    done = call("status")
    assert done.code == 1
    assert "engine 7 (pid 42 on another) live: silent" in done.out


def test_a_redis_that_cannot_be_read_is_told(call: Caller, live: str) -> None:
    url = f"redis://:pAssw0rdOfRedis@127.0.0.1:{free_port()}/0"
    done = call("status", "--profile", live, "--redis-url", url, "--output", "json")
    assert done.code == 1
    one = status(done)
    assert one["halts"] is None
    assert "cannot be asked" in str(one["unread"])
    assert "not read: Redis at" in call("status", "--profile", live, "--redis-url", url).out
