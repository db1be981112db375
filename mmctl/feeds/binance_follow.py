"""One followed symbol at work: its book from the socket, and from a request where that is no longer current.

Requests are made only when somebody reads (or a diff stream needs its snapshot), at most one a second for
each symbol, and the fewer the more of them fail.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmctl.core.book import Book, BookKey
from mmctl.errors import FeedError, FeedUnreachable, NoBook
from mmctl.feeds.binance_followed import Followed, Truth
from mmctl.feeds.binance_rest import DepthRequests
from mmctl.feeds.binance_socket import StreamSocket, Upkeep
from mmctl.ports import Clock
from mmctl.wire.binance_market import Raw

if TYPE_CHECKING:
    import aiohttp

_UNKNOWN_SYMBOL_S = 30.0
"""How soon a symbol that Binance does not have is asked for again."""

_MAX_RETRY_S = 30.0


@dataclass(frozen=True, slots=True)
class Timing:
    """When books are asked for by request, in seconds, and the times of sockets and of truth."""

    first_poll_s: float = 0.5
    """How long the first book is left to the socket alone."""
    poll_after_s: float = 1.5
    """A book known to be true at most so long ago is current."""
    poll_every_s: float = 1.0
    poll_wait_s: float = 0.5
    """How long a read waits for a request; the request itself goes on."""
    request_s: float = 2.0
    unreachable_after_s: float = 10.0
    """From this age on the reason is told instead of the book."""
    truth: Truth = field(default_factory=Truth)
    upkeep: Upkeep = field(default_factory=Upkeep)


class Market:
    """A followed symbol, the socket that carries it, and its requests."""

    def __init__(self, clock: Clock, followed: Followed, requests: DepthRequests, timing: Timing) -> None:
        self.followed = followed
        self.socket: StreamSocket  # set as soon as all the streams of the socket are known
        self._clock, self._requests, self._timing = clock, requests, timing
        self._arrived = asyncio.Event()
        self._poll: asyncio.Task[None] | None = None
        self._next_poll_s = float("-inf")
        self._failures = 0
        self._fault: FeedError | None = None

    async def read(self, key: BookKey, session: aiohttp.ClientSession, timeout_s: float) -> Book:
        """The newest book; see ``BinanceFeed.read``."""
        if self._age_s() > self._timing.poll_after_s:
            await self._refresh(session, timeout_s)
        # A newest book that cannot be read has no age, and says for itself what is the matter.
        if not self.followed.has_book or self._timing.unreachable_after_s < self._age_s() < float("inf"):
            raise self._nothing_new()
        return self.followed.book(key, self.socket.proof_s)

    def on_event(self, session: aiohttp.ClientSession, raw: Raw, now_s: float) -> None:
        """Take an event of the symbol's stream."""
        proof_s = self.socket.proof_s
        self.followed.event(raw, now_s, self._clock.wall_ms(), now_s if proof_s is None else proof_s)
        if self.followed.wants_snapshot:
            self._ask(session)
        if self.followed.has_book:
            self._arrived.set()

    def on_trade(self, raw: Raw, now_s: float) -> None:
        """Take an event of the symbol's trade stream."""
        self.followed.trade(raw)

    def stalled_s(self, now_s: float) -> float:
        """For how long the stream has not said what a request has shown; 0 where all is well."""
        since_s = self.followed.behind_since_s
        return 0.0 if since_s is None else now_s - since_s

    async def close(self) -> None:
        """End a request that is under way. Never raises."""
        self._next_poll_s = float("inf")
        if self._poll is not None:
            self._poll.cancel()
            await asyncio.gather(self._poll, return_exceptions=True)

    def _age_s(self) -> float:
        """How long ago the newest book was last known to be true; infinite where there is none."""
        return self._clock.monotonic() - self.followed.true_s(self.socket.proof_s)

    async def _refresh(self, session: aiohttp.ClientSession, timeout_s: float) -> None:
        """Wait a little for a current book: the first from the socket, any other from a request."""
        until_s = self._clock.monotonic() + timeout_s
        first = not self.followed.has_book
        if first and await self._arrives(min(self._timing.first_poll_s, timeout_s)):
            return
        poll = self._ask(session)
        if poll is not None:
            left_s = max(0.0, until_s - self._clock.monotonic())
            await asyncio.wait([poll], timeout=left_s if first else min(left_s, self._timing.poll_wait_s))
            if poll.done() and not poll.cancelled():
                poll.result()  # raises only what is a fault of ours
        hopeful = self.socket.is_up or self.socket.is_connecting
        if first and hopeful and not isinstance(self._fault, NoBook):
            await self._arrives(until_s - self._clock.monotonic())

    async def _arrives(self, seconds: float) -> bool:
        """Whether there is a book of any kind within ``seconds``."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._arrived.wait()
        except TimeoutError:
            return False
        return True

    def _ask(self, session: aiohttp.ClientSession) -> asyncio.Task[None] | None:
        """Ask by request, unless that is being done; ``None`` where it is too soon or the weight is spent."""
        if self._poll is not None and not self._poll.done():
            return self._poll
        now_s, limit = self._clock.monotonic(), self.followed.limit(socket_up=self.socket.is_up)
        if now_s < self._next_poll_s or not self._requests.may_ask(limit):
            return None
        self._next_poll_s = now_s + self._timing.poll_every_s
        self._poll = asyncio.create_task(self._request(session, limit))
        return self._poll

    async def _request(self, session: aiohttp.ClientSession, limit: int) -> None:
        asked_s, asked_ms = self._clock.monotonic(), self._clock.wall_ms()
        try:
            depth = await self._requests.ask(session, self.followed.symbol, limit)
        except FeedError as error:
            self._fault = error
            wait_s = self._timing.poll_every_s * 2 ** min(self._failures, 16)
            self._failures += 1
            if isinstance(error, NoBook):
                wait_s = _UNKNOWN_SYMBOL_S
            self._next_poll_s = self._clock.monotonic() + min(_MAX_RETRY_S, wait_s)
            return
        self._fault, self._failures = None, 0
        # A socket that was lost meanwhile has a successor that was opened later.
        self.followed.answer(depth, asked_s, asked_ms, on_socket=self.socket.opened_s <= asked_s)
        self._arrived.set()

    def _nothing_new(self) -> FeedError:
        """Why there is no book, in one line for both ways to get one."""
        fault, socket = self._fault, self.socket
        if isinstance(fault, NoBook):
            return NoBook(fault.message, fault.hint)
        if socket.is_up:
            ways, hints = [f"its stream at {socket.where} is silent"], [""]
        else:
            ways, hints = [socket.fault.message], [socket.fault.hint]
        if self._requests.paused_s:
            ways.append(f"its REST interface wants no requests for {self._requests.paused_s:.0f} s")
        elif fault is not None:
            ways.append(fault.message)
            hints.append(fault.hint)
        hint = next((hint for hint in hints if hint), "wait, it is asked again")
        return FeedUnreachable(f"Binance gives no book of {self.followed.symbol}: {'; '.join(ways)}", hint)
