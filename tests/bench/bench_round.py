"""How long a round of 20 places and 20 cancels takes, and what delay of the venue's replies adds to it.

    python tests/bench/bench_round.py [ROUNDS]

T(d) is the median round with d ms added to every reply. Rounds are the engine's own turns against a sandbox in
another process, over the WebSocket API and over REST, without delay and with it in turns. The same 40 requests one
after another are measured beside them. Ends with 1 where T(20) - T(0) is above 26 ms, or a round was not whole.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from sandbox_beside import Beside, binance_on, engine_on, faults_into, sandbox_beside, setup_beside

from mmctl.core.order import Layer, Order, Quote
from mmctl.core.report import Report, RoundDone, Wanted
from mmctl.engine.basis import measure
from mmctl.engine.cycle import settle, turn
from mmctl.engine.pair import Pair
from mmctl.ports import Feed

DELAY_MS = 20.0
GOAL_MS = 1.3 * DELAY_MS
ORDERS = 20
BLOCK = 5
"""Rounds in a row with the same delay."""


class Rounds:
    """The rounds of one pair, each checked to be whole."""

    def __init__(self) -> None:
        self.last: RoundDone | None = None
        self.faults: list[str] = []
        self._fault = faults_into(self.faults)

    def report(self, one: Report) -> None:
        self._fault(one)
        if isinstance(one, RoundDone):
            self.last = one

    async def take(self, pair: Pair, feed: Feed) -> float:
        """One turn, in ms. Raises ``SystemExit`` where it was not 20 places and 20 cancels."""
        self.last = None
        began = time.perf_counter()
        await turn(pair, feed, Layer.NEAR)
        took_ms = (time.perf_counter() - began) * 1000
        done = self.last
        if done is None or (done.placed, done.cancelled) != (ORDERS, ORDERS):
            raise SystemExit(f"a round was not whole: {done}, {self.faults}, {pair.layers[Layer.NEAR].status}")
        return took_ms


async def one_by_one(pair: Pair) -> list[float]:
    """The requests of a round one after another, each through the gate and waited for, in ms."""
    live = [order for order in pair.ledger.live() if order.layer is Layer.NEAR]
    times: list[float] = []
    for order in live:
        requests: tuple[tuple[list[Quote], list[Wanted]], ...] = (([], [Wanted(order, "bench")]), ([_again(order)], []))
        for places, cancels in requests:
            began = time.perf_counter()
            sent = await pair.gate.send(Layer.NEAR, places, cancels, decided_at_s=pair.clock.monotonic())
            await settle(pair, sent.batch)
            times.append((time.perf_counter() - began) * 1000)
            if sent.batch.placed + sent.batch.cancelled != 1:
                raise SystemExit(f"a request alone came to nothing: {sent.refused}")
    return times


def _again(order: Order) -> Quote:
    return Quote(order.layer, order.side, order.price, order.qty, level=1)


async def measured(beside: Beside, pair: Pair, feed: Feed, rounds: int, told: Rounds, name: str) -> bool:
    """Measure one way that orders go, and say whether the goal was met."""
    await turn(pair, feed, Layer.NEAR)
    times: dict[float, list[float]] = {0.0: [], DELAY_MS: []}
    await told.take(pair, feed)
    for _ in range(max(1, rounds // BLOCK)):
        for delay_ms, taken in times.items():
            await beside.set_faults(latency_ms=delay_ms)
            await measure(pair)  # or the guard against the wrong market would hold the pair: no guards run here
            taken += [await told.take(pair, feed) for _ in range(BLOCK)]
    alone = await one_by_one(pair)
    await beside.set_faults(clear=True)
    plain, delayed, single = median(times[0.0]), median(times[DELAY_MS]), median(alone)
    added, good = delayed - plain, delayed - plain <= GOAL_MS and not told.faults
    print(
        f"{name:13} T(0) {plain:6.1f} ms  T(20) {delayed:6.1f} ms  T(20) - T(0) {added:5.1f} ms (at most {GOAL_MS:g})  "
        f"one request {single:5.1f} ms, T(20) is {delayed / single:.2f} times that; {len(alone)} requests one after "
        f"another {sum(alone):6.0f} ms, {sum(alone) / delayed:.1f} times T(20); "
        f"of {len(times[0.0])} rounds each: {'met' if good else 'MISSED'}"
    )
    for line in told.faults:
        print(f"  fault: {line}")
    return good


async def run(rounds: int) -> bool:
    good = True
    for use_ws, name in ((True, "WebSocket API"), (False, "REST")):
        async with sandbox_beside("--limits", "off", "--market", "still", "--symbols", "BTCUSDT") as beside:
            with tempfile.TemporaryDirectory() as folder:
                setup = setup_beside(beside, Path(folder), ["BTC-USDT"], levels=ORDERS // 2)
                told = Rounds()
                async with engine_on(setup, binance_on(beside, use_ws=use_ws), told.report) as (engine, feed):
                    good &= await measured(beside, engine.pairs[0], feed, rounds, told, name)
    return good


def main() -> int:
    return 0 if asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else 50)) else 1


if __name__ == "__main__":
    sys.exit(main())
