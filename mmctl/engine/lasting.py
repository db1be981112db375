"""Faults that last: told once, until they are over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from mmctl.core.report import Faulted, Report
from mmctl.errors import StateUnreadable
from mmctl.ports import Clock


class LastingFaults:
    """Of one account, by name; each is reported under ``kind``."""

    def __init__(self, clock: Clock, report: Callable[[Report], None], kind: str) -> None:
        self._clock = clock
        self._report = report
        self._kind = kind
        self._told: set[str] = set()

    def tell(self, name: str, detail: str, action: str) -> None:
        """Tell it, unless it was told and is not over yet."""
        if name not in self._told:
            self._told.add(name)
            self._report(Faulted("", self._clock.wall_ms(), self._kind, detail, action))

    def over(self, name: str) -> None:
        """It is over: the next one is told again."""
        self._told.discard(name)

    @contextmanager
    def noting(self, name: str, action: str) -> Iterator[None]:
        """``StateUnreadable`` within is such a fault, and goes no further; without it the fault is over."""
        try:
            yield
        except StateUnreadable as error:
            self.tell(name, str(error), action)
        else:
            self.over(name)

    async def noted(self, name: str, action: str, doing: Callable[[], Awaitable[None]]) -> None:
        """The same around what is awaited."""
        with self.noting(name, action):
            await doing()
