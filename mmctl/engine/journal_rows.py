"""An entry as it is written: its columns, and what it means for recovery."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

import msgspec

from mmctl.core.entries import Entry, Kind
from mmctl.core.instrument import plain
from mmctl.core.order import Layer, Side

ACCEPTED = ("accepted", "seen")
"""Replies that say that the venue has taken an order."""

Column = str | int | None

_encode = msgspec.json.Encoder(enc_hook=str).encode


class Trade(NamedTuple):
    """A fill, for the count. ``value`` is the trade id as a number, ``None`` where it is none."""

    venue: str
    owner: str
    symbol: str
    trade_id: str
    value: int | None
    client_id: str
    qty: Decimal
    gained: Decimal
    """The change of the position, in base currency."""


class Row(NamedTuple):
    """``order`` is there for an intent and for an order taken in, ``trade`` for a fill.

    ``heard``: the venue has the order.
    """

    entry: Entry
    columns: tuple[Column, ...]
    order: tuple[Column, ...] | None
    trade: Trade | None
    heard: bool

    @property
    def owner(self) -> tuple[str, str]:
        return self.entry.venue, self.entry.owner or self.entry.account


def row_of(entry: Entry) -> Row:
    """``entry`` encoded. Raises ``ValueError`` for an intent or a fill that lacks what it must say."""
    venue, owner, body = _text(entry.venue), _text(entry.owner or entry.account), entry.body
    symbol, client_id, order_id = _text(entry.symbol), _text(entry.client_id), _text(entry.order_id)
    order: tuple[Column, ...] | None = None
    trade = None
    heard = entry.kind in (Kind.FILL, Kind.ADOPTED) or (entry.kind is Kind.REPLY and _was_taken(entry))
    try:
        if entry.kind is Kind.INTENT or (entry.kind is Kind.ADOPTED and "price" in body):
            order = (venue, owner, symbol, client_id, *_wanted(body), entry.at_ms, 0)
        elif entry.kind is Kind.FILL:
            trade = Trade(venue, owner, symbol, *_traded(client_id, body))
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise ValueError(f"an entry of kind {entry.kind} lacks or misstates {error}") from error
    columns = (entry.at_ms, entry.kind.value, venue, _text(entry.account), owner, symbol, client_id, order_id)
    return Row(entry, (*columns, _json(body)), order, trade, heard)


def _wanted(body: Mapping[str, object]) -> tuple[Column, ...]:
    price, qty = Decimal(str(body["price"])), Decimal(str(body["qty"]))
    return (
        Layer(str(body["layer"])).value,
        Side(str(body["side"])).value,
        plain(price),
        plain(qty),
        int(str(body["epoch"])),
    )


def _traded(client_id: str, body: Mapping[str, object]) -> tuple[str, int | None, str, Decimal, Decimal]:
    trade_id, qty = _text(str(body["trade_id"])), Decimal(str(body["qty"]))
    value = int(trade_id) if trade_id.isascii() and trade_id.isdecimal() and len(trade_id) < 19 else None
    return trade_id, value, client_id, qty, qty if Side(str(body["side"])) is Side.BUY else -qty


def _was_taken(entry: Entry) -> bool:
    return bool(entry.order_id) or entry.body.get("event") in ACCEPTED


def _text(text: str) -> str:
    """``text`` as UTF-8 can hold it: what came from outside may hold half a character."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _json(body: Mapping[str, object]) -> str:
    try:
        return _encode(body).decode()
    except UnicodeEncodeError:
        import json

        return json.dumps(body, separators=(",", ":"), default=str)
