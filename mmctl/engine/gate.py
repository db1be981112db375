"""The send gate: the last thing before a placement leaves, with nothing awaited after it.

Cancels pass it always. A placement passes only while nothing is halted, the halt latch can be read, the
engine is not stopping, the decision and its book are young, and the account has room for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmctl.core.events import Request, Unsettled
from mmctl.core.ledger import Ledger
from mmctl.core.order import CancelOrder, Layer, NewOrder, Order, Quote
from mmctl.core.report import Refusal
from mmctl.core.spec import PairSpec
from mmctl.engine.batch import Batch
from mmctl.engine.desk import AccountDesk
from mmctl.errors import StateUnreadable
from mmctl.ports import HaltLatch, HaltScope


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing may be placed: a short word, and a line for people.

    ``halted`` marks a halt: then the layer's orders are to go too; all else ends by itself. ``hands_off`` says
    that its orders are not this layer's business now.
    """

    reason: str
    detail: str
    halted: bool = False
    hands_off: bool = False


@dataclass(frozen=True, slots=True)
class Sent:
    """What left through the gate."""

    batch: Batch
    placed: tuple[Order, ...]
    refused: tuple[Refusal, ...]


class SendGate:
    """One pair's way to its venue."""

    def __init__(self, spec: PairSpec, ledger: Ledger, desk: AccountDesk, latch: HaltLatch) -> None:
        self._spec = spec
        self._ledger = ledger
        self._desk = desk
        self._latch = latch
        self.stopping = False
        self.superseded_by: int | None = None
        """The epoch of a younger engine whose order was seen, if any: this engine then places no more."""
        self._killed = ""

    def hold(self, layer: Layer) -> Hold | None:
        """Why ``layer`` may not place now, or ``None``."""
        if self.stopping:
            return Hold("stopping", "mmctl is stopping", hands_off=True)
        if self.superseded_by is not None:
            later = f"an engine of a later epoch ({self.superseded_by}) quotes this symbol"
            return Hold("superseded", later, hands_off=True)
        if self._killed:
            return Hold("halted", self._killed, halted=True)
        try:
            halts = self._latch.halts()
        except StateUnreadable as error:
            return Hold("held", str(error))
        spec = self._spec
        for halt in halts:
            if halt.scope.covers(spec.venue, spec.account, spec.symbol, layer):
                return Hold("halted", f"halt {halt.number} by {halt.by}: {halt.why}", halted=True)
        return None

    def kill(self, why: str, at_ms: int) -> str:
        """Halt this pair until a person resumes; returns what was done, for the operator.

        Where the halt cannot be written down it holds for as long as this engine lives.
        """
        spec = self._spec
        scope = HaltScope(spec.venue, spec.account, spec.symbol)
        try:
            halt = self._latch.set(scope, by=f"mmctl engine {self._desk.epoch}", at_ms=at_ms, why=why)
        except StateUnreadable as error:
            self._killed = f"{why}; the halt could not be written down: {error}"
            return "halted until mmctl is started again"
        return f"halt {halt.number} is set: `mmctl resume` lifts it"

    def send(self, layer: Layer, places: Sequence[Quote], cancels: Sequence[Order], *, decided_at_s: float) -> Sent:
        """Hand over placements, then cancels, all at once.

        ``decided_at_s`` is the monotonic time of the decision; one older than the layer's interval places
        nothing. What the gate does not let through comes back as refusals.
        """
        now_s = self._desk.clock.monotonic()
        spec = self._spec.layer(layer)
        refused: list[Refusal] = []
        hold = self.hold(layer) if places else None
        if hold is None and spec is not None and now_s - decided_at_s > spec.interval_s:
            hold = Hold("old_decision", f"the decision is {now_s - decided_at_s:.2f} s old")
        if hold is not None:
            refused = [Refusal(layer, one.side, one.level, hold.reason, hold.detail) for one in places]
            places = ()
        orders: list[Order] = []
        for quote in places:
            order = self._new_order(quote, now_s)
            if self._desk.budget.reserve(order.client_id, self._ledger.instrument, quote):
                self._ledger.sent(order, now_s)
                orders.append(order)
            else:
                refused.append(Refusal(layer, quote.side, quote.level, "balance", "the free balance is too small"))
        batch = self._hand_over(orders, cancels, now_s)
        return Sent(batch, tuple(orders), tuple(refused))

    def cancel(self, orders: Sequence[Order]) -> Batch:
        """Hand over cancels; they wait for nothing."""
        return self._hand_over((), orders, self._desk.clock.monotonic())

    def _new_order(self, quote: Quote, now_s: float) -> Order:
        return Order(
            client_id=self._desk.next_id(quote.layer, quote.side),
            layer=quote.layer,
            side=quote.side,
            price=quote.price,
            qty=quote.qty,
            epoch=self._desk.epoch,
            signed_at_s=now_s,
        )

    def _hand_over(self, orders: Sequence[Order], cancels: Sequence[Order], now_s: float) -> Batch:
        """Give both to the venue; should that fail, every fate is unknown and nothing is sent again."""
        symbol = self._spec.symbol
        for order in cancels:
            self._ledger.cancel_sent(order.client_id, now_s)
        batch = Batch([one.client_id for one in orders], [one.client_id for one in cancels])
        if not orders and not cancels:
            return batch
        try:
            self._desk.venue.submit(
                [self._as_asked(order) for order in orders],
                [CancelOrder(symbol, order.client_id, order.order_id) for order in cancels],
            )
        except BaseException as error:
            reason = f"the venue did not take the batch: {type(error).__name__}"
            for order in orders:
                self._ledger.apply(Unsettled(order.client_id, Request.PLACE, reason), now_s)
            for order in cancels:
                self._ledger.apply(Unsettled(order.client_id, Request.CANCEL, reason), now_s)
            raise
        return batch

    def _as_asked(self, order: Order) -> NewOrder:
        instrument = self._ledger.instrument
        layer = self._spec.layer(order.layer)
        if layer is None:
            raise ValueError(f"{self._spec.name} has no {order.layer} ladder to place for")
        return NewOrder(
            symbol=self._spec.symbol,
            client_id=order.client_id,
            side=order.side,
            price=instrument.price(order.price),
            qty=instrument.qty(order.qty),
            time_in_force=layer.time_in_force,
        )
