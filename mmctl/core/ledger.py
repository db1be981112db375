"""The ledger: what is known of every own order of one pair, by what the venue told.

The same events give the same ledger in whatever order they come, late or repeated: fills are counted once
by trade id, an order's filled quantity is the larger of its trades' sum and the venue's own totals, and
ends are final. Position is what fills add up to; nothing else moves it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from math import inf

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
from mmctl.core.instrument import Instrument
from mmctl.core.life import CONCLUDED, DoesNotFit, next_state
from mmctl.core.order import LIVE, CancelState, Order, Side, State, decode_own_id

REMEMBERED_ENDS = 2_000
"""How many orders that ended without a trade are remembered at most, so that late events about them are understood."""

REMEMBERED_TOLD = 500
"""How many of those that traded, or whose end we only concluded."""

REMEMBERED_BEYOND_LANDING_S = 5.0
"""How long an order that the venue ended without a trade is remembered beyond its landing time. One that
traded, or whose end we only concluded, is remembered until newer ones take its place."""

NOT_FOUND_NEEDED = 2
"""Answers "not found", each asked for at another time after the landing time, that end an order."""


@dataclass(slots=True)
class _Entry:
    """One order and what its present state was concluded from.

    ``alive_at_s`` is the time of the last evidence that it rests, ``doubted_at_s`` that of the last against
    it; ``not_found`` are the times of asking of the "not found" answers that count since.
    """

    order: Order
    trades: dict[str, Decimal] = field(default_factory=dict)
    told_filled: Decimal = Decimal(0)
    traded: Decimal = Decimal(0)
    accepted: bool = False
    alive_at_s: float = -inf
    doubted_at_s: float = -inf
    not_found: set[float] = field(default_factory=set)
    changed_at_s: float = 0.0

    @property
    def filled(self) -> Decimal:
        return max(self.traded, self.told_filled)

    @property
    def doubted(self) -> bool:
        return self.doubted_at_s > self.alive_at_s


@dataclass(frozen=True, slots=True)
class Change:
    """What one event did: the order before and after it.

    ``order`` is ``None`` for an id of ours that this ledger never sent and of which too little is told:
    the venue must be asked. ``fill`` is set for a trade that was not counted before, ``fault`` for what
    should not have happened, ``appeared`` for an order that was thought over, or unheard of, and is live.
    """

    before: Order | None
    order: Order | None
    fill: Fill | None = None
    fault: str = ""
    appeared: bool = False


class Ledger:
    """Own orders of one pair. ``apply`` is the only way in for what a venue says."""

    def __init__(self, instrument: Instrument, landing_time_s: float) -> None:
        self.instrument = instrument
        self.position = Decimal(0)
        """Base currency bought less sold since this ledger began, or since the runs did that it goes on from."""
        self._landing_time_s = landing_time_s
        self._live: dict[str, _Entry] = {}
        self._ended: OrderedDict[str, _Entry] = OrderedDict()
        self._telling: OrderedDict[str, _Entry] = OrderedDict()  # ended, and more of them may still be heard

    def live(self) -> list[Order]:
        """Orders that may rest on the venue: open, in flight or unknown."""
        return [entry.order for entry in self._live.values()]

    def find(self, client_id: str) -> Order | None:
        """The order of this client order id, live or remembered."""
        entry = self._entry(client_id)
        return entry.order if entry else None

    def sent(self, order: Order, now_s: float) -> None:
        """A placement was handed over; ``order`` is in flight. Raises ``ValueError`` for an id used before."""
        if self._entry(order.client_id) is not None:
            raise ValueError(f"client order id {order.client_id} was used before")
        self._live[order.client_id] = _Entry(order, changed_at_s=now_s)

    def remember(self, order: Order, trades: Mapping[str, Decimal], now_s: float, *, accepted: bool) -> None:
        """An order of an earlier run of which nobody heard the end: it counts as live until the venue says otherwise.

        ``trades`` are its fills that are in the position already, by trade id, in base currency; ``accepted`` says
        whether the venue was heard to have taken it.
        """
        traded = sum(trades.values(), Decimal(0))
        known = replace(order, state=State.UNKNOWN, filled=self.instrument.lots(traded))
        self._live[order.client_id] = _Entry(known, dict(trades), traded=traded, accepted=accepted, changed_at_s=now_s)

    def cancel_sent(self, client_id: str, now_s: float) -> None:
        """A cancel of a live order was handed over."""
        entry = self._live[client_id]
        entry.order = replace(entry.order, cancel=CancelState.SENT)
        entry.changed_at_s = now_s

    def apply(self, event: OrderEvent, now_s: float) -> Change | None:
        """Take in what the venue told, at monotonic time ``now_s``; ``None`` where the id is not ours."""
        entry = self._entry(event.client_id)
        if entry is None:
            return self._take_in(event, now_s)
        before = entry.order
        try:
            state = next_state(before.state, event)
        except DoesNotFit as misfit:
            return Change(before, before, fault=str(misfit))
        new_trade = self._count(entry, event)
        if state is None:
            state = self._by_landing_rule(entry, event)
        if entry.filled >= self.instrument.qty(before.qty):
            state = State.FILLED
        self._note_life(entry, event, new_trade, state, now_s)
        self._store(entry, state, event, now_s)
        appeared = before.state in CONCLUDED and state in LIVE
        fault = f"an order thought {before.state} appeared on the venue" if appeared else ""
        if isinstance(event, CancelRefused) and not event.not_found and before.is_live:
            fault = f"the venue did not cancel: {event.reason}"
        return Change(before, entry.order, event if isinstance(event, Fill) and new_trade else None, fault, appeared)

    def judge(self, shown: Collection[str], asked_at_s: float) -> list[Order]:
        """Open orders that a whole listing asked for at ``asked_at_s`` should have shown, and did not.

        They are doubted from now on, until the venue answers a query. A listing judges only orders whose
        last change was known before it was asked for.
        """
        missing: list[Order] = []
        for client_id, entry in self._live.items():
            if entry.order.state is State.OPEN and entry.changed_at_s < asked_at_s and client_id not in shown:
                entry.doubted_at_s = max(entry.doubted_at_s, asked_at_s)
                missing.append(entry.order)
        return missing

    def unsettled(self) -> list[Order]:
        """Orders whose fate has to be asked for: unknown placements, cancels without a definite answer, and
        orders that a listing did not show."""
        return [
            entry.order
            for entry in self._live.values()
            if entry.order.state is State.UNKNOWN
            or (entry.order.state is State.OPEN and (entry.doubted or entry.order.cancel is CancelState.UNKNOWN))
        ]

    def _entry(self, client_id: str) -> _Entry | None:
        return self._live.get(client_id) or self._ended.get(client_id) or self._telling.get(client_id)

    def _take_in(self, event: OrderEvent, now_s: float) -> Change | None:
        """An id that this ledger never sent: an order of an earlier engine is adopted once it was seen."""
        own = decode_own_id(event.client_id)
        if own is None:
            return None
        if not isinstance(event, Seen):
            # Unless it is told to be over it may rest, and the venue is to be asked.
            return None if isinstance(event, Ended | NotFound | Rejected) else Change(None, None)
        order = Order(
            client_id=event.client_id,
            layer=own.layer,
            side=event.side,
            # Off tick it counts as nearer than it is, so that nothing is placed that could cross it.
            price=self.instrument.ticks(event.price, event.side.opposite),
            qty=self.instrument.lots(event.qty),
            filled=self.instrument.lots(event.filled),
            state=State.OPEN,
            order_id=event.order_id,
            epoch=own.epoch,
        )
        self._live[order.client_id] = _Entry(order, told_filled=event.filled, accepted=True, changed_at_s=now_s)
        return Change(None, order, appeared=True)

    def _count(self, entry: _Entry, event: OrderEvent) -> bool:
        """Count a trade or the venue's own total, and move the position; says whether a trade was new."""
        before = entry.filled
        new = isinstance(event, Fill) and event.trade_id not in entry.trades
        if isinstance(event, Fill):
            if new:
                entry.trades[event.trade_id] = event.qty
                entry.traded += event.qty
        elif isinstance(event, Ended) and event.filled is None and event.state is State.FILLED:
            entry.told_filled = self.instrument.qty(entry.order.qty)
        elif isinstance(event, Seen | Ended) and event.filled is not None:
            entry.told_filled = max(entry.told_filled, event.filled)
        gained = entry.filled - before
        self.position += gained if entry.order.side is Side.BUY else -gained
        return new

    def _by_landing_rule(self, entry: _Entry, event: OrderEvent) -> State:
        """After the landing time, two answers "not found" end an order; until then it stays what it is.

        An order thought over that is seen is live again, unless that was asked for before those answers.
        """
        order = entry.order
        if isinstance(event, Seen):
            return State.OPEN if event.asked_at_s > max(entry.not_found) else State.GONE
        if not isinstance(event, NotFound):
            raise DoesNotFit(f"{type(event).__name__} says no next state")
        entry.doubted_at_s = max(entry.doubted_at_s, event.asked_at_s)
        landed = order.signed_at_s is None or event.asked_at_s >= order.signed_at_s + self._landing_time_s
        if landed and event.asked_at_s > entry.alive_at_s:
            entry.not_found.add(event.asked_at_s)
        if len(entry.not_found) < NOT_FOUND_NEEDED:
            return order.state
        return State.GONE if entry.accepted or entry.filled else State.NEVER_LANDED

    def _note_life(self, entry: _Entry, event: OrderEvent, new_trade: bool, state: State, now_s: float) -> None:
        """Where ``event`` shows that the order rested or traded, doubts from before are answered.

        Repeated news is no new evidence.
        """
        if isinstance(event, Seen):
            entry.alive_at_s = max(entry.alive_at_s, event.asked_at_s)
        elif new_trade or (isinstance(event, Accepted) and not entry.accepted):
            entry.alive_at_s = now_s
        else:
            return
        entry.accepted = True
        if state in LIVE:
            entry.not_found = {asked_at_s for asked_at_s in entry.not_found if asked_at_s > entry.alive_at_s}

    def _store(self, entry: _Entry, state: State, event: OrderEvent, now_s: float) -> None:
        """Write the order as it is now, and keep it among the live or the ended ones."""
        order = entry.order
        entry.changed_at_s = now_s
        filled = self.instrument.lots(entry.filled)
        order_id = getattr(event, "order_id", None) or order.order_id
        cancel = _cancel_state(order, event) if state in LIVE else CancelState.NONE
        reason = _evidence(order, state, event)
        fresh = state, filled, order_id, cancel, reason
        if fresh != (order.state, order.filled, order.order_id, order.cancel, order.reason):  # most is told twice
            # Not by `replace`, which takes three times as long: this happens with everything that a venue tells.
            entry.order = Order(
                order.client_id, order.layer, order.side, order.price, order.qty, filled, state, order_id,
                order.epoch, order.signed_at_s, cancel, reason,
            )  # fmt: skip
        for kept in (self._live, self._ended, self._telling):
            kept.pop(order.client_id, None)
        if state in LIVE:
            self._live[order.client_id] = entry
        elif state in CONCLUDED or entry.filled:
            self._telling[order.client_id] = entry
        else:
            self._ended[order.client_id] = entry
        self._forget(now_s)

    def _forget(self, now_s: float) -> None:
        """Let go of orders that ended so long ago that nothing more is to come of them."""
        before_s = now_s - self._landing_time_s - REMEMBERED_BEYOND_LANDING_S
        while self._ended:
            oldest = next(iter(self._ended.values()))
            if oldest.changed_at_s >= before_s and len(self._ended) <= REMEMBERED_ENDS:
                break
            self._ended.popitem(last=False)
        while len(self._telling) > REMEMBERED_TOLD:
            self._telling.popitem(last=False)


def _cancel_state(order: Order, event: OrderEvent) -> CancelState:
    """What is known of a live order's cancel after ``event``."""
    if isinstance(event, Unsettled) and event.request is Request.CANCEL:
        return CancelState.UNKNOWN
    if isinstance(event, CancelRefused):
        return CancelState.UNKNOWN if event.not_found else CancelState.NONE
    if isinstance(event, Seen) and order.cancel is CancelState.UNKNOWN:
        return CancelState.NONE  # it rests after all, and may be cancelled again
    return order.cancel


def _evidence(order: Order, state: State, event: OrderEvent) -> str:
    """Why the order is in ``state``, in the venue's words where it gave any."""
    if state is order.state and state not in LIVE:
        return order.reason
    if isinstance(event, Rejected):
        return f"{event.code}: {event.reason}"
    if isinstance(event, Ended | Unsettled):
        return event.reason
    if isinstance(event, NotFound) and state not in LIVE:
        return f"not found in {NOT_FOUND_NEEDED} queries after the landing time"
    return order.reason
