"""The halt file: numbered records, only ever appended to, by any number of processes at once."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from mmctl.core.order import Layer
from mmctl.engine.halt import FILE_NAME, FileHaltLatch
from mmctl.errors import StateUnreadable
from mmctl.ports import Halt, HaltScope

ALL = HaltScope("mock", "main")
BTC = HaltScope("mock", "main", "BTCUSDT", Layer.NEAR)


def every(halt: Halt) -> bool:
    return True


def set_one(folder: Path, scope: HaltScope = ALL, why: str = "drill") -> Halt:
    return FileHaltLatch(folder).set(scope, by="anna", at_ms=1_700_000_000_000, why=why)


def test_no_file_is_no_halt_and_reading_makes_none(tmp_path: Path) -> None:
    latch = FileHaltLatch(tmp_path / "state")
    assert latch.halts() == ()
    assert not (tmp_path / "state").exists()


def test_a_halt_is_read_back_as_it_was_set(tmp_path: Path) -> None:
    made = set_one(tmp_path, BTC, 'a "reason"\nof two lines, with ünïcode \u2028')
    assert made == Halt(1, BTC, "anna", 1_700_000_000_000, 'a "reason"\nof two lines, with ünïcode \u2028')
    assert FileHaltLatch(tmp_path).halts() == (made,)


def test_another_object_sees_a_halt_and_its_end(tmp_path: Path) -> None:
    here, there = FileHaltLatch(tmp_path), FileHaltLatch(tmp_path)
    assert here.halts() == ()
    first = there.set(ALL, by="anna", at_ms=1, why="a")
    second = there.set(BTC, by="bob", at_ms=2, why="b")
    assert here.halts() == (first, second)
    assert there.resume(lambda halt: halt.by == "anna", by="bob", at_ms=3) == (first,)
    assert here.halts() == (second,)
    assert there.resume(every, by="bob", at_ms=4) == (second,)
    assert here.halts() == ()
    assert there.set(ALL, by="anna", at_ms=5, why="c").number == 5, "numbers never repeat"


def test_a_halt_outlives_every_object(tmp_path: Path) -> None:
    made = set_one(tmp_path)
    assert FileHaltLatch(tmp_path).halts() == (made,)


def test_reading_an_unchanged_file_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_one(tmp_path)
    latch = FileHaltLatch(tmp_path)
    latch.halts()

    def read(path: Path) -> bytes:
        raise AssertionError("read again")

    monkeypatch.setattr(Path, "read_bytes", read)
    assert len(latch.halts()) == 1


def test_resuming_nothing_writes_nothing(tmp_path: Path) -> None:
    set_one(tmp_path)
    before = (tmp_path / FILE_NAME).read_bytes()
    assert FileHaltLatch(tmp_path).resume(lambda halt: False, by="bob", at_ms=1) == ()
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_threads_get_numbers_of_their_own(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: set_one(tmp_path), range(80)))
    assert sorted(halt.number for halt in made) == list(range(1, 81))
    assert len(FileHaltLatch(tmp_path).halts()) == 80


def _set_many(folder: Path) -> list[int]:
    return [set_one(folder).number for _ in range(25)]


def test_processes_get_numbers_of_their_own(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        numbers = [number for some in pool.map(_set_many, [tmp_path] * 3) for number in some]
    assert sorted(numbers) == list(range(1, 76))
    assert len(FileHaltLatch(tmp_path).halts()) == 75


@pytest.mark.parametrize(
    "line",
    [
        b"who wrote this?\n",
        b'{"n":2}\n',
        b'{"n":"two","resume":[1],"by":"x","at_ms":1}\n',
        b"[1]\n",
        b"7\n",
        b"null\n",
        b"\n",
        b"\xff\xfe\n",
        b'{"n":2,"halt":{"venue":"mock","account":"main","symbol":null,"layer":"middle"},"by":"x","at_ms":1,"why":""}\n',
        b'{"n":2,"halt":{"venue":"mock"},"by":"x","at_ms":1,"why":""}\n',
        b'{"n":2,"halt":"all","by":"x","at_ms":1,"why":""}\n',
        b'{"n":2,"resume":1,"by":"x","at_ms":1}\n',
        b'{"n":2,"resume":null}\n',
        b'{"n":2,"resume":"1","by":"x","at_ms":1}\n',
        b'{"n":2,"resume":[1e999],"by":"x","at_ms":1}\n',
        b'{"n":1e999,"halt":{"venue":"mock","account":"main","symbol":null,"layer":null},"by":"x","at_ms":1,"why":""}\n',
        b'{"n":2,"halt":{"venue":"mock","account":"main","symbol":null,"layer":null},"by":"x","at_ms":Infinity,"why":""}\n',
        b'{"n":2,"halt":{"venue":"mock","account":"main","symbol":null,"layer":null},"by":"x","at_ms":1e30,"why":""}\n',
        b'{"n":2,"halt":{"venue":"mock","account":"main","symbol":null,"layer":null},"by":"x","at_ms":-1,"why":""}\n',
        b'{"n":2,"halt":{"venue":"mock","account":"main","symbol":5,"layer":null},"by":"x","at_ms":1,"why":""}\n',
        b'{"n":2,"halt":{"venue":["mock"],"account":"main","symbol":null,"layer":null},"by":"x","at_ms":1,"why":""}\n',
        b"[" * 100_000 + b"\n",
        b'{"n":2,"halt":{"venue":"mock","acc',
    ],
)
def test_rubbish_holds_and_a_resume_mends_it(tmp_path: Path, line: bytes) -> None:
    first = set_one(tmp_path)
    path = tmp_path / FILE_NAME
    with path.open("ab") as file:
        file.write(line)
    latch = FileHaltLatch(tmp_path)
    with pytest.raises(StateUnreadable, match=r"line 2 of .*resume"):
        latch.halts()
    assert latch.resume(lambda halt: False, by="bob", at_ms=9) == ()
    assert latch.halts() == (first,), "mending lifts nothing that was not chosen"
    assert FileHaltLatch(tmp_path).halts() == (first,)
    (broken,) = tmp_path.glob("halts.broken-*")
    assert broken.read_bytes().endswith(line), "what was there is kept"


def test_a_halt_is_set_beside_rubbish_and_survives_its_mending(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(b'{"n":1,"halt":{"ven')
    made = set_one(tmp_path)
    with pytest.raises(StateUnreadable):
        FileHaltLatch(tmp_path).halts()
    assert FileHaltLatch(tmp_path).resume(lambda halt: False, by="bob", at_ms=9) == ()
    assert FileHaltLatch(tmp_path).halts() == (made,)


def test_a_whole_record_without_its_line_end_counts_and_is_never_joined_with_the_next(tmp_path: Path) -> None:
    first = set_one(tmp_path)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    assert FileHaltLatch(tmp_path).halts() == (first,)
    second = set_one(tmp_path)
    assert FileHaltLatch(tmp_path).halts() == (first, second)


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("call", ["open", "replace", "fsync", "write"])
@pytest.mark.parametrize("number", range(4))
def test_a_kill_while_it_is_mended_lifts_no_halt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    set_one(tmp_path)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes() + b"rubbish\n")
    calls, real = 0, getattr(os, call)

    def killed(*args: object, **more: object) -> object:
        nonlocal calls
        if str(args[0]).endswith(".lock"):
            return real(*args, **more)
        calls += 1
        if calls > number:
            raise _Killed
        return real(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, killed)
        with suppress(_Killed):
            FileHaltLatch(tmp_path).resume(lambda halt: False, by="anna", at_ms=1)
    try:
        assert FileHaltLatch(tmp_path).halts()
    except StateUnreadable:
        assert FileHaltLatch(tmp_path).readable()


def test_mending_keeps_a_whole_record_without_its_line_end(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    path.write_bytes(b"rubbish\n")
    set_one(tmp_path)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    FileHaltLatch(tmp_path).resume(lambda halt: False, by="bob", at_ms=9)
    assert [halt.number for halt in FileHaltLatch(tmp_path).halts()] == [1]


def test_what_is_lost_lifts_nothing_in_an_object_that_saw_it(tmp_path: Path) -> None:
    latch = FileHaltLatch(tmp_path)
    latch.set(ALL, by="anna", at_ms=1, why="a")
    assert latch.halts()
    kept = latch.path.read_bytes()
    latch.path.unlink()
    with pytest.raises(StateUnreadable, match="lost"):
        latch.halts()
    set_one(tmp_path, BTC)
    with pytest.raises(StateUnreadable, match="lost"):
        latch.halts()
    latch.path.write_bytes(kept)
    assert [halt.scope for halt in latch.halts()] == [ALL], "put back, all is well"


def test_an_emptied_file_lifts_nothing(tmp_path: Path) -> None:
    latch = FileHaltLatch(tmp_path)
    latch.set(ALL, by="anna", at_ms=1, why="a")
    assert latch.halts()
    latch.path.write_bytes(b"")
    with pytest.raises(StateUnreadable, match="lost"):
        latch.halts()


def test_a_mended_file_is_the_same_to_whoever_watches_it(tmp_path: Path) -> None:
    watching = FileHaltLatch(tmp_path)
    made = set_one(tmp_path)
    assert watching.halts() == (made,)
    with (tmp_path / FILE_NAME).open("ab") as file:
        file.write(b"rubbish\n")
    with pytest.raises(StateUnreadable):
        watching.halts()
    FileHaltLatch(tmp_path).resume(lambda halt: False, by="bob", at_ms=9)
    assert watching.halts() == (made,)


def test_a_folder_in_its_place_cannot_be_read_or_written(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    latch = FileHaltLatch(tmp_path)
    with pytest.raises(StateUnreadable, match="cannot be read"):
        latch.halts()
    with pytest.raises(StateUnreadable):
        latch.set(ALL, by="anna", at_ms=1, why="a")


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnreadable, match="cannot be written"):
        set_one(tmp_path / "file" / "state")
    with pytest.raises(StateUnreadable, match="cannot be read"):
        FileHaltLatch(tmp_path / "file" / "state").halts()


def test_a_full_disk_is_told_and_leaves_no_half_record_that_reads_as_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:20]))
    with pytest.raises(StateUnreadable, match="cut short"):
        set_one(tmp_path)
    monkeypatch.undo()
    with pytest.raises(StateUnreadable):
        FileHaltLatch(tmp_path).halts()
    made = set_one(tmp_path)
    FileHaltLatch(tmp_path).resume(lambda halt: False, by="bob", at_ms=9)
    assert FileHaltLatch(tmp_path).halts() == (made,)


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    set_one(tmp_path / "state")
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0
    assert (tmp_path / "state" / FILE_NAME).stat().st_mode & 0o077 == 0


def test_one_record_is_one_line_of_json(tmp_path: Path) -> None:
    set_one(tmp_path, BTC)
    FileHaltLatch(tmp_path).resume(every, by="bob", at_ms=2)
    halt, resume = map(json.loads, (tmp_path / FILE_NAME).read_text().splitlines())
    assert halt["halt"] == {"venue": "mock", "account": "main", "symbol": "BTCUSDT", "layer": "near"}
    assert resume == {"n": 2, "resume": [1], "by": "bob", "at_ms": 2}


def test_a_halt_that_was_lost_behind_rubbish_stays_lost_when_that_is_mended(tmp_path: Path) -> None:
    watching = FileHaltLatch(tmp_path)
    set_one(tmp_path)
    assert watching.halts()
    watching.path.write_bytes(b"rubbish\n")
    with pytest.raises(StateUnreadable, match="line 1"):
        watching.halts()
    FileHaltLatch(tmp_path).resume(lambda halt: False, by="bob", at_ms=9)
    with pytest.raises(StateUnreadable, match="lost"):
        watching.halts()


def test_a_halt_has_one_name_wherever_it_is_read(tmp_path: Path) -> None:
    made = set_one(tmp_path)
    assert len(made.uid) == 16
    assert FileHaltLatch(tmp_path).halts()[0].uid == made.uid != set_one(tmp_path).uid


def test_a_line_without_a_name_is_named_by_what_it_says(tmp_path: Path) -> None:
    line = (
        '{"n":%d,"halt":{"venue":"mock","account":"main","symbol":null,"layer":null},"by":"x","at_ms":1,"why":"old"}\n'
    )
    (tmp_path / FILE_NAME).write_text(line % 1 + line % 2)
    first, second = FileHaltLatch(tmp_path).halts()
    assert first.uid != second.uid
    assert [first.uid, second.uid] == [halt.uid for halt in FileHaltLatch(tmp_path).halts()]


def test_a_halt_of_elsewhere_is_copied_once_and_never_again_when_it_was_lifted(tmp_path: Path) -> None:
    elsewhere = Halt(7, BTC, "bob", 5, "why", "aa11")
    latch = FileHaltLatch(tmp_path)
    set_one(tmp_path)
    (copied,) = latch.copy([elsewhere])
    assert (copied.number, copied.uid, copied.by) == (2, "aa11", "bob")
    assert latch.shared() == {"aa11"}
    assert latch.copy([elsewhere]) == ()
    assert latch.resume(lambda halt: halt.uid == "aa11", by="bob", at_ms=9) == (copied,)
    assert latch.copy([elsewhere]) == ()
    assert [halt.number for halt in FileHaltLatch(tmp_path).halts()] == [1]


def test_what_is_known_to_be_elsewhere_is_noted_once(tmp_path: Path) -> None:
    made = set_one(tmp_path)
    latch = FileHaltLatch(tmp_path)
    latch.note_shared([made.uid, "unheard of"])
    size = latch.path.stat().st_size
    latch.note_shared([made.uid])
    assert latch.path.stat().st_size == size
    assert FileHaltLatch(tmp_path).shared() == {made.uid}
    assert FileHaltLatch(tmp_path).halts() == (made,)


def test_a_full_disk_is_told_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StateUnreadable) as told:
        set_one(tmp_path)
    assert "make room" in str(told.value)
    assert "MMCTL_STATE_DIR" not in str(told.value), "a halt in another folder would halt nobody"
