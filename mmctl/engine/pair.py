"""What an engine knows of one pair: its ledger, its book, its layers' counters, and what the venue tells.

The venue's word goes into the ledger here, and what it means beyond the ledger (a fill to tell, a ghost to
cancel, a fate to ask for) is acted on at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from mmctl.core.decide import PairDecider
from mmctl.core.events import OrderEvent
from mmctl.core.freshness import BookAge
from mmctl.core.instrument import Instrument
from mmctl.core.ledger import Change, Ledger
from mmctl.core.order import CancelState, Layer, Order, Side, State
from mmctl.core.report import Faulted, Filled, LayerView, PairView, Report, Skipped
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
    last_alert: str = ""

    @property
    def due_forced(self) -> bool:
        """Whether the next round replaces everything."""
        return self.since_refresh >= self.spec.force_refresh_num

    def back_off(self, now_s: float) -> float:
        """Skip turns for a while that doubles each time in a row; returns how long, in seconds."""
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
        self.report = report
        self.decider = PairDecider(spec, instrument)
        self.ledger = Ledger(instrument, desk.venue.landing_time_s)
        self.gate = SendGate(spec, self.ledger, desk, latch)
        self.age = BookAge(spec.frozen_after_s, desk.clock.monotonic())
        self.layers = {layer.layer: LayerState(layer) for layer in spec.layers}
        self.totals = Totals()
        self.foreign = 0
        self.feed_fault = ""
        self.doubts = asyncio.Event()
        """Set when an order's fate has to be asked for."""
        self.compare_wanted = asyncio.Event()
        """Set when the ledger has to be compared with the venue's listing."""
        self.orders_sent = asyncio.Event()
        """Set when orders rest that the stale guard has to watch."""
        self.strangers: set[str] = set()
        """Own ids that the venue told of and the ledger does not know."""
        self._batches: list[Batch] = []
        self._started_s = desk.clock.monotonic()
        desk.register(spec.symbol, self)

    @property
    def clock(self) -> Clock:
        return self.desk.clock

    def room(self) -> Room:
        """What this pair may place now."""
        own = len(self.ledger.live())
        return self.desk.room(self.instrument, own, self.foreign, self.spec.max_open_orders)

    def track(self, batch: Batch) -> None:
        """Join the venue's answers to ``batch`` from now on, until all have come."""
        self._batches = [one for one in self._batches if one.unanswered]
        self._batches.append(batch)
        self.orders_sent.set()

    def fault(self, kind: str, detail: str, action: str) -> None:
        """Tell a fault, and what is done about it."""
        self.totals.faults += 1
        self.totals.last_fault = f"{kind}: {detail}"
        self.report(Faulted(self.spec.name, self.clock.wall_ms(), kind, detail, action))

    def skip(self, layer: Layer, reason: str, detail: str) -> None:
        """Tell that a turn quoted nothing."""
        self.layers[layer].status = f"{reason}: {detail}"
        self.report(Skipped(self.spec.name, self.clock.wall_ms(), layer, reason, detail))

    def cancellable(self, layer: Layer | None, *, at_any_cost: bool = False) -> list[Order]:
        """Live orders of ``layer`` (of both: ``None``) whose cancel is not on its way.

        Orders without an answer to their placement are left out unless ``at_any_cost``, as a stop does.
        """
        return [
            order
            for order in self.ledger.live()
            if (layer is None or order.layer is layer)
            and order.cancel is not CancelState.SENT
            and (at_any_cost or order.state is State.OPEN)
        ]

    def cancel(self, orders: list[Order]) -> Batch:
        """Cancel ``orders`` at once; nothing holds a cancel up."""
        batch = self.gate.cancel(orders)
        self.track(batch)
        return batch

    def on_event(self, event: OrderEvent) -> None:
        """Take in what the venue told of an order of this symbol."""
        change = self.ledger.apply(event, self.clock.monotonic())
        for batch in self._batches:
            batch.take(event)
        if change is None:
            return
        if change.order is None:
            self.strangers.add(event.client_id)
            self.doubts.set()
            return
        self._act_on(change, change.order)

    def on_gap(self, reason: str) -> None:
        """What the venue told may be incomplete."""
        self.fault("gap", reason, "comparing with the venue")
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

    def _act_on(self, change: Change, order: Order) -> None:
        self._count(change.before, order)
        if change.fill is not None:
            self.totals.fills += 1
            self.report(Filled(self.spec.name, self.instrument, order, change.fill))
        if change.fault:
            action = "cancelling it" if change.appeared else "asking the venue"
            self.fault("order", f"{order.client_id}: {change.fault}", action)
        if change.appeared and change.before is not None and order.cancel is not CancelState.SENT:
            self.cancel([order])
        if order.state is State.UNKNOWN or order.cancel is CancelState.UNKNOWN:
            self.doubts.set()
        if order.state in (State.NEVER_LANDED, State.GONE) and change.before is not None and change.before.is_live:
            self.fault("order", f"{order.client_id} ended {order.state}: {order.reason}", "its level is quoted again")

    def view(self) -> PairView:
        """This pair as the live view draws it."""
        now_s, wall_ms = self.clock.monotonic(), self.clock.wall_ms()
        orders = tuple(self.ledger.live())
        age_s = self.age.age_s(wall_ms, now_s)
        status, quoting = self._status(wall_ms, now_s)
        totals = self.totals
        return PairView(
            pair=self.spec.name,
            venue=self.desk.venue.name,
            account=self.desk.venue.account,
            mode=self.desk.venue.mode,
            source=self.age.book.source if self.age.book else "",
            instrument=self.instrument,
            book=self.age.book,
            age_ms=None if self.age.book is None else age_s * 1000,
            status=status,
            quoting=quoting,
            orders=orders,
            layers=tuple(self._layer_view(state, orders) for state in self.layers.values()),
            kept=totals.kept,
            placed=totals.placed,
            cancelled=totals.cancelled,
            rejected=totals.rejected,
            fills=totals.fills,
            faults=totals.faults,
            unknown=sum(order.state is State.UNKNOWN for order in orders),
            foreign=self.foreign,
            position=self.ledger.position,
            last_fault=totals.last_fault,
            elapsed_ms=(now_s - self._started_s) * 1000,
        )

    def _status(self, wall_ms: int, now_s: float) -> tuple[str, bool]:
        """Whether the pair quotes, and the first reason why not, in words."""
        holds = [hold for layer in self.layers if (hold := self.gate.hold(layer)) is not None]
        if holds:
            return f"{holds[0].reason}: {holds[0].detail}", len(holds) < len(self.layers)
        if self.feed_fault:
            return self.feed_fault, False
        for state in self.layers.values():
            stale = self.age.stale(state.spec.quote_timeout_s, wall_ms, now_s)
            if stale is not None:
                return f"{stale.reason}: {stale.detail}", False
            if state.backoff_until_s > now_s:
                return f"backing off for {state.backoff_until_s - now_s:.0f} s: {self.totals.last_fault}", False
        return "quoting", True

    def _layer_view(self, state: LayerState, orders: tuple[Order, ...]) -> LayerView:
        own = [order for order in orders if order.layer is state.spec.layer]
        return LayerView(
            layer=state.spec.layer,
            interval_s=state.spec.interval_s,
            rounds=state.rounds,
            previous_asks=sum(order.side is Side.SELL for order in own),
            previous_bids=sum(order.side is Side.BUY for order in own),
            rounds_since_refresh=state.since_refresh,
            force_refresh_num=state.spec.force_refresh_num,
            keeps=state.keeps,
            places=state.places,
            cancels=state.cancels,
            refused=state.refused,
            status=state.status,
        )
