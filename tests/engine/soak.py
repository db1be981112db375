"""One seed of the soak: an engine in a hostile world, watched against the venue's own truth.

A seed decides everything: two pairs, their ladders, the market, what the venue and the feed do wrong and when,
the halts and the strangers. ``run_seed`` raises ``AssertionError`` where an invariant breaks.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path

import looptime

from mmctl.core.book import Book, BookKey
from mmctl.core.decide import Decision
from mmctl.core.order import CancelOrder, CancelState, Layer, NewOrder, Order, Side, State, decode_own_id
from mmctl.core.spec import LayerSpec, PairSpec, Strategy
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.pair import Pair
from mmctl.errors import FeedUnreachable, NoBook, StateUnreadable, VenueRefused
from mmctl.venues.mock import MockOptions

from .world import (
    BTC,
    ETH,
    D,
    far,
    foreign,
    ghost,
    make_world,
    near,
    now_s,
    pair_spec,
    prepare,
    strangers,
    until,
)

CHAOS_S = 60.0
CALM_S = 85.0
"""Longer than the longest back-off, the landing time and what a request may take, together."""

LATE_S = 0.1
SAMPLE_S = 0.05
EPSILON_S = 1e-6
KEYS = (BTC, ETH)


def run_seed(seed: int, state_dir: Path) -> dict[str, int]:
    """Play one seed to its end under virtual time; returns what happened, in numbers."""
    with asyncio.Runner(loop_factory=partial(looptime.new_event_loop, noop_cycles=0)) as runner:
        return runner.run(_Soak(seed, state_dir).play())


class _Soak:
    def __init__(self, seed: int, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._dice = random.Random(seed)
        self._watching = FileHaltLatch(state_dir)
        self._strangers = strangers(1_600_000_000, Side.BUY, Layer.FAR)
        self._foreign: set[str] = set()
        self._bad_since: dict[tuple[str, str], float] = {}
        self._stopping = False
        self._counts: dict[str, int] = {}

    async def play(self) -> dict[str, int]:
        specs = [self._spec("BTC"), self._spec("ETH")]
        options = MockOptions(
            seed=self._dice.randrange(2**32), landing_time_s=self._dice.choice([6.0, 10.0]), request_timeout_s=3.0
        )
        self.world = make_world(self._state_dir, *specs, options=options)
        self._fund(specs)
        self.world.venue.before_submit = self._check_leaving
        self._market = {key: D(100) for key in KEYS}
        await prepare(self.world)
        tasks = [
            asyncio.create_task(one) for one in (self._move_market(), self._pump(), self._make_trouble(), self._watch())
        ]
        running = self.world.start()
        await self._unless_done(tasks, CHAOS_S)
        tasks[2].cancel()
        self._make_peace()
        tasks[0].cancel()
        await self._unless_done([tasks[1], tasks[3]], CALM_S)
        assert not running.done(), "the engine ended by itself"
        await until(self._between_turns, 10)
        self._check_calm()
        await self._stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.world.venue.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}, "a task was left behind"
        return self._counts

    # The world of this seed.

    def _spec(self, base: str) -> PairSpec:
        dice = self._dice
        margin = D(dice.choice([0, 1, 5, 20]))
        near_: LayerSpec | None = near(
            interval_s=dice.choice([0.25, 0.5, 1.0, 3.0]),
            quote_timeout_s=dice.choice([0.5, 1.0, 2.0, 5.0]),
            buy_margin_bps=margin,
            sell_margin_bps=margin,
            ask_levels=dice.choice([1, 3, 6]),
            bid_levels=dice.choice([0, 3, 6]),
            diff_per_round_bps=D(dice.choice([0, 1, 2, 10])),
            force_refresh_num=dice.choice([0, 2, 10, 1000, 1000]),
            strategy=dice.choice([Strategy.MIRROR, Strategy.MIRROR, Strategy.SPREAD]) if margin else Strategy.MIRROR,
        )
        far_: LayerSpec | None = far(
            interval_s=dice.choice([0.7, 2.0, 5.0]),
            quote_timeout_s=dice.choice([1.0, 3.0, 8.0]),
            buy_margin_bps=D(dice.choice([5, 40, 150])),
            sell_margin_bps=D(dice.choice([5, 40, 150])),
            ask_levels=dice.choice([1, 4]),
            bid_levels=dice.choice([1, 4]),
            force_refresh_num=dice.choice([1, 5, 1000]),
            strategy=dice.choice([Strategy.SPREAD, Strategy.SPREAD, Strategy.MIRROR]),
        )
        kept = dice.randrange(6)
        near_, far_ = (near_ if kept else None), (far_ if kept != 1 else None)
        return replace(pair_spec(base, near_, far_), max_open_orders=dice.choice([12, 100]), frozen_after_s=20.0)

    def _fund(self, specs: Sequence[PairSpec]) -> None:
        """In some seeds the account has little more than one ladder's worth."""
        self._tight = self._dice.random() < 0.3
        if not self._tight:
            return
        wallet = self.world.venue._exchange.wallet
        for spec in specs:
            levels = sum(layer.ask_levels for layer in spec.layers)
            wallet.receive(spec.base, D(12 * levels) - wallet.free(spec.base))
        bids = sum(layer.bid_levels for spec in specs for layer in spec.layers)
        wallet.receive("USDT", D(1200 * bids) - wallet.free("USDT"))
        wallet.take_changed()

    def _count(self, what: str) -> None:
        self._counts[what] = self._counts.get(what, 0) + 1

    async def _move_market(self) -> None:
        """A walk with jumps; the feed shows it at once where it works."""
        while True:
            await asyncio.sleep(self._dice.uniform(0.05, 1.0))
            key = self._dice.choice(KEYS)
            width = self._dice.choice([2, 2, 10, 10, 40, 150])
            mid = self._market[key] * (1 + D(self._dice.randint(-width, width)) / 10_000)
            self._market[key] = min(D(130), max(D(80), round(mid, 2)))
            self.world.fake.mids[key] = self._market[key]

    async def _pump(self) -> None:
        """The venue sees the market, whatever the feed of the engine does, and always a little late."""
        while True:
            await asyncio.sleep(self._dice.uniform(0.05, 0.4))
            for key in KEYS:
                self.world.show(key)

    async def _make_trouble(self) -> None:
        acts: list[tuple[int, Callable[[], None]]] = [
            (6, self._venue_trouble),
            (6, self._feed_trouble),
            (4, self._halt),
            (5, self._resume),
            (1, self._rubbish),
            (2, self._stall),
            (2, self._stranger),
            (1, self._somebody_else),
            (1, self._bug),
            (1, self._broken_socket),
            (1, self._lost_message),
        ]
        bag = [act for weight, act in acts for _ in range(weight)]
        while True:
            await asyncio.sleep(self._dice.uniform(0.2, 4.0))
            act = self._dice.choice(bag)
            self._count(act.__name__.strip("_"))
            act()

    def _make_peace(self) -> None:
        world = self.world
        world.set_faults(
            timeout_rate=0.0,
            reject_rate=0.0,
            read_failure_rate=0.0,
            listing_lag_ms=0,
            latency_ms=20,
            latency_jitter_ms=10,
        )
        for key in KEYS:
            world.fake.mend(key)
        world.venue.resume()
        world.resume()

    # Troubles.

    def _venue_trouble(self) -> None:
        dice = self._dice
        self.world.set_faults(
            timeout_rate=dice.choice([0.0, 0.0, 0.05, 0.3]),
            reject_rate=dice.choice([0.0, 0.0, 0.2]),
            read_failure_rate=dice.choice([0.0, 0.0, 0.3, 1.0]),
            listing_lag_ms=dice.choice([0, 50, 1000]),
            latency_ms=dice.choice([0, 5, 20, 200]),
            latency_jitter_ms=dice.choice([0, 10, 400]),
        )

    def _feed_trouble(self) -> None:
        key, feed = self._dice.choice(KEYS), self.world.fake
        if key in feed.answers:
            feed.mend(key)
            return

        def changed(**changes: object) -> Book:
            return replace(feed.book(key), **changes)  # type: ignore[arg-type]

        ways: list[Callable[[], None]] = [
            lambda: feed.silent(key),
            lambda: feed.hang(key),
            lambda: feed.fail(key, FeedUnreachable("gone")),
            lambda: feed.fail(key, NoBook("none")),
            lambda: feed.fail(key, ValueError("a bug of the feed")),
            lambda: feed.serve(key, lambda: changed(asks=())),
            lambda: feed.serve(key, lambda: changed(bids=(), asks=())),
            lambda: feed.serve(key, lambda: changed(bids=feed.book(key).asks[:1])),
            lambda: feed.serve(key, lambda: changed(ts_ms=feed.book(key).ts_ms + 30_000)),
            lambda: self._frozen(key),
        ]
        self._dice.choice(ways)()
        asyncio.get_running_loop().call_later(self._dice.uniform(0.1, 15), feed.mend, key)

    def _frozen(self, key: BookKey) -> None:
        feed = self.world.fake
        still = feed.book(key)
        feed.serve(key, lambda: replace(still, ts_ms=feed.book(key).ts_ms))

    def _halt(self) -> None:
        symbol = self._dice.choice([None, "BTCUSDT", "ETHUSDT"])
        self.world.halt(symbol, self._dice.choice([None, *Layer]))

    def _resume(self) -> None:
        self.world.resume()

    def _rubbish(self) -> None:
        self._state_dir.mkdir(parents=True, exist_ok=True)
        with (self._state_dir / "halts.jsonl").open("a") as file:
            file.write("who wrote this?\n")

    def _stall(self) -> None:
        self.world.venue.stall()
        asyncio.get_running_loop().call_later(self._dice.uniform(0.1, 9), self.world.venue.resume)

    def _stranger(self) -> None:
        """An order of an earlier engine appears; sometimes the user stream tells of it."""
        late = ghost(next(self._strangers), Side.BUY, f"{D(70) + D(self._dice.randrange(300)) / 100}")
        self.world.venue.seen_before.append(late.client_id)
        answer = self.world.venue._exchange.place(late, now_s(), self.world.clock.wall_ms()).answer
        if self._dice.random() < 0.5:
            self.world.venue._line._tell("BTCUSDT", answer)

    def _somebody_else(self) -> None:
        name = f"web_{len(self._foreign)}"
        if len(self._foreign) < 5:
            with contextlib.suppress(VenueRefused):  # there may be no money for it
                foreign(self.world, Side.SELL, "190", name)
                self._foreign.add(name)

    def _bug(self) -> None:
        """For a while, one pair's decisions raise."""
        decider = self._dice.choice(self.world.engine.pairs).decider
        if "decide" in vars(decider):
            return

        def broken(*args: object, **kwargs: object) -> Decision:
            raise ZeroDivisionError("a bug of ours")

        decider.decide = broken  # type: ignore[method-assign]
        asyncio.get_running_loop().call_later(self._dice.uniform(0.1, 3), vars(decider).pop, "decide")

    def _broken_socket(self) -> None:
        """For a moment the venue's adapter takes nothing."""
        venue = self.world.venue
        if "submit" in vars(venue):
            return

        def broken(places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
            self._check_leaving(places, cancels)
            raise OSError("no socket")

        venue.submit = broken  # type: ignore[method-assign]
        asyncio.get_running_loop().call_later(self._dice.uniform(0.05, 2), vars(venue).pop, "submit")

    def _lost_message(self) -> None:
        """The user stream has a gap: what it tells for a moment is lost, and it says so."""
        line, pairs = self.world.venue._line, self.world.engine.pairs
        hearing = self.world.desk._on_event
        line.listener = lambda symbol, event: None

        def back() -> None:
            line.listener = hearing
            for pair in pairs:
                pair.on_gap("the stream was cut")

        asyncio.get_running_loop().call_later(self._dice.uniform(0.01, 0.5), back)

    # What must hold.

    async def _unless_done(self, tasks: Sequence[asyncio.Task[None]], seconds: float) -> None:
        """Let time pass; a watcher that ends has found something."""
        done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    def _pair_of(self, symbol: str) -> Pair:
        return next(pair for pair in self.world.engine.pairs if pair.spec.symbol == symbol)

    def _halted(self, pair: Pair, layer: Layer) -> bool:
        halts = self._watching.halts()
        return any(halt.scope.covers("mock", "main", pair.spec.symbol, layer) for halt in halts)

    def _check_leaving(self, places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
        """Every placement, at the moment it leaves."""
        self._counts["places"] = self._counts.get("places", 0) + len(places)
        self._counts["cancels"] = self._counts.get("cancels", 0) + len(cancels)
        assert places or cancels, "an empty batch left"
        assert not (places and self._stopping), "placed after the stop began"
        for new in places:
            pair, own = self._pair_of(new.symbol), decode_own_id(new.client_id)
            assert own is not None
            assert own.epoch == self.world.desk.epoch
            try:
                assert not self._halted(pair, own.layer), "placed while halted"
            except StateUnreadable:
                raise AssertionError("placed while the latch was unreadable") from None
            layer = pair.layers[own.layer].spec
            clock, book = self.world.clock, pair.age.book
            stale = pair.age.stale(layer.quote_timeout_s, clock.wall_ms(), clock.monotonic())
            assert stale is None, f"placed on a book that is {stale}"
            assert book is not None
            assert new.price % D("0.01") == 0
            assert new.qty % D("0.001") == 0
            assert D(5) <= new.price * new.qty <= layer.max_amount
            mid = book.mid
            assert mid is not None
            assert abs(new.price / mid - 1) <= Decimal("0.1")
            assert new.price < book.best_ask if own.side is Side.BUY else new.price > book.best_bid  # type: ignore[operator]

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_S)
            self.world.venue.check()
            for pair in self.world.engine.pairs:
                self._check_ladders(pair)
                for order in pair.ledger.live():
                    self._check_resting(pair, order)

    def _check_ladders(self, pair: Pair) -> None:
        live = [order for order in pair.ledger.live() if order.client_id not in self.world.venue.seen_before]
        bids = [order.price for order in live if order.side is Side.BUY]
        asks = [order.price for order in live if order.side is Side.SELL]
        assert not bids or not asks or max(bids) < min(asks), "own orders could cross, as far as the ledger knows"
        for layer, state in pair.layers.items():
            for side in Side:
                count = sum(order.layer is layer and order.side is side for order in live)
                assert count <= 2 * state.spec.levels(side), f"{count} live {layer} orders of one side"

    def _check_resting(self, pair: Pair, order: Order) -> None:
        """What should go has been asked to go in time."""
        state = pair.layers.get(order.layer)
        if state is None or order.state is not State.OPEN or order.cancel is not CancelState.NONE:
            self._bad_since.pop((order.client_id, "stale"), None)
            self._bad_since.pop((order.client_id, "halted"), None)
            return
        clock = self.world.clock
        left_s = pair.age.deadline_s(state.spec.quote_timeout_s, clock.wall_ms(), clock.monotonic()) - now_s()
        self._limit(order, "stale", LATE_S + SAMPLE_S, bad=left_s <= 0)
        try:
            halted = self._halted(pair, order.layer)
        except StateUnreadable:
            halted = False
        self._limit(order, "halted", 0.25, bad=halted)

    def _limit(self, order: Order, what: str, limit_s: float, *, bad: bool) -> None:
        key = (order.client_id, what)
        if not bad or "submit" in vars(self.world.venue):
            self._bad_since.pop(key, None)
            return
        since_s = self._bad_since.setdefault(key, now_s())
        assert now_s() - since_s <= limit_s + EPSILON_S, f"{order.client_id} rests, and is {what}"

    def _between_turns(self) -> bool:
        """Nothing is on its way, and the account has what the engine thinks it has."""
        live = [order for pair in self.world.engine.pairs for order in pair.ledger.live()]
        wallet, budget = self.world.venue._exchange.wallet, self.world.desk.budget
        return (
            all(order.state is State.OPEN and order.cancel is CancelState.NONE for order in live)
            and not budget._reserved
            and all(budget.free(asset) == wallet.free(asset) for asset in ("BTC", "ETH", "USDT"))
        )

    def _check_calm(self) -> None:
        """With everything well for a while, the venue is what the engine wants and believes."""
        venue = self.world.venue
        for pair in self.world.engine.pairs:
            symbol, instrument = pair.spec.symbol, pair.instrument
            listing = venue.open_now(symbol)
            live = pair.ledger.live()
            assert {seen.client_id for seen in listing.own} == {order.client_id for order in live}
            assert {order.state for order in live} <= {State.OPEN}
            assert {order.cancel for order in live} <= {CancelState.NONE}
            assert not pair.strangers
            filled = [fill for fill in venue._exchange.fills_after(symbol, None) or () if decode_own_id(fill.client_id)]
            position = sum((fill.qty if fill.side is Side.BUY else -fill.qty for fill in filled), D(0))
            assert pair.ledger.position == position, "the position is not what the fills come to"
            self._counts["fills"] = self._counts.get("fills", 0) + len(filled)
            assert instrument.symbol == symbol
            for layer, state in pair.layers.items():
                book = pair.age.book
                assert book is not None
                assert pair.gate.hold(layer) is None
                assert state.backoff_until_s <= now_s()
                assert state.rounds > 0
                if state.spec.diff_per_round_bps == 0 or state.spec.force_refresh_num < 10:
                    continue  # every round, or every few, replaces everything
                decision = pair.decider.decide(layer, book, live, pair.room(), forced=False, refreshes=state.refreshes)
                assert not decision.plan.cancel, f"{pair.spec.name} {layer}: {decision.plan}"
                # Where money or open orders are short, another ladder may have let go of some a moment ago.
                wanted = sum(one.levels(side) for one in pair.spec.layers for side in Side)
                scarce = self._tight or pair.spec.max_open_orders < 2 * wanted
                assert scarce or not decision.plan.place, f"{pair.spec.name} {layer}: {decision.plan}"
        assert {one.client_id for one in venue.open_now().foreign} == self._foreign

    async def _stop(self) -> None:
        """In half of the seeds the venue is as bad as ever while the engine stops."""
        world = self.world
        if self._dice.random() < 0.5:
            self._venue_trouble()
            world.set_faults(read_failure_rate=0.2)
        await world.end()
        self._stopping = True
        swept = await world.engine.stop(leave_orders=False, deadline_s=120.0)
        assert swept[world.desk].proven
        assert not world.venue.open_now().own, "proven empty, and it is not"
        assert {one.client_id for one in world.venue.open_now().foreign} == self._foreign
        for pair in world.engine.pairs:
            assert not pair.ledger.live()
        self._counts["faults"] = sum(pair.totals.faults for pair in world.engine.pairs)
        self._counts["rounds"] = sum(state.rounds for pair in world.engine.pairs for state in pair.layers.values())
        self._counts["unknown"] = sum(pair.totals.unknown for pair in world.engine.pairs)
        assert self._counts["faults"] < 600, "a flood of faults"
