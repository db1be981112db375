"""What the contract suite needs of a venue's surroundings. A later venue joins by a class of this shape.

The contract trades BTCUSDT: tick 0.01, lot 0.001, minimum notional 5, at most 20 open orders; the account starts
with 10 BTC and 10000 USDT. The reference market stands at 100.00 to 100.10 and is quiet unless it is moved.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Protocol

from mmctl.clock import SystemClock
from mmctl.core.book import Book, BookKey
from mmctl.core.events import (
    Accepted,
    Balance,
    BalancesChanged,
    CancelRefused,
    Ended,
    Event,
    Rejected,
    Request,
    Unsettled,
)
from mmctl.core.instrument import Instrument
from mmctl.core.order import CancelOrder, Layer, NewOrder, Side, TimeInForce, encode_own_id
from mmctl.ports import Listing, Venue
from mmctl.venues.mock import MockOptions, MockVenue

D = Decimal
SYMBOL = "BTCUSDT"
MAX_OPEN_ORDERS = 20
GIVE_UP_S = 30.0
"""After so long, what a test waits for does not come: no measure of the venue, but of a busy machine."""

BTCUSDT = Instrument(
    symbol=SYMBOL,
    base="BTC",
    quote="USDT",
    tick_size=D("0.01"),
    lot_size=D("0.001"),
    min_qty=D("0.001"),
    max_qty=D("1000"),
    min_notional=D("5"),
    max_price=D("100000"),
    max_open_orders=MAX_OPEN_ORDERS,
)
BALANCES = {"BTC": D(10), "USDT": D(10000)}


def book(ts_ms: int, bids: Iterable[tuple[str, str]], asks: Iterable[tuple[str, str]]) -> Book:
    """A reference book from texts."""
    sides = [[(D(price), D(qty)) for price, qty in side] for side in (bids, asks)]
    return Book.of(BookKey("BINANCE", SYMBOL), ts_ms, *sides, "test")


class VenueHarness(Protocol):
    """A venue and the world around it, as it is at the start of a test."""

    patience_s: float
    """How long anything but a time-out or a late landing may take to show."""

    held_up_s: float
    """How much later than it should something may come because the machine was busy; virtual time is never held up."""

    async def start(self) -> Venue:
        """The venue, open, with nobody listening yet."""

    async def trade(self, side: Side, price: Decimal, qty: Decimal) -> None:
        """Somebody takes up to ``qty`` of what rests on ``side`` at ``price`` or better; then it is quiet again."""

    async def place_foreign(self, side: Side, price: Decimal, qty: Decimal) -> str:
        """Another program rests an order on the account; its client order id."""

    def lose_replies(self, lost: bool) -> None:
        """From now on no reply comes; some placements arrive, and some of these late. ``False``: all is well."""

    def fail_reads(self, fail: bool) -> None:
        """From now on every read fails."""

    def truth(self) -> Listing:
        """What is really open now."""


class MockHarness:
    """The mock venue, under virtual time."""

    patience_s = 1.0
    held_up_s = 0.001

    async def start(self) -> Venue:
        self._options = MockOptions(seed=7)
        self.venue = MockVenue(SystemClock(), {SYMBOL: BTCUSDT}, BALANCES, self._options)
        self._ts_ms = 0
        self._quiet()
        await self.venue.open()
        return self.venue

    def _show(self, bid: Decimal, bid_qty: Decimal, ask: Decimal, ask_qty: Decimal) -> None:
        self._ts_ms += 1000
        self.venue.observe(SYMBOL, book(self._ts_ms, [(f"{bid}", f"{bid_qty}")], [(f"{ask}", f"{ask_qty}")]))

    def _quiet(self) -> None:
        self._show(D("100.00"), D(1), D("100.10"), D(1))

    async def trade(self, side: Side, price: Decimal, qty: Decimal) -> None:
        if side is Side.BUY:
            self._show(price - 1, D(1), price, qty)
        else:
            self._show(price, qty, price + 1, D(1))
        self._quiet()

    async def place_foreign(self, side: Side, price: Decimal, qty: Decimal) -> str:
        self.venue.place_foreign(SYMBOL, side, price, qty, "web_1")
        return "web_1"

    def lose_replies(self, lost: bool) -> None:
        self._options = replace(self._options, timeout_rate=float(lost))
        self.venue.set_options(self._options)

    def fail_reads(self, fail: bool) -> None:
        self._options = replace(self._options, read_failure_rate=float(fail))
        self.venue.set_options(self._options)

    def truth(self) -> Listing:
        return self.venue.open_now(SYMBOL)


@dataclass(frozen=True)
class Heard:
    """One event, and when it came (loop time, seconds)."""

    at_s: float
    symbol: str
    event: Event


class Session:
    """A listening client of a venue, for tests: places, waits and remembers all that it hears."""

    def __init__(self, venue: Venue, patience_s: float = 1.0) -> None:
        self.venue = venue
        self.heard: list[Heard] = []
        self._patience_s = patience_s
        self._sequence = itertools.count()
        venue.listen(self._hear)

    def _hear(self, symbol: str, event: Event) -> None:
        self.heard.append(Heard(asyncio.get_running_loop().time(), symbol, event))

    def new(self, side: Side, price: str, qty: str = "0.1", tif: TimeInForce = TimeInForce.GTX) -> NewOrder:
        """An order of ours, not sent yet."""
        client_id = encode_own_id(Layer.NEAR, side, 1, next(self._sequence))
        return NewOrder(SYMBOL, client_id, side, D(price), D(qty), tif)

    def bids(self, count: int, qty: str = "0.1") -> list[NewOrder]:
        """Bids under the touch, a tick apart."""
        return [self.new(Side.BUY, f"{D('99.90') - D('0.01') * k}", qty) for k in range(count)]

    async def place(self, *orders: NewOrder) -> None:
        """Send placements and wait until each is answered."""
        self.venue.submit(orders, [])
        await self.until(lambda: all(self.answers(order.client_id) for order in orders))

    async def cancel(self, *orders: NewOrder) -> None:
        """Send cancels and wait until each is answered."""
        self.venue.submit([], [CancelOrder(order.symbol, order.client_id) for order in orders])
        await self.until(lambda: all(self.cancel_answers(order.client_id) for order in orders))

    def of(self, client_id: str) -> list[Event]:
        """All that was said of one order."""
        return [heard.event for heard in self.heard if getattr(heard.event, "client_id", None) == client_id]

    def events(self, kind: type[Event]) -> list[Event]:
        return [heard.event for heard in self.heard if isinstance(heard.event, kind)]

    def balances_told(self) -> dict[str, Balance]:
        """The balances that the events amount to."""
        return {asset: each for event in self.events(BalancesChanged) for asset, each in event.balances.items()}

    def answers(self, client_id: str) -> list[Event]:
        """The answers to a placement; its end is one only where nothing else was."""
        said = self.of(client_id)
        answers = [
            event for event in said if isinstance(event, Accepted | Rejected) or _unsettled(event, Request.PLACE)
        ]
        return answers or [event for event in said if isinstance(event, Ended)]

    def cancel_answers(self, client_id: str) -> list[Event]:
        return [
            event
            for event in self.of(client_id)
            if isinstance(event, Ended | CancelRefused) or _unsettled(event, Request.CANCEL)
        ]

    async def until(self, true: Callable[[], bool], patience_s: float = GIVE_UP_S) -> None:
        """Wait for something; an ``AssertionError`` with all that was heard where it does not come."""
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + patience_s
        while not true():
            assert loop.time() < give_up_s, self.heard
            await asyncio.sleep(0.005)

    async def quiet(self) -> None:
        """Wait until nothing more is on its way."""
        await asyncio.sleep(self._patience_s)


def _unsettled(event: Event, request: Request) -> bool:
    return isinstance(event, Unsettled) and event.request is request
