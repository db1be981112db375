"""What must hold, checked against the venue's own truth: at every request that leaves, and again and again.

Each check names the invariant that it belongs to:

1. no own order could match another own one
2. no order is live that neither ledger nor journal knows
3. no placement is sent twice
4. never more live orders than twice the ladder, nor above the profile's limits
5. every order is on tick and lot, within minimum, maximum and collar
6. the cancel of what rests on a stale book has left in time
7. no placement after an acknowledged halt; nothing open after a proven stop
8. in calm the venue's orders are what risk and balance approve
9. every order of an epoch is in its journal
10. no request above a limit, none before ``Retry-After`` ends, and then cancels first
11. position and balances equal what the venue did
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TextIO

from mmctl.core.order import CancelState, Layer, Side, State, decode_own_id
from mmctl.core.spec import PairSpec
from mmctl.drill.engines import EngineRun, StopRun
from mmctl.drill.network import Host
from mmctl.drill.site import Site
from mmctl.engine.journal_store import JournalStore
from mmctl.engine.pair import Pair
from mmctl.ports import HaltScope
from mmctl.sandbox.matching import Order as VenueOrder
from mmctl.venues.binance_gate import HOLD_MARGIN_S
from mmctl.wire.binance_limits import Kind

LATE_S = 0.1
LOOK_EVERY_S = 0.2
HALT_SEEN_S = 0.25
"""How long after a halt was written down an engine may not have seen it yet."""


@dataclass(frozen=True, slots=True)
class Broken:
    """The first thing that did not hold in a seed."""

    seed: int
    step: int
    invariant: int
    detail: str


class Trace:
    """What happened, a line each, as one hash.

    ``unlike`` says for what is another with every run (the state folder, the number of this process) what to write
    instead: the story is the same.
    """

    def __init__(self, out: TextIO | None = None, unlike: Mapping[str, str] | None = None) -> None:
        self._hash = hashlib.sha256()
        self._out = out
        self._unlike = tuple((unlike or {}).items())
        self.lines = 0
        self.ended = False
        """Nothing counts any more: what is left is tidied up."""

    def line(self, now_s: float, text: str) -> None:
        if self.ended:
            return
        self.lines += 1
        for mine, everybodys in self._unlike:
            text = text.replace(mine, everybodys)
        line = f"{now_s:.6f} {text}\n"
        self._hash.update(line.encode())
        if self._out is not None:
            self._out.write(line)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


@dataclass(slots=True)
class SetHalt:
    """A halt that the drill's operator has set."""

    scope: HaltScope
    at_s: float


class Watch:
    """Watches one seed; see ``Witness``."""

    def __init__(self, seed: int, trace: Trace) -> None:
        self.seed = seed
        self.broken: Broken | None = None
        self.faults: Counter[str] = Counter()
        self.site: Site
        self.engines: list[EngineRun] = []
        self.stops: list[StopRun] = []
        self.halts: list[SetHalt] = []
        self.strangers: set[str] = set()
        """Own ids that the drill itself made appear."""
        self.schedule: list[str] = []
        self._counted_from: dict[str, int] = {}
        """By account, how many of its trades were made before its last run ended in good order."""
        self._trace = trace
        self._sent: dict[str, float] = {}
        self._cancelled: dict[str, float] = {}
        self._quiet: dict[Host, tuple[float, float]] = {}
        self._quiet_places: dict[Host, tuple[float, float]] = {}
        self._held: dict[Host, dict[str, None]] = {}
        """Cancels that were asked for while their process had to be quiet, and that have not left since."""
        self._suspects: set[str] = set()
        self._open_seen = 0

    # Witness

    def count(self, what: str) -> None:
        self.faults[what] += 1

    def trace(self, line: str) -> None:
        self._trace.line(self.site.timeline.now_s, line)

    def note(self, line: str) -> None:
        """Trace it, and show it in the schedule of a seed that breaks."""
        self.trace(f"* {line}")
        self.schedule.append(f"{self.site.timeline.now_s:9.3f} {line}")

    def told_to_wait(self, host: Host, wait_s: float, *, placing: bool) -> None:
        quiet = self._quiet_places if placing else self._quiet
        until_s = self.site.timeline.now_s + wait_s
        self.count("told_to_wait")
        if until_s > quiet.get(host, (0.0, 0.0))[1]:
            quiet[host] = (self.site.timeline.now_s, until_s)

    def asked_to_cancel(self, host: Host, client_ids: Sequence[str]) -> None:
        told_s, until_s = self._quiet.get(host, (0.0, 0.0))
        held = self._held.setdefault(host, {})
        for client_id in client_ids:  # one that is asked for again came to nothing before
            held.pop(client_id, None)
        if told_s < self.site.timeline.now_s < until_s:
            held.update(dict.fromkeys(client_ids))

    def leaving(self, host: Host, method: str, params: Mapping[str, object]) -> None:
        now_s = self.site.timeline.now_s
        self._check_quiet(host, method, now_s)
        run = next((one for one in self.engines if one.host is host), None)
        if method == "order.place":
            client_id = str(params["newClientOrderId"])
            if client_id in self._sent:
                self.fail(3, f"{client_id} was sent twice")
            self._sent[client_id] = now_s
            if run is None:
                self.fail(7, f"{host.process.name} placed {client_id}")
            else:
                self._check_placement(run, client_id, params, now_s)
        elif method == "order.cancel":
            client_id = str(params.get("origClientOrderId"))
            self._cancelled.setdefault(client_id, now_s)
            self._held.get(host, {}).pop(client_id, None)
        if method != "order.cancel" and self._held.get(host):
            self._check_cancels_first(host, method)
        if run is not None:
            self._check_budget(run, placing=method == "order.place")

    def ended_well(self, accounts: Sequence[str]) -> None:
        """Runs on these accounts ended with nothing left: positions are counted anew from here."""
        for name in accounts:
            self._counted_from[name] = len(self.site.exchange.accounts[name].trades)

    def fail(self, invariant: int, detail: str) -> None:
        """Something does not hold; the first counts."""
        if self.broken is None:
            self.broken = Broken(self.seed, self._trace.lines, invariant, detail)
            self.note(f"broken: {invariant}: {detail}")

    # At every request

    def _check_quiet(self, host: Host, method: str, now_s: float) -> None:
        told_s, until_s = self._quiet.get(host, (0.0, 0.0))
        if told_s < now_s < until_s:
            self.fail(
                10, f"{host.process.name} sent {method} {until_s - now_s:.3f} s before it was allowed to ask again"
            )
        told_s, until_s = self._quiet_places.get(host, (0.0, 0.0))
        if method == "order.place" and told_s < now_s < until_s:
            self.fail(10, f"{host.process.name} placed {until_s - now_s:.3f} s before the order limit allowed it again")

    def _check_cancels_first(self, host: Host, method: str) -> None:
        """What was held while the venue wanted quiet has left by now, or came to nothing."""
        senders: list[EngineRun | StopRun] = [*self.engines, *self.stops]
        sender = next(one for one in senders if one.host is host)
        held = [one for one in self._held.pop(host) if sender.waits_for(one)]
        if held:
            self.fail(10, f"{host.process.name} sent {method} before the cancel of {held[0]}, which was held")

    def _check_budget(self, run: EngineRun, *, placing: bool) -> None:
        for venue in run.venues:
            for limit, used in venue.rates():
                # What the venue tells of orders that others placed may be more than was known when ours left.
                if used > limit.limit and (placing or limit.kind is not Kind.ORDERS):
                    self.fail(10, f"{run.process.name} sent {used} of {limit.limit} {limit}")

    def _check_placement(self, run: EngineRun, client_id: str, params: Mapping[str, object], now_s: float) -> None:
        own = decode_own_id(client_id)
        symbol = str(params["symbol"])
        pair = next((one for (_, name), one in run.pairs.items() if name == symbol), None)
        if own is None or pair is None:
            self.fail(5, f"{client_id} of {symbol} is no order of this profile")
            return
        if client_id not in run.journal.intents:
            self.fail(9, f"{client_id} leaves before its intent is in the journal")
        if own.epoch != pair.desk.epoch:
            self.fail(3, f"{client_id} is not of this engine's epoch {pair.desk.epoch}")
        self._check_shape(run, pair, own.layer, own.side, client_id, params)
        for halt in self.halts:
            halted = halt.scope.covers(pair.spec.venue, pair.spec.account, symbol, own.layer)
            if halted and now_s > halt.at_s + HALT_SEEN_S and now_s > run.process.resumed_s + HALT_SEEN_S:
                self.fail(7, f"{client_id} was placed {now_s - halt.at_s:.3f} s after its layer was halted")
        self._check_exposure(pair, client_id)
        if run.stopping and run.engine is not None and pair.gate.stopping:
            self.fail(7, f"{client_id} was placed after the stop began")

    def _check_shape(
        self, run: EngineRun, pair: Pair, layer: Layer, side: Side, client_id: str, params: Mapping[str, object]
    ) -> None:
        spec, instrument = pair.spec.layer(layer), pair.instrument
        price, qty = Decimal(str(params["price"])), Decimal(str(params["quantity"]))
        book = run.ages[pair.spec.account, pair.spec.symbol].book
        if spec is None:
            self.fail(5, f"{client_id} is of a ladder that is off")
            return
        if price % instrument.tick_size or qty % instrument.lot_size or qty <= 0:
            self.fail(5, f"{client_id}: {price} x {qty} is off tick or lot")
        if not max(spec.min_amount, instrument.min_notional or Decimal(0)) <= price * qty <= spec.max_amount:
            self.fail(5, f"{client_id}: {price} x {qty} is outside of minimum and maximum")
        if qty < spec.min_qty:
            self.fail(5, f"{client_id}: {qty} is below the minimum quantity")
        mid = None if book is None else book.mid
        if mid is None or abs(price / mid - 1) * 10_000 > pair.spec.collar_bps:
            self.fail(5, f"{client_id}: {price} is outside of the collar around {mid}")
        ticks = price / self.site.exchange.market(pair.spec.symbol).rules.spec.tick_size
        buys = side is Side.BUY
        for one in self.site.exchange.accounts[pair.spec.account].orders.values():
            meets = one.buy is not buys and (one.price <= ticks if buys else one.price >= ticks)
            if meets and one.symbol == pair.spec.symbol and _is_own(one):
                self.fail(1, f"{client_id} at {price} would meet {one.client_id}")

    def _check_exposure(self, pair: Pair, client_id: str) -> None:
        """A placement leaves room for every live order to be filled."""
        limits, position = pair.spec.limits, pair.ledger.position
        if limits is None:
            return
        live = pair.ledger.live()
        for side, held in ((Side.BUY, position), (Side.SELL, -position)):
            lots = sum(order.remaining for order in live if order.side is side)
            mine = pair.ledger.find(client_id)
            if mine is not None and mine.side is side and held + pair.instrument.qty(lots) > limits.max_position:
                self.fail(4, f"{client_id} leaves, and all orders to {side} together exceed max_position")

    # Again and again

    def look(self) -> None:
        """What can be seen from outside at any moment."""
        self._check_matches()
        up: list[EngineRun] = []
        for run in self.engines:
            if run.process.wrong:
                self.fail(0, f"{run.process.name}: {run.process.wrong[0]}")
            if run.up:
                up.append(run)
        if len(up) > 1:
            self.fail(4, f"{up[1].process.name} was let in beside another engine of the same pairs")
        for run in up:
            if not run.process.suspended and not run.stopping:
                self._check_stale(run)

    def check_journal(self, store: JournalStore) -> None:
        """All that was ever sent is in the journal."""
        for client_id in sorted(self._sent.keys() - store.knows(tuple(self._sent))):
            self.fail(9, f"{client_id} was sent, and the journal does not know it")

    def _check_matches(self) -> None:
        counters = self.site.exchange.counters
        if counters.self_trades:
            self.fail(1, "own orders traded with each other")
        if counters.prevented:
            self.fail(1, f"the venue prevented a self-trade: {counters.prevented[-1]}")

    def arrived(self, method: str, params: Mapping[str, object]) -> None:
        """The venue has done something, or not: what may rest there now is what it is held to."""
        if method != "order.place":
            return
        self._check_matches()
        client_id, symbol = str(params["newClientOrderId"]), str(params["symbol"])
        own = decode_own_id(client_id)
        for spec in self.site.script.specs:
            if own is not None and spec.symbol == symbol:
                self._check_count(spec, own.layer, own.side, client_id)

    def _check_count(self, spec: PairSpec, layer: Layer, side: Side, client_id: str) -> None:
        account = self.site.exchange.accounts[spec.account]
        if account.placements.get(client_id, 0) > 1:
            self.fail(3, f"the venue was asked {account.placements[client_id]} times for {client_id}")
        own = [
            one
            for one in account.orders.values()
            if one.symbol == spec.symbol and _is_own(one) and one.client_id not in self.strangers
        ]
        same = sum(one.client_id[:3] == client_id[:3] for one in own)
        most = spec.layer(layer)
        if same > 2 * (most.levels(side) if most else 0):
            self.fail(4, f"{same} {layer} orders to {side} rest in {spec.symbol}")
        if len(own) > spec.max_open_orders:
            self.fail(4, f"{len(own)} own orders rest in {spec.symbol}, {spec.max_open_orders} may")

    def _check_stale(self, run: EngineRun) -> None:
        """What rests on a stale book has been asked to go."""
        wall_ms, now_s = self.site.wall_ms(), run.process.time_s
        suspects: set[str] = set()
        # The venue's adapter waits a little longer than it was told, and is right to.
        host_quiet = self._quiet.get(run.host, (0.0, 0.0))[1] + HOLD_MARGIN_S > self.site.timeline.now_s
        if host_quiet or self.site.timeline.now_s < run.process.resumed_s + LATE_S:
            return
        for key, pair in run.pairs.items():
            age = run.ages[key]
            for state in pair.layers.values():
                if now_s <= age.deadline_s(state.spec.quote_timeout_s, wall_ms, now_s) + LATE_S:
                    continue
                for order in pair.ledger.live():
                    if order.layer is not state.spec.layer or order.state is not State.OPEN:
                        continue
                    if order.client_id in self._cancelled or order.cancel is CancelState.UNKNOWN:
                        continue
                    mark = f"{run.number} {order.client_id}"
                    suspects.add(mark)
                    if mark in self._suspects:
                        self.fail(6, f"{order.client_id} rests on a stale book, and its cancel has not left")
        self._suspects = suspects

    def check_stop(self, stop: StopRun) -> None:
        """A stop that has just said proven is right."""
        proven = stop.swept is not None and stop.swept.proven
        self.count("stop_proven" if proven else "stop_not_proven")
        if proven:
            self._check_empty(stop.account, stop.layer, f"{stop.process.name} proved that nothing is open")

    def _check_empty(self, account: str, layer: Layer | None, why: str) -> None:
        for order in self.site.exchange.accounts[account].orders.values():
            own = decode_own_id(order.client_id)
            if own is not None and layer in (None, own.layer) and order.client_id not in self.strangers:
                self.fail(7, f"{why}, and {order.client_id} is")

    def check_shutdown(self, run: EngineRun) -> None:
        """An engine that says its stop is proven leaves nothing of its own or older."""
        if run.swept is None or not all(one.proven for one in run.swept):
            return
        for account in self.site.exchange.accounts.values():
            for order in account.orders.values():
                own = decode_own_id(order.client_id)
                if own is not None and own.epoch <= run.epoch and order.client_id not in self.strangers:
                    self.fail(7, f"{run.process.name} ended proven, and {order.client_id} is open")

    # In calm

    def is_idle(self, run: EngineRun) -> bool:
        """Nothing is on its way."""
        return not any(
            one.state is not State.OPEN or one.cancel is not CancelState.NONE
            for pair in run.pairs.values()
            for one in pair.ledger.live()
        )

    def is_well(self, run: EngineRun) -> bool:
        """Nothing is unknown, nothing is held, and nobody backs off."""
        now_s = run.process.time_s
        for pair in run.pairs.values():
            for one in pair.ledger.live():
                if one.state is State.UNKNOWN or one.cancel is CancelState.UNKNOWN:
                    return False
            if pair.strangers or any(state.backoff_until_s > now_s for state in pair.layers.values()):
                return False
            if any(pair.gate.hold(layer) is not None for layer in pair.layers):
                return False
        return all(venue.hold_s == 0 for venue in run.venues)

    def check_calm(self, run: EngineRun) -> None:
        """The venue is what the engine wants and believes."""
        for pair in run.pairs.values():
            self._check_known(run, pair)
            self._check_wanted(pair)
            self._check_position(run, pair)

    def _own_open(self, pair: Pair) -> list[VenueOrder]:
        account = self.site.exchange.accounts[pair.spec.account]
        return [one for one in account.orders.values() if one.symbol == pair.spec.symbol and _is_own(one)]

    def _check_known(self, run: EngineRun, pair: Pair) -> None:
        there = {one.client_id: one for one in self._own_open(pair)}
        known = {one.client_id: one for one in pair.ledger.live()}
        for client_id in sorted(there.keys() - known.keys()):
            self.fail(2, f"{client_id} is live, and {run.process.name} does not know it")
        for client_id in sorted(known.keys() - there.keys()):
            self.fail(2, f"{run.process.name} takes {client_id} for live, and it is not")

    def _check_wanted(self, pair: Pair) -> None:
        live, book = pair.ledger.live(), pair.age.book
        if book is None:
            self.fail(8, f"{pair.spec.name} has no book in calm")
            return
        book = pair.decider.reference(book, live)
        scarce = self.site.tight or pair.spec.max_open_orders < 2 * _ladder(pair)
        for layer, state in pair.layers.items():
            decision = pair.decider.decide(layer, book, live, pair.room(), forced=False, refreshes=state.refreshes)
            if state.spec.diff_per_round_bps <= 0 or state.spec.qty_tolerance <= 0:
                wanted = sorted((one.side, one.price) for one in decision.target)
                there = sorted((one.side, one.price) for one in live if one.layer is layer)
                if wanted != there and not scarce:
                    self.fail(8, f"{pair.spec.name} {layer}: {there} rest, {wanted} are wanted")
                continue
            plan = decision.plan
            if plan.cancel:
                self.fail(
                    8, f"{pair.spec.name} {layer}: {plan.cancel[0].order.client_id} rests: {plan.cancel[0].reason}"
                )
            if plan.place and not scarce:
                self.fail(8, f"{pair.spec.name} {layer}: {len(plan.place)} quotes of the target do not rest")

    def _check_position(self, run: EngineRun, pair: Pair) -> None:
        expected = Decimal(0)
        lot = self.site.exchange.market(pair.spec.symbol).rules.spec.lot_size
        trades = list(self.site.exchange.accounts[pair.spec.account].trades)
        for trade in trades[self._counted_from.get(pair.spec.account, 0) :]:
            order = trade.order
            if order.client_id in self.strangers:
                return  # what it traded before an engine saw it is nobody's to know
            if order.symbol == pair.spec.symbol and _is_own(order):
                expected += trade.qty * lot * (1 if order.buy else -1)
        if pair.ledger.position != expected:
            self.fail(11, f"{pair.spec.name}: the position is {pair.ledger.position}, the fills come to {expected}")

    def wrong_balance(self, run: EngineRun) -> str:
        """What an engine takes for free that is not, or the other way round; empty where all is right."""
        for desk in {id(pair.desk): pair.desk for pair in run.pairs.values()}.values():
            account = self.site.exchange.accounts[desk.venue.account]
            for asset, units in sorted(account.free.items()):
                free = Decimal(units).scaleb(-8)
                if desk.budget.free(asset) != free:
                    return f"{desk.budget.free(asset)} {asset} is taken for free, it is {free}"
        return ""


def _is_own(order: VenueOrder) -> bool:
    return decode_own_id(order.client_id) is not None


def _ladder(pair: Pair) -> int:
    return sum(layer.levels(side) for layer in pair.spec.layers for side in Side)


def halted(halts: Sequence[SetHalt], scope: HaltScope) -> bool:
    """Whether exactly that is halted already."""
    return any(halt.scope == scope for halt in halts)
