"""Binance spot for a stop: it lists and cancels, and imports as little as that takes.

The parts are those of ``BinanceVenue``: signing, rate gate, reads, replies, and the sender, which holds cancels while
the venue wants quiet and sends them first when that ends. Only the way is another: REST on ``StreamLink``, with neither
WebSocket nor user data stream. Nothing is asked before the first listing: the clock is measured where the venue says
that it is off, and its limits where much of them is used: the venue may be one that allows less than Binance does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

import msgspec

from mmctl.core.events import CancelRefused, Ended, Event, Request, Unsettled
from mmctl.core.instrument import Instrument
from mmctl.core.order import CancelOrder, NewOrder
from mmctl.errors import VenueError, VenueRefused, VenueUnreachable
from mmctl.ports import Balances, Clock, Listing
from mmctl.venues.binance_clock import BinanceTimes, ServerClock
from mmctl.venues.binance_gate import RateGate
from mmctl.venues.binance_http import CHANGES_AT_ONCE, StreamLink
from mmctl.venues.binance_reads import Reads
from mmctl.venues.binance_replies import ReplyReader
from mmctl.venues.binance_requests import Requests
from mmctl.venues.binance_rest import Rest
from mmctl.venues.binance_sender import Sender
from mmctl.wire import binance as wire
from mmctl.wire.binance import UnknownShape
from mmctl.wire.binance_limits import Kind
from mmctl.wire.binance_orders import read_account, read_order
from mmctl.wire.binance_sign import Signer

TIMES = BinanceTimes(request_timeout_s=10.0)
"""A cancel may wait for its turn among hundreds, and while the venue wants quiet."""

BUSY_SHARE = 0.1
"""From which share of the limit that is assumed on the venue is asked for its real one."""


class StopLink(Rest, Protocol):
    """REST that can be let go of."""

    def close(self) -> None:
        """Let go of every connection. Never raises."""


class BinanceStopVenue:
    """One account on Binance spot, as far as a stop needs it; it places nothing.

    ``bulk`` says that foreign orders may be ended too, so that each symbol is cancelled with one request. ``link``
    makes what carries the requests. Raises ``UsageError`` for an address that keys may not go to.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        account: str,
        key: str,
        secret: str,
        rest_url: str,
        bulk: bool = False,
        times: BinanceTimes | None = None,
        link: Callable[[str, Signer, ServerClock], StopLink] = StreamLink,
        name: str = "binance",
    ) -> None:
        times = times or TIMES
        self.name = name
        self.account = account
        self.landing_time_s = times.landing_time_s
        self.request_timeout_s = times.request_timeout_s
        self._clock = clock
        self._bulk = bulk
        self._listener: Callable[[str, Event], None] = lambda symbol, event: None
        signer, server = Signer(key, secret), ServerClock(clock)
        self._link = link(rest_url, signer, server)
        self._gate = RateGate(clock, server)
        self._requests = Requests(self._emit)
        self._reads = Reads(
            name, clock, server, self._gate, self._link, signer, times, self._requests, lambda: False
        )  # fmt: skip
        reader = ReplyReader(signer, {}, self._reads.clock_words)
        self._sender = Sender(
            clock, server, self._gate, self._link, signer, times, self._reads, self._requests, reader,
            lambda _: None, CHANGES_AT_ONCE,
        )  # fmt: skip
        self._under_way: set[str] = set()
        self._one_by_one: set[str] = set()
        """Symbols in which the bulk cancel did not do it."""
        self._knows_limits = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"BinanceStopVenue({self.account!r})"

    def listen(self, listener: Callable[[str, Event], None]) -> None:
        self._listener = listener

    async def open(self) -> None:
        """Nothing: the first listing connects, and shows whether the key is good."""

    async def open_orders(self, symbol: str | None) -> Listing:
        self._check_open()
        listing = await self._reads.listing(symbol)
        known = symbol or next((one.symbol for one in listing.own), "")
        if known and not self._knows_limits and self._is_busy():
            self._knows_limits = True
            self._spawn(self._learn_limits(known))
        return listing

    def _is_busy(self) -> bool:
        used = self._gate.used().items()
        return any(limit.kind is Kind.WEIGHT and much > BUSY_SHARE * limit.limit for limit, much in used)

    async def _learn_limits(self, symbol: str) -> None:
        """The venue's limits come with a symbol's rules; the next listing asks again where they cannot be had now."""
        try:
            await self._reads.rules(symbol)
        except VenueUnreachable:
            self._knows_limits = False
        except VenueRefused:
            return  # another answer will not come

    async def instrument(self, symbol: str) -> Instrument:
        """The symbol's steps, whether or not it is trading now: what remains must be told in any case."""
        self._check_open()
        return (await self._reads.rules(symbol)).instrument

    async def balances(self) -> Balances:
        self._check_open()
        asked_at_s, what = self._clock.monotonic(), "the account"
        reply = await self._reads.ask(wire.ACCOUNT, {"omitZeroBalances": True}, what)
        try:
            return Balances(asked_at_s, read_account(reply.result).assets)
        except UnknownShape as error:
            raise self._reads.unreadable(what, error) from None

    def submit(self, places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
        """Send the cancels, but not those whose last one has no answer yet: a slow venue must not drown in them.

        Raises ``VenueUnreachable`` once closed.
        """
        self._check_open()
        if places:
            raise ValueError("a stop places nothing")
        self._sender.release()
        whole: dict[str, list[CancelOrder]] = {}
        for cancel in cancels:
            if cancel.client_id in self._under_way:
                continue
            self._under_way.add(cancel.client_id)
            if self._bulk and cancel.symbol not in self._one_by_one:
                whole.setdefault(cancel.symbol, []).append(cancel)
            else:
                self._sender.cancel(cancel)
        for symbol, asked in whole.items():
            self._spawn(self._cancel_all_of(symbol, asked))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def waits_for(self, client_id: str) -> bool:
        """Whether the cancel of that order has no answer yet."""
        return client_id in self._under_way

    async def close(self) -> None:
        self._closed = True
        self._listener = lambda symbol, event: None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._sender.close()
        await self._reads.stop()
        self._link.close()

    async def _cancel_all_of(self, symbol: str, asked: Sequence[CancelOrder]) -> None:
        """End every order of ``symbol`` with one request, as soon as the venue may be asked."""
        while held_s := self._gate.held_s(placing=False):
            await self._clock.sleep(held_s)
        what = f"to cancel all orders of {symbol}"
        refusal, ended = "", {}
        try:
            reply = await self._reads.ask(
                wire.CANCEL_ALL, {"symbol": symbol}, what, frozenset({wire.NOTHING_TO_CANCEL})
            )
            if reply.ok:
                ended = _ended(reply.result)
            else:
                refusal = "the venue says that nothing is open"
        except VenueRefused as error:
            refusal = str(error)
        except (VenueError, UnknownShape) as error:
            for cancel in asked:
                self._emit(symbol, Unsettled(cancel.client_id, Request.CANCEL, str(error)))
            return
        if refusal:
            self._one_by_one.add(symbol)
        for cancel in asked:
            self._emit(symbol, _outcome(cancel.client_id, ended, refusal))

    def _emit(self, symbol: str, event: Event) -> None:
        if isinstance(event, Ended | CancelRefused | Unsettled):
            self._under_way.discard(event.client_id)
        self._listener(symbol, event)

    def _check_open(self) -> None:
        if self._closed:
            raise VenueUnreachable(f"{self.name} is closed")


def _outcome(client_id: str, ended: dict[str, Ended], refusal: str) -> Ended | CancelRefused | Unsettled:
    if client_id in ended:
        return ended[client_id]
    if refusal:
        return CancelRefused(client_id, False, refusal)
    return Unsettled(client_id, Request.CANCEL, "the reply to the bulk cancel does not name it")


def _ended(body: bytes) -> dict[str, Ended]:
    """The orders that the reply to a bulk cancel names; order lists, which mmctl never makes, are passed over."""
    try:
        reports = msgspec.json.decode(body, type=tuple[msgspec.Raw, ...])
    except (msgspec.DecodeError, ValueError):
        raise UnknownShape("a list of cancelled orders of an unknown shape") from None
    ended: dict[str, Ended] = {}
    for report in reports:
        try:
            order = read_order(bytes(report))
        except UnknownShape:
            continue
        if not order.is_open:
            ended[order.own_id] = order.ended()
    return ended
