"""The ladder: the reference book from the highest ask down to the lowest bid, own quotes beside it.

Each half runs outward from its touch. Where not everything fits, the touch stays, then own quotes from the
inside out; ``⋮`` stands for what is left out and for the unknown beyond the book's last level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise

from rich.text import Text

from mmctl.core.book import Book
from mmctl.core.order import CancelState, Layer, Order, Side, State
from mmctl.core.report import PairView
from mmctl.views import theme
from mmctl.views.theme import Line

LEGENDS = (
    "N near  F far  … in flight  ? unknown  x cancelling  ! crosses",
    "N near F far … sent ? unknown x cancel",
)  # the longest that fits is shown
_STATE_MARK = {State.IN_FLIGHT: "…", State.UNKNOWN: "?"}
_BAR = " ▏▎▍▌▋▊▉█"
_BAR_MAX = 24
_MARKS = 3
_WITH_HEADER = 6  # rows from which a line of column names is worth its place


@dataclass(slots=True)
class Row:
    """One price of one side: what the reference has there (``None``: nothing), and own orders."""

    price: Decimal
    size: Decimal | None = None
    own: list[Order] = field(default_factory=list)

    def has(self, layer: Layer) -> bool:
        return any(order.layer is layer for order in self.own)


@dataclass(frozen=True, slots=True)
class Gap:
    """Prices that are left out, and how many own orders with them."""

    own: int = 0


def ladder(view: PairView, width: int, height: int) -> Text:
    """The ladder of one pair in at most ``width`` columns and ``height`` rows."""
    return theme.as_text(theme.fit(line, width) for line in ladder_lines(view, width, height))


def ladder_lines(view: PairView, width: int, height: int) -> list[Line]:
    """As ``ladder``, in lines that may be set beside others."""
    asks, bids = rows_of(view, Side.SELL), rows_of(view, Side.BUY)
    header = height >= _WITH_HEADER
    room = max(0, height - 1 - header)
    whole_asks, whole_bids = (len(_with_gaps(rows, range(len(rows)))) for rows in (asks, bids))
    ask_room = min(whole_asks, max((room + 1) // 2, room - whole_bids))
    upper, lower = shown(asks, ask_room), shown(bids, room - ask_room)
    drawing = _Columns.of(view, upper + lower, width)
    lines = [drawing.header()] if header else []
    lines += [drawing.line(row, Side.SELL) for row in reversed(upper)]
    lines.append(drawing.middle())
    lines += [drawing.line(row, Side.BUY) for row in lower]
    return lines[:height]


def rows_of(view: PairView, side: Side) -> list[Row]:
    """The rows of one side from the innermost price outward."""
    rows: dict[Decimal, Row] = {}
    book = view.book
    if book is not None:
        for level in book.bids if side is Side.BUY else book.asks:
            price = book.price(level.price)
            rows[price] = Row(price, book.qty(level.qty))
    for order in view.orders:
        if order.side is side:
            price = view.instrument.price(order.price)
            rows.setdefault(price, Row(price)).own.append(order)
    return sorted(rows.values(), key=lambda row: row.price, reverse=side is Side.BUY)


def shown(rows: Sequence[Row], room: int) -> list[Row | Gap]:
    """The rows that fit ``room`` lines, by rank, with gaps where some are left out."""
    if room <= 0 or not rows:
        return []
    ranked = _ranked(rows, room)
    for count in range(min(room, len(rows)), 0, -1):
        lines = _with_gaps(rows, sorted(ranked[:count]))
        if len(lines) <= room:
            return lines
    return [rows[ranked[0]]]


def _ranked(rows: Sequence[Row], room: int) -> list[int]:
    """Indices by how much they matter: the touch, the first near and the first far quote, a third for the book's
    inside, own near, own far, the rest. That there is a ladder must not go unseen, and its gaps cost lines too.
    """
    touch = next((index for index, row in enumerate(rows) if row.size is not None), 0)
    near = [index for index, row in enumerate(rows) if row.has(Layer.NEAR)]
    far = [index for index, row in enumerate(rows) if row.has(Layer.FAR)]
    inside = range(min(len(rows), max(1, room // 3)))
    return list(dict.fromkeys([touch, *near[:1], *far[:1], *inside, *near, *far, *range(len(rows))]))


def _with_gaps(rows: Sequence[Row], kept: Sequence[int]) -> list[Row | Gap]:
    """``kept`` in order, and a gap where prices are missing; a gap of one row is that row, which is no longer (but at
    the book's end, where the unknown beyond it wants a gap of its own)."""
    book_end = max((index for index, row in enumerate(rows) if row.size is not None), default=-1)
    single = [
        before + 1
        for before, after in pairwise([*kept, len(rows)])
        if after == before + 2 and (before + 1 != book_end or after == len(rows))
    ]
    lines: list[Row | Gap] = []
    last = -1
    for index in sorted([*kept, *single]):
        left_out = rows[last + 1 : index]
        if left_out or last == book_end >= 0:
            lines.append(Gap(sum(len(row.own) for row in left_out)))
        lines.append(rows[index])
        last = index
    outside = sum(len(row.own) for row in rows[last + 1 :])
    return [*lines, Gap(outside)] if outside else lines


@dataclass(frozen=True, slots=True)
class _Columns:
    """Widths that are right for the rows shown, and the drawing of a row in them."""

    view: PairView
    width: int
    decimals: int
    price: int
    size: int
    bar: int
    own: int
    most: Decimal

    @classmethod
    def of(cls, view: PairView, lines: Sequence[Row | Gap], width: int) -> _Columns:
        rows = [row for row in lines if isinstance(row, Row)]
        decimals = max(view.instrument.price_decimals, view.book.price_decimals if view.book else 0)
        price = max([len("price"), *(len(f"{row.price:.{decimals}f}") for row in rows)])
        sizes = [row.size for row in rows if row.size is not None]
        owns = [own_qty(view, row) for row in rows if row.own]
        size = max([len("size"), *(len(f"{each:f}") for each in sizes)])
        own = max([len("own"), len("+99 more"), *(len(f"{each:f}") for each in owns)])
        left = width - price - len("  NF ") - 1 - _MARKS
        if size + own > left:  # too narrow for every digit: each gets its half, and numbers are shortened
            size, own = left - left // 2, left // 2
        bar = min(_BAR_MAX, left - size - own - 1)
        return cls(view, width, decimals, price, max(size, 1), max(bar, 0), max(own, 1), max(sizes, default=Decimal(0)))

    def header(self) -> Line:
        bar = " " * (self.bar + 1) if self.bar else ""
        return [(f"{'price':>{self.price}} {'size':>{self.size}}{bar}  {'':2} {'own':>{self.own}}", theme.FAINT)]

    def line(self, row: Row | Gap, side: Side) -> Line:
        if isinstance(row, Gap):
            more = f"+{row.own} more" if row.own else ""
            pad = self.size + (self.bar + 1 if self.bar else 0) + 6
            return [(f"{'⋮':>{self.price}}{'':{pad}}{more:>{self.own}}", theme.FAINT)]
        style = theme.SIDE[side]
        size = "" if row.size is None else theme.short(row.size, self.size)
        line: Line = [(f"{row.price:.{self.decimals}f}".rjust(self.price) + " ", style), (size.rjust(self.size), style)]
        if self.bar:
            line.append((" " + self._bar(row.size), style))
        if row.own:
            line.append(self._own(row, side))
        return line

    def _bar(self, size: Decimal | None) -> str:
        """A bar as long as its share of the largest size shown, to an eighth of a column."""
        eighths = int(size * self.bar * 8 / self.most) if size is not None and self.most else 0
        whole, part = divmod(eighths, 8)
        return ("█" * whole + (_BAR[part] if part else "")).ljust(self.bar)

    def _own(self, row: Row, side: Side) -> theme.Piece:
        layers = [layer for layer in Layer if row.has(layer)]
        tag = "".join(theme.LETTER[layer] for layer in layers)
        qty = theme.short(own_qty(self.view, row), self.own)
        marks = marks_of(row.own) + ("!" if crosses(self.view, row.price, side) else "")
        return f"  {tag:>2} {qty:>{self.own}} {marks}", theme.LAYER[layers[0]]

    def middle(self) -> Line:
        book = self.view.book
        style = theme.FAINT if book is not None and book.fault is None else theme.BAD
        return [(f"── {middle_text(book)} ".ljust(self.width, "─"), style)]


def own_qty(view: PairView, row: Row) -> Decimal:
    """What is left to fill of all own orders at a price."""
    lots = sum(order.remaining for order in row.own)
    return Decimal(view.instrument.qty_text(lots))


def marks_of(orders: Sequence[Order]) -> str:
    """In flight, unknown, being cancelled; nothing for orders that simply rest."""
    marks = [_STATE_MARK.get(order.state, "") for order in orders]
    marks += ["x" for order in orders if order.cancel is not CancelState.NONE]
    return "".join(dict.fromkeys(marks))


def crosses(view: PairView, price: Decimal, side: Side) -> bool:
    """Whether an own order at ``price`` meets the reference's opposite touch."""
    if view.book is None:
        return False
    touch = view.book.best_ask if side is Side.BUY else view.book.best_bid
    return touch is not None and (price >= touch if side is Side.BUY else price <= touch)


def middle_text(book: Book | None) -> str:
    """The spread, or what is wrong with the book."""
    if book is None:
        return "no book yet"
    if book.best_bid is None or book.best_ask is None:
        return book.fault or ""
    spread = book.best_ask - book.best_bid
    if spread <= 0:
        return f"CROSSED {spread:f}"
    return f"spread {spread:f} ({spread / book.best_ask * 10_000:.2f} bps)"
