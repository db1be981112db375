"""Many rounds of both layers on a moving book against a venue whose every reply may be late, lost or no.

Whatever subset of replies comes back, own orders never cross: not in the ledger, which counts as live what
may be live, and so not on the venue either.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from decimal import Decimal

from core_samples import BTC, KEY, TS_MS, examples, layer_spec, pair_spec
from hypothesis import given
from hypothesis import strategies as st

from mmctl.core.book import Book
from mmctl.core.decide import PairDecider
from mmctl.core.events import Accepted, CancelRefused, Ended, Fill, NotFound, Rejected, Request, Seen, Unsettled
from mmctl.core.ledger import Ledger
from mmctl.core.order import CancelState, Layer, Order, Quote, Side, State, encode_own_id
from mmctl.core.risk import Room
from mmctl.core.spec import LayerSide, LayerSpec, Strategy

BUY, SELL = Side.BUY, Side.SELL
LANDING_S = 12.0


@dataclass
class Rested:
    """An order as it truly is on the venue."""

    order: Order
    left: Decimal


@dataclass
class World:
    """The decider and the ledger on one side; the truth, and requests under way, on the other."""

    dice: random.Random
    near: LayerSpec
    far: LayerSpec
    now_s: float = 1000.0
    sequence: int = 0
    center: int = 100_000
    placed: int = 0
    crossings_avoided: int = 0
    truth: dict[str, Rested] = field(default_factory=dict)
    placing: list[Order] = field(default_factory=list)
    cancelling: list[Order] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.spec = pair_spec(self.near, self.far, collar_bps=Decimal(3000))
        self.decider = PairDecider(self.spec, BTC)
        self.ledger = Ledger(BTC, LANDING_S)

    def book(self) -> Book:
        """The market drifts, and now and then jumps across everything that rests."""
        dice = self.dice
        self.center += dice.choice([0, 0, dice.randint(-8, 8), dice.randint(-60, 60), dice.randint(-2500, 2500)])
        self.center = min(max(self.center, 50_000), 200_000)
        bid, ask = self.center, self.center + dice.randint(1, 20)
        bids, asks = [], []
        for _ in range(dice.randint(1, 8)):
            bids.append((Decimal(bid) / 100, Decimal(dice.randint(100, 400)) / 1000))
            bid -= dice.randint(1, 30)
        for _ in range(dice.randint(1, 8)):
            asks.append((Decimal(ask) / 100, Decimal(dice.randint(100, 400)) / 1000))
            ask += dice.randint(1, 30)
        return Book.of(KEY, TS_MS, bids, asks, "test")

    def turn(self, layer: Layer) -> None:
        """Decide and hand over, one placement at a time, as if the batch could be cut anywhere."""
        dice = self.dice
        room = Room(*(dice.choice([None, None, None, dice.randint(0, most)]) for most in (12, 10**6, 10**11)))
        before = self.ledger.live()
        made = self.decider.decide(
            layer, self.book(), before, room, forced=dice.random() < 0.2, refreshes=self.sequence
        ).plan
        self.crossings_avoided += sum(waiting.reason == "would_cross_own" for waiting in made.wait)
        doubtful = {(o.side, o.price) for o in before if o.layer is layer and o.state is not State.OPEN}
        for one in made.place:
            assert (one.side, one.price) not in doubtful
            self.hand_over(one)
            self.check()
        for wanted in made.cancel:
            live = self.ledger.find(wanted.order.client_id)
            assert live is not None
            assert (live.state, live.cancel) in {(State.OPEN, CancelState.NONE), (State.OPEN, CancelState.UNKNOWN)}
            self.ledger.cancel_sent(live.client_id, self.now_s)
            self.cancelling.append(live)
        spec = self.spec.layer(layer)
        assert spec is not None
        for side in Side:
            own = [order for order in self.ledger.live() if order.layer is layer and order.side is side]
            assert len(own) <= 2 * spec.levels(side)

    def hand_over(self, one: Quote) -> None:
        self.sequence += 1
        self.placed += 1
        client_id = encode_own_id(one.layer, one.side, 17, self.sequence)
        order = Order(client_id, one.layer, one.side, one.price, one.qty, epoch=17, signed_at_s=self.now_s)
        self.ledger.sent(order, self.now_s)
        self.placing.append(order)

    def venue(self) -> None:
        """Some of what is under way gets its answer, in any order; some answers are lost, some come wrong."""
        dice = self.dice
        self.now_s += dice.choice([0.01, 0.5, 3.0])
        dice.shuffle(self.placing)
        dice.shuffle(self.cancelling)
        for order in self.some(self.placing):
            fate = dice.random()
            if fate < 0.1:
                self.tell(Rejected(order.client_id, "would_match", "no"))
                continue
            if fate < 0.9:
                self.truth[order.client_id] = Rested(order, BTC.qty(order.qty))
            self.tell(
                Accepted(order.client_id, "v") if fate < 0.7 else Unsettled(order.client_id, Request.PLACE, "lost")
            )
        for order in self.some(self.cancelling):
            fate = dice.random()
            if fate < 0.1:
                self.tell(Unsettled(order.client_id, Request.CANCEL, "lost"))
            elif fate < 0.15:
                self.tell(CancelRefused(order.client_id, False, "busy"))
            elif order.client_id not in self.truth:
                self.tell(CancelRefused(order.client_id, True, "unknown order"))
            else:
                rested = self.truth.pop(order.client_id)
                if fate < 0.9:
                    filled = BTC.qty(order.qty) - rested.left
                    self.tell(Ended(order.client_id, "v", State.CANCELLED, filled))
                else:
                    self.tell(Unsettled(order.client_id, Request.CANCEL, "lost"))
        for client_id in dice.sample(sorted(self.truth), k=min(len(self.truth), dice.choice([0, 0, 1]))):
            self.fill(client_id)

    def some(self, pending: list[Order]) -> list[Order]:
        """Take out those that are answered now."""
        answered = [order for order in pending if self.dice.random() < 0.6]
        pending[:] = [order for order in pending if order not in answered]
        return answered

    def fill(self, client_id: str) -> None:
        rested = self.truth[client_id]
        qty = rested.left if self.dice.random() < 0.5 else (rested.left / 2).quantize(BTC.lot_size)
        rested.left -= qty
        if not rested.left:
            del self.truth[client_id]
        order = rested.order
        if qty:
            trade = f"t{client_id}{rested.left}"
            price = BTC.price(order.price)
            self.tell(Fill(client_id, "v", trade, order.side, price, qty, Decimal(0), "BTC", True, 0))

    def reconcile(self) -> None:
        """Ask for the fate of what is unsettled, as often as needed for some of it to be concluded."""
        for order in self.ledger.unsettled():
            rested = self.truth.get(order.client_id)
            if rested is None:
                self.tell(NotFound(order.client_id, self.now_s))
            else:
                price, qty = BTC.price(order.price), BTC.qty(order.qty)
                self.tell(Seen(order.client_id, "v", order.side, price, qty, qty - rested.left, self.now_s))

    def tell(self, event: Accepted | Rejected | Unsettled | Fill | Ended | CancelRefused | Seen | NotFound) -> None:
        self.ledger.apply(event, self.now_s)
        self.check()

    def check(self) -> None:
        """Nothing that may be live crosses anything else that may be, and nothing rests unknown to us."""
        live = self.ledger.live()
        bids = [order.price for order in live if order.side is BUY]
        asks = [order.price for order in live if order.side is SELL]
        assert not bids or not asks or max(bids) < min(asks)
        assert set(self.truth) <= {order.client_id for order in live}

    def run(self, rounds: int) -> None:
        for _ in range(rounds):
            for layer in self.dice.sample(list(Layer), k=self.dice.randint(1, 2)):
                self.turn(layer)
                for _ in range(self.dice.randint(0, 2)):
                    self.venue()
            if self.dice.random() < 0.5:
                self.reconcile()


def world(seed: int) -> World:
    """Two layers of any shape, close together or apart."""
    dice = random.Random(seed)

    def layer(which: Layer) -> LayerSpec:
        strategy = dice.choice(list(Strategy))
        least = 0.0 if strategy is Strategy.MIRROR else 0.5
        return layer_spec(
            which,
            strategy,
            side=dice.choice([LayerSide.BOTH, LayerSide.BOTH, LayerSide.BID, LayerSide.ASK]),
            buy_margin_bps=str(least + dice.choice([0, 1, 10, 100])),
            sell_margin_bps=str(least + dice.choice([0, 1, 10, 100])),
            ask_levels=dice.randint(0, 5),
            bid_levels=dice.randint(0, 5),
            diff_per_round_bps=dice.choice(["0", "1", "5", "300"]),
            qty_tolerance=dice.choice(["0", "0.5", "0.9"]),
        )

    return World(dice, layer(Layer.NEAR), layer(Layer.FAR))


@examples(200)
@given(st.integers(0, 2**32))
def test_own_orders_never_cross_whatever_replies_come_back(seed: int) -> None:
    world(seed).run(12)


def test_the_worlds_are_worth_living_in() -> None:
    """The property above would hold in a world where nothing is ever placed, or nothing ever in the way."""
    worlds = [world(seed) for seed in range(50)]
    for one in worlds:
        one.run(12)
    assert sum(one.placed for one in worlds) > 500
    assert sum(one.crossings_avoided for one in worlds) > 100
    states = {order.state for one in worlds for order in one.ledger.live()}
    assert states == {State.IN_FLIGHT, State.OPEN, State.UNKNOWN}


@examples(50)
@given(st.integers(0, 2**32))
def test_a_quiet_venue_ends_with_the_ladder_that_is_wanted(seed: int) -> None:
    """After any disorder: once everything is answered and the book stands still, the plan comes to rest."""
    one = world(seed)
    one.run(6)
    the_book = one.book()
    for _ in range(8):
        one.now_s += LANDING_S
        while one.placing or one.cancelling:
            one.venue()
        for _ in range(3):
            one.now_s += 1
            one.reconcile()
        for spec in one.spec.layers:
            decision = one.decider.decide(spec.layer, the_book, one.ledger.live(), Room(), forced=False, refreshes=1)
            if spec.diff_per_round_bps > 0 and decision.plan.is_empty and not decision.plan.wait:
                assert len(decision.plan.keep) == len(decision.target)
            for quote in decision.plan.place:
                one.hand_over(quote)
                one.check()
            for wanted in decision.plan.cancel:
                one.ledger.cancel_sent(wanted.order.client_id, one.now_s)
                one.cancelling.append(wanted.order)
        # From here on the venue says yes.
        for order in one.placing:
            one.truth[order.client_id] = Rested(order, BTC.qty(order.qty))
            one.tell(Accepted(order.client_id, "v"))
        for order in one.cancelling:
            rested = one.truth.pop(order.client_id, None)
            filled = None if rested is None else BTC.qty(order.qty) - rested.left
            one.tell(Ended(order.client_id, "v", State.CANCELLED, filled))
        one.placing.clear()
        one.cancelling.clear()
    for spec in one.spec.layers:
        if spec.diff_per_round_bps > 0:
            made = one.decider.decide(spec.layer, the_book, one.ledger.live(), Room(), forced=False, refreshes=1).plan
            assert made.is_empty
            assert not made.wait
