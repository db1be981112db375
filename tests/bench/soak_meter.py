"""What a process holds while it runs (memory, tasks, files, threads, its journal's size), and how late its loop is."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench_many_pairs import TICK_S

from mmctl.engine.loop import Engine
from mmctl.venues.binance import BinanceVenue
from mmctl.venues.binance_net import Sockets

SAMPLE_S = 1.0


@dataclass(frozen=True)
class Sample:
    """What this process holds at one moment, ``at_s`` seconds after the start. ``rss`` and ``journal`` are bytes.

    ``files`` are without connections that are kept for the next request: after a burst of requests there are many, at
    most 100, and each is used in its turn, so that they stay.
    """

    at_s: float
    rss: int
    tasks: int
    files: int
    threads: int
    journal: int


class Meter:
    """Samples this process while it is entered, and notes how late its loop is."""

    def __init__(self, journal: Path, engine: Engine) -> None:
        self._journal, self._engine = journal, engine
        self.samples: list[Sample] = []
        self._late: Counter[int] = Counter()  # by tenths of a ms: the meter itself is not to grow

    async def __aenter__(self) -> Meter:
        self._began_s = time.monotonic()
        self._tasks = [asyncio.create_task(self._sample()), asyncio.create_task(self._tick())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(SAMPLE_S)
            self.samples.append(self._now(len(asyncio.all_tasks())))

    def _now(self, tasks: int) -> Sample:
        return Sample(
            time.monotonic() - self._began_s,
            int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
            tasks,
            len(os.listdir("/proc/self/fd")) - kept_connections(self._engine),
            threading.active_count(),
            sum(file.stat().st_size for file in self._journal.parent.glob(self._journal.name + "*")),
        )

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + TICK_S
            await asyncio.sleep(TICK_S)
            self._late[int((loop.time() - due) * 10_000)] += 1

    def late_ms(self, share: float) -> float:
        """How late the loop is at most in a ``share`` of all cases."""
        left = share * self._late.total()
        for tenths, count in sorted(self._late.items()):
            left -= count
            if left <= 0:
                return tenths / 10
        return 0.0


def kept_connections(engine: Engine) -> int:
    """Connections of the venue's adapter that wait for the next request."""
    venue = engine.pairs[0].desk.venue
    assert isinstance(venue, BinanceVenue)
    assert isinstance(venue._network, Sockets)
    session = venue._network._link.session
    if session is None or session.connector is None:
        return 0
    return sum(len(kept) for kept in session.connector._conns.values())
