"""Reports as plain lines for pipes and logs: no colour, no control characters, times in UTC.

What came from outside (a venue's words, a path) is cleaned first, so that one report stays on its line.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from mmctl.core.book import Book
from mmctl.core.instrument import Instrument, plain
from mmctl.core.order import Order
from mmctl.core.report import (
    BookShown,
    Faulted,
    Filled,
    PairSummary,
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


def clean(text: str) -> str:
    """``text`` on one line, without anything that moves a cursor or turns the writing round."""
    return text if text.isprintable() else "".join(each if each.isprintable() else " " for each in text)


def clock(ts_ms: int) -> str:
    """The time of day in UTC, to the millisecond, of any number: a feed may send a wrong one."""
    whole, ms = divmod(ts_ms, 1000)
    minutes, second = divmod(whole % 86_400, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{second:02d}.{ms:03d}"


def seconds(duration_ms: float) -> str:
    return f"{duration_ms / 1000:.1f}s"


def render(report: Report) -> str:
    """One line for one report of an engine; several for the summary."""
    match report:
        case Started():
            return _start(report)
        case RoundDone():
            return _round(report)
        case Skipped():
            detail = f": {clean(report.detail)}" if report.detail else ""
            return f"{clock(report.ts_ms)} {report.pair} {report.layer} skipped {report.reason}{detail}"
        case Filled():
            return _fill(report)
        case Faulted():
            return (
                f"{clock(report.ts_ms)} {report.pair} fault {report.kind}: {clean(report.detail)}"
                f" -> {clean(report.action)}"
            )
        case Summary():
            return "\n".join(_summary(report))


def book(shown: BookShown) -> str:
    """``show-book``: the levels, then own orders and how many foreign ones there are."""
    return "\n".join(_book(shown))


def plan(planned: Planned) -> str:
    """``diff``: one line for each order from the highest price down, then the counts."""
    return "\n".join(plan_lines(planned))


def stopped(result: Stopped) -> str:
    """``cancel-near`` and ``cancel-all``: what is proven first, then what is left."""
    return "\n".join(_stopped(result))


def error(kind: str, message: str, hint: str = "") -> str:
    """One line; ``kind`` is for programs and stays out of it."""
    return clean(f"error: {message} ({hint})" if hint else f"error: {message}")


def plan_lines(planned: Planned) -> Iterator[str]:
    """The lines of a plan; the first character of each says what becomes of the order."""
    marked = [
        (mark, each)
        for mark, group in (("+ place ", planned.place), ("- cancel", planned.cancel), ("= keep  ", planned.keep))
        for each in group
    ]
    marked.sort(key=lambda pair: pair[1].order.price, reverse=True)
    yield f"{planned.pair}:"
    for mark, each in marked:
        yield f"{mark} {_wanted_text(planned.instrument, each)}"
    for refusal in planned.refused:
        yield f"! refuse {_refusal_text(refusal)}"
    yield (f"Plan: {len(planned.place)} to place, {len(planned.cancel)} to cancel, {len(planned.keep)} to keep.")


def _start(report: Started) -> str:
    halts = "; ".join(map(clean, report.halts)) or "none"
    return (
        f"{report.mode.upper()} venue {report.venue} account {report.account} pairs {','.join(report.pairs)}"
        f" halts {halts} epoch {report.epoch} profile {clean(report.profile)} mmctl {report.version}"
    )


def _round(report: RoundDone) -> str:
    marks = (" forced" if report.forced else "") + (" follow-up" if report.follow_up else "")
    outcome = f"placed {report.placed} cancelled {report.cancelled}"
    if report.rejected:
        outcome += f" rejected {report.rejected}"
    if report.unknown:
        outcome += f" unknown {report.unknown}"
    return (
        f"{clock(report.ts_ms)} {report.pair} {report.layer} #{report.round}{marks}"
        f" bid {report.book.bid} ask {report.book.ask} age {seconds(report.book.age_ms)}"
        f" keep {len(report.keep)} place {len(report.place)} cancel {len(report.cancel)}"
        f" refused {len(report.refused)} -> {outcome}"
    )


def _fill(report: Filled) -> str:
    trade, order, instrument = report.fill, report.order, report.instrument
    role = "maker" if trade.maker else "taker"
    return (
        f"{clock(trade.at_ms)} {report.pair} {order.layer} fill {trade.side} {plain(trade.qty)}"
        f" at {plain(trade.price)} {role} fee {plain(trade.fee)} {trade.fee_asset}"
        f" filled {instrument.qty_text(order.filled)} of {instrument.qty_text(order.qty)} {order.client_id}"
    )


def _summary(report: Summary) -> Iterator[str]:
    yield (
        f"ended after {seconds(report.elapsed_ms)}: rounds {report.rounds} placed {report.placed} kept {report.kept}"
        f" cancelled {report.cancelled} rejected {report.rejected} unknown {report.unknown}"
        f" fills {report.fills} faults {report.faults}"
    )
    for each in report.pairs:
        yield from _pair_summary(each)


def _pair_summary(each: PairSummary) -> Iterator[str]:
    position = f"{each.pair} position {_position(each.position)} {each.instrument.base}"
    if each.open_orders is None:
        yield f"{position}, own orders could not be read: {clean(each.unread)}"
        return
    yield f"{position}, own orders remaining {len(each.open_orders)}"
    for order in each.open_orders:
        yield f"  {_order_text(each.instrument, order)}"


def _book(shown: BookShown) -> Iterator[str]:
    source = shown.book
    yield (f"{shown.pair} {source.key} at {clock(source.ts_ms)} age {seconds(shown.age_ms)} from {source.source}")
    yield from _levels(source)
    if shown.own is None:
        yield f"own orders not read: {clean(shown.unread)}"
    else:
        yield f"own orders {len(shown.own)}"
        for order in sorted(shown.own, key=lambda each: each.price, reverse=True):
            yield f"  {_order_text(shown.instrument, order)}"
    yield f"foreign orders {'not read' if shown.foreign is None else shown.foreign}"


def _levels(source: Book) -> Iterator[str]:
    rows = [
        (name, plain(source.price(level.price)), plain(source.qty(level.qty)))
        for name, levels in (("ask", source.asks[::-1]), ("bid", source.bids))
        for level in levels
    ]
    price_width = max((len(price) for _, price, _ in rows), default=0)
    qty_width = max((len(qty) for _, _, qty in rows), default=0)
    for name, price, qty in rows:
        yield f"  {name} {price:>{price_width}} {qty:>{qty_width}}"
    if source.fault:
        yield f"not usable: {source.fault}"


def _stopped(result: Stopped) -> Iterator[str]:
    where = f"{result.venue} account {result.account} {result.scope} of {','.join(result.pairs)}"
    yield (
        f"{where}: cancelled {_cancelled(result)} in {seconds(result.took_ms)},"
        f" halt {result.halt}, proof {result.proof}"
    )
    if result.remaining is None:
        yield f"remaining orders could not be read: {clean(result.unread)}"
    else:
        yield f"remaining own orders {sum(len(each.orders) for each in result.remaining)}"
        for each in result.remaining:
            for order in each.orders:
                yield f"  {each.pair} {_order_text(each.instrument, order)}"
    yield f"far orders left {_count(result.far_left)}, foreign orders left {_count(result.foreign)}"
    yield from _positions(result.position)
    for engine in result.engines:
        yield f"{clean(engine.name)}: {engine.state.replace('_', ' ')}"
    yield f"halts in force: {'; '.join(map(clean, result.halts)) or 'none'}"


def _cancelled(result: Stopped) -> str:
    """How many this stop cancelled: of those that went before it saw them it knows only who takes them."""
    took = any(engine.state == "acknowledged" for engine in result.engines)
    return f"{len(result.cancelled)}" + (" here (engines that acknowledge cancel their own)" if took else "")


def _positions(position: dict[str, Decimal] | None) -> Iterator[str]:
    if position is None:
        yield "position not read"
        return
    for pair, amount in position.items():
        yield f"position {pair} {_position(amount)}"


def _position(amount: Decimal) -> str:
    return f"{plain(amount)} (not flattened)" if amount else plain(amount)


def _count(number: int | None) -> str:
    return "not read" if number is None else str(number)


def _order_text(instrument: Instrument, order: Order) -> str:
    qty = f"{instrument.qty_text(order.remaining)} of {instrument.qty_text(order.qty)}"
    return (
        f"{order.layer:<4} {order.side:<4} {instrument.price_text(order.price)} {qty} {order.state} {order.client_id}"
    )


def _wanted_text(instrument: Instrument, wanted: Wanted) -> str:
    order = wanted.order
    reason = f"  {clean(wanted.reason)}" if wanted.reason else ""
    price, qty = instrument.price_text(order.price), instrument.qty_text(order.remaining)
    return f"{order.layer:<4} {order.side:<4} {price} x {qty}{reason}"


def _refusal_text(refusal: Refusal) -> str:
    detail = f" ({clean(refusal.detail)})" if refusal.detail else ""
    return f"{refusal.layer:<4} {refusal.side:<4} level {refusal.level}: {refusal.reason}{detail}"
