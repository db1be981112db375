"""Faults that last: told once, until they are over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from mmctl.core.report import Faulted, Report
from mmctl.errors import SharedAway, StateUnreadable
from mmctl.ports import Clock


class LastingFaults:
    """Of one account, by name; each is reported under ``kind``."""

    def __init__(self, clock: Clock, report: Callable[[Report], None], kind: str) -> None:
        self._clock = clock
        self._report = report
        self._kind = kind
        self._lasting: dict[str, str] = {}
        """The cause of each fault that is not over."""

    def tell(self, name: str, detail: str, action: str, *, cause: str = "") -> None:
        """Tell it, unless it lasts already, or another one of the same ``cause`` (its own name, if there is none)."""
        cause = cause or name
        if cause not in self._lasting.values():
            self._report(Faulted("", self._clock.wall_ms(), self._kind, detail, action))
        self._lasting[name] = cause

    def over(self, name: str) -> None:
        """It is over: the next one is told again."""
        self._lasting.pop(name, None)

    @contextmanager
    def noting(self, name: str, action: str) -> Iterator[None]:
        """``StateUnreadable`` within is such a fault, and goes no further; without it the fault is over."""
        try:
            yield
        except StateUnreadable as error:
            self.tell(name, str(error), action, cause="away" if isinstance(error, SharedAway) else "")
        else:
            self.over(name)

    async def noted(self, name: str, action: str, doing: Callable[[], Awaitable[None]]) -> None:
        """The same around what is awaited."""
        with self.noting(name, action):
            await doing()
