"""Looking into the journal while others write to it: the entries that fit a filter, and the stories of orders."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from mmctl.core.entries import Entry, Kind, Plain
from mmctl.core.story import Story, judgement, told
from mmctl.engine.journal_schema import read_only, unwritable
from mmctl.errors import JournalUnwritable

Row = tuple[object, ...]
Numbered = tuple[int, Entry]

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

    def entries(self, wanted: Wanted) -> list[Numbered]:
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
        found = self._asked(
            f"SELECT {_COLUMNS} FROM entries WHERE {' AND '.join(clauses)} ORDER BY seq DESC LIMIT ?",
            [*values, wanted.limit],
        )
        return [_numbered(row) for row in found][::-1]

    def stories(self, order: str) -> list[Story]:
        """The story of each order that ``order`` is the client or venue id of: one, unless accounts share an id."""
        stories = []
        for venue, owner, client_id in self._orders(order):
            rows = self._asked(
                f"SELECT {_COLUMNS} FROM entries WHERE client_id = ? AND venue = ? AND owner = ? ORDER BY seq",
                [client_id, venue, owner],
            )
            own = [_numbered(row) for row in rows]
            if own:
                together = sorted([*own, *self._about(client_id, own)], key=lambda numbered: numbered[0])
                stories.append(told(client_id, [entry for _, entry in together]))
        return stories

    def _orders(self, order: str) -> list[tuple[str, str, str]]:
        """Venue, owner and client id of the orders that ``order`` names, in order of their beginning."""
        rows = self._asked(
            "SELECT venue, owner, client_id FROM entries WHERE client_id <> '' AND client_id = ? UNION ALL"
            " SELECT venue, owner, client_id FROM entries WHERE order_id <> '' AND order_id = ? AND client_id <> ''",
            [order, order],
        )
        return list(dict.fromkeys((str(venue), str(owner), str(client_id)) for venue, owner, client_id in rows))

    def _about(self, client_id: str, own: Sequence[Numbered]) -> Iterator[Numbered]:
        """The decision that the order's intent answers, later ones that name it, up to its end, and stops."""
        (first, entry), (last, newest) = own[0], own[-1]
        of_kind = f"kind = '{Kind.DECISION}' AND venue = ? AND owner = ? AND symbol = ?"
        where, quoted = [entry.venue, entry.owner, entry.symbol], json.dumps(client_id)
        answered = next((one.body["decision"] for _, one in own if one.body.get("decision")), "")
        wanted = self._asked(
            f"SELECT {_COLUMNS} FROM entries WHERE {of_kind} AND seq < ? AND instr(body, ?) ORDER BY seq DESC LIMIT 1",
            [*where, first, f'"decision":{json.dumps(answered)}'],
        )
        stops = self._asked(
            f"SELECT {_COLUMNS} FROM entries WHERE kind = '{Kind.STOP}' AND venue = ? AND account = ? AND seq > ?"
            " AND symbol IN ('', ?) AND instr(body, ?)",
            [entry.venue, entry.account, first, entry.symbol, quoted],
        )
        judged = self._asked(
            f"SELECT {_COLUMNS} FROM entries WHERE {of_kind} AND seq > ? AND (seq < ? OR ?) AND instr(body, ?)",
            [*where, first, last, newest.kind is not Kind.END, quoted],
        )
        yield from map(_numbered, wanted)
        yield from map(_numbered, stops)
        for row in judged:  # there may be very many: what they say of others is let go of at once
            number, one = _numbered(row)
            yield number, replace(one, body=judgement(one.body, client_id))

    def _asked(self, question: str, values: Sequence[str | int]) -> Iterator[Row]:
        try:
            yield from self._db.execute(question, values)
        except UnicodeEncodeError:  # half a character, as a terminal may send: nothing here is called so
            return
        except sqlite3.Error as error:
            raise unwritable(self.path, error, "read") from error


def _marks(values: Sequence[object]) -> str:
    return ",".join("?" * len(values))


def _numbered(row: Row) -> Numbered:
    number, at_ms, kind, venue, account, owner, symbol, client_id, order_id, body = row
    try:
        entry = Entry(
            kind=Kind(str(kind)),
            at_ms=int(str(at_ms)),
            venue=str(venue),
            account=str(account),
            owner=str(owner),
            symbol=str(symbol),
            client_id=str(client_id),
            order_id=str(order_id),
            body=_body(str(body)),
        )
    except ValueError as error:
        raise JournalUnwritable(f"entry {number} of the journal cannot be understood: {error}") from error
    return int(str(number)), entry


def _body(text: str) -> dict[str, Plain]:
    try:
        return msgspec.json.decode(text, type=dict)
    except msgspec.MsgspecError:  # half a character is nothing to it
        return dict(json.loads(text))
