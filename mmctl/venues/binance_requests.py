"""What was asked of Binance and what was told of it: one answer to each request, and each end told once.

Replies and the user data stream tell the same things twice, in any order. While a placement's reply is awaited, the
stream's word that it rests is kept back, since the reply may say more (that it was done at once); it counts where the
reply does not come. An end counts from whoever tells it first.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from mmctl.core.events import Accepted, CancelRefused, Ended, Event, Fill, OrderEvent, Rejected, Request, Unsettled
from mmctl.core.order import CancelOrder, NewOrder, decode_own_id
from mmctl.wire.binance_limits import Ticket

if TYPE_CHECKING:
    from mmctl.wire.binance_user import OrderTold

REMEMBERED = 2_000
"""Orders of which is remembered what was told: minutes of them at the venue's own limits, where late and repeated news
come within seconds. The ledger does not count twice what comes later, and whose a trade is, is then asked for."""

_V = TypeVar("_V")


class Memory(OrderedDict[str, _V]):
    """A dictionary that forgets the oldest beyond the newest ``most``."""

    def __init__(self, most: int = REMEMBERED) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: str, value: _V) -> None:
        super().__setitem__(key, value)
        if len(self) > self._most:
            self.popitem(last=False)


@dataclass(slots=True, eq=False)
class Pending:
    """One request. ``unsettled`` means that its answer was ``Unsettled``, after which news are still told."""

    request: Request
    order: NewOrder | CancelOrder
    answered: bool = False
    unsettled: bool = False
    rests: Accepted | None = None
    """What the stream told of a placement whose reply is awaited."""
    ticket: Ticket | None = None
    signed_at_s: float = 0.0
    withdraw: Callable[[], bool] = bool
    """Takes the request back; says whether it had not left yet."""
    has_left: Callable[[], bool] = bool
    """Whether it has left this machine."""
    let_go: Callable[[], object] = bool
    """Waits for the reply no longer."""
    timer: asyncio.TimerHandle | None = None

    @property
    def client_id(self) -> str:
        return self.order.client_id

    def close(self) -> None:
        """Nothing more is to come of it. What it held on to holds on to it: only a collection would free both."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.withdraw = self.has_left = self.let_go = bool


class Requests:
    """All requests without an answer, and what was told of each order. ``emit`` is the port's listener."""

    def __init__(self, emit: Callable[[str, Event], None]) -> None:
        self._emit = emit
        self._open: dict[tuple[Request, str], Pending] = {}
        self._ended: Memory[bool] = Memory()
        self._accepted: Memory[bool] = Memory()
        self.order_ids: Memory[str] = Memory()
        """The venue's number of an order by its client id."""
        self.client_ids: Memory[str] = Memory()
        """The client id by the venue's number, foreign orders' too."""

    def add(self, request: Request, order: NewOrder | CancelOrder) -> Pending:
        """A request that is about to leave."""
        pending = Pending(request, order)
        self._open[request, order.client_id] = pending
        return pending

    def note(self, client_id: str, order_id: str) -> None:
        """Remember whose number that is."""
        self.client_ids[order_id] = client_id
        self.order_ids[client_id] = order_id

    def drop_all(self) -> None:
        """Nobody is told anything any more."""
        for pending in self._open.values():
            pending.close()
            pending.answered = True
        self._open.clear()

    def answer(self, pending: Pending, event: OrderEvent) -> None:
        """The request's reply. One that comes after another answer is told only where that was ``Unsettled``."""
        if isinstance(event, Accepted | Ended) and event.order_id is not None:
            self.note(event.client_id, event.order_id)
        late = pending.answered and not pending.unsettled
        if isinstance(event, Ended):
            self._close(pending)
            self._end(pending.order.symbol, event)
            return
        self._close(pending)
        if late:
            return
        if isinstance(event, Accepted):
            self._accept(pending.order.symbol, event)
            return
        if isinstance(event, Rejected | CancelRefused):
            self._refuse(pending.order.symbol, event)

    def unsettle(self, pending: Pending, reason: str) -> None:
        """No answer came: it is unsettled, unless the stream has told that a placement rests."""
        if pending.answered:
            return
        pending.answered = True
        if pending.rests is not None:
            self._accept(pending.order.symbol, pending.rests)
            return
        pending.unsettled = True
        self._emit(pending.order.symbol, Unsettled(pending.client_id, pending.request, reason))

    def forget(self, pending: Pending) -> None:
        """No reply to that will come any more."""
        self._close(pending)

    def streamed(self, told: OrderTold) -> None:
        """What the user data stream says of an order; those of others are left out."""
        client_id = told.client_id
        self.note(client_id, told.order_id)
        placed = self._open.get((Request.PLACE, client_id))
        cancelled = (Request.CANCEL, client_id) in self._open
        if placed is None and not cancelled and decode_own_id(client_id) is None:
            return
        for event in told.events:
            if isinstance(event, Fill):
                self._emit(told.symbol, event)
            elif isinstance(event, Accepted):
                if placed is not None and not placed.answered:
                    placed.rests = event
                else:
                    self._accept(told.symbol, event)
            elif told.untraded_prevention and placed is not None and (not placed.answered or placed.unsettled):
                self._reject(placed, Rejected(client_id, "self_trade", "it would have met an own order"))
            elif isinstance(event, Ended):
                self._end(told.symbol, event)
            elif isinstance(event, Rejected) and placed is not None:
                self._reject(placed, event)

    def _reject(self, placed: Pending, event: Rejected) -> None:
        """The stream's word for it. The request's reply is still awaited for what it has of the venue's counters."""
        if not placed.answered or placed.unsettled:
            placed.answered, placed.unsettled = True, False
            self._refuse(placed.order.symbol, event)

    def _refuse(self, symbol: str, event: Rejected | CancelRefused) -> None:
        if isinstance(event, Rejected) and event.code == "self_trade":
            self._ended[event.client_id] = True  # the stream tells of its short life too
        self._emit(symbol, event)

    def _accept(self, symbol: str, event: Accepted) -> None:
        if event.client_id not in self._accepted and event.client_id not in self._ended:
            self._accepted[event.client_id] = True
            self._emit(symbol, event)

    def _end(self, symbol: str, event: Ended) -> None:
        """An end answers all that is asked of the order, and is told once."""
        for request in Request:
            if pending := self._open.get((request, event.client_id)):
                pending.answered, pending.unsettled = True, False
        if event.client_id not in self._ended:
            self._ended[event.client_id] = True
            self._emit(symbol, event)

    def _close(self, pending: Pending) -> None:
        pending.answered, pending.unsettled = True, False
        pending.close()
        key = (pending.request, pending.client_id)
        if self._open.get(key) is pending:
            del self._open[key]
