"""The engine: price goes before time, nothing is lost, and nobody trades with himself who does not want to."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmctl.sandbox.exchange import Exchange
from mmctl.sandbox.market import OrderAsked
from mmctl.sandbox.matching import Book, Order, same_owner
from mmctl.sandbox.options import KNOWN_SYMBOLS, MarketKind, SandboxOptions
from mmctl.sandbox.refusals import Refusal
from mmctl.sandbox.rules import STP_MODES

SPEC = KNOWN_SYMBOLS["BTCUSDT"]


class Owner:
    def __init__(self, trade_group: int = -1) -> None:
        self.trade_group = trade_group


A, B = Owner(), Owner()


class Table:
    """A book, what it told, and orders by number."""

    def __init__(self) -> None:
        self.fills: list[tuple[int, int, int, int]] = []
        self.prevented: list[tuple[int, int, int, int]] = []
        self.book = Book(self._fill, self._prevent)
        self.orders: list[Order] = []

    def _fill(self, taker: Order, maker: Order, price: int, lots: int) -> None:
        self.fills.append((taker.order_id, maker.order_id, price, lots))

    def _prevent(self, taker: Order, maker: Order, price: int, takes: int, makes: int) -> None:
        self.prevented.append((taker.order_id, maker.order_id, takes, makes))

    def place(self, owner: Owner, side: str, price: int, qty: int, stp: str = "NONE") -> Order:
        order = Order(owner, len(self.orders), "", buy=side == "BUY", price=price, qty=qty, stp=stp)
        self.orders.append(order)
        self.book.place(order, rest=True)
        return order


def test_the_best_price_goes_first_and_at_one_price_the_oldest() -> None:
    table = Table()
    for price, qty in ((101, 2), (100, 3), (100, 4)):
        table.place(A, "SELL", price, qty)
    taker = table.place(B, "BUY", 101, 8)
    assert table.fills == [(3, 1, 100, 3), (3, 2, 100, 4), (3, 0, 101, 1)]
    assert (taker.status, taker.quote) == ("FILLED", 3 * 100 + 4 * 100 + 101)


def test_the_makers_price_counts_and_the_rest_rests() -> None:
    table = Table()
    table.place(A, "BUY", 100, 1)
    taker = table.place(B, "SELL", 90, 3)
    assert table.fills == [(1, 0, 100, 1)]
    assert (taker.status, taker.left) == ("PARTIALLY_FILLED", 2)
    best = table.book.asks.best()
    assert best is not None
    assert (best.price, best.total) == (90, 2)


@pytest.mark.parametrize(
    ("mode", "taker", "maker"),
    [
        ("EXPIRE_TAKER", ("EXPIRED_IN_MATCH", 5, 0), ("NEW", 0, 3)),
        ("EXPIRE_MAKER", ("NEW", 0, 5), ("EXPIRED_IN_MATCH", 3, 0)),
        ("EXPIRE_BOTH", ("EXPIRED_IN_MATCH", 5, 0), ("EXPIRED_IN_MATCH", 3, 0)),
        ("DECREMENT", ("NEW", 3, 2), ("EXPIRED_IN_MATCH", 3, 0)),
        ("NONE", ("PARTIALLY_FILLED", 0, 2), ("FILLED", 0, 0)),
    ],
)
def test_self_trade_prevention(mode: str, taker: tuple[str, int, int], maker: tuple[str, int, int]) -> None:
    table = Table()
    table.place(A, "SELL", 100, 3)
    table.place(A, "BUY", 100, 5, mode)
    assert [(one.status.value, one.prevented, one.left) for one in table.orders] == [maker, taker]


def test_one_trade_group_counts_as_one_owner() -> None:
    table = Table()
    table.place(Owner(7), "SELL", 100, 3)
    taker = table.place(Owner(7), "BUY", 100, 3, "EXPIRE_TAKER")
    assert taker.status == "EXPIRED_IN_MATCH"
    assert not table.fills


steps = st.lists(
    st.tuples(
        st.sampled_from(["BUY", "SELL"]),
        st.integers(95, 105),
        st.integers(1, 9),
        st.sampled_from([A, B]),
        st.sampled_from(STP_MODES),
        st.integers(0, 40) | st.none(),
    ),
    max_size=40,
)


@given(steps)
def test_never_crossed_and_in_order_of_price_and_time(todo: list[tuple[str, int, int, Owner, str, int | None]]) -> None:
    table = Table()
    for side, price, qty, owner, stp, cancel in todo:
        at = len(table.fills)
        taker = table.place(owner, side, price, qty, stp)
        made = [(fill[2] if side == "BUY" else -fill[2], fill[1]) for fill in table.fills[at:]]
        assert made == sorted(made), "a worse price or a younger order went first"
        assert all(fill[2] <= price if side == "BUY" else fill[2] >= price for fill in table.fills[at:])
        if stp != "NONE":
            assert not any(same_owner(taker.account, table.orders[fill[1]].account) for fill in table.fills[at:])
        if cancel is not None and cancel < len(table.orders):
            order = table.orders[cancel]
            half = table.book.half(buy=order.buy)
            if order.is_open and order.price in half.levels and order.order_id in half.levels[order.price].queue:
                table.book.remove(order)
        bid, ask = table.book.bids.best(), table.book.asks.best()
        assert bid is None or ask is None or bid.price < ask.price
        for half in (table.book.bids, table.book.asks):
            assert half.keys == sorted(half.keys)
            assert len(half.keys) == len(half.levels)
            for level in half.levels.values():
                assert level.total == sum(order.left for order in level.queue.values()) > 0
                assert all(order.is_open for order in level.queue.values())
    assert all(one.executed + one.prevented + one.left == one.qty and one.left >= 0 for one in table.orders)


moves = st.lists(
    st.tuples(
        st.sampled_from(["main", "second", "others"]),
        st.booleans(),
        st.integers(-40, 40),
        st.integers(1, 5_000),
        st.sampled_from(["LIMIT", "LIMIT", "LIMIT_MAKER", "MARKET"]),
        st.sampled_from(["GTC", "GTC", "IOC", "FOK"]),
        st.sampled_from(STP_MODES),
        st.booleans(),
    ),
    max_size=40,
)


@settings(max_examples=150)
@given(moves)
def test_no_money_comes_or_goes(
    todo: list[tuple[str, bool, int, int, str, str, str, bool]],
) -> None:
    exchange = Exchange(SandboxOptions(market=MarketKind.EMPTY, taker_fee_bps=Decimal("7.5")))
    market = exchange.market("BTCUSDT")
    before = wealth(exchange)
    for name, buy, away, lots, kind, tif, stp, cancels in todo:
        price = market.average + away
        if name == "others":
            exchange.place_other(market, buy=buy, price=price, lots=lots, rest=tif == "GTC")
            continue
        account = exchange.accounts[name]
        if kind == "MARKET":
            price = 0
        asked = OrderAsked("", buy, kind, tif if kind == "LIMIT" else "GTC", price, lots, stp=stp)
        asked.client_id = f"id{len(account.ended)}-{len(account.orders)}-{exchange.counters.placed}"
        try:
            exchange.place(account, market, asked)
        except Refusal:
            continue
        finally:
            check_money(exchange, before)
        if cancels and account.orders:
            exchange.cancel(account, market, next(iter(account.orders.values())), "cancel")
    check_money(exchange, before)
    for account in exchange.accounts.values():
        for order in list(account.orders.values()):
            exchange.cancel(account, market, order, "cancel")
        assert set(account.locked.values()) == {0}


def wealth(exchange: Exchange) -> Counter[str]:
    total = Counter(exchange.purse.fees)
    for account in (*exchange.accounts.values(), exchange.others):
        for asset, free in account.free.items():
            total[asset] += free + account.locked.get(asset, 0)
    return total


def check_money(exchange: Exchange, before: Counter[str]) -> None:
    assert {k: v for k, v in wealth(exchange).items() if v} == {k: v for k, v in before.items() if v}
    for account in exchange.accounts.values():
        assert min(account.free.values()) >= 0
        assert min(account.locked.values()) >= 0
        held: Counter[str] = Counter()
        for order in account.orders.values():
            held["USDT" if order.buy else "BTC"] += order.locked
        assert {k: v for k, v in account.locked.items() if v} == {k: v for k, v in held.items() if v}
