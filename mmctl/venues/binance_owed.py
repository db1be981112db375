"""What a connection to Binance's WebSocket API still owes: requests that wait for their replies, joined by id."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from mmctl.ports import Clock
from mmctl.venues.binance_net import FrameSocket
from mmctl.venues.binance_rest import Lost
from mmctl.wire.binance import Reply

LOOK_EVERY_S = 0.1
"""How often it is looked whether a retired connection still owes something."""


class WsRequest:
    """One request on its way; ``handed`` once it may have reached the venue."""

    __slots__ = ("among", "done", "frame", "handed", "request_id")

    def __init__(
        self, request_id: str, frame: str, done: Callable[[Reply | Lost], None], among: dict[str, WsRequest]
    ) -> None:
        self.request_id = request_id
        self.frame = frame
        self.done = done
        self.among = among
        """All that wait on the same connection, this one too for as long as somebody wants its reply."""
        self.handed = False


def lose(waiting: dict[str, WsRequest], reason: str) -> None:
    """No replies will come to those."""
    lost = list(waiting.values())
    waiting.clear()
    for request in lost:
        request.done(Lost(reason, handed=request.handed))


async def linger(
    ws: FrameSocket,
    reading: asyncio.Task[str],
    waiting: dict[str, WsRequest],
    clock: Clock,
    longest_s: float,
) -> None:
    """Wait for what a retired connection owes: until all is there, until it is cut, or for ``longest_s``."""
    until_s = clock.monotonic() + longest_s
    try:
        while waiting and not reading.done() and clock.monotonic() < until_s:
            await asyncio.wait([reading], timeout=LOOK_EVERY_S)
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await ws.close()
    lose(waiting, "a connection that was about to end brought no reply")
