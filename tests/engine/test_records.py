"""Engines' records in the state folder: who lives, who is dead, and what rubbish cannot break."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from mmctl.core.order import Layer
from mmctl.engine import record_tidy
from mmctl.engine.lock import PairLock
from mmctl.engine.record_file import RecordFile
from mmctl.engine.record_tidy import remove_old
from mmctl.engine.records import (
    FOLDER,
    EngineRecord,
    LayerRecord,
    PairRecord,
    encoded,
    record_path,
    this_machine,
)
from mmctl.engine.registered import MOST_BYTES, EngineState, Life, engines, merged, seen_elsewhere
from mmctl.engine.registry import Registry, accounts_known
from mmctl.errors import PairHeld, StateUnreadable

SPAWN = multiprocessing.get_context("spawn")


class HandClock:
    """Wall and boot time, moved by hand."""

    def __init__(self) -> None:
        self.boot, self.wall = 5_000.0, 1_700_000_000_000

    def monotonic(self) -> float:
        return self.boot

    def wall_ms(self) -> int:
        return self.wall

    def boot_s(self) -> float:
        return self.boot

    async def sleep(self, seconds: float) -> None:
        self.boot += seconds


CLOCK = HandClock()


def record(epoch: int = 7, *, unanswered: int = 0, **changes: object) -> EngineRecord:
    host, boot_id = this_machine()
    layers = (LayerRecord(Layer.NEAR, 3.0, "ok", 4, unanswered), LayerRecord(Layer.FAR, 30.0))
    made = EngineRecord(
        *("binance", "main", "42", epoch, host, boot_id, os.getpid(), "0.1", "sandbox", 12.0, CLOCK.wall),
        *(CLOCK.wall, CLOCK.boot, 1),
        pairs=(PairRecord("BTC-USDT", "BTCUSDT", layers, CLOCK.wall, CLOCK.boot - 1),),
        acknowledged=("abc",),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def living(folder: Path, made: EngineRecord | None = None) -> RecordFile:
    made = made or record()
    file = RecordFile(record_path(folder, made.venue, made.account, made.epoch))
    file.write(made)
    return file


def seen(folder: Path, account: str = "main", clock: HandClock = CLOCK) -> list[EngineState]:
    return engines(folder, "binance", account, clock)


def test_a_missing_folder_has_no_engine(tmp_path: Path) -> None:
    assert seen(tmp_path / "state") == []


def test_a_live_engine_is_read_back_as_it_said(tmp_path: Path) -> None:
    file = living(tmp_path)
    (state,) = seen(tmp_path)
    assert (state.life, state.record, state.age_s, state.progress_age_s) == (Life.LIVE, record(), 0.0, 1.0)
    assert state.acknowledged(["abc"])
    assert not state.acknowledged(["abc", "def"])
    assert state.record is not None
    assert state.record.interval_s == 30.0
    assert file.path.stat().st_mode & 0o077 == 0
    file.close(keep=False)
    assert seen(tmp_path) == []


def test_an_engine_that_ended_in_good_order_says_so_for_a_while_and_is_none(tmp_path: Path) -> None:
    clock = HandClock()
    living(tmp_path).close(keep=False)
    assert seen(tmp_path, clock=clock) == []
    (state,) = engines(tmp_path, "binance", "main", clock, ended=True)
    assert (state.life, state.epoch, state.landed) == (Life.ENDED, 7, False)
    assert accounts_known(tmp_path) == ([], [])
    remove_old(tmp_path, "binance", "main", clock)
    assert engines(tmp_path, "binance", "main", clock, ended=True) == [state]
    clock.boot += record_tidy.KEEP_ENDED_S + 1
    remove_old(tmp_path, "binance", "main", clock)
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_an_end_that_cannot_be_written_leaves_no_dead_engine(tmp_path: Path) -> None:
    file = living(tmp_path)
    file.path.with_suffix(".last").mkdir()
    file.close(keep=False)
    assert engines(tmp_path, "binance", "main", CLOCK, ended=True) == []


def test_unanswered_placements_are_counted_by_layer_and_symbol() -> None:
    made = record(unanswered=3)
    assert [made.unanswered(), made.unanswered(Layer.NEAR), made.unanswered(Layer.FAR)] == [3, 3, 0]
    assert made.unanswered(symbols=["ETHUSDT"]) == 0


@pytest.mark.parametrize(
    ("unanswered", "signed_s_before", "landed"),
    [(0, None, True), (0, 11.0, True), (2, 11.0, False), (2, 12.0, True), (0, -0.5, False)],
)
def test_nothing_of_a_dead_engine_appears_after_the_landing_time(
    tmp_path: Path, unanswered: int, signed_s_before: float | None, landed: bool
) -> None:
    """What it signed after its last record is known too: the time of its lock says when."""
    clock = HandClock()
    file = living(tmp_path, record(unanswered=unanswered))
    if signed_s_before is not None:
        file.signed(clock.boot - signed_s_before)
    clock.boot += 0.0 if signed_s_before != -0.5 else 1.0
    file.close(keep=True)
    (state,) = seen(tmp_path, clock=clock)
    assert state.life is Life.DEAD
    assert state.landed is landed


def test_a_step_of_the_wall_clock_lands_nothing(tmp_path: Path) -> None:
    clock = HandClock()
    file = living(tmp_path, record(unanswered=1))
    file.signed(clock.boot)
    file.close(keep=True)
    clock.wall += 3_600_000
    (state,) = seen(tmp_path, clock=clock)
    assert not state.landed


def test_a_live_engine_has_not_landed_however_long_it_is_silent(tmp_path: Path) -> None:
    clock = HandClock()
    file = living(tmp_path)
    clock.boot += 3600
    (state,) = seen(tmp_path, clock=clock)
    assert (state.life, state.landed, state.age_s) == (Life.LIVE, False, 3600.0)
    file.close(keep=False)


def test_an_engine_from_before_a_boot_is_dead_and_signed_nothing_since(tmp_path: Path) -> None:
    living(tmp_path, record(boot_id="before", unanswered=1, written_ms=CLOCK.wall - 14_000)).close(keep=True)
    clock = HandClock()
    for boot, landed in ((3.0, False), (13.0, True)):
        clock.boot = boot
        (state,) = seen(tmp_path, clock=clock)
        assert (state.life, state.landed) == (Life.DEAD, landed)


def test_a_container_of_this_name_on_another_machine_is_not_proven_dead(tmp_path: Path) -> None:
    """Its record is of another boot, and was written since this machine's: it cannot be from before that."""
    living(tmp_path, record(boot_id="another", written_ms=CLOCK.wall - 4_999_000)).close(keep=True)
    (state,) = seen(tmp_path)
    assert (state.life, state.landed) == (Life.UNREADABLE, False)
    assert "another boot" in state.detail


def test_an_engine_on_another_machine_is_not_proven_dead_by_a_folder_that_both_share(tmp_path: Path) -> None:
    living(tmp_path, record(host="elsewhere", boot_id="other")).close(keep=True)
    (state,) = seen(tmp_path)
    assert state.life is Life.UNREADABLE
    assert "elsewhere" in state.detail
    assert not state.landed


def _rubbish(path: Path, folder: Path) -> None:
    path.write_bytes(b"\xff rubbish")


def _number(path: Path, folder: Path) -> None:
    path.write_bytes(b"7")


def _fields(path: Path, folder: Path) -> None:
    path.write_bytes(encoded(record()).replace(b'"epoch":7', b'"epoch":"seven"'))


def _deep(path: Path, folder: Path) -> None:
    path.write_bytes(encoded(record())[:-1] + b',"more":' + b"[" * 100_000)


def _late(path: Path, folder: Path) -> None:
    path.write_bytes(encoded(record())[:-1] + b',"written_ms":' + b"9" * 500 + b"}")


def _epoch(path: Path, folder: Path) -> None:
    path.write_bytes(encoded(record()).replace(b'"epoch":7', b'"epoch":-7'))


def _long(path: Path, folder: Path) -> None:
    path.write_bytes(b" " * (MOST_BYTES + 2))


def _folder(path: Path, folder: Path) -> None:
    path.mkdir()


def _link(path: Path, folder: Path) -> None:
    (folder / "target").write_bytes(encoded(record()))
    path.symlink_to(folder / "target")


def _loop(path: Path, folder: Path) -> None:
    path.symlink_to(path)


def _fifo(path: Path, folder: Path) -> None:
    os.mkfifo(path)


def _no_lock(path: Path, folder: Path) -> None:
    path.write_bytes(encoded(record()))


def _empty_lock(path: Path, folder: Path) -> None:
    path.write_bytes(encoded(record()))
    path.with_suffix(".lock").write_bytes(b"")


@pytest.mark.parametrize(
    "make",
    [_rubbish, _number, _fields, _deep, _late, _epoch, _long, _folder, _link, _loop, _fifo, _no_lock, _empty_lock],
)
def test_rubbish_is_an_unreadable_engine_and_hides_no_other(tmp_path: Path, make: Callable[[Path, Path], None]) -> None:
    file = living(tmp_path, record(9))
    make(record_path(tmp_path, "binance", "main", 7), tmp_path)
    states = {state.life: state for state in seen(tmp_path)}
    assert set(states) == {Life.LIVE, Life.UNREADABLE}
    assert states[Life.UNREADABLE].detail
    assert not states[Life.UNREADABLE].landed
    assert not states[Life.UNREADABLE].acknowledged(["abc"]) or make in (_no_lock, _empty_lock)
    remove_old(tmp_path, "binance", "main", CLOCK)
    assert len(seen(tmp_path)) == 2
    file.close(keep=False)


def test_a_folder_that_is_a_file_may_hide_engines(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("")
    (state,) = seen(tmp_path)
    assert state.life is Life.UNREADABLE
    with pytest.raises(StateUnreadable, match="cannot be written"):
        living(tmp_path)


def test_accounts_whose_names_begin_alike_are_apart(tmp_path: Path) -> None:
    files = [living(tmp_path, record(7, account=name)) for name in ("main", "main-2", "main_2", "ma in")]
    for name in ("main", "main-2", "main_2", "ma in"):
        (state,) = seen(tmp_path, name)
        assert state.record is not None
        assert state.record.account == name
    assert seen(tmp_path, "2") == []
    for file in files:
        file.close(keep=False)


def test_old_records_of_the_dead_go_and_those_that_still_matter_stay(tmp_path: Path) -> None:
    clock = HandClock()
    for epoch in range(1, 140):
        living(tmp_path, record(epoch)).close(keep=True)
    recent = living(tmp_path, record(140, unanswered=1))
    recent.signed(clock.boot)
    recent.close(keep=True)
    alive = living(tmp_path, record(141))
    remove_old(tmp_path, "binance", "main", clock)
    left = [state.epoch for state in seen(tmp_path)]
    assert left == [*range(41, 142)]
    clock.boot += record_tidy.KEEP_DEAD_S + 1
    remove_old(tmp_path, "binance", "main", clock)
    assert [state.epoch for state in seen(tmp_path)] == [141]
    alive.close(keep=False)
    clock.boot += record_tidy.KEEP_ENDED_S + 1
    remove_old(tmp_path, "binance", "main", clock)
    assert list((tmp_path / FOLDER).iterdir()) == []


def test_what_other_machines_left_goes_when_it_is_silent_for_long(tmp_path: Path) -> None:
    clock = HandClock()
    living(tmp_path, record(host="elsewhere", boot_id="other")).close(keep=True)
    RecordFile(record_path(tmp_path, "binance", "main", 3)).close(keep=True)
    RecordFile(record_path(tmp_path, "binance", "main", 4)).path.with_suffix(".new").write_bytes(b"half")
    os.utime(record_path(tmp_path, "binance", "main", 3).with_suffix(".lock"), (0, 0))
    remove_old(tmp_path, "binance", "main", clock)
    assert [path.name for path in sorted((tmp_path / FOLDER).glob("*.lock"))] == [
        "binance-main-4.lock",
        "binance-main-7.lock",
    ]
    clock.wall += int(record_tidy.KEEP_DEAD_S * 1000) + 1
    remove_old(tmp_path, "binance", "main", clock)
    assert seen(tmp_path, clock=clock) == []


def test_an_engine_of_this_folder_is_told_of_once(tmp_path: Path) -> None:
    file = living(tmp_path)
    far_away = record(8, host="elsewhere", boot_id="other", written_ms=CLOCK.wall - 2_000)
    elsewhere = [seen_elsewhere(encoded(one), CLOCK, "binance", "main", where="Redis") for one in (record(), far_away)]
    both = merged(seen(tmp_path), [one for one in elsewhere if one is not None])
    assert [(one.epoch, one.where) for one in both] == [(7, "state folder"), (8, "Redis")]
    assert both[1].age_s == 2.0
    assert both[1].life is Life.LIVE
    assert seen_elsewhere(encoded(record(account="other")), CLOCK, "binance", "main", where="Redis") is None
    rubbish = seen_elsewhere(b"?", CLOCK, "binance", "main", where="Redis")
    assert rubbish is not None
    assert rubbish.life is Life.UNREADABLE
    file.close(keep=False)


def _engine(folder: Path, told: Connection) -> None:
    """An engine of another process, until it is killed."""
    lock = PairLock(folder, "binance", "42", "BTCUSDT")
    lock.tell(7)
    file = living(folder, record(pid=os.getpid(), unanswered=1))
    file.signed(CLOCK.boot)
    told.send("ready")
    told.recv()
    sys.exit(1)


def test_a_killed_engine_is_proven_dead_and_its_pair_is_free(tmp_path: Path) -> None:
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=_engine, args=(tmp_path, theirs))
    process.start()
    assert ours.recv() == "ready"
    (state,) = seen(tmp_path)
    assert state.life is Life.LIVE
    held = rf"engine of epoch 7 \(pid {process.pid} on {this_machine()[0]}\) quotes BTCUSDT"
    with pytest.raises(PairHeld, match=held) as refused:
        PairLock(tmp_path, "binance", "42", "BTCUSDT")
    assert refused.value.exit_code == 5
    PairLock(tmp_path, "binance", "42", "ETHUSDT").release()
    PairLock(tmp_path, "binance", "43", "BTCUSDT").release()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    (state,) = seen(tmp_path)
    assert state.life is Life.DEAD
    assert not state.landed, "it signed something just now, and said of no answer"
    PairLock(tmp_path, "binance", "42", "BTCUSDT").release()


def test_one_process_excludes_itself_too(tmp_path: Path) -> None:
    first = PairLock(tmp_path, "binance", "a/b", "X+Y")
    with pytest.raises(PairHeld):
        PairLock(tmp_path, "binance", "a/b", "X+Y")
    PairLock(tmp_path, "binance", "a", "b/X+Y").release()
    first.release()
    PairLock(tmp_path, "binance", "a/b", "X+Y").release()


def test_a_lock_with_rubbish_in_it_still_excludes(tmp_path: Path) -> None:
    first = PairLock(tmp_path, "binance", "1", "X")
    next(tmp_path.glob("writer*")).write_bytes(b"\x00{]")
    with pytest.raises(PairHeld, match="another engine"):
        PairLock(tmp_path, "binance", "1", "X")
    first.release()


def test_a_pair_lock_needs_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnreadable, match="cannot be had"):
        PairLock(tmp_path / "file", "binance", "1", "X")


def test_a_folder_that_goes_away_takes_no_engine_with_it(tmp_path: Path) -> None:
    registry = Registry(tmp_path, "binance", "main", CLOCK)
    assert registry.now() == [], "there was none yet"
    file = living(tmp_path)
    assert [one.life for one in registry.now()] == [Life.LIVE]
    (tmp_path / FOLDER).rename(tmp_path / "elsewhere")
    (state,) = registry.now()
    assert (state.life, state.stands_for_all) == (Life.UNREADABLE, True)
    assert "not there any more" in state.detail
    (tmp_path / "elsewhere").rename(tmp_path / FOLDER)
    assert [one.life for one in registry.now()] == [Life.LIVE]
    file.close(keep=False)
    assert registry.now() == []
