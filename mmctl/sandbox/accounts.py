"""Accounts: balances that lock and come free, in whole numbers of 1e-8, and what belongs to one account."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass

from mmctl.sandbox.matching import Order
from mmctl.sandbox.numbers import units
from mmctl.sandbox.options import AccountSpec

KEPT_ORDERS = 50_000
KEPT_TRADES = 50_000
KEPT_PLACEMENTS = 200_000


@dataclass(slots=True)
class Trade:
    """One account's side of a trade. Price in ticks, quantity in lots, commission in 1e-8 of its asset."""

    trade_id: int
    order: Order
    price: int
    qty: int
    commission: int
    asset: str
    at_ms: int
    maker: bool


class Account:
    """One account. ``others`` stands for everybody else in the market: its balances may go below zero."""

    def __init__(self, spec: AccountSpec, *, others: bool = False) -> None:
        self.name, self.uid = spec.name, spec.uid
        self.key, self.secret = spec.key, spec.secret.encode()
        self.may_trade, self.may_withdraw = spec.may_trade, spec.may_withdraw
        self.trade_group = spec.trade_group
        self.others = others
        self.free = {asset: units(amount) for asset, amount in spec.balances.items()}
        self.locked = dict.fromkeys(self.free, 0)
        self.updated_ms = 0
        self.watchers = 0
        """How many user streams follow it: nothing is told where nobody listens."""
        self.orders: dict[int, Order] = {}
        """Open orders, oldest first."""
        self.open_by_client: dict[tuple[str, str], Order] = {}
        """Open orders by symbol and client order id."""
        self.open_count: Counter[str] = Counter()
        self.ended: OrderedDict[int, Order] = OrderedDict()
        self._ended_by_client: dict[tuple[str, str], Order] = {}
        self.trades: deque[Trade] = deque(maxlen=KEPT_TRADES)
        self.placements: OrderedDict[str, int] = OrderedDict()
        """How often each client order id was placed: what a test looks at to see that none was sent twice."""

    def lock(self, asset: str, amount: int) -> bool:
        """Lock ``amount`` of what is free, if there is as much."""
        free = self.free.get(asset, 0)
        if amount > free and not self.others:
            return False
        self.free[asset] = free - amount
        self.locked[asset] = self.locked.get(asset, 0) + amount
        return True

    def unlock(self, asset: str, amount: int) -> None:
        self.locked[asset] -= amount
        self.free[asset] += amount

    def pay(self, asset: str, locked: int, amount: int) -> None:
        """Pay ``amount`` out of ``locked``, which was locked for it; the difference comes free."""
        self.locked[asset] -= locked
        self.free[asset] += locked - amount

    def receive(self, asset: str, amount: int) -> None:
        self.free[asset] = self.free.get(asset, 0) + amount
        self.locked.setdefault(asset, 0)

    def count_placement(self, client_id: str) -> None:
        self.placements[client_id] = self.placements.get(client_id, 0) + 1
        if len(self.placements) > KEPT_PLACEMENTS:
            self.placements.popitem(last=False)

    def opened(self, order: Order) -> None:
        self.orders[order.order_id] = order
        self.open_by_client[order.symbol, order.client_id] = order
        self.open_count[order.symbol] += 1

    def closed(self, order: Order) -> None:
        """File an order that ended; one that never was open too."""
        if self.orders.pop(order.order_id, None) is not None:
            del self.open_by_client[order.symbol, order.client_id]
            self.open_count[order.symbol] -= 1
        self.ended[order.order_id] = order
        self._ended_by_client[order.symbol, order.client_id] = order
        if len(self.ended) > KEPT_ORDERS:
            _, oldest = self.ended.popitem(last=False)
            place = (oldest.symbol, oldest.client_id)
            if self._ended_by_client.get(place) is oldest:
                del self._ended_by_client[place]

    def by_id(self, order_id: int) -> Order | None:
        return self.orders.get(order_id) or self.ended.get(order_id)

    def by_client(self, symbol: str, client_id: str) -> Order | None:
        """The order of this client order id: the open one, else the last that ended."""
        place = (symbol, client_id)
        return self.open_by_client.get(place) or self._ended_by_client.get(place)


def account_of_order(order: Order) -> Account:
    """Whose order it is."""
    assert isinstance(order.account, Account)
    return order.account
