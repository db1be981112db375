"""The sandbox profile's pairs through the real engine, with Binance's limits and every fault at a low rate.

    python tests/bench/soak_faults.py [SECONDS [SEED]]

Five minutes unless told otherwise. The sandbox runs in another process and is asked for the truth at its control
address. Ends with 1 where a limit was exceeded, something was sent against a Retry-After beyond what was on its way,
an order was lost (open there and not known here, or the other way round, once all is quiet), one was placed twice,
an own order met another, a trade was missed or counted twice, or orders were left after the stop.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

from sandbox_beside import Beside, sandbox_beside

from mmctl.bootstrap import Setup, open_engine, own_venues
from mmctl.clock import SystemClock
from mmctl.core.order import State
from mmctl.core.report import Faulted, Report, RoundDone, Skipped
from mmctl.engine.loop import Engine, Limits
from mmctl.profile import load_profile
from mmctl.venues.binance import BinanceVenue
from mmctl.wire.binance_limits import Kind

SANDBOX_PROFILE = Path(__file__).parents[2] / "profiles" / "sandbox.toml"
FAULTS: dict[str, float] = {
    "latency_ms": 5,
    "jitter_ms": 20,
    "reply_lost": 0.005,
    "request_lost": 0.005,
    "request_delayed": 0.005,
    "delay_ms": 1500,
    "too_many": 0.001,
    "ban": 0.0005,
    "retry_after_s": 5,
    "server_error": 0.005,
    "drop": 0.002,
    "stall": 0.001,
    "stall_s": 5,
    "event_repeated": 0.02,
    "event_reordered": 0.02,
    "listing_lag_ms": 300,
    "partial_burst": 0.003,
}
CLOCK_OFFSETS_MS = (-700, 1500)
"""How far off the venue's clock may be without a refusal: ahead by less than recvWindow, behind by less than 1 s."""

ON_ITS_WAY_MS = FAULTS["delay_ms"] + 300
"""How long after a 429 or 418 a request may arrive that left before that answer came: delay, latency, a busy machine.
Well below ``retry_after_s``: who asks on regardless, if only once a second, comes later than this."""

QUIET_WITHIN_S = 60.0
LEAST_SHARE = 0.5
"""Of the seconds, so many at least must see near orders of both pairs: an engine that does nothing loses nothing."""


class Soak:
    """One run: what was told, and how often both pairs had near orders."""

    def __init__(self, beside: Beside, seed: int) -> None:
        self.beside = beside
        self.dice = random.Random(seed)
        self.began = time.monotonic()
        self.kinds: Counter[str] = Counter()
        self.placed = self.changed = self.rounds = 0
        self.seconds = self.quoted = self.most_orders = 0
        self.wrong: list[str] = []

    def report(self, one: Report) -> None:
        if isinstance(one, RoundDone):
            self.rounds += 1
            self.placed += one.placed
            self.changed += one.placed + one.cancelled
        elif isinstance(one, Skipped):
            self.kinds[f"skipped {one.reason}"] += 1
        elif isinstance(one, Faulted):
            self.kinds[one.kind] += 1
            print(f"{time.monotonic() - self.began:7.1f} s  {one.pair}: {one.kind}: {one.detail[:150]}; {one.action}")

    async def trouble(self, engine: Engine) -> None:
        """What is no rate: the clock moves, the user data stream stalls, connections go, maintenance once."""
        venue = engine.pairs[0].desk.venue
        assert isinstance(venue, BinanceVenue)
        others = [
            ("/connections/stall", {"kind": "ws_api", "seconds": 8}),
            ("/connections/drop", {"kind": "ws_api"}),
            ("/connections/drop", {"kind": "streams"}),
            ("/connections/shutdown", {"seconds": 3}),
            ("/maintenance", {"on": True}),
        ]
        for number in range(10**6):
            await asyncio.sleep(self.dice.uniform(10, 20))
            if venue.hold_s:
                continue  # a clock that moves while the venue wants quiet would move the end of that, too
            if number % 2:
                await self.beside.set_faults(clock_offset_ms=self.dice.randrange(*CLOCK_OFFSETS_MS))
                continue
            path, given = others[number // 2 % len(others)]
            await self.beside.control(path, given)
            if path == "/maintenance":
                await asyncio.sleep(3)
                await self.beside.control(path, {"on": False})

    async def takers(self, engine: Engine) -> None:
        """Somebody takes beyond the touch, a different depth each time, so that own orders fill whole and in part;
        and now and then the market jumps, so that whole ladders are replaced and the limits are reached for."""
        while True:
            await asyncio.sleep(self.dice.uniform(1, 4))
            pair = self.dice.choice(engine.pairs)
            if self.dice.random() < 0.6:
                given = {"symbol": pair.spec.symbol, "bps": self.dice.uniform(-8, 8)}
                await self.beside.control("/market/move", given)
                continue
            side = self.dice.choice(["BUY", "SELL"])
            amount = self.dice.uniform(20_000, 300_000)  # a level holds some thousands
            book = pair.age.book
            if book is not None and book.mid is not None:
                quantity = f"{Decimal(amount) / book.mid:.3f}"
                taken = {"symbol": pair.spec.symbol, "side": side, "quantity": quantity}
                await self.beside.control("/market/trade", taken)

    async def watch(self, engine: Engine) -> None:
        while True:
            await asyncio.sleep(1)
            self.seconds += 1
            venue = engine.pairs[0].desk.venue
            assert isinstance(venue, BinanceVenue)
            orders = [used for limit, used in venue.rates_used.items() if limit.kind is Kind.ORDERS]
            self.most_orders = max(self.most_orders, min(orders, default=0))
            self.quoted += all(
                any(one.state is State.OPEN and one.layer in pair.layers for one in pair.ledger.live())
                for pair in engine.pairs
            )

    def check(self, good: bool, what: str) -> None:
        if not good:
            self.wrong.append(what)

    async def quiet(self, engine: Engine) -> None:
        """Without faults and without rounds, venue and ledger must come to agree."""
        until_s = time.monotonic() + QUIET_WITHIN_S
        while True:
            truth = (await self.beside.shown("/truth"))["accounts"]["main"]
            trades = (await self.beside.shown("/history"))["accounts"]["main"]["trades"]
            unsettled = [one for pair in engine.pairs for one in pair.ledger.live() if one.state is not State.OPEN]
            there = {one["clientOrderId"] for one in truth["open_orders"]}
            here = {one.client_id for pair in engine.pairs for one in pair.ledger.live()}
            differing = positions_differ(engine, trades)
            if there == here and not unsettled and not differing:
                print(f"quiet: {len(there)} orders open on the venue, the same in the ledger; positions agree")
                return
            if time.monotonic() > until_s:
                self.check(not there - here, f"lost, open there and unknown here: {sorted(there - here)}")
                self.check(not here - there, f"lost, thought open and not there: {sorted(here - there)}")
                self.check(not unsettled, f"still unsettled: {unsettled}")
                self.check(not differing, differing)
                return
            await asyncio.sleep(0.5)


def positions_differ(engine: Engine, all_trades: list[dict[str, Any]]) -> str:
    """How positions differ from what the venue's trades add up to."""
    lines = []
    for pair in engine.pairs:
        trades = [one for one in all_trades if one["symbol"] == pair.spec.symbol]
        total = sum((Decimal(one["qty"]) * (1 if one["isBuyer"] else -1) for one in trades), Decimal(0))
        if total != pair.ledger.position:
            lines.append(f"{pair.spec.name}: position {pair.ledger.position}, {len(trades)} trades say {total}")
    return "; ".join(lines)


async def run(seconds: float, seed: int) -> bool:
    async with sandbox_beside("--limits", "binance", "--seed", str(seed)) as beside:
        with tempfile.TemporaryDirectory() as folder:
            text = SANDBOX_PROFILE.read_text().replace("127.0.0.1:18740", beside.urls.rest.removeprefix("http://"))
            # The kill switch is proven elsewhere; here it would end the soak.
            text = text.replace("max_fills_per_min = 300", "max_fills_per_min = 100000")
            path = Path(folder) / "soak.toml"
            path.write_text(text)
            profile = load_profile(str(path), environ={}, cwd=path.parent)
            setup = Setup(profile, profile.pairs, profile.feed, None, Path(folder) / "state", SystemClock())
            soak = Soak(beside, seed)
            async with open_engine(setup, own_venues, soak.report, print) as engine:
                await soaked(soak, engine, seconds, FAULTS)
            await judged(soak, seconds)
            print(f"at most {soak.most_orders} of 100 orders in 10 s were used, of which quoting may use 80")
    for line in soak.wrong:
        print(f"WRONG: {line}")
    print("goals: " + ("MISSED" if soak.wrong else "met"))
    return not soak.wrong


async def soaked(soak: Soak, engine: Engine, seconds: float, faults: dict[str, float]) -> None:
    """The run with all its trouble, the quiet after it, and the stop."""
    await soak.beside.set_faults(**faults)
    beside_it = [asyncio.create_task(one(engine)) for one in (soak.trouble, soak.takers, soak.watch)]
    await engine.run(Limits(for_s=seconds))
    for task in beside_it:
        task.cancel()
    for ended in await asyncio.gather(*beside_it, return_exceptions=True):
        soak.check(isinstance(ended, asyncio.CancelledError), f"the soak itself failed: {ended!r}")
    before = await soak.beside.shown("/state")
    print(f"struck: {before['struck']}")
    offset_ms = (await soak.beside.shown("/faults"))["clock_offset_ms"]
    await soak.beside.set_faults(clear=True, clock_offset_ms=offset_ms)
    await soak.quiet(engine)
    swept = await engine.stop(leave_orders=False)
    soak.check(all(one.proven for one in swept.values()), f"the stop was not proven: {swept}")
    summary = engine.summary(swept)
    print(
        f"rounds {summary.rounds}, placed {summary.placed}, cancelled {summary.cancelled}, "
        f"rejected {summary.rejected}, unknown {summary.unknown}, fills {summary.fills}, faults {summary.faults}"
    )


async def judged(soak: Soak, seconds: float) -> None:
    """What the venue knows of the whole run."""
    state, truth = await soak.beside.shown("/state"), await soak.beside.shown("/truth")
    main_account = truth["accounts"]["main"]
    print(
        f"asked {state['asked']}, placed {state['placed']}, cancelled {state['cancelled']}, trades {state['trades']}; "
        f"connected {state['connected']}; against a Retry-After {state['disobeyed']}, "
        f"at most {state['disobeyed_late_ms']} ms after it was said"
    )
    print(f"told: {dict(soak.kinds.most_common())}")
    share = soak.quoted / max(1, soak.seconds)
    print(f"both pairs had open orders in {share:.0%} of {soak.seconds} seconds")
    soak.check(not state["exceeded"], f"limits exceeded {state['exceeded']} times")
    late_ms = state["disobeyed_late_ms"]
    by = state["disobeyed_by"]
    soak.check(late_ms <= ON_ITS_WAY_MS, f"sent against a Retry-After {late_ms} ms after it was said: {by}")
    soak.check(not main_account["placed_twice"], f"placed twice: {main_account['placed_twice']}")
    soak.check(not main_account["open_orders"], f"left after the stop: {main_account['open_orders']}")
    soak.check(not truth["self_trades"], f"self trades: {truth['self_trades']}")
    soak.check(not truth["prevented_matches"], f"prevented matches: {truth['prevented_matches'][:3]}")
    soak.check(share >= LEAST_SHARE, f"orders of both pairs in {share:.0%} of the seconds, not {LEAST_SHARE:.0%}")
    soak.check(soak.placed > seconds, f"only {soak.placed} orders placed")
    soak.check(bool(main_account["trades"]), "no own order was filled")


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 300.0
    return 0 if asyncio.run(run(seconds, int(sys.argv[2]) if len(sys.argv) > 2 else 7)) else 1


if __name__ == "__main__":
    sys.exit(main())
