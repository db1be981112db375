"""How Binance is reached: REST, and WebSockets as frames. Everything above speaks to these protocols alone.

So signing, limits, replies and reconnects are the same over sockets and over whatever else carries the bytes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from mmctl.venues.binance_clock import BinanceTimes, ServerClock
from mmctl.venues.binance_rest import Lost, Rest, RestLink, connect_fault, new_session, read_reply
from mmctl.wire.binance_sign import Signer
from mmctl.wire.binance_urls import BinanceUrls

if TYPE_CHECKING:
    import aiohttp

MAX_FRAME_BYTES = 16 * 1024 * 1024


class FrameSocket(Protocol):
    """One open WebSocket."""

    @property
    def close_code(self) -> int | None:
        """Why it ended, where the other side said so."""

    async def send_str(self, frame: str) -> None:
        """Write one frame. Raises ``ConnectionError`` or ``RuntimeError`` where the socket is gone."""

    async def receive_frame(self) -> str | bytes | None:
        """The next frame, or ``None`` once the socket has ended."""

    async def close(self) -> None:
        """Let go of it. Never raises."""


class Network(Protocol):
    """The way to one account's addresses."""

    rest: Rest
    dice: random.Random
    """What pauses between attempts to connect are drawn from."""

    @property
    def is_open(self) -> bool:
        """Whether requests can be handed over."""

    def open(self) -> None:
        """Get ready; nothing is connected to yet."""

    async def connect(self) -> FrameSocket:
        """A new connection to the WebSocket API. Raises ``Lost``, with the venue's reply where it gave one."""

    async def close(self) -> None:
        """Let go of every connection. Never raises."""


NetworkChoice = Callable[[BinanceUrls, Signer, BinanceTimes, ServerClock], Network]


class Sockets:
    """The network itself, through aiohttp."""

    def __init__(self, urls: BinanceUrls, signer: Signer, times: BinanceTimes, server: ServerClock) -> None:
        self._urls = urls
        self._times = times
        self._server = server
        self._link = RestLink(urls.rest, signer, times, server)
        self.rest: Rest = self._link
        self.dice = random.Random()

    @property
    def is_open(self) -> bool:
        return self._link.session is not None

    def open(self) -> None:
        self._link.session = new_session()

    async def connect(self) -> FrameSocket:
        import aiohttp

        session = self._link.session
        if session is None:
            raise Lost("the venue is closed", handed=False)
        try:
            async with asyncio.timeout(self._times.connect_timeout_s):
                ws = await session.ws_connect(
                    self._urls.ws_api,
                    heartbeat=2 * self._times.quiet_s,
                    max_msg_size=MAX_FRAME_BYTES,
                    timeout=aiohttp.ClientWSTimeout(ws_close=1.0),
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            lost = connect_fault(error, self._urls.ws_api)
            if isinstance(error, aiohttp.WSServerHandshakeError) and error.status in (418, 429):
                lost.reply = read_reply(error.status, b"", error.headers or {}, self._server.now_ms())
        else:
            return _Frames(ws)
        raise lost

    async def close(self) -> None:
        session, self._link.session = self._link.session, None
        if session is not None:
            await session.close()


class _Frames:
    """aiohttp's WebSocket as frames."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        import aiohttp

        self._ws = ws
        self._data = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)

    @property
    def close_code(self) -> int | None:
        return self._ws.close_code

    async def send_str(self, frame: str) -> None:
        await self._ws.send_str(frame)

    async def receive_frame(self) -> str | bytes | None:
        message = await self._ws.receive()
        if message.type not in self._data:
            return None
        data: str | bytes = message.data
        return data

    async def close(self) -> None:
        await self._ws.close()
