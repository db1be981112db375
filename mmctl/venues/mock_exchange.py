"""The far side of the mock venue: orders, filters, balances and trades of one account. No line, no chance.

Time is passed in. Whatever it refuses is a value with a code of the closed list below and a text that names the
value and the filter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import takewhile
from typing import NamedTuple

from mmctl.core.book import Book, Trade
from mmctl.core.events import Accepted, CancelRefused, Ended, Fill, Rejected
from mmctl.core.instrument import Instrument, plain
from mmctl.core.order import CancelOrder, NewOrder, Side, State, TimeInForce
from mmctl.venues.mock_market import ZERO, Match, MockMarket, MockOrder
from mmctl.venues.mock_wallet import MockWallet


class Placed(NamedTuple):
    """What became of a placement on its arrival, and the trades that it made at once."""

    answer: Accepted | Rejected | Ended
    fills: tuple[Fill, ...] = ()


class MockExchange:
    """The state of the mock venue. Fees are in bps of what is received.

    Ended orders are remembered for ``history_s`` seconds; ``history_limit`` bounds how many of them, and how many
    trades, of all symbols together.
    """

    def __init__(
        self,
        instruments: Mapping[str, Instrument],
        balances: Mapping[str, Decimal],
        maker_fee_bps: Decimal,
        taker_fee_bps: Decimal,
        history_limit: int,
        history_s: float,
    ) -> None:
        self.instruments = dict(instruments)
        self.wallet = MockWallet(balances)
        self.prevented_matches = 0
        self._fee_of = {True: maker_fee_bps.scaleb(-4), False: taker_fee_bps.scaleb(-4)}
        self._history_limit = history_limit
        self._history_s = history_s
        self._markets = {symbol: MockMarket(each.lot_size) for symbol, each in self.instruments.items()}
        self._open: dict[str, MockOrder] = {}
        self._ended: dict[str, MockOrder] = {}
        kept = history_limit // max(1, len(self.instruments)) + 1
        self._trades: dict[str, deque[Fill]] = {symbol: deque(maxlen=kept) for symbol in self.instruments}
        self._last_trade = dict.fromkeys(self.instruments, 0)
        self._last_order = 0

    def place(self, new: NewOrder, now_s: float, at_ms: int) -> Placed:
        """A placement arrives: it is refused, taken at once, or rests."""
        refusal = self._refusal(new)
        if refusal is not None:
            return Placed(refusal)
        self._last_order += 1
        order = MockOrder(
            number=self._last_order,
            symbol=new.symbol,
            client_id=new.client_id,
            order_id=str(self._last_order),
            side=new.side,
            price=new.price,
            qty=new.qty,
            opened_at_s=now_s,
        )
        self._open[order.client_id] = order
        self.wallet.lock(*self._needs(order.symbol, order.side, order.price, order.qty))
        market = self._markets[order.symbol]
        fills = tuple(self._settle(match, now_s, at_ms) for match in market.take(order))
        if not order.remaining:
            return Placed(self._end(order, State.FILLED, now_s), fills)
        market.rest(order)
        return Placed(Accepted(order.client_id, order.order_id), fills)

    def cancel(self, asked: CancelOrder, now_s: float) -> Ended | CancelRefused:
        """A cancel arrives. An order that has ended is as unknown as one that never was."""
        order = self._open.get(asked.client_id)
        if order is None or order.symbol != asked.symbol:
            return CancelRefused(asked.client_id, True, f"no open order {asked.client_id} in {asked.symbol}")
        self._markets[order.symbol].remove(order)
        return self._end(order, State.CANCELLED, now_s)

    def observe(
        self, symbol: str, book: Book, trades: Sequence[Trade], now_s: float, at_ms: int
    ) -> list[tuple[Fill, Ended | None]]:
        """The reference market moved: the trades that it caused, and the end of each order that one completed."""
        told: list[tuple[Fill, Ended | None]] = []
        matches = self._markets[symbol].observe(book, trades)
        # An order may match several times: only its last match finds it complete.
        last_of = {match.order.number: place for place, match in enumerate(matches)}
        for place, match in enumerate(matches):
            fill, order = self._settle(match, now_s, at_ms), match.order
            complete = not order.remaining and last_of[order.number] == place
            told.append((fill, self._end(order, State.FILLED, now_s) if complete else None))
        return told

    def find(self, symbol: str, client_id: str, as_of_s: float) -> MockOrder | None:
        """An order that was known at ``as_of_s``, ended or not."""
        order = self._open.get(client_id) or self._ended.get(client_id)
        known = order is not None and order.symbol == symbol and order.opened_at_s <= as_of_s
        return order if known else None

    def open_at(self, symbol: str | None, as_of_s: float) -> list[MockOrder]:
        """The orders that were open at ``as_of_s``, oldest first."""
        markets = self._markets.values() if symbol is None else [self._markets[symbol]]
        resting = [order for market in markets for side in Side for order in market.resting(side)]
        ended_later = takewhile(lambda order: (order.ended_at_s or 0.0) > as_of_s, reversed(self._ended.values()))
        resting += [order for order in ended_later if symbol in (None, order.symbol)]
        return sorted((each for each in resting if each.opened_at_s <= as_of_s), key=lambda order: order.number)

    def fills_after(self, symbol: str, trade_id: str | None) -> list[Fill] | None:
        """Trades of ``symbol`` after ``trade_id``, oldest first; ``None`` where some of them are forgotten."""
        kept = self._trades[symbol]
        if trade_id is None:
            return list(kept)
        after = int(trade_id)
        if kept and int(kept[0].trade_id) > after + 1:
            return None
        return [fill for fill in kept if int(fill.trade_id) > after]

    def own_crossings(self) -> int:
        """Own bids that rest at or above an own ask of the same symbol: always 0 where prevention works."""
        return sum(
            market.meets_own(Side.BUY, order.price) is not None
            for market in self._markets.values()
            for order in market.resting(Side.BUY)
        )

    def _refusal(self, new: NewOrder) -> Rejected | None:
        """Why a placement is refused, by the first filter that refuses it."""
        instrument = self.instruments.get(new.symbol)
        if instrument is None:
            return Rejected(new.client_id, "unknown_symbol", f"symbol {new.symbol} is not traded here")
        if new.client_id in self._open or new.client_id in self._ended:
            return Rejected(new.client_id, "duplicate_id", f"client order id {new.client_id} was used before")
        broken = broken_filter(instrument, new) or self._broken_account_rule(instrument, new)
        if broken is not None:
            return Rejected(new.client_id, *broken)
        return self._crossing(new)

    def _broken_account_rule(self, instrument: Instrument, new: NewOrder) -> tuple[str, str] | None:
        count, cap = len(self._markets[new.symbol]), instrument.max_open_orders
        if cap is not None and count >= cap:
            return "open_order_cap", f"{count} orders are open in {new.symbol}: the cap is {cap}"
        asset, amount = self._needs(new.symbol, new.side, new.price, new.qty)
        free = self.wallet.free(asset)
        if amount > free:
            return "balance", f"{plain(amount)} {asset} are needed and {plain(free)} are free"
        return None

    def _crossing(self, new: NewOrder) -> Rejected | None:
        market = self._markets[new.symbol]
        if new.time_in_force is TimeInForce.GTX and market.meets_reference(new.side, new.price):
            text = f"post-only {new.side} at {plain(new.price)} would match at once"
            return Rejected(new.client_id, "would_match", text)
        own = market.meets_own(new.side, new.price)
        if own is None:
            return None
        self.prevented_matches += 1
        text = f"{new.side} at {plain(new.price)} would match own order {own.client_id} at {plain(own.price)}"
        return Rejected(new.client_id, "self_trade", text)

    def _needs(self, symbol: str, side: Side, price: Decimal, qty: Decimal) -> tuple[str, Decimal]:
        """The asset that an order locks, and how much of it."""
        instrument = self.instruments[symbol]
        return (instrument.quote, price * qty) if side is Side.BUY else (instrument.base, qty)

    def _settle(self, match: Match, now_s: float, at_ms: int) -> Fill:
        """Move the balances of one trade and write it down."""
        order = match.order
        instrument = self.instruments[order.symbol]
        amount = match.price * match.qty
        buys = order.side is Side.BUY
        asset, received = (instrument.base, match.qty) if buys else (instrument.quote, amount)
        fee = received * self._fee_of[match.maker]
        spent, locked = self._needs(order.symbol, order.side, order.price, match.qty)
        self.wallet.spend(spent, locked, amount if buys else match.qty)
        self.wallet.receive(asset, received - fee)
        filled = order.filled_since[-1][1] if order.filled_since else ZERO
        order.filled_since.append((now_s, filled + match.qty))
        self._last_trade[order.symbol] += 1
        fill = Fill(
            client_id=order.client_id,
            order_id=order.order_id,
            trade_id=str(self._last_trade[order.symbol]),
            side=order.side,
            price=match.price,
            qty=match.qty,
            fee=fee,
            fee_asset=asset,
            maker=match.maker,
            at_ms=at_ms,
        )
        self._trades[order.symbol].append(fill)
        return fill

    def _end(self, order: MockOrder, state: State, now_s: float) -> Ended:
        """An order is over: what it still locks is released, and the oldest memory of another may go."""
        order.state, order.ended_at_s = state, now_s
        if order.remaining:
            asset, amount = self._needs(order.symbol, order.side, order.price, order.remaining)
            self.wallet.lock(asset, -amount)
        del self._open[order.client_id]
        self._ended[order.client_id] = order
        self._forget(now_s - self._history_s)
        return Ended(order.client_id, order.order_id, state, order.filled)

    def _forget(self, before_s: float) -> None:
        """Let go of orders that ended before ``before_s``, and of the oldest beyond the limit."""
        while self._ended:
            oldest = next(iter(self._ended.values()))
            recent = oldest.ended_at_s is None or oldest.ended_at_s >= before_s
            if recent and len(self._ended) <= self._history_limit:
                return
            del self._ended[oldest.client_id]


def broken_filter(instrument: Instrument, new: NewOrder) -> tuple[str, str] | None:
    """The first filter of the symbol that an order breaks, as a code and a text."""
    price, qty, amount = new.price, new.qty, new.price * new.qty
    low, high, most = instrument.min_price, instrument.max_price, instrument.max_qty
    if not instrument.on_tick(price):
        return "filter_tick", f"price {plain(price)} is off tick: the tick size is {plain(instrument.tick_size)}"
    if not instrument.on_lot(qty):
        return "filter_lot", f"quantity {plain(qty)} is off lot: the lot size is {plain(instrument.lot_size)}"
    if qty <= 0 or qty < instrument.min_qty:
        return "min_qty", f"quantity {plain(qty)} is under the minimum quantity {plain(instrument.min_qty)}"
    if most is not None and qty > most:
        return "max_qty", f"quantity {plain(qty)} is over the maximum quantity {plain(most)}"
    if amount < instrument.min_notional:
        return "min_notional", f"amount {plain(amount)} is under the minimum notional {plain(instrument.min_notional)}"
    if price <= 0 or price < low or (high is not None and price > high):
        return "price_band", f"price {plain(price)} is outside {plain(low)} to {'any' if high is None else plain(high)}"
    return None
