"""The thread that writes the journal, so that the engine's loop never waits for a disk.

All that waits goes into one transaction. Where that fails the file is let go of and opened again, until it works.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mmctl.core.entries import Entry, Kind
from mmctl.engine.journal_queue import Commit, Queue, Read, Waiting
from mmctl.engine.journal_rows import Row, row_of
from mmctl.engine.journal_store import JournalStore
from mmctl.errors import JournalUnwritable

RETRY_S = 0.25
LINGER_S = 0.01
"""How long noted entries wait for more of them: what a kill loses of them is no more than that."""

BATCH = 500
"""Entries in one transaction, where commits do not ask for more."""

DROPPED = "journal_dropped"

OpenStore = Callable[[Path], JournalStore]


class Writer:
    """Writes what comes through ``queue`` to the file ``path``: open as ``store``, and anew by ``open_store``."""

    def __init__(self, path: Path, queue: Queue, store: JournalStore, open_store: OpenStore) -> None:
        self._path = path
        self._queue = queue
        self._store: JournalStore | None = store
        self._open_store = open_store
        self._in_hand: list[Waiting] = []
        self._ends_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self.fault = ""
        self.late = ""
        """Set by whoever waited too long; the next turn that works out takes it back."""

    def start(self) -> None:
        self._thread.start()

    def end(self, within_s: float) -> None:
        """Write out what waits, and end; what cannot be written by then is lost."""
        if self._ends_s is None:
            self._ends_s = time.monotonic() + within_s
        self._queue.hurry()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def ask(self, question: Callable[[JournalStore], None]) -> None:
        """Give ``question`` the open store, on this thread. Raises ``JournalUnwritable``."""
        question(self._opened())

    def _run(self) -> None:
        try:
            more = False
            while True:
                if self.fault:
                    self._queue.wait_urgent(RETRY_S)
                elif not more:
                    self._queue.wait(LINGER_S)
                ends_s = self._ends_s
                self._turn()
                if ends_s is not None and (not self.fault or time.monotonic() >= ends_s):
                    self.fault = f"the journal {self._path} is closed"
                    return
                more = not self.fault and self._tidy()
        except BaseException as error:  # noqa: BLE001 - saves the engine from trusting a thread that is gone
            self.fault = f"the writer of the journal {self._path} ended: {type(error).__name__}: {error}"
        finally:
            self._let_go()
            why = JournalUnwritable(self.fault)
            for item in (*self._in_hand, *self._queue.close(why)):  # what has an answer already minds no second one
                if not isinstance(item, Entry):
                    item.answer(why)

    def _turn(self) -> None:
        """Write all that waits, in order; questions have their turn between. A fault is probed if there is nothing."""
        waiting = self._in_hand = self._queue.take()
        error: JournalUnwritable | None = None
        if self.fault and not any(isinstance(item, Entry | Commit) for item in waiting):
            error = self._try(JournalStore.probe)
        kept: list[Entry] = []
        for batch, question in _batches(waiting):
            error = self._write(batch, error)
            if error is not None:
                kept += [item for item in batch if isinstance(item, Entry)]
            if question is not None:
                self._answer(question)
            more = error is None and len(batch) == BATCH  # of much that waited: its parts keep the bound too
            while more:
                more = self._tidy()
        self._queue.put_back(kept)
        if error is None:
            self.late, self._in_hand = "", []
            self._tell_dropped()

    def _write(self, batch: Sequence[Entry | Commit], error: JournalUnwritable | None) -> JournalUnwritable | None:
        """One transaction, unless there was an ``error`` before it; returns the error there is after it."""
        rows: list[Row] = []
        commits: list[Commit] = []
        for item in batch:
            try:
                if isinstance(item, Entry):
                    rows.append(row_of(item))
                elif not item.withdrawn:
                    rows += [row_of(entry) for entry in item.entries]
                    commits.append(item)
            except ValueError as wrong:  # one entry that cannot be written holds up no other
                if isinstance(item, Entry):
                    self._queue.drop(item)
                else:
                    item.answer(wrong)
        if rows and error is None:
            error = self._try(lambda store: store.write_rows(rows))
        for commit in commits:
            commit.answer(error and JournalUnwritable(error.message, error.hint))
        return error

    @staticmethod
    def _answer(question: Read) -> None:
        try:
            question.act()
        except JournalUnwritable as error:
            question.answer(error)

    def _try(self, act: Callable[[JournalStore], object]) -> JournalUnwritable | None:
        """Do it, and remember whether the journal can be written; after a fault the file is opened anew."""
        try:
            act(self._opened())
        except JournalUnwritable as error:
            self.fault = str(error)
            self._let_go()
            return error
        self.fault = ""
        return None

    def _tidy(self) -> bool:
        """Keep the file within its bound; whether there is more to do at once."""
        more: list[bool] = []
        self._try(lambda store: more.append(store.tidy(idle=self._queue.is_empty)))
        return any(more)

    def _tell_dropped(self) -> None:
        count, last = self._queue.take_dropped()
        if last is not None:
            body = {"kind": DROPPED, "detail": f"{count} entries before this one are missing", "action": "goes on"}
            self._queue.note(
                Entry(Kind.FAULT, last.at_ms, last.venue, last.account, last.owner, last.symbol, body=body)
            )

    def _opened(self) -> JournalStore:
        if self._store is None:
            self._store = self._open_store(self._path)
        return self._store

    def _let_go(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


def _batches(waiting: Sequence[Waiting]) -> Iterator[tuple[list[Entry | Commit], Read | None]]:
    """What goes into one transaction, and the question that is asked after it, if any."""
    batch: list[Entry | Commit] = []
    for item in waiting:
        if isinstance(item, Read):
            yield batch, item
            batch = []
            continue
        batch.append(item)
        if len(batch) == BATCH:
            yield batch, None
            batch = []
    if batch:
        yield batch, None
