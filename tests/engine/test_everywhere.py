"""Halting and resuming in the state folder and in Redis at once."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from mmctl.engine.everywhere import halts_everywhere, resume_everywhere, set_everywhere
from mmctl.engine.halt import FILE_NAME, FileHaltLatch
from mmctl.ports import Halt, HaltScope

from .shared_fake import FakeServer, FakeShared

ALL = HaltScope("binance", "main")
BTC = HaltScope("binance", "main", "BTCUSDT")
ELSEWHERE = Halt(0, BTC, "bob", 5, "elsewhere", "ee")

pytestmark = pytest.mark.looptime


class Silent(FakeShared):
    """Takes what it is told, and never answers."""

    async def set(self, halts: object) -> None:  # type: ignore[override]
        await asyncio.Event().wait()

    async def halts(self) -> None:  # type: ignore[override]
        await asyncio.Event().wait()


def every(halt: Halt) -> bool:
    return True


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def shared(server: FakeServer) -> FakeShared:
    return FakeShared(server)


async def test_a_halt_has_one_name_in_both_places(tmp_path: Path, server: FakeServer, shared: FakeShared) -> None:
    latch = FileHaltLatch(tmp_path)
    done = await set_everywhere(latch, shared, [ALL, BTC], by="anna", at_ms=7, why="drill")
    assert done.faults == ()
    assert [halt.number for halt in done.halts] == [1, 2]
    assert set(done.uids) == set(server.halts) == {halt.uid for halt in latch.halts()} == latch.shared()


async def test_without_redis_there_is_the_folder(tmp_path: Path) -> None:
    done = await set_everywhere(FileHaltLatch(tmp_path), None, [ALL], by="anna", at_ms=7, why="drill")
    assert done.faults == ()
    assert FileHaltLatch(tmp_path).halts() == done.halts
    assert (await resume_everywhere(FileHaltLatch(tmp_path), None, every, by="b", at_ms=8)).lifted == done.halts


async def test_a_redis_that_is_away_is_told_and_the_folder_is_set(tmp_path: Path, shared: FakeShared) -> None:
    shared.away = True
    latch = FileHaltLatch(tmp_path)
    done = await set_everywhere(latch, shared, [ALL], by="anna", at_ms=7, why="drill")
    assert "cannot be asked" in done.shared_fault
    assert (done.folder_fault, len(latch.halts()), latch.shared()) == ("", 1, frozenset())


async def test_a_silent_redis_costs_two_seconds_at_most(tmp_path: Path, server: FakeServer) -> None:
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    done = await set_everywhere(FileHaltLatch(tmp_path), Silent(server), [ALL], by="anna", at_ms=7, why="drill")
    assert "within 2 s" in done.shared_fault
    told = await resume_everywhere(FileHaltLatch(tmp_path), Silent(server), every, by="anna", at_ms=8)
    assert "within 2 s" in told.why
    assert loop.time() - started_s == pytest.approx(4.0, abs=0.1)


async def test_a_folder_that_cannot_be_written_is_told_and_redis_is_set(
    tmp_path: Path, server: FakeServer, shared: FakeShared
) -> None:
    (tmp_path / "state").write_text("")
    done = await set_everywhere(FileHaltLatch(tmp_path / "state"), shared, [ALL], by="anna", at_ms=7, why="drill")
    assert "cannot be" in done.folder_fault
    assert done.shared_fault == ""
    assert set(server.halts) == set(done.uids)


async def test_a_disk_that_hangs_costs_two_seconds_at_most(
    tmp_path: Path, server: FakeServer, shared: FakeShared
) -> None:
    async def never(work: object) -> str:
        await asyncio.Event().wait()
        return ""

    began_s, latch = asyncio.get_running_loop().time(), FileHaltLatch(tmp_path)
    done = await set_everywhere(latch, shared, [ALL], by="anna", at_ms=7, why="drill", done_by=never)  # type: ignore[arg-type]
    assert "halts.jsonl was not written within 2 s" in done.folder_fault
    assert (done.shared_fault, set(server.halts)) == ("", set(done.uids))
    assert asyncio.get_running_loop().time() - began_s == pytest.approx(2.0, abs=0.1)


async def test_a_resume_lifts_in_both_places_what_either_has(
    tmp_path: Path, server: FakeServer, shared: FakeShared
) -> None:
    latch = FileHaltLatch(tmp_path)
    done = await set_everywhere(latch, shared, [ALL], by="anna", at_ms=7, why="drill")
    local = latch.set(BTC, by="engine", at_ms=8, why="here alone")
    server.halts["ee"] = ELSEWHERE
    assert {halt.uid for halt in (await halts_everywhere(latch, shared))[0]} == {*done.uids, local.uid, "ee"}
    told = await resume_everywhere(latch, shared, every, by="bob", at_ms=9)
    assert {halt.uid for halt in told.lifted} == {*done.uids, local.uid, "ee"}
    assert set(server.lifted) == {*done.uids, local.uid, "ee"}
    assert (told.left, told.why, latch.halts()) == ((), "", ())
    assert await halts_everywhere(latch, shared) == ((), ())


async def test_a_resume_lifts_only_what_was_chosen(tmp_path: Path, server: FakeServer, shared: FakeShared) -> None:
    latch = FileHaltLatch(tmp_path)
    await set_everywhere(latch, shared, [ALL], by="anna", at_ms=7, why="drill")
    server.halts["ee"] = ELSEWHERE
    told = await resume_everywhere(latch, shared, lambda halt: halt.scope == BTC, by="bob", at_ms=9)
    assert [halt.uid for halt in told.lifted] == ["ee"]
    assert len(latch.halts()) == 1


@pytest.mark.parametrize("away", [True, False])
async def test_what_is_in_redis_stays_halted_without_it(
    tmp_path: Path, server: FakeServer, shared: FakeShared, *, away: bool
) -> None:
    """Away, or not configured this time: other hosts would still be halted."""
    latch = FileHaltLatch(tmp_path)
    done = await set_everywhere(latch, shared, [ALL], by="anna", at_ms=7, why="drill")
    local = latch.set(BTC, by="engine", at_ms=8, why="here alone")
    shared.away = True
    told = await resume_everywhere(latch, shared if away else None, every, by="bob", at_ms=9)
    assert told.lifted == (local,)
    assert told.left == done.halts == latch.halts()
    assert ("cannot be asked" if away else "MMCTL_REDIS_URL") in told.why
    assert server.lifted == {}


async def test_a_reply_that_is_lost_lifts_nothing_here(tmp_path: Path, server: FakeServer, shared: FakeShared) -> None:
    latch = FileHaltLatch(tmp_path)
    done = await set_everywhere(latch, shared, [ALL], by="anna", at_ms=7, why="drill")
    shared.lost_replies = True
    told = await resume_everywhere(latch, shared, every, by="bob", at_ms=9)
    assert told.left == done.halts == latch.halts()


async def test_rubbish_in_either_place_is_mended(tmp_path: Path, server: FakeServer, shared: FakeShared) -> None:
    latch = FileHaltLatch(tmp_path)
    done = await set_everywhere(latch, shared, [ALL], by="anna", at_ms=7, why="drill")
    with (tmp_path / FILE_NAME).open("ab") as file:
        file.write(b"rubbish\n")
    server.rubbish = ("what?",)
    halts, faults = await halts_everywhere(latch, shared)
    assert halts == done.halts
    assert len(faults) == 2
    told = await resume_everywhere(latch, shared, every, by="bob", at_ms=9)
    assert (told.lifted, server.rubbish) == (done.halts, ())
    assert latch.halts() == ()


async def test_a_folder_that_cannot_be_read_is_told_beside_what_redis_has(
    tmp_path: Path, server: FakeServer, shared: FakeShared
) -> None:
    server.halts["ee"] = ELSEWHERE
    (tmp_path / FILE_NAME).mkdir()
    halts, faults = await halts_everywhere(FileHaltLatch(tmp_path), shared)
    assert [halt.uid for halt in halts] == ["ee"]
    assert len(faults) == 1
    os.rmdir(tmp_path / FILE_NAME)
