"""What a decision costs: near and far on a moving book, with as many live orders as quotes.

    python tests/bench/bench_decide.py [--rounds 2000]

Each round moves the book, decides for both layers and carries the plans out, so that the next round meets
live orders as a running engine does: most kept, some moved, some filled. Ends with 1 where both layers of a
20-level book take 1 ms or more, or where more levels cost more than n log n does.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import time
from collections.abc import Sequence
from decimal import Decimal
from math import log
from statistics import median, quantiles

from mmctl.core.book import Book, BookKey
from mmctl.core.decide import PairDecider
from mmctl.core.instrument import Instrument
from mmctl.core.order import Layer, Order, Side, State, TimeInForce, encode_own_id
from mmctl.core.risk import Room
from mmctl.core.spec import LayerSide, LayerSpec, PairSpec, Strategy

GOAL_US = 1000.0
LEVELS = (20, 50, 100, 200, 500)
GROWTH_ALLOWED = 1.25
"""How far from n log n a median may lie on a machine that does other work too."""

INSTRUMENT = Instrument("BTCUSDT", "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"), min_notional=Decimal(5))
KEY = BookKey("binance_spot", "BTCUSDT")
ROOM = Room(orders=10_000, base_lots=10**12, quote_units=10**20)


def layer(which: Layer, strategy: Strategy, levels: int, margin_bps: str, diff_bps: str) -> LayerSpec:
    return LayerSpec(
        layer=which,
        interval_s=1.0,
        quote_timeout_s=5.0,
        side=LayerSide.BOTH,
        time_in_force=TimeInForce.GTX,
        strategy=strategy,
        buy_margin_bps=Decimal(margin_bps),
        sell_margin_bps=Decimal(margin_bps),
        qty_multiplier=Decimal("0.5"),
        ask_levels=levels,
        bid_levels=levels,
        max_amount=Decimal(5000),
        min_qty=Decimal(0),
        min_amount=Decimal(5),
        diff_per_round_bps=Decimal(diff_bps),
        qty_tolerance=Decimal("0.5"),
        force_refresh_num=10,
    )


def decider(levels: int, diff_bps: str) -> PairDecider:
    """Both ladders with ``levels`` a side; the collar is wide enough for all of them."""
    return PairDecider(
        PairSpec(
            name="BTC-USDT",
            base="BTC",
            quote="USDT",
            symbol="BTCUSDT",
            venue="mock",
            account="main",
            follow=KEY,
            near=layer(Layer.NEAR, Strategy.MIRROR, levels, "2", diff_bps),
            far=layer(Layer.FAR, Strategy.SPREAD, levels, "5", diff_bps),
            collar_bps=Decimal(9000),
            max_open_orders=10_000,
            frozen_after_s=30.0,
            seed=7,
        ),
        INSTRUMENT,
    )


class Market:
    """A book whose levels stay where they are for a while, as real ones do, and drift with the price."""

    def __init__(self, levels: int, dice: random.Random) -> None:
        self._levels, self._dice, self._bid = levels, dice, 6_180_000
        self._sizes: dict[int, int] = {}

    def book(self, ts_ms: int) -> Book:
        dice = self._dice
        self._bid += dice.choice([0, 0, 0, 10, -10, 30, -30])
        bids = [self._level(self._bid - 10 * n) for n in range(self._levels)]
        asks = [self._level(self._bid + 1 + 10 * n) for n in range(self._levels)]
        return Book.of(KEY, ts_ms, bids, asks, "bench")

    def _level(self, ticks: int) -> tuple[Decimal, Decimal]:
        dice = self._dice
        if ticks not in self._sizes or dice.random() < 0.2:
            self._sizes[ticks] = round(10 ** dice.uniform(2, 5.5))
        return Decimal(ticks) / 100, Decimal(self._sizes[ticks]) / 100_000


def measure(levels: int, rounds: int, diff_bps: str = "0.5") -> tuple[list[float], float, float]:
    """Microseconds of each round's two decisions, and the mean numbers of live orders and of changes."""
    dice = random.Random(levels)
    made, market = decider(levels, diff_bps), Market(levels, dice)
    live: dict[str, Order] = {}
    spent, alive, changes, sequence = [], 0, 0, 0
    warm_up = max(5, rounds // 10)
    gc.collect()
    for turn in range(rounds + warm_up):
        book = market.book(turn)
        took = 0.0
        for which in Layer:
            orders = list(live.values())
            start = time.perf_counter_ns()
            plan = made.decide(which, book, orders, ROOM, forced=False, refreshes=0).plan
            took += (time.perf_counter_ns() - start) / 1000
            for wanted in plan.cancel:
                del live[wanted.order.client_id]
            for one in plan.place:
                sequence += 1
                client_id = encode_own_id(one.layer, one.side, 1, sequence)
                live[client_id] = Order(client_id, one.layer, one.side, one.price, one.qty, state=State.OPEN)
            if turn >= warm_up:
                changes += len(plan.place) + len(plan.cancel)
        if turn >= warm_up:
            spent.append(took)
            alive += len(live)
        best = max((order for order in live.values() if order.side is Side.BUY), key=lambda order: order.price)
        del live[best.client_id]  # filled
    return spent, alive / rounds, changes / rounds


def show(levels: int, spent: Sequence[float], alive: float, changes: float) -> float:
    middle = median(spent)
    p99 = quantiles(spent, n=100)[98]
    print(f"{levels:6d}  {alive:6.0f}  {changes:7.1f}  {middle:9.0f}  {p99:9.0f}")
    return middle


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2000, help="rounds of the 20-level book (fewer of larger ones)")
    rounds = parser.parse_args().rounds
    failed = False
    medians: dict[int, float] = {}
    print("decide for near and far together, microseconds")
    print("levels    live  changes     median        p99")
    for levels in LEVELS:
        spent, alive, changes = measure(levels, max(60, rounds * LEVELS[0] // levels))
        medians[levels] = show(levels, spent, alive, changes)
        if levels == LEVELS[0]:
            p99 = quantiles(spent, n=100)[98]
    failed |= medians[20] >= GOAL_US
    print(f"20 levels             median {medians[20]:.0f} us, p99 {p99:.0f} us (median under {GOAL_US:.0f})")
    for levels in LEVELS[1:]:
        allowed = levels * log(levels) / (20 * log(20))
        growth = medians[levels] / medians[20]
        failed |= growth > allowed * GROWTH_ALLOWED
        print(f"{levels:3d} levels            {growth:5.1f} times 20 levels; n log n is {allowed:.1f} times")
    print("a difference far wider than the levels lie apart (200 bps; not judged)")
    for levels in (20, 500):
        spent, alive, changes = measure(levels, max(30, rounds * 5 // levels), "200")
        show(levels, spent, alive, changes)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
