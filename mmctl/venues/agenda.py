"""What is to happen later, in order of time and then of arrival, behind one timer of the loop.

Hundreds of replies that are due at one moment cost the loop one handle, and ``close`` leaves none.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from mmctl.ports import Clock


class Agenda:
    """Acts that are due at a monotonic time of ``clock``; nothing ever runs from within ``at``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._acts: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_s = 0.0
        self._held = False
        self._closed = False

    def at(self, due_s: float, act: Callable[[], None]) -> None:
        """Call ``act`` at ``due_s``, or soon where that has passed; never after ``close``."""
        if self._closed:
            return
        self._number += 1
        heapq.heappush(self._acts, (due_s, self._number, act))
        self._set_timer()

    def hold(self) -> None:
        """Let nothing happen until ``go``."""
        self._held = True
        self._drop_timer()

    def go(self) -> None:
        """Go on after ``hold``; what was due meanwhile happens now, in its order."""
        self._held = False
        self._set_timer()

    def close(self) -> None:
        """Forget everything, for good."""
        self._closed = True
        self._acts.clear()
        self._drop_timer()

    def _set_timer(self) -> None:
        if self._held or not self._acts:
            return
        due_s = self._acts[0][0]
        if self._timer is not None:
            if self._timer_due_s <= due_s:
                return
            self._timer.cancel()
        delay_s = max(0.0, due_s - self._clock.monotonic())
        self._timer_due_s = due_s
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._run)

    def _drop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        """Do what is due. What an act adds waits for the loop's next turn, so that no listener can hold it up."""
        self._timer = None
        # A loop may call a timer early by less than its clock's resolution: its own time is due all the same.
        now_s = max(self._clock.monotonic(), self._timer_due_s)
        last = self._number
        try:
            while self._acts and not self._held and self._acts[0][0] <= now_s and self._acts[0][1] <= last:
                heapq.heappop(self._acts)[2]()
        finally:
            self._set_timer()
