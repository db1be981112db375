"""What holds for any plan: of any target, any live orders of both layers in any state, and any policy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from itertools import count

from core_samples import examples, own, quote
from hypothesis import assume, given
from hypothesis import strategies as st

from mmctl.core.order import CancelState, Layer, Order, Quote, Side, State
from mmctl.core.plan import Plan, Policy, plan
from mmctl.core.risk import Room, Touch

BUY, SELL = Side.BUY, Side.SELL
MID = 1000


@dataclass(frozen=True)
class Case:
    target: list[Quote]
    live: list[Order]
    policy: Policy

    @property
    def made(self) -> Plan:
        return plan(self.target, self.live, self.policy)

    def crossing(self, order: Order) -> bool:
        """Whether it meets a wanted quote of the other side, or the reference's opposite touch."""
        other = [one.price for one in self.target if one.side is order.side.opposite]
        touch = self.policy.touch
        if touch is not None:
            other.append(touch.ask if order.side is BUY else touch.bid)
        return any(order.price >= price if order.side is BUY else order.price <= price for price in other)

    def matchable(self, order: Order) -> bool:
        """Whether this plan may keep it at all."""
        keeps = not self.policy.force and self.policy.diff_bps > 0
        return (
            order.layer is self.policy.layer
            and order.cancel is CancelState.NONE
            and not self.crossing(order)
            and (keeps or order.state is not State.OPEN)
            and order.price * order.remaining <= self.policy.max_units
        )

    def fits(self, order: Order, one: Quote) -> bool:
        """Whether the order's remaining quantity serves the quote."""
        share = 1 - Fraction(self.policy.tolerance)
        return (
            order.side is one.side
            and order.remaining >= one.qty * share
            and (share == 0 or order.remaining <= one.qty / share)
        )

    def near(self, order: Order, one: Quote) -> bool:
        return abs(order.price - one.price) <= one.price * max(Fraction(0), Fraction(self.policy.diff_bps) / 10_000)


def sizes() -> st.SearchStrategy[int]:
    return st.integers(1, 40)


@st.composite
def targets(draw: st.DrawFn, layer: Layer) -> list[Quote]:
    """Quotes from the touch outward, a price at most once a side, bids below asks."""
    bids = sorted(draw(st.sets(st.integers(MID - 60, MID - 1), max_size=7)), reverse=True)
    asks = sorted(draw(st.sets(st.integers(MID, MID + 60), max_size=7)))
    return [
        quote(side, price, draw(sizes()), level, layer)
        for side, prices in ((SELL, asks), (BUY, bids))
        for level, price in enumerate(prices, 1)
    ]


@st.composite
def orders(draw: st.DrawFn, most: int = 18, *, quiet: bool = False) -> list[Order]:
    """Live orders, anywhere and in any state; ``quiet`` ones are open with no cancel under way."""
    numbers = count()
    states = [State.OPEN] if quiet else [State.OPEN, State.OPEN, State.IN_FLIGHT, State.UNKNOWN]
    cancels = [CancelState.NONE] if quiet else [CancelState.NONE, CancelState.NONE, *CancelState]
    one = st.builds(
        lambda side, price, qty, layer, state, cancel: own(
            next(numbers), side, price, qty + 5, layer, state, cancel, filled=5
        ),
        st.sampled_from(Side),
        st.integers(MID - 70, MID + 70),
        sizes(),
        st.sampled_from([Layer.NEAR, Layer.NEAR, Layer.FAR]),
        st.sampled_from(states),
        st.sampled_from(cancels),
    )
    return draw(st.lists(one, max_size=most))


@st.composite
def cases(draw: st.DrawFn, *, quiet: bool = False, keeps: bool = False) -> Case:
    layer = draw(st.sampled_from(Layer))
    max_units = draw(st.sampled_from([10**9, 20_000]))
    target = [one for one in draw(targets(layer)) if one.price * one.qty <= max_units]
    touch = draw(st.none() | st.builds(lambda low, wide: Touch(low, low + wide), st.just(MID - 1), st.integers(1, 9)))
    bound = st.none() if quiet else st.none() | st.integers(0, 12)
    policy = Policy(
        layer=layer,
        diff_bps=Decimal(draw(st.sampled_from(["50", "200", "1500"] if keeps else ["-1", "0", "0.5", "50", "200"]))),
        tolerance=Decimal(draw(st.sampled_from(["0", "0.3", "0.5", "0.9", "1"]))),
        max_units=max_units,
        ladder_asks=max(1, sum(one.side is SELL for one in target)),
        ladder_bids=max(1, sum(one.side is BUY for one in target)),
        force=False if keeps else draw(st.booleans()),
        touch=touch,
        room=Room(
            orders=draw(bound),
            base_lots=draw(st.none() if quiet else st.none() | st.integers(0, 200)),
            quote_units=draw(st.none() if quiet else st.none() | st.integers(0, 200_000)),
        ),
    )
    return Case(target, draw(orders(quiet=quiet)), policy)


def unserved(case: Case, made: Plan) -> list[Quote]:
    return [*made.place, *(waiting.quote for waiting in made.wait)]


@examples(150)
@given(cases())
def test_every_quote_and_every_order_is_accounted_for_once(case: Case) -> None:
    made = case.made
    assert len(made.keep) + len(unserved(case, made)) == len(case.target)
    assert set(unserved(case, made)) <= set(case.target)
    kept = [order.client_id for order in made.keep]
    cancelled = [wanted.order.client_id for wanted in made.cancel]
    assert len({*kept, *cancelled}) == len(kept) + len(cancelled)
    for order in case.live:
        if order.layer is case.policy.layer and order.state is State.OPEN and order.cancel is CancelState.NONE:
            assert (order.client_id in kept) is not (order.client_id in cancelled)
        if order.layer is not case.policy.layer and not case.crossing(order):
            assert order.client_id not in cancelled


@examples(150)
@given(cases())
def test_what_is_kept_may_be_kept(case: Case) -> None:
    made = case.made
    served = [one for one in case.target if one not in unserved(case, made)]
    for order in made.keep:
        assert case.matchable(order)
        assert any(case.fits(order, one) and case.near(order, one) for one in served)


@examples(150)
@given(cases())
def test_every_equal_price_pair_that_fits_in_quantity_is_kept(case: Case) -> None:
    made = case.made
    kept = {(order.side, order.price) for order in made.keep}
    for one in case.target:
        for order in case.live:
            if case.matchable(order) and case.fits(order, one) and order.price == one.price:
                assert (one.side, one.price) in kept
                assert one not in unserved(case, made)


@examples(150)
@given(cases())
def test_no_order_and_quote_are_left_that_fit_each_other(case: Case) -> None:
    made = case.made
    kept = {order.client_id for order in made.keep}
    for one in unserved(case, made):
        for order in case.live:
            if order.client_id not in kept and case.matchable(order) and case.near(order, one):
                assert not case.fits(order, one)


@examples(150)
@given(cases(keeps=True))
def test_nearest_is_what_a_slow_search_finds(case: Case) -> None:
    """The quick matching against the rule as it is written: equal price first, then the nearest, each once."""
    free = [order for order in case.live if case.matchable(order)]
    expected: dict[Quote, Order] = {}
    for rank in (
        lambda order, one: (order.remaining, order.client_id) if order.price == one.price else None,
        lambda order, one: (abs(order.price - one.price), order.price, order.client_id),
    ):
        for one in case.target:
            fitting = [o for o in free if case.fits(o, one) and case.near(o, one) and rank(o, one) is not None]
            if one not in expected and fitting:
                expected[one] = min(fitting, key=lambda order: rank(order, one))
                free.remove(expected[one])
    # Among orders of one price any that fits will do, so prices are compared.
    made = case.made
    assert sorted((o.side, o.price) for o in made.keep) == sorted((o.side, o.price) for o in expected.values())
    assert set(unserved(case, made)) == set(case.target) - set(expected)


@examples(150)
@given(cases())
def test_no_placement_crosses_a_live_own_order_or_another_placement(case: Case) -> None:
    made = case.made
    standing = [*case.live, *made.place]
    for one in made.place:
        for other in standing:
            if other.side is one.side.opposite:
                assert one.price < other.price if one.side is BUY else one.price > other.price


@examples(150)
@given(cases(), st.lists(st.tuples(st.sampled_from(Side), st.integers(MID - 9, MID + 9), sizes()), max_size=8))
def test_not_even_a_target_that_crosses_itself_does(case: Case, wild: list[tuple[Side, int, int]]) -> None:
    target = [quote(side, price, qty, 1, case.policy.layer) for side, price, qty in wild]
    made = plan(target, case.live, case.policy)
    bids = [one.price for one in made.place if one.side is BUY]
    asks = [one.price for one in made.place if one.side is SELL]
    assert not bids or not asks or max(bids) < min(asks)
    assert len(made.keep) + len(made.place) + len(made.wait) == len(target)
    assert len({order.client_id for order in made.keep}) == len(made.keep)


@examples(150)
@given(cases())
def test_an_order_of_either_layer_that_crosses_is_never_kept_and_goes_now(case: Case) -> None:
    made = case.made
    kept = {order.client_id for order in made.keep}
    cancelled = {wanted.order.client_id for wanted in made.cancel}
    for order in case.live:
        if case.crossing(order):
            assert order.client_id not in kept
            if order.state is State.OPEN and order.cancel is not CancelState.SENT:
                assert order.client_id in cancelled


@examples(150)
@given(cases())
def test_what_has_no_answer_is_left_alone_and_its_price_not_quoted_again(case: Case) -> None:
    made = case.made
    for wanted in made.cancel:
        assert wanted.order.state is State.OPEN
        assert wanted.order.cancel is not CancelState.SENT
    doubtful = {
        (order.side, order.price)
        for order in case.live
        if order.state is not State.OPEN and order.layer is case.policy.layer
    }
    assert not doubtful & {(one.side, one.price) for one in made.place}


@examples(150)
@given(cases())
def test_the_loan_is_at_most_one_ladder_a_side(case: Case) -> None:
    made = case.made
    for side in Side:
        own_live = [o for o in case.live if o.side is side and o.layer is case.policy.layer]
        placed = sum(one.side is side for one in made.place)
        wanted = sum(one.side is side for one in case.target)
        kept = sum(order.side is side for order in made.keep)
        unconfirmed = sum(order.cancel is not CancelState.NONE and order.state is State.OPEN for order in own_live)
        assert placed <= max(0, wanted - kept - unconfirmed)
        assert not placed or len(own_live) + placed <= 2 * case.policy.ladder(side)


@examples(150)
@given(cases())
def test_the_room_is_never_overspent(case: Case) -> None:
    made, room = case.made, case.policy.room
    assert room.orders is None or len(made.place) <= room.orders
    sells = sum(one.qty for one in made.place if one.side is SELL)
    buys = sum(one.qty * one.price for one in made.place if one.side is BUY)
    assert room.base_lots is None or sells <= room.base_lots
    assert room.quote_units is None or buys <= room.quote_units


@examples(150)
@given(cases())
def test_work_is_done_from_the_touch_outward_in_turn(case: Case) -> None:
    made = case.made
    for sides, prices in (
        ([one.side for one in made.place], [one.price for one in made.place]),
        ([one.order.side for one in made.cancel], [one.order.price for one in made.cancel]),
    ):
        fewer = min(sides.count(BUY), sides.count(SELL))
        assert sides[: 2 * fewer] == [SELL, BUY] * fewer
        assert [p for s, p in zip(sides, prices, strict=True) if s is SELL] == sorted(
            p for s, p in zip(sides, prices, strict=True) if s is SELL
        )
        assert [p for s, p in zip(sides, prices, strict=True) if s is BUY] == sorted(
            (p for s, p in zip(sides, prices, strict=True) if s is BUY), reverse=True
        )


def carried_out(live: list[Order], made: Plan, start: int) -> list[Order]:
    """Every placement rests, every cancel is done, whatever its round; all else stays as it is."""
    gone = {wanted.order.client_id for wanted in made.cancel}
    gone |= {order.client_id for order in live if order.cancel is CancelState.SENT}
    placed = [own(start + n, one.side, one.price, one.qty, one.layer) for n, one in enumerate(made.place)]
    return [order for order in live if order.client_id not in gone] + placed


@examples(250)
@given(cases(quiet=True, keeps=True))
def test_a_plan_carried_out_and_planned_again_is_empty(case: Case) -> None:
    first = case.made
    assume(not first.wait)
    live = carried_out(case.live, first, 100)
    again = plan(case.target, live, case.policy)
    assert again.is_empty
    assert not again.wait
    assert len(again.keep) == len(case.target)


@examples(150)
@given(cases(quiet=True, keeps=True))
def test_what_waited_is_all_that_the_next_plan_places(case: Case) -> None:
    first = case.made
    live = carried_out(case.live, first, 100)
    again = plan(case.target, live, case.policy)
    assert not again.cancel
    assert {*again.place} | {waiting.quote for waiting in again.wait} == {waiting.quote for waiting in first.wait}
    assert plan(case.target, carried_out(live, again, 200), case.policy).is_empty


@examples(200)
@given(cases(quiet=True))
def test_a_forced_plan_leaves_nothing_for_an_unforced_one(case: Case) -> None:
    forced = replace(case.policy, force=True, diff_bps=Decimal(50), max_units=10**9)
    first = plan(case.target, case.live, forced)
    assert not first.keep
    assume(not first.wait)
    again = plan(case.target, carried_out(case.live, first, 100), replace(forced, force=False))
    assert again.is_empty
