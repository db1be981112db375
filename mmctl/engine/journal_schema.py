"""The file of the journal: its tables, its version, and how it is opened.

A file that is not a journal, or is a newer one, is told and left as it is: nothing here overwrites or sets aside.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from mmctl.engine.lock import locked
from mmctl.errors import JournalUnwritable

FILE_NAME = "journal.sqlite"
VERSION = 1
APPLICATION_ID = 0x6D6D6A6C
"""``mmjl``: tells a journal from any other SQLite file."""

LEAST_BYTES = 512
"""No SQLite file that holds anything is smaller."""

BUSY_S = 0.5
"""How long a write waits for another process's; it must leave room within a commit's deadline."""

CACHED_STATEMENTS = 512

SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE entries (
    seq INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, kind TEXT NOT NULL, venue TEXT NOT NULL, account TEXT NOT NULL,
    owner TEXT NOT NULL, symbol TEXT NOT NULL, client_id TEXT NOT NULL, order_id TEXT NOT NULL, body TEXT NOT NULL
);
CREATE INDEX entries_client ON entries (client_id) WHERE client_id <> '';
CREATE INDEX entries_order ON entries (order_id) WHERE order_id <> '';
CREATE INDEX entries_kind ON entries (kind);
CREATE INDEX entries_time ON entries (at_ms);
CREATE TABLE orders (
    venue TEXT NOT NULL, owner TEXT NOT NULL, symbol TEXT NOT NULL, client_id TEXT NOT NULL, layer TEXT NOT NULL,
    side TEXT NOT NULL, price TEXT NOT NULL, qty TEXT NOT NULL, epoch INTEGER NOT NULL, at_ms INTEGER NOT NULL,
    accepted INTEGER NOT NULL, UNIQUE (venue, owner, client_id)
);
CREATE TABLE trades (
    number INTEGER PRIMARY KEY, venue TEXT NOT NULL, owner TEXT NOT NULL, symbol TEXT NOT NULL, trade_id TEXT NOT NULL,
    value INTEGER, client_id TEXT NOT NULL, qty TEXT NOT NULL, UNIQUE (venue, owner, symbol, trade_id)
);
CREATE INDEX trades_client ON trades (client_id);
CREATE TABLE positions (
    venue TEXT NOT NULL, owner TEXT NOT NULL, symbol TEXT NOT NULL, position TEXT NOT NULL, last_trade_id TEXT NOT NULL,
    forgotten INTEGER NOT NULL, PRIMARY KEY (venue, owner, symbol)
) WITHOUT ROWID;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
COMMIT;
"""
"""``orders``, ``trades`` and ``positions`` are what a recovery needs; they stay when old entries go.

``trades.value`` is the trade id as a number, where it is one; ``positions.forgotten`` the largest of those that are
no longer in ``trades``: a trade up to it was counted.
"""

SET_ASIDE = "with no mmctl running move it away, its -wal and -shm with it; a new one begins, which knows no order"


def opened(path: Path | None) -> sqlite3.Connection:
    """The journal at ``path``, made with its folder where it is missing; in memory for ``None``.

    Raises ``JournalUnwritable``.
    """
    if path is None:
        return _in_memory()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_file(path)
        db = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=CACHED_STATEMENTS
        )
        try:
            if _is_empty(db):
                with locked(path.with_suffix(".lock")):
                    _make(db)
            check(db, path)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA secure_delete = OFF")  # old entries hold no secret
            db.execute("PRAGMA wal_autocheckpoint = 0")  # the store does that when nobody waits
        except BaseException:
            db.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise unwritable(path, error) from error
    return db


def read_only(path: Path) -> sqlite3.Connection:
    """The journal at ``path``, only to be looked at. Raises ``JournalUnwritable`` where it cannot be read."""
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_S, isolation_level=None)
        try:
            check(db, path)
        except BaseException:
            db.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise unwritable(path, error, "read") from error
    return db


def check(db: sqlite3.Connection, path: Path) -> None:
    """Raises ``JournalUnwritable`` unless the file is a journal that this version understands."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise JournalUnwritable(f"{path} is not a journal of mmctl", SET_ASIDE)
    if version > VERSION:
        raise JournalUnwritable(
            f"the journal {path} is of version {version}, and this mmctl writes version {VERSION}",
            "use the newer mmctl that wrote it, or another MMCTL_STATE_DIR",
        )


def unwritable(path: Path | None, error: sqlite3.Error | OSError, verb: str = "written") -> JournalUnwritable:
    """One line for what SQLite or the system said."""
    said = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    return JournalUnwritable(f"the journal {path or 'in memory'} cannot be {verb}: {said}", _mend(said, error))


def _mend(said: str, error: Exception) -> str:
    if "locked" in said:
        return "another process holds it: `fuser` on the file names it"
    if "full" in said or "No space" in said:
        return "make room on that disk; it goes on by itself"
    if "I/O" in said:
        return "look at that disk; it goes on by itself"
    damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)
    if damaged or "malformed" in said:
        return SET_ASIDE
    return "mend the folder's permissions, or set MMCTL_STATE_DIR"


def _in_memory() -> sqlite3.Connection:
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, cached_statements=CACHED_STATEMENTS)
    db.executescript(SCHEMA)
    return db


def _make_file(path: Path) -> None:
    """An empty file where there is none. A few bytes of something else would pass for one too: they are told here.

    A file that is there is not opened: closing it again would end the locks that SQLite has on it in this process.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        if 0 < os.stat(path).st_size < LEAST_BYTES:
            raise sqlite3.DatabaseError("file is not a database") from None


def _is_empty(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT count(*) = 0 FROM sqlite_master").fetchone()[0])


def _make(db: sqlite3.Connection) -> None:
    """Make the tables, unless another process did while this one waited."""
    if _is_empty(db):
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(SCHEMA)
