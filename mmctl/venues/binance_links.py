"""The two kept connections of an account to Binance's WebSocket API: one for orders, one for the user data stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from mmctl.core.events import Event
from mmctl.errors import VenueError, VenueRefused, VenueUnreachable
from mmctl.ports import Clock
from mmctl.venues.binance_clock import BinanceTimes
from mmctl.venues.binance_gate import RateGate
from mmctl.venues.binance_net import Network
from mmctl.venues.binance_reads import Reads
from mmctl.venues.binance_stream import UserStream
from mmctl.venues.binance_ws import WsLink
from mmctl.wire.binance import SUBSCRIBE, UnknownShape
from mmctl.wire.binance_sign import Params
from mmctl.wire.binance_user import OrderTold, StreamOver, read_user_event


class Links:
    """Opens and closes both. Without ``use_ws`` there is no connection for orders; without ``follow``, no stream.

    ``on_up`` hears of each connection for orders that is made.
    """

    def __init__(
        self,
        url: str,
        network: Network,
        clock: Clock,
        times: BinanceTimes,
        gate: RateGate,
        reads: Reads,
        *,
        use_ws: bool,
        on_up: Callable[[], None],
    ) -> None:
        self._url = url
        self._network = network
        self._clock = clock
        self._times = times
        self._gate = gate
        self._reads = reads
        self.orders: WsLink | None = None
        if use_ws:
            self.orders = WsLink(
                url, network, clock, times, gate, on_event=self._on_event, on_up=on_up, lasts_s=times.connection_s
            )
        self.stream: UserStream | None = None

    def follow(
        self,
        subscription: Callable[[], Params],
        told: Callable[[OrderTold], None],
        emit: Callable[[str, Event], None],
    ) -> None:
        """Have a user data stream; ``subscription`` makes the signed parameters of a new one."""

        async def subscribe(link: WsLink) -> None:
            while wait_s := self._gate.wait_s(SUBSCRIBE.weight):
                await self._clock.sleep(wait_s)
            self._gate.spend(SUBSCRIBE.weight)
            reply = await link.ask(SUBSCRIBE.method, subscription(), self._times.read_timeout_s)
            if not reply.ok:
                raise self._reads.error(reply, "the user data stream")

        self.stream = UserStream(
            self._url, self._network, self._clock, self._times, self._gate, subscribe=subscribe, told=told, emit=emit
        )

    async def open(self, check: Coroutine[Any, Any, None]) -> None:
        """Connect both and run ``check``, all at once; the first refusal is raised, else the first fault."""
        steps = [check]
        if self.orders is not None:
            steps.append(_open_or_go_on(self.orders))
        if self.stream is not None:
            steps.append(self.stream.open())
        results = await asyncio.gather(*steps, return_exceptions=True)
        faults = [one for one in results if isinstance(one, BaseException)]
        faults.sort(key=lambda one: (isinstance(one, VenueError), not isinstance(one, VenueRefused)))
        if faults:
            raise faults[0]

    def _on_event(self, body: bytes) -> None:
        """Nothing is subscribed to on the connection for orders: what counts is that its server is about to go."""
        try:
            event = read_user_event(body)
        except UnknownShape:
            return
        if isinstance(event, StreamOver) and self.orders is not None:
            self.orders.retire(event.reason)

    async def close(self) -> None:
        """Let go of both. Never raises."""
        if self.stream is not None:
            await self.stream.close()
        if self.orders is not None:
            await self.orders.close()


async def _open_or_go_on(link: WsLink) -> None:
    """REST serves until the link, which goes on trying, is up."""
    try:
        await link.open()
    except VenueUnreachable:
        return
