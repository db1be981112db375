"""What happens to the engine, its venue and its operator: drawn from the seed's dice, one thing after another."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Protocol

from mmctl.core.order import Layer, Side, encode_own_id
from mmctl.drill.engines import EngineRun
from mmctl.drill.market import Street
from mmctl.drill.site import OPEN_ORDER_CAP, Site
from mmctl.drill.watch import SetHalt, Watch
from mmctl.drill.weather import CALM, draw
from mmctl.engine.halt import FileHaltLatch
from mmctl.errors import StateUnreadable
from mmctl.ports import HaltScope
from mmctl.sandbox.accounts import Account
from mmctl.sandbox.market import Market, OrderAsked
from mmctl.sandbox.refusals import Refusal
from mmctl.sandbox.reports import position

OLD_EPOCH = 1_600_000_000
MOST_FOREIGN = 4


class Play(Protocol):
    """The seed that is being played."""

    site: Site
    watch: Watch
    state_dir: Path

    @property
    def engine(self) -> EngineRun | None:
        """The engine that the operator believes to be running, if any."""

    def start_engine(self) -> None: ...
    def start_second(self) -> None: ...
    def start_stop(self, account: str, layer: Layer | None, uids: Collection[str]) -> None: ...
    @property
    def stop_sweeps(self) -> bool: ...


class Trouble:
    """Makes it. ``peace`` ends all of it at once."""

    def __init__(self, play: Play, seed: int) -> None:
        self._play = play
        self._site, self._watch = play.site, play.watch
        self._dice = random.Random(f"trouble {seed}")
        self._latch = FileHaltLatch(play.state_dir)
        self._on = True
        self._foreign = 0
        self._ghosts = 0
        self._bag = [
            act
            for weight, act in (
                (8, self.weather),
                (5, self.feed),
                (4, self.jump),
                (5, self.sweep),
                (3, self.wild),
                (3, self.halt),
                (4, self.resume),
                (1, self.rubbish),
                (2, self.quiet_please),
                (2, self.stall),
                (2, self.stall_wire),
                (2, self.cut_wires),
                (1, self.maintenance),
                (1, self.foreign),
                (1, self.ghost),
                (1, self.wall_step),
                (1, self.venue_clock),
                (3, self.crash),
                (1, self.crash_at_send),
                (1, self.restart),
                (2, self.suspend),
                (1, self.second_engine),
                (1, self.stop),
                (1, self.withdraw),
                (1, self.venue_full),
                (1, self.disk_full),
                (1, self.disk_slow),
            )
            for _ in range(weight)
        ]

    def begin(self) -> None:
        """Let trouble come from now on."""
        self._site.timeline.after(self._dice.uniform(0.0, 3.0), self._next)

    def _next(self) -> None:
        if not self._on:
            return
        act = self._dice.choice(self._bag)
        self._do(act)
        self._site.timeline.after(self._dice.uniform(0.1, 3.5), self._next)

    def _do(self, act: Callable[[], str | None]) -> None:
        said = act()
        if said is None:
            return
        name = act.__name__
        self._watch.count(name)
        self._watch.note(f"{name} {said}")

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        self._site.timeline.after(seconds, act)

    def peace(self) -> None:
        """No trouble any more: the network is good, clocks are right, the market stands still."""
        self._on = False
        site = self._site
        site.air.weather = CALM
        site.air.silent_until_s = 0.0
        site.faults.clear()
        self._mend_disk()
        site.wall_step_ms = 0
        site.exchange.clock_offset_ms = 0
        for wire in list(site.air.wires):
            wire.stall(0.0)
        for run in self._watch.engines:
            run.host.before_leaving = lambda: None
        for street in site.streets.values():
            street.mend()
            street.reference.still = True
        for market in site.exchange.markets.values():
            market.rules.open_order_cap = OPEN_ORDER_CAP
        self._watch.note("peace")

    def lift(self) -> None:
        """Resume everything."""
        self._latch.resume(lambda halt: True, by="drill", at_ms=self._site.wall_ms())
        self._watch.halts.clear()

    # The venue and the network

    def weather(self) -> str:
        self._site.air.weather = draw(self._dice)
        self._site.faults.set({"listing_lag_ms": self._site.air.weather.listing_lag_s * 1000})
        return str(self._site.air.weather)

    def quiet_please(self) -> str:
        status = self._dice.choice((429, 429, 418))
        wait_ms = self._dice.choice((500, 2000, 5000, 15_000))
        until_ms = self._site.exchange.now_ms() + wait_ms
        self._site.limits.block(status, until_ms)
        return f"{status} {wait_ms}"

    def stall(self) -> str:
        seconds = self._dice.choice((0.3, 2.0, 7.0, 20.0))
        self._site.air.silent_until_s = self._site.timeline.now_s + seconds
        return str(seconds)

    def stall_wire(self) -> str | None:
        if not self._site.air.wires:
            return None
        seconds = self._dice.choice((1.0, 8.0, 30.0))
        self._dice.choice(self._site.air.wires).stall(seconds)
        return str(seconds)

    def cut_wires(self) -> str:
        wires = list(self._site.air.wires)
        for wire in wires if self._dice.random() < 0.5 else wires[:1]:
            wire.cut()
        return str(len(wires))

    def maintenance(self) -> str:
        self._site.faults.set({"maintenance": 1.0})
        for wire in list(self._site.air.wires):
            wire.cut()
        seconds = self._dice.uniform(0.5, 12.0)
        self._later(seconds, partial(self._site.faults.set, {"maintenance": 0.0}))
        return f"{seconds:.1f}"

    def venue_clock(self) -> str:
        self._site.exchange.clock_offset_ms = self._dice.choice((-5000, -900, 0, 700, 1500, 4000))
        return str(self._site.exchange.clock_offset_ms)

    def venue_full(self) -> str:
        """The venue takes fewer open orders of a symbol for a while."""
        market = self._market()
        market.rules.open_order_cap = self._dice.choice((5, 20))
        self._later(self._dice.uniform(1.0, 10.0), partial(setattr, market.rules, "open_order_cap", OPEN_ORDER_CAP))
        return f"{market.symbol} {market.rules.open_order_cap}"

    # The market and the feed

    def _street(self) -> Street:
        return self._dice.choice(list(self._site.streets.values()))

    def _market(self) -> Market:
        return self._dice.choice(list(self._site.exchange.markets.values()))

    def feed(self) -> str:
        street = self._street()
        name = street.spoil()
        self._later(self._dice.choice((0.5, 3.0, 8.0, 20.0)), street.mend)
        return name

    def jump(self) -> str:
        steps = self._dice.choice((20, 100, 400, 2000))
        street = self._street()
        street.reference.move(steps)
        street.show()
        return str(steps)

    def wild(self) -> str:
        street = self._street()
        street.speed = self._dice.choice((1, 1, 3, 20))
        return str(street.speed)

    def sweep(self) -> str:
        bps = self._dice.choice((0.5, 5.0, 7.0, 12.0, 40.0))
        self._street().sweep(bps, self._dice.choice((0.05, 0.3, 1.0)))
        return str(bps)

    # The operator

    def halt(self) -> str:
        spec = self._dice.choice(self._site.script.specs)
        symbol = self._dice.choice((None, spec.symbol))
        self.set_halt(HaltScope(spec.venue, spec.account, symbol, self._dice.choice((None, *Layer))))
        self._later(self._dice.uniform(0.5, 8.0), self._resume_unless_stopping)
        return f"{symbol}"

    def set_halt(self, scope: HaltScope) -> str:
        """Write a halt down, as a stop verb does; returns its name."""
        halt = self._latch.set(scope, by="drill", at_ms=self._site.wall_ms(), why="a drill")
        self._watch.halts.append(SetHalt(scope, self._site.timeline.now_s))
        return halt.uid

    def halt_account(self, venue: str, account: str) -> str:
        """Halt all of an account, as cancel-all does."""
        return self.set_halt(HaltScope(venue, account, None, None))

    def resume(self) -> str | None:
        if not self._watch.halts or self._play.stop_sweeps:
            return None
        self.lift()
        return ""

    def _resume_unless_stopping(self) -> None:
        self._do(self.resume)

    def rubbish(self) -> str:
        with (self._play.state_dir / "halts.jsonl").open("a") as file:
            file.write("who wrote this?\n")
        self._later(self._dice.uniform(0.5, 4.0), self._mend_rubbish)
        return ""

    def _mend_rubbish(self) -> None:
        self._latch.resume(lambda halt: False, by="drill", at_ms=self._site.wall_ms())

    def stop(self) -> str | None:
        """Somebody asks for cancel-near or cancel-all in another terminal."""
        if self._play.stop_sweeps:
            return None
        spec = self._dice.choice(self._site.script.specs)
        layer = self._dice.choice((Layer.NEAR, None))
        try:
            self._latch.halts()
        except StateUnreadable:
            return None
        self._play.start_stop(spec.account, layer, (self.set_halt(HaltScope(spec.venue, spec.account, None, layer)),))
        return str(layer)

    # The engine and its machine

    def _engine(self) -> EngineRun | None:
        engine = self._play.engine
        return engine if engine is not None and engine.process.alive and not engine.stopping else None

    def crash(self) -> str | None:
        """kill -9, and after a while a new start."""
        engine = self._engine()
        if engine is None:
            return None
        self._kill(engine)
        return ""

    def _kill(self, engine: EngineRun) -> None:
        engine.kill()
        for wire in list(self._site.air.wires):
            if wire.process is engine.process:
                wire.cut()
        self._later(self._dice.choice((0.0, 0.2, 2.0, 15.0)), self._play.start_engine)

    def crash_at_send(self) -> str | None:
        """kill -9 at one of the next requests, before it is on its way."""
        engine = self._engine()
        if engine is None:
            return None
        left = self._dice.randint(1, 30)

        def before_leaving() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                engine.host.before_leaving = lambda: None
                self._watch.note("crash")
                if engine.process.alive:
                    self._kill(engine)

        engine.host.before_leaving = before_leaving
        return str(left)

    def restart(self) -> str | None:
        """SIGTERM, and a new start once it has ended."""
        engine = self._engine()
        if engine is None or not engine.ready or engine.process.suspended:
            return None
        engine.terminate()
        return ""

    def suspend(self) -> str | None:
        engine = self._engine()
        if engine is None or engine.process.suspended:
            return None
        engine.process.suspend()
        seconds = self._dice.choice((0.5, 4.0, 20.0))
        self._later(seconds, engine.process.resume)
        return str(seconds)

    def second_engine(self) -> str | None:
        """Somebody starts another engine for the same pairs; it has to be refused."""
        engine = self._engine()
        if engine is None or not engine.up:
            return None
        self._play.start_second()
        return ""

    def wall_step(self) -> str:
        """The machine's clock is set; after a while somebody sets it right."""
        self._site.wall_step_ms = self._dice.choice((-60_000, -2500, -300, 300, 2500, 60_000))
        self._later(self._dice.uniform(1.0, 10.0), partial(setattr, self._site, "wall_step_ms", 0))
        return str(self._site.wall_step_ms)

    def disk_full(self) -> str:
        self._site.disk_full = True
        self._later(self._dice.uniform(0.5, 8.0), self._mend_disk)
        return ""

    def _mend_disk(self) -> None:
        self._site.disk_full, self._site.disk_slow_s = False, 0.0
        for run in self._watch.engines:
            run.process.call(run.journal.mend)

    def disk_slow(self) -> str:
        self._site.disk_slow_s = self._dice.choice((0.001, 0.02, 0.4))
        self._later(self._dice.uniform(0.5, 8.0), partial(setattr, self._site, "disk_slow_s", 0.0))
        return str(self._site.disk_slow_s)

    # Others on the account

    def foreign(self) -> str | None:
        """Somebody places an order by hand, far from the touch."""
        spec = self._dice.choice(self._site.script.specs)
        market, account = self._site.exchange.market(spec.symbol), self._site.exchange.accounts[spec.account]
        if self._foreign >= MOST_FOREIGN:
            return None
        self._foreign += 1
        buy = self._dice.random() < 0.5
        price = market.average * (90 if buy else 110) // 100
        lots = max(1, int(Decimal(20) / (market.rules.spec.tick_size * price * market.rules.spec.lot_size)))
        asked = OrderAsked(f"web_{self._foreign}", buy, "LIMIT", "GTC", price, lots)
        try:
            self._site.exchange.place(account, market, asked)
        except Refusal:
            return None
        return f"{asked.client_id} {market.symbol}"

    def ghost(self) -> str | None:
        """A placement of an engine of long ago lands at last."""
        spec = self._dice.choice(self._site.script.specs)
        market, account = self._site.exchange.market(spec.symbol), self._site.exchange.accounts[spec.account]
        self._ghosts += 1
        buy = self._dice.random() < 0.5
        layer = self._dice.choice([one.layer for one in spec.layers])
        client_id = encode_own_id(layer, Side.BUY if buy else Side.SELL, OLD_EPOCH, self._ghosts)
        price = market.average * (95 if buy else 105) // 100
        lots = max(1, int(Decimal(20) / (market.rules.spec.tick_size * price * market.rules.spec.lot_size)))
        self._watch.strangers.add(client_id)
        try:
            self._site.exchange.place(account, market, OrderAsked(client_id, buy, "LIMIT_MAKER", "GTC", price, lots))
        except Refusal:
            return None
        return f"{client_id} {market.symbol}"

    def withdraw(self) -> str | None:
        """Somebody takes money off the account, and brings it back later."""
        spec = self._dice.choice(self._site.script.specs)
        account = self._site.exchange.accounts[spec.account]
        asset = self._dice.choice((spec.base, spec.quote))
        amount = account.free.get(asset, 0) * self._dice.choice((5, 10)) // 10
        if amount <= 0:
            return None
        self._move_money(account, asset, -amount)
        self._later(self._dice.uniform(1.0, 10.0), partial(self._move_money, account, asset, amount))
        return asset

    def _move_money(self, account: Account, asset: str, amount: int) -> None:
        """The user stream tells of it, as of all that changes balances."""
        exchange = self._site.exchange
        account.receive(asset, amount)
        if account.watchers and exchange.teller.on_user_event is not None:
            exchange.teller.on_user_event(account, position(account, (asset,), exchange.now_ms()))
