"""A small world for the tests of the engine: a feed that does as it is told, the mock venue, and witnesses.

The reference book of a pair stands at a mid of 100.00 unless it is moved: eight levels a side, 0.10 apart, the
touch at 99.99 and 100.01. Its sizes change with every step of 100 ms, so that it is alive, and not so much that
an order would be replaced for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import pytest

from mmctl.clock import SystemClock
from mmctl.core.book import Book, BookKey, Trade
from mmctl.core.instrument import Instrument
from mmctl.core.order import CancelOrder, Layer, NewOrder, Side, TimeInForce, decode_own_id, encode_own_id
from mmctl.core.report import Faulted, Report, RoundDone, Skipped
from mmctl.core.spec import LayerSide, LayerSpec, PairSpec, Strategy
from mmctl.engine.desk import AccountDesk
from mmctl.engine.epoch import next_epoch
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.loop import Engine, Limits
from mmctl.engine.pair import Pair
from mmctl.engine.sweep import Swept
from mmctl.ports import Feed, HaltScope, Listing
from mmctl.venues.mock import MockOptions, MockVenue

from .notebook import Notebook

D = Decimal
VIRTUAL = pytest.mark.looptime(noop_cycles=0)
"""Virtual time; nothing here waits for anything real."""

T0_MS = 1_700_000_000_000
STEP_MS = 100
SURE = MockOptions(latency_ms=20, latency_jitter_ms=0)
"""A venue without chance: every round trip takes 40 ms."""

ROUND_TRIP_S = 0.04
MID = D(100)
PLENTY = {"BTC": D(10**6), "ETH": D(10**6), "XRP": D(10**6), "USDT": D(10**9)}

Kind = TypeVar("Kind")

_decoded = lru_cache(maxsize=None)(decode_own_id)


def now_s() -> float:
    return asyncio.get_running_loop().time()


def instrument(base: str = "BTC", **changes: object) -> Instrument:
    made = Instrument(base + "USDT", base, "USDT", D("0.01"), D("0.001"), min_notional=D(5))
    return replace(made, **changes)  # type: ignore[arg-type]


def near(**changes: object) -> LayerSpec:
    """Three quotes a side, 10 bps outside a mirrored level, every second; the book may be two seconds old."""
    made = LayerSpec(
        layer=Layer.NEAR,
        interval_s=1.0,
        quote_timeout_s=2.0,
        side=LayerSide.BOTH,
        time_in_force=TimeInForce.GTX,
        strategy=Strategy.MIRROR,
        buy_margin_bps=D(10),
        sell_margin_bps=D(10),
        qty_multiplier=D(1),
        ask_levels=3,
        bid_levels=3,
        max_amount=D(1000),
        min_qty=D(0),
        min_amount=D(0),
        diff_per_round_bps=D(2),
        qty_tolerance=D("0.5"),
        force_refresh_num=10_000,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def far(**changes: object) -> LayerSpec:
    """Two quotes a side, 100 bps apart, every three seconds; the book may be five seconds old."""
    defaults: dict[str, object] = {
        "layer": Layer.FAR,
        "interval_s": 3.0,
        "quote_timeout_s": 5.0,
        "strategy": Strategy.SPREAD,
        "buy_margin_bps": D(100),
        "sell_margin_bps": D(100),
        "ask_levels": 2,
        "bid_levels": 2,
    }
    return near(**(defaults | changes))


def pair_spec(base: str = "BTC", near_: LayerSpec | None = None, far_: LayerSpec | None = None) -> PairSpec:
    """A pair on the mock venue; near alone where neither ladder is given."""
    return PairSpec(
        name=f"{base}-USDT",
        base=base,
        quote="USDT",
        symbol=f"{base}USDT",
        venue="mock",
        account="main",
        follow=BookKey("test", f"{base}USDT"),
        near=near() if near_ is None and far_ is None else near_,
        far=far_,
        collar_bps=D(1000),
        max_open_orders=100,
        frozen_after_s=30.0,
        seed=3,
    )


def both(base: str = "BTC") -> PairSpec:
    return pair_spec(base, near(), far())


BTC = BookKey("test", "BTCUSDT")
ETH = BookKey("test", "ETHUSDT")


def make_book(key: BookKey, ts_ms: int, mid: Decimal = MID, *, variant: int = 0, levels: int = 8) -> Book:
    """A book around ``mid``; another ``variant`` has other sizes."""
    qty = D(5) + D(variant % 7) / 100
    steps = [D("0.01") + D("0.1") * number for number in range(levels)]
    return Book.of(key, ts_ms, [(mid - one, qty) for one in steps], [(mid + one, qty) for one in steps], "fake")


Reading = Callable[[], Awaitable[Book]]


class FakeFeed:
    """A feed whose every market is alive at ``mids`` until it is given another way of ``answer``-ing."""

    source = "fake"

    def __init__(self, clock: SystemClock) -> None:
        self.clock = clock
        self.mids: dict[BookKey, Decimal] = {}
        self.answers: dict[BookKey, Reading] = {}
        self.reads: list[tuple[float, BookKey]] = []
        self.closed = False

    async def read(self, key: BookKey) -> Book:
        self.reads.append((now_s(), key))
        answer = self.answers.get(key)
        return self.book(key) if answer is None else await answer()

    def book(self, key: BookKey) -> Book:
        """The market as it is now."""
        ts_ms = self.clock.wall_ms() // STEP_MS * STEP_MS
        return make_book(key, ts_ms, self.mids.get(key, D(100)), variant=ts_ms // STEP_MS)

    def trades(self, key: BookKey, after_id: int) -> Sequence[Trade]:
        return ()

    async def close(self) -> None:
        self.closed = True

    # Ways to misbehave.

    def silent(self, key: BookKey) -> None:
        """The writer died: the same book again and again."""
        last = self.book(key)
        self.serve(key, lambda: last)

    def serve(self, key: BookKey, make: Callable[[], Book]) -> None:
        async def answer() -> Book:
            return make()

        self.answers[key] = answer

    def fail(self, key: BookKey, error: Exception) -> None:
        async def answer() -> Book:
            raise error

        self.answers[key] = answer

    def hang(self, key: BookKey) -> None:
        async def answer() -> Book:
            await asyncio.Event().wait()
            raise AssertionError("nothing sets that event")

        self.answers[key] = answer

    def mend(self, key: BookKey) -> None:
        self.answers.pop(key, None)


@dataclass(frozen=True)
class Sent:
    """One call of the venue's ``submit``."""

    at_s: float
    places: tuple[NewOrder, ...]
    cancels: tuple[CancelOrder, ...]


class Witness(MockVenue):
    """The mock venue, which writes down what it is asked, and checks its own truth after all that happens to it.

    ``ladders`` are the most live orders of a symbol, layer and side that its engine may ever have here.
    """

    def __init__(self, clock: SystemClock, instruments: dict[str, Instrument], options: MockOptions = SURE) -> None:
        super().__init__(clock, instruments, PLENTY, options)
        self.sent: list[Sent] = []
        self.ladders: dict[tuple[str, Layer, Side], int] = {}
        self.before_submit: Callable[[Sequence[NewOrder], Sequence[CancelOrder]], None] = lambda places, cancels: None
        self.seen_before: list[str] = []
        self.ids_sent: set[str] = set()
        for name in ("place", "cancel", "observe"):
            setattr(self._exchange, name, self._watched(getattr(self._exchange, name)))

    def submit(self, places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
        self.before_submit(places, cancels)
        for order in places:
            assert order.client_id not in self.ids_sent, "a client order id was sent twice"
            self.ids_sent.add(order.client_id)
        self.sent.append(Sent(now_s(), tuple(places), tuple(cancels)))
        super().submit(places, cancels)

    def placed(self) -> list[NewOrder]:
        return [order for one in self.sent for order in one.places]

    def cancels(self, after_s: float = -1.0) -> list[tuple[float, str]]:
        """When the cancel of which order left."""
        return [(one.at_s, cancel.client_id) for one in self.sent for cancel in one.cancels if one.at_s >= after_s]

    def own(self, symbol: str | None = None, layer: Layer | None = None) -> list[tuple[Layer, Side, Decimal]]:
        """What is really open: layer, side and price, sorted."""
        found = [(decode_own_id(seen.client_id), seen) for seen in self.open_now(symbol).own]
        return sorted((own.layer, seen.side, seen.price) for own, seen in found if own and layer in (None, own.layer))

    def prices(self, symbol: str | None = None, layer: Layer | None = None) -> dict[Side, list[Decimal]]:
        return {side: [price for _, own, price in self.own(symbol, layer) if own is side] for side in Side}

    def check(self) -> None:
        """The invariants that must hold at every moment."""
        assert self.prevented_matches == 0, "an own order would have met another"
        assert self.self_trades == 0, "own orders cross"
        counts: dict[tuple[str, Layer, Side], int] = {}
        for order in self._exchange._open.values():
            own = _decoded(order.client_id)
            if own is not None and order.client_id not in self.seen_before:
                key = (order.symbol, own.layer, own.side)
                counts[key] = counts.get(key, 0) + 1
        for key, count in counts.items():
            assert count <= 2 * self.ladders.get(key, count), f"{count} orders of {key} are open"

    def _watched(self, act: Callable[..., Kind]) -> Callable[..., Kind]:
        def acting(*args: object) -> Kind:
            result = act(*args)
            self.check()
            return result

        return acting


@dataclass
class World:
    """An engine, what it works on, and what it told."""

    clock: SystemClock
    feed: Feed
    venue: Witness
    latch: FileHaltLatch
    engine: Engine
    desk: AccountDesk
    journal: Notebook
    reports: list[tuple[float, Report]] = field(default_factory=list)
    running: asyncio.Task[None] | None = None

    @property
    def pair(self) -> Pair:
        return self.engine.pairs[0]

    @property
    def fake(self) -> FakeFeed:
        assert isinstance(self.feed, FakeFeed)
        return self.feed

    def told(self, kind: type[Kind], pair: str | None = None, after_s: float = -1.0) -> list[Kind]:
        return [one for _, one in self.timed(kind, pair, after_s)]

    def timed(self, kind: type[Kind], pair: str | None = None, after_s: float = -1.0) -> list[tuple[float, Kind]]:
        """Reports of one kind with the time at which they were told."""
        return [
            (at_s, one)
            for at_s, one in self.reports
            if isinstance(one, kind) and at_s >= after_s and pair in (None, getattr(one, "pair", None))
        ]

    def faults(self, kind: str | None = None, pair: str | None = None, after_s: float = -1.0) -> list[Faulted]:
        return [one for one in self.told(Faulted, pair, after_s) if kind in (None, one.kind)]

    def rounds(self, layer: Layer = Layer.NEAR, pair: str | None = None, after_s: float = -1.0) -> list[RoundDone]:
        return [one for one in self.told(RoundDone, pair, after_s) if one.layer is layer]

    def turns_s(self, layer: Layer = Layer.NEAR, pair: str | None = None) -> list[float]:
        """When each turn of ``layer`` was told of."""
        told = [*self.timed(RoundDone, pair), *self.timed(Skipped, pair)]
        return sorted(at_s for at_s, one in told if one.layer is layer and not getattr(one, "follow_up", False))

    def move(self, mid: str, key: BookKey = BTC) -> None:
        """The market moves; the venue sees it at once."""
        self.fake.mids[key] = D(mid)
        self.show(key)

    def show(self, key: BookKey = BTC) -> None:
        self.venue.observe(key.symbol, self.fake.book(key))

    def halt(self, symbol: str | None = None, layer: Layer | None = None, latch: FileHaltLatch | None = None) -> None:
        """Somebody else sets a halt: another object on the same file."""
        other = latch or FileHaltLatch(self.latch.path.parent)
        other.set(HaltScope("mock", "main", symbol, layer), by="anna", at_ms=self.clock.wall_ms(), why="drill")

    def resume(self) -> None:
        FileHaltLatch(self.latch.path.parent).resume(lambda halt: True, by="anna", at_ms=self.clock.wall_ms())

    def set_faults(self, **changes: object) -> None:
        """Change the venue's options from now on."""
        self.venue.set_options(replace(self.venue._line.options, **changes))  # type: ignore[arg-type]

    def start(self, limits: Limits = Limits()) -> asyncio.Task[None]:  # noqa: B008 - frozen
        self.running = asyncio.create_task(self.engine.run(limits))
        return self.running

    async def ended(self) -> None:
        """Wait for the run to reach its own limit."""
        assert self.running is not None
        await asyncio.wait_for(self.running, 60)

    async def end(self) -> None:
        """No more turns; the guards stay until ``stop``."""
        if self.running is not None:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)
            self.running = None

    async def stop(self, *, leave_orders: bool = False, deadline_s: float = 60.0) -> Swept | None:
        await self.end()
        swept = await self.engine.stop(leave_orders=leave_orders, deadline_s=deadline_s)
        return swept.get(self.desk)

    def target(self, layer: Layer | None = None) -> list[tuple[Layer, Side, Decimal]]:
        """What the newest round of each layer wanted: layer, side and price, sorted."""
        wanted = []
        for which in self.pair.layers:
            rounds = self.rounds(which, self.pair.spec.name)
            if rounds and layer in (None, which):
                instrument_ = rounds[-1].instrument
                wanted += [(one.layer, one.side, instrument_.price(one.price)) for one in rounds[-1].target]
        return sorted(wanted)


def make_world(
    state_dir: Path,
    *specs: PairSpec,
    options: MockOptions = SURE,
    feed: Callable[[SystemClock], Feed] = FakeFeed,
    **changes: object,
) -> World:
    """A world that stands still. ``changes`` are of the instruments."""
    clock = SystemClock(wall_offset_ms=T0_MS)
    specs = specs or (pair_spec(),)
    venue = Witness(clock, {spec.symbol: instrument(spec.base, **changes) for spec in specs}, options)
    for spec in specs:
        for layer in spec.layers:
            for side in Side:
                venue.ladders[spec.symbol, layer.layer, side] = layer.levels(side)
    made_feed = feed(clock)
    latch = FileHaltLatch(state_dir)
    reports: list[tuple[float, Report]] = []

    def report(one: Report) -> None:
        reports.append((now_s(), one))

    journal = Notebook()
    desk = AccountDesk(venue, clock, report, journal)
    pairs = [Pair(spec, venue._exchange.instruments[spec.symbol], desk, latch, report) for spec in specs]
    if isinstance(made_feed, FakeFeed):
        for spec in specs:
            venue.observe(spec.symbol, made_feed.book(spec.follow))
    return World(clock, made_feed, venue, latch, Engine(pairs, made_feed, clock), desk, journal, reports)


async def prepare(world: World) -> None:
    """As bootstrap does: balances, adoption, an epoch."""

    def epoch(desk: AccountDesk, seen: int) -> int:
        state_dir = world.latch.path.parent
        return next_epoch(state_dir, desk.venue.name, desk.venue.account, wall_ms=world.clock.wall_ms(), seen=seen)

    world.venue.seen_before = [seen.client_id for seen in world.venue.open_now().own]
    await world.engine.prepare(epoch)


@asynccontextmanager
async def quoting(
    state_dir: Path,
    *specs: PairSpec,
    options: MockOptions = SURE,
    feed: Callable[[SystemClock], Feed] = FakeFeed,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    before: Callable[[World], None] = lambda world: None,
    **changes: object,
) -> AsyncIterator[World]:
    """An engine at work; in the end nothing of it may be left running. ``before`` is done to its world first."""
    tasks = asyncio.all_tasks()
    world = make_world(state_dir, *specs, options=options, feed=feed, **changes)
    before(world)
    await prepare(world)
    world.start(limits)
    try:
        yield world
    finally:
        await world.stop(leave_orders=True)
        await world.venue.close()
        await world.feed.close()
    world.venue.check()
    assert not asyncio.all_tasks() - tasks, "a task was left behind"


def strangers(epoch: int, side: Side, layer: Layer = Layer.NEAR) -> Iterator[str]:
    """Client order ids of another engine, of ``epoch``."""
    return (encode_own_id(layer, side, epoch, number) for number in range(1, 1000))


def ghost(client_id: str, side: Side, price: str, symbol: str = "BTCUSDT", qty: str = "1") -> NewOrder:
    """An own order that no ledger here knows."""
    return NewOrder(symbol, client_id, side, D(price), D(qty), TimeInForce.GTX)


def foreign(world: World, side: Side, price: str, client_id: str = "web_1", symbol: str = "BTCUSDT") -> None:
    world.venue.place_foreign(symbol, side, D(price), D(1), client_id)


async def until(true: Callable[[], object], within_s: float = 5.0, every_s: float = 0.01) -> float:
    """Wait for something; says how long that took."""
    began_s = now_s()
    while not true():
        assert now_s() - began_s < within_s, f"nothing within {within_s} s"
        await asyncio.sleep(every_s)
    return now_s() - began_s


def ids(listing: Listing) -> set[str]:
    return {seen.client_id for seen in listing.own}


def lose_all(world: World, *, arrives: bool | None = None) -> None:
    """Every reply is lost from now on; ``arrives`` says whether the requests themselves are."""
    world.set_faults(timeout_rate=1.0)
    if arrives is not None:
        original = world.venue._line._drawn

        def drawn(order: NewOrder | CancelOrder, at_s: float) -> object:
            request = original(order, at_s)
            request.arrives, request.late_by_s = arrives, None
            return request

        world.venue._line._drawn = drawn  # type: ignore[method-assign, assignment]


def keep_all(world: World) -> None:
    world.set_faults(timeout_rate=0.0)
    vars(world.venue._line).pop("_drawn", None)
