"""Reference books straight from Binance spot, without Redis in between.

One socket carries all followed symbols: their top 20 levels whole, or, where more are wanted, their changes,
which are joined to a snapshot. ``binance_followed`` says what time a book gets: in short, an event counts from
its arrival (a change from Binance's own time), silence keeps it young for two seconds of answered pings at most,
and after that it ages.

A book that is no longer current is asked for by request: that is the fall-back where there is no socket, the
proof that a quiet market is merely quiet, and the way to find a stream that froze on a socket that lives
(``binance_follow``). Meanwhile the socket comes back by itself (``binance_socket``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from mmctl.core.book import Book, BookKey, Trade
from mmctl.errors import FeedUnreachable, NoBook, UsageError
from mmctl.feeds.binance_follow import Market, Timing
from mmctl.feeds.binance_followed import SOURCE, Followed
from mmctl.feeds.binance_rest import DepthRequests
from mmctl.feeds.binance_socket import Handler, StreamSocket
from mmctl.ports import Clock
from mmctl.wire.binance_market import symbol_of, trade_stream
from mmctl.wire.binance_urls import BinanceUrls, checked_url

if TYPE_CHECKING:
    import aiohttp

__all__ = ["BinanceFeed", "Timing"]

MAX_LEVELS = 1000
_SYMBOLS_A_SOCKET = 100
"""So that a socket's address, which names its streams, stays short. Binance takes 1024 streams on one."""

_NAMED = 10


class BinanceFeed:
    """The ``Feed`` of Binance spot's own books. It needs no keys."""

    source = SOURCE

    def __init__(
        self,
        clock: Clock,
        urls: BinanceUrls,
        keys: Sequence[BookKey],
        *,
        levels: int = 20,
        timeout_s: float = 1.8,
        trades: bool = False,
        timing: Timing | None = None,
    ) -> None:
        """Follow ``keys``; nothing is connected to before the first read.

        ``levels``: how many a side are wanted; more than 20 cost a snapshot and a stream of changes.
        ``timeout_s`` bounds the wait for a first book. ``trades``: the market's trades are wanted too. Raises
        ``UsageError`` for a key of another exchange, what is no symbol, levels out of bounds, and an address
        (stream or REST) that is none or plain and not on this machine.
        """
        if not 1 <= levels <= MAX_LEVELS:
            raise UsageError(f"the binance feed cannot keep {levels} levels", f"ask for 1 to {MAX_LEVELS}")
        import aiohttp

        self._new_session = aiohttp.ClientSession
        self._clock, self._timeout_s, self._timing = clock, timeout_s, timing or Timing()
        self._stream_url = checked_url(urls.stream, "stream", ("wss", "ws"))
        rest_url = checked_url(urls.rest, "REST", ("https", "http"))
        self._requests = DepthRequests(clock, rest_url, self._timing.request_s)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._markets: dict[str, Market] = {}
        for symbol in dict.fromkeys(map(symbol_of, keys)):
            followed = Followed(symbol, levels, self._timing.truth)
            self._markets[symbol] = Market(clock, followed, self._requests, self._timing)
        self._trades = trades
        self._sockets: list[StreamSocket] = []

    async def read(self, key: BookKey) -> Book:
        """The newest book of ``key``, usable or not.

        It waits for the first book (``timeout_s``), and half a second at most for a request where the newest
        book is no longer current; else it answers from memory at once. Raises ``NoBook`` where Binance has no
        such symbol or what came is no book, ``FeedUnreachable`` where neither socket nor request has told
        anything for ten seconds, ``UsageError`` for a key of another exchange.
        """
        market = self._market(key)
        return await market.read(key, self._connected(), self._timeout_s)

    def trades(self, key: BookKey, after_id: int) -> Sequence[Trade]:
        """The last trades after ``after_id``, oldest first; none unless the feed was made to follow them."""
        return self._market(key).followed.trades(after_id)

    async def close(self) -> None:
        """Let go of sockets, requests and tasks. Never raises."""
        self._closed = True
        holders: list[Market | StreamSocket] = [*self._sockets, *self._markets.values()]
        await asyncio.gather(*(holder.close() for holder in holders), return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    def _connected(self) -> aiohttp.ClientSession:
        """The session; the first call begins to connect."""
        if self._closed:
            raise FeedUnreachable("the binance feed is closed")
        if self._session is None:
            self._session = self._new_session()
            markets = list(self._markets.values())
            for first in range(0, len(markets), _SYMBOLS_A_SOCKET):
                socket = self._socket(self._session, markets[first : first + _SYMBOLS_A_SOCKET])
                socket.start(self._session)
                self._sockets.append(socket)
        return self._session

    def _socket(self, session: aiohttp.ClientSession, markets: Sequence[Market]) -> StreamSocket:
        """The socket of ``markets``, and what each of its streams is handed to."""
        handlers: dict[str, Handler] = {}
        for market in markets:
            handlers[market.followed.stream] = partial(market.on_event, session)
            if self._trades:
                handlers[trade_stream(market.followed.symbol)] = market.on_trade
        socket = StreamSocket(
            self._clock,
            self._stream_url,
            handlers,
            restarted=partial(_restart, markets),
            doubt=partial(_stalled, markets, self._timing.truth.quiet_s),
            upkeep=self._timing.upkeep,
        )
        for market in markets:
            market.socket = socket
        return socket

    def _market(self, key: BookKey) -> Market:
        market = self._markets.get(symbol_of(key))
        if market is None:
            names = ", ".join(list(self._markets)[:_NAMED]) or "none"
            more = f" and {len(self._markets) - _NAMED} more" if len(self._markets) > _NAMED else ""
            raise NoBook(f"the binance feed does not follow {key}", f"it follows {names}{more}")
        return market


def _restart(markets: Sequence[Market]) -> None:
    for market in markets:
        market.followed.restart()


def _stalled(markets: Sequence[Market], allowed_s: float, now_s: float) -> str:
    """Why a socket is not to be trusted: a stream of it has for too long not said what a request has shown."""
    for market in markets:
        if market.stalled_s(now_s) > allowed_s:
            return f"Binance's stream {market.followed.stream} at {market.socket.where} stands still"
    return ""
