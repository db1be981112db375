"""The send gate: the last thing before a placement leaves, with nothing awaited after it.

Cancels pass it always. A placement passes only once its intent is in the journal, while nothing is halted, the halt
latch can be read, others can know of this engine, it is not stopping, the decision and its book are young, no own order
stands in its way, and the account has room for it. Placements leave first and a turn's cancels right after them,
together; where the journal keeps the placements waiting, the cancels do not wait with them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from mmctl.core.entries import Entry
from mmctl.core.events import Request, Unsettled
from mmctl.core.freshness import Stale
from mmctl.core.ledger import Ledger
from mmctl.core.order import CancelOrder, CancelState, Layer, NewOrder, Order, Quote, Side
from mmctl.core.report import Refusal, Wanted
from mmctl.core.spec import LayerSpec, PairSpec
from mmctl.engine.batch import Batch
from mmctl.engine.desk import AccountDesk
from mmctl.engine.hold import Hold
from mmctl.errors import JournalUnwritable, StateUnreadable
from mmctl.ports import Halt, HaltLatch, HaltScope

CANCELS_WAIT_S = 0.005
"""How long a turn's cancels are held back for its placements, which leave first: several times what a commit takes."""

WRITTEN_WITHIN_S = 2.0
"""How long a halt may take to the disk before somebody is told that it is not there."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What left through the gate."""

    batch: Batch
    placed: tuple[Order, ...]
    refused: tuple[Refusal, ...]


class SendGate:
    """One pair's way to its venue.

    ``stale`` says why the pair's newest book is too old for a layer, if it is; ``track`` is given every batch when
    something of it leaves.
    """

    def __init__(
        self,
        spec: PairSpec,
        ledger: Ledger,
        desk: AccountDesk,
        latch: HaltLatch,
        *,
        stale: Callable[[Layer], Stale | None],
        track: Callable[[Batch], None],
    ) -> None:
        self._spec = spec
        self._ledger = ledger
        self._desk = desk
        self._latch = latch
        self._stale = stale
        self._track = track
        self.stopping = False
        self.superseded_by: int | None = None
        """The epoch of a younger engine whose order was seen, if any: this engine then places no more."""
        self._killed = ""
        """Why the gate itself holds, if it does."""
        self._killing: asyncio.Task[None] | None = None

    def hold(self, layer: Layer) -> Hold | None:
        """Why ``layer`` may not place now, or ``None``."""
        if self.stopping:
            return Hold("stopping", "mmctl is stopping", hands_off=True)
        halted = self._halted(layer)
        if halted is not None and halted.halted:
            return halted  # whoever else quotes: the orders of a halted layer go
        if self.superseded_by is not None:
            later = f"an engine of a later epoch ({self.superseded_by}) quotes this symbol"
            return Hold("superseded", later, hands_off=True)
        if halted is not None:
            return halted
        if fault := self._desk.scribe.fault:
            return Hold("journal", fault)
        return self._desk.presence.hold(self._spec.symbol)

    @property
    def killed(self) -> bool:
        """Whether the gate itself holds, whatever halts are written down."""
        return bool(self._killed)

    def may_be_halted(self) -> bool:
        """Whether any halt is in force, or could be: a quick look, for whoever looks often."""
        try:
            return bool(self._killed or self._latch.halts())
        except StateUnreadable:
            return True

    def _halted(self, layer: Layer) -> Hold | None:
        """The halt of ``layer``, or why nobody can tell whether there is one."""
        if self._killed:
            return Hold("halted", self._killed, halted=True)
        held, spec = None, self._spec
        try:
            halts = self._latch.halts()
        except StateUnreadable as error:
            held = Hold("held", str(error))
            halts = self._readable()
        for halt in halts:
            if halt.scope.covers(spec.venue, spec.account, spec.symbol, layer):
                return Hold("halted", f"halt {halt.number} by {halt.by}: {halt.why}", halted=True)
        return held

    def _readable(self) -> tuple[Halt, ...]:
        try:
            return self._latch.readable()
        except StateUnreadable:  # told as the hold that it is
            return ()

    def kill(self, why: str, at_ms: int, tell: Callable[[str], None]) -> None:
        """Halt this pair from now on until a person resumes; ``tell`` is given what was done, for the operator.

        The halt is written down beside the loop. For as long as that takes, and where it cannot be done for as long as
        this engine lives, the gate itself holds.
        """
        self._killed = why
        self._killing = asyncio.create_task(self._write_down(why, at_ms, tell))

    async def _write_down(self, why: str, at_ms: int, tell: Callable[[str], None]) -> None:
        spec, by = self._spec, f"mmctl engine {self._desk.epoch}"
        scope = HaltScope(spec.venue, spec.account, spec.symbol)
        writing = asyncio.ensure_future(
            self._desk.done_by(partial(self._latch.set, scope, by=by, at_ms=at_ms, why=why))
        )
        await asyncio.wait((writing,), timeout=WRITTEN_WITHIN_S)
        if not writing.done():
            tell("halted for as long as mmctl runs: the halt is not written down yet, the disk hangs")
        try:
            halt = await writing
        except StateUnreadable as error:
            self._killed = f"{why}; the halt could not be written down: {error}"
            done = "halted until mmctl is started again"
        else:
            self._killed = ""  # the file holds it from here on, and a resume may lift it
            done = f"halt {halt.number} is set: `mmctl resume` lifts it"
        self._desk.scribe.halted(spec.symbol, why, done)
        tell(done)

    async def written_down(self) -> None:
        """Wait for a halt that is being written down, for a bounded time: it is to outlive this engine."""
        if self._killing is not None:
            await asyncio.wait((self._killing,), timeout=WRITTEN_WITHIN_S)

    async def send(
        self,
        layer: Layer,
        places: Sequence[Quote],
        cancels: Sequence[Wanted],
        *,
        decided_at_s: float,
        decision: tuple[str, Entry] | None = None,
    ) -> Sent:
        """Hand over placements, then cancels, all at once; both come from ``decision``, by name and entry.

        ``decided_at_s`` is the boot time of the decision; one older than the layer's interval places
        nothing. What the gate does not let through comes back as refusals.
        """
        batch = Batch()
        name, entries = ("", []) if decision is None else (decision[0], [decision[1]])
        orders, refused = self._reserved(layer, places, decided_at_s)
        if not orders:
            self._desk.scribe.note(*entries)
            self._hand_over(batch, (), cancels)
            return Sent(batch, (), tuple(refused))
        entries += [self._intent(order, quote, name) for order, quote in orders]
        committing = asyncio.ensure_future(self._desk.scribe.commit(entries))
        try:
            await asyncio.wait((committing,), timeout=CANCELS_WAIT_S if cancels else None)
            if not committing.done():
                self._hand_over(batch, (), cancels)
                cancels = ()
            await committing
        except JournalUnwritable as error:
            hold: Hold | None = Hold("journal", str(error))
        except BaseException:
            committing.cancel()
            self._drop(orders, "the turn was broken off before it was sent")
            raise
        else:
            hold = self._hold_now(layer, decided_at_s) or self._desk.presence.signing()
        # Nothing is awaited from here on.
        passing: list[tuple[Order, Quote]] = []
        for order, quote in orders:
            why = hold or self._in_the_way(order)
            if why is None:
                passing.append((order, quote))
            else:
                refused.append(Refusal(layer, quote.side, quote.level, why.reason, why.detail))
                self._drop([(order, quote)], why.detail)
        placed = self._hand_over(batch, [order for order, _ in passing], cancels)
        return Sent(batch, placed, tuple(refused))

    def cancel(self, orders: Sequence[Order], reason: str) -> Batch:
        """Hand over cancels; they wait for nothing."""
        batch = Batch()
        self._hand_over(batch, (), [Wanted(order, reason) for order in orders])
        return batch

    def _hold_now(self, layer: Layer, decided_at_s: float) -> Hold | None:
        """Why a decision of ``layer`` may not be carried out now, or ``None``."""
        hold, spec = self.hold(layer), self._spec.layer(layer)
        if hold is not None or spec is None:
            return hold
        age_s = self._desk.clock.boot_s() - decided_at_s
        if age_s > spec.interval_s:
            return Hold("old_decision", f"the decision is {age_s:.2f} s old")
        stale = self._stale(layer)
        return None if stale is None else Hold(stale.reason, stale.detail)

    def _reserved(
        self, layer: Layer, places: Sequence[Quote], decided_at_s: float
    ) -> tuple[list[tuple[Order, Quote]], list[Refusal]]:
        """Orders for the quotes that may be placed now and that there is money for (it is set aside), and refusals."""
        hold = self._hold_now(layer, decided_at_s) if places else None
        if hold is not None:
            return [], [Refusal(layer, one.side, one.level, hold.reason, hold.detail) for one in places]
        orders: list[tuple[Order, Quote]] = []
        refused: list[Refusal] = []
        for quote in places:
            order = self._new_order(quote)
            if self._desk.budget.reserve(order.client_id, self._ledger.instrument, quote):
                orders.append((order, quote))
            else:
                refused.append(Refusal(layer, quote.side, quote.level, "balance", "the free balance is too small"))
        return orders, refused

    def _in_the_way(self, order: Order) -> Hold | None:
        """Own orders can appear while the journal is written: whatever the plan saw, none may be met."""
        buys = order.side is Side.BUY
        for other in self._ledger.live():
            if other.side is not order.side and (other.price <= order.price if buys else other.price >= order.price):
                return Hold("would_cross_own", f"it would cross the live own order {other.client_id}")
        return None

    def _drop(self, orders: Sequence[tuple[Order, Quote]], why: str) -> None:
        """These will never leave: what they had reserved is free, and the journal says so."""
        for order, _ in orders:
            self._desk.budget.release(order.client_id)
        self._desk.scribe.not_sent(self._spec.symbol, [order.client_id for order, _ in orders], why)

    def _new_order(self, quote: Quote) -> Order:
        return Order(
            client_id=self._desk.next_id(quote.layer, quote.side),
            layer=quote.layer,
            side=quote.side,
            price=quote.price,
            qty=quote.qty,
            epoch=self._desk.epoch,
        )

    def _intent(self, order: Order, quote: Quote, decision: str) -> Entry:
        tif, instrument = self._layer_of(order).time_in_force, self._ledger.instrument
        return self._desk.scribe.intent(self._spec.symbol, instrument, order, quote, tif, decision)

    def _hand_over(self, batch: Batch, orders: Sequence[Order], cancels: Sequence[Wanted]) -> tuple[Order, ...]:
        """Give both to the venue; should that fail, every fate is unknown and nothing is sent again.

        Returns the placements with the time of their signing. While the journal was written an order may have ended, or
        somebody else have cancelled it: its cancel is left out.
        """
        cancels = [one for one in cancels if self._is_cancellable(one.order.client_id)]
        if not orders and not cancels:
            return ()
        symbol, scribe, now_s = self._spec.symbol, self._desk.scribe, self._desk.clock.monotonic()
        signed = tuple(replace(order, signed_at_s=now_s) for order in orders)
        ids = [wanted.order.client_id for wanted in cancels]
        for order in signed:
            self._ledger.sent(order, now_s)
        for client_id in ids:
            self._ledger.cancel_sent(client_id, now_s)
        batch.add([order.client_id for order in signed], ids)
        try:
            self._desk.venue.submit(
                [self._as_asked(order) for order in signed],
                [CancelOrder(symbol, one.order.client_id, one.order.order_id) for one in cancels],
            )
        except BaseException as error:
            reason = f"the venue did not take the batch: {type(error).__name__}"
            for order in signed:
                self._ledger.apply(Unsettled(order.client_id, Request.PLACE, reason), now_s)
            for client_id in ids:
                self._ledger.apply(Unsettled(client_id, Request.CANCEL, reason), now_s)
            raise
        self._track(batch)
        scribe.requested(symbol, Request.PLACE, [Wanted(order, "") for order in signed])
        scribe.requested(symbol, Request.CANCEL, cancels)
        return signed

    def _is_cancellable(self, client_id: str) -> bool:
        order = self._ledger.find(client_id)
        return order is not None and order.is_live and order.cancel is not CancelState.SENT

    def _as_asked(self, order: Order) -> NewOrder:
        instrument = self._ledger.instrument
        return NewOrder(
            symbol=self._spec.symbol,
            client_id=order.client_id,
            side=order.side,
            price=instrument.price(order.price),
            qty=instrument.qty(order.qty),
            time_in_force=self._layer_of(order).time_in_force,
        )

    def _layer_of(self, order: Order) -> LayerSpec:
        layer = self._spec.layer(order.layer)
        if layer is None:
            raise ValueError(f"{self._spec.name} has no {order.layer} ladder to place for")
        return layer
