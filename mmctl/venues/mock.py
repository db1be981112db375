"""The mock venue: real orders against the reference market, behind a line that is slow, loses things and lags.

``mock_exchange`` and ``mock_market`` hold the orders, ``mock_line`` is the way there; this is the port.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from mmctl.core.book import Book, Trade
from mmctl.core.events import Ended, Event, Fill, NotFound, OrderEvent, Rejected, Seen
from mmctl.core.instrument import Instrument
from mmctl.core.order import CancelOrder, NewOrder, Side, TimeInForce, decode_own_id
from mmctl.errors import VenueRefused, VenueUnreachable
from mmctl.ports import Balances, Clock, ForeignOrder, Listing
from mmctl.venues.mock_exchange import MockExchange
from mmctl.venues.mock_line import MockLine, MockOptions
from mmctl.venues.mock_market import MockOrder

HISTORY_BEYOND_LANDING_S = 10.0
"""How long beyond its landing time the venue can be asked for an order that ended."""

__all__ = ["MockOptions", "MockVenue"]


class MockVenue:
    """A venue inside this process; see ``mmctl.ports.Venue`` for what each method promises."""

    mode = "mock"

    def __init__(
        self,
        clock: Clock,
        instruments: Mapping[str, Instrument],
        balances: Mapping[str, Decimal],
        options: MockOptions,
        *,
        name: str = "mock",
        account: str = "main",
        user_id: str | None = None,
    ) -> None:
        self.name = name
        self.account = account
        self.user_id = user_id
        self.landing_time_s = options.landing_time_s
        self.request_timeout_s = options.request_timeout_s
        self._clock = clock
        self._exchange = MockExchange(
            instruments,
            balances,
            options.maker_fee_bps,
            options.taker_fee_bps,
            options.history_limit,
            options.landing_time_s + HISTORY_BEYOND_LANDING_S,
        )
        self._line = MockLine(name, clock, self._exchange, options)
        self._books: dict[str, Book] = {}
        self._placed_ids: deque[str] = deque(maxlen=options.history_limit)

    def listen(self, listener: Callable[[str, Event], None]) -> None:
        self._line.listener = listener

    async def open(self) -> None:
        self._line.check_open()

    async def instrument(self, symbol: str) -> Instrument:
        return self._traded(symbol)

    def submit(self, places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
        """As the port says. Raises ``VenueUnreachable`` after ``close``: nothing was handed over."""
        self._line.submit((*places, *cancels))
        self._placed_ids.extend(order.client_id for order in places)

    async def query(self, symbol: str, client_id: str) -> Seen | Ended | NotFound:
        self._traded(symbol)
        asked_at_s = self._clock.monotonic()

        def look(as_of_s: float) -> Seen | Ended | NotFound:
            order = self._exchange.find(symbol, client_id, as_of_s)
            if order is None:
                return NotFound(client_id, asked_at_s)
            if order.ended_at_s is not None and order.ended_at_s <= as_of_s:
                return Ended(client_id, order.order_id, order.state, order.filled)
            return _seen(order, as_of_s, asked_at_s)

        return await self._line.read(look)

    async def open_orders(self, symbol: str | None) -> Listing:
        if symbol is not None:
            self._traded(symbol)
        asked_at_s = self._clock.monotonic()
        return await self._line.read(lambda as_of_s: self._listing(symbol, as_of_s, asked_at_s))

    async def balances(self) -> Balances:
        asked_at_s = self._clock.monotonic()
        return await self._line.read(lambda _: Balances(asked_at_s, self._exchange.wallet.balances()))

    async def fills(self, symbol: str, after_trade_id: str | None) -> Sequence[Fill]:
        """As the port says. Raises ``VenueRefused`` where trades after ``after_trade_id`` are forgotten."""
        self._traded(symbol)
        fills = await self._line.read(lambda _: self._exchange.fills_after(symbol, after_trade_id))
        if fills is None:
            raise VenueRefused(f"{self.name} no longer has all trades of {symbol} after {after_trade_id}")
        return [fill for fill in fills if decode_own_id(fill.client_id) is not None]

    async def depth(self, symbol: str) -> Book:
        """As the port says: the reference market is the mock's own."""
        self._traded(symbol)
        book = await self._line.read(lambda _: self._books.get(symbol))
        if book is None:
            raise VenueUnreachable(f"{self.name} was not shown the market of {symbol} yet")
        return book

    async def close(self) -> None:
        self._line.close()

    # Not of the port: the world around the venue, and what a test may do to it.

    def observe(self, symbol: str, book: Book, trades: Sequence[Trade] = ()) -> None:
        """The reference market of ``symbol`` moved: its trades since the last call, each given once, and its book.

        What that fills is told by the user stream. Raises ``VenueRefused`` for a symbol that is not traded.
        """
        self._traded(symbol)
        self._books[symbol] = book
        told: list[OrderEvent] = []
        for fill, end in self._exchange.observe(symbol, book, trades, self._clock.monotonic(), self._clock.wall_ms()):
            told.append(fill)
            if end is not None:
                told.append(end)
        if told:
            self._line.stream(symbol, told)

    def deposit(self, asset: str, amount: Decimal) -> None:
        """Put ``amount`` of ``asset`` on the account; the user stream tells of it."""
        self._exchange.wallet.receive(asset, amount)
        self._line.stream("", ())

    def place_foreign(
        self,
        symbol: str,
        side: Side,
        price: Decimal,
        qty: Decimal,
        client_id: str = "web_1",
        time_in_force: TimeInForce = TimeInForce.GTC,
    ) -> str:
        """Somebody else uses the account: the order arrives at once. Its order id; raises ``VenueRefused``."""
        new = NewOrder(symbol, client_id, side, price, qty, time_in_force)
        answer, fills = self._exchange.place(new, self._clock.monotonic(), self._clock.wall_ms())
        if isinstance(answer, Rejected):
            raise VenueRefused(f"{self.name} refused foreign order {client_id}: {answer.reason}")
        self._line.stream(symbol, fills)
        return answer.order_id or ""

    def stall(self) -> None:
        """The line stands still: nothing arrives, nothing is answered or told. Requests and reads time out."""
        self._line.stall()

    def resume(self) -> None:
        """The line moves again; a request still on it lands now, unless its landing time has passed."""
        self._line.resume()

    def set_options(self, options: MockOptions) -> None:
        """Change rates, latency and lag from now on; seed, times, fees and bounds stay those of the start."""
        self._line.options = options

    def open_now(self, symbol: str | None = None) -> Listing:
        """The truth, without latency or lag."""
        now_s = self._clock.monotonic()
        return self._listing(symbol, now_s, now_s)

    @property
    def prevented_matches(self) -> int:
        """How many placements would have traded with an own order and ended instead."""
        return self._exchange.prevented_matches

    @property
    def self_trades(self) -> int:
        """How many own bids rest at or above an own ask now."""
        return self._exchange.own_crossings()

    @property
    def placed_ids(self) -> tuple[str, ...]:
        """Client order ids of all placements submitted, oldest first, as far back as ``history_limit``."""
        return tuple(self._placed_ids)

    def _listing(self, symbol: str | None, as_of_s: float, asked_at_s: float) -> Listing:
        orders = self._exchange.open_at(symbol, as_of_s)
        own = [order for order in orders if decode_own_id(order.client_id) is not None]
        foreign = [order for order in orders if decode_own_id(order.client_id) is None]
        return Listing(
            symbol,
            asked_at_s,
            tuple(_seen(order, as_of_s, asked_at_s) for order in own),
            tuple(_foreign(order, as_of_s) for order in foreign),
        )

    def _traded(self, symbol: str) -> Instrument:
        instrument = self._exchange.instruments.get(symbol)
        if instrument is None:
            known = ", ".join(self._exchange.instruments)
            raise VenueRefused(f"symbol {symbol} is not traded on {self.name}", f"it trades {known}")
        return instrument


def _seen(order: MockOrder, as_of_s: float, asked_at_s: float) -> Seen:
    filled = order.filled_at(as_of_s)
    return Seen(order.client_id, order.order_id, order.side, order.price, order.qty, filled, asked_at_s, order.symbol)


def _foreign(order: MockOrder, as_of_s: float) -> ForeignOrder:
    remaining = order.qty - order.filled_at(as_of_s)
    return ForeignOrder(order.symbol, order.order_id, order.client_id, order.side, order.price, remaining)
