"""Values that the tests of the core start from: instruments, books, specs and orders, all made from text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, settings

from mmctl.core.book import Book, BookKey
from mmctl.core.instrument import Instrument
from mmctl.core.order import CancelState, Layer, Order, Quote, Side, State, TimeInForce, encode_own_id
from mmctl.core.spec import LayerSide, LayerSpec, PairSpec, Strategy

KEY = BookKey("binance_spot", "BTCUSDT")
TS_MS = 1_700_000_000_000

BTC = Instrument("BTCUSDT", "BTC", "USDT", Decimal("0.01"), Decimal("0.00001"))
COARSE = Instrument("COARSE", "CO", "USDT", Decimal("0.5"), Decimal("0.1"))


def examples(count: int) -> settings:
    """Settings of a property: the same examples in every run, and no clock in the verdict."""
    return settings(max_examples=count, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def book(bids: Iterable[tuple[str, str]], asks: Iterable[tuple[str, str]], ts_ms: int = TS_MS) -> Book:
    """A book of (price, quantity) texts."""
    return Book.of(
        KEY,
        ts_ms,
        [(Decimal(price), Decimal(qty)) for price, qty in bids],
        [(Decimal(price), Decimal(qty)) for price, qty in asks],
        "test",
    )


def layer_spec(layer: Layer = Layer.NEAR, strategy: Strategy = Strategy.MIRROR, **changes: Any) -> LayerSpec:
    """Five levels a side, without margin, minimum or a maximum that matters."""
    plain = LayerSpec(
        layer=layer,
        interval_s=1.0,
        quote_timeout_s=5.0,
        side=LayerSide.BOTH,
        time_in_force=TimeInForce.GTX,
        strategy=strategy,
        buy_margin_bps=Decimal(0),
        sell_margin_bps=Decimal(0),
        qty_multiplier=Decimal(1),
        ask_levels=5,
        bid_levels=5,
        max_amount=Decimal(10**9),
        min_qty=Decimal(0),
        min_amount=Decimal(0),
        diff_per_round_bps=Decimal(1),
        qty_tolerance=Decimal("0.5"),
        force_refresh_num=10,
    )
    return replace(plain, **{name: _decimal(plain, name, value) for name, value in changes.items()})


def _decimal(spec: LayerSpec, name: str, value: Any) -> Any:
    return Decimal(value) if isinstance(getattr(spec, name), Decimal) else value


def pair_spec(near: LayerSpec | None = None, far: LayerSpec | None = None, **changes: Any) -> PairSpec:
    plain = PairSpec(
        name="BTC-USDT",
        base="BTC",
        quote="USDT",
        symbol="BTCUSDT",
        venue="mock",
        account="main",
        follow=KEY,
        near=near,
        far=far,
        collar_bps=Decimal(1000),
        max_open_orders=200,
        frozen_after_s=30.0,
        seed=7,
    )
    return replace(plain, **changes)


def own_id(number: int, layer: Layer = Layer.NEAR, side: Side = Side.BUY) -> str:
    return encode_own_id(layer, side, 17, number)


def own(
    number: int,
    side: Side,
    price: int,
    qty: int = 10,
    layer: Layer = Layer.NEAR,
    state: State = State.OPEN,
    cancel: CancelState = CancelState.NONE,
    filled: int = 0,
) -> Order:
    """A live order; ``number`` makes its client order id."""
    return Order(
        own_id(number, layer, side), layer, side, price, qty, filled=filled, state=state, cancel=cancel, epoch=17
    )


def quote(side: Side, price: int, qty: int = 10, level: int = 1, layer: Layer = Layer.NEAR) -> Quote:
    return Quote(layer, side, price, qty, level)
