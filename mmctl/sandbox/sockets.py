"""One WebSocket connection of a client: what waits to be sent, pings, stalls, and how it is cut."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

from mmctl.sandbox.faults import Faults

if TYPE_CHECKING:
    from aiohttp import web

PING_EVERY_S = 20.0
PONG_WITHIN_S = 60.0
CLOSE_S = 1.0
"""How long a client may take to answer a goodbye."""
MAX_WAITING = 50_000
"""Messages that wait for a client that does not read; then it is disconnected."""


class Socket:
    """A connection that is open. Everything pushed goes out in its order, unless latency says later."""

    def __init__(self, request: web.Request, ws: web.WebSocketResponse, faults: Faults) -> None:
        from aiohttp import WSMsgType

        self.ws = ws
        self.stalled_until = 0.0
        self.last_pong = time.monotonic()
        self._text = WSMsgType.TEXT
        self._transport = request.transport
        self._faults = faults
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._later: deque[tuple[float, bytes]] = deque()
        self._sender = self._loop.create_task(self._send())

    @property
    def stalled(self) -> bool:
        return self._loop.time() < self.stalled_until

    def stall(self, seconds: float) -> None:
        """Say nothing for so long, while the socket lives."""
        self.stalled_until = self._loop.time() + seconds

    def push(self, message: bytes, latency_s: float = 0.0) -> None:
        """Send a message, after ``latency_s``; none overtakes one that was pushed before it."""
        if not latency_s and not self._later:
            self._put(message)
            return
        due = self._loop.time() + latency_s
        if self._later:
            due = max(due, self._later[-1][0])
        self._later.append((due, message))
        if len(self._later) == 1:
            self._loop.call_at(due, self._put_due)

    def interject(self, message: bytes) -> None:
        """Send a message now, before all that latency holds back."""
        self._put(message)

    def _put_due(self) -> None:
        """Send what is due. One timer at a time: two for the same moment could go off in any order."""
        now = self._loop.time()
        while self._later and self._later[0][0] <= now:
            self._put(self._later.popleft()[1])
        if self._later:
            self._loop.call_at(self._later[0][0], self._put_due)

    def _put(self, message: bytes) -> None:
        self._waiting.append(message)
        if len(self._waiting) > MAX_WAITING:
            self.cut()
        self._wake.set()

    async def flush(self) -> None:
        """Send what waits."""
        waiting, ws = self._waiting, self.ws
        try:
            while waiting:
                await ws.send_frame(waiting.popleft(), self._text)
        except ConnectionError:
            waiting.clear()

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()

    def cut(self) -> None:
        """Cut the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    async def ping(self) -> None:
        """Send a ping, or cut a client that has not answered one for a minute."""
        if time.monotonic() - self.last_pong > PONG_WITHIN_S:
            self.cut()
            return
        try:
            await self.ws.ping(str(time.time_ns() // 1_000_000).encode())
        except ConnectionError:
            self.cut()

    async def goodbye(self, message: bytes) -> None:
        """Say a last message and close."""
        self.push(message)
        await self.flush()
        await self.ws.close(code=1001)

    async def over(self) -> None:
        """The connection has ended: stop sending."""
        self._sender.cancel()
        await asyncio.gather(self._sender, return_exceptions=True)


class Sockets:
    """All connections of one kind. One task pings them all."""

    def __init__(self) -> None:
        self.open: set[Socket] = set()
        self.opened = 0

    def add(self, socket: Socket) -> None:
        self.open.add(socket)
        self.opened += 1

    async def ping_forever(self, every_s: float = PING_EVERY_S) -> None:
        while True:
            await asyncio.sleep(every_s)
            for socket in list(self.open):
                await socket.ping()

    def cut_all(self) -> None:
        for socket in list(self.open):
            socket.cut()
