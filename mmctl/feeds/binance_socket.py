"""One socket of Binance's combined streams, kept up, and how far what it says can be trusted.

It pings once a second, busy or not (Binance bears five messages a second). A pong comes in order behind all
that was sent before it, so whatever is read after it was sent later than the ping: ``proof_s``. A socket is
given up when pings stay unanswered, when it lives and says nothing, when a stream of it owes what a request
has shown, when it says too much that is no message, and when the server says that it will go (as it does at
the latest after 24 hours). Between tries it waits, longer each time, and at random.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmctl.errors import FeedUnreachable
from mmctl.feeds.binance_rest import unreachable
from mmctl.ports import Clock
from mmctl.wire.binance_market import Raw, Unreadable, combined_url, decode_envelope
from mmctl.wire.binance_urls import place_of

if TYPE_CHECKING:
    import aiohttp

Handler = Callable[[Raw, float], None]
"""Takes an event of one stream, and the monotonic time at which it was read."""

_MAX_MESSAGE = 1 << 20
_MAX_GARBAGE = 5
"""So many messages in a row that are none, and the server is not Binance's."""


@dataclass(frozen=True, slots=True)
class Upkeep:
    """When a socket is given up and tried again, in seconds."""

    connect_s: float = 5.0
    ping_every_s: float = 1.0
    dead_after_s: float = 5.0
    silent_after_s: float = 60.0
    close_s: float = 0.5
    retry_least_s: float = 0.5
    retry_most_s: float = 30.0
    settled_s: float = 60.0
    """A socket that lived for so long was a good one: the waits begin small again."""


class _Over(Exception):
    """This socket is to be given up; the text says why."""


class StreamSocket:
    """A combined socket and the task that keeps it up; reading state from it costs nothing."""

    def __init__(
        self,
        clock: Clock,
        stream_url: str,
        handlers: Mapping[str, Handler],
        *,
        restarted: Callable[[], None],
        doubt: Callable[[float], str],
        upkeep: Upkeep,
    ) -> None:
        """``restarted`` is called when the socket is there and when it is lost; ``doubt(now_s)`` may say why to go."""
        self._clock, self._url, self._handlers = clock, combined_url(stream_url, handlers), handlers
        self.where = place_of(stream_url)
        self._restarted, self._doubt, self._upkeep = restarted, doubt, upkeep
        self._dice = random.Random()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False
        self._pings: deque[float] = deque(maxlen=64)
        self._heard_s = 0.0
        self.proof_s: float | None = None
        """When the newest answered ping was sent; ``None`` without a socket."""
        self.opened_s = float("inf")
        """Since when the present socket is there."""
        self.is_connecting = False
        self.fault = FeedUnreachable(f"Binance's streams at {self.where} have not answered yet")
        """Why there is no socket, or was none lately."""

    @property
    def is_up(self) -> bool:
        return self.proof_s is not None

    def start(self, session: aiohttp.ClientSession) -> None:
        """Begin to keep the socket up; without effect where that is being done."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep_up(session))

    async def close(self) -> None:
        """Let go of socket and task. Never raises."""
        self._is_closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _keep_up(self, session: aiohttp.ClientSession) -> None:
        failures = 0
        while True:
            began_s = self._clock.monotonic()
            try:
                await self._live(session)
            except Exception as error:  # noqa: BLE001 - saves the feed: whatever it was, the next socket may do better
                first = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
                self.fault = FeedUnreachable(f"a fault of ours with {self.where}: {type(first).__name__}: {first}")
            if self._is_closed:
                return  # as the socket ended by itself: a group of tasks then raises that end alone
            if self._clock.monotonic() - began_s >= self._upkeep.settled_s:
                failures = 0
            await self._clock.sleep(self._wait_s(failures))
            failures += 1

    def _wait_s(self, failures: int) -> float:
        least_s, most_s = self._upkeep.retry_least_s, self._upkeep.retry_most_s
        return self._dice.uniform(least_s, min(most_s, least_s * 2 ** min(failures, 16)))

    async def _live(self, session: aiohttp.ClientSession) -> None:
        """One socket, from its opening to its end; ``fault`` says why it ended."""
        import aiohttp

        began_s = self._clock.monotonic()
        socket: aiohttp.ClientWebSocketResponse | None = None
        try:
            self.is_connecting = True
            async with asyncio.timeout(self._upkeep.connect_s):
                socket = await session.ws_connect(self._url, autoping=False, max_msg_size=_MAX_MESSAGE)
            self._opened(began_s)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._read(socket))
                both.create_task(self._ping(socket))
        except* _Over as over:
            self.fault = FeedUnreachable(str(over.exceptions[0]), "it connects again by itself")
        except* (aiohttp.ClientError, OSError, TimeoutError) as failed:
            self.fault = unreachable("streams", self.where, failed.exceptions[0], "MMCTL_BINANCE_STREAM_URL")
        finally:
            self.is_connecting = False
            self.proof_s, self.opened_s = None, float("inf")
            self._restarted()
            if socket is not None:
                # The farewell of a busy or dead server would be waited for without a bound.
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._upkeep.close_s):
                        await socket.close()

    def _opened(self, began_s: float) -> None:
        self.is_connecting = False
        self._pings.clear()
        # The server's answer to the request to connect is as good as a pong.
        self.proof_s, self._heard_s, self.opened_s = began_s, self._clock.monotonic(), self._clock.monotonic()
        self._restarted()

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        from aiohttp import WSMsgType

        garbage = 0
        while True:
            message = await socket.receive()
            now_s = self._clock.monotonic()
            if message.type is WSMsgType.TEXT:
                garbage = 0 if self._take(message.data, now_s) else garbage + 1
            elif message.type is WSMsgType.PING:
                await socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                self._answered(message.data)
            elif message.type is WSMsgType.BINARY:
                garbage += 1
            else:
                raise _Over(_farewell(self.where, message))
            if garbage >= _MAX_GARBAGE:
                raise _Over(f"Binance's streams at {self.where} do not speak as Binance does")

    def _take(self, text: str, now_s: float) -> bool:
        """Hand one message to its stream's handler; ``False`` where it is no message."""
        try:
            envelope = decode_envelope(text)
        except Unreadable:
            return False
        if envelope.is_shutdown:
            raise _Over(f"Binance's streams at {self.where} are about to shut down")
        handler = self._handlers.get(envelope.stream)
        if handler is None:
            return False
        self._heard_s = now_s
        handler(envelope.data, now_s)
        return True

    async def _ping(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        upkeep = self._upkeep
        while True:
            now_s = self._clock.monotonic()
            if self._pings and now_s - self._pings[0] > upkeep.dead_after_s:
                raise _Over(f"Binance's streams at {self.where} left pings unanswered for {upkeep.dead_after_s:g} s")
            if now_s - self._heard_s > upkeep.silent_after_s:
                raise _Over(f"Binance's streams at {self.where} said nothing for {upkeep.silent_after_s:g} s")
            if doubt := self._doubt(now_s):
                raise _Over(doubt)
            # Kept before it is sent: the pong must find it.
            self._pings.append(now_s)
            await socket.ping(_payload(now_s))
            await self._clock.sleep(upkeep.ping_every_s)

    def _answered(self, payload: bytes) -> None:
        """A pong answers its ping and all before it; one that answers none of ours says nothing."""
        if any(_payload(sent_s) == payload for sent_s in self._pings):
            while _payload(sent_s := self._pings.popleft()) != payload:
                pass
            self.proof_s = sent_s


def _payload(sent_s: float) -> bytes:
    return f"{sent_s:.6f}".encode()


def _farewell(where: str, message: aiohttp.WSMessage) -> str:
    code = message.data if isinstance(message.data, int) else None
    text = f"with code {code}" if code else str(message.data or "without a word")
    return f"Binance's streams at {where} closed the socket {' '.join(text.split())[:200]}"
