"""The time of a drill, and the processes that live in it: nothing ever waits for real.

Each process is an event loop of its own. One that is killed simply never runs again; one that is suspended stands still
while the world goes on, and its monotonic clock with it. What is due at one moment happens in the order in which it was
put on the timeline, so that one seed is one story.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any

from mmctl.drill.event_loop import DrillLoop

LEAST_SLEEP_S = 1e-6


class Timeline:
    """True time in seconds, and what is due."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    @property
    def next_s(self) -> float:
        """When the next thing is due."""
        return self._due[0][0] if self._due else inf

    def at(self, due_s: float, act: Callable[[], None]) -> None:
        """Let ``act`` happen at ``due_s``, or as soon as it can where that has passed."""
        self._number += 1
        heapq.heappush(self._due, (due_s, self._number, act))

    def after(self, delay_s: float, act: Callable[[], None]) -> None:
        self.at(self.now_s + delay_s, act)

    def run(self, until_s: float, done: Callable[[], bool]) -> bool:
        """Let time pass until ``done``, which is asked after everything that happens; says whether that came to be."""
        while self._due and self._due[0][0] <= until_s:
            due_s, _, act = heapq.heappop(self._due)
            if due_s > self.now_s:
                self.now_s = due_s
            act()
            if done():
                return True
        self.now_s = max(self.now_s, until_s)
        return False


class Process:
    """One process on one machine. ``wrong`` collects what its loop could only have logged."""

    def __init__(self, timeline: Timeline, name: str) -> None:
        self.name = name
        self.alive = True
        self.suspended = False
        self.resumed_s = timeline.now_s
        """When it last came back from a suspension, or began."""
        self.wrong: list[str] = []
        self._timeline = timeline
        self._lag_s = 0.0
        self._stood_from_s = 0.0
        self._wake = 0
        self.buried = False
        """The drill is over: what is left of it is only tidied up."""
        self.loop = DrillLoop(self)  # type: ignore[abstract]  # nothing here asks for a socket, a signal or a thread

    @property
    def time_s(self) -> float:
        """Its monotonic time, which stands still while it is suspended."""
        return (self._stood_from_s if self.suspended else self._timeline.now_s) - self._lag_s

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run ``work`` as its main task."""
        task = self.loop.create_task(work)
        self._wake_at(self._timeline.now_s)
        return task

    def call(self, act: Callable[..., object], *args: object) -> None:
        """Let ``act`` run in the process as soon as it runs; never, where it is dead."""
        if self.alive:
            self.loop.call_soon(act, *args)
            if not self.suspended:
                self._wake_at(self._timeline.now_s)

    def kill(self) -> None:
        """From now on nothing of it runs, not even what tidies up."""
        self.alive = False
        if self.loop.is_running():
            self.loop.stop()

    def suspend(self) -> None:
        if self.alive and not self.suspended:
            self.suspended = True
            self._stood_from_s = self._timeline.now_s

    def resume(self) -> None:
        if self.suspended:
            self.suspended = False
            self._lag_s += self._timeline.now_s - self._stood_from_s
            self.resumed_s = self._timeline.now_s
            self._wake_at(self._timeline.now_s)

    def pause(self, timeout_s: float) -> None:
        """The loop has nothing to do for ``timeout_s``: time passes at once where nobody else has a turn before."""
        if self.buried:
            self._lag_s -= min(timeout_s, 3600.0)
            return
        wake_s = self._timeline.now_s + timeout_s
        if wake_s < self._timeline.next_s and wake_s < inf:
            self._timeline.now_s = wake_s
            return
        if wake_s < inf:
            self._wake_at(wake_s)
        self.loop.stop()

    def bury(self) -> None:
        """End what is left of it, after the drill, when nothing it does counts any more."""
        self.alive, self.suspended, self.buried = False, False, True
        self.loop.create_task(self._end()).add_done_callback(lambda _: self.loop.stop())
        self.loop.run_forever()
        self.loop.close()

    async def _end(self) -> None:
        for _ in range(3):
            rest = set(self.loop.tasks()) - {asyncio.current_task()}
            if not rest:
                return
            for task in rest:
                task.cancel()
            await asyncio.wait(rest, timeout=60.0)
            for task in rest:
                if task.done() and not task.cancelled():
                    task.exception()

    def _wake_at(self, due_s: float) -> None:
        self._wake += 1
        number = self._wake

        def step() -> None:
            if number == self._wake and self.alive and not self.suspended:
                self.loop.run_forever()

        self._timeline.at(due_s, step)

    def note_wrong(self, message: str, error: object) -> None:
        """What its loop could only log, while it lives."""
        if self.alive:
            self.wrong.append(f"{message}: {error!r}")


class DrillClock:
    """The clock of one process: monotonic time is the process's own, wall time the machine's, which may be set."""

    def __init__(self, process: Process, wall_ms: Callable[[], int], boot_s: Callable[[], float]) -> None:
        self._process = process
        self.wall_ms = wall_ms
        self.boot_s = boot_s

    def monotonic(self) -> float:
        return self._process.time_s

    async def sleep(self, seconds: float) -> None:
        # No time passes here while code runs: what is left of a time by rounding would be slept for for ever.
        await asyncio.sleep(max(LEAST_SLEEP_S, seconds) if seconds > 0 else 0.0)
