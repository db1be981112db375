"""The ladder: one text that fits, keeps the touch, and tells near from far by letter."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from view_samples import BTC, MID, SHIB, book, drawn, own, pair_view, rows

from mmctl.core.book import Book, BookKey
from mmctl.core.order import LIVE, CancelState, Layer, Order, Side, State
from mmctl.core.report import PairView
from mmctl.views import theme
from mmctl.views.ladder import Gap, Row, ladder, rows_of, shown

LOW = """\
   price size                         own
62137.64                       F  0.50000
61837.69                       N  0.02000 …
       ⋮
61837.64  0.5 ██████████████   N  0.01000
── spread 0.01 (0.00 bps) ──────────────────
61837.63  0.5 ██████████████  NF  0.01500 ?x
       ⋮
61537.64                       F  0.30000"""

NARROW = """\
   price size                         own
62137.64                       F  0.50000
61837.69                       N  0.02000 …
       ⋮
61837.66  1.5 ██████████████
61837.65  1.0 █████████▎
61837.64  0.5 ████▋            N  0.01000
── spread 0.01 (0.00 bps) ──────────────────
61837.63  0.5 ████▋           NF  0.01500 ?x
61837.62  1.0 █████████▎
61837.61  1.5 ██████████████
       ⋮
61537.64                       F  0.30000"""

WIDE = """\
   price size                                   own
62137.64                                 F  0.50000
61837.69                                 N  0.02000 …
       ⋮
61837.66  1.5 ████████████████████████
61837.65  1.0 ████████████████
61837.64  0.5 ████████                   N  0.01000
── spread 0.01 (0.00 bps) ──────────────────────────────────
61837.63  0.5 ████████                  NF  0.01500 ?x
61837.62  1.0 ████████████████
61837.61  1.5 ████████████████████████
       ⋮
61537.64                                 F  0.30000"""


@pytest.mark.parametrize(("width", "height", "expected"), [(44, 9, LOW), (44, 20, NARROW), (60, 20, WIDE)])
def test_a_small_ladder(width: int, height: int, expected: str) -> None:
    assert rows(ladder(pair_view(), width, height), width, height) == expected.splitlines()


def prices(lines: list[str]) -> list[Decimal]:
    return [Decimal(found[0]) for line in lines if (found := re.match(r" *(\d+\.\d+)", line))]


def test_the_same_price_is_one_row_with_both_letters() -> None:
    touch = next(line for line in rows(ladder(pair_view(), 44, 20), 44, 20) if line.startswith("61837.63"))
    assert touch.split()[-3:] == ["NF", "0.01500", "?x"]


MARKS = [
    ({"state": State.OPEN}, ""),
    ({"state": State.IN_FLIGHT}, "…"),
    ({"state": State.UNKNOWN}, "?"),
    ({"cancel": CancelState.SENT}, "x"),
    ({"state": State.UNKNOWN, "cancel": CancelState.UNKNOWN}, "?x"),
]


@pytest.mark.parametrize(("changes", "mark"), MARKS)
def test_marks(changes: dict[str, object], mark: str) -> None:
    view = pair_view(orders=(own(Layer.NEAR, Side.BUY, MID - 50, 1_000, **changes),))
    line = next(line for line in rows(ladder(view, 44, 20), 44, 20) if line.startswith("61837.14"))
    assert line.split("N ")[1].split() == ["0.01000", *([mark] if mark else [])]


@pytest.mark.parametrize(("side", "price"), [(Side.BUY, MID), (Side.SELL, MID - 1)])
def test_an_own_order_that_meets_the_opposite_touch_is_marked(side: Side, price: int) -> None:
    lines = rows(ladder(pair_view(orders=(own(Layer.NEAR, side, price, 1_000),)), 44, 20), 44, 20)
    assert sum(line.endswith("!") for line in lines) == 1


KEY = BookKey("BINANCE", "BTCUSDT")
ONE = Decimal(1)
MIDDLES = [
    (None, "── no book yet ─"),
    (Book.of(KEY, 1, [], [], "mock"), "── the book is empty ─"),
    (Book.of(KEY, 1, [(ONE, ONE)], [], "mock"), "── the book is one-sided: it has no asks ─"),
    (Book.of(KEY, 1, [(ONE, ONE)], [(ONE, ONE)], "mock"), "── CROSSED 0 ─"),
    (Book.of(KEY, 1, [(ONE, ONE)], [(Decimal("1.001"), ONE)], "mock"), "── spread 0.001 (9.99 bps) ─"),
]


@pytest.mark.parametrize(("shown_book", "middle"), MIDDLES)
def test_the_middle_line_says_what_the_book_is(shown_book: Book | None, middle: str) -> None:
    lines = rows(ladder(pair_view(book=shown_book, orders=()), 60, 12), 60, 12)
    assert any(line.startswith(middle) for line in lines)


def test_small_prices_and_large_quantities_are_never_in_exponent_form_or_cut() -> None:
    tiny = Book.of(KEY, 1, [(Decimal("0.00000812"), Decimal(1_234_567))], [(Decimal("0.00000813"), ONE)], "mock")
    view = pair_view(instrument=SHIB, book=tiny, orders=(own(Layer.NEAR, Side.BUY, 812, 123_456_789_012),))
    lines = rows(ladder(view, 44, 9), 44, 9)
    assert lines[1].split()[:2] == ["0.00000813", "1"]
    assert lines[3].split()[:2] == ["0.00000812", "1234567"]
    assert lines[3].split()[-2:] == ["N", "123456789012"]


SHORT = [
    ("123.456", 7, "123.456"),
    ("123.456", 5, "123.5"),
    ("123456.789", 6, "123457"),
    ("123456.789", 5, "123k"),
    ("999999.9", 5, "1000k"),
    ("1234567890", 4, "1.2G"),
    ("0.00001", 4, "~0"),
    ("99999999999999999999", 3, "###"),
]


@pytest.mark.parametrize(("value", "width", "text"), SHORT)
def test_short_numbers_lose_decimals_and_never_digits(value: str, width: int, text: str) -> None:
    assert theme.short(Decimal(value), width) == text


WORDS = [("abc", 3, "abc"), ("abcd", 3, "ab…"), ("漢字漢字", 5, "漢字…"), ("漢字漢字", 4, "漢…"), ("abc", 0, "")]


@pytest.mark.parametrize(("text", "width", "cropped"), WORDS)
def test_cropping_counts_columns(text: str, width: int, cropped: str) -> None:
    assert theme.crop(text, width) == cropped


@st.composite
def views(draw: st.DrawFn) -> PairView:
    levels, gap = draw(st.integers(0, 30)), draw(st.integers(1, 50))
    orders: list[Order] = []
    for number in range(draw(st.integers(0, 40))):
        side = draw(st.sampled_from(Side))
        away = draw(st.integers(0, 2_000))
        price = MID - 1 - away if side is Side.BUY else MID + away
        changes = {"state": draw(st.sampled_from(sorted(LIVE))), "cancel": draw(st.sampled_from(CancelState))}
        layer = draw(st.sampled_from(Layer))
        orders.append(own(layer, side, price, draw(st.integers(1, 10**9)), number, **changes))
    return pair_view(book=book(levels, gap), orders=tuple(orders))


@settings(deadline=None, max_examples=150)
@given(views(), st.integers(1, 110), st.integers(1, 60))
def test_a_ladder_fits_and_its_prices_descend(view: PairView, width: int, height: int) -> None:
    text = ladder(view, width, height)
    assert drawn(text, width, height) == text.plain + "\n"
    lines = text.plain.split("\n")
    assert len(lines) <= height
    assert all(cell_len(line) == width for line in lines)
    if width >= 44:
        drawn_prices = prices(lines)
        assert drawn_prices == sorted(set(drawn_prices), reverse=True)


@settings(deadline=None, max_examples=150)
@given(views(), st.sampled_from([44, 68]), st.integers(4, 60))
def test_the_touch_is_always_visible_with_all_own_orders_on_it(view: PairView, width: int, height: int) -> None:
    lines = ladder(view, width, height).plain.split("\n")
    assert view.book is not None
    for side, touch in ((Side.BUY, view.book.best_bid), (Side.SELL, view.book.best_ask)):
        if touch is None:
            continue
        line = next(line for line in lines if line.lstrip().startswith(f"{touch:.2f}"))
        mine = [order for order in view.orders if order.side is side and BTC.price(order.price) == touch]
        letters = "".join(letter for layer, letter in theme.LETTER.items() if any(o.layer is layer for o in mine))
        assert "".join(re.findall("[NF]", line)) == letters
        if mine:
            assert f"{BTC.qty_text(sum(order.remaining for order in mine))}" in line


@settings(deadline=None, max_examples=100)
@given(views(), st.integers(12, 60))
def test_no_own_order_goes_unseen_or_uncounted(view: PairView, height: int) -> None:
    """Each is on a row of its price, or among those that a gap counts."""
    lines = ladder(view, 68, height).plain.split("\n")
    drawn_prices = set(prices(lines))
    on_rows = sum(BTC.price(order.price) in drawn_prices for order in view.orders)
    in_gaps = sum(int(found[1]) for line in lines if (found := re.search(r"\+(\d+) more", line)))
    assert on_rows + in_gaps == len(view.orders)


@settings(deadline=None, max_examples=100)
@given(views(), st.sampled_from(Side), st.integers(2, 40))
def test_no_gap_hides_a_single_row_that_would_take_no_more_room(view: PairView, side: Side, room: int) -> None:
    """But the book's last row would: a gap follows it for what is unknown beyond."""
    whole = rows_of(view, side)
    book_end = max((index for index, row in enumerate(whole) if row.size is not None), default=-1)
    drawn_rows = shown(whole, room)
    for before, gap, after in zip(drawn_rows, drawn_rows[1:], drawn_rows[2:], strict=False):
        if isinstance(gap, Gap) and isinstance(before, Row) and isinstance(after, Row):
            assert whole.index(after) - whole.index(before) != 2 or whole.index(before) + 1 == book_end


def test_both_ladders_show_where_the_book_ends_before_them() -> None:
    """Two levels of the book, two far rows, two near rows: six lines are enough to show one of each."""

    def mine(layer: Layer, price: str) -> Row:
        order = Order("", layer, Side.BUY, 1, 1, state=State.OPEN)
        return Row(Decimal(price), None, [order])

    book = [Row(Decimal("9"), Decimal(1)), Row(Decimal("8"), Decimal(1))]
    own = [mine(Layer.FAR, "7"), mine(Layer.FAR, "6"), mine(Layer.NEAR, "5"), mine(Layer.NEAR, "4")]
    drawn_rows = [row for row in shown([*book, *own], 6) if isinstance(row, Row)]
    assert {order.layer for row in drawn_rows for order in row.own} == set(Layer)


@settings(deadline=None, max_examples=100)
@given(views(), st.integers(14, 60))
def test_a_layer_with_orders_shows_its_letter(view: PairView, height: int) -> None:
    lines = ladder(view, 68, height).plain.split("\n")
    for side in Side:
        for layer in Layer:
            if any(order.layer is layer and order.side is side for order in view.orders):
                assert any(re.search(rf" [NF]?{theme.LETTER[layer]}[F]? ", line) for line in lines)


def test_without_colour_the_same_letters_and_no_colour_codes() -> None:
    text = ladder(pair_view(), 44, 20)
    plain = drawn(text, 44, 20, color_system="truecolor", no_color=True)
    coloured = drawn(text, 44, 20, color_system="truecolor")
    codes = [code for sequence in re.findall(r"\x1b\[([\d;]*)m", plain) for code in sequence.split(";")]
    assert not [code for code in codes if code.isdigit() and 30 <= int(code) <= 107]
    assert re.sub(r"\x1b\[[\d;]*m", "", plain) == re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert "38;2;" in coloured


@pytest.mark.parametrize("system", ["standard", "256", "truecolor"])
def test_sides_and_layers_have_four_colours_on_every_terminal(system: str) -> None:
    """Bold or not may not be what tells two of them apart."""
    styles = [*theme.SIDE.values(), *theme.LAYER.values()]
    text = theme.as_text([[("#", theme.Style(color=style.color))] for style in styles])
    codes = re.findall(r"\x1b\[([\d;]*)m#", drawn(text, 10, 4, color_system=system))
    assert len(set(codes)) == 4
