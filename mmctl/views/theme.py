"""How the live view looks: every style of it, and lines made of styled pieces.

The colours are close to Okabe and Ito's, which stay apart for colour-blind eyes (blue bids, orange asks; green
near, purple far), and they stay apart where a terminal has only sixteen. None of them says anything that a
letter, a mark or a place on the screen does not say too, so the view reads the same without colour. Lines are
put together here and become one ``Text`` at the end: that renders in a tenth of the time that a table takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from rich.cells import cell_len, set_cell_size
from rich.style import Style
from rich.text import Span, Text

from mmctl.core.order import Layer, Side

PLAIN = Style.null()
FAINT = Style(dim=True)
STRONG = Style(bold=True)
GOOD = Style(bold=True, color="#00A050")
BAD = Style(bold=True, color="#D55E00")
ALARM = Style(bold=True, reverse=True, color="#D55E00")
BADGE = Style(bold=True, reverse=True)
ADDED, REMOVED, KEPT = Style(color="#00A050"), Style(color="#D55E00"), FAINT
SIDE = {Side.BUY: Style(color="#5599EE"), Side.SELL: Style(color="#E69F00")}
LAYER = {Layer.NEAR: Style(bold=True, color="#00A050"), Layer.FAR: Style(color="#D070C0")}
LETTER = {Layer.NEAR: "N", Layer.FAR: "F"}

_UNITS = ((0, ""), (3, "k"), (6, "M"), (9, "G"), (12, "T"))

Piece = tuple[str, Style]
Line = list[Piece]


def width_of(text: str) -> int:
    """Columns that ``text`` takes on a terminal."""
    return len(text) if text.isascii() else cell_len(text)


def crop(text: str, width: int) -> str:
    """``text`` in at most ``width`` columns; ``…`` says that some of it is left out."""
    if width_of(text) <= width:
        return text
    return set_cell_size(text, width - 1).rstrip() + "…" if width > 0 else ""


def short(value: Decimal, width: int) -> str:
    """``value`` with as many decimals as fit ``width``, then in thousands, millions and so on.

    A number is never cut: one that fits no way is ``#``, and one too small for the decimals left is ``~0``.
    """
    text = f"{value:f}"
    if len(text) <= width:
        return text
    for power, unit in _UNITS:
        scaled = value.scaleb(-power)
        for decimals in range(width, -1, -1):
            text = f"{scaled:.{decimals}f}"
            if len(text) + len(unit) <= width:
                return text + unit if Decimal(text) else "~0"
    return "#" * width


def fit(line: Line, width: int) -> Line:
    """``line`` in exactly ``width`` columns."""
    fitted: Line = []
    room = width
    for text, style in line:
        if room <= 0:
            break
        text = crop(text, room)
        room -= width_of(text)
        fitted.append((text, style))
    if room > 0:
        fitted.append((" " * room, PLAIN))
    return fitted


def fit_all(lines: Sequence[Line], width: int, height: int) -> list[Line]:
    """Exactly ``height`` lines of exactly ``width`` columns."""
    shown = [fit(line, width) for line in lines[:height]]
    return shown + [fit([], width)] * (height - len(shown))


def as_text(lines: Iterable[Line]) -> Text:
    """All lines as one ``Text`` that never wraps."""
    pieces: list[str] = []
    spans: list[Span] = []
    at = 0
    for number, line in enumerate(lines):
        if number:
            pieces.append("\n")
            at += 1
        for text, style in line:
            if style:
                spans.append(Span(at, at + len(text), style))
            pieces.append(text)
            at += len(text)
    return Text("".join(pieces), spans=spans, no_wrap=True, overflow="crop", end="")
