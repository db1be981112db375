"""Binance's user data stream, on a WebSocket API connection of its own: a cut of one never silences the other.

A subscription can die while its socket lives. So each order whose acceptance a reply told must show on the stream soon;
where one does not, the connection is made anew. After every cut and doubt the listener gets a ``Gap``: the stream
repeats nothing, so only a comparison with the venue's listing brings back what was missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mmctl.core.events import Balance, BalancesChanged, Event, Gap
from mmctl.errors import VenueError
from mmctl.ports import Clock
from mmctl.venues.binance_clock import BinanceTimes
from mmctl.venues.binance_gate import RateGate
from mmctl.venues.binance_net import Network
from mmctl.venues.binance_requests import Memory
from mmctl.venues.binance_ws import WsLink
from mmctl.wire.binance import UnknownShape
from mmctl.wire.binance_user import BalancesTold, OrderTold, StreamOver, read_user_event


class UserStream:
    """The stream of one account. ``subscribe`` runs on each new connection, ``told`` takes what it says of orders."""

    def __init__(
        self,
        url: str,
        network: Network,
        clock: Clock,
        times: BinanceTimes,
        gate: RateGate,
        *,
        subscribe: Callable[[WsLink], Awaitable[None]],
        told: Callable[[OrderTold], None],
        emit: Callable[[str, Event], None],
    ) -> None:
        self._clock = clock
        self._times = times
        self._subscribe = subscribe
        self._told = told
        self._emit = emit
        self._down_at_s: float | None = None
        self._refusal = ""
        self._awaited: dict[str, asyncio.TimerHandle] = {}
        self._reported: Memory[bool] = Memory()
        self._held: dict[str, Balance] = {}
        self.link = WsLink(
            url, network, clock, times, gate, on_event=self._on_event, on_down=self._on_down, greet=self._greet
        )

    async def open(self) -> None:
        """Connect and subscribe. Raises ``VenueError`` where the first attempt fails."""
        await self.link.open()

    async def close(self) -> None:
        """Let go of it. Never raises."""
        self._stop_waiting()
        await self.link.close()

    def expect(self, client_id: str) -> None:
        """A reply told that this order rests: the stream has to report it too."""
        if self.link.up and client_id not in self._reported and client_id not in self._awaited:
            loop = asyncio.get_running_loop()
            self._awaited[client_id] = loop.call_later(self._times.stream_lag_s, self._doubt, client_id)

    async def _greet(self) -> None:
        try:
            await self._subscribe(self.link)
        except VenueError as error:
            if self._down_at_s is not None and str(error) != self._refusal:
                self._refusal = str(error)
                self._emit("", Gap(f"the user data stream does not come back: {error}"))
            raise
        if self._down_at_s is not None:
            away_s = self._clock.monotonic() - self._down_at_s
            self._down_at_s, self._refusal = None, ""
            self._emit("", Gap(f"the user data stream is back after {away_s:.1f} s"))

    def _on_down(self, reason: str) -> None:
        self._stop_waiting()
        self._down_at_s = self._clock.monotonic()
        self._emit("", Gap(f"the user data stream was lost: {reason}"))

    def _doubt(self, client_id: str) -> None:
        self._awaited.pop(client_id, None)
        lag_s = self._times.stream_lag_s
        self.link.drop(f"it did not report {client_id} within {lag_s:g} s of its acceptance")

    def _stop_waiting(self) -> None:
        for timer in self._awaited.values():
            timer.cancel()
        self._awaited.clear()
        self._held.clear()

    def _on_event(self, body: bytes) -> None:
        try:
            event = read_user_event(body)
        except UnknownShape as error:
            self._emit("", Gap(str(error)))
            return
        if isinstance(event, OrderTold):
            self._reported[event.client_id] = True
            if timer := self._awaited.pop(event.client_id, None):
                timer.cancel()
            self._told(event)
        elif isinstance(event, BalancesTold):
            self._tell_balances(event.event)
        elif isinstance(event, StreamOver):
            self.link.drop(event.reason)

    def _tell_balances(self, event: BalancesChanged) -> None:
        """Balances count as told after all that was told before them, so they wait for the reports of orders whose
        acceptance is known by a reply already: without, they would lack those orders' locks."""
        self._held.update(event.balances)
        if not self._awaited:
            held, self._held = self._held, {}
            self._emit("", BalancesChanged(held))
