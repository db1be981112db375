"""The write-ahead journal of a running engine, and the same without a thread.

While the file cannot be written, commits are refused at once, what was noted is kept within a bound, and the writer
goes on trying: it recovers by itself when the cause is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from mmctl.core.entries import Entry, Recalled
from mmctl.engine.journal_queue import Commit, Queue, Read
from mmctl.engine.journal_schema import FILE_NAME
from mmctl.engine.journal_store import JournalStore
from mmctl.engine.journal_writer import OpenStore, Writer
from mmctl.errors import JournalUnwritable

COMMIT_DEADLINE_S = 1.0
READ_DEADLINE_S = 5.0
CLOSE_S = 2.0
"""How long the end tries to write what was noted."""

NOTED_AT_ONCE = 500
"""Entries that a journal without a thread collects before it writes them."""

TOO_SLOW = "the disk is too slow, or hangs"

Told = TypeVar("Told")


class SqliteJournal:
    """The journal in the file ``path``, written by a thread; see ``mmctl.ports.Journal`` for what each method promises.

    Raises ``JournalUnwritable`` where the file cannot be opened, is of a newer version, or is no journal.
    """

    def __init__(self, path: Path, *, open_store: OpenStore = JournalStore) -> None:
        self.path = path
        self._queue = Queue()
        self._writer = Writer(path, self._queue, open_store(path), open_store)
        self._writer.start()

    @property
    def fault(self) -> str:
        said = self._writer.fault or self._writer.late
        dropped = self._queue.dropped
        return f"{said}; {dropped} entries were given up" if said and dropped else said

    async def commit(self, entries: Sequence[Entry]) -> None:
        if said := self.fault:
            raise JournalUnwritable(said)
        if not entries:
            return
        loop = asyncio.get_running_loop()
        written: asyncio.Future[None] = loop.create_future()
        waiting = Commit(entries, lambda error: _tell(loop, written, None, error))
        self._queue.ask(waiting)
        try:
            async with asyncio.timeout(COMMIT_DEADLINE_S):
                await written
        except TimeoutError:
            late = f"the journal {self.path} took nothing for {COMMIT_DEADLINE_S:g} s"
            self._writer.late = f"{late} ({TOO_SLOW})"
            self._queue.hurry()
            raise JournalUnwritable(late, TOO_SLOW) from None
        finally:
            waiting.withdrawn = True

    def note(self, entry: Entry) -> None:
        self._queue.note(entry)

    async def recall(self, venue: str, owner: str, symbol: str) -> Recalled:
        return await self._ask(lambda store: store.recall(venue, owner, symbol))

    async def knows(self, client_ids: Sequence[str]) -> frozenset[str]:
        asked = tuple(client_ids)
        return await self._ask(lambda store: store.knows(asked))

    async def close(self) -> None:
        self._writer.end(CLOSE_S)
        await asyncio.to_thread(self._writer.join, 2 * CLOSE_S)

    async def _ask(self, question: Callable[[JournalStore], Told]) -> Told:
        """Ask the store on the writer's thread, after all that was noted."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[Told] = loop.create_future()

        def act() -> None:
            self._writer.ask(lambda store: _tell(loop, told, question(store), None))

        self._queue.ask(Read(act, lambda error: _tell(loop, told, None, error)))
        try:
            async with asyncio.timeout(READ_DEADLINE_S):
                return await told
        except TimeoutError:
            raise JournalUnwritable(
                f"the journal {self.path} told nothing for {READ_DEADLINE_S:g} s", TOO_SLOW
            ) from None


class SyncJournal:
    """The port over a ``store`` that is written at once, without a thread: for simulations, and tests of an engine.

    Noted entries are written with the next commit or read, as they wait for the writer elsewhere: whoever drops this
    object without ``close`` or ``flush`` loses them, as a kill does. The store stays open, so that a restart finds it.
    """

    def __init__(self, store: JournalStore) -> None:
        self.store = store
        self.fault = ""
        self._noted: list[Entry] = []

    async def commit(self, entries: Sequence[Entry]) -> None:
        self._write(entries)

    def note(self, entry: Entry) -> None:
        self._noted.append(entry)
        if len(self._noted) % NOTED_AT_ONCE == 0:
            with contextlib.suppress(JournalUnwritable):  # it shows in the fault, and is tried again
                self._write(())

    async def recall(self, venue: str, owner: str, symbol: str) -> Recalled:
        self.flush()
        return self.store.recall(venue, owner, symbol)

    async def knows(self, client_ids: Sequence[str]) -> frozenset[str]:
        return self.store.knows(client_ids)

    async def close(self) -> None:
        with contextlib.suppress(JournalUnwritable):
            self.flush()

    def flush(self) -> None:
        """Write what was noted. Raises ``JournalUnwritable``."""
        if self._noted:
            self._write(())

    def _write(self, entries: Sequence[Entry]) -> None:
        try:
            self.store.write([*self._noted, *entries])
        except JournalUnwritable as error:
            self.fault = str(error)
            raise
        self.fault = ""
        self._noted.clear()


def journal_path(state_dir: Path) -> Path:
    """Where the journal of a state folder is: one file for all accounts, engines and stops."""
    return state_dir / FILE_NAME


def _tell(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Told], answer: Told | None, error: Exception | None
) -> None:
    """Settle ``future`` from another thread, unless nobody waits any more."""

    def settle() -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(answer)  # type: ignore[arg-type]

    with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
        loop.call_soon_threadsafe(settle)
