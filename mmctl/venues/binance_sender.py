"""Sends placements and cancels to Binance, and makes one answer of what comes of each.

``place`` and ``cancel`` sign and hand over at once. The socket takes all that it can; what was never written to it when
it goes down goes over REST; what was written never goes anywhere again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from mmctl.core.events import Accepted, CancelRefused, OrderEvent, Rejected, Request
from mmctl.core.order import CancelOrder, NewOrder
from mmctl.errors import VenueError
from mmctl.ports import Clock
from mmctl.venues.binance_clock import BinanceTimes, ServerClock
from mmctl.venues.binance_gate import RateGate
from mmctl.venues.binance_reads import Reads
from mmctl.venues.binance_replies import ReplyReader
from mmctl.venues.binance_requests import Memory, Pending, Requests
from mmctl.venues.binance_rest import CONNECTIONS, Lost, Rest
from mmctl.wire import binance as wire
from mmctl.wire.binance import Call, Reply, UnknownShape
from mmctl.wire.binance_errors import CLOCK_CODE
from mmctl.wire.binance_sign import Signer, Value

if TYPE_CHECKING:
    from mmctl.venues.binance_ws import WsLink

LOOK_AGAIN_S = 0.05
"""How often it is looked whether cancels that are held may leave."""

ANSWER_MARGIN_S = 0.05
"""How much before the promised time an answer is told, so that a busy loop keeps the promise."""


class Sender:
    """One account's placements and cancels. ``rested`` hears of each order that a reply says rests; over REST at most
    ``at_once`` are on their way."""

    def __init__(
        self,
        clock: Clock,
        server: ServerClock,
        gate: RateGate,
        rest: Rest,
        signer: Signer,
        times: BinanceTimes,
        reads: Reads,
        requests: Requests,
        reader: ReplyReader,
        rested: Callable[[str], None],
        at_once: int = CONNECTIONS,
    ) -> None:
        self._clock = clock
        self._server = server
        self._gate = gate
        self._rest = rest
        self._signer = signer
        self._times = times
        self._reads = reads
        self._requests = requests
        self._reader = reader
        self._rested = rested
        self.link: WsLink | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._free = asyncio.Semaphore(at_once)
        self._held: dict[str, Pending] = {}
        self._first: list[Pending] = []
        """Cancels that were held and have not left: until they have, nothing else leaves."""
        gate.cancels_wait = self._cancels_wait
        self._cancelled: Memory[bool] = Memory()
        """Orders whose cancel was sent before."""
        self._release: asyncio.TimerHandle | None = None
        self._placed_at_s: float | None = None

    @property
    def quoting(self) -> bool:
        """Whether this process quotes, or is about to: what it asks has to leave room for cancels then."""
        if self._placed_at_s is None:
            return True
        return self._clock.monotonic() - self._placed_at_s < self._times.landing_time_s

    async def close(self) -> None:
        """End all that is under way; nobody is told anything any more."""
        self._requests.drop_all()
        self._held.clear()
        self._first.clear()
        if self._release is not None:
            self._release.cancel()
        tasks, self._tasks = list(self._tasks), set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def place(self, order: NewOrder) -> None:
        """Hand over a placement; over budget it is refused, and does not leave."""
        self._placed_at_s = self._clock.monotonic()
        pending = self._add(Request.PLACE, order)
        refusal = self._gate.refusal(wire.PLACE, quoting=True)
        if refusal is not None:
            self._answer_soon(pending, Rejected(order.client_id, "rate_budget", refusal))
            return
        self._send(pending, wire.PLACE, wire.placement(order))

    def cancel(self, cancel: CancelOrder) -> None:
        """Hand over a cancel. While the venue wants quiet it is held, and leaves first when that ends."""
        pending = self._add(Request.CANCEL, cancel)
        refusal = self._refusal(cancel)
        if refusal is None:
            self._send_cancel(pending, cancel)
        elif held_s := self._gate.held_s(placing=False):
            self._held[cancel.client_id] = pending
            self._first.append(pending)
            pending.withdraw = lambda: True
            if self._release is None:
                self._release = self._look_again(held_s)
        else:
            self._answer_soon(pending, CancelRefused(cancel.client_id, False, refusal))

    def release(self) -> None:
        """Send the cancels that were held, if the venue may be asked again."""
        if not self._held:
            return
        if self._release is not None:
            self._release.cancel()
            self._release = None
        if held_s := self._gate.held_s(placing=False):
            self._release = self._look_again(held_s)
            return
        held, self._held = self._held, {}
        for pending in held.values():
            pending.withdraw = bool
            if not isinstance(pending.order, CancelOrder) or pending.answered:
                continue
            refusal = self._refusal(pending.order)
            if refusal is None:
                self._send_cancel(pending, pending.order)
            else:
                self._answer_soon(pending, CancelRefused(pending.client_id, False, refusal))

    def _refusal(self, cancel: CancelOrder) -> str | None:
        return self._gate.refusal(wire.CANCEL, quoting=False, again=cancel.client_id in self._cancelled)

    def _send_cancel(self, pending: Pending, cancel: CancelOrder) -> None:
        self._cancelled[cancel.client_id] = True
        self._send(pending, wire.CANCEL, wire.cancellation(cancel))

    def _cancels_wait(self) -> bool:
        if self._first:
            self._first = [one for one in self._first if not (one.has_left() or one.answered)]
        return bool(self._first)

    def _look_again(self, held_s: float) -> asyncio.TimerHandle:
        """Soon, however long it is: while this machine is suspended the loop's clock stands still."""
        return asyncio.get_running_loop().call_later(min(held_s, LOOK_AGAIN_S), self.release)

    def _add(self, request: Request, order: NewOrder | CancelOrder) -> Pending:
        pending = self._requests.add(request, order)
        after_s = self._times.request_timeout_s - ANSWER_MARGIN_S
        pending.timer = asyncio.get_running_loop().call_later(after_s, self._timed_out, pending)
        return pending

    def _answer_soon(self, pending: Pending, event: OrderEvent) -> None:
        """Answers never come from within ``submit``."""
        asyncio.get_running_loop().call_soon(self._requests.answer, pending, event)

    def _send(self, pending: Pending, call: Call, params: Mapping[str, Value]) -> None:
        pending.ticket = self._gate.take(call)
        pending.signed_at_s = self._clock.monotonic()
        stamped = self._stamped(params)
        link = self.link
        if link is None or not link.up:
            self._by_rest(pending, call, stamped)
            return
        signed = self._signer.ws_params(stamped)
        request = link.send(call.method, signed, partial(self._came, pending, call, stamped))

        def withdraw() -> bool:
            if not request.handed:
                link.forget(request)
            return not request.handed

        pending.withdraw, pending.let_go = withdraw, partial(link.forget, request)
        pending.has_left = lambda: request.handed

    def _stamped(self, params: Mapping[str, Value]) -> dict[str, Value]:
        return wire.stamped(params, self._server.now_ms(), self._times.recv_window_ms)

    def _came(self, pending: Pending, call: Call, stamped: Mapping[str, Value], answer: Reply | Lost) -> None:
        """The socket brought a reply, or went down."""
        if isinstance(answer, Reply):
            self._replied(pending, answer)
        elif answer.handed or pending.answered:
            self._lost(pending, answer)
        else:
            pending.withdraw = bool
            self._by_rest(pending, call, stamped)

    def _by_rest(self, pending: Pending, call: Call, stamped: Mapping[str, Value]) -> None:
        self._spawn(self._over_rest(pending, call, stamped))

    async def _over_rest(self, pending: Pending, call: Call, stamped: Mapping[str, Value]) -> None:
        """Wait for a free connection, and go unless the venue came to want quiet meanwhile.

        A cancel is stamped when it leaves, or the last of hundreds would come too late. A placement keeps its stamp: by
        it everybody knows until when it may appear.
        """
        try:
            async with self._free:
                if self._gate.held_s(placing=pending.request is Request.PLACE) or pending.answered:
                    raise Lost("the venue wanted quiet before it could be sent", handed=False)
                if pending.request is Request.CANCEL:
                    pending.signed_at_s = self._clock.monotonic()
                    stamped = self._stamped(stamped)
                query = self._signer.query(stamped)
                pending.has_left = lambda: True
                reply = await self._rest.ask(call, query, self._times.landing_time_s)
            self._replied(pending, reply)
        except Lost as lost:
            self._lost(pending, lost)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _timed_out(self, pending: Pending) -> None:
        """The promised time is over. A reply may still come until the landing time."""
        if pending.answered:
            self._given_up(pending)
            return
        if pending.withdraw():
            self._not_sent(pending, f"it could not be sent within {self._times.request_timeout_s:g} s")
            return
        self._requests.unsettle(pending, f"no answer in {self._times.request_timeout_s:g} s")
        later_s = self._times.landing_time_s - self._times.request_timeout_s
        pending.timer = asyncio.get_running_loop().call_later(max(0.0, later_s), self._given_up, pending)

    def _given_up(self, pending: Pending) -> None:
        if pending.ticket is not None:
            self._gate.lose(pending.ticket)
        pending.let_go()
        self._requests.forget(pending)

    def _lost(self, pending: Pending, lost: Lost) -> None:
        if pending.ticket is not None:
            self._gate.lose(pending.ticket)
        if lost.handed:
            self._requests.unsettle(pending, lost.reason)
        else:
            self._not_sent(pending, f"{lost.reason} ({lost.hint})" if lost.hint else lost.reason)

    def _not_sent(self, pending: Pending, reason: str) -> None:
        """Nothing left this machine, which is as definite as a refusal."""
        if pending.request is Request.PLACE:
            self._requests.answer(pending, Rejected(pending.client_id, "unreachable", reason))
        else:
            self._requests.answer(pending, CancelRefused(pending.client_id, False, reason))

    def _replied(self, pending: Pending, reply: Reply) -> None:
        if pending.ticket is not None:
            self._gate.settle(pending.ticket, reply)
        try:
            event = self._reader.event(pending.order, reply)
        except UnknownShape as error:
            self._requests.unsettle(pending, f"the venue answered with {error}")
            return
        if reply.fault is not None and reply.fault.code == CLOCK_CODE:
            self._spawn(self._measure_clock(pending.signed_at_s))
        if event is None:
            self._requests.unsettle(pending, self._reader.words(reply))
            return
        if isinstance(event, Accepted) and not pending.answered and pending.rests is None:
            self._rested(event.client_id)
        self._requests.answer(pending, event)

    async def _measure_clock(self, since_s: float) -> None:
        try:
            await self._reads.measure_clock(since_s)
        except VenueError:
            return  # the next refusal tells, with the offset as it was known
