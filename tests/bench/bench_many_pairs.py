"""50 pairs with 5+5 on a sandbox in another process: what delay of the venue's replies adds to a whole cycle.

    python tests/bench/bench_many_pairs.py [SECONDS]

A cycle is one near round of every pair, 500 places and 500 cancels together; T(d) is its median with d ms added to
every reply. Two ways: all rounds begun at once, and the engine's own run at an interval of one second, which
staggers its pairs; there a cycle lasts from the first round's start to the last one's end. Beside that run a task
that only sleeps shows how late the event loop is. Ends with 1 where T(20) - T(0) is above 40 ms either way, the p99
lateness is above 25 ms with or without delay, or something was told as a fault.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median, quantiles

from sandbox_beside import Beside, binance_on, engine_on, faults_into, sandbox_beside, setup_beside

from mmctl.core.order import Layer
from mmctl.core.report import Report, RoundDone
from mmctl.engine.basis import measure
from mmctl.engine.cycle import turn
from mmctl.engine.loop import Engine, Limits
from mmctl.ports import Feed

PAIRS = 50
LEVELS = 5
DELAY_MS = 20.0
GOAL_MS = 2 * DELAY_MS
LATE_GOAL_MS = 25.0
TICK_S = 0.005
BLOCK = 5
CYCLES = 20
SYMBOLS = [f"B{number:02}-USDT" for number in range(PAIRS)]


class Cycles:
    """What the engine tells of its rounds: when each began and ended, and all faults."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._fault = faults_into(self.faults)
        self.forget()

    def forget(self) -> None:
        self.rounds = 0
        self.changed = 0
        self._numbers: defaultdict[str, int] = defaultdict(int)
        self._spans: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)

    def report(self, one: Report) -> None:
        self._fault(one)
        if isinstance(one, RoundDone):
            ended = time.perf_counter()
            began = ended - (one.read_ms + one.decide_ms + one.send_ms) / 1000
            self.rounds += 1
            self.changed += one.placed + one.cancelled
            self._numbers[one.pair] += 1
            self._spans[self._numbers[one.pair]].append((began, ended))

    def whole_ms(self) -> list[float]:
        """How long each cycle in which every pair took part lasted."""
        spans = [spans for spans in self._spans.values() if len(spans) == PAIRS]
        return [(max(end for _, end in one) - min(begin for begin, _ in one)) * 1000 for one in spans]


class Lateness:
    """How late a task that only sleeps wakes up, in ms, while it is entered."""

    async def __aenter__(self) -> Lateness:
        self.late_ms: list[float] = []
        self._task = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_S
            await asyncio.sleep(TICK_S)
            self.late_ms.append((loop.time() - due) * 1000)

    @property
    def p99_ms(self) -> float:
        return quantiles(self.late_ms, n=100)[98]


async def at_once(beside: Beside, engine: Engine, feed: Feed, told: Cycles) -> bool:
    """All pairs' rounds begun at the same moment, in blocks with and without delay."""
    times: dict[float, list[float]] = {0.0: [], DELAY_MS: []}
    late: list[float] = []
    for number in range(CYCLES // BLOCK + 1):
        for delay_ms, taken in times.items():
            await beside.set_faults(latency_ms=delay_ms)
            await asyncio.gather(*(measure(pair) for pair in engine.pairs))
            for _ in range(BLOCK):
                told.forget()
                async with Lateness() as lateness:
                    began = time.perf_counter()
                    await asyncio.gather(*(turn(pair, feed, Layer.NEAR) for pair in engine.pairs))
                    took_ms = (time.perf_counter() - began) * 1000
                if number:  # the first block of each places only, and warms up
                    taken.append(took_ms)
                    late += lateness.late_ms
                    if told.changed != 4 * LEVELS * PAIRS:
                        raise SystemExit(f"a cycle was not whole: {told.changed} changes, {told.faults[:3]}")
    plain, delayed = median(times[0.0]), median(times[DELAY_MS])
    good = delayed - plain <= GOAL_MS
    print(
        f"all at once   T(0) {plain:6.1f} ms  T(20) {delayed:6.1f} ms  T(20) - T(0) {delayed - plain:5.1f} ms "
        f"(at most {GOAL_MS:g})  of {len(times[0.0])} cycles each; the loop is at most {max(late):.0f} ms late: "
        f"{'met' if good else 'MISSED'}"
    )
    return good


async def staggered(engine: Engine, told: Cycles, seconds: float, delay_ms: float) -> tuple[float, float]:
    """The engine's own run with its guards; returns the median cycle and the event loop's p99 lateness, in ms."""
    told.forget()
    async with Lateness() as lateness:
        await engine.run(Limits(for_s=seconds))
    cycles = told.whole_ms()
    if not cycles:
        raise SystemExit(f"no cycle was whole: {told.rounds} rounds, {told.faults[:3]}")
    print(
        f"the run        T({delay_ms:.0f}) {median(cycles):6.1f} ms of {len(cycles)} cycles, {told.rounds} rounds, "
        f"{told.changed / seconds:.0f} places and cancels a second; event loop late: median "
        f"{median(lateness.late_ms):.1f}, p99 {lateness.p99_ms:.1f} (at most {LATE_GOAL_MS:g}), worst "
        f"{max(lateness.late_ms):.1f} ms"
    )
    return median(cycles), lateness.p99_ms


async def run(seconds: float) -> bool:
    arguments = ("--limits", "off", "--market", "still", "--symbols", ",".join(SYMBOLS))
    told, ran = Cycles(), []
    async with sandbox_beside(*arguments) as beside:
        with tempfile.TemporaryDirectory() as folder:
            setup = setup_beside(beside, Path(folder), SYMBOLS, levels=LEVELS)
            async with engine_on(setup, binance_on(beside), told.report) as (engine, feed):
                good = await at_once(beside, engine, feed, told)
            for delay_ms in (0.0, DELAY_MS):
                await beside.set_faults(latency_ms=delay_ms)
                async with engine_on(setup, binance_on(beside), told.report) as (engine, _):
                    ran.append(await staggered(engine, told, seconds, delay_ms))
    added, late = ran[1][0] - ran[0][0], max(late for _, late in ran)
    good_run = added <= GOAL_MS and late <= LATE_GOAL_MS
    print(
        f"the run        T(20) - T(0) {added:5.1f} ms (at most {GOAL_MS:g}), p99 lateness {late:.1f} ms: "
        f"{'met' if good_run else 'MISSED'}"
    )
    for line in told.faults:
        print(f"  fault: {line}")
    return good and good_run and not told.faults


def main() -> int:
    return 0 if asyncio.run(run(float(sys.argv[1]) if len(sys.argv) > 1 else 15.0)) else 1


if __name__ == "__main__":
    sys.exit(main())
