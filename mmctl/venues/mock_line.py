"""The line between an engine and the mock venue: slow, lossy, and the only place of chance.

All chance comes from one seed: the same calls at the same times give the same outcome. What becomes of a request is
drawn when it is submitted. Every request is answered once; what nobody asked for comes by the user stream.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TypeVar

from mmctl.core.events import (
    Accepted,
    BalancesChanged,
    CancelRefused,
    Ended,
    Event,
    Fill,
    OrderEvent,
    Rejected,
    Request,
    Unsettled,
)
from mmctl.core.order import CancelOrder, NewOrder, decode_own_id
from mmctl.errors import VenueUnreachable
from mmctl.ports import Clock
from mmctl.venues.agenda import Agenda
from mmctl.venues.mock_exchange import MockExchange

_Answer = TypeVar("_Answer")
_Reply = Accepted | Rejected | Ended | CancelRefused


@dataclass(frozen=True, slots=True)
class MockOptions:
    """How the mock venue behaves. Rates are shares from 0 to 1, fees bps of what is received.

    ``latency_ms`` is that of one way, to which up to ``latency_jitter_ms`` is added; every request, reply and event
    has its own, so that they overtake each other. ``timeout_rate`` loses replies to placements and cancels: half
    of these requests never arrive, and half of the placements that do arrive late, at any time until
    ``landing_time_s`` after ``submit``. ``read_failure_rate`` fails queries, listings and all other reads; listings
    and queries that succeed show what was up to ``listing_lag_ms`` before.
    """

    seed: int = 1
    latency_ms: int = 20
    latency_jitter_ms: int = 10
    reject_rate: float = 0.0
    timeout_rate: float = 0.0
    read_failure_rate: float = 0.0
    landing_time_s: float = 10.0
    request_timeout_s: float = 5.0
    listing_lag_ms: int = 0
    maker_fee_bps: Decimal = Decimal(10)
    taker_fee_bps: Decimal = Decimal(10)
    history_limit: int = 10_000


@dataclass(slots=True, eq=False)
class _OnItsWay:
    """A request and what was drawn for it. It goes with its batch, except for one that is late.

    ``settled`` means that it has its answer, ``timed_out`` that this was ``Unsettled``.
    """

    order: NewOrder | CancelOrder
    deadline_s: float
    expires_s: float
    arrives: bool
    late_by_s: float | None
    reply_lost: bool
    refused: bool
    settled: bool = False
    timed_out: bool = False

    @property
    def kind(self) -> Request:
        return Request.PLACE if isinstance(self.order, NewOrder) else Request.CANCEL


class MockLine:
    """Carries requests to ``exchange``, and answers, events and reads back."""

    def __init__(self, name: str, clock: Clock, exchange: MockExchange, options: MockOptions) -> None:
        self.options = options
        self.listener: Callable[[str, Event], None] = lambda symbol, event: None
        self._name = name
        self._clock = clock
        self._exchange = exchange
        self._request_timeout_s = options.request_timeout_s
        self._landing_time_s = options.landing_time_s
        self._random = random.Random(options.seed)
        self._agenda = Agenda(clock)
        self._deadlines = Agenda(clock)  # a request times out on our side, whatever the line does
        self._unanswered: dict[str, list[_OnItsWay]] = {}
        self._stalled = False
        self._closed = False

    def submit(self, orders: Iterable[NewOrder | CancelOrder]) -> None:
        """Send requests off, in order. Raises ``VenueUnreachable`` after ``close``: nothing was handed over."""
        self.check_open()
        now_s = self._clock.monotonic()
        requests = [self._drawn(order, now_s) for order in orders]
        together: list[_OnItsWay] = []
        for request in requests:
            self._unanswered.setdefault(request.order.client_id, []).append(request)
            if request.late_by_s is not None:
                self._agenda.at(now_s + request.late_by_s, partial(self._arrive, [request]))
            elif request.arrives:
                together.append(request)
        self._agenda.at(self._one_way_from(now_s), partial(self._arrive, together))
        self._deadlines.at(now_s + self._request_timeout_s, partial(self._time_out, requests))

    async def read(self, look: Callable[[float], _Answer]) -> _Answer:
        """Ask the exchange, there and back; ``look`` is given the monotonic time as of which it may see.

        Raises ``VenueUnreachable`` where the read was drawn to fail, the line stands still, or it took too long.
        """
        self.check_open()
        asked_at_s = self._clock.monotonic()
        deadline_s = asked_at_s + self._request_timeout_s
        fails = self._random.random() < self.options.read_failure_rate
        lag_s = self._random.random() * self.options.listing_lag_ms / 1000
        arrives_s = self._one_way_from(asked_at_s)
        back_s = self._one_way_from(arrives_s)
        if not fails and back_s <= deadline_s:
            await self._clock.sleep(arrives_s - asked_at_s)
            answer = look(self._clock.monotonic() - lag_s)
            await self._clock.sleep(back_s - arrives_s)
            self.check_open()
            if not self._stalled:
                return answer
            back_s = deadline_s
        await self._clock.sleep(min(back_s, deadline_s) - self._clock.monotonic())
        raise VenueUnreachable(f"venue {self._name} did not answer a read")

    def stream(self, symbol: str, events: Sequence[OrderEvent]) -> None:
        """The user stream tells of own orders, not always in order, and then of the balances that changed."""
        now_s = self._clock.monotonic()
        self._tell_balances(self._stream(symbol, events, now_s), self._exchange.wallet.take_changed())

    def stall(self) -> None:
        self._stalled = True
        self._agenda.hold()

    def resume(self) -> None:
        self._stalled = False
        self._agenda.go()

    def close(self) -> None:
        self._closed = True
        self._agenda.close()
        self._deadlines.close()
        self._unanswered.clear()

    def check_open(self) -> None:
        if self._closed:
            raise VenueUnreachable(f"venue {self._name} is closed")

    def _drawn(self, order: NewOrder | CancelOrder, now_s: float) -> _OnItsWay:
        """Draw what is to become of a request."""
        options, draw = self.options, self._random.random
        placement = isinstance(order, NewOrder)
        lost = draw() < options.timeout_rate
        arrives = not lost or draw() < 0.5
        late = lost and arrives and placement and draw() < 0.5
        return _OnItsWay(
            order=order,
            deadline_s=now_s + self._request_timeout_s,
            expires_s=now_s + self._landing_time_s,
            arrives=arrives,
            late_by_s=draw() * self._landing_time_s if late else None,
            reply_lost=lost,
            refused=placement and draw() < options.reject_rate,
        )

    def _one_way_from(self, at_s: float) -> float:
        """When something sent at ``at_s`` is at the other end; whole ms, so that much of a batch comes together."""
        options = self.options
        jitter_ms = int(self._random.random() * (options.latency_jitter_ms + 1))
        return at_s + (options.latency_ms + jitter_ms) / 1000

    def _arrive(self, requests: Sequence[_OnItsWay]) -> None:
        """Requests reach the exchange, in order; what it says of each goes back at its own pace."""
        now_s = self._clock.monotonic()
        changed: dict[float, frozenset[str]] = {}
        for request in requests:
            if now_s <= request.expires_s:
                told_s = self._carry_out(request, now_s)
                changed[told_s] = changed.get(told_s, frozenset()) | self._exchange.wallet.take_changed()
        for told_s, assets in changed.items():  # entered last, so that at one moment balances follow their causes
            self._tell_balances(told_s, assets)

    def _carry_out(self, request: _OnItsWay, now_s: float) -> float:
        """One request is done; says when the last of its answer and events will have been told."""
        order = request.order
        fills: tuple[Fill, ...] = ()
        answer: _Reply
        if isinstance(order, CancelOrder):
            answer = self._exchange.cancel(order, now_s)
        elif request.refused:
            answer = Rejected(order.client_id, "venue_busy", "the venue is busy: try again later")
        else:
            answer, fills = self._exchange.place(order, now_s, self._clock.wall_ms())
        told_s = self._stream(order.symbol, fills, now_s)
        reply_s = self._reply_due(request, answer, now_s)
        if reply_s is None:
            return told_s
        self._agenda.at(reply_s, partial(self._reply, request, answer))
        return max(told_s, reply_s)

    def _reply_due(self, request: _OnItsWay, answer: _Reply, now_s: float) -> float | None:
        """When the answer is told: by the reply, or by the user stream where that is lost; ``None``: never.

        What lost the reply lost the stream until the request timed out. Afterwards the stream tells of an order
        that landed late and of every end; an order that had rested before that is learnt of only by asking.
        """
        if not request.reply_lost:
            return self._one_way_from(now_s)
        if isinstance(answer, Ended) or (isinstance(answer, Accepted) and now_s > request.deadline_s):
            return self._one_way_from(max(now_s, request.deadline_s))
        return None

    def _reply(self, request: _OnItsWay, answer: _Reply) -> None:
        """An answer is here. After a time-out only the user stream speaks, and it knows of no refusals."""
        if request.settled and not (request.timed_out and isinstance(answer, Accepted | Ended)):
            return
        self._settle(request)
        self._tell(request.order.symbol, answer)

    def _time_out(self, requests: Sequence[_OnItsWay]) -> None:
        for request in requests:
            if not request.settled:
                request.timed_out = True
                self._settle(request)
                reason = f"no reply to the {request.kind} within {self._request_timeout_s:g} s"
                self._tell(request.order.symbol, Unsettled(request.order.client_id, request.kind, reason))

    def _settle(self, request: _OnItsWay) -> None:
        """The request has its answer."""
        request.settled = True
        waiting = self._unanswered.get(request.order.client_id, [])
        if request in waiting:
            waiting.remove(request)
        if not waiting:
            self._unanswered.pop(request.order.client_id, None)

    def _stream(self, symbol: str, events: Sequence[OrderEvent], now_s: float) -> float:
        """Tell of own orders by the user stream; says when the last event, or any other, will have been told."""
        last_s = self._one_way_from(now_s)
        for event in events:
            if decode_own_id(event.client_id) is not None:
                due_s = self._one_way_from(now_s)
                self._agenda.at(due_s, partial(self._tell, symbol, event))
                last_s = max(last_s, due_s)
        return last_s

    def _tell_balances(self, due_s: float, changed: frozenset[str]) -> None:
        """Tell of changed balances once that which changed them has been told: as they are by then."""
        if changed:
            wallet = self._exchange.wallet
            self._agenda.at(due_s, lambda: self._tell("", BalancesChanged(wallet.balances(changed))))

    def _tell(self, symbol: str, event: Event) -> None:
        if isinstance(event, Ended):
            # An end answers whatever is still asked of its order: an answer after it would be a second one.
            for request in self._unanswered.pop(event.client_id, ()):
                request.settled = True
        self.listener(symbol, event)
