"""The limits of a live pair: position, rate of fills, and the basis."""

from __future__ import annotations

from decimal import Decimal

import pytest
from core_samples import BTC, own_id
from hypothesis import given
from hypothesis import strategies as st

from mmctl.core.limits import WINDOW_S, FillRate, LiveLimits, basis_bps, exposure_room
from mmctl.core.order import Layer, Order, Quote, Side, State
from mmctl.core.plan import Policy, plan
from mmctl.core.risk import Room

LIMITS = LiveLimits(max_position=Decimal("0.001"), max_fills_per_min=3, max_basis_bps=Decimal(50))


def order(number: int, side: Side, qty: int, state: State = State.OPEN, filled: int = 0) -> Order:
    return Order(own_id(number), Layer.NEAR, side, 100 if side is Side.BUY else 200, qty, filled, state)


@pytest.mark.parametrize(
    ("position", "live", "buy", "sell"),
    [
        (Decimal(0), [], 100, 100),
        (Decimal("0.0004"), [], 60, 140),
        (Decimal("-0.0004"), [], 140, 60),
        (Decimal("0.002"), [], 0, 300),
        (Decimal(0), [order(1, Side.BUY, 30)], 70, 100),
        (Decimal(0), [order(1, Side.BUY, 30, State.UNKNOWN), order(2, Side.SELL, 20, State.IN_FLIGHT)], 70, 80),
        (Decimal(0), [order(1, Side.BUY, 30, filled=10)], 80, 100),
        (Decimal(0), [order(1, Side.BUY, 500)], 0, 100),
    ],
)
def test_every_live_order_counts_as_filled(position: Decimal, live: list[Order], buy: int, sell: int) -> None:
    assert exposure_room(LIMITS, position, live, BTC) == {Side.BUY: buy, Side.SELL: sell}


@given(st.lists(st.integers(1, 60), max_size=8), st.integers(-150, 150))
def test_whatever_fills_the_position_stays_within_its_limit(sizes: list[int], lots: int) -> None:
    position = Decimal(lots) * BTC.lot_size
    room = exposure_room(LIMITS, position, [], BTC)
    target = [Quote(Layer.NEAR, Side.BUY, 100 - n, size, n + 1) for n, size in enumerate(sizes)]
    policy = Policy(
        layer=Layer.NEAR,
        diff_bps=Decimal(1),
        tolerance=Decimal("0.5"),
        max_units=10**9,
        ladder_asks=10,
        ladder_bids=10,
        room=Room(buy_lots=room[Side.BUY], sell_lots=room[Side.SELL]),
    )
    made = plan(target, [], policy)
    bought = sum(quote.qty for quote in made.place)
    assert not made.place or position + bought * BTC.lot_size <= LIMITS.max_position
    assert {one.reason for one in made.wait} <= {"max_position"}


def test_one_fill_too_many_within_a_minute_is_told() -> None:
    rate = FillRate(3)
    assert [rate.note(at_s) for at_s in (0.0, 10.0, 20.0, 59.9)] == [False, False, False, True]


def test_fills_spread_over_more_than_a_minute_are_not() -> None:
    rate = FillRate(3)
    assert not any(rate.note(at_s) for at_s in (0.0, 10.0, 20.0, WINDOW_S, WINDOW_S + 10.0, WINDOW_S + 20.0))


def test_the_basis_has_no_sign() -> None:
    assert basis_bps(Decimal(101), Decimal(100)) == basis_bps(Decimal(99), Decimal(100)) == 100
