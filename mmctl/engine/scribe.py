"""Writes one account's journal: what was decided, is about to be placed, was asked, and was told.

It turns the engine's values into entries; what is worth an entry is decided here, and nowhere else. What repeats what
is known already is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mmctl.core.decide import Decision
from mmctl.core.entries import Entry, Kind, Plain, Recalled
from mmctl.core.events import (
    Accepted,
    CancelRefused,
    Ended,
    Fill,
    NotFound,
    OrderEvent,
    Rejected,
    Request,
    Seen,
    Unsettled,
)
from mmctl.core.instrument import Instrument, plain
from mmctl.core.ledger import Change
from mmctl.core.order import Order, Quote, TimeInForce
from mmctl.core.report import BookLine, Wanted
from mmctl.engine.swept import Swept
from mmctl.ports import Clock, Journal, Venue

_NAMES: dict[type, str] = {
    Accepted: "accepted",
    Rejected: "rejected",
    Unsettled: "unsettled",
    Fill: "fill",
    Ended: "ended",
    CancelRefused: "cancel_refused",
    Seen: "seen",
    NotFound: "not_found",
}


class Scribe:
    """One account's entries. ``epoch`` is its engine's, once that is known."""

    def __init__(self, journal: Journal, clock: Clock, venue: Venue) -> None:
        self._journal = journal
        self._clock = clock
        self._venue = venue
        self._decisions = 0
        self.epoch = 0
        self.by = ""
        """Who runs the engine, empty where nobody says."""

    @property
    def fault(self) -> str:
        """Why nothing may be placed now; empty while the journal can be written."""
        return self._journal.fault

    async def commit(self, entries: Sequence[Entry]) -> None:
        """Write ``entries`` before anything of them is done. Raises ``JournalUnwritable``."""
        await self._journal.commit(entries)

    def note(self, *entries: Entry) -> None:
        """Write ``entries`` behind."""
        for entry in entries:
            self._journal.note(entry)

    async def recall(self, symbol: str) -> Recalled:
        """What earlier runs of this very account left. Raises ``JournalUnwritable``."""
        return await self._journal.recall(self._venue.name, self._owner, symbol)

    async def knows(self, client_ids: Sequence[str]) -> frozenset[str]:
        """Those that an engine with this journal was about to place. Raises ``JournalUnwritable``."""
        return await self._journal.knows(client_ids)

    def started(self, symbols: Sequence[str]) -> None:
        """This engine begins, with its epoch."""
        body: dict[str, Plain] = {"epoch": self.epoch, "mode": self._venue.mode}
        if self.by:
            body["by"] = self.by
        for symbol in symbols:
            self.note(self._entry(Kind.START, symbol, body))

    def ended(self, symbols: Sequence[str], swept: Swept | None, why: str = "") -> None:
        """This engine ends because of ``why``, with the receipt of its sweep (``None``: own orders were left standing).

        Where the venue is proven empty of its orders, nothing is left to go on with.
        """
        receipt: dict[str, Plain] = {"by": f"mmctl engine {self.epoch}", "proof": "left_standing"}
        if why:
            receipt["why"] = why
        if swept is not None:
            remaining = swept.remaining
            receipt |= {
                "proof": "acknowledged" if swept.proven else "not_proven",
                "cancelled": list(swept.cancelled),
                "remaining": None if remaining is None else [seen.client_id for _, seen in remaining],
                "first_empty_ms": None if swept.first_empty_ms is None else round(swept.first_empty_ms),
                "took_ms": round(swept.took_ms),
                "unread": swept.unread,
            }
        for symbol in symbols:
            self.note(self._entry(Kind.STOP, symbol, receipt))
            if swept is not None and swept.proven:
                self.note(self._entry(Kind.ENDED, symbol, {"epoch": self.epoch}))

    def decided(
        self, symbol: str, instrument: Instrument, number: int, decision: Decision, book: BookLine
    ) -> tuple[str, Entry]:
        """The entry of a round's decision, and the name that its intents refer to."""
        self._decisions += 1
        name = f"{self.epoch}-{self._decisions}"
        body: dict[str, Plain] = {
            "decision": name,
            "layer": decision.layer,
            "round": number,
            "forced": decision.forced,
            "book": {
                "source": book.source,
                "bid": book.bid,
                "ask": book.ask,
                "age_ms": round(book.age_ms),
                "ts_ms": decision.book.ts_ms,
                "digest": decision.book.digest(),
            },
            "target": [
                [one.side, one.level, instrument.price_text(one.price), instrument.qty_text(one.qty)]
                for one in decision.target
            ],
            "keep": [order.client_id for order in decision.plan.keep],
            "cancel": [[wanted.order.client_id, wanted.reason] for wanted in decision.plan.cancel],
            "refused": [[one.side, one.level, one.reason] for one in decision.refused],
        }
        return name, self._entry(Kind.DECISION, symbol, body)

    def intent(
        self, symbol: str, instrument: Instrument, order: Order, quote: Quote, tif: TimeInForce, decision: str
    ) -> Entry:
        """An order is about to be placed."""
        body: dict[str, Plain] = {
            **_terms(instrument, order),
            "level": quote.level,
            "time_in_force": tif,
            "decision": decision,
        }
        return self._entry(Kind.INTENT, symbol, body, order.client_id)

    def not_sent(self, symbol: str, client_ids: Iterable[str], why: str) -> None:
        """What was about to be placed never left, and never will."""
        for client_id in client_ids:
            self.note(self._entry(Kind.END, symbol, {"state": "not_sent", "evidence": why}, client_id))

    def requested(self, symbol: str, request: Request, wanted: Iterable[Wanted]) -> None:
        """Requests were handed to the venue just now."""
        for one in wanted:
            body: dict[str, Plain] = {"request": request, "reason": one.reason}
            self.note(self._entry(Kind.REQUEST, symbol, body, one.order.client_id, one.order.order_id))

    def told(self, symbol: str, instrument: Instrument, event: OrderEvent, change: Change) -> None:
        """The venue told ``event``, and ``change`` is what that did."""
        before, order = change.before, change.order
        if order is None:
            stranger: dict[str, Plain] = {"event": _NAMES[type(event)], "detail": "of an order unknown here"}
            self.note(self._entry(Kind.REPLY, symbol, stranger, event.client_id))
            return
        if change.fill is not None:
            self.filled(symbol, change.fill)
        if change.appeared:
            body: dict[str, Plain] = {
                **_terms(instrument, order),
                "filled": instrument.qty_text(order.filled),
                "detail": change.fault,
            }
            self.note(self._entry(Kind.ADOPTED, symbol, body, order.client_id, order.order_id))
        elif not order.is_live and (before is None or before.state is not order.state):
            body = {"state": order.state, "evidence": order.reason or _evidence(event), "told_by": _NAMES[type(event)]}
            self.note(self._entry(Kind.END, symbol, body, order.client_id, order.order_id))
        elif change.fill is None and not (isinstance(event, Seen | Accepted | Ended) and before == order):
            detail = change.fault or _evidence(event)
            body = {"event": _NAMES[type(event)], "state": order.state, "detail": detail}
            self.note(self._entry(Kind.REPLY, symbol, body, order.client_id, order.order_id))

    def filled(self, symbol: str, fill: Fill) -> None:
        """A trade was counted."""
        self.note(self._fill(symbol, fill))

    def read_trades(self, symbol: str, trade_id: str | None) -> None:
        """The venue's own list of trades was read, and all up to ``trade_id`` is counted."""
        self.note(self._entry(Kind.TRADES, symbol, {"trade_id": trade_id or ""}))

    def faulted(self, symbol: str, kind: str, detail: str, action: str) -> None:
        """What should not have happened, and what was done about it."""
        self.note(self._entry(Kind.FAULT, symbol, {"kind": kind, "detail": detail, "action": action}))

    def halted(self, symbol: str, why: str, action: str) -> None:
        """This engine set a halt by itself."""
        self.note(self._entry(Kind.HALT, symbol, {"by": f"mmctl engine {self.epoch}", "why": why, "detail": action}))

    @property
    def _owner(self) -> str:
        return self._venue.user_id or self._venue.account

    def _entry(
        self, kind: Kind, symbol: str, body: dict[str, Plain], client_id: str = "", order_id: str | None = None
    ) -> Entry:
        venue = self._venue
        at_ms = self._clock.wall_ms()
        return Entry(kind, at_ms, venue.name, venue.account, self._owner, symbol, client_id, order_id or "", body)

    def _fill(self, symbol: str, fill: Fill) -> Entry:
        body: dict[str, Plain] = {
            "trade_id": fill.trade_id,
            "side": fill.side,
            "price": plain(fill.price),
            "qty": plain(fill.qty),
            "fee": plain(fill.fee),
            "fee_asset": fill.fee_asset,
            "maker": fill.maker,
            "traded_ms": fill.at_ms,
        }
        return self._entry(Kind.FILL, symbol, body, fill.client_id, fill.order_id)


def _terms(instrument: Instrument, order: Order) -> dict[str, Plain]:
    return {
        "layer": order.layer,
        "side": order.side,
        "price": instrument.price_text(order.price),
        "qty": instrument.qty_text(order.qty),
        "epoch": order.epoch,
    }


def _evidence(event: OrderEvent) -> str:
    """The venue's own words, where it gave any."""
    if isinstance(event, Ended | Unsettled | CancelRefused | Rejected):
        return event.reason
    return ""
