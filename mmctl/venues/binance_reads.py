"""What is asked of Binance and waited for, over REST: each with a deadline, counted, and never a part for the whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from mmctl.core.events import Fill
from mmctl.core.order import Side, decode_own_id
from mmctl.errors import VenueError, VenueRefused, VenueUnreachable
from mmctl.ports import Clock, ForeignOrder, Listing
from mmctl.venues.binance_clock import BinanceTimes, ServerClock
from mmctl.venues.binance_gate import RateGate
from mmctl.venues.binance_requests import Requests
from mmctl.venues.binance_rest import Lost, Rest
from mmctl.wire import binance as wire
from mmctl.wire.binance import Call, Reply, UnknownShape
from mmctl.wire.binance_errors import ARCHIVED, CLOCK_CODE, NO_SUCH_ORDER, UNKNOWN_SYMBOL, Verdict, judge
from mmctl.wire.binance_orders import WireOrder, WireTrade, read_order, read_orders, read_trades
from mmctl.wire.binance_sign import Signer, Value, query_string
from mmctl.wire.binance_symbols import SymbolRules, read_exchange_info

MAX_PAGES = 50
AT_ONCE = 8
"""How many orders are asked for at a time to find out whose trades those are."""


class Reads:
    """Asks one account's questions. ``quoting`` says whether they are for quoting, and so may use its share only."""

    def __init__(
        self,
        name: str,
        clock: Clock,
        server: ServerClock,
        gate: RateGate,
        rest: Rest,
        signer: Signer,
        times: BinanceTimes,
        requests: Requests,
        quoting: Callable[[], bool],
    ) -> None:
        self._name = name
        self._clock = clock
        self._server = server
        self._gate = gate
        self._rest = rest
        self._signer = signer
        self._times = times
        self._requests = requests
        self._quoting = quoting
        self._measuring: asyncio.Task[None] | None = None
        self._measured_from_s = -1.0

    async def ask(
        self, call: Call, params: Mapping[str, Value], what: str, expected: frozenset[int] = frozenset()
    ) -> Reply:
        """The reply to ``call``, or one that fails with a code that is ``expected``.

        A clock that is off is measured again once. Raises ``VenueRefused`` or ``VenueUnreachable``, naming ``what``.
        """
        asked_at_s = self._clock.monotonic()
        reply = await self._ask_once(call, params, what)
        if reply.fault is not None and reply.fault.code == CLOCK_CODE and reply.status < 500:
            await self.measure_clock(asked_at_s)
            reply = await self._ask_once(call, params, what)
        if reply.ok or (reply.fault is not None and reply.fault.code in expected and reply.status < 500):
            return reply
        raise self.error(reply, what)

    async def _ask_once(self, call: Call, params: Mapping[str, Value], what: str) -> Reply:
        refusal = self._gate.refusal(call, quoting=self._quoting())
        if refusal is not None:
            raise VenueUnreachable(f"{self._name} was not asked for {what}: {refusal}")
        ticket, reply = self._gate.take(call), None
        try:
            if call.signed:
                stamped = wire.stamped(params, self._server.now_ms(), self._times.recv_window_ms)
                query = self._signer.query(stamped)
            else:
                query = query_string(params)
            reply = await self._rest.ask(call, query, self._times.read_timeout_s)
        except Lost as lost:
            raise VenueUnreachable(f"{self._name} did not answer {what}: {lost.reason}", lost.hint) from None
        finally:
            if reply is None:
                self._gate.lose(ticket)
        self._gate.settle(ticket, reply)
        return reply

    def error(self, reply: Reply, what: str) -> VenueError:
        """A failed reply as an exception, in one line."""
        code, text = (reply.fault.code, reply.fault.msg) if reply.fault else (None, "")
        judged = judge(reply.status, code, text)
        said = self._signer.masked(text) or "no reason given"
        line = f"{self._name} refused {what}: {said} ({reply.status if code is None else code})"
        if judged.code == "clock":
            return VenueRefused(f"{line}; {self.clock_words()}", judged.hint)
        if judged.verdict in (Verdict.MEND, Verdict.REFUSED):
            return VenueRefused(line, judged.hint)
        if judged.verdict is Verdict.LATER:
            held_s = self._gate.held_s(placing=False)
            return VenueUnreachable(line, f"held for {held_s:.0f} s; {judged.hint}")
        return VenueUnreachable(f"{self._name} failed at {what}: {said} ({code or ''} status {reply.status})")

    def clock_words(self) -> str:
        """How far off this machine's clock is, by the last measurement."""
        offset_s = self._server.offset_ms / 1000
        return f"this machine's clock is {abs(offset_s):.3f} s {'behind' if offset_s > 0 else 'ahead of'} the venue's"

    def unreadable(self, what: str, error: UnknownShape) -> VenueUnreachable:
        """A reply that came and cannot be read proves nothing."""
        return VenueUnreachable(f"{self._name} answered {what} with {error}", "an address that is not Binance's?")

    async def measure_clock(self, since_s: float) -> None:
        """Measure the venue's time, unless that was begun after ``since_s`` (monotonic). Raises ``VenueError``.

        So a whole batch that is refused for its time stamps makes one measurement.
        """
        if self._measuring is None or self._measured_from_s < since_s:
            self._measured_from_s = self._clock.monotonic()
            self._measuring = asyncio.create_task(self._server.measure(self._ask_time))
        await asyncio.shield(self._measuring)

    async def stop(self) -> None:
        """End what is still under way."""
        if self._measuring is not None:
            self._measuring.cancel()
            await asyncio.gather(self._measuring, return_exceptions=True)

    async def _ask_time(self) -> int:
        reply = await self._ask_once(wire.TIME, {}, "the time")
        if not reply.ok:
            raise self.error(reply, "the time")
        try:
            return wire.read_time_ms(reply.result)
        except UnknownShape as error:
            raise self.unreadable("the time", error) from None

    async def listing(self, symbol: str | None) -> Listing:
        """All open orders of ``symbol``, or of the account."""
        asked_at_s = self._clock.monotonic()
        call, params = (wire.ALL_OPEN_ORDERS, {}) if symbol is None else (wire.OPEN_ORDERS, {"symbol": symbol})
        what = "the open orders" if symbol is None else f"the open orders of {symbol}"
        reply = await self.ask(call, params, what)
        try:
            orders = read_orders(reply.result)
        except UnknownShape as error:
            raise self.unreadable(what, error) from None
        for order in orders:
            self._requests.note(order.own_id, str(order.orderId))
        own = tuple(one.seen(asked_at_s) for one in orders if decode_own_id(one.own_id) is not None)
        foreign = tuple(_foreign(one) for one in orders if decode_own_id(one.own_id) is None)
        return Listing(symbol, asked_at_s, own, foreign)

    async def rules(self, symbol: str) -> SymbolRules:
        """The symbol's rules; the account's limits, which come with them, are taken in."""
        what = f"the filters of {symbol}"
        reply = await self.ask(wire.EXCHANGE_INFO, {"symbol": symbol}, what, frozenset({UNKNOWN_SYMBOL}))
        if not reply.ok:
            raise VenueRefused(f"symbol {symbol} is not listed on {self._name}", "check the pair's symbol")
        try:
            info = read_exchange_info(reply.result)
            rules = info.symbols[symbol]
        except UnknownShape as error:
            raise self.unreadable(what, error) from None
        except KeyError:
            raise VenueRefused(f"{self._name} did not tell {what}", "check the pair's symbol") from None
        if info.limits is not None:
            self._gate.ledger.set_limits(info.limits)
        return rules

    async def trades(self, symbol: str, after_trade_id: str | None) -> list[WireTrade]:
        """The account's trades after a trade id, oldest first; without one, the newest page."""
        what = f"the trades of {symbol}"
        found: list[WireTrade] = []
        for _ in range(MAX_PAGES):
            reply = await self.ask(wire.TRADES, wire.trades_asked(symbol, after_trade_id), what)
            try:
                page = read_trades(reply.result)
            except UnknownShape as error:
                raise self.unreadable(what, error) from None
            found += sorted(page, key=lambda trade: trade.id)
            if after_trade_id is None or len(page) < wire.TRADES_PER_PAGE:
                return found
            after_trade_id = str(found[-1].id)
        raise VenueUnreachable(f"{self._name} has more trades of {symbol} than can be read at once")

    async def owners(self, symbol: str, order_ids: set[int], at_most: int | None) -> dict[int, str]:
        """The client ids of orders by the venue's numbers: a trade does not tell, so unknown orders are asked for, the
        newest ``at_most`` of them; the others' stay empty."""
        known = self._requests.client_ids
        unknown = sorted(one for one in order_ids if str(one) not in known)
        unknown = unknown if at_most is None else unknown[-at_most:]
        for start in range(0, len(unknown), AT_ONCE):
            part = unknown[start : start + AT_ONCE]
            results = await asyncio.gather(*(self._find_owner(symbol, one) for one in part), return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
        return {one: known.get(str(one), "") for one in order_ids}

    async def _find_owner(self, symbol: str, order_id: int) -> None:
        gone = frozenset({NO_SUCH_ORDER, ARCHIVED})
        reply = await self.ask(wire.STATUS, {"symbol": symbol, "orderId": order_id}, f"order {order_id}", gone)
        if not reply.ok:
            self._requests.client_ids[str(order_id)] = ""
            return
        try:
            self._requests.note(read_order(reply.result).own_id, str(order_id))
        except UnknownShape as error:
            raise self.unreadable(f"order {order_id}", error) from None


def _foreign(order: WireOrder) -> ForeignOrder:
    seen = order.seen(0.0)
    remaining = seen.qty - seen.filled
    return ForeignOrder(order.symbol, seen.order_id, seen.client_id, seen.side, seen.price, remaining)


def as_fill(trade: WireTrade, client_id: str) -> Fill:
    """A trade of an own order, in our words."""
    return Fill(
        client_id=client_id,
        order_id=str(trade.orderId),
        trade_id=str(trade.id),
        side=Side.BUY if trade.isBuyer else Side.SELL,
        price=trade.price,
        qty=trade.qty,
        fee=trade.commission,
        fee_asset=trade.commissionAsset,
        maker=trade.isMaker,
        at_ms=trade.time,
    )
