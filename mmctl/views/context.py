"""The context panel: whether a pair is quoted and why not, and what each layer did last.

The lines stand in order of importance, since a short terminal cuts them off at the bottom; blank lines
go first.
"""

from __future__ import annotations

import textwrap
from decimal import Decimal

from rich.text import Text

from mmctl.core.book import Book
from mmctl.core.instrument import plain
from mmctl.core.report import LayerView, PairView
from mmctl.views import theme
from mmctl.views.text import clean, seconds
from mmctl.views.theme import Line

_LABEL = 10
_COLUMN_MAX = 14
_STATUS_LINES, _FAULT_LINES = 7, 3  # the whole of why nothing is quoted, with its mend; a fault is told in the log too


def context(view: PairView, width: int, height: int) -> Text:
    """The panel of one pair in at most ``width`` columns and ``height`` rows."""
    return theme.as_text(theme.fit(line, width) for line in context_lines(view, width, height))


def context_lines(view: PairView, width: int, height: int) -> list[Line]:
    """As ``context``, in lines that may be set beside others."""
    blocks = (_state(view, width), _market(view, width), _layers(view, width), _totals(view))
    lines = [line for block in blocks for line in [*block, []]][:-1]
    if len(lines) > height:
        lines = [line for line in lines if line]
    return lines[:height]


def badge(mode: str) -> theme.Piece:
    """The mode, so that nobody takes a mock for the real thing, or the real thing for a mock."""
    return f" {mode.upper()} ", theme.ALARM if mode == "live" else theme.BADGE


def _state(view: PairView, width: int) -> list[Line]:
    """Quoting or why not, whose orders these are, and the last fault."""
    if view.quoting:
        lines: list[Line] = [[("QUOTING", theme.GOOD)]]
    else:
        lines = [[("NOT QUOTING", theme.ALARM)], *_wrapped(view.status, width, _STATUS_LINES)]
    lines.append([badge(view.mode), (f" {view.venue} {view.account}", theme.PLAIN)])
    if view.last_fault:
        lines += _wrapped(f"fault {view.faults}: {view.last_fault}", width, _FAULT_LINES)
    else:
        lines.append(_pair("faults", str(view.faults)))
    return lines


def _market(view: PairView, width: int) -> list[Line]:
    age = "no book yet" if view.age_ms is None else f"age {seconds(view.age_ms)}"
    return [
        _pair("book", f"{view.source}  {age}"),
        *_touch(view.book, width),
        _pair("position", f"{plain(view.position)} {view.instrument.base}"),
        _pair("orders", f"{len(view.orders)} own  {view.foreign} foreign"),
    ]


def _touch(book: Book | None, width: int) -> list[Line]:
    """The top bid and ask: on one line where it is wide enough."""
    bid, ask = touch_texts(book)
    if _LABEL + len(bid) + len(ask) + len("  /  ") <= width:
        return [_pair("bid / ask", f"{bid} / {ask}")]
    return [_pair("bid", bid), _pair("ask", ask)]


def touch_texts(book: Book | None) -> tuple[str, str]:
    """Top bid and top ask, ``-`` where there is none."""
    if book is None:
        return "-", "-"
    return _price(book.best_bid), _price(book.best_ask)


def _price(price: Decimal | None) -> str:
    return "-" if price is None else plain(price)


def _layers(view: PairView, width: int) -> list[Line]:
    """A column for each layer, then what each said last."""
    layers = sorted(view.layers, key=lambda each: view.layer_order.index(each.layer))
    if not layers:
        return []
    column = min(_COLUMN_MAX, max(1, (width - _LABEL) // len(layers)))
    lines: list[Line] = [[(" " * _LABEL, theme.PLAIN)]]
    for each in layers:
        lines[0].append((f"{_title(each):>{column}}", theme.LAYER[each.layer]))
    for label, cells in _table(layers):
        lines.append([(label.ljust(_LABEL), theme.FAINT), ("".join(cell.rjust(column) for cell in cells), theme.PLAIN)])
    return lines + [
        [(each.layer.value.ljust(_LABEL), theme.LAYER[each.layer]), (clean(each.status), theme.PLAIN)]
        for each in layers
    ]


def _title(layer: LayerView) -> str:
    return f"{theme.LETTER[layer.layer]} {layer.layer} {layer.interval_s:g}s"


def _table(layers: list[LayerView]) -> list[tuple[str, list[str]]]:
    return [
        ("previous", [f"{each.previous_asks}a {each.previous_bids}b" for each in layers]),
        ("rounds", [str(each.rounds) for each in layers]),
        ("unforced", [f"{each.rounds_since_refresh}/{each.force_refresh_num}" for each in layers]),
        ("keep", [str(each.keeps) for each in layers]),
        ("place", [str(each.places) for each in layers]),
        ("cancel", [str(each.cancels) for each in layers]),
        ("refused", [str(each.refused) for each in layers]),
    ]


def _totals(view: PairView) -> list[Line]:
    return [
        _pair("fills", f"{view.fills}  unknown {view.unknown}"),
        _pair("in all", f"placed {view.placed}  kept {view.kept}"),
        _pair("", f"cancelled {view.cancelled}  rejected {view.rejected}"),
    ]


def _pair(label: str, value: str) -> Line:
    return [(label.ljust(_LABEL), theme.FAINT), (value, theme.PLAIN)]


def _wrapped(message: str, width: int, most: int) -> list[Line]:
    lines = textwrap.wrap(clean(message), max(1, width), max_lines=most, placeholder=" …")
    return [[(line, theme.BAD)] for line in lines]
