"""Small values of the core by table: books, instruments, and the account's budget."""

from __future__ import annotations

from decimal import Decimal

import pytest
from core_samples import BTC, COARSE, KEY, TS_MS, book, quote

from mmctl.core.book import Book
from mmctl.core.budget import Budget
from mmctl.core.events import Balance
from mmctl.core.instrument import Instrument, plain
from mmctl.core.order import Side
from mmctl.core.risk import Room

D = Decimal


@pytest.mark.parametrize(
    ("value", "text"),
    [("8.12E-6", "0.00000812"), ("1E+3", "1000"), ("0", "0"), ("1.50", "1.50"), ("1E-8", "0.00000001")],
)
def test_text_of_a_number_never_has_an_exponent(value: str, text: str) -> None:
    assert plain(D(value)) == text


@pytest.mark.parametrize(
    ("tick", "lot", "price", "qty"),
    [
        ("0.00000001", "1", "0.00000812", "812"),
        ("0.01", "0.00001", "8.12", "0.00812"),
        ("0.5", "0.1", "406.0", "81.2"),
        ("10", "100", "8120", "81200"),
        ("1E-8", "1E+1", "0.00000812", "8120"),
    ],
)
def test_prices_and_quantities_have_the_decimals_of_tick_and_lot(tick: str, lot: str, price: str, qty: str) -> None:
    instrument = Instrument("X", "X", "Y", D(tick), D(lot))
    assert (instrument.price_text(812), instrument.qty_text(812)) == (price, qty)


@pytest.mark.parametrize(
    ("price", "bid", "ask"), [("100", 200, 200), ("100.1", 200, 201), ("100.49", 200, 201), ("100.5", 201, 201)]
)
def test_a_price_becomes_ticks_outward(price: str, bid: int, ask: int) -> None:
    assert (COARSE.ticks(D(price), Side.BUY), COARSE.ticks(D(price), Side.SELL)) == (bid, ask)


def test_quantities_become_lots_downward() -> None:
    assert [COARSE.lots(D(text)) for text in ("0.1", "0.19", "0.2", "0.09")] == [1, 1, 2, 0]


def test_an_amount_is_price_times_quantity() -> None:
    assert BTC.amount(10_000, 100_000) == BTC.price(10_000) * BTC.qty(100_000) == 100


@pytest.mark.parametrize("step", ["0", "-0.1"])
def test_an_instrument_without_a_step_is_refused(step: str) -> None:
    with pytest.raises(ValueError, match="above zero"):
        Instrument("X", "X", "Y", D(step), D(1))


def test_a_book_is_sorted_and_empty_levels_are_left_out() -> None:
    made = book([("99", "1"), ("100", "2"), ("98", "0")], [("103", "1"), ("101", "0.5"), ("102", "0.0")])
    assert [(made.price(level.price), made.qty(level.qty)) for level in made.bids] == [(100, 2), (99, 1)]
    assert [(made.price(level.price), made.qty(level.qty)) for level in made.asks] == [(101, D("0.5")), (103, 1)]
    assert (made.best_bid, made.best_ask, made.mid, made.fault) == (100, 101, D("100.5"), None)


def test_a_book_stays_exact_on_its_own_scale() -> None:
    made = book([("0.00000812", "123456789.123456789")], [("0.000008121", "1E+3")])
    assert made.price(made.bids[0].price) == D("0.00000812")
    assert made.qty(made.bids[0].qty) == D("123456789.123456789")
    assert made.qty(made.asks[0].qty) == 1000


@pytest.mark.parametrize(
    ("bids", "asks", "fault"),
    [
        ([], [], "empty"),
        ([], [("101", "1")], "no bids"),
        ([("100", "1")], [], "no asks"),
        ([("100", "0")], [("101", "1")], "no bids"),
        ([("101", "1")], [("101", "1")], "crossed"),
        ([("102", "1")], [("101", "1")], "crossed"),
    ],
)
def test_a_book_says_why_it_cannot_be_quoted_on(
    bids: list[tuple[str, str]], asks: list[tuple[str, str]], fault: str
) -> None:
    assert fault in str(book(bids, asks).fault)


@pytest.mark.parametrize(
    "bids",
    [
        [("0", "1")],
        [("-1", "1")],
        [("100", "-1")],
        [("NaN", "1")],
        [("100", "NaN")],
        [("sNaN", "1")],
        [("Infinity", "1")],
        [("100", "Infinity")],
        [("100", "1"), ("100.0", "2")],
        [("1E+100", "1")],
        [("1E-100", "1")],
    ],
    ids=lambda bids: str(bids[0]),
)
def test_a_book_that_makes_no_sense_is_refused(bids: list[tuple[str, str]]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        book(bids, [("101", "1")])


def test_a_book_can_be_made_empty() -> None:
    assert Book.of(KEY, TS_MS, [], [], "test").mid is None


# What an account can still place


def funded(base: str = "10", quote_free: str = "1000") -> Budget:
    budget = Budget()
    budget.update({"BTC": Balance(D(base), D(5)), "USDT": Balance(D(quote_free), D(0))}, 0.0, whole=True)
    return budget


def test_nothing_can_be_placed_before_the_balances_are_known() -> None:
    assert Budget().room(BTC, 0, 0, 10) == Room(10, 0, 0)
    assert not Budget().reserve("a", BTC, quote(Side.BUY, 1, 1))


def test_a_reservation_falls_with_its_order_and_not_before() -> None:
    budget = funded()
    assert budget.reserve("a", BTC, quote(Side.BUY, 10_000, 900_000))  # 9 at 100
    assert budget.free("USDT") == 100
    assert not budget.reserve("b", BTC, quote(Side.BUY, 10_000, 100_001))
    assert budget.reserve("c", BTC, quote(Side.SELL, 10_000, 1_000_000))
    assert budget.free("BTC") == 0
    budget.release("a")
    budget.release("a")
    assert budget.free("USDT") == 1000


def test_balances_told_after_the_acceptance_hold_its_lock() -> None:
    budget = funded()
    budget.reserve("a", BTC, quote(Side.BUY, 10_000, 900_000))
    budget.update({"USDT": Balance(D(1000), D(0))}, 1.0, whole=False)
    assert budget.free("USDT") == 100, "not accepted yet: the balance cannot hold it"
    budget.accepted("a", 2.0)
    budget.update({"USDT": Balance(D(1000), D(0))}, 1.5, whole=False)
    assert budget.free("USDT") == 100, "told before it was accepted"
    budget.update({"USDT": Balance(D(100), D(900))}, 2.5, whole=False)
    assert budget.free("USDT") == 100
    assert budget.free("BTC") == 10, "a change of one asset leaves the others"
    budget.update({"USDT": Balance(D(100), D(900))}, 3.0, whole=True)
    assert budget.free("BTC") == 0


@pytest.mark.parametrize(
    ("cap", "venue_cap", "own", "foreign", "orders"),
    [(10, None, 4, 3, 6), (10, 8, 4, 3, 1), (10, 5, 4, 3, 0), (3, None, 4, 0, 0), (10, 200, 4, 100, 6)],
)
def test_the_open_order_cap_counts_foreign_orders_against_the_venues_own(
    cap: int, venue_cap: int | None, own: int, foreign: int, orders: int
) -> None:
    instrument = Instrument("X", "BTC", "USDT", D("0.01"), D("0.00001"), max_open_orders=venue_cap)
    assert funded().room(instrument, own, foreign, cap).orders == orders


def test_room_is_counted_in_lots_and_ticks_times_lots() -> None:
    room = funded("0.123456", "0.99").room(BTC, 0, 0, 10)
    assert (room.base_lots, room.quote_units) == (12_345, 9_900_000)
