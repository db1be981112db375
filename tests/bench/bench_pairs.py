"""100 pairs on the mock feed and venue at a near interval of one second, for a minute.

Shows how late rounds begin beside how late an empty loop wakes up, both sides in one run, and how memory
grows after the first ten seconds. Ends with 1 where the p99 lateness is above 200 ms or memory grows.

    python tests/bench/bench_pairs.py [SECONDS [PAIRS]]
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from statistics import median, quantiles

from mmctl.bootstrap import Setup, open_engine, stand_ins
from mmctl.clock import SystemClock
from mmctl.core.report import Faulted, Report, RoundDone
from mmctl.engine.loop import Limits
from mmctl.profile import load_profile

P99_GOAL_MS = 200.0
GROWTH_GOAL = 1.10
SETTLED_S = 10.0

PROFILE_HEAD = """
feed = "mock"
[mock]
open_order_cap = 200
[defaults]
follow_exchange = "binance_spot"
price_decimals = 2
qty_decimals = 5
mock_price = 60000
near = { interval_s = 1, buy_margin_bps = 2, sell_margin_bps = 2, max_amount = 1000, ask_levels = 5, bid_levels = 5 }
far = { interval_s = 30, buy_margin_bps = 20, sell_margin_bps = 20, max_amount = 2000 }
"""


def resident_kib() -> int:
    """What this process has in memory now, in KiB (Linux)."""
    return int(next(line for line in Path("/proc/self/status").read_text().splitlines() if "VmRSS" in line).split()[1])


async def empty_loop(seconds: float, tasks: int) -> list[float]:
    """How late tasks that do nothing wake up on the same grid, in ms."""
    loop, late = asyncio.get_running_loop(), []

    async def tick(start: float) -> None:
        due = start
        while due < start + seconds:
            await asyncio.sleep(max(0.0, due - loop.time()))
            late.append((loop.time() - due) * 1000)
            due += 1.0

    begin = loop.time()
    await asyncio.gather(*(tick(begin + 0.01 * number) for number in range(tasks)))
    return late


async def full_loop(seconds: float, profile_path: Path, state: Path) -> tuple[list[float], list[int], int, int]:
    """How late the engine's rounds begin in ms, memory each second in KiB, rounds and faults."""
    counts = {"rounds": 0, "faults": 0}

    def report(one: Report) -> None:
        counts["rounds"] += isinstance(one, RoundDone)
        counts["faults"] += isinstance(one, Faulted)

    profile = load_profile(str(profile_path), environ={}, cwd=profile_path.parent)
    setup = Setup(profile, profile.pairs, "mock", None, state, SystemClock())
    memory: list[int] = []

    async def watch() -> None:
        while True:
            await asyncio.sleep(1.0)
            memory.append(resident_kib())

    async with open_engine(setup, stand_ins, report, lambda _: None) as engine:
        watching = asyncio.create_task(watch())
        await engine.run(Limits(for_s=seconds))
        watching.cancel()
        late = [1000 * one for one in engine.lateness_s]
        await engine.stop(leave_orders=False)
    return late, memory, counts["rounds"], counts["faults"]


def line(name: str, late: list[float]) -> float:
    """Print one row and return its p99."""
    p99 = quantiles(late, n=100)[98]
    print(
        f"{name:12} rounds {len(late):6}  median {median(late):8.2f}  p99 {p99:8.2f}  worst {max(late):8.2f}  ms late"
    )
    return p99


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    pairs = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.toml"
        path.write_text(PROFILE_HEAD + "".join(f"[pairs.B{number:03}-USDT]\n" for number in range(pairs)))
        line("empty loop", asyncio.run(empty_loop(min(seconds, 10.0), pairs)))
        late, memory, rounds, faults = asyncio.run(full_loop(seconds, path, Path(folder) / "state"))
    p99 = line("100 pairs" if pairs == 100 else f"{pairs} pairs", late)
    settled = memory[int(SETTLED_S)] if len(memory) > SETTLED_S + 1 else memory[0]
    growth = memory[-1] / settled
    print("memory every 10 s, MiB:", " ".join(f"{kib / 1024:.1f}" for kib in memory[9::10]))
    print(
        f"rounds {rounds}, faults {faults}; memory {settled / 1024:.1f} MiB after {SETTLED_S:g} s, "
        f"{memory[-1] / 1024:.1f} MiB at the end: {growth:.3f} times"
    )
    good = p99 <= P99_GOAL_MS and growth <= GROWTH_GOAL and not faults
    print(f"goals: p99 <= {P99_GOAL_MS:g} ms, memory <= {GROWTH_GOAL:g} times, no fault: {'met' if good else 'MISSED'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
