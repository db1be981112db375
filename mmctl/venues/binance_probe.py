"""Binance asked piece by piece, for ``mmctl doctor``: each question stands by itself, and none changes anything.

Opening the venue is all or nothing, as an engine needs it. Here a wrong key does not hide what the filters are.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import TypeVar

import msgspec

from mmctl.core.fits import AccountFacts, KeyRights, SymbolFacts
from mmctl.core.order import NewOrder, decode_own_id
from mmctl.errors import VenueError, VenueUnreachable
from mmctl.ports import Clock, ForeignOrder, Listing
from mmctl.venues.binance_clock import BinanceTimes, ServerClock
from mmctl.venues.binance_gate import RateGate
from mmctl.venues.binance_net import Sockets
from mmctl.venues.binance_reads import Reads
from mmctl.venues.binance_requests import Requests
from mmctl.venues.binance_ws import WsLink
from mmctl.wire import binance as wire
from mmctl.wire.binance import Call, UnknownShape
from mmctl.wire.binance_market import decode_depth
from mmctl.wire.binance_orders import WireOrder, read_account, read_orders
from mmctl.wire.binance_sign import Signer
from mmctl.wire.binance_urls import BinanceUrls, place_of

RIGHTS = Call("", "GET", "/sapi/v1/account/apiRestrictions", 1)
"""What the key itself may do: the account's own flags say more than the key's. Testnets do not have it."""

TOUCH_LEVELS = 5

_T = TypeVar("_T")


class _Rights(msgspec.Struct, frozen=True):
    enableSpotAndMarginTrading: bool  # noqa: N815 - Binance's own names
    enableWithdrawals: bool  # noqa: N815
    ipRestrict: bool  # noqa: N815


_RIGHTS = msgspec.json.Decoder(_Rights)


class BinanceProbe:
    """One account on Binance spot, for questions alone. Open it first; every other method raises ``VenueError``.

    ``key`` and ``secret`` may be empty: public questions need none.
    """

    def __init__(
        self, clock: Clock, *, key: str, secret: str, urls: BinanceUrls, timeout_s: float, name: str = "binance"
    ) -> None:
        self._urls = urls.checked()
        self._clock = clock
        self._times = BinanceTimes(read_timeout_s=timeout_s, connect_timeout_s=timeout_s)
        self._server = ServerClock(clock)
        self._gate = RateGate(clock, self._server)
        signer = Signer(key, secret)
        self._network = Sockets(self._urls, signer, self._times, self._server)
        self._reads = Reads(
            name, clock, self._server, self._gate, self._network.rest, signer, self._times,
            Requests(lambda symbol, event: None), lambda: False,
        )  # fmt: skip
        self.where = place_of(self._urls.rest)

    async def open(self) -> None:
        """Get ready. Nothing is connected to yet."""
        self._network.open()

    async def close(self) -> None:
        """Let go of connections. Never raises."""
        await self._reads.stop()
        await self._network.close()

    async def measure_clock(self) -> tuple[int, int]:
        """The venue's time less ours, and the round trip that shows it, in ms. All that is signed needs it first."""
        await self._reads.measure_clock(self._clock.monotonic())
        return self._server.offset_ms, self._server.round_trip_ms or 0

    async def socket_ms(self) -> float:
        """The round trip of a ping over the WebSocket API, in ms."""
        if not self._network.is_open:
            raise VenueUnreachable("the venue is closed")
        link = WsLink(
            self._urls.ws_api, self._network, self._clock, self._times, self._gate, on_event=lambda body: None
        )
        try:
            await link.open()
            sent_s = self._clock.monotonic()
            reply = await link.ask(wire.PING.method, {}, self._times.read_timeout_s)
            if not reply.ok:
                raise self._reads.error(reply, "a ping over the WebSocket API")
            return (self._clock.monotonic() - sent_s) * 1000
        finally:
            await link.close()

    async def account(self) -> AccountFacts:
        """The account that the key opens."""
        reply = await self._reads.ask(wire.ACCOUNT, {"omitZeroBalances": True}, "the account")
        told = self._read(reply.result, read_account, "the account")
        return AccountFacts(told.user_id, told.can_trade, told.assets)

    async def rights(self) -> KeyRights | None:
        """What the key may do, or ``None`` where the venue does not tell that."""
        try:
            reply = await self._reads.ask(RIGHTS, {}, "the key's permissions")
            told = _RIGHTS.decode(reply.result)
        except (VenueError, msgspec.DecodeError):
            return None  # a wrong key is told by the account
        return KeyRights(told.enableSpotAndMarginTrading, told.enableWithdrawals, any_address=not told.ipRestrict)

    async def symbol(self, symbol: str) -> SymbolFacts:
        """The symbol's rules, and its mid where its book can be read."""
        rules = await self._reads.rules(symbol)
        mid = await self._mid(symbol)
        return SymbolFacts(rules.status, rules.trading, rules.instrument, rules.max_notional, mid)

    async def _mid(self, symbol: str) -> Decimal | None:
        try:
            reply = await self._reads.ask(
                wire.DEPTH, {"symbol": symbol, "limit": TOUCH_LEVELS}, f"the book of {symbol}"
            )
            depth = decode_depth(reply.result)
        except (VenueError, ValueError):
            return None  # what is judged by it says that it is not known
        if not depth.bids or not depth.asks:
            return None
        return ((depth.bids[0][0] + depth.asks[0][0]) / 2).normalize()

    async def open_orders(self) -> Listing:
        """All open orders of the account."""
        asked_at_s = self._clock.monotonic()
        reply = await self._reads.ask(wire.ALL_OPEN_ORDERS, {}, "the open orders")
        orders = self._read(reply.result, read_orders, "the open orders")
        own = tuple(one.seen(asked_at_s) for one in orders if decode_own_id(one.own_id) is not None)
        foreign = tuple(_foreign(one) for one in orders if decode_own_id(one.own_id) is None)
        return Listing(None, asked_at_s, own, foreign)

    async def try_order(self, order: NewOrder) -> None:
        """Ask whether the venue would take ``order``; it places nothing."""
        await self._reads.ask(wire.TEST, wire.placement(order), f"a test order on {order.symbol}")

    def _read(self, body: bytes, reader: Callable[[bytes], _T], what: str) -> _T:
        try:
            return reader(body)
        except UnknownShape as error:
            raise self._reads.unreadable(what, error) from None


def _foreign(order: WireOrder) -> ForeignOrder:
    remaining = order.origQty - order.executedQty
    seen = order.seen(0.0)
    return ForeignOrder(order.symbol, seen.order_id, seen.client_id, seen.side, seen.price, remaining)
