"""One batch of requests on its way: who has answered, and what came of it.

Answers are joined by client order id and kind of request, never by position; each counts once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from mmctl.core.events import Accepted, CancelRefused, Ended, Fill, OrderEvent, Rejected, Request, Unsettled
from mmctl.core.order import State


class Batch:
    """Placements and cancels of one turn; most often they leave together."""

    def __init__(self, places: Iterable[str] = (), cancels: Iterable[str] = ()) -> None:
        self._open: set[tuple[Request, str]] = set()
        self._answered = asyncio.Event()
        self.placed = 0
        self.cancelled = 0
        self.unknown = 0
        self.rejections: list[Rejected] = []
        self._answered.set()
        self.add(places, cancels)

    def add(self, places: Iterable[str], cancels: Iterable[str]) -> None:
        """These leave now, and will be answered."""
        self._open |= {(Request.PLACE, client_id) for client_id in places}
        self._open |= {(Request.CANCEL, client_id) for client_id in cancels}
        if self._open:
            self._answered.clear()

    @property
    def unanswered(self) -> list[tuple[Request, str]]:
        """Requests without an answer, in a fixed order."""
        return sorted(self._open)

    def take(self, event: OrderEvent) -> None:
        """Count ``event`` if it answers a request of this batch."""
        if isinstance(event, Accepted | Fill):
            self.placed += self._answer(Request.PLACE, event.client_id)
        elif isinstance(event, Rejected):
            if self._answer(Request.PLACE, event.client_id):
                self.rejections.append(event)
        elif isinstance(event, Unsettled):
            self.unknown += self._answer(event.request, event.client_id)
        elif isinstance(event, CancelRefused):
            self._answer(Request.CANCEL, event.client_id)
        elif isinstance(event, Ended):
            self.placed += self._answer(Request.PLACE, event.client_id)
            ended_by_cancel = self._answer(Request.CANCEL, event.client_id)
            self.cancelled += ended_by_cancel and event.state is not State.FILLED

    async def answered(self, timeout_s: float) -> bool:
        """Wait until every request has its answer; says whether that came within ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._answered.wait()
        except TimeoutError:
            return False
        return True

    def _answer(self, request: Request, client_id: str) -> bool:
        if (request, client_id) not in self._open:
            return False
        self._open.discard((request, client_id))
        if not self._open:
            self._answered.set()
        return True
