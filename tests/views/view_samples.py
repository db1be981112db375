"""Values that the tests of the views draw, and how they are drawn: a console of a fixed size, no file, no clock."""

from __future__ import annotations

import io
from dataclasses import replace
from decimal import Decimal

from rich.console import Console
from rich.text import Text

from mmctl.core.book import Book, BookKey
from mmctl.core.instrument import Instrument
from mmctl.core.order import CancelState, Layer, Order, Side, State, encode_own_id
from mmctl.core.report import LayerView, PairView

BTC = Instrument("BTCUSDT", "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"))
SHIB = Instrument("SHIBUSDT", "SHIB", "USDT", Decimal("0.00000001"), Decimal("1"))
TS_MS = 1_700_000_000_123
MID = 6_183_764  # ticks: the best ask; the best bid is one tick lower


def own(layer: Layer, side: Side, price: int, qty: int, number: int = 1, **changes: object) -> Order:
    order = Order(encode_own_id(layer, side, 17, number), layer, side, price, qty, state=State.OPEN, order_id=None)
    return replace(order, **changes)  # type: ignore[arg-type]


def book(levels: int = 3, gap: int = 1, mid: int = MID) -> Book:
    """A book of ``levels`` a side, ``gap`` ticks apart; each level is larger than the one inside it."""
    return Book.of(
        BookKey("BINANCE", "BTCUSDT"),
        TS_MS,
        [(Decimal(mid - 1 - k * gap) / 100, Decimal(k + 1) / 2) for k in range(levels)],
        [(Decimal(mid + k * gap) / 100, Decimal(k + 1) / 2) for k in range(levels)],
        "mock",
    )


SMALL_ORDERS = (
    own(Layer.NEAR, Side.SELL, MID, 1_000, 1),
    own(Layer.NEAR, Side.SELL, MID + 5, 2_000, 2, state=State.IN_FLIGHT),
    own(Layer.FAR, Side.SELL, MID + 30_000, 50_000, 3),
    own(Layer.NEAR, Side.BUY, MID - 1, 1_000, 4, state=State.UNKNOWN),
    own(Layer.FAR, Side.BUY, MID - 1, 500, 5, cancel=CancelState.SENT),
    own(Layer.FAR, Side.BUY, MID - 30_000, 50_000, 6, filled=20_000),
)


def layer_view(layer: Layer = Layer.NEAR, interval_s: float = 1.0) -> LayerView:
    return LayerView(layer, interval_s, 12, 2, 1, 3, 10, 8, 2, 2, 1, "placed 2 cancelled 2")


def pair_view(**changes: object) -> PairView:
    view = PairView(
        pair="BTC-USDT",
        venue="mock",
        account="main",
        mode="mock",
        source="mock",
        instrument=BTC,
        book=book(),
        age_ms=120.0,
        status="quoting",
        quoting=True,
        orders=SMALL_ORDERS,
        layers=(layer_view(), layer_view(Layer.FAR, 10.0)),
        kept=180,
        placed=24,
        cancelled=22,
        rejected=0,
        fills=1,
        faults=0,
        unknown=1,
        foreign=2,
        position=Decimal("0.01234"),
        last_fault="",
        elapsed_ms=734_000.0,
    )
    return replace(view, **changes)  # type: ignore[arg-type]


def drawn(text: Text, width: int, height: int, **options: object) -> str:
    """What a terminal of this size is sent; without options, no styles at all."""
    settings = {"color_system": None, **options}
    file = io.StringIO()
    console = Console(file=file, width=width, height=height, force_terminal=True, **settings)  # type: ignore[arg-type]
    console.print(text)
    return file.getvalue()


def rows(text: Text, width: int, height: int) -> list[str]:
    """The drawn lines without the blanks at their ends."""
    return [line.rstrip() for line in drawn(text, width, height).removesuffix("\n").split("\n")]
