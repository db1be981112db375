"""Lives of ``mmctl run`` that end by ``kill -9``: the process and what it told, and where a kill hit by its journal."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import statistics
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class Life:
    """One ``mmctl run``: the process, and what it has told so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.told: list[dict[str, Any]] = []
        self.heard = asyncio.Event()
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            if line.endswith(b"\n"):  # a killed process may leave half of one
                self.told.append(json.loads(line))
                self.heard.set()
        self.heard.set()

    def of(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.told if one["event"] == event]

    async def until(self, event: str, within_s: float) -> bool:
        """Wait for the first ``event``; whether it came before the process ended and the time was over."""
        try:
            async with asyncio.timeout(within_s):
                while not self.of(event):
                    if self.reading.done():
                        return False
                    self.heard.clear()
                    await self.heard.wait()
        except TimeoutError:
            return False
        return True

    async def kill(self) -> int:
        if self.process.returncode is None:
            self.process.kill()
        return await self.end()

    async def end(self) -> int:
        """Wait for it, and for its last line."""
        await self.process.wait()
        await self.reading
        assert self.process.returncode is not None
        return self.process.returncode


@dataclass
class Tally:
    """What is counted over all lives."""

    where: Counter[str] = field(default_factory=Counter)
    in_flight: list[int] = field(default_factory=list)
    adopted: int = 0
    asked_for: int = 0
    adoptions: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    ready_s: list[float] = field(default_factory=list)
    clean: int = 0
    wrong: list[str] = field(default_factory=list)

    def check(self, good: bool, what: str) -> None:
        if not good:
            self.wrong.append(what)
            print(f"WRONG: {what[:400]}", flush=True)

    def take(self, life: Life) -> None:
        """Count what one life told of."""
        for fault in life.of("fault"):
            self.kinds[fault["kind"]] += 1
            words = fault["detail"].split()
            if fault["kind"] == "adopted" and "of an earlier run are open" in fault["detail"]:
                self.adoptions += 1
                self.adopted += int(words[0])
                self.asked_for += int(words[words.index("more") - 1]) if "more" in words else 0

    def told(self, moments: int, took_s: float) -> None:
        flying = [one for one in self.in_flight if one]
        print(f"{moments} kills in {took_s:.0f} s: {dict(self.where.most_common())}")
        print(f"orders in flight at the kill: {sum(flying)} in {len(flying)} kills, at most {max(flying, default=0)}")
        print(f"adopted {self.adopted} open orders in {self.adoptions} starts, {self.asked_for} more were asked for")
        middle_s, most_s = statistics.median(self.ready_s or [0]), max(self.ready_s, default=0)
        print(f"from a start to its first start or round event: median {middle_s:.2f} s, at most {most_s:.2f} s")
        print(f"faults told: {dict(self.kinds.most_common())}")
        print("goals: " + (f"MISSED ({len(self.wrong)})" if self.wrong else "met"))


class Journal:
    """The journal, read as it is: as nobody who writes it, so that the next start finds it as the kill left it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> sqlite3.Connection | None:
        self._db = None
        if self._path.exists():
            self._db = sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, timeout=5)
        return self._db

    def __exit__(self, *_: object) -> None:
        if self._db is not None:
            self._db.close()


def newest(db: sqlite3.Connection | None) -> tuple[int, int, int]:
    """Of the newest engine: its epoch, its decisions, and its intents of which no answer is in the journal."""
    try:
        assert db is not None
        found = db.execute("SELECT seq, body FROM entries WHERE kind = 'start' ORDER BY seq DESC LIMIT 1").fetchone()
    except (AssertionError, sqlite3.OperationalError):  # killed before there was a journal
        return 0, 0, 0
    if found is None:
        return 0, 0, 0
    seq, body = found
    (decisions,) = db.execute("SELECT count(*) FROM entries WHERE kind = 'decision' AND seq > ?", (seq,)).fetchone()
    (flying,) = db.execute(
        "SELECT count(*) FROM entries WHERE kind = 'intent' AND seq > ? AND client_id NOT IN (SELECT client_id"
        " FROM entries WHERE kind IN ('reply', 'fill', 'end', 'adopted') AND seq > ?)",
        (seq, seq),
    ).fetchone()
    return json.loads(body)["epoch"], decisions, flying
