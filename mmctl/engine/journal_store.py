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
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from mmctl.core.entries import Entry, Kind, Recalled, Unfinished
from mmctl.core.instrument import plain
from mmctl.core.order import Layer, Side
from mmctl.engine.journal_rows import Column, Row, Trade, row_of
from mmctl.engine.journal_schema import VERSION, opened, unwritable
from mmctl.errors import JournalUnwritable

MAX_BYTES = 256 << 20
"""What all files of the journal may take together; the oldest entries go first."""

WAL_BYTES = 4 << 20
"""The length of the write-ahead file from which it is written back when there is nothing else to do."""

WAL_SHARE = 8
"""One part in so many of all bytes is for the write-ahead file, which is written back when half of that is used."""

TRIMMED = 100
"""Entries that go at once, so that no commit waits long behind them."""

KEPT_TRADES = 100_000
"""Trade ids that are remembered beside those of unfinished orders."""

ROWS = 50
"""Rows in one statement: the loop's thread gets its turn back once a statement, not once a row."""

Some = TypeVar("Some")

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
        self._forgot_at = 0

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
            self._each_order("DELETE FROM orders", [row for row in fresh if row.entry.kind is Kind.END])

    def probe(self) -> None:
        """Write something that changes nothing, to see whether that can be done."""
        with self._transaction():
            self._db.execute(f"PRAGMA user_version = {VERSION}")

    def recall(self, venue: str, owner: str, symbol: str) -> Recalled:
        """What earlier runs left of ``symbol``, the oldest order first."""
        with self._reading():
            where = (venue, owner, symbol)
            orders = self._db.execute(
                "SELECT client_id, layer, side, price, qty, epoch, at_ms, accepted FROM orders"
                " WHERE venue = ? AND owner = ? AND symbol = ? ORDER BY rowid",
                where,
            ).fetchall()
            line = self._position(where)
            trades: dict[str, list[tuple[str, Decimal]]] = {}
            for client_id, trade_id, qty in self._db.execute(
                "SELECT client_id, trade_id, qty FROM trades WHERE venue = ? AND owner = ? AND symbol = ? AND client_id"
                " IN (SELECT client_id FROM orders WHERE venue = ? AND owner = ? AND symbol = ?) ORDER BY number",
                (*where, *where),
            ):
                trades.setdefault(client_id, []).append((trade_id, Decimal(qty)))
        return Recalled(
            tuple(_unfinished(order, tuple(trades.get(order[0], ()))) for order in orders), line[0], line[1] or None
        )

    def knows(self, client_ids: Sequence[str]) -> frozenset[str]:
        """Those of ``client_ids`` that there is an intent of."""
        found: set[str] = set()
        with self._reading():
            for some in _chunks(client_ids, 4 * ROWS):
                marks = ",".join("?" * len(some))
                found.update(
                    client_id
                    for (client_id,) in self._db.execute(
                        f"SELECT client_id FROM orders WHERE client_id IN ({marks}) UNION SELECT client_id FROM entries"
                        f" WHERE client_id <> '' AND client_id IN ({marks}) AND kind = '{Kind.INTENT}'",
                        (*some, *some),
                    )
                )
        return frozenset(found)

    def tidy(self, *, idle: bool) -> bool:
        """Keep the files within their bound, a little at a time; whether more is to be done at once."""
        with self._reading():
            share = self._max_bytes // WAL_SHARE
            if self._wal_bytes() > (min(WAL_BYTES, share // 2) if idle else share // 2):
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._forget_trades()
            return self._trim(self._max_bytes - share)

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
            return self._count_trade(row.trade)
        if row.entry.kind is Kind.ENDED:
            self._db.execute(
                "UPDATE positions SET position = '0' WHERE venue = ? AND owner = ? AND ? IN ('', symbol)",
                (*row.owner, row.entry.symbol),
            )
        return True

    def _count_trade(self, trade: Trade) -> bool:
        where = (trade.venue, trade.owner, trade.symbol)
        position, last, forgotten = self._position(where)
        added = self._db.execute(
            "INSERT OR IGNORE INTO trades (venue, owner, symbol, trade_id, value, client_id, qty)"
            " SELECT ?, ?, ?, ?, ?, ?, ? WHERE coalesce(? > ?, 1)",
            (*where, trade.trade_id, trade.value, trade.client_id, plain(trade.qty), trade.value, forgotten),
        )
        if added.rowcount < 1:
            return False
        self._db.execute(
            "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?, ?, ?)",
            (*where, plain(position + trade.gained), _newest(last, trade), forgotten),
        )
        return True

    def _position(self, where: tuple[str, str, str]) -> tuple[Decimal, str, int]:
        """The position of one symbol, its newest trade and the largest trade id that is no longer remembered."""
        found = self._db.execute(
            "SELECT position, last_trade_id, forgotten FROM positions WHERE venue = ? AND owner = ? AND symbol = ?",
            where,
        ).fetchone()
        return (Decimal(0), "", -1) if found is None else (Decimal(found[0]), found[1], found[2])

    def _insert(self, head: str, rows: Sequence[tuple[Column, ...]]) -> None:
        for some in _chunks(rows, ROWS):
            marks = f"({','.join('?' * len(some[0]))})"
            self._db.execute(head + ",".join([marks] * len(some)), [column for row in some for column in row])

    def _each_order(self, head: str, rows: Iterable[Row]) -> None:
        """Do ``head`` to the orders that ``rows`` are about."""
        owners: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            owners.setdefault(row.owner, []).append(row.entry.client_id)
        for owner, client_ids in owners.items():
            for some in _chunks(client_ids, ROWS):
                marks = ",".join("?" * len(some))
                self._db.execute(f"{head} WHERE venue = ? AND owner = ? AND client_id IN ({marks})", (*owner, *some))

    def _trim(self, max_bytes: int) -> bool:
        if self.bytes_used <= max_bytes:
            return False
        with self._transaction():
            gone = self._db.execute(
                "DELETE FROM entries WHERE seq IN (SELECT seq FROM entries ORDER BY seq LIMIT ?)", (TRIMMED,)
            ).rowcount
        return gone > 0

    def _forget_trades(self) -> None:
        """Forget the oldest trade ids; a number up to the largest of them counts as counted from then on."""
        oldest, newest = self._db.execute("SELECT min(number), max(number) FROM trades").fetchone()
        if newest is None or newest < (self._forgot_at or oldest) + 2 * KEPT_TRADES:
            return
        self._forgot_at = newest - KEPT_TRADES
        old = "trades.number <= ? AND client_id NOT IN (SELECT client_id FROM orders)"
        with self._transaction():
            self._db.execute(
                "UPDATE positions SET forgotten = max(forgotten, coalesce((SELECT max(value) FROM trades WHERE"
                f" trades.venue = positions.venue AND trades.owner = positions.owner AND {old}"
                " AND trades.symbol = positions.symbol), -1))",
                (newest - KEPT_TRADES,),
            )
            self._db.execute(f"DELETE FROM trades WHERE {old}", (newest - KEPT_TRADES,))

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


def write_now(path: Path, entries: Sequence[Entry]) -> None:
    """Write ``entries`` and let go of the file: for a verb that has a line or two to leave.

    Raises ``JournalUnwritable``.
    """
    store = JournalStore(path)
    try:
        store.write(entries)
    finally:
        store.close()


def _newest(last: str, trade: Trade) -> str:
    """The newer of two trade ids: the larger number, or the one told last where they are none."""
    older = trade.value is not None and last.isdecimal() and int(last) > trade.value
    return last if older else trade.trade_id


def _unfinished(order: Sequence[str | int], trades: tuple[tuple[str, Decimal], ...]) -> Unfinished:
    client_id, layer, side, price, qty, epoch, at_ms, accepted = order
    return Unfinished(
        client_id=str(client_id),
        layer=Layer(str(layer)),
        side=Side(str(side)),
        price=Decimal(price),
        qty=Decimal(qty),
        epoch=int(epoch),
        intended_at_ms=int(at_ms),
        accepted=bool(accepted),
        trades=trades,
    )


def _chunks(rows: Sequence[Some], size: int) -> Iterator[Sequence[Some]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
