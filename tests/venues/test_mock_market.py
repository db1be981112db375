"""Price-time priority of the mock market, as tables: own orders, then what the reference does, then the fills."""

from __future__ import annotations

from decimal import Decimal

import pytest

from mmctl.core.book import Book, Trade
from mmctl.core.order import Side
from mmctl.venues.mock_market import Match, MockMarket, MockOrder

from .harness import SYMBOL, book

D = Decimal
LOT = D("0.1")
BIDS = [("100", "5"), ("99", "8"), ("98", "3")]
ASKS = [("101", "5"), ("102", "8"), ("103", "3")]


def order(number: int, side: Side, price: str, qty: str) -> MockOrder:
    return MockOrder(number, SYMBOL, f"id{number}", str(number), side, D(price), D(qty), opened_at_s=0.0)


def market(*orders: MockOrder, bids: list[tuple[str, str]] = BIDS, asks: list[tuple[str, str]] = ASKS) -> MockMarket:
    """The orders rest in a market whose book has time stamp 1000."""
    made = MockMarket(LOT)
    made.observe(book(1000, bids, asks), ())
    for each in orders:
        made.rest(each)
    return made


def trade(price: str, qty: str, *, buyer_is_maker: bool, at_ms: int = 1500) -> Trade:
    return Trade(1, D(price), D(qty), buyer_is_maker, at_ms)


def texts(matches: list[Match]) -> list[tuple[int, str, str]]:
    return [(match.order.number, f"{match.price}", f"{match.qty.normalize():f}") for match in matches]


def moved(
    made: MockMarket,
    *,
    ts_ms: int = 2000,
    bids: list[tuple[str, str]] = BIDS,
    asks: list[tuple[str, str]] = ASKS,
    trades: tuple[Trade, ...] = (),
) -> list[tuple[int, str, str]]:
    return texts(made.observe(book(ts_ms, bids, asks), trades))


BUY, SELL = Side.BUY, Side.SELL


@pytest.mark.parametrize(
    ("orders", "bids", "asks", "fills"),
    [
        pytest.param([(BUY, "99", "2")], BIDS, ASKS, [], id="a touch above the price fills nothing"),
        pytest.param([(BUY, "99", "2")], [("98", "1")], [("99", "9")], [(1, "99", "2")], id="touch reaches the bid"),
        pytest.param([(BUY, "99", "2")], [("97", "1")], [("98", "9")], [(1, "99", "2")], id="crossed: at our price"),
        pytest.param(
            [(SELL, "102", "2")], [("102", "9")], [("104", "1")], [(1, "102", "2")], id="touch reaches the ask"
        ),
        pytest.param([(BUY, "99", "2")], [("98", "1")], [("99", "0.5")], [(1, "99", "0.5")], id="partial"),
        pytest.param([(BUY, "99", "2")], [("98", "1")], [("99", "0.57")], [(1, "99", "0.5")], id="whole lots only"),
        pytest.param([(BUY, "99", "2")], [("98", "1")], [("99", "0.05")], [], id="less than a lot"),
        pytest.param(
            [(BUY, "98.5", "2"), (BUY, "99", "2")],
            [("97", "1")],
            [("98.5", "3")],
            [(2, "99", "2"), (1, "98.5", "1")],
            id="the better price first",
        ),
        pytest.param(
            [(BUY, "99", "2"), (BUY, "99", "2")],
            [("97", "1")],
            [("99", "3")],
            [(1, "99", "2"), (2, "99", "1")],
            id="one price: by arrival",
        ),
        pytest.param(
            [(BUY, "99", "5")],
            [("97", "1")],
            [("98.5", "1"), ("99", "1.5"), ("99.01", "9")],
            [(1, "99", "1"), (1, "99", "1.5")],
            id="all levels within the price",
        ),
    ],
)
def test_the_opposite_touch_fills(
    orders: list[tuple[Side, str, str]],
    bids: list[tuple[str, str]],
    asks: list[tuple[str, str]],
    fills: list[tuple[int, str, str]],
) -> None:
    made = market(*(order(number, *each) for number, each in enumerate(orders, 1)))
    assert moved(made, bids=bids, asks=asks) == fills


@pytest.mark.parametrize(
    ("side", "price", "trades", "fills"),
    [
        pytest.param(BUY, "99", [trade("99", "8", buyer_is_maker=True)], [], id="only those ahead"),
        pytest.param(BUY, "99", [trade("99", "9", buyer_is_maker=True)], [(1, "99", "1")], id="those ahead, then us"),
        pytest.param(BUY, "99", [trade("99", "50", buyer_is_maker=False)], [], id="a buyer's trade fills no bid"),
        pytest.param(BUY, "99", [trade("98", "1.5", buyer_is_maker=True)], [(1, "99", "1.5")], id="through the price"),
        pytest.param(BUY, "99", [trade("100", "50", buyer_is_maker=True)], [], id="above the price"),
        pytest.param(BUY, "99.5", [trade("99.5", "1", buyer_is_maker=True)], [(1, "99.5", "1")], id="nobody ahead"),
        pytest.param(SELL, "102", [trade("102", "9", buyer_is_maker=False)], [(1, "102", "1")], id="asks alike"),
        pytest.param(SELL, "102", [trade("103", "9", buyer_is_maker=False)], [(1, "102", "2")], id="asks through"),
        pytest.param(
            BUY,
            "99",
            [trade("99", "7", buyer_is_maker=True), trade("99", "1.5", buyer_is_maker=True)],
            [(1, "99", "0.5")],
            id="trades add up",
        ),
        pytest.param(
            BUY, "99", [trade("98", "9", buyer_is_maker=True, at_ms=1000)], [], id="a trade from before we came"
        ),
    ],
)
def test_trades_move_the_queue_and_fill(
    side: Side, price: str, trades: list[Trade], fills: list[tuple[int, str, str]]
) -> None:
    made = market(order(1, side, price, "2"))
    assert moved(made, trades=tuple(trades)) == fills


def test_one_trade_passes_two_orders_and_the_reference_between_them() -> None:
    first, second = order(1, BUY, "99", "2"), order(2, BUY, "99", "2")
    made = market(first)
    moved(made, ts_ms=1100, bids=[("100", "5"), ("99", "10")])  # 2 more have joined behind the first
    made.rest(second)
    assert (first.ahead, second.ahead) == (D(8), D(10))
    # 8 ahead of both, 2 of the first, 2 between, 1 of the second
    assert moved(made, trades=(trade("99", "13", buyer_is_maker=True),)) == [(1, "99", "2"), (2, "99", "1")]


def test_a_shown_quantity_that_shrinks_below_what_was_ahead_moves_the_order_forward() -> None:
    mine = order(1, BUY, "99", "2")
    made = market(mine)
    moved(made, bids=[("100", "5"), ("99", "3")])
    assert mine.ahead == D(3)
    moved(made, ts_ms=2100, bids=[("100", "5"), ("99", "30")])
    assert mine.ahead == D(3), "who comes later stands behind"
    moved(made, ts_ms=2200, bids=[("100", "5"), ("98", "30")])
    assert mine.ahead == D(0)


def test_beyond_the_last_level_nobody_knows_who_is_ahead_until_it_shows() -> None:
    mine = order(1, BUY, "97", "2")
    made = market(mine)
    assert mine.ahead is None
    assert moved(made, trades=(trade("97", "50", buyer_is_maker=True),)) == []
    moved(made, ts_ms=2100, bids=[*BIDS, ("97", "4")])
    assert mine.ahead == D(4)


def test_liquidity_of_one_book_is_taken_once() -> None:
    made = market(order(1, BUY, "99", "10"))
    low = [("98", "1")]
    assert moved(made, bids=low, asks=[("99", "2")]) == [(1, "99", "2")]
    assert moved(made, bids=low, asks=[("99", "2")]) == []
    made.rest(order(2, BUY, "99", "10"))
    assert moved(made, bids=low, asks=[("99", "3")]) == [(1, "99", "1")], "only what it grew by"
    assert moved(made, ts_ms=2001, bids=low, asks=[("99", "3")]) == [(1, "99", "3")], "a new stamp is new liquidity"


def test_a_taker_gets_the_books_prices_and_takes_them_once() -> None:
    made = market()
    taker = order(1, BUY, "102", "7")
    assert texts(made.take(taker)) == [(1, "101", "5"), (1, "102", "2")]
    assert texts(made.take(order(2, BUY, "102", "7"))) == [(2, "102", "6")]
    assert texts(made.take(order(3, BUY, "102", "1"))) == []


@pytest.mark.parametrize(
    "unusable",
    [book(2000, [], []), book(2000, [], [("98", "9")]), book(2000, [("99", "9")], [("98", "9")])],
    ids=["empty", "one-sided", "crossed"],
)
def test_an_unusable_book_fills_nothing_and_nothing_is_judged_by_the_one_before(unusable: Book) -> None:
    mine = order(1, BUY, "99", "2")
    made = market(mine)
    assert made.observe(unusable, ()) == []
    assert mine.ahead == D(8), "it keeps its place"
    assert not made.meets_reference(BUY, D(200))
    assert made.take(order(2, BUY, "200", "1")) == []


def test_books_on_other_scales_compare_exactly() -> None:
    made = market(order(1, BUY, "99", "2"))
    assert moved(made, bids=[("98", "1")], asks=[("99.0000000001", "9")]) == []
    assert moved(made, ts_ms=2100, bids=[("98", "1")], asks=[("98.9999999999", "0.100000001")]) == [(1, "99", "0.1")]
