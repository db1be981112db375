"""What an engine knows of one pair: its ledger, its book, its layers' counters, and what the venue tells.

The venue's word goes into the ledger here, and what it means beyond the ledger (a fill to tell, a ghost to
cancel, a fate to ask for) is acted on at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

from mmctl.core.decide import PairDecider
from mmctl.core.entries import Recalled
from mmctl.core.events import CancelRefused, OrderEvent, Seen, Unsettled
from mmctl.core.freshness import BookAge, Stale
from mmctl.core.instrument import Instrument
from mmctl.core.ledger import Change, Ledger
from mmctl.core.limits import FillRate, exposure_room
from mmctl.core.order import CancelState, Layer, Order, Side, State, decode_own_id
from mmctl.core.report import Faulted, Filled, Report, Skipped
from mmctl.core.risk import Room
from mmctl.core.spec import LayerSpec, PairSpec
from mmctl.engine.batch import Batch
from mmctl.engine.desk import AccountDesk
from mmctl.engine.gate import SendGate
from mmctl.ports import Clock, HaltLatch

MAX_BACKOFF_S = 60.0


@dataclass(slots=True)
class LayerState:
    """One layer's counters. ``since_refresh`` counts rounds without a forced refresh, ``refreshes`` the
    forced ones; ``turns`` counts every turn, skipped ones too, ``rounds`` those that had a usable book."""

    spec: LayerSpec
    turns: int = 0
    rounds: int = 0
    since_refresh: int = 0
    refreshes: int = 0
    keeps: int = 0
    places: int = 0
    cancels: int = 0
    refused: int = 0
    status: str = "waiting"
    backoff_s: float = 0.0
    backoff_until_s: float = 0.0
    faulted: bool = False
    last_alert: str = ""

    @property
    def due_forced(self) -> bool:
        """Whether the next round replaces everything."""
        return self.since_refresh >= self.spec.force_refresh_num

    def back_off(self, now_s: float, *, faulted: bool) -> float:
        """Place nothing for a while that doubles each time in a row; returns how long, in seconds.

        A layer that ``faulted`` decides nothing either.
        """
        self.faulted = faulted
        self.backoff_s = min(MAX_BACKOFF_S, max(2 * self.backoff_s, self.spec.interval_s, 1.0))
        self.backoff_until_s = now_s + self.backoff_s
        return self.backoff_s

    def recovered(self) -> None:
        """A clean round: the next fault backs off from the start again, and is told again."""
        self.backoff_s = 0.0
        self.last_alert = ""


@dataclass(slots=True)
class Totals:
    """One pair's counts since the start."""

    kept: int = 0
    placed: int = 0
    cancelled: int = 0
    rejected: int = 0
    unknown: int = 0
    fills: int = 0
    faults: int = 0
    near_turns_with_book: int = 0
    last_fault: str = ""


class Pair:
    """One pair of the engine. The loop and the guards act through it; the desk tells it what happens."""

    def __init__(
        self,
        spec: PairSpec,
        instrument: Instrument,
        desk: AccountDesk,
        latch: HaltLatch,
        report: Callable[[Report], None],
    ) -> None:
        self.spec = spec
        self.instrument = instrument
        self.desk = desk
        self.clock: Clock = desk.clock
        self.report = report
        self.decider = PairDecider(spec, instrument)
        self.ledger = Ledger(instrument, desk.venue.landing_time_s)
        self.age = BookAge(spec.frozen_after_s, desk.clock.monotonic())
        self.gate = SendGate(spec, self.ledger, desk, latch, stale=self.stale, track=self.track)
        self.layers = {layer.layer: LayerState(layer) for layer in spec.layers}
        self.totals = Totals()
        self.foreign = 0
        self.feed_fault = ""
        self.doubts = asyncio.Event()
        """Set when an order's fate has to be asked for."""
        self.compare_wanted = asyncio.Event()
        """Set when the ledger has to be compared with the venue's listing."""
        self.trades_missed = False
        """Whether the venue's stream had a gap, so that its trades have to be read."""
        self.trades_read_to: str | None = None
        """The newest trade up to which the venue's own list of them was read; ``None`` before the first."""
        self.read_to_told: tuple[str | None, float] | None = None
        """What the journal was last told of that, and when, in monotonic seconds."""
        self.reading_trades = asyncio.Lock()
        self.trades_begun = self.trades_done = 0
        """The number of the newest reading of that list, and of the newest one that came to its end."""
        self.past: Recalled | None = None
        """What earlier runs had counted, until the venue's list of trades was read once."""
        self.counted_before: dict[str, tuple[tuple[str, Decimal], ...]] = {}
        """Trades of earlier runs that are in the position, by client id, of orders that may be shown once more."""
        self.trades_due_s = desk.clock.monotonic()
        """When that list is read again though nothing seems to be missing."""
        self.progress_s = desk.clock.boot_s()
        """When the quoting loop last got on, on the clock that counts suspended time, and by the wall clock."""
        self.progress_ms = desk.clock.wall_ms()
        self.orders_sent = asyncio.Event()
        """Set when the stale guard has to look again: orders were sent, a book was read, or the wall clock was set."""
        self.strangers: dict[str, float] = {}
        """Own ids that the venue told of and the ledger does not know, and when that was first."""
        self.own_mid: tuple[Decimal, float] | None = None
        """The maker venue's own mid, own orders taken off, and the boot time at which it was asked for."""
        limits = spec.limits
        self._fill_rate = None if limits is None else FillRate(limits.max_fills_per_min)
        self._troubles: set[str] = set()
        self._batches: list[tuple[float, Batch]] = []
        self.started_s = desk.clock.monotonic()
        desk.register(spec.symbol, self)

    def got_on(self) -> None:
        """The quoting loop made progress: whoever watches it may know."""
        self.progress_s, self.progress_ms = self.clock.boot_s(), self.clock.wall_ms()

    def stale(self, layer: Layer) -> Stale | None:
        """Why the newest book is not good enough for ``layer`` now, or ``None``."""
        return self.age.stale(self.layers[layer].spec.quote_timeout_s, self.clock.wall_ms(), self.clock.monotonic())

    def room(self) -> Room:
        """What this pair may place now."""
        live = self.ledger.live()
        room = self.desk.room(self.instrument, len(live), self.foreign, self.spec.max_open_orders)
        if self.spec.limits is None:
            return room
        lots = exposure_room(self.spec.limits, self.ledger.position, live, self.instrument)
        return replace(room, buy_lots=lots[Side.BUY], sell_lots=lots[Side.SELL])

    def track(self, batch: Batch) -> None:
        """Join the venue's answers to ``batch`` from now on, until all have come."""
        self._batches = [(sent_s, one) for sent_s, one in self._batches if one.unanswered]
        self._batches.append((self.clock.monotonic(), batch))
        self.orders_sent.set()

    def unanswered_since_s(self, now_s: float) -> float:
        """When the oldest batch was sent that the venue has not answered yet; ``now_s`` where there is none."""
        return next((sent_s for sent_s, batch in self._batches if batch.unanswered), now_s)

    def overdue(self, sent_before_s: float) -> list[Batch]:
        """Batches from before then that the venue still has not answered, against its promise."""
        return [batch for sent_s, batch in self._batches if sent_s <= sent_before_s and batch.unanswered]

    def give_up_on(self, batch: Batch) -> None:
        """The requests of ``batch`` without an answer are unknown from now on, and told."""
        silent = batch.unanswered
        self.fault("venue_silent", f"{len(silent)} requests got no answer in time", "asking for their orders' fate")
        for request, client_id in silent:
            self.on_event(Unsettled(client_id, request, "no answer in time"))

    def fault(self, kind: str, detail: str, action: str) -> None:
        """Tell a fault, and what is done about it."""
        self.totals.faults += 1
        self.totals.last_fault = f"{kind}: {detail}"
        self.desk.scribe.faulted(self.spec.symbol, kind, detail, action)
        self.report(Faulted(self.spec.name, self.clock.wall_ms(), kind, detail, action))

    def trouble(self, name: str, detail: str, action: str, *, kind: str = "") -> None:
        """Tell a fault that lasts: once, until it is ``over``. ``kind`` is ``name`` unless it is given."""
        if name not in self._troubles:
            self._troubles.add(name)
            self.fault(kind or name, detail, action)

    def over(self, name: str) -> None:
        """A fault that lasted is over; the next one is told again."""
        self._troubles.discard(name)

    def skip(self, layer: Layer, reason: str, detail: str) -> None:
        """Tell that a turn quoted nothing."""
        self.layers[layer].status = f"{reason}: {detail}"
        self.report(Skipped(self.spec.name, self.clock.wall_ms(), layer, reason, detail))

    def cancellable(self, layer: Layer | None, *, again: bool = True, at_any_cost: bool = False) -> list[Order]:
        """Live orders of ``layer`` (of both: ``None``) whose cancel is not on its way.

        Those whose cancel got no definite answer are among them where they are to be asked ``again``. Orders
        without an answer to their placement are left out unless ``at_any_cost``, as a stop does.
        """
        done = (CancelState.SENT,) if again else (CancelState.SENT, CancelState.UNKNOWN)
        return [
            order
            for order in self.ledger.live()
            if (layer is None or order.layer is layer)
            and order.cancel not in done
            and (at_any_cost or order.state is State.OPEN)
        ]

    def cancel(self, orders: list[Order], reason: str) -> Batch:
        """Cancel ``orders`` at once, because of ``reason`` (a short word); nothing holds a cancel up.

        Where the venue's adapter does not take them their fate is unknown, asked for, and told once.
        """
        try:
            batch = self.gate.cancel(orders, reason)
        except Exception as error:  # noqa: BLE001 - saves whoever cancels, who has other orders to see to
            self.trouble("cancel", f"{type(error).__name__}: {error}", "asking for the orders' fate")
            self.doubts.set()
            return Batch()
        self.over("cancel")
        return batch

    def on_event(self, event: OrderEvent) -> None:
        """Take in what the venue told of an order of this symbol."""
        if isinstance(event, Seen) and event.client_id in self.counted_before:
            self._remember(event)
        change = self.ledger.apply(event, self.clock.monotonic())
        for _, batch in self._batches:
            batch.take(event)
        if change is None:
            return
        self.desk.scribe.told(self.spec.symbol, self.instrument, event, change)
        if change.order is None:
            if not self.superseded(event.client_id):
                self.strangers.setdefault(event.client_id, self.clock.monotonic())
                self.doubts.set()
            return
        self._act_on(event, change, change.order)

    def _remember(self, seen: Seen) -> None:
        """An order of an earlier run is shown of which trades are counted already; they must not count again."""
        trades, own = self.counted_before.pop(seen.client_id), decode_own_id(seen.client_id)
        if own is None or self.ledger.find(seen.client_id) is not None:
            return
        now_s = self.clock.monotonic()
        order = Order(
            client_id=seen.client_id,
            layer=own.layer,
            side=seen.side,
            price=self.instrument.ticks(seen.price, seen.side.opposite),
            qty=self.instrument.lots(seen.qty),
            epoch=own.epoch,
            signed_at_s=now_s,
        )
        self.ledger.remember(order, dict(trades), now_s, accepted=True)

    def superseded(self, client_id: str) -> bool:
        """Whether an own order is of a later epoch: then a younger engine quotes, and this one places no more."""
        own, epoch = decode_own_id(client_id), self.desk.epoch
        if own is None or not 0 < epoch < own.epoch:
            return False
        if self.gate.superseded_by is None:
            self.fault("superseded", f"{client_id} is of epoch {own.epoch}, this engine is {epoch}", "placing no more")
        self.gate.superseded_by = own.epoch
        return True

    def on_gap(self, reason: str) -> None:
        """What the venue told may be incomplete."""
        self.fault("gap", reason, "comparing with the venue")
        self.trades_missed = True
        self.compare_wanted.set()

    def _count(self, before: Order | None, after: Order) -> None:
        if before is None or not before.is_live or before.state is after.state:
            return
        totals = self.totals
        if before.state is not State.OPEN:
            totals.placed += after.state in (State.OPEN, State.FILLED, State.CANCELLED, State.EXPIRED)
        totals.cancelled += after.state is State.CANCELLED
        totals.rejected += after.state is State.REJECTED
        totals.unknown += after.state is State.UNKNOWN

    def _act_on(self, event: OrderEvent, change: Change, order: Order) -> None:
        self._count(change.before, order)
        self._free(order)
        if change.before is None or change.before.state is not State.OPEN or not order.is_live:
            self.desk.presence.answered()
        if change.fill is not None:
            self.totals.fills += 1
            self.report(Filled(self.spec.name, self.instrument, order, change.fill))
            self._mind_fill_rate()
        if change.fault and isinstance(event, CancelRefused):
            # While the venue wants quiet, every order is refused, again and again.
            detail = f"{order.client_id}: {change.fault}"
            self.trouble("cancel_refused", detail, "asking again, for others too", kind="order")
        elif change.fault:
            action = "cancelling it" if change.appeared else "asking the venue"
            self.fault("order", f"{order.client_id}: {change.fault}", action)
        if order.state is State.CANCELLED:
            self.over("cancel_refused")
        if change.appeared:
            self.orders_sent.set()
        if change.appeared and change.before is not None and order.cancel is not CancelState.SENT:
            self.cancel([order], "appeared")
        if _is_in_doubt(order) and not (change.before is not None and _is_in_doubt(change.before)):
            self.doubts.set()
        if order.state in (State.NEVER_LANDED, State.GONE) and change.before is not None and change.before.is_live:
            self.fault("order", f"{order.client_id} ended {order.state}: {order.reason}", "its level is quoted again")

    def _mind_fill_rate(self) -> None:
        """Fills that come too fast mean that somebody knows better: nothing is quoted until a person says so."""
        limits = self.spec.limits
        if limits is None or self._fill_rate is None or not self._fill_rate.note(self.clock.monotonic()):
            return
        if all(hold is not None and hold.halted for hold in map(self.gate.hold, self.layers)):
            return
        why = f"more than {limits.max_fills_per_min} fills within a minute"
        self.gate.kill(why, self.clock.wall_ms(), lambda done: self.fault("kill_switch", why, done))

    def _free(self, order: Order) -> None:
        """What an order reserved falls with its end, however that is known, or once the venue holds its lock."""
        if not order.is_live:
            self.desk.budget.release(order.client_id)
        elif order.state is State.OPEN:
            self.desk.budget.accepted(order.client_id, self.clock.monotonic())


def _is_in_doubt(order: Order) -> bool:
    """Whether the venue has to be asked for this order."""
    return order.state is State.UNKNOWN or (order.state is State.OPEN and order.cancel is CancelState.UNKNOWN)
