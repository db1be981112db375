"""``kill -9`` at random moments of ``mmctl run``, each time followed by a new start with the same state folder.

    python tests/bench/kill_nine.py [MOMENTS [SEED]]

Two hundred kills unless told otherwise: while it starts and takes up what was left, before and in the middle of rounds,
between them, and while it shuts down; half of them with latency and with requests and replies lost, so that orders are
in flight. The sandbox runs in another process, its market moves, and somebody takes. Then the market is held still,
faults end, and a last run must converge and stop. The sandbox's whole history and the journal are judged. Ends with 1
where a client order id was placed twice, an order has no intent before it, a quote has two orders, a layer and side
more than twice its ladder, own orders met, an order was unknown to the engine at the end, or position or trades differ.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from killed_judge import PAIRS, differs, judge, judge_position
from killed_lives import Journal, Life, Tally, newest
from sandbox_beside import Beside, sandbox_beside

from mmctl.errors import EXIT_VENUE

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
frozen_after_s = 3600
max_open_orders = 150
max_fills_per_min = 100000
max_basis_bps = 200
max_position = 100000

[defaults.near]
interval_s = 0.2
quote_timeout_s = 3
buy_margin_bps = 2
sell_margin_bps = 2
qty_multiplier = 0.1
ask_levels = 5
bid_levels = 5
max_amount = 500
min_amount = 10
diff_per_round_bps = 1
force_refresh_num = 1000000

[defaults.far]
interval_s = 0.5
quote_timeout_s = 10
buy_margin_bps = 15
sell_margin_bps = 15
qty_multiplier = 0.2
ask_levels = 5
bid_levels = 5
max_amount = 1000
min_amount = 10
diff_per_round_bps = 5
force_refresh_num = 1000000

[pairs.BTC-USDT]
[pairs.ETH-USDT]
"""
SLOW: dict[str, float] = {"latency_ms": 20, "jitter_ms": 60}
LOSSES: dict[str, float] = {
    "reply_lost": 0.05,
    "request_lost": 0.05,
    "event_repeated": 0.05,
    "event_reordered": 0.05,
    "drop": 0.01,
}
BLOCK = 10
"""So many kills without faults, then as many with them."""

READY_WITHIN_S = 40.0
"""How long a run may take from its start to its first round: a request that was lost is waited for."""

CONVERGED_WITHIN_S = 60.0
MOMENTS = {"starting": 1.6, "ready": 0.15, "quoting": 1.2, "moving": 0.4, "stopping": 0.5}
"""When a kill comes, and how many seconds after that at most. ``moving``: the market has just jumped, so that whole
ladders are being replaced."""

WEIGHTS = (20, 15, 20, 30, 20)


class Bench:
    """The sandbox, the profile and the state folder that all lives share."""

    def __init__(self, beside: Beside, folder: Path, seed: int) -> None:
        self.beside, self.folder = beside, folder
        self.dice = random.Random(seed)
        self.tally = Tally()
        self.profile = folder / "kill_nine.toml"
        urls = beside.urls
        self.profile.write_text(PROFILE.format(rest=urls.rest, ws=urls.ws_api, stream=urls.stream))
        self.state = folder / "state"
        self.environ = {**os.environ, "MMCTL_STATE_DIR": str(self.state)}
        self.epochs: set[int] = set()

    async def mmctl(self, *arguments: str, stdout: int = asyncio.subprocess.PIPE) -> asyncio.subprocess.Process:
        command = [sys.executable, "-m", "mmctl", *arguments, "--profile", str(self.profile), "--output", "json"]
        with (self.folder / "stderr").open("ab") as errors:
            return await asyncio.create_subprocess_exec(
                *command, stdout=stdout, stderr=errors, env=self.environ, cwd=self.folder, limit=1 << 24
            )

    async def run(self) -> Life:
        return Life(await self.mmctl("run"))

    async def ask(self, *arguments: str) -> tuple[int | None, list[dict[str, Any]]]:
        """A verb's exit code, and the lines that it wrote."""
        process = await self.mmctl(*arguments)
        out, _ = await process.communicate()
        return process.returncode, [json.loads(line) for line in out.splitlines()]

    async def takers(self) -> None:
        """Somebody takes now and then, so that own orders fill whole and in part; and the market jumps."""
        dice = random.Random(self.dice.random())
        while True:
            await asyncio.sleep(dice.uniform(0.2, 1.0))
            symbol = dice.choice(list(PAIRS.values()))
            if dice.random() < 0.3:
                await self.beside.control("/market/move", {"symbol": symbol, "bps": dice.uniform(-6, 6)})
                continue
            quantity = dice.uniform(0.02, 1.5) * (1 if symbol.startswith("BTC") else 20)
            taken = {"symbol": symbol, "side": dice.choice(["BUY", "SELL"]), "quantity": f"{quantity:.3f}"}
            await self.beside.control("/market/trade", taken)

    async def live_and_die(self, moment: str, *, faulty: bool) -> None:
        """One life and its end by ``kill -9``, or by itself where a shutdown was quicker.

        Where it is ``faulty``, a run that is to come up loses nothing until it has: a start that cannot read the venue
        ends, as it should.
        """
        began_s = time.monotonic()
        trouble = {**SLOW, **LOSSES} if faulty else dict.fromkeys((*SLOW, *LOSSES), 0.0)
        begun = {} if moment == "starting" else dict.fromkeys(LOSSES, 0.0)
        await self.beside.set_faults(**(trouble | begun))
        life = await self.run()
        if moment == "starting":
            await asyncio.sleep(self.dice.uniform(0.1, MOMENTS[moment]))
        else:
            event = "start" if moment == "ready" else "round"
            ready = await life.until(event, READY_WITHIN_S)
            self.tally.check(ready, f"no {event} within {READY_WITHIN_S:g} s: {life.told[-3:]}, {self.last_error()}")
            self.tally.ready_s.append(time.monotonic() - began_s)
            await self.beside.set_faults(**trouble)
            if moment == "moving":
                for symbol in PAIRS.values():
                    await self.beside.control("/market/move", {"symbol": symbol, "bps": self.dice.uniform(-15, 15)})
            await asyncio.sleep(self.dice.uniform(0, MOMENTS[moment]))
            if moment == "stopping" and life.process.returncode is None:
                life.process.send_signal(signal.SIGTERM)
                await asyncio.sleep(self.dice.uniform(0, 0.25))
        code = await life.kill()
        self.tally.take(life)
        await self.note_end(life, moment, code)

    async def note_end(self, life: Life, moment: str, code: int) -> None:
        """Where the kill hit, by what the journal and the output say."""
        tally = self.tally
        if code == EXIT_VENUE and moment == "starting":
            tally.where["the start gave up: the venue could not be read"] += 1
            return
        if code != -signal.SIGKILL:
            tally.check(
                moment == "stopping" and code == 0, f"{moment}: ended with {code} by itself: {self.last_error()}"
            )
            tally.clean += 1
            tally.where["after a clean stop"] += 1
            left = (await self.beside.shown("/truth"))["accounts"]["main"]["open_orders"]
            tally.check(not left, f"left after a clean stop: {[one['clientOrderId'] for one in left]}")
            return
        with self.journal() as db:
            epoch, decisions, flying = newest(db)
        fresh = epoch not in self.epochs
        self.epochs.add(epoch)
        tally.in_flight.append(flying if fresh else 0)
        rounds = len(life.of("round"))
        if moment == "stopping":
            tally.where["shutting down"] += 1
        elif not fresh:
            tally.where["starting, or taking up what was left"] += 1
        elif not decisions:
            tally.where["before the first round"] += 1
        elif decisions > rounds:
            tally.where["in a round"] += 1
        else:
            tally.where["between rounds"] += 1

    def journal(self) -> Journal:
        return Journal(self.state / "journal.sqlite")

    def last_error(self) -> str:
        return (self.folder / "stderr").read_text()[-300:]


async def converge(bench: Bench) -> dict[str, str]:
    """A last run on a market that stands still: it converges, knows every order, and stops. Returns its positions."""
    tally, began_s = bench.tally, time.monotonic()
    life = await bench.run()
    differing = "no round"
    while time.monotonic() - began_s < CONVERGED_WITHIN_S:
        await asyncio.sleep(0.25)
        truth = (await bench.beside.shown("/truth"))["accounts"]["main"]
        differing = differs(life, truth["open_orders"])
        if not differing:
            break
    tally.check(not differing, f"not converged within {CONVERGED_WITHIN_S:g} s: {differing}")
    started = life.of("round")
    print(
        f"converged {time.monotonic() - began_s:.1f} s after the last start, "
        f"of which {(started[0]['ts_ms'] / 1000 - time.time() + time.monotonic() - began_s if started else 0):.1f} s "
        "to the first round"
    )
    code, plans = await bench.ask("diff")
    tally.check(code == 0, f"mmctl diff ends with {code}: {json.dumps(plans)[:600]}")
    life.process.send_signal(signal.SIGTERM)
    if not await life.until("summary", 90):
        tally.check(False, f"the last run does not stop: {bench.last_error()}")
    code = await life.end()
    tally.take(life)
    tally.check(code == 0, f"the last run ended with {code}: {bench.last_error()}")
    summary = (life.of("summary") or [{}])[-1]
    tally.check(summary.get("open_orders") == [], f"the last run's summary: {summary}")
    left = (await bench.beside.shown("/truth"))["accounts"]["main"]["open_orders"]
    tally.check(not left, f"left after the last stop: {[one['clientOrderId'] for one in left]}")
    code, stopped = await bench.ask("cancel-all")
    tally.check(code == 0 and not stopped[-1].get("cancelled"), f"cancel-all found something: {code} {stopped[-1:]}")
    return summary.get("position") or {}


async def judged(bench: Bench, position: dict[str, str]) -> None:
    truth, history = await bench.beside.shown("/truth"), await bench.beside.shown("/history")
    past = history["accounts"]["main"]
    with bench.journal() as db:
        assert db is not None
        judge(bench.tally, db, truth, past)
        judge_position(bench.tally, db, past, position)


async def run(moments: int, seed: int) -> bool:
    began_s = time.monotonic()
    async with sandbox_beside("--limits", "off", "--seed", str(seed)) as beside:
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(beside, Path(folder), seed)
            taking = asyncio.create_task(bench.takers())
            for number in range(moments):
                moment = bench.dice.choices(list(MOMENTS), WEIGHTS)[0]
                await bench.live_and_die(moment, faulty=bool(number // BLOCK % 2))
                if taking.done():
                    await taking
                if number % BLOCK == BLOCK - 1:
                    print(f"{time.monotonic() - began_s:6.1f} s: {number + 1} kills", flush=True)
            taking.cancel()
            await beside.control("/faults", {"clear": True})
            await beside.control("/market/hold", {"on": True})
            position = await converge(bench)
            await judged(bench, position)
            bench.tally.told(moments, time.monotonic() - began_s)
            if bench.tally.wrong and (kept := os.environ.get("KILL_NINE_KEEP")):
                os.rename(bench.state, kept)
    return not bench.tally.wrong


def main() -> int:
    moments = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    return 0 if asyncio.run(run(moments, int(sys.argv[2]) if len(sys.argv) > 2 else 7)) else 1


if __name__ == "__main__":
    sys.exit(main())
