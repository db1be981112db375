"""The event loop of one process of a drill: what asyncio needs of one, and nothing that waits for a file or a thread.

A drill spends much of its time in wake-ups; the loop that asyncio comes with does for each what only real sockets need.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from heapq import heappop, heappush
from math import inf
from typing import Any, Protocol, TypeVarTuple

JUST_NOW_S = 1e-9
"""What is due within this time is due now."""

FEW_TASKS = 64

Given = TypeVarTuple("Given")


class Waits(Protocol):
    """Whose loop it is."""

    @property
    def time_s(self) -> float:
        """Its monotonic time."""

    def pause(self, timeout_s: float) -> None:
        """There is nothing to do for ``timeout_s``: let the time pass, or stop the loop."""

    def note_wrong(self, message: str, error: object) -> None:
        """Something that nobody waits for went wrong."""


class _Call(asyncio.TimerHandle):
    """A callback that is due."""

    __slots__ = ("act", "arguments", "due_s", "is_off", "within")

    def __init__(self, act: Callable[..., object], arguments: tuple[Any, ...], within: Context | None) -> None:
        self.act: Callable[..., object] | None = act
        self.arguments = arguments
        self.within = copy_context() if within is None else within
        self.is_off = False
        self.due_s = 0.0

    def cancel(self) -> None:
        self.is_off, self.act, self.arguments = True, None, ()

    def cancelled(self) -> bool:
        return self.is_off

    def when(self) -> float:
        return self.due_s


class DrillLoop(asyncio.AbstractEventLoop):
    """Runs what is ready until its process has nothing to do; what is due at one moment keeps its order."""

    def __init__(self, process: Waits) -> None:
        self._process = process
        self._ready: deque[_Call] = deque()
        self._due: list[tuple[float, int, _Call]] = []
        self._number = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self._many_tasks = FEW_TASKS
        self._running = self._stopping = self._closed = False

    def time(self) -> float:
        return self._process.time_s

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def stop(self) -> None:
        """Come back from ``run_forever`` once what is ready by now has run."""
        self._stopping = True

    def close(self) -> None:
        self._closed = True
        self._ready.clear()
        self._due.clear()
        self._tasks.clear()

    def call_soon(
        self, callback: Callable[[*Given], object], *args: *Given, context: Context | None = None
    ) -> asyncio.Handle:
        call = _Call(callback, args, context)
        self._ready.append(call)
        return call

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Given], object],
        *args: *Given,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._process.time_s + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Given], object],
        *args: *Given,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        call = _Call(callback, args, context)
        call.due_s = when
        self._number += 1
        heappush(self._due, (when, self._number, call))
        return call

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, Any] | Coroutine[Any, Any, Any],
        *,
        name: str | None = None,
        context: Context | None = None,
    ) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        if len(self._tasks) > self._many_tasks:
            self._tasks = self.tasks()
            self._many_tasks = 2 * len(self._tasks) + FEW_TASKS
        return task

    def tasks(self) -> list[asyncio.Task[Any]]:
        """Those that are not done."""
        return [task for task in self._tasks if not task.done()]

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._process.note_wrong(str(context.get("message")), context.get("exception"))

    def run_forever(self) -> None:
        """Run until ``stop``, which a process without anything to do calls, too."""
        self._running = True
        asyncio._set_running_loop(self)
        try:
            while True:
                self._once()
                if self._stopping:
                    return
        finally:
            self._running = self._stopping = False
            asyncio._set_running_loop(None)

    def _once(self) -> None:
        """All that is ready, once; what that makes ready has its turn after it."""
        ready, due, process = self._ready, self._due, self._process
        while due and due[0][2].is_off:
            heappop(due)
        now_s = process.time_s
        if not ready and not self._stopping:
            timeout_s = due[0][0] - now_s if due else inf
            if timeout_s > 0:
                process.pause(timeout_s)
                now_s = process.time_s
        if due:
            until_s = now_s + JUST_NOW_S
            while due and due[0][0] < until_s:
                ready.append(heappop(due)[2])
        for _ in range(len(ready)):
            call = ready.popleft()
            if call.is_off:
                continue
            try:
                call.within.run(call.act, *call.arguments)  # type: ignore[arg-type]
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 - saves the loop; the watch tells of it as a fault
                process.note_wrong("a callback failed", error)
