"""Looking into the journal while others write to it: the entries that fit a filter, and the stories of orders."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmctl.core.entries import Entry, Kind
from mmctl.core.story import Story, told
from mmctl.engine.journal_schema import read_only, unwritable
from mmctl.errors import JournalUnwritable

Row = tuple[object, ...]

_COLUMNS = "seq, at_ms, kind, venue, account, owner, symbol, client_id, order_id, body"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries. What is empty or ``None`` lets everything pass; ``symbols`` ignore case and ``- / _``."""

    symbols: Sequence[str] = ()
    kinds: Sequence[Kind] = ()
    since_ms: int | None = None
    order: str = ""
    """A client or a venue's order id."""
    after_seq: int = 0
    limit: int = 100
    """The newest so many."""


class JournalReader:
    """The journal at ``path``, for reading. Every method raises ``JournalUnwritable`` where it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._db = read_only(path)

    def __enter__(self) -> JournalReader:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    def entries(self, wanted: Wanted) -> list[tuple[int, Entry]]:
        """The newest entries that fit, oldest first, each with its number in the journal."""
        clauses, values = ["seq > ?"], list[str | int]([wanted.after_seq])
        if wanted.symbols:
            name = "upper(replace(replace(replace(symbol, '-', ''), '/', ''), '_', ''))"
            clauses.append(f"{name} IN ({_marks(wanted.symbols)})")
            values += [symbol.upper().translate({ord(mark): None for mark in "-/_"}) for symbol in wanted.symbols]
        if wanted.kinds:
            clauses.append(f"kind IN ({_marks(wanted.kinds)})")
            values += [kind.value for kind in wanted.kinds]
        if wanted.since_ms is not None:
            clauses.append("at_ms >= ?")
            values.append(wanted.since_ms)
        if wanted.order:
            ids = [client_id for _, _, client_id in self._orders(wanted.order)] or [wanted.order]
            clauses.append(f"(client_id IN ({_marks(ids)}) OR order_id = ?)")
            values += [*ids, wanted.order]
        rows = self._asked(
            f"SELECT {_COLUMNS} FROM entries WHERE {' AND '.join(clauses)} ORDER BY seq DESC LIMIT ?",
            [*values, wanted.limit],
        )
        return [(int(str(row[0])), _entry(row)) for row in reversed(rows)]

    def stories(self, order: str) -> list[Story]:
        """The story of each order that ``order`` is the client or venue id of: one, unless accounts share an id."""
        stories = []
        for venue, owner, client_id in self._orders(order):
            rows = self._asked(
                f"SELECT {_COLUMNS} FROM entries WHERE client_id = ? AND venue = ? AND owner = ? ORDER BY seq",
                [client_id, venue, owner],
            )
            if rows:
                together = sorted([*rows, *self._about(rows)], key=lambda row: int(str(row[0])))
                stories.append(told(client_id, [_entry(row) for row in together]))
        return stories

    def _orders(self, order: str) -> list[tuple[str, str, str]]:
        """Venue, owner and client id of the orders that ``order`` names, in order of their beginning."""
        rows = self._asked(
            "SELECT venue, owner, client_id FROM entries WHERE client_id <> '' AND client_id = ? UNION ALL"
            " SELECT venue, owner, client_id FROM entries WHERE order_id <> '' AND order_id = ? AND client_id <> ''",
            [order, order],
        )
        return list(dict.fromkeys((str(venue), str(owner), str(client_id)) for venue, owner, client_id in rows))

    def _about(self, rows: Sequence[Row]) -> list[Row]:
        """Decisions that name the order of ``rows`` up to its end, the one that its intent answers, and stops."""
        of_kind = f"kind = '{Kind.DECISION}' AND venue = ? AND owner = ? AND symbol = ?"
        entries = [_entry(row) for row in rows]
        where = [entries[0].venue, entries[0].owner, entries[0].symbol]
        answered = next((entry.body["decision"] for entry in entries if entry.body.get("decision")), "")
        first, last = int(str(rows[0][0])), int(str(rows[-1][0]))
        found = self._asked(
            f"SELECT {_COLUMNS} FROM entries WHERE {of_kind} AND seq < ? AND instr(body, ?) ORDER BY seq DESC LIMIT 1",
            [*where, first, f'"decision":{json.dumps(answered)}'],
        )
        found += self._asked(
            f"SELECT {_COLUMNS} FROM entries WHERE kind = '{Kind.STOP}' AND venue = ? AND account = ? AND seq > ?"
            " AND symbol IN ('', ?) AND instr(body, ?)",
            [entries[0].venue, entries[0].account, first, entries[0].symbol, json.dumps(entries[0].client_id)],
        )
        return found + self._asked(
            f"SELECT {_COLUMNS} FROM entries WHERE {of_kind} AND seq > ? AND (seq < ? OR ?) AND instr(body, ?)",
            [*where, first, last, entries[-1].kind is not Kind.END, json.dumps(entries[0].client_id)],
        )

    def _asked(self, question: str, values: Sequence[str | int]) -> list[Row]:
        try:
            return self._db.execute(question, values).fetchall()
        except sqlite3.Error as error:
            raise unwritable(self.path, error, "read") from error


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _entry(row: Row) -> Entry:
    _, at_ms, kind, venue, account, owner, symbol, client_id, order_id, body = row
    try:
        return Entry(
            kind=Kind(str(kind)),
            at_ms=int(str(at_ms)),
            venue=str(venue),
            account=str(account),
            owner=str(owner),
            symbol=str(symbol),
            client_id=str(client_id),
            order_id=str(order_id),
            body=json.loads(str(body)),
        )
    except ValueError as error:
        raise JournalUnwritable(f"entry {row[0]} of the journal cannot be understood: {error}") from error
