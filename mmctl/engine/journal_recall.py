"""What a recovery asks of the journal's file: unfinished orders, which ids are known, positions and counted trades."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from mmctl.core.entries import Kind, Recalled, Unfinished
from mmctl.core.instrument import plain
from mmctl.core.order import Layer, Side, decode_own_id
from mmctl.engine.journal_rows import Trade

SETTLE_MS = 75_000
"""So long before the newest trade that was counted, one may be missing, where no entry says how far the venue's list
was read: a stream can lose it without a word, and a run reads the venue's own list of trades once a minute."""

SETTLING = 300
"""Trades that are looked at for that, at most."""

IDS = 200
"""Client order ids in one question."""

Some = TypeVar("Some")

Where = tuple[str, str, str]
"""Venue, owner and symbol."""


def recalled(db: sqlite3.Connection, where: Where) -> Recalled:
    """What earlier runs left of one symbol, the oldest order first."""
    orders = db.execute(
        "SELECT client_id, layer, side, price, qty, epoch, at_ms, accepted FROM orders"
        " WHERE venue = ? AND owner = ? AND symbol = ? ORDER BY rowid",
        where,
    ).fetchall()
    trades: dict[str, list[tuple[str, Decimal]]] = {}
    for client_id, trade_id, qty in db.execute(
        "SELECT client_id, trade_id, qty FROM trades WHERE venue = ? AND owner = ? AND symbol = ? AND client_id"
        " IN (SELECT client_id FROM orders WHERE venue = ? AND owner = ? AND symbol = ?) ORDER BY number",
        (*where, *where),
    ):
        trades.setdefault(client_id, []).append((trade_id, Decimal(qty)))
    total, last, forgotten = position(db, where)
    read_from, counted = _read_on(db, where, forgotten) or _settling(db, where, last)
    return Recalled(
        tuple(_unfinished(order, tuple(trades.get(order[0], ()))) for order in orders),
        total,
        last or None,
        read_from,
        counted,
        _ended_epoch(db, where),
        trades=_newest_trades(db, where),
    )


def _newest_trades(db: sqlite3.Connection, where: Where) -> dict[str, tuple[tuple[str, Decimal], ...]]:
    """The newest trades that are counted, by client id."""
    found: dict[str, tuple[tuple[str, Decimal], ...]] = {}
    for client_id, trade_id, qty in db.execute(
        "SELECT client_id, trade_id, qty FROM trades WHERE venue = ? AND owner = ? AND symbol = ?"
        " ORDER BY number DESC LIMIT ?",
        (*where, SETTLING),
    ):
        found[client_id] = (*found.get(client_id, ()), (trade_id, Decimal(qty)))
    return found


def _read_on(db: sqlite3.Connection, where: Where, forgotten: int) -> tuple[str | None, frozenset[str]] | None:
    """To where the venue's list was last read as a whole, and which trades after that are counted.

    ``None`` where no entry tells: of an older mmctl, or where ids are no numbers.
    """
    found = db.execute(
        "SELECT body FROM entries WHERE kind = ? AND venue = ? AND owner = ? AND symbol = ? ORDER BY seq DESC LIMIT 1",
        (Kind.TRADES, *where),
    ).fetchone()
    told = None if found is None else msgspec.json.decode(found[0], type=dict[str, Any]).get("trade_id")
    if not isinstance(told, str) or not (told or "0").isdecimal():
        return None
    read_to = max(int(told or -1), forgotten)
    counted = db.execute(
        "SELECT trade_id FROM trades WHERE venue = ? AND owner = ? AND symbol = ? AND value > ?", (*where, read_to)
    )
    return None if read_to < 0 else str(read_to), frozenset(trade_id for (trade_id,) in counted)


def _settling(db: sqlite3.Connection, where: Where, last: str) -> tuple[str | None, frozenset[str]]:
    """From which trade on the venue's list is to be read once more, and which trades after that are counted.

    Where entries tell too little of them that is the ``last`` one.
    """
    told = db.execute(
        "SELECT body FROM entries WHERE kind = ? AND venue = ? AND owner = ? AND symbol = ? ORDER BY seq DESC LIMIT ?",
        (Kind.FILL, *where, SETTLING),
    )
    found = [msgspec.json.decode(body, type=dict[str, Any]) for (body,) in told]
    times = {int(one["trade_id"]): int(one.get("traded_ms", 0)) for one in found if one["trade_id"].isdecimal()}
    if not last.isdecimal() or int(last) not in times:
        return last or None, frozenset()
    since_ms = max(times.values()) - SETTLE_MS
    settled = [trade_id for trade_id, traded_ms in times.items() if traded_ms < since_ms]
    if not settled and len(found) < SETTLING:  # all that was ever told is that young: one before it may be missing
        return None, frozenset(map(str, times))
    read_from = max(settled, default=min(times))
    return str(read_from), frozenset(str(trade_id) for trade_id in times if trade_id > read_from)


def _ended_epoch(db: sqlite3.Connection, where: Where) -> int:
    """The epoch of the last run of a symbol that ended in good order; 0 for none."""
    found = db.execute(
        "SELECT body FROM entries WHERE kind = ? AND venue = ? AND owner = ? AND symbol IN (?, '')"
        " ORDER BY seq DESC LIMIT 1",
        (Kind.ENDED, *where),
    ).fetchone()
    epoch = 0 if found is None else msgspec.json.decode(found[0], type=dict[str, Any]).get("epoch", 0)
    return epoch if isinstance(epoch, int) else 0


def known(db: sqlite3.Connection, client_ids: Sequence[str]) -> frozenset[str]:
    """Those of ``client_ids`` that there is an intent of."""
    found: set[str] = set()
    for some in chunks(client_ids, IDS):
        marks = ",".join("?" * len(some))
        rows = db.execute(
            f"SELECT client_id FROM orders WHERE client_id IN ({marks}) UNION SELECT client_id FROM entries"
            f" WHERE client_id <> '' AND client_id IN ({marks}) AND kind = '{Kind.INTENT}'",
            (*some, *some),
        )
        found.update(client_id for (client_id,) in rows)
    return frozenset(found)


def count_trade(db: sqlite3.Connection, trade: Trade) -> bool:
    """Add ``trade`` to its position, unless it was counted before; whether it was not."""
    where = (trade.venue, trade.owner, trade.symbol)
    total, last, forgotten = position(db, where)
    added = db.execute(
        "INSERT OR IGNORE INTO trades (venue, owner, symbol, trade_id, value, client_id, qty)"
        " SELECT ?, ?, ?, ?, ?, ?, ? WHERE coalesce(? > ?, 1)",
        (*where, trade.trade_id, trade.value, trade.client_id, plain(trade.qty), trade.value, forgotten),
    )
    if added.rowcount < 1:
        return False
    own = decode_own_id(trade.client_id)
    # A run that ended in good order has counted what it knew; the next one begins with nothing of it.
    gained = Decimal(0) if own is not None and own.epoch <= _ended_epoch(db, where) else trade.gained
    db.execute(
        "INSERT OR REPLACE INTO positions VALUES (?, ?, ?, ?, ?, ?)",
        (*where, plain(total + gained), _newest(last, trade), forgotten),
    )
    return True


def position(db: sqlite3.Connection, where: Where) -> tuple[Decimal, str, int]:
    """The position of one symbol, its newest trade, and the largest trade id that is no longer remembered."""
    found = db.execute(
        "SELECT position, last_trade_id, forgotten FROM positions WHERE venue = ? AND owner = ? AND symbol = ?", where
    ).fetchone()
    return (Decimal(0), "", -1) if found is None else (Decimal(found[0]), found[1], found[2])


def forget_trades(db: sqlite3.Connection, up_to: int) -> None:
    """Forget the trades written up to number ``up_to``, but for those of unfinished orders.

    A trade id that is a number counts as counted from then on where it is not above the largest of those.
    """
    old = "trades.number <= ? AND client_id NOT IN (SELECT client_id FROM orders)"
    db.execute(
        "UPDATE positions SET forgotten = max(forgotten, coalesce((SELECT max(value) FROM trades WHERE"
        f" trades.venue = positions.venue AND trades.owner = positions.owner AND {old}"
        " AND trades.symbol = positions.symbol), -1))",
        (up_to,),
    )
    db.execute(f"DELETE FROM trades WHERE {old}", (up_to,))


def chunks(rows: Sequence[Some], size: int) -> Iterator[Sequence[Some]]:
    """``rows``, at most ``size`` at a time."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


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
