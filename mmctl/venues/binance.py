"""The Binance spot venue: placements and cancels over one kept WebSocket API connection, reads over REST.

A placement that was handed to the socket is never sent again on any path. Where the socket is down, requests go over
REST. Reads use REST always, so that the fate of an order is asked for on another way than the one that failed. A spot
venue has no dead man's switch: orders stay until somebody cancels them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from mmctl.core.book import Book, BookKey
from mmctl.core.events import Ended, Event, Fill, NotFound, Seen
from mmctl.core.instrument import Instrument
from mmctl.core.order import CancelOrder, NewOrder, State, decode_own_id
from mmctl.errors import VenueRefused, VenueUnreachable
from mmctl.ports import Balances, Clock, Listing
from mmctl.venues.binance_clock import BinanceTimes, ClockKeeper, ServerClock
from mmctl.venues.binance_gate import RateGate
from mmctl.venues.binance_links import Links
from mmctl.venues.binance_net import NetworkChoice, Sockets
from mmctl.venues.binance_reads import Reads, as_fill
from mmctl.venues.binance_replies import ReplyReader
from mmctl.venues.binance_requests import Requests
from mmctl.venues.binance_sender import Sender
from mmctl.wire import binance as wire
from mmctl.wire.binance import UnknownShape
from mmctl.wire.binance_errors import ARCHIVED, NO_SUCH_ORDER
from mmctl.wire.binance_limits import Limit
from mmctl.wire.binance_market import EXCHANGE, decode_depth, unpadded
from mmctl.wire.binance_orders import Account, read_account, read_order
from mmctl.wire.binance_sign import Signer, Value
from mmctl.wire.binance_symbols import SymbolRules
from mmctl.wire.binance_urls import BinanceUrls

_T = TypeVar("_T")

OWNERS_ASKED = 40
"""Orders of earlier times that are asked for to tell whose a trade is."""

DEPTH_LEVELS = 20
"""Levels a side of the venue's own book: enough to see past our own orders at the touch."""

__all__ = ["BinanceTimes", "BinanceUrls", "BinanceVenue"]


class BinanceVenue:
    """One account on Binance spot; see ``mmctl.ports.Venue`` for what each method promises.

    ``use_ws=False`` sends over REST alone. ``user_stream=False`` leaves the user data stream out, for a process that
    only stops: fills and ends are then told by replies and queries alone. ``network`` is what carries the bytes. Raises
    ``UsageError`` for an address that keys may not go to.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        account: str,
        key: str,
        secret: str,
        urls: BinanceUrls,
        mode: str,
        use_ws: bool = True,
        user_stream: bool = True,
        times: BinanceTimes | None = None,
        network: NetworkChoice = Sockets,
        name: str = "binance",
    ) -> None:
        self.name = name
        self.account = account
        self.mode = mode
        self.user_id: str | None = None
        """The venue's own number of the account, known once it is open."""
        self._times = times or BinanceTimes()
        self.landing_time_s = self._times.landing_time_s
        self.request_timeout_s = self._times.request_timeout_s
        self._clock = clock
        self._urls = urls.checked()
        self._signer = Signer(key, secret)
        self._listener: Callable[[str, Event], None] = lambda symbol, event: None
        self._server = ServerClock(clock)
        self._gate = RateGate(clock, self._server)
        self._requests = Requests(self._emit)
        self._rules: dict[str, SymbolRules] = {}
        self._network = network(self._urls, self._signer, self._times, self._server)
        rest = self._network.rest
        self._reads = Reads(
            name, clock, self._server, self._gate, rest, self._signer, self._times, self._requests,
            lambda: self._sender.quoting,
        )  # fmt: skip
        self._sender = Sender(
            clock, self._server, self._gate, rest, self._signer, self._times, self._reads, self._requests,
            ReplyReader(self._signer, self._rules, self._reads.clock_words), self._expect_report,
        )  # fmt: skip
        self._keeper = ClockKeeper(clock, self._server, self._reads.measure_clock)
        self._keeping: asyncio.Task[None] | None = None
        self._links = Links(
            self._urls.ws_api,
            self._network,
            clock,
            self._times,
            self._gate,
            self._reads,
            use_ws=use_ws,
            on_up=self._keeper.want,
        )
        if user_stream:
            self._links.follow(self._subscription, self._requests.streamed, self._emit)
        self._closed = False

    def __repr__(self) -> str:
        return f"BinanceVenue({self.account!r}, {self.mode!r})"

    def listen(self, listener: Callable[[str, Event], None]) -> None:
        self._listener = listener

    async def open(self) -> None:
        """Measure the clock, connect, check the key. Without the socket for orders it goes on over REST.

        Raises ``VenueRefused`` or ``VenueUnreachable``, the latter too where the user data stream cannot be had.
        """
        self._check_open()
        self._network.open()
        try:
            await self._reads.measure_clock(self._clock.monotonic())
            await self._links.open(self._check_account())
        except BaseException:
            await self._let_go()
            raise
        self._sender.link = self._links.orders
        self._keeping = asyncio.create_task(self._keeper.run())

    async def instrument(self, symbol: str) -> Instrument:
        self._check_open()
        rules = await self._reads.rules(symbol)
        self._rules[symbol] = rules
        if not rules.trading:
            raise VenueRefused(f"symbol {symbol} is not trading on {self.name}: its status is {rules.status}")
        return rules.instrument

    def submit(self, places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
        """As the port says. Raises ``VenueUnreachable`` unless the venue is open: nothing was handed over."""
        self._check_open()
        if not self._network.is_open:
            raise VenueUnreachable(f"{self.name} is not open")
        self._sender.release()
        for order in places:
            self._sender.place(order)
        for cancel in cancels:
            self._sender.cancel(cancel)

    async def query(self, symbol: str, client_id: str) -> Seen | Ended | NotFound:
        self._check_open()
        asked_at_s = self._clock.monotonic()
        asked = wire.order_asked(symbol, client_id, self._requests.order_ids.get(client_id))
        gone = frozenset({NO_SUCH_ORDER, ARCHIVED})
        reply = await self._reads.ask(wire.STATUS, asked, f"order {client_id}", gone)
        if reply.fault is not None:
            if reply.fault.code == ARCHIVED:
                return Ended(client_id, None, State.EXPIRED, None, "archived: it ended untraded over 90 days ago")
            return NotFound(client_id, asked_at_s)
        order = self._read(reply.result, read_order, f"order {client_id}")
        if order.own_id != client_id and order.is_open:
            raise VenueUnreachable(f"{self.name} answered a query for {client_id} with another order")
        self._requests.note(client_id, str(order.orderId))
        if order.is_open:
            return order.seen(asked_at_s)
        end = order.ended()
        return Ended(client_id, end.order_id, end.state, end.filled, end.reason)

    async def open_orders(self, symbol: str | None) -> Listing:
        self._check_open()
        return await self._reads.listing(symbol)

    async def balances(self) -> Balances:
        self._check_open()
        asked_at_s = self._clock.monotonic()
        return Balances(asked_at_s, (await self.read_account()).assets)

    async def fills(self, symbol: str, after_trade_id: str | None) -> Sequence[Fill]:
        """As the port says; without ``after_trade_id``, of the newest thousand trades of the account.

        Whose those are is then asked for the newest ``OWNERS_ASKED`` orders alone that this process has not heard of:
        an account's whole past would cost its budget.
        """
        self._check_open()
        trades = await self._reads.trades(symbol, after_trade_id)
        at_most = OWNERS_ASKED if after_trade_id is None else None
        owners = await self._reads.owners(symbol, {trade.orderId for trade in trades}, at_most)
        pairs = ((trade, owners[trade.orderId]) for trade in trades)
        return [as_fill(trade, owner) for trade, owner in pairs if decode_own_id(owner) is not None]

    async def depth(self, symbol: str) -> Book:
        self._check_open()
        what = f"the book of {symbol}"
        reply = await self._reads.ask(wire.DEPTH, {"symbol": symbol, "limit": DEPTH_LEVELS}, what)
        try:
            depth = decode_depth(reply.result)
            key = BookKey(EXCHANGE, symbol)
            return Book.of(key, self._clock.wall_ms(), unpadded(depth.bids), unpadded(depth.asks), self.name)
        except ValueError as error:
            raise VenueUnreachable(f"{self.name} answered with no book of {symbol}: {error}") from error

    async def close(self) -> None:
        self._closed = True
        self._listener = lambda symbol, event: None
        await self._let_go()

    # Not of the port: what a stop, ``doctor`` and the wiring use.

    async def read_account(self) -> Account:
        """The account: its number, whether it may trade or withdraw, its balances. Raises ``VenueError``."""
        reply = await self._reads.ask(wire.ACCOUNT, {"omitZeroBalances": True}, "the account")
        return self._read(reply.result, read_account, "the account")

    @property
    def clock_offset_ms(self) -> int:
        """The venue's time less this machine's, as last measured."""
        return self._server.offset_ms

    @property
    def hold_s(self) -> float:
        """Seconds until placements may leave again after the venue wanted quiet; 0 where they may now."""
        return self._gate.held_s(placing=True)

    @property
    def rates_used(self) -> dict[Limit, int]:
        """What is used of each of the account's limits now, by the venue's counters and what is in flight."""
        return self._gate.used()

    @property
    def over_socket(self) -> bool:
        """Whether orders go over the WebSocket API now, rather than over REST."""
        return self._sender.link is not None and self._sender.link.up

    def _emit(self, symbol: str, event: Event) -> None:
        self._listener(symbol, event)

    def _check_open(self) -> None:
        if self._closed:
            raise VenueUnreachable(f"{self.name} is closed")

    def _expect_report(self, client_id: str) -> None:
        if self._links.stream is not None:
            self._links.stream.expect(client_id)

    def _subscription(self) -> dict[str, Value]:
        return self._signer.ws_params(wire.stamped({}, self._server.now_ms(), self._times.recv_window_ms))

    async def _check_account(self) -> None:
        account = await self.read_account()
        self.user_id = account.user_id
        if not account.can_trade:
            raise VenueRefused(f"the account {self.account} may not trade on {self.name}", "enable spot trading for it")

    async def _let_go(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        await self._sender.close()
        await self._links.close()
        await self._reads.stop()
        await self._network.close()

    def _read(self, body: bytes, reader: Callable[[bytes], _T], what: str) -> _T:
        try:
            return reader(body)
        except UnknownShape as error:
            raise self._reads.unreadable(what, error) from None
