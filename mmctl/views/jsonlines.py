"""Reports as JSON, one object a line, version 1: no field of it is ever renamed or dropped.

Prices, quantities and amounts are fixed-point strings, times whole ms since the epoch, durations numbers of
ms. What could not be read is ``null`` with ``unread`` saying why, never an empty list.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from mmctl.core.book import Book, Level
from mmctl.core.instrument import Instrument, plain
from mmctl.core.order import Order
from mmctl.core.report import (
    BookShown,
    Faulted,
    Filled,
    Planned,
    Refusal,
    Report,
    RoundDone,
    Skipped,
    Started,
    Stopped,
    Summary,
    Wanted,
)

VERSION = 1
_Fields = dict[str, Any]  # a JSON object on its way out: nothing reads it back


def encode(report: Report) -> str:
    """One line for one report of an engine, without the line feed."""
    match report:
        case Started():
            return _start(report)
        case RoundDone():
            return _round(report)
        case Skipped():
            return _skip(report)
        case Filled():
            return _fill(report)
        case Faulted():
            return _fault(report)
        case Summary():
            return _summary(report)


def book(shown: BookShown) -> str:
    """The line of ``show-book``."""
    source = shown.book
    own = None if shown.own is None else [_order(shown.pair, shown.instrument, order) for order in shown.own]
    fields: _Fields = {
        "pair": shown.pair,
        "exchange": source.key.exchange,
        "symbol": source.key.symbol,
        "source": source.source,
        "ts_ms": source.ts_ms,
        "age_ms": _ms(shown.age_ms),
        "bids": _levels(source, source.bids),
        "asks": _levels(source, source.asks),
        "own": own,
        "foreign": shown.foreign,
    }
    return line("book", _with_unread(fields, shown.unread, shown.own, shown.foreign))


def plan(planned: Planned) -> str:
    """The line of ``diff``."""
    return line(
        "plan",
        {
            "pair": planned.pair,
            "keep": _wanted(planned.pair, planned.instrument, planned.keep),
            "place": _wanted(planned.pair, planned.instrument, planned.place),
            "cancel": _wanted(planned.pair, planned.instrument, planned.cancel),
            "refused": _refused(planned.refused),
            "changes": planned.changes,
        },
    )


def stopped(result: Stopped) -> str:
    """The line of ``cancel-near`` and ``cancel-all``."""
    remaining = None
    if result.remaining is not None:
        remaining = [_order(each.pair, each.instrument, order) for each in result.remaining for order in each.orders]
    position = None
    if result.position is not None:
        position = {pair: plain(amount) for pair, amount in result.position.items()}
    fields = _pick(result, "venue account scope pairs halt proof cancelled foreign far_left halts") | {
        "engines": [_pick(each, "name epoch state") for each in result.engines],
        "remaining": remaining,
        "position": position,
        "first_empty_ms": None if result.first_empty_ms is None else _ms(result.first_empty_ms),
        "took_ms": _ms(result.took_ms),
    }
    return line("stopped", _with_unread(fields, result.unread, remaining, result.foreign, result.far_left, position))


def resumed(lifted: Sequence[str], in_force: Sequence[str]) -> str:
    """What ``resume`` lifted, and what stays halted on the same accounts, a line for each halt."""
    return line("resumed", {"lifted": lifted, "halts": in_force})


def error(kind: str, message: str, hint: str = "") -> str:
    """The line of a verb that ended with an error."""
    return line("error", {"kind": kind, "message": message, "hint": hint})


def _start(report: Started) -> str:
    return line("start", _pick(report, "version profile mode venue account pairs epoch halts"))


def _round(report: RoundDone) -> str:
    pair, instrument, touch = report.pair, report.instrument, report.book
    fields = _pick(report, "pair ts_ms layer round forced follow_up") | {
        "book": {"source": touch.source, "bid": touch.bid, "ask": touch.ask, "age_ms": _ms(touch.age_ms)},
        "target": [
            {
                "side": quote.side,
                "price": instrument.price_text(quote.price),
                "qty": instrument.qty_text(quote.qty),
                "level": quote.level,
            }
            for quote in report.target
        ],
        "keep": [_order(pair, instrument, order) for order in report.keep],
        "place": [_order(pair, instrument, order) for order in report.place],
        "cancel": _wanted(pair, instrument, report.cancel),
        "refused": _refused(report.refused),
        "outcome": _pick(report, "placed rejected cancelled unknown"),
        "took": {
            "read_ms": _ms(report.read_ms),
            "decide_ms": _ms(report.decide_ms),
            "send_ms": _ms(report.send_ms),
        },
    }
    return line("round", fields)


def _skip(report: Skipped) -> str:
    return line("skip", _pick(report, "pair ts_ms layer reason detail"))


def _fill(report: Filled) -> str:
    """The order as it is after the trade; what the trade itself says is named ``trade_...``."""
    trade = report.fill
    fields = _order(report.pair, report.instrument, report.order)
    fields |= {
        "ts_ms": trade.at_ms,
        "trade_id": trade.trade_id,
        "trade_price": plain(trade.price),
        "trade_qty": plain(trade.qty),
        "fee": plain(trade.fee),
        "fee_asset": trade.fee_asset,
        "maker": trade.maker,
    }
    return line("fill", fields)


def _fault(report: Faulted) -> str:
    return line("fault", _pick(report, "pair ts_ms kind detail action"))


def _summary(report: Summary) -> str:
    """All pairs together. One unread pair makes the whole list ``null``: a part of it would look like all."""
    unread = "; ".join(f"{each.pair}: {each.unread}" for each in report.pairs if each.open_orders is None)
    open_orders = None
    if not unread:
        open_orders = [
            _order(each.pair, each.instrument, order) for each in report.pairs for order in each.open_orders or ()
        ]
    fields = _pick(report, "rounds placed kept cancelled rejected unknown fills faults") | {
        "position": {each.pair: plain(each.position) for each in report.pairs},
        "open_orders": open_orders,
        "elapsed_ms": _ms(report.elapsed_ms),
    }
    return line("summary", _with_unread(fields, unread, open_orders))


def _pick(report: object, names: str) -> _Fields:
    """The fields that go out as they are, in this order."""
    return {name: getattr(report, name) for name in names.split()}


def _order(pair: str, instrument: Instrument, order: Order, reason: str = "") -> _Fields:
    """An order; one that is only planned has no client order id yet, and so nothing filled and no state."""
    fields: _Fields = {"pair": pair, "client_id": order.client_id or None}
    if order.order_id is not None:
        fields["order_id"] = order.order_id
    fields |= {
        "layer": order.layer,
        "side": order.side,
        "price": instrument.price_text(order.price),
        "qty": instrument.qty_text(order.qty),
    }
    if order.client_id:
        fields |= {"filled": instrument.qty_text(order.filled), "state": order.state}
    if reason or order.reason:
        fields["reason"] = reason or order.reason
    return fields


def _wanted(pair: str, instrument: Instrument, wanted: Iterable[Wanted]) -> list[_Fields]:
    return [_order(pair, instrument, each.order, each.reason) for each in wanted]


def _refused(refused: Iterable[Refusal]) -> list[_Fields]:
    return [_pick(each, "layer side level reason detail") for each in refused]


def _levels(source: Book, levels: Iterable[Level]) -> list[tuple[str, str]]:
    return [(plain(source.price(level.price)), plain(source.qty(level.qty))) for level in levels]


def _ms(duration: float) -> float:
    """Whole microseconds are more than any of it is measured to."""
    return round(duration, 3)


def _with_unread(fields: _Fields, unread: str, *read: object) -> _Fields:
    if any(value is None for value in read):
        fields["unread"] = unread or "not read"
    return fields


def line(event: str, fields: _Fields) -> str:
    """One object of any event, on one line."""
    whole = {"v": VERSION, "event": event, **fields}
    try:
        return msgspec.json.encode(whole).decode()
    except UnicodeEncodeError:  # a path that is not UTF-8 keeps its bytes as lone surrogates, which msgspec refuses
        return json.dumps(whole, separators=(",", ":"))
