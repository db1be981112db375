"""What the write-ahead journal costs: a commit of 20 intents, and a round of 20 places and 20 cancels with and without.

    python tests/bench/bench_journal.py [ROUNDS]

Rounds are the engine's own turns against a sandbox in another process, over the WebSocket API, with 0 and 20 ms added
to every reply, 50 ms apart. With and without the journal take turns, a few rounds each, in one run. Ends with 1 where
the journal adds more than 10% to the median round at 20 ms, or a round was not whole.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles

from bench_round import BLOCK, DELAY_MS, ORDERS, Rounds
from sandbox_beside import Beside, binance_on, engine_on, sandbox_beside, setup_beside

from mmctl.core.entries import Entry, Kind, Plain, Recalled
from mmctl.core.order import Layer, Side, encode_own_id
from mmctl.engine.basis import measure
from mmctl.engine.cycle import turn
from mmctl.engine.journal import SqliteJournal, SyncJournal
from mmctl.engine.journal_store import JournalStore
from mmctl.ports import Journal

MOST_ADDED = 0.10
APART_S = 0.05
COMMITS = 2000
PAUSE_S = 0.002
"""Between commits, as between rounds: the writer is idle when one comes."""


class Switched:
    """The journal where it is ``on``; else nothing is written, and a commit is done at once."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.on = True
        self.waited_ms: list[float] = []

    @property
    def fault(self) -> str:
        return self._journal.fault

    async def commit(self, entries: Sequence[Entry]) -> None:
        if self.on:
            began = time.perf_counter()
            await self._journal.commit(entries)
            self.waited_ms.append((time.perf_counter() - began) * 1000)

    def note(self, entry: Entry) -> None:
        if self.on:
            self._journal.note(entry)

    async def recall(self, venue: str, owner: str, symbol: str) -> Recalled:
        return await self._journal.recall(venue, owner, symbol)

    async def knows(self, client_ids: Sequence[str]) -> frozenset[str]:
        return await self._journal.knows(client_ids)

    async def close(self) -> None:
        await self._journal.close()


def intents(number: int) -> list[Entry]:
    """The intents of a round."""
    entries = []
    for level in range(ORDERS):
        body: dict[str, Plain] = {"decision": f"17-{number}", "layer": "near", "side": "buy", "level": level}
        body |= {"price": "61800.12", "qty": "0.00123", "time_in_force": "GTX", "epoch": 17}
        client_id = encode_own_id(Layer.NEAR, Side.BUY, 17, number * ORDERS + level)
        entries.append(Entry(Kind.INTENT, number, "binance", "main", "42", "BTCUSDT", client_id, body=body))
    return entries


def ended(order: Entry) -> Entry:
    body: dict[str, Plain] = {"state": "cancelled", "evidence": "", "told_by": "ended"}
    return Entry(
        Kind.END, order.at_ms, order.venue, order.account, order.owner, order.symbol, order.client_id, body=body
    )


async def commits(name: str, journal: Journal, pause_s: float) -> None:
    """Commit the intents of one round after another, those of the last one ended between."""
    taken: list[float] = []
    for number in range(COMMITS):
        batch = intents(number)
        began = time.perf_counter()
        await journal.commit(batch)
        taken.append((time.perf_counter() - began) * 1000)
        for order in batch:
            journal.note(ended(order))
        if pause_s:
            await asyncio.sleep(pause_s)
    await journal.close()
    print(
        f"commit of {ORDERS} intents, {name}: median {median(taken):.3f} ms, p99 {quantiles(taken, n=100)[98]:.3f} ms, "
        f"worst {max(taken):.1f} ms, of {COMMITS}"
    )


async def rounds_with_and_without(beside: Beside, folder: Path, rounds: int) -> bool:
    setup = setup_beside(beside, folder, ["BTC-USDT"], levels=ORDERS // 2)
    told = Rounds()
    setup.state_dir.mkdir(parents=True)
    journal = Switched(SqliteJournal(setup.state_dir / "journal.sqlite"))
    taken: dict[tuple[float, bool], list[float]] = {(ms, on): [] for ms in (0.0, DELAY_MS) for on in (False, True)}
    async with engine_on(setup, binance_on(beside), told.report, journal) as (engine, feed):
        pair = engine.pairs[0]
        await turn(pair, feed, Layer.NEAR)
        await told.take(pair, feed)
        for number in range(2 * max(1, rounds // BLOCK)):
            for delay_ms, on in taken if number % 2 else reversed(taken):
                await beside.set_faults(latency_ms=delay_ms)
                await measure(pair)  # or the guard against the wrong market would hold the pair: no guards run here
                journal.on = on
                for _ in range(BLOCK):
                    await asyncio.sleep(APART_S)
                    taken[delay_ms, on].append(await told.take(pair, feed))
                journal.on = True
        await beside.set_faults(clear=True)
    good = not told.faults
    for delay_ms in (0.0, DELAY_MS):
        without, beside_it = median(taken[delay_ms, False]), median(taken[delay_ms, True])
        added, count = beside_it / without - 1, len(taken[delay_ms, True])
        goal = ""
        if delay_ms:
            good &= added <= MOST_ADDED
            goal = f" (at most {MOST_ADDED:.0%}): {'met' if added <= MOST_ADDED else 'MISSED'}"
        print(
            f"round of {ORDERS} places and {ORDERS} cancels at {delay_ms:g} ms: without {without:.2f} ms, "
            f"with the journal {beside_it:.2f} ms, it adds {added:+.1%}{goal}; of {count} rounds each"
        )
    print(f"a round's commit was waited for {median(journal.waited_ms):.2f} ms (median)")
    for line in told.faults:
        print(f"  fault: {line}")
    return good


async def run(rounds: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        await commits("on disk, by its thread", SqliteJournal(Path(folder) / "journal.sqlite"), PAUSE_S)
        await commits("in memory, without one", SyncJournal(JournalStore(None)), 0)
        async with sandbox_beside("--limits", "off", "--market", "still", "--symbols", "BTCUSDT") as beside:
            return await rounds_with_and_without(beside, Path(folder), rounds)


def main() -> int:
    return 0 if asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else 50)) else 1


if __name__ == "__main__":
    sys.exit(main())
