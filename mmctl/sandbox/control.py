"""The control address: HTTP and JSON for whoever tests a client: see what is true, and make trouble.

GET  /state            what is in force, what is open, what happened
GET  /truth            per account: open orders, placements by client id, trades, prevented matches
GET  /history          per account: every order that was taken and every trade, as far as they are kept
GET  /faults           all settings
POST /faults           {"reply_lost": 0.1, "latency_ms": 20}: change some; {"clear": true}: end all trouble
POST /market/move      {"symbol": "BTCUSDT", "bps": -30}: move the other traders' book, from where it would be
POST /market/hold      {"on": true}: the other traders keep their book as it is; false: they go on
POST /market/trade     {"symbol": "BTCUSDT", "side": "SELL", "quantity": "0.5", "price": "61800"}: somebody takes
POST /orders           {"account": "main", "symbol": ..., "side": ..., "price": ..., "quantity": ...}: a foreign order
POST /symbols          {"symbol": "BTCUSDT", "status": "BREAK"}: stop or resume trading
POST /connections/drop {"kind": "ws_api" or "streams"}, or {} for both
POST /connections/stall {"kind": ..., "seconds": 10}: they live and say nothing
POST /connections/shutdown {"seconds": 5}: the WebSocket API says that its server goes, and closes after that
POST /maintenance      {"on": true}
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec

from mmctl.errors import UsageError
from mmctl.sandbox import reports
from mmctl.sandbox.asking import order as read_order
from mmctl.sandbox.asking import required
from mmctl.sandbox.faults import FaultSettings
from mmctl.sandbox.numbers import text
from mmctl.sandbox.refusals import Refusal
from mmctl.sandbox.sockets import Socket

if TYPE_CHECKING:
    from aiohttp import web

    from mmctl.sandbox.accounts import Account
    from mmctl.sandbox.server import Sandbox

Json = dict[str, Any]
SHOWN_TRADES = 1000


class Control:
    """The control interface of one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def add_to(self, app: web.Application) -> None:
        gets: dict[str, Callable[[], Json]] = {
            "/state": self.state,
            "/truth": self.truth,
            "/history": self.history,
            "/faults": self.faults,
        }
        for path, show in gets.items():
            app.router.add_get(path, _shows(show))
        for path, act in (
            ("/faults", self.set_faults),
            ("/market/move", self.move),
            ("/market/hold", self.hold),
            ("/market/trade", self.trade),
            ("/orders", self.place),
            ("/symbols", self.set_status),
            ("/connections/drop", self.drop),
            ("/connections/stall", self.stall),
            ("/connections/shutdown", self.shut_down),
            ("/maintenance", self.maintenance),
        ):
            app.router.add_post(path, _acts(act))

    def state(self) -> Json:
        sandbox, exchange = self._sandbox, self._sandbox.exchange
        counters, limits, now = exchange.counters, sandbox.limits, exchange.now_ms()
        return {
            "server_time_ms": now,
            "faults": sandbox.faults.shown(),
            "struck": sandbox.faults.counts,
            "limits": limits.shown(None, now),
            "exceeded": limits.exceeded,
            "disobeyed": limits.disobeyed,
            "disobeyed_late_ms": max(limits.disobeyed_late_ms.values(), default=0),
            "disobeyed_by": limits.disobeyed_late_ms,
            "asked": sandbox.api.asked,
            "placed": counters.placed,
            "cancelled": counters.cancelled,
            "rejected": counters.rejected,
            "trades": counters.trades,
            "self_trades": counters.self_trades,
            "prevented_matches": len(counters.prevented),
            "open_orders": {name: len(account.orders) for name, account in exchange.accounts.items()},
            "connections": {"ws_api": len(sandbox.ws_api.sockets.open), "streams": len(sandbox.streams.sockets.open)},
            "connected": {"ws_api": sandbox.ws_api.sockets.opened, "streams": sandbox.streams.sockets.opened},
            "markets": [market.ticker() | {"status": market.rules.status} for market in exchange.markets.values()],
        }

    def truth(self) -> Json:
        exchange = self._sandbox.exchange
        return {
            "accounts": {name: self._account(account) for name, account in exchange.accounts.items()},
            "prevented_matches": list(exchange.counters.prevented),
            "self_trades": exchange.counters.self_trades,
            "fees": {asset: text(amount) for asset, amount in exchange.purse.fees.items()},
        }

    def _account(self, account: Account) -> Json:
        markets = self._sandbox.exchange.markets
        return {
            "uid": account.uid,
            "open_orders": [reports.queried(one, markets[one.symbol].rules) for one in account.orders.values()],
            "placements": dict(account.placements),
            "placed_twice": [name for name, count in account.placements.items() if count > 1],
            "trades": [
                reports.own_trade(one, markets[one.order.symbol].rules) for one in list(account.trades)[-SHOWN_TRADES:]
            ],
            "balances": {
                asset: {"free": text(free), "locked": text(account.locked[asset])}
                for asset, free in account.free.items()
            },
        }

    def history(self) -> Json:
        exchange = self._sandbox.exchange
        return {"accounts": {name: self._past(account) for name, account in exchange.accounts.items()}}

    def _past(self, account: Account) -> Json:
        markets = self._sandbox.exchange.markets
        orders = (*account.ended.values(), *account.orders.values())
        return {
            "orders": [reports.queried(one, markets[one.symbol].rules) for one in orders],
            "trades": [reports.own_trade(one, markets[one.order.symbol].rules) for one in account.trades],
        }

    def faults(self) -> Json:
        return msgspec.to_builtins(self._sandbox.faults.now)  # type: ignore[no-any-return]

    async def set_faults(self, given: Json) -> Json:
        if given.pop("clear", False):
            self._sandbox.faults.clear()
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UsageError(f"{name}: {value!r} is no number", f"see GET /faults: {', '.join(vars_of_faults())}")
        self._sandbox.faults.set(given)
        self._sandbox.exchange.clock_offset_ms = int(self._sandbox.faults.now.clock_offset_ms)
        return self.faults()

    async def move(self, given: Json) -> Json:
        market = self._sandbox.exchange.market(given.get("symbol"))
        others = self._sandbox.others[market.symbol]
        others.offset_bps = float(given.get("bps", 0))
        others.show()
        return market.ticker()

    async def hold(self, given: Json) -> Json:
        on = bool(given.get("on", True))
        for others in self._sandbox.others.values():
            others.held = on
        return {"held": on}

    async def trade(self, given: Json) -> Json:
        market = self._sandbox.exchange.market(given.get("symbol"))
        price = None if given.get("price") is None else market.rules.price(given["price"])
        lots = market.rules.qty(required(given, "quantity"))
        buy = required(given, "side") == "BUY"
        got = self._sandbox.others[market.symbol].take(buy=buy, price=price, lots=lots)
        return {"executedQty": market.rules.qty_text(got)}

    async def place(self, given: Json) -> Json:
        sandbox = self._sandbox
        name = given.pop("account", sandbox.options.accounts[0].name)
        account = sandbox.exchange.accounts.get(name)
        if account is None:
            raise UsageError(f"account {name}: there is none", ", ".join(sandbox.exchange.accounts))
        given.setdefault("type", "LIMIT")
        if given["type"] == "LIMIT":
            given.setdefault("timeInForce", "GTC")
        market = sandbox.exchange.market(given.get("symbol"))
        asked = read_order(given, market, sandbox.api.generated_id)
        return reports.placed(sandbox.exchange.place(account, market, asked), market.rules, full=True)

    async def set_status(self, given: Json) -> Json:
        market = self._sandbox.exchange.market(given.get("symbol"))
        status = given.get("status")
        if status not in ("TRADING", "BREAK", "HALT"):
            raise UsageError(f"status {status}: no such status", "TRADING, BREAK or HALT")
        market.rules.status = status
        return market.rules.info()

    async def drop(self, given: Json) -> Json:
        sockets = self._sockets(given)
        for socket in sockets:
            socket.cut()
        return {"dropped": len(sockets)}

    async def stall(self, given: Json) -> Json:
        sockets = self._sockets(given)
        for socket in sockets:
            socket.stall(float(given.get("seconds", self._sandbox.faults.now.stall_s)))
        return {"stalled": len(sockets)}

    async def shut_down(self, given: Json) -> Json:
        after_s = float(given.get("seconds", 5))
        return {"told": self._sandbox.ws_api.announce(self._sandbox.exchange.now_ms(), after_s)}

    def _sockets(self, given: Json) -> list[Socket]:
        kinds = {"ws_api": self._sandbox.ws_api.sockets, "streams": self._sandbox.streams.sockets}
        kind = given.get("kind")
        if kind is not None and kind not in kinds:
            raise UsageError(f"kind {kind}: no such kind", "ws_api or streams")
        return [socket for name, sockets in kinds.items() if kind in (None, name) for socket in sockets.open]

    async def maintenance(self, given: Json) -> Json:
        on = bool(given.get("on", True))
        self._sandbox.faults.set({"maintenance": float(on)})
        if on:
            await self._sandbox.close_connections()
        return {"maintenance": on}


def vars_of_faults() -> list[str]:
    return list(FaultSettings.__dataclass_fields__)


def _shows(show: Callable[[], Json]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        return _json(show())

    return handle


def _acts(act: Callable[[Json], Awaitable[Json]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        try:
            given = msgspec.json.decode(await request.read() or b"{}", type=dict[str, Any])
            return _json(await act(given))
        except Refusal as refusal:
            return _json({"code": refusal.code, "msg": refusal.message}, 400)
        except (UsageError, ValueError, TypeError) as error:
            return _json({"error": str(error)}, 400)

    return handle


def _json(content: Json, status: int = 200) -> web.Response:
    from aiohttp import web

    return web.Response(status=status, body=msgspec.json.encode(content), content_type="application/json")
