"""The real engine at twenty rounds a second on a sandbox with every fault at a low rate: does anything grow?

    python tests/bench/soak_rounds.py [MINUTES [SEED]]

Thirty minutes unless told otherwise; ``1`` is a check. The engine runs in this process, the sandbox in another one.
Four pairs with both ladders take twenty rounds a second together. Memory, tasks, open files and sockets, and threads
are sampled; what they are after the warm-up (a quarter of an hour, or half of a shorter run) is compared with the end.
By then what is remembered within a bound is full: orders that traded, the oldest of which go at 500 a pair, take the
longest. Ends with 1 where memory grew by more than 3% since (10% in a short run), tasks, files or threads did, the
journal outgrew its bound, the loop was late, or one of ``soak_faults.py``'s conditions is broken.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import linear_regression, median

from sandbox_beside import Beside, sandbox_beside
from soak_faults import FAULTS, Soak, judged, soaked
from soak_meter import Meter

from mmctl.bootstrap import Setup, open_pairs, own_venues
from mmctl.clock import SystemClock
from mmctl.engine.journal import SqliteJournal, journal_path
from mmctl.engine.journal_store import JournalStore
from mmctl.engine.loop import Engine
from mmctl.profile import load_profile

SYMBOLS = ("BTC-USDT", "ETH-USDT", "BNB-USDT", "SOL-USDT")
ROUNDS_A_SECOND = 20
LEAST_ROUNDS = 0.7
"""Of those, so many at least must have been taken: halts after a 429 and skipped turns take some."""

PROFILE = """
feed = "binance"

[accounts.main]
venue = "binance"
rest_url = "{rest}"
ws_url = "{ws}"
stream_url = "{stream}"
exclusive = true

[defaults]
follow_exchange = "binance_spot"
collar_bps = 300
max_open_orders = 100
max_position = 1000000
max_fills_per_min = 2000
max_basis_bps = 500

[defaults.near]
interval_s = 0.25
quote_timeout_s = 3
buy_margin_bps = 2
sell_margin_bps = 2
qty_multiplier = 0.1
ask_levels = 5
bid_levels = 5
max_amount = 500
min_amount = 10
diff_per_round_bps = 1
force_refresh_num = 40

[defaults.far]
interval_s = 1
quote_timeout_s = 10
buy_margin_bps = 15
sell_margin_bps = 15
qty_multiplier = 0.2
ask_levels = 5
bid_levels = 5
max_amount = 1000
min_amount = 10
diff_per_round_bps = 5
force_refresh_num = 10

"""
LIMITS = [
    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 60_000},
    {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 3_000},
    {"rateLimitType": "ORDERS", "interval": "DAY", "intervalNum": 1, "limit": 10_000_000},
]
"""Ten times the live venue's weight, and as many orders as twenty rounds a second can want: faults, not these, are
to hold the engine up, but none may be exceeded."""

RARER = ("too_many", "ban", "drop", "server_error", "reply_lost", "request_lost", "request_delayed")
SHARE = 0.1
"""There are far more requests here than in ``soak_faults.py``: what holds the whole account up comes as rarely."""

JOURNAL_BYTES = 24 << 20
"""A small bound, so that a soak reaches it: from then on the oldest entries go."""

WARM_S = 900.0
WINDOW_S = 90.0
GROWTH, GROWTH_IN_SHORT_RUN = 1.03, 1.10
SLACK = 6
"""Tasks, files or threads more than after the warm-up: a request or a connection that is just under way."""

LATE_GOAL_MS = 25.0


@asynccontextmanager
async def engine_with(setup: Setup, soak: Soak) -> AsyncIterator[Engine]:
    """As ``open_engine``, with a journal of a smaller bound."""
    async with AsyncExitStack() as stack:
        small = partial(JournalStore, max_bytes=JOURNAL_BYTES)
        journal = SqliteJournal(journal_path(setup.state_dir), open_store=small)
        stack.push_async_callback(journal.close)
        feed, pairs = await stack.enter_async_context(open_pairs(setup, own_venues, soak.report, print, journal))
        engine = Engine(pairs, feed, setup.clock)
        await engine.prepare(lambda _, seen: max(seen + 1, setup.clock.wall_ms() // 1000))
        yield engine


def faults() -> dict[str, float]:
    return {name: rate * SHARE if name in RARER else rate for name, rate in FAULTS.items()}


def compared(soak: Soak, meter: Meter, seconds: float) -> None:
    """What was held after the warm-up against what is held at the end."""
    warm_s = min(WARM_S, seconds / 2)
    width_s = min(WINDOW_S, seconds / 4)
    warm = [one for one in meter.samples if warm_s <= one.at_s < warm_s + width_s]
    end = [one for one in meter.samples if one.at_s >= seconds - width_s]
    before, after = (median(one.rss for one in part) for part in (warm, end))
    since = [one for one in meter.samples if one.at_s >= warm_s]
    growth = GROWTH if warm_s == WARM_S else GROWTH_IN_SHORT_RUN
    slope = linear_regression([one.at_s for one in since], [one.rss for one in since]).slope
    print(
        f"memory {before / 2**20:.1f} MB after {warm_s:.0f} s, {after / 2**20:.1f} MB at the end: "
        f"{after / before:.3f} times (at most {growth:g}), slope {slope * 60 / 2**20:+.3f} MB a minute"
    )
    soak.check(after <= growth * before, f"memory grew {after / before:.3f} times")
    for name in ("tasks", "files", "threads"):
        # What leaks never goes away again: it shows in the least there is.
        then, now = (min(getattr(one, name) for one in part) for part in (warm, end))
        most = max(getattr(one, name) for one in since)
        print(f"{name}: {then} after the warm-up, {now} at the end, at most {most}")
        soak.check(now <= then + SLACK, f"{name} grew from {then} to {now}")
    most = max(one.journal for one in meter.samples)
    print(f"journal: at most {most / 2**20:.1f} MB, of {JOURNAL_BYTES / 2**20:.0f} allowed")
    soak.check(most <= JOURNAL_BYTES, f"the journal took {most} bytes")
    p99_ms = meter.late_ms(0.99)
    print(f"the loop is late by {p99_ms:.1f} ms at the 99th percentile, {meter.late_ms(1):.0f} ms at most")
    soak.check(p99_ms <= LATE_GOAL_MS, f"the loop is {p99_ms:.1f} ms late, at most {LATE_GOAL_MS:g} is the goal")
    a_second = soak.rounds / seconds
    print(f"{a_second:.1f} rounds a second, of {ROUNDS_A_SECOND}")
    soak.check(a_second >= LEAST_ROUNDS * ROUNDS_A_SECOND, f"only {a_second:.1f} rounds a second")


async def run(minutes: float, seed: int) -> bool:
    seconds = 60 * minutes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        limits = folder / "limits.json"
        limits.write_text(json.dumps(LIMITS))
        asked = ["--limits", str(limits), "--seed", str(seed), "--symbols", ",".join(SYMBOLS)]
        async with sandbox_beside(*asked) as beside:
            soak = Soak(beside, seed)
            setup = setup_for(beside, folder)
            async with engine_with(setup, soak) as engine, Meter(journal_path(setup.state_dir), engine) as meter:
                await soaked(soak, engine, seconds, faults())
            await judged(soak, seconds)
    compared(soak, meter, seconds)
    for line in soak.wrong:
        print(f"WRONG: {line}")
    print("goals: " + ("MISSED" if soak.wrong else "met"))
    return not soak.wrong


def setup_for(beside: Beside, folder: Path) -> Setup:
    urls = beside.urls
    path = folder / "soak.toml"
    text = PROFILE.format(rest=urls.rest, ws=urls.ws_api, stream=urls.stream)
    path.write_text(text + "".join(f"[pairs.{symbol}]\n" for symbol in SYMBOLS))
    profile = load_profile(str(path), environ={}, cwd=folder)
    return Setup(profile, profile.pairs, profile.feed, None, folder / "state", SystemClock())


def main() -> int:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 30.0
    return 0 if asyncio.run(run(minutes, int(sys.argv[2]) if len(sys.argv) > 2 else 7)) else 1


if __name__ == "__main__":
    sys.exit(main())
