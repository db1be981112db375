"""The journal's store: entries in SQLite, and beside them what a recovery needs, which never goes with old entries.

It survives ``kill -9``: a transaction is in the operating system's hands when it is committed. It does not survive a
power cut to the last entry, since nothing waits for the disk; what it holds then is whole, and older.

One process may write while others do; a store itself is used by one thread at a time.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmctl.core.entries import Entry, Kind, Recalled
from mmctl.engine.journal_recall import chunks, count_trade, forget_trades, known, recalled
from mmctl.engine.journal_rows import Column, Row, row_of
from mmctl.engine.journal_schema import VERSION, opened, unwritable
from mmctl.errors import JournalUnwritable

MAX_BYTES = 256 << 20
"""What all files of the journal may take together; the oldest entries go first."""

WAL_BYTES = 4 << 20
"""The length of the write-ahead file from which it is written back when there is nothing else to do."""

WAL_SHARE = 8
"""One part in so many of all bytes is for the write-ahead file, which is written back when half of that is used."""

SPARE_SHARE = 4
"""One part in so many of that is nobody's: for the index beside it, and for what comes between two looks."""

TRIMMED = 100
"""Entries that go at once, so that no commit waits long behind them; twice what came since, where that is more."""

KEPT_TRADES = 100_000
"""Trade ids that are remembered beside those of unfinished orders."""

ROWS = 50
"""Rows in one statement: the loop's thread gets its turn back once a statement, not once a row."""

_ENTRY = "INSERT INTO entries (at_ms, kind, venue, account, owner, symbol, client_id, order_id, body) VALUES "
_ORDER = "INSERT OR IGNORE INTO orders VALUES "


class JournalStore:
    """Open for reading and writing. Every method raises ``JournalUnwritable`` where the file does not do as it should.

    ``path`` is the file, ``None`` for one in memory. Raises ``JournalUnwritable`` for a file that is newer, or not a
    journal, or cannot be opened.
    """

    def __init__(self, path: Path | None, *, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._db = opened(path)
        self._file = self._identity()
        self._page_bytes = self._pragma("page_size")
        self._came = 0
        """Entries written since old ones were last looked for."""
        self._forgot_at = 0
        self._ahead_bytes = self._wal_bytes()
        """About what there is in the write-ahead file, whose length does not tell: it is written over, not cut."""

    def write(self, entries: Sequence[Entry]) -> None:
        """Write ``entries`` in one transaction. Raises ``ValueError`` too, for an entry that lacks what it must say."""
        self.write_rows([row_of(entry) for entry in entries])

    def write_rows(self, rows: Sequence[Row]) -> None:
        """As ``write``, of entries that are encoded already. A trade that was counted before is left out."""
        with self._transaction():
            if self._identity() != self._file:
                raise JournalUnwritable(f"the journal {self.path} was moved or removed", "a new one begins")
            fresh = [row for row in rows if self._counts(row)]
            self._insert(_ENTRY, [row.columns for row in fresh])
            self._insert(_ORDER, [row.order for row in fresh if row.order is not None])
            self._each_order("UPDATE orders SET accepted = 1", [row for row in fresh if row.heard])
            self._each_order("DELETE FROM orders", _over(fresh))
            self._came += len(fresh)
            body_bytes = sum(len(str(row.columns[-1])) for row in fresh)
            self._ahead_bytes += (6 + len(fresh) // 4 + body_bytes // 3000) * self._page_bytes  # as measured

    def probe(self) -> None:
        """Write something that changes nothing, to see whether that can be done."""
        with self._transaction():
            self._db.execute(f"PRAGMA user_version = {VERSION}")

    def recall(self, venue: str, owner: str, symbol: str) -> Recalled:
        """What earlier runs left of ``symbol``, the oldest order first."""
        with self._reading():
            return recalled(self._db, (venue, owner, symbol))

    def knows(self, client_ids: Sequence[str]) -> frozenset[str]:
        """Those of ``client_ids`` that there is an intent of."""
        with self._reading():
            return known(self._db, client_ids)

    def tidy(self, *, idle: bool) -> bool:
        """Keep the files within their bound, a little at a time; whether more is to be done at once."""
        with self._reading():
            share = self._max_bytes // WAL_SHARE
            self._write_back(share, idle=idle)
            self._forget_trades()
            return self._trim(self._max_bytes - share - share // SPARE_SHARE)

    @property
    def bytes_used(self) -> int:
        """What is in use of the main file; what was freed is used again before it grows."""
        return (self._pragma("page_count") - self._pragma("freelist_count")) * self._page_bytes

    def close(self) -> None:
        """Let go of the file. Never raises."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    def _counts(self, row: Row) -> bool:
        """Keep count of positions; whether ``row`` is to be written, which a trade is once."""
        if row.trade is not None:
            return count_trade(self._db, row.trade)
        if row.entry.kind is Kind.ENDED:
            self._db.execute(
                "UPDATE positions SET position = '0' WHERE venue = ? AND owner = ? AND ? IN ('', symbol)",
                (*row.owner, row.entry.symbol),
            )
        return True

    def _insert(self, head: str, rows: Sequence[tuple[Column, ...]]) -> None:
        for some in chunks(rows, ROWS):
            marks = f"({','.join('?' * len(some[0]))})"
            self._db.execute(head + ",".join([marks] * len(some)), [column for row in some for column in row])

    def _each_order(self, head: str, rows: Iterable[Row]) -> None:
        """Do ``head`` to the orders that ``rows`` are about."""
        owners: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            owners.setdefault(row.owner, []).append(row.entry.client_id)
        for owner, client_ids in owners.items():
            for some in chunks(client_ids, ROWS):
                marks = ",".join("?" * len(some))
                self._db.execute(f"{head} WHERE venue = ? AND owner = ? AND client_id IN ({marks})", (*owner, *some))

    def _write_back(self, share: int, *, idle: bool) -> None:
        """Write the write-ahead file back where there is much in it: it waits for the disk, so not more often.

        Its next writer starts it anew, unless somebody still reads what it holds; where that made it long it is cut.
        """
        if self._ahead_bytes > (min(WAL_BYTES, share // 2) if idle else share // 2):
            how = "TRUNCATE" if self._wal_bytes() > share else "PASSIVE"
            self._db.execute(f"PRAGMA wal_checkpoint({how})").fetchall()
            self._ahead_bytes = 0

    def _trim(self, max_bytes: int) -> bool:
        if self.bytes_used <= max_bytes:
            self._came = 0
            return False
        with self._transaction():
            gone = self._db.execute(
                "DELETE FROM entries WHERE seq IN (SELECT seq FROM entries ORDER BY seq LIMIT ?)",
                (max(TRIMMED, 2 * self._came),),
            ).rowcount
        self._came = 0
        self._ahead_bytes += (6 + gone) * self._page_bytes
        return gone > 0

    def _forget_trades(self) -> None:
        """Forget the oldest trade ids; a number up to the largest of them counts as counted from then on."""
        oldest, newest = self._db.execute("SELECT min(number), max(number) FROM trades").fetchone()
        if newest is None or newest < (self._forgot_at or oldest) + 2 * KEPT_TRADES:
            return
        self._forgot_at = newest - KEPT_TRADES
        with self._transaction():
            forget_trades(self._db, self._forgot_at)

    def _identity(self) -> tuple[int, int] | None:
        """Which file the path names now."""
        if self.path is None:
            return None
        try:
            status = os.stat(self.path)
        except OSError:
            return 0, 0
        return status.st_dev, status.st_ino

    def _wal_bytes(self) -> int:
        if self.path is None:
            return 0
        try:
            return os.stat(f"{self.path}-wal").st_size
        except FileNotFoundError:
            return 0

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself
                    self._db.execute("ROLLBACK")
                raise
        except (sqlite3.Error, OSError) as error:
            raise unwritable(self.path, error) from error

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise unwritable(self.path, error, "read") from error


def _over(rows: Sequence[Row]) -> list[Row]:
    """The ends in ``rows``, but for an order that appeared again after its end."""
    ends: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        key = (*row.owner, row.entry.client_id)
        if row.entry.kind is Kind.END:
            ends[key] = row
        elif row.order is not None:
            ends.pop(key, None)
    return list(ends.values())


def write_now(path: Path, entries: Sequence[Entry]) -> None:
    """Write ``entries`` and let go of the file: for a verb that has a line or two to leave.

    Raises ``JournalUnwritable``.
    """
    store = JournalStore(path)
    try:
        store.write(entries)
    finally:
        store.close()
