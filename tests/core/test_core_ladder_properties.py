"""Any ladder against a slow oracle in fractions, and what holds for every quote whatever the book."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from math import ceil, floor

from core_samples import KEY, TS_MS, examples, layer_spec, own, pair_spec
from hypothesis import given
from hypothesis import strategies as st

from mmctl.core.book import Book
from mmctl.core.decide import PairDecider
from mmctl.core.instrument import Instrument
from mmctl.core.ladder import LayerQuoter
from mmctl.core.order import Layer, Quote, Side
from mmctl.core.own import without_own
from mmctl.core.risk import UNBOUNDED
from mmctl.core.spec import LayerSpec, Strategy

BUY, SELL = Side.BUY, Side.SELL


@dataclass(frozen=True)
class Case:
    book: Book
    instrument: Instrument
    spec: LayerSpec


def decimals(least: str, most: str, places: int) -> st.SearchStrategy[Decimal]:
    return st.decimals(Decimal(least), Decimal(most), places=places, allow_nan=False, allow_infinity=False)


@st.composite
def books(draw: st.DrawFn) -> Book:
    """A usable book around a price of any magnitude, its levels close together or far apart."""
    scale = draw(st.sampled_from([0, 2, 5, 8]))
    bid = draw(st.integers(50, 10**7))
    spread = draw(st.integers(1, 50))
    widest = max(1, bid // 40)
    bids, asks = [], []
    for levels, price, step in ((bids, bid, -1), (asks, bid + spread, 1)):
        at = price
        for gap in [*draw(st.lists(st.integers(1, widest), max_size=12)), 1]:
            if at > 0:
                levels.append((Decimal(at).scaleb(-scale), draw(decimals("0.001", "500", 3))))
            at += step * gap
    return Book.of(KEY, TS_MS, bids, asks, "test")


@st.composite
def cases(draw: st.DrawFn, strategy: Strategy | None = None) -> Case:
    the_book = draw(books())
    scale = the_book.price_decimals
    step = Decimal(1).scaleb(-scale)
    instrument = Instrument(
        "X",
        "X",
        "Y",
        tick_size=step * draw(st.sampled_from([Decimal("0.1"), 1, 1, 5, 25, 100])),
        lot_size=draw(st.sampled_from([Decimal("0.00001"), Decimal("0.01"), Decimal("0.25"), Decimal(1)])),
        min_qty=draw(st.sampled_from([Decimal(0), Decimal("0.02")])),
        max_qty=draw(st.sampled_from([None, Decimal("99.9")])),
        min_notional=draw(st.sampled_from([Decimal(0), step * 300])),
        max_price=draw(st.sampled_from([None, None, step * 10**6])),
    )
    price = the_book.asks[0].price * step
    spec = layer_spec(
        draw(st.sampled_from(Layer)),
        strategy or draw(st.sampled_from(Strategy)),
        buy_margin_bps=draw(decimals("0.01", "900", 2) | st.sampled_from([Decimal(10000), Decimal(12345)])),
        sell_margin_bps=draw(decimals("0.01", "900", 2)),
        qty_multiplier=draw(decimals("0.01", "3", 2)),
        ask_levels=draw(st.integers(0, 8)),
        bid_levels=draw(st.integers(0, 8)),
        max_amount=price * draw(decimals("0.1", "1000", 2)),
        min_qty=draw(decimals("0", "2", 3)),
        min_amount=price * draw(decimals("0", "2", 2)),
        diff_per_round_bps=draw(decimals("0", "50", 1)),
    )
    return Case(the_book, instrument, spec)


class Oracle:
    """The rules as they are written, in fractions, a level at a time."""

    def __init__(self, case: Case) -> None:
        self.book, self.spec = case.book, case.spec
        instrument = case.instrument
        self.tick, self.lot = Fraction(instrument.tick_size), Fraction(instrument.lot_size)
        self.min_qty = max(Fraction(instrument.min_qty), Fraction(case.spec.min_qty))
        self.min_amount = max(Fraction(instrument.min_notional), Fraction(case.spec.min_amount))
        self.max_qty = None if instrument.max_qty is None else Fraction(instrument.max_qty)
        self.max_price = None if instrument.max_price is None else Fraction(instrument.max_price)

    def levels(self, side: Side) -> list[tuple[Fraction, Fraction]]:
        levels = self.book.bids if side is BUY else self.book.asks
        return [(Fraction(self.book.price(level.price)), Fraction(self.book.qty(level.qty))) for level in levels]

    def factor(self, side: Side) -> Fraction:
        margin = Fraction(self.spec.margin_bps(side)) / 10_000
        return max(Fraction(0), 1 - margin) if side is BUY else 1 + margin

    def ticks(self, price: Fraction, side: Side) -> int:
        return floor(price / self.tick) if side is BUY else ceil(price / self.tick)

    def lots(self, ticks: int, qty: Fraction) -> int:
        qty = min(qty, Fraction(self.spec.max_amount) / (ticks * self.tick))
        return floor((qty if self.max_qty is None else min(qty, self.max_qty)) / self.lot)

    def refusal(self, ticks: int, qty: Fraction) -> str:
        if ticks < 1:
            return "below_tick"
        if self.max_price is not None and ticks * self.tick > self.max_price:
            return "price_band"
        lots = self.lots(ticks, qty)
        if lots < 1 or lots * self.lot < self.min_qty:
            return "min_qty"
        return "min_amount" if ticks * self.tick * lots * self.lot < self.min_amount else ""

    def mirror(self, side: Side) -> tuple[list[tuple[int, int, int]], list[tuple[int, str]]]:
        """(price, quantity, level) of each quote, and (level, reason) of each refusal."""
        merged: dict[int, tuple[Fraction, int]] = {}
        for level, (price, qty) in enumerate(self.levels(side), 1):
            ticks = self.ticks(price * self.factor(side), side)
            before, first = merged.get(ticks, (Fraction(0), level))
            merged[ticks] = (before + qty, first)
        quotes: list[tuple[int, int, int]] = []
        refused: list[tuple[int, str]] = []
        for ticks, (total, level) in merged.items():
            if len(quotes) == self.spec.levels(side):
                break
            qty = total * Fraction(self.spec.qty_multiplier)
            reason = self.refusal(ticks, qty)
            if reason:
                refused.append((level, reason))
            else:
                quotes.append((ticks, self.lots(ticks, qty), level))
        return quotes, refused


@examples(250)
@given(cases(Strategy.MIRROR), st.sampled_from(Side))
def test_mirror_is_what_the_rules_say(case: Case, side: Side) -> None:
    ladder = LayerQuoter("X-Y", case.spec, case.instrument, 7).ladder(case.book, 0)
    quotes, refused = Oracle(case).mirror(side)
    assert [(one.price, one.qty, one.level) for one in ladder.side(side)] == quotes
    assert [(one.level, one.reason) for one in ladder.refused if one.side is side] == refused


@examples(250)
@given(cases(Strategy.SPREAD), st.sampled_from(Side), st.integers(0, 3))
def test_spread_is_what_the_rules_say(case: Case, side: Side, refreshes: int) -> None:
    ladder = LayerQuoter("X-Y", case.spec, case.instrument, 7).ladder(case.book, refreshes)
    oracle = Oracle(case)
    levels = oracle.levels(side)
    touch = levels[0][0]
    multiplier = Fraction(case.spec.qty_multiplier)
    stands = {one.level: one for one in ladder.side(side)}
    refused = {one.level: one.reason for one in ladder.refused if one.side is side}
    assert sorted([*stands, *refused]) == list(range(1, case.spec.levels(side) + 1))
    for level in range(1, case.spec.levels(side) + 1):
        ticks = oracle.ticks(touch * oracle.factor(side) ** level, side)
        # The drawn quantity is one of the side's, times a factor in [0.95, 1).
        possible = [(qty * multiplier * Fraction(95, 100), qty * multiplier) for _, qty in levels]
        if level in refused:
            assert refused[level] in {oracle.refusal(ticks, qty) for bounds in possible for qty in bounds}
            continue
        one = stands[level]
        assert one.price == ticks
        assert one.price * oracle.tick != touch
        assert any(oracle.lots(ticks, least) <= one.qty <= oracle.lots(ticks, most) for least, most in possible)
        assert oracle.refusal(ticks, Fraction(one.qty) * oracle.lot) == ""


@examples(200)
@given(cases(), cases(), st.sampled_from([Decimal(10), Decimal(150), Decimal(1000), Decimal(9000)]))
def test_every_quote_of_every_decision_is_within_all_its_limits(case: Case, other: Case, collar_bps: Decimal) -> None:
    near = replace(case.spec, layer=Layer.NEAR)
    far = replace(other.spec, layer=Layer.FAR, max_amount=case.spec.max_amount)
    spec = pair_spec(near, far, collar_bps=collar_bps)
    decider = PairDecider(spec, case.instrument)
    oracle = Oracle(case)
    best_bid, best_ask = oracle.levels(BUY)[0][0], oracle.levels(SELL)[0][0]
    mid = (best_bid + best_ask) / 2
    everything: list[Quote] = []
    for layer in (near, far):
        decision = decider.decide(layer.layer, case.book, [], UNBOUNDED, forced=False, refreshes=0)
        limits = Oracle(replace(case, spec=layer))
        everything += decision.target
        for side in Side:
            assert sum(one.side is side for one in decision.target) <= layer.levels(side)
        for one in decision.target:
            price, qty = one.price * limits.tick, one.qty * limits.lot
            assert type(one.price) is type(one.qty) is int
            assert one.price >= 1
            assert one.qty >= 1
            assert abs(price - mid) <= mid * Fraction(collar_bps) / 10_000
            assert price * qty <= Fraction(layer.max_amount)
            assert price * qty >= limits.min_amount
            assert qty >= limits.min_qty
            assert limits.max_qty is None or qty <= limits.max_qty
            assert price < best_ask if one.side is BUY else price > best_bid
            # Outward: never nearer to the other side than the reference's own touch.
            assert price <= best_bid if one.side is BUY else price >= best_ask
    bids = [one.price for one in everything if one.side is BUY]
    asks = [one.price for one in everything if one.side is SELL]
    assert not bids or not asks or max(bids) < min(asks)
    ladder = LayerQuoter(spec.name, near, case.instrument, spec.seed).ladder(case.book, 0)
    for one in everything:
        if one.layer is Layer.FAR and ladder.side(one.side):
            innermost = ladder.side(one.side)[0].price
            assert one.price <= innermost if one.side is BUY else one.price >= innermost


@examples(150)
@given(cases(), st.data())
def test_own_quantity_comes_off_exactly(case: Case, data: st.DataObject) -> None:
    instrument, the_book = case.instrument, case.book
    prices = [instrument.ticks(the_book.price(level.price), side) for side in Side for level in the_book.bids[:3]]
    orders = [
        own(n, data.draw(st.sampled_from(Side)), data.draw(st.sampled_from(prices)), data.draw(st.integers(1, 10**6)))
        for n in range(data.draw(st.integers(0, 4)))
    ]
    less = without_own(the_book, orders, instrument)
    for side, before, left in ((BUY, the_book.bids, less.bids), (SELL, the_book.asks, less.asks)):
        expected = []
        for level in before:
            price, qty = the_book.price(level.price), the_book.qty(level.qty)
            mine = sum(
                instrument.qty(o.remaining) for o in orders if o.side is side and instrument.price(o.price) == price
            )
            if qty > mine:
                expected.append((price, qty - mine))
        assert [(less.price(level.price), less.qty(level.qty)) for level in left] == expected
