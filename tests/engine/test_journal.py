"""The journal of a running engine: what is committed is there whatever comes, and what cannot be written is told.

These run in real time: the writer is a thread. Nothing here depends on how quick it is.
"""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from decimal import Decimal
from pathlib import Path

import pytest

from mmctl.core.entries import Entry, Kind, Recalled
from mmctl.engine import journal as journal_module
from mmctl.engine import journal_queue
from mmctl.engine.journal import SqliteJournal, SyncJournal
from mmctl.engine.journal_rows import Row
from mmctl.engine.journal_schema import unwritable
from mmctl.engine.journal_store import JournalStore
from mmctl.errors import JournalUnwritable
from mmctl.ports import Journal

from .journal_samples import OWNER, SYMBOL, VENUE, end, entry, fill, intent, own_id

ASKED = (VENUE, OWNER, SYMBOL)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


class Moody(JournalStore):
    """A store whose writes wait while ``gate`` is shut, and fail while ``wrong`` is set."""

    gate: threading.Event
    entered: threading.Event
    wrong: str
    batches: list[list[Entry]]

    def write_rows(self, rows: Sequence[Row]) -> None:
        self.entered.set()
        assert self.gate.wait(60)
        if self.wrong:
            raise unwritable(self.path, sqlite3.OperationalError(self.wrong))
        self.batches.append([row.entry for row in rows])
        super().write_rows(rows)

    def probe(self) -> None:
        if self.wrong:
            raise unwritable(self.path, sqlite3.OperationalError(self.wrong))
        super().probe()


@pytest.fixture
def moody() -> type[Moody]:
    class Made(Moody):
        gate, entered = threading.Event(), threading.Event()
        wrong = ""
        batches: list[list[Entry]] = []  # noqa: RUF012 - one for each test

    Made.gate.set()
    return Made


@asynccontextmanager
async def journal_on(
    path: Path, open_store: Callable[[Path], JournalStore] = JournalStore
) -> AsyncIterator[SqliteJournal]:
    made = SqliteJournal(path, open_store=open_store)
    try:
        yield made
    finally:
        await made.close()


def written(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT kind, client_id FROM entries ORDER BY seq").fetchall()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a thread changes it
            await asyncio.sleep(0.005)


async def test_what_is_committed_is_in_the_file_at_once(path: Path) -> None:
    async with journal_on(path) as journal:
        port: Journal = journal
        await port.commit([intent(1), intent(2)])
        assert written(path) == [("intent", own_id(1)), ("intent", own_id(2))]
        assert journal.fault == ""
        await port.commit([])


async def test_what_was_noted_is_written_before_what_is_committed_after_it(path: Path) -> None:
    async with journal_on(path) as journal:
        journal.note(entry(Kind.DECISION))
        journal.note(entry(Kind.REQUEST, 9))
        await journal.commit([intent(1)])
        journal.note(end(1))
    assert [kind for kind, _ in written(path)] == ["decision", "request", "intent", "end"]


async def test_all_that_waits_goes_into_one_transaction(path: Path, moody: type[Moody]) -> None:
    async with journal_on(path, moody) as journal:
        moody.gate.clear()
        first = asyncio.create_task(journal.commit([intent(0)]))
        await until(moody.entered.is_set)
        commits = [asyncio.create_task(journal.commit([intent(number)])) for number in range(1, 10)]
        journal.note(end(0))
        await asyncio.sleep(0)
        moody.gate.set()
        await asyncio.gather(first, *commits)
    assert [len(batch) for batch in moody.batches] == [1, 10]


async def test_recall_and_knows_see_what_was_noted_before(path: Path) -> None:
    async with journal_on(path) as journal:
        await journal.commit([intent(1)])
        journal.note(fill(1, "7"))
        recalled = await journal.recall(*ASKED)
        assert recalled.unfinished[0].trades == (("7", Decimal("0.1")),)
        assert await journal.knows([own_id(1), own_id(2)]) == {own_id(1)}
    async with journal_on(path) as journal:
        assert await journal.recall(*ASKED) == recalled


async def test_a_full_disk_refuses_commits_keeps_what_was_noted_and_is_over_when_there_is_room(
    path: Path, moody: type[Moody]
) -> None:
    async with journal_on(path, moody) as journal:
        moody.wrong = "database or disk is full"
        journal.note(fill(1, "7"))
        with pytest.raises(JournalUnwritable, match=rf"{path} cannot be written: .* full \(make room"):
            await journal.commit([intent(1)])
        assert "make room" in journal.fault
        for number in range(2, 30):
            journal.note(end(number))
        with pytest.raises(JournalUnwritable, match="full"):
            await journal.commit([intent(2)])
        moody.wrong = ""
        await until(lambda: not journal.fault)
        await journal.commit([intent(40)])
    assert written(path) == [
        ("fill", own_id(1)),
        *(("end", own_id(number)) for number in range(2, 30)),
        ("intent", own_id(40)),
    ]


async def test_a_fault_with_nothing_to_write_is_found_to_be_over(path: Path, moody: type[Moody]) -> None:
    async with journal_on(path, moody) as journal:
        moody.wrong = "disk I/O error"
        with pytest.raises(JournalUnwritable, match="disk I/O error"):
            await journal.commit([intent(1)])
        moody.wrong = ""
        await until(lambda: not journal.fault)
    assert written(path) == []


async def test_a_file_that_another_process_holds_is_told_and_gone_on_with(path: Path) -> None:
    async with journal_on(path) as journal:
        await journal.commit([intent(1)])
        pipe = asyncio.subprocess.PIPE
        holder = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLD, str(path), stdin=pipe, stdout=pipe)
        try:
            assert holder.stdout is not None
            assert await holder.stdout.readline() == b"held\n"
            with pytest.raises(JournalUnwritable, match=r"locked \(another process holds it"):
                await journal.commit([intent(2)])
            journal.note(end(1))
        finally:
            await holder.communicate(b"\n")
        await until(lambda: not journal.fault)
        await journal.commit([intent(3)])
    assert [client_id for _, client_id in written(path)] == [own_id(1), own_id(1), own_id(3)]


HOLD = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.readline()
db.close()
"""


async def test_a_commit_that_takes_too_long_is_refused_and_not_written_later(
    path: Path, moody: type[Moody], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "COMMIT_DEADLINE_S", 0.05)
    async with journal_on(path, moody) as journal:
        moody.gate.clear()
        journal.note(entry(Kind.DECISION))
        await until(moody.entered.is_set)
        with pytest.raises(JournalUnwritable, match="took nothing"):
            await journal.commit([intent(1)])
        assert "took nothing" in journal.fault
        with pytest.raises(JournalUnwritable, match="took nothing"):
            await journal.commit([intent(2)])
        moody.gate.set()
        await until(lambda: not journal.fault)
    assert written(path) == [("decision", "")]


async def test_the_oldest_noted_entries_go_first_and_those_that_recovery_needs_last(
    path: Path, moody: type[Moody], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_queue, "MOST", 100)
    monkeypatch.setattr(journal_queue, "LEFT", 75)
    async with journal_on(path, moody) as journal:
        moody.wrong = "database or disk is full"
        journal.note(fill(0, "7"))
        for number in range(300):
            journal.note(entry(Kind.REPLY, number))
        await until(lambda: "entries were given up" in journal.fault)
        moody.wrong = ""
        await until(lambda: not journal.fault)
    kinds = [kind for kind, _ in written(path)]
    assert kinds[0] == "fill"
    assert kinds[-1] == "fault"
    assert 75 <= kinds.count("reply") <= 100
    assert written(path)[-2] == ("reply", own_id(299))


async def test_an_entry_that_cannot_be_written_holds_up_no_other(path: Path) -> None:
    async with journal_on(path) as journal:
        journal.note(fill(1, "7", qty="much"))
        journal.note(end(1))
        with pytest.raises(ValueError, match="intent"):
            await journal.commit([intent(1), intent(2, price="low")])
        await journal.commit([intent(3)])
    assert sorted(kind for kind, _ in written(path)) == ["end", "fault", "intent"]


async def test_a_file_that_was_moved_away_is_told_and_a_new_one_begun(path: Path) -> None:
    async with journal_on(path) as journal:
        await journal.commit([intent(1)])
        for file in path.parent.glob("journal.sqlite*"):
            file.rename(file.with_name(f"old-{file.name}"))
        with pytest.raises(JournalUnwritable, match="moved or removed"):
            await journal.commit([intent(2)])
        await until(lambda: not journal.fault)
        await journal.commit([intent(3)])
    assert written(path) == [("intent", own_id(3))]


async def test_a_writer_that_ended_is_told(path: Path, moody: type[Moody], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise MemoryError("no more")

    async with journal_on(path, moody) as journal:
        monkeypatch.setattr(moody, "write_rows", broken)
        with pytest.raises(JournalUnwritable, match="MemoryError"):
            await journal.commit([intent(1)])
        assert "the writer" in journal.fault
        journal.note(end(1))
        with pytest.raises(JournalUnwritable, match="MemoryError"):
            await journal.recall(*ASKED)


async def test_a_closed_journal_takes_nothing_and_says_so(path: Path) -> None:
    async with journal_on(path) as journal:
        journal.note(end(1))
    assert "closed" in journal.fault
    journal.note(end(2))
    with pytest.raises(JournalUnwritable, match="closed"):
        await journal.commit([intent(1)])
    await journal.close()
    assert written(path) == [("end", own_id(1))]


async def test_closing_while_nothing_can_be_written_ends(
    path: Path, moody: type[Moody], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "CLOSE_S", 0.1)
    async with journal_on(path, moody) as journal:
        moody.wrong = "disk I/O error"
        journal.note(end(1))
    assert written(path) == []


def test_a_journal_of_a_newer_version_is_refused_at_once(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE t (x); PRAGMA application_id = 1835887212; PRAGMA user_version = 9")
    with pytest.raises(JournalUnwritable, match="version 9"):
        SqliteJournal(path)


KILLED = """
import asyncio, sys
from pathlib import Path
from mmctl.engine.journal import SqliteJournal
from tests.engine.journal_samples import end, intent

async def main():
    journal = SqliteJournal(Path(sys.argv[1]))
    number = 0
    while True:
        batch = [intent(number + each) for each in range(20)]
        await journal.commit(batch)
        print(number + 19, flush=True)
        journal.note(end(number))
        number += 20

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 7, 40])
def test_kill_9_loses_nothing_that_was_committed(path: Path, lines: int) -> None:
    writer = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    last = 0
    for _ in range(lines):
        last = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    last = max([last, *(int(line) for line in writer.stdout.read().splitlines())])
    writer.wait()
    writer.stdout.close()
    with closing(JournalStore(path)) as store:
        there = [client_id for kind, client_id in written(path) if kind == "intent"]
        assert there == [own_id(number) for number in range(len(there))]
        assert len(there) > last
        assert len(there) % 20 == 0, "a batch is there as a whole"
        ended = {client_id for kind, client_id in written(path) if kind == "end"}
        assert [one.client_id for one in store.recall(*ASKED).unfinished] == [one for one in there if one not in ended]


async def test_the_file_keeps_within_its_bound_however_much_is_noted(path: Path) -> None:
    bound = 32 << 20

    def bytes_now() -> int:
        return sum(file.stat().st_size for file in path.parent.glob("journal.sqlite*"))

    async with journal_on(path, lambda path: JournalStore(path, max_bytes=bound)) as journal:
        await journal.commit([intent(0)])
        journal.note(fill(0, "7"))
        most = 0
        for number in range(30):
            for _ in range(200):
                journal.note(entry(Kind.DECISION, decision=f"17-{number}", book="x" * 8000))
            await journal.commit([intent(1 + number)])
            most = max(most, bytes_now())
        for _ in range(2000):
            journal.note(entry(Kind.DECISION, book="x" * 2000))
        recalled = await journal.recall(*ASKED)
        most = max(most, bytes_now())
        assert len(recalled.unfinished) == 31
        assert recalled.position == Decimal("0.1")
        assert await journal.knows([own_id(0)]) == {own_id(0)}
    assert bound // 2 < most <= bound


FULL = """
import asyncio, resource, sys
from pathlib import Path
from mmctl.core.entries import Kind
from mmctl.engine.journal import SqliteJournal
from mmctl.errors import JournalUnwritable
from tests.engine.journal_samples import entry, intent

async def main():
    journal = SqliteJournal(Path(sys.argv[1]))
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))  # no file may grow beyond that
    number = 0
    try:
        while True:
            await journal.commit([intent(number), entry(Kind.DECISION, book="x" * 20_000)])
            number += 1
    except JournalUnwritable as error:
        print(error)
    assert journal.fault
    journal.note(entry(Kind.REPLY, number))
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    while journal.fault:
        await asyncio.sleep(0.01)
    await journal.commit([intent(number + 1)])
    await journal.close()
    print(number)

asyncio.run(main())
"""


def test_a_file_that_may_not_grow_is_told_and_gone_on_with_when_it_may(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True, timeout=120
    )
    said, number = done.stdout.splitlines()
    assert f"the journal {path} cannot be written: " in said
    there = [client_id for kind, client_id in written(path) if kind != "decision"]
    assert there == [own_id(each) for each in (*range(int(number) + 1), int(number) + 1)]
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# Without a thread


async def test_the_same_without_a_thread() -> None:
    store = JournalStore(None)
    journal: Journal = SyncJournal(store)
    journal.note(entry(Kind.DECISION))
    await journal.commit([intent(1), intent(2)])
    journal.note(end(1))
    assert await journal.knows([own_id(1)]) == {own_id(1)}
    assert [one.client_id for one in (await journal.recall(*ASKED)).unfinished] == [own_id(2)]
    journal.note(end(2))  # lost with a crash
    again = SyncJournal(store)
    assert [one.client_id for one in (await again.recall(*ASKED)).unfinished] == [own_id(2)]
    again.note(end(2))
    await again.close()
    assert await SyncJournal(store).recall(*ASKED) == Recalled()
    store.close()


async def test_a_fault_without_a_thread() -> None:
    store = JournalStore(None)
    journal = SyncJournal(store)
    pages = store._pragma("page_count")
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    journal.note(entry(Kind.DECISION, book="x" * 10_000))
    with pytest.raises(JournalUnwritable, match="full"):
        await journal.commit([intent(1)])
    assert "make room" in journal.fault
    store._db.execute("PRAGMA max_page_count = 100000")
    await journal.commit([intent(2)])
    assert journal.fault == ""
    assert await journal.knows([own_id(1), own_id(2)]) == {own_id(2)}
    store.close()
