"""mmctl guard on the sandbox: an engine that hangs, dies, ends in good order, or cannot be seen."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from mmctl.cli.guard_tell import Teller
from mmctl.cli.guarding import Guard, GuardAsked
from mmctl.cli.halting import Halting
from mmctl.cli.options import Output
from mmctl.cli.shared_place import SharedPlace
from mmctl.cli.stop_targets import ScopeAsked, StopAsked, Target, targets
from mmctl.core.order import Layer
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.record_file import RecordFile
from mmctl.engine.records import EngineRecord, encoded, record_path
from mmctl.ports import HaltScope
from mmctl.shared.redis import RedisShared

from .harness import (
    MMCTL,
    PATIENCE_S,
    Caller,
    Done,
    Manager,
    RedisServer,
    ended,
    environment,
    quick_profile,
    read_until,
    started,
    waited_until,
)
from .test_stop_sandbox import Exchange, exchange, profile, shared_exchange
from .test_watching import LIVE, record

__all__ = ["exchange", "shared_exchange"]
AFTER_S = 1.0
PATIENT_S = 4.0
"""Long enough for an engine that beats on a busy machine never to be silent for so long."""

OPTIONS = ("--output", "json")


@pytest.fixture
def folder() -> Path:
    return Path(os.environ["MMCTL_STATE_DIR"])


def told(kind: str) -> Callable[[dict[str, Any]], bool]:
    return lambda one: one["event"] == "guard" and one["kind"] == kind


@contextmanager
def guarding(path: str, *options: str, after_s: float = AFTER_S) -> Iterator[Callable[[str], list[dict[str, Any]]]]:
    """A guard in a process of its own; gives what waits for a thing to be told. It has to end in good order."""
    with started(
        "guard", "--profile", path, "--after", f"{after_s:g}s", *OPTIONS, *options, env=environment()
    ) as process:
        read = ""

        def wait_for(kind: str) -> list[dict[str, Any]]:
            nonlocal read
            fresh = read_until(process, told(kind))
            read += fresh
            return Done(0, fresh, "").events

        yield wait_for
        process.send_signal(signal.SIGTERM)
        done = ended(process, read)
        assert (done.code, "Traceback" in done.err) == (0, False), done
        assert "does not cover the death of its own host" in done.err
        assert ("an engine that is well may be stopped" in done.err) == (after_s < 5)


def short(one: EngineRecord) -> EngineRecord:
    """An engine of which nothing is to be waited for long."""
    pair = one.pairs[0]
    layers = tuple(replace(layer, interval_s=0.1, unanswered=0) for layer in pair.layers)
    return replace(one, landing_time_s=0.2, pairs=(replace(pair, layers=layers),))


@contextmanager
def beating(file: RecordFile) -> Iterator[None]:
    """An engine that gets on, for as long as that is wanted."""
    ends = threading.Event()

    def beat() -> None:
        while not ends.wait(0.05):
            file.write(short(record()))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        ends.set()
        thread.join()


@contextmanager
def alive(folder: Path, epoch: int = 7) -> Iterator[RecordFile]:
    """An engine that lives in this process, and says nothing more."""
    file = RecordFile(record_path(folder, "binance", "main", epoch))
    file.write(short(record(epoch)))
    yield file
    file.close(keep=True)


def test_an_engine_that_hangs_is_halted_and_stopped_once(exchange: Exchange, folder: Path, tmp_path: Path) -> None:
    exchange.ladder(Layer.NEAR, 3)
    exchange.ladder(Layer.FAR, 2)
    exchange.place("web_1")
    with guarding(profile(tmp_path)) as wait_for:
        wait_for("waiting")
        with alive(folder) as engine:
            wait_for("silent")
            events = wait_for("proven")
            (stopped,) = [one for one in events if one["event"] == "stopped"]
            assert (stopped["proof"], stopped["remaining"], len(stopped["cancelled"])) == ("waited", [], 5)
            assert exchange.open_ids() == {"web_1"}
            (halt,) = FileHaltLatch(folder).halts()
            assert halt.scope == HaltScope("binance", "main", None, None)
            assert halt.by.startswith("guard, ")
            assert "is silent for 1 s" in halt.why
            time.sleep(2.0)
            assert len(FileHaltLatch(folder).halts()) == 1
            with beating(engine):
                wait_for("well")
            wait_for("silent")
            wait_for("proven")
            assert len(FileHaltLatch(folder).halts()) == 1, "the first one stands: nobody resumed"


def test_systemd_hears_of_a_guard(exchange: Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Manager(tmp_path) as manager:
        monkeypatch.setenv("NOTIFY_SOCKET", manager.address)
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        with guarding(profile(tmp_path)) as wait_for:
            wait_for("waiting")
            manager.hears("WATCHDOG=1")
        manager.hears("STOPPING=1")
    ready, *beats, stopping = manager.heard
    assert ready == "READY=1\nSTATUS=watching 1 account"
    assert set(beats) == {"WATCHDOG=1"}
    assert stopping.startswith("STOPPING=1")


def test_an_engine_that_dies_is_stopped_and_its_record_goes(exchange: Exchange, folder: Path, tmp_path: Path) -> None:
    exchange.ladder(Layer.NEAR, 3)
    with guarding(profile(tmp_path)) as wait_for:
        wait_for("waiting")
        with alive(folder) as engine, beating(engine):
            wait_for("watching")
        wait_for("dead")
        events = wait_for("proven")
        assert [one["proof"] for one in events if one["event"] == "stopped"] == ["dead"]
        assert exchange.open_ids() == set()
        assert not list((folder / "engines").iterdir())


def test_an_output_that_cannot_be_written_keeps_no_guard_from_its_work(
    exchange: Exchange, folder: Path, tmp_path: Path
) -> None:
    exchange.ladder(Layer.NEAR, 3)
    with alive(folder):
        pass
    arguments = (*MMCTL, "guard", "--profile", profile(tmp_path), "--after", "1s", *OPTIONS)
    with open("/dev/full", "w") as full, subprocess.Popen(arguments, stdout=full, env=environment()) as process:
        try:
            waited_until(lambda: not exchange.open_ids() and not list((folder / "engines").iterdir()))
            exchange.ladder(Layer.NEAR, 2)
            with alive(folder, epoch=8):
                pass
            waited_until(lambda: not exchange.open_ids() and not list((folder / "engines").iterdir()))
        finally:
            process.kill()


def test_an_engine_that_ends_in_good_order_is_let_go(exchange: Exchange, folder: Path, tmp_path: Path) -> None:
    own = exchange.ladder(Layer.NEAR, 2)
    with guarding(profile(tmp_path), after_s=PATIENT_S) as wait_for:
        wait_for("waiting")
        file = RecordFile(record_path(folder, "binance", "main", 7))
        with beating(file):
            wait_for("watching")
        file.close(keep=False)
        wait_for("ended")
        time.sleep(PATIENT_S + 0.5)
    assert exchange.open_ids() == own
    assert FileHaltLatch(folder).halts() == ()


@contextmanager
def elsewhere(url: str) -> Iterator[Callable[[bool | None], None]]:
    """An engine on another host that writes to Redis; what is given tells it to hang, or with ``None`` to end.

    Where that comes back nothing more of what was before is on its way.
    """
    does: list[bool | None] = [True]
    turn = threading.Lock()

    async def live() -> None:
        place, said = RedisShared(url), short(replace(record(), host="another", boot_id="other"))
        beat = 1
        while does[0] is not None:
            beat += does[0]
            pairs = tuple(replace(pair, progress_ms=beat) for pair in said.pairs)
            said = replace(said, beat=beat, pairs=pairs)
            with turn:
                if does[0]:
                    await place.put("binance", "main", 7, encoded(said))
            await asyncio.sleep(0.1)
        await place.put("binance", "main", 7, encoded(replace(said, ended=True)), ended=True)
        await place.close()

    thread = threading.Thread(target=lambda: asyncio.run(live()))
    thread.start()

    def let(what: bool | None) -> None:
        with turn:
            does[0] = what

    try:
        yield let
    finally:
        let(None)
        thread.join()


def test_a_flushed_redis_ends_no_engine_and_a_last_word_does(
    exchange: Exchange, folder: Path, tmp_path: Path, server: RedisServer, books: redis.Redis
) -> None:
    own = exchange.ladder(Layer.NEAR, 2)
    with (
        guarding(profile(tmp_path), "--redis-url", server.url, after_s=PATIENT_S) as wait_for,
        elsewhere(server.url) as let,
    ):
        wait_for("watching")
        let(False)
        books.flushall()
        (unknown,) = [one for one in wait_for("unknown") if one["event"] == "guard"]
        assert "is gone from Redis at" in unknown["detail"]
        let(True)
        wait_for("well")
        let(None)
        wait_for("ended")
        time.sleep(PATIENT_S + 0.5)
        assert exchange.open_ids() == own
        assert FileHaltLatch(folder).halts() == ()


def test_an_engine_whose_record_a_flushed_redis_lost_is_acted_on(
    exchange: Exchange, folder: Path, tmp_path: Path, server: RedisServer, books: redis.Redis
) -> None:
    exchange.ladder(Layer.NEAR, 2)
    with guarding(profile(tmp_path), "--redis-url", server.url) as wait_for, elsewhere(server.url) as let:
        wait_for("watching")
        let(False)
        books.flushall()
        wait_for("unknown")
        wait_for("proven")
        assert exchange.open_ids() == set()


def test_two_guards_and_a_venue_that_fails_for_a_while(exchange: Exchange, folder: Path, tmp_path: Path) -> None:
    exchange.ladder(Layer.NEAR, 3)
    path = profile(tmp_path)
    with guarding(path) as first, guarding(path) as second:
        first("waiting")
        second("waiting")
        exchange.control("/faults", server_error=0.5)
        with alive(folder):
            first("proven")
            second("proven")
        exchange.control("/faults", clear=True)
    assert exchange.open_ids() == set()
    assert len(FileHaltLatch(folder).halts()) <= 2


def test_a_record_with_rubbish_is_unknown_and_acted_on(exchange: Exchange, folder: Path, tmp_path: Path) -> None:
    exchange.ladder(Layer.NEAR, 2)
    path = Path(profile(tmp_path))
    path.write_text(path.read_text().replace("[defaults.near]", "[defaults.near]\n#"))
    with guarding(str(path)) as wait_for:
        wait_for("waiting")
        (folder / "engines").mkdir(parents=True)
        (folder / "engines" / "binance-main-7.json").write_text("rubbish")
        (unknown,) = [one for one in wait_for("unknown") if one["event"] == "guard"]
        assert "is not an engine's record" in unknown["detail"]
        wait_for("stopping")
        waited_until(lambda: not exchange.open_ids())
        assert len(FileHaltLatch(folder).halts()) == 1


# Without permission


def test_a_guard_without_keys_says_so_and_ends(call: Caller, tmp_path: Path) -> None:
    done = call("guard", "--profile", quick_profile(tmp_path, text=LIVE))
    assert done.code == 2
    assert "account main on binance has no keys" in done.err


def test_a_guard_with_a_wrong_key_says_so_and_ends(
    call: Caller, exchange: Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMCTL_BINANCE_API_KEY", "keyOfTheEnvironment")
    monkeypatch.setenv("MMCTL_BINANCE_API_SECRET", "secretOfTheFile")
    done = call("guard", "--profile", profile(tmp_path))
    assert done.code == 4
    assert "check the API key" in done.err


def test_a_guard_whose_key_may_only_read_says_so_and_ends(
    call: Caller, exchange: Exchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMCTL_BINANCE_API_KEY", "mmctlSandboxreadonlyKeyThatIsNoSecret".ljust(64, "0"))
    monkeypatch.setenv("MMCTL_BINANCE_API_SECRET", "mmctlSandboxreadonlySecretThatIsNoSecret".ljust(64, "0"))
    done = call("guard", "--profile", profile(tmp_path))
    assert done.code == 4
    assert "permissions" in done.err
    assert "this guard could end nothing" in done.err


def test_a_guard_that_could_halt_or_see_nothing_says_so_and_ends(
    call: Caller, exchange: Exchange, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "engines").write_text("no folder")
    done = call("guard", "--profile", profile(tmp_path))
    assert done.code == 70
    assert "this guard could see nothing" in done.err
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MMCTL_STATE_DIR", str(tmp_path / "file"))
    done = call("guard", "--profile", profile(tmp_path))
    assert done.code == 70
    assert "this guard could halt nothing" in done.err


@pytest.mark.parametrize("after", ["0", "soon"])
def test_a_guard_needs_a_time(call: Caller, exchange: Exchange, tmp_path: Path, after: str) -> None:
    done = call("guard", "--profile", profile(tmp_path), "--after", after)
    assert (done.code, "--after" in done.err) == (2, True)


async def test_a_stop_lasts_longer_than_a_hung_engine_is_to_be_watched_and_ends_where_more_engines_hang(
    exchange: Exchange, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (target,) = targets(ScopeAsked((), profile(tmp_path), None, None, False)).targets
    guard = Guard(
        target,
        GuardAsked(ScopeAsked((), None, None, None, False), 1.0),
        FileHaltLatch(folder),
        SharedPlace(None),
        Teller(Output.JSON),
    )
    asked: list[tuple[tuple[str, ...] | None, float]] = []

    async def never_proven(venue: object, target: Target, stop: StopAsked, *_: object) -> None:
        asked.append((target.symbols, stop.deadline_s))
        await asyncio.Event().wait()

    monkeypatch.setattr("mmctl.cli.guarding.stop_account", never_proven)
    layer = replace(record().pairs[0].layers[1], interval_s=300.0)
    hung = replace(record(), pairs=(replace(record().pairs[0], layers=(layer,)),))
    other = replace(short(record(8)).pairs[0], symbol="ETHUSDT")
    with alive(folder) as silent, alive(folder, epoch=8) as well:
        silent.write(hung)
        watching = asyncio.create_task(guard.run())
        ends_s = time.monotonic() + PATIENCE_S
        while not asked and time.monotonic() < ends_s:
            fresh = record(8)
            well.write(
                replace(fresh, pairs=(replace(other, progress_ms=fresh.written_ms, progress_s=fresh.written_s),))
            )
            await asyncio.sleep(0.1)
        for _ in range(round(10 * PATIENCE_S)):
            await asyncio.sleep(0.1)
            if len(asked) > 1:
                break
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert [symbols for symbols, _ in asked] == [("BTCUSDT",), None]
    assert asked[0][1] > 312


async def test_an_engine_that_hangs_while_another_is_stopped_in_vain_is_stopped_too(
    exchange: Exchange, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (target,) = targets(ScopeAsked((), profile(tmp_path), None, None, False)).targets
    asked = GuardAsked(ScopeAsked((), None, None, None, False), 2.0)
    guard = Guard(target, asked, FileHaltLatch(folder), SharedPlace(None), Teller(Output.JSON))
    stopped: list[tuple[str, ...] | None] = []

    async def in_vain(target: Target, asked: StopAsked, halting: Halting) -> bool:
        stopped.append(target.symbols)
        return False

    monkeypatch.setattr(guard, "_stop_once", in_vain)
    other = replace(short(record(8)).pairs[0], symbol="ETHUSDT")
    with alive(folder), alive(folder, epoch=8) as well:
        watching = asyncio.create_task(guard.run())
        ends_s = time.monotonic() + PATIENCE_S
        while len(stopped) < 2 and time.monotonic() < ends_s:
            fresh = record(8)
            pair = replace(other, progress_ms=fresh.written_ms, progress_s=fresh.written_s)
            well.write(replace(fresh, pairs=(pair,)))
            await asyncio.sleep(0.1)
        assert set(stopped) == {("BTCUSDT",)}
        for _ in range(round(10 * PATIENCE_S)):
            await asyncio.sleep(0.1)
            if stopped[-1] is None:
                break
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    assert stopped[-1] is None, "nobody is well any more: all of the account"
