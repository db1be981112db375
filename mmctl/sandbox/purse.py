"""The money of orders: what they lock when they come, pay and receive when they trade, and get back in the end."""

from __future__ import annotations

from mmctl.sandbox.accounts import Trade, account_of_order
from mmctl.sandbox.market import Market
from mmctl.sandbox.matching import Order
from mmctl.sandbox.refusals import insufficient_balance


class Purse:
    """Fees in millionths of what is received; ``fees`` is what they have brought, by asset."""

    def __init__(self, maker_ppm: int, taker_ppm: int) -> None:
        self.maker_ppm, self.taker_ppm = maker_ppm, taker_ppm
        self.fees: dict[str, int] = {}

    def fund(self, market: Market, order: Order) -> None:
        """Lock what the order may cost. Raises ``Refusal`` where it is not there."""
        account, rules = account_of_order(order), market.rules
        lots, cost = order.qty, order.qty * order.price
        if order.market:
            skipped = None if order.stp == "NONE" else account
            lots, cost = market.book.reachable(buy=order.buy, price=None, lots=order.qty, skipped=skipped)
        amount = cost * rules.amount if order.buy else lots * rules.lot
        if not account.lock(_paid_in(market, order), amount):
            raise insufficient_balance()
        order.locked = amount
        account.updated_ms = order.updated_ms

    def settle(self, market: Market, order: Order, price: int, lots: int, *, maker: bool) -> Trade:
        """Pay for one fill and receive what it brought, less the fee."""
        account, rules = account_of_order(order), market.rules
        amount, qty = price * lots * rules.amount, lots * rules.lot
        cost, asset, got = (amount, market.base, qty) if order.buy else (qty, market.quote, amount)
        held = order.price * lots * rules.amount if order.buy and not order.market else cost
        account.pay(_paid_in(market, order), held, cost)
        order.locked -= held
        fee = 0 if account.others else got * (self.maker_ppm if maker else self.taker_ppm) // 1_000_000
        account.receive(asset, got - fee)
        self.fees[asset] = self.fees.get(asset, 0) + fee
        account.updated_ms = order.updated_ms
        return Trade(market.last_trade_id, order, price, lots, fee, asset, order.updated_ms, maker)

    def free_part(self, market: Market, order: Order, lots: int) -> None:
        """Unlock what ``lots`` of an open order held, which will not trade."""
        freed = lots * (order.price * market.rules.amount if order.buy else market.rules.lot)
        account_of_order(order).unlock(_paid_in(market, order), freed)
        order.locked -= freed

    def release(self, market: Market, order: Order) -> None:
        """Unlock whatever an order that ended still holds."""
        account = account_of_order(order)
        account.unlock(_paid_in(market, order), order.locked)
        account.updated_ms = order.updated_ms
        order.locked = 0


def _paid_in(market: Market, order: Order) -> str:
    return market.quote if order.buy else market.base
