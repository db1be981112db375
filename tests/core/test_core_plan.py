"""The plan by table: what is kept, placed and cancelled, what waits, and in which order it is done."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from core_samples import own, quote

from mmctl.core.order import CancelState, Layer, Order, Quote, Side, State
from mmctl.core.plan import Plan, Policy, plan
from mmctl.core.risk import Room, Touch

BUY, SELL = Side.BUY, Side.SELL

POLICY = Policy(
    layer=Layer.NEAR,
    diff_bps=Decimal(100),
    tolerance=Decimal("0.5"),
    max_units=10**9,
    ladder_asks=5,
    ladder_bids=5,
)


def planned(target: list[Quote], live: list[Order], **changes: Any) -> Plan:
    return plan(target, live, replace(POLICY, **changes))


def done(made: Plan) -> tuple[list[int], list[int], list[tuple[int, str]], list[tuple[int, str]]]:
    """Prices kept and placed, prices cancelled and waiting with their reasons."""
    return (
        [order.price for order in made.keep],
        [one.price for one in made.place],
        [(wanted.order.price, wanted.reason) for wanted in made.cancel],
        [(waiting.quote.price, waiting.reason) for waiting in made.wait],
    )


def test_nothing_live_places_everything_and_nothing_wanted_cancels_everything() -> None:
    assert done(planned([quote(BUY, 1000), quote(SELL, 1010)], [])) == ([], [1010, 1000], [], [])
    live = [own(1, BUY, 1000), own(2, SELL, 1010)]
    assert done(planned([], live)) == ([], [], [(1010, "not_wanted"), (1000, "not_wanted")], [])
    assert planned([], []).is_empty


@pytest.mark.parametrize(
    ("remaining", "kept"),
    [(49, False), (50, True), (100, True), (200, True), (201, False)],
)
def test_an_order_is_kept_from_half_to_double_its_quote(remaining: int, kept: bool) -> None:
    made = planned([quote(BUY, 1000, 100)], [own(1, BUY, 1000, remaining)])
    assert bool(made.keep) is kept
    assert made.is_empty is kept
    if not kept:
        assert done(made) == ([], [1000], [(1000, "qty")], [])


def test_half_and_double_are_exact_for_odd_quantities() -> None:
    kept = [n for n in range(1, 300) if planned([quote(BUY, 1000, 99)], [own(1, BUY, 1000, n)]).is_empty]
    assert (kept[0], kept[-1]) == (50, 198)


@pytest.mark.parametrize(
    ("tolerance", "least", "most"), [("0", 100, 100), ("0.2", 80, 125), ("0.25", 75, 133), ("0.75", 25, 400)]
)
def test_the_tolerance_is_the_layers_own(tolerance: str, least: int, most: int) -> None:
    def kept(remaining: int) -> bool:
        made = planned([quote(BUY, 1000, 100)], [own(1, BUY, 1000, remaining)], tolerance=Decimal(tolerance))
        return bool(made.keep)

    assert [kept(least - 1), kept(least), kept(most), kept(most + 1)] == [False, True, True, False]


def test_the_remaining_quantity_counts_not_the_original_one() -> None:
    assert planned([quote(BUY, 1000, 100)], [own(1, BUY, 1000, 300, filled=200)]).is_empty
    assert not planned([quote(BUY, 1000, 100)], [own(1, BUY, 1000, 100, filled=60)]).is_empty


def test_an_order_above_the_maximum_is_not_kept() -> None:
    assert planned([quote(BUY, 1000, 10)], [own(1, BUY, 1000, 12)], max_units=12_000).is_empty
    made = planned([quote(BUY, 1000, 10)], [own(1, BUY, 1000, 12)], max_units=11_999)
    assert ([one.price for one in made.place], [wanted.order.price for wanted in made.cancel]) == ([1000], [1000])


@pytest.mark.parametrize(
    ("price", "kept"),
    [(989, False), (990, True), (995, True), (1010, True), (1011, False)],
)
def test_the_nearest_price_within_the_difference_is_kept(price: int, kept: bool) -> None:
    made = planned([quote(BUY, 1000)], [own(1, BUY, price)])  # 100 bps of 1000 are 10 ticks
    assert made.is_empty is kept
    if not kept:
        assert done(made) == ([], [1000], [(price, "moved")], [])


def test_equal_price_goes_before_nearest() -> None:
    # The quote nearer to the touch would take 1000 as its nearest; it belongs to the quote at 1000.
    made = planned([quote(BUY, 1001), quote(BUY, 1000)], [own(1, BUY, 1000)])
    assert done(made) == ([1000], [1001], [], [])


def test_the_nearer_of_two_is_kept_and_each_is_used_once() -> None:
    made = planned([quote(BUY, 1000)], [own(1, BUY, 997), own(2, BUY, 1002)])
    assert done(made) == ([1002], [], [(997, "moved")], [])
    made = planned([quote(BUY, 1000), quote(BUY, 999)], [own(1, BUY, 997)])
    assert done(made) == ([997], [999], [], [])


def test_a_nearest_order_that_does_not_fit_is_passed_over() -> None:
    made = planned([quote(BUY, 1000, 10)], [own(1, BUY, 1001, 99), own(2, BUY, 996, 9), own(3, BUY, 990, 10)])
    assert [order.price for order in made.keep] == [996]


def test_two_quotes_on_one_tick_need_two_orders() -> None:
    two = [quote(BUY, 1000, 10, 1), quote(BUY, 1000, 12, 2)]
    assert done(planned(two, [])) == ([], [1000, 1000], [], [])
    assert done(planned(two, [own(1, BUY, 1000, 10)])) == ([1000], [1000], [], [])
    both = planned(two, [own(1, BUY, 1000, 10), own(2, BUY, 1000, 12)])
    assert both.is_empty
    assert len({order.client_id for order in both.keep}) == 2


def test_quotes_on_one_tick_are_served_as_far_as_they_can_be() -> None:
    # 15 would serve either, 40 only the larger: the larger must not take the 15.
    target = [quote(BUY, 1000, 30, 1), quote(BUY, 1000, 10, 2)]
    assert planned(target, [own(1, BUY, 1000, 15), own(2, BUY, 1000, 40)]).is_empty


def test_only_one_of_two_orders_on_one_tick_is_kept_for_one_quote() -> None:
    made = planned([quote(BUY, 1000)], [own(1, BUY, 1000), own(2, BUY, 1000)])
    assert len(made.keep) == len(made.cancel) == 1
    assert made.keep[0] is not made.cancel[0].order


def test_an_order_of_the_other_layer_or_side_serves_no_quote() -> None:
    far = own(1, BUY, 1000, layer=Layer.FAR)
    made = planned([quote(BUY, 1000)], [far, own(2, SELL, 1010)])
    assert done(made) == ([], [1000], [(1010, "not_wanted")], [])


@pytest.mark.parametrize(("changes", "reason"), [({"force": True}, "forced"), ({"diff_bps": Decimal(0)}, "replaced")])
def test_nothing_is_kept_on_a_forced_refresh_or_without_a_difference(changes: dict[str, Any], reason: str) -> None:
    made = planned([quote(BUY, 1000)], [own(1, BUY, 1000)], **changes)
    assert done(made) == ([], [1000], [(1000, reason)], [])


def test_a_forced_refresh_keeps_what_has_no_answer_yet() -> None:
    live = [own(1, BUY, 1000, state=State.IN_FLIGHT), own(2, SELL, 1010, state=State.UNKNOWN)]
    made = planned([quote(BUY, 1000), quote(SELL, 1010)], live, force=True)
    assert done(made) == ([1010, 1000], [], [], [])


def test_one_new_level_on_top_is_one_placement_not_a_new_ladder() -> None:
    live = [own(n, BUY, 1000 - 20 * n) for n in range(5)]
    filled = live[1:]
    target = [quote(BUY, 1000 - 20 * n) for n in range(5)]
    assert done(planned(target, filled)) == ([980, 960, 940, 920], [1000], [], [])
    # The book moved up by one level: the lowest goes, and nothing else.
    higher = [quote(BUY, 1020 - 20 * n) for n in range(5)]
    assert done(planned(higher, live)) == ([1000, 980, 960, 940], [1020], [(920, "moved")], [])


# Crossing


@pytest.mark.parametrize("layer", list(Layer))
@pytest.mark.parametrize(
    ("side", "price", "cancelled"),
    [
        (BUY, 1009, False),
        (BUY, 1010, True),
        (BUY, 1011, True),
        (SELL, 1001, False),
        (SELL, 1000, True),
        (SELL, 9, True),
    ],
)
def test_an_order_of_either_layer_that_meets_the_other_side_of_the_target_goes_now(
    layer: Layer, side: Side, price: int, cancelled: bool
) -> None:
    target = [quote(BUY, 1000), quote(SELL, 1010)]
    made = planned(target, [own(1, side, price, layer=layer)])
    crossing = [wanted.order.price for wanted in made.cancel if wanted.reason == "crosses_target"]
    assert bool(crossing) is cancelled
    if cancelled:
        assert not made.keep
        blocked = target[1] if side is BUY else target[0]
        assert [(waiting.quote, waiting.reason, waiting.freed) for waiting in made.wait] == [
            (blocked, "would_cross_own", True)
        ]


@pytest.mark.parametrize("layer", list(Layer))
@pytest.mark.parametrize(
    ("side", "price", "cancelled"),
    [(BUY, 1004, False), (BUY, 1005, True), (SELL, 1002, False), (SELL, 1001, True)],
)
def test_an_order_of_either_layer_that_meets_the_references_touch_goes_now(
    layer: Layer, side: Side, price: int, cancelled: bool
) -> None:
    # Within the difference, so that only the touch speaks against keeping it.
    target = [quote(BUY, 1000), quote(SELL, 1006)]
    made = planned(target, [own(1, side, price, layer=layer)], touch=Touch(bid=1001, ask=1005))
    assert [wanted.reason for wanted in made.cancel if wanted.order.layer is layer] == ["crosses_touch"] * cancelled


@pytest.mark.parametrize("state", [State.IN_FLIGHT, State.UNKNOWN])
def test_a_crossing_order_without_an_answer_is_not_kept_nor_cancelled_and_blocks_its_place(state: State) -> None:
    crossing = own(1, BUY, 1010, state=state)
    made = planned([quote(BUY, 1005), quote(SELL, 1010)], [crossing])
    assert done(made) == ([], [], [], [(1005, "unconfirmed_cancel"), (1010, "would_cross_own")])


def test_a_crossing_cancel_is_not_sent_twice() -> None:
    on_its_way = own(1, BUY, 1010, cancel=CancelState.SENT)
    assert done(planned([quote(SELL, 1010)], [on_its_way])) == ([], [], [], [(1010, "would_cross_own")])
    lost = own(1, BUY, 1010, cancel=CancelState.UNKNOWN)
    assert done(planned([quote(SELL, 1010)], [lost]))[2] == [(1010, "cancel_again")]
    others = own(1, BUY, 1010, layer=Layer.FAR, cancel=CancelState.UNKNOWN)
    assert done(planned([quote(SELL, 1010)], [others]))[2] == [(1010, "crosses_target")]


# Waiting


def test_a_placement_that_would_cross_waits_whatever_the_state_of_the_other_order() -> None:
    for state in (State.IN_FLIGHT, State.OPEN, State.UNKNOWN):
        for cancel in CancelState:
            for layer in Layer:
                blocking = own(1, SELL, 1000, layer=layer, state=state, cancel=cancel)
                made = planned([quote(BUY, 1000)], [blocking])
                assert not made.place
                assert [waiting.reason for waiting in made.wait] == ["would_cross_own"]


@pytest.mark.parametrize(("price", "placed"), [(999, True), (1000, False), (1001, False)])
def test_equal_prices_cross(price: int, placed: bool) -> None:
    blocking = own(1, SELL, 1000, layer=Layer.FAR, state=State.UNKNOWN)
    assert bool(planned([quote(BUY, price)], [blocking]).place) is placed


def test_quotes_of_one_target_never_cross_each_other() -> None:
    made = planned([quote(BUY, 1000), quote(SELL, 1000)], [])
    assert ([one.side for one in made.place], [waiting.reason for waiting in made.wait]) == (
        [SELL],
        ["would_cross_own"],
    )


def test_an_ask_never_crosses_a_bid_placed_before_it() -> None:
    target = [quote(SELL, 1000, 9), quote(SELL, 1001, 1), quote(BUY, 1005)]
    made = planned(target, [], room=Room(base_lots=5))
    assert done(made) == ([], [1005], [], [(1000, "balance"), (1001, "would_cross_own")])


def test_a_wait_that_no_cancel_of_the_other_side_ends_is_not_freed() -> None:
    # A bid is cancelled, but the ask that is in the way has no answer yet.
    made = planned([quote(BUY, 1000)], [own(1, SELL, 1000, state=State.UNKNOWN), own(2, BUY, 900)])
    assert [(waiting.reason, waiting.freed) for waiting in made.wait] == [("would_cross_own", False)]
    assert [wanted.order.price for wanted in made.cancel] == [900]


def test_the_open_order_cap_is_spent_from_the_touch_outward() -> None:
    target = [quote(BUY, 1000), quote(BUY, 990), quote(SELL, 1010), quote(SELL, 1020)]
    made = planned(target, [], room=Room(orders=3))
    assert done(made) == ([], [1010, 1000, 1020], [], [(990, "open_order_cap")])
    assert not made.wait[0].freed
    freeing = planned(target, [own(1, BUY, 800)], room=Room(orders=3))
    assert freeing.wait[0].freed
    assert not planned(target, [], room=Room(orders=0)).place


def test_buys_spend_quote_currency_and_sells_base_currency() -> None:
    target = [quote(BUY, 1000, 3), quote(BUY, 990, 3), quote(SELL, 1010, 3), quote(SELL, 1020, 3)]
    assert done(planned(target, [], room=Room(quote_units=5969))) == (
        [],
        [1010, 1000, 1020],
        [],
        [(990, "balance")],
    )
    assert [one.price for one in planned(target, [], room=Room(quote_units=5970)).place] == [1010, 1000, 1020, 990]
    assert done(planned(target, [], room=Room(base_lots=5)))[3] == [(1020, "balance")]
    assert [one.price for one in planned(target, [], room=Room(base_lots=6)).place] == [1010, 1000, 1020, 990]


def test_only_a_cancel_of_its_own_side_frees_balance() -> None:
    target = [quote(BUY, 1000, 3)]
    assert planned(target, [own(1, BUY, 900)], room=Room(quote_units=0)).wait[0].freed
    assert not planned(target, [own(1, SELL, 2000)], room=Room(quote_units=0)).wait[0].freed


def test_a_smaller_quote_further_out_may_still_fit_the_balance() -> None:
    made = planned([quote(BUY, 1000, 9), quote(BUY, 990, 2)], [], room=Room(quote_units=2000))
    assert done(made) == ([], [990], [], [(1000, "balance")])


# The loan


def bids(*prices: int) -> list[Quote]:
    return [quote(BUY, price, level=n) for n, price in enumerate(prices, 1)]


def test_new_orders_go_first_beside_a_whole_ladder_that_is_cancelled() -> None:
    live = [own(n, BUY, 900 - 20 * n) for n in range(5)]
    made = planned(bids(1000, 980, 960, 940, 920), live)
    assert (len(made.place), len(made.cancel), made.wait) == (5, 5, ())


@pytest.mark.parametrize("cancel", [CancelState.SENT, CancelState.UNKNOWN])
@pytest.mark.parametrize("unconfirmed", [0, 1, 3, 5])
def test_an_unconfirmed_cancel_of_an_earlier_round_takes_the_place_of_one_quote(
    cancel: CancelState, unconfirmed: int
) -> None:
    live = [own(n, BUY, 800 - 20 * n, cancel=cancel) for n in range(unconfirmed)]
    made = planned(bids(1000, 980, 960, 940, 920), live)
    assert [one.price for one in made.place] == [1000, 980, 960, 940, 920][: 5 - unconfirmed]
    assert {waiting.reason for waiting in made.wait} <= {"unconfirmed_cancel"}
    assert len(made.wait) == unconfirmed
    again = [wanted for wanted in made.cancel if wanted.reason == "cancel_again"]
    assert len(again) == (unconfirmed if cancel is CancelState.UNKNOWN else 0)


def test_the_loan_is_of_one_side_and_one_layer() -> None:
    live = [own(n, SELL, 2000 + n, cancel=CancelState.SENT) for n in range(5)]
    live += [own(n, BUY, 500 + n, layer=Layer.FAR, cancel=CancelState.SENT) for n in range(5)]
    assert len(planned(bids(1000, 980, 960, 940, 920), live).place) == 5


def test_never_more_than_twice_the_ladder() -> None:
    live = [own(n, BUY, 900 - 20 * n) for n in range(9)]
    made = planned(bids(1000, 980, 960, 940, 920), live)
    assert [one.price for one in made.place] == [1000]
    assert not planned(bids(1000, 980), [own(n, BUY, 900 - n) for n in range(12)], ladder_bids=5).place


@pytest.mark.parametrize("state", [State.IN_FLIGHT, State.UNKNOWN])
@pytest.mark.parametrize("cancel", list(CancelState))
def test_what_has_no_answer_is_never_cancelled_and_its_price_never_quoted_twice(
    state: State, cancel: CancelState
) -> None:
    unanswered = own(1, BUY, 1000, 99, state=state, cancel=cancel)  # too much to serve the quote
    made = planned([quote(BUY, 1000, 10), quote(BUY, 980, 10)], [unanswered])
    assert done(made) == ([], [980], [], [(1000, "unsettled_at_price")])
    assert done(planned([], [unanswered])) == ([], [], [], [])


def test_an_unanswered_order_that_serves_another_quote_still_keeps_its_price() -> None:
    unanswered = own(1, BUY, 1000, 10, state=State.IN_FLIGHT)
    made = planned([quote(BUY, 1005, 10), quote(BUY, 1000, 99), quote(BUY, 980, 10)], [unanswered])
    assert done(made) == ([1000], [980], [], [(1000, "unsettled_at_price")])


def test_an_unanswered_order_elsewhere_takes_the_place_of_the_outermost_quote() -> None:
    made = planned(bids(1000, 980, 960), [own(1, BUY, 800, state=State.UNKNOWN)])
    assert done(made) == ([], [1000, 980], [], [(960, "unconfirmed_cancel")])


def test_what_an_open_order_leaves_when_its_cancel_is_on_the_way_may_be_quoted() -> None:
    made = planned(bids(1000, 980), [own(1, BUY, 1000, cancel=CancelState.SENT)])
    assert done(made) == ([], [1000], [], [(980, "unconfirmed_cancel")])


def test_orders_that_are_over_count_for_nothing() -> None:
    over = [own(n, BUY, 1000, state=state) for n, state in enumerate([State.FILLED, State.CANCELLED, State.GONE])]
    assert done(planned(bids(1000), over)) == ([], [1000], [], [])


# The order of work


def test_asks_and_bids_alternate_from_the_touch_outward() -> None:
    target = [quote(BUY, 980), quote(BUY, 1000), quote(BUY, 990), quote(SELL, 1020), quote(SELL, 1010)]
    assert [one.price for one in planned(target, []).place] == [1010, 1000, 1020, 990, 980]


def test_what_has_no_room_leaves_no_gap_in_the_turns() -> None:
    target = [quote(BUY, 1000, 9), quote(BUY, 990, 1), quote(SELL, 1010), quote(SELL, 1020)]
    assert [one.price for one in planned(target, [], room=Room(quote_units=5000)).place] == [1010, 990, 1020]


def test_cancels_alternate_from_the_touch_outward_too() -> None:
    live = [own(1, BUY, 900), own(2, BUY, 910), own(3, SELL, 1120), own(4, SELL, 1110), own(5, SELL, 1130)]
    assert [wanted.order.price for wanted in planned([], live).cancel] == [1110, 910, 1120, 900, 1130]


def test_a_batch_cut_short_leaves_a_balanced_ladder() -> None:
    target = [quote(side, price) for n in range(5) for side, price in ((BUY, 1000 - n), (SELL, 1010 + n))]
    made = planned(target, [])
    for cut in range(11):
        sides = [one.side for one in made.place[:cut]]
        assert abs(sides.count(BUY) - sides.count(SELL)) <= 1


def test_an_operators_side_that_is_off_is_emptied() -> None:
    made = planned([quote(BUY, 1000)], [own(1, BUY, 1000), own(2, SELL, 1010)], ladder_asks=0)
    assert done(made) == ([1000], [], [(1010, "not_wanted")], [])
