"""The ledger by table: every state and every kind of event, the landing rule, ghosts, listings and fills."""

from __future__ import annotations

from decimal import Decimal

import pytest
from core_samples import BTC, own_id

from mmctl.core.events import (
    Accepted,
    CancelRefused,
    Ended,
    Fill,
    NotFound,
    OrderEvent,
    Rejected,
    Request,
    Seen,
    Unsettled,
)
from mmctl.core.ledger import REMEMBERED_BEYOND_LANDING_S, REMEMBERED_ENDS, REMEMBERED_TOLD, Ledger
from mmctl.core.life import TRANSITIONS
from mmctl.core.order import ENDS, CancelState, Layer, Order, Side, State

LANDING_S = 12.0
SIGNED_S = 100.0
LANDED_S = SIGNED_S + LANDING_S
ID = own_id(1)
LOT = Decimal("0.00001")
QTY = 100


def lots(count: int) -> Decimal:
    return count * LOT


def accepted() -> Accepted:
    return Accepted(ID, "v1")


def fill(count: int = 10, trade: str = "t1", client_id: str = ID, side: Side = Side.BUY) -> Fill:
    return Fill(client_id, "v1", trade, side, Decimal(100), lots(count), Decimal(0), "BTC", True, 0)


def ended(state: State = State.CANCELLED, filled: int | None = None) -> Ended:
    return Ended(ID, "v1", state, None if filled is None else lots(filled), "as asked")


def seen(asked_at_s: float, filled: int = 0, client_id: str = ID, side: Side = Side.BUY) -> Seen:
    return Seen(client_id, "v1", side, Decimal(100), lots(QTY), lots(filled), asked_at_s)


def unsettled(request: Request = Request.PLACE) -> Unsettled:
    return Unsettled(ID, request, "no answer in time")


def refused(not_found: bool = False) -> CancelRefused:
    return CancelRefused(ID, not_found, "no")


def rejected() -> Rejected:
    return Rejected(ID, "filter", "tick size")


def not_found(asked_at_s: float) -> NotFound:
    return NotFound(ID, asked_at_s)


def sent(side: Side = Side.BUY) -> Ledger:
    ledger = Ledger(BTC, LANDING_S)
    order = Order(ID, Layer.NEAR, side, 10_000, QTY, epoch=17, signed_at_s=SIGNED_S)
    ledger.sent(order, SIGNED_S)
    return ledger


def after(*events: OrderEvent, side: Side = Side.BUY) -> Ledger:
    """A ledger that sent one order of 100 lots and was told ``events``, a second apart."""
    ledger = sent(side)
    for n, event in enumerate(events):
        ledger.apply(event, SIGNED_S + 1 + n)
    return ledger


def state_of(ledger: Ledger) -> State:
    order = ledger.find(ID)
    assert order is not None
    return order.state


LEADING_TO: dict[State, list[OrderEvent]] = {
    State.IN_FLIGHT: [],
    State.OPEN: [accepted()],
    State.UNKNOWN: [unsettled()],
    State.FILLED: [accepted(), fill(QTY, "t0")],
    State.CANCELLED: [accepted(), ended()],
    State.EXPIRED: [accepted(), ended(State.EXPIRED)],
    State.REJECTED: [rejected()],
    State.NEVER_LANDED: [unsettled(), not_found(LANDED_S), not_found(LANDED_S + 1)],
    State.GONE: [accepted(), not_found(LANDED_S), not_found(LANDED_S + 1)],
}

EVENTS: dict[str, OrderEvent] = {
    "accepted": accepted(),
    "rejected": rejected(),
    "unsettled": unsettled(),
    "fill": fill(),
    "cancelled": ended(),
    "refused": refused(),
    "seen": seen(LANDED_S + 10),
    "not_found": not_found(LANDED_S + 10),
}

# "!" in front: told as a fault.
LIFE = """
state         accepted      rejected      unsettled     fill          cancelled  refused        seen       not_found
in_flight     open          rejected      unknown       open          cancelled  !in_flight     open       in_flight
open          open          !open         open          open          cancelled  !open          open       open
unknown       open          rejected      unknown       open          cancelled  !unknown       open       unknown
filled        filled        filled        filled        filled        filled     filled         filled     filled
cancelled     cancelled     cancelled     cancelled     cancelled     cancelled  cancelled      cancelled  cancelled
expired       expired       expired       expired       expired       cancelled  expired        expired    expired
rejected      !open         rejected      rejected      !open         cancelled  rejected       !open      rejected
never_landed  !open         rejected      never_landed  !open         cancelled  never_landed   !open      never_landed
gone          gone          gone          gone          gone          cancelled  gone           !open      gone
"""
ROWS = [line.split() for line in LIFE.strip().splitlines()]
CASES = [
    (State(row[0]), kind, expected) for row in ROWS[1:] for kind, expected in zip(ROWS[0][1:], row[1:], strict=True)
]


@pytest.mark.parametrize(("state", "kind", "expected"), CASES, ids=lambda value: str(value))
def test_every_state_and_every_event(state: State, kind: str, expected: str) -> None:
    ledger = after(*LEADING_TO[state])
    assert state_of(ledger) is state
    change = ledger.apply(EVENTS[kind], LANDED_S + 20)
    assert change is not None
    assert change.order is not None
    assert change.before is not None
    assert change.before.state is state
    assert bool(change.fault) is expected.startswith("!")
    assert change.order.state is State(expected.lstrip("!")) is state_of(ledger)
    assert change.appeared is (state in ENDS and change.order.is_live)
    assert [order.client_id for order in ledger.live()] == ([ID] if change.order.is_live else [])


def test_the_table_is_whole() -> None:
    assert {state for state, _, _ in CASES} == set(State)
    kinds = {type(event) for event in EVENTS.values()}
    missing = {(state, kind) for state in State for kind in kinds} - set(TRANSITIONS)
    assert missing == {(State.OPEN, Rejected)}


@pytest.mark.parametrize("state", [State.FILLED, State.CANCELLED, State.EXPIRED, State.REJECTED])
@pytest.mark.parametrize("before", [State.IN_FLIGHT, State.OPEN, State.UNKNOWN])
def test_an_end_is_what_the_venue_says(before: State, state: State) -> None:
    assert state_of(after(*LEADING_TO[before], ended(state))) is state


def test_of_two_ends_the_same_one_stands_in_either_order() -> None:
    ends = [State.FILLED, State.CANCELLED, State.EXPIRED, State.REJECTED]
    for one in ends:
        for other in ends:
            assert state_of(after(ended(one), ended(other))) is state_of(after(ended(other), ended(one)))


def test_a_cancel_without_an_answer_says_nothing_of_the_placement() -> None:
    ledger = sent()
    ledger.cancel_sent(ID, SIGNED_S)
    ledger.apply(unsettled(Request.CANCEL), SIGNED_S + 1)
    order = ledger.find(ID)
    assert order is not None
    assert (order.state, order.cancel) == (State.IN_FLIGHT, CancelState.UNKNOWN)


# The landing time


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([], State.UNKNOWN),
        ([LANDED_S - 2, LANDED_S - 1, LANDED_S - 0.001], State.UNKNOWN),
        ([LANDED_S], State.UNKNOWN),
        ([LANDED_S - 1, LANDED_S], State.UNKNOWN),
        ([LANDED_S, LANDED_S], State.UNKNOWN),  # one answer, repeated
        ([LANDED_S, LANDED_S + 0.1], State.NEVER_LANDED),
        ([LANDED_S + 0.1, LANDED_S], State.NEVER_LANDED),
    ],
)
def test_two_answers_after_the_landing_time_end_an_unknown_order(asked: list[float], expected: State) -> None:
    ledger = after(unsettled(), *(not_found(asked_at_s) for asked_at_s in asked))
    assert state_of(ledger) is expected
    order = ledger.find(ID)
    assert order is not None
    assert bool(ledger.unsettled()) is (expected is State.UNKNOWN)
    if expected is State.NEVER_LANDED:
        assert "not found" in order.reason


def test_what_counts_is_when_it_was_asked_not_when_it_was_answered() -> None:
    ledger = after(unsettled())
    for n in range(5):
        ledger.apply(not_found(LANDED_S - 1 - n), LANDED_S + 100)
    assert state_of(ledger) is State.UNKNOWN


def test_an_order_with_a_trade_landed() -> None:
    ledger = after(unsettled(), fill(), not_found(LANDED_S), not_found(LANDED_S + 1))
    assert state_of(ledger) is State.GONE
    assert ledger.position == lots(10)


@pytest.mark.parametrize("repeated", [accepted(), fill()], ids=["accepted", "fill"])
def test_repeated_news_between_two_answers_is_no_new_evidence(repeated: OrderEvent) -> None:
    ledger = after(accepted(), fill())
    for event, now_s in ((not_found(LANDED_S), 0.1), (repeated, 2), (not_found(LANDED_S + 1), 2.1)):
        ledger.apply(event, LANDED_S + now_s)
    assert state_of(ledger) is State.GONE


def test_an_order_seen_between_two_answers_needs_two_more() -> None:
    ledger = after(unsettled(), not_found(LANDED_S), seen(LANDED_S + 1), not_found(LANDED_S + 2))
    assert state_of(ledger) is State.OPEN
    ledger.apply(not_found(LANDED_S + 1), LANDED_S + 9)
    assert state_of(ledger) is State.OPEN, "asked for no later than it was seen"
    ledger.apply(not_found(LANDED_S + 3), LANDED_S + 9)
    assert state_of(ledger) is State.GONE


@pytest.mark.parametrize("event", [accepted(), seen(LANDED_S + 9), fill()], ids=["accepted", "seen", "fill"])
def test_a_ghost_that_appears_is_live_again_and_told(event: OrderEvent) -> None:
    ledger = after(*LEADING_TO[State.NEVER_LANDED])
    assert not ledger.live()
    change = ledger.apply(event, LANDED_S + 10)
    assert change is not None
    assert change.appeared
    assert "never_landed" in change.fault
    assert [order.state for order in ledger.live()] == [State.OPEN]
    # Its end is taken in as any other's.
    assert ledger.apply(ended(), LANDED_S + 11) is not None
    assert not ledger.live()


@pytest.mark.parametrize("state", [State.NEVER_LANDED, State.GONE])
def test_a_listing_older_than_the_answers_revives_nothing(state: State) -> None:
    ledger = after(*LEADING_TO[state])
    change = ledger.apply(seen(LANDED_S + 0.5), LANDED_S + 10)
    assert change is not None
    assert (change.appeared, state_of(ledger)) == (False, State.GONE)


def test_late_and_repeated_news_of_a_gone_order_revives_nothing_but_its_trades_count() -> None:
    ledger = after(*LEADING_TO[State.GONE])
    for event in (accepted(), fill(10), fill(10)):
        change = ledger.apply(event, LANDED_S + 10)
        assert change is not None
        assert not change.appeared
    assert (state_of(ledger), ledger.position) == (State.GONE, lots(10))
    ledger.apply(fill(90, "t2"), LANDED_S + 11)
    assert state_of(ledger) is State.FILLED
    ledger.apply(seen(LANDED_S + 0.5), LANDED_S + 12)
    assert state_of(ledger) is State.FILLED


@pytest.mark.parametrize("end", [State.FILLED, State.CANCELLED, State.EXPIRED])
def test_no_listing_revives_an_end(end: State) -> None:
    ledger = after(accepted(), ended(end), seen(LANDED_S + 100))
    assert state_of(ledger) is end


# Fills


def test_a_trade_is_counted_once() -> None:
    ledger = after(accepted())
    first, again = ledger.apply(fill(10), 102), ledger.apply(fill(10), 103)
    assert first is not None
    assert again is not None
    assert (first.fill, again.fill) == (fill(10), None)
    order = ledger.find(ID)
    assert order is not None
    assert (order.filled, order.remaining, order.state, ledger.position) == (10, 90, State.OPEN, lots(10))


def test_sells_lower_the_position() -> None:
    assert after(accepted(), fill(10, side=Side.SELL), side=Side.SELL).position == -lots(10)


@pytest.mark.parametrize(
    ("events", "filled"),
    [
        ([fill(10), seen(105, 10)], 10),
        ([seen(105, 10), fill(10)], 10),
        ([fill(10), seen(105, 30)], 30),
        ([seen(105, 30), fill(10)], 30),
        ([seen(105, 30), fill(10), fill(20, "t2")], 30),
        ([seen(105, 30), seen(104, 10)], 30),
        ([fill(10), ended(filled=40)], 40),
        ([ended(filled=40), fill(10), fill(30, "t2")], 40),
        ([ended(filled=10), fill(10), fill(30, "t2")], 40),
        ([fill(60), fill(40, "t2")], 100),
        ([ended(State.FILLED)], 100),
        ([ended(State.FILLED), fill(60), fill(40, "t2")], 100),
    ],
)
def test_the_filled_quantity_is_the_larger_of_trades_and_totals(events: list[OrderEvent], filled: int) -> None:
    ledger = after(accepted(), *events)
    order = ledger.find(ID)
    assert order is not None
    assert (order.filled, ledger.position) == (filled, lots(filled))
    assert (order.state is State.FILLED) is (filled == QTY)


def test_a_trade_of_an_order_in_flight_says_that_it_rests() -> None:
    assert state_of(after(fill(10))) is State.OPEN
    assert state_of(after(fill(QTY))) is State.FILLED


def test_a_late_trade_of_a_cancelled_order_counts() -> None:
    ledger = after(accepted(), ended(), fill(10))
    assert (state_of(ledger), ledger.position) == (State.CANCELLED, lots(10))


# Joining and cancels


def test_events_are_joined_by_client_order_id() -> None:
    ledger = Ledger(BTC, LANDING_S)
    sides = [Side.BUY, Side.SELL, Side.BUY]
    ids = [own_id(n, side=side) for n, side in enumerate(sides)]
    for client_id, side in zip(ids, sides, strict=True):
        ledger.sent(Order(client_id, Layer.NEAR, side, 10_000, QTY, signed_at_s=SIGNED_S), SIGNED_S)
    # The answers come in another order, and one is a refusal.
    for event in (Accepted(ids[2], "v2"), Rejected(ids[0], "would_match", "no"), Accepted(ids[1], "v1")):
        ledger.apply(event, 101)
    assert {(order.side, order.order_id) for order in ledger.live()} == {(Side.SELL, "v1"), (Side.BUY, "v2")}
    order = ledger.find(ids[0])
    assert order is not None
    assert (order.state, order.reason) == (State.REJECTED, "would_match: no")


@pytest.mark.parametrize(
    ("event", "cancel", "asked_for"),
    [
        (accepted(), CancelState.SENT, False),
        (fill(), CancelState.SENT, False),
        (unsettled(Request.CANCEL), CancelState.UNKNOWN, True),
        (refused(not_found=True), CancelState.UNKNOWN, True),
        (refused(), CancelState.NONE, False),
        (seen(104), CancelState.SENT, False),
        (ended(), CancelState.NONE, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_cancel_stays_until_the_venue_says_so(event: OrderEvent, cancel: CancelState, asked_for: bool) -> None:
    ledger = after(accepted())
    ledger.cancel_sent(ID, 102)
    ledger.apply(event, 103)
    order = ledger.find(ID)
    assert order is not None
    assert order.cancel is cancel
    assert bool(ledger.unsettled()) is asked_for


def test_a_lost_cancel_may_be_sent_again_once_the_order_was_seen() -> None:
    ledger = after(accepted())
    ledger.cancel_sent(ID, 102)
    ledger.apply(unsettled(Request.CANCEL), 103)
    ledger.apply(seen(104), 105)
    order = ledger.find(ID)
    assert order is not None
    assert (order.state, order.cancel) == (State.OPEN, CancelState.NONE)
    assert not ledger.unsettled()


def test_not_found_to_a_cancel_is_no_end_by_itself() -> None:
    ledger = after(accepted())
    ledger.cancel_sent(ID, 102)
    ledger.apply(refused(not_found=True), 103)
    assert state_of(ledger) is State.OPEN
    for asked_at_s in (LANDED_S, LANDED_S + 1):
        ledger.apply(not_found(asked_at_s), asked_at_s)
    assert state_of(ledger) is State.GONE


def test_an_id_is_used_once() -> None:
    for events in ([], [ended()]):
        ledger = after(*events)
        with pytest.raises(ValueError, match="used before"):
            ledger.sent(Order(ID, Layer.NEAR, Side.BUY, 1, 1), 200)


# Listings


def judged(ledger: Ledger, asked_at_s: float, shown: list[str] | None = None) -> list[str]:
    return [order.client_id for order in ledger.judge(shown or [], asked_at_s)]


def test_a_listing_judges_only_orders_whose_last_change_was_known_before_it_was_asked_for() -> None:
    ledger = after(accepted())  # known at 101
    assert judged(ledger, 100.5) == []
    assert judged(ledger, 101.0) == []
    assert judged(ledger, 101.1, [ID]) == []
    assert judged(ledger, 101.1) == [ID]


@pytest.mark.parametrize("event", [fill(), seen(101.5), unsettled(Request.CANCEL)], ids=["fill", "seen", "unsettled"])
def test_any_change_after_the_listing_was_asked_for_takes_the_order_out_of_its_judgement(event: OrderEvent) -> None:
    ledger = after(accepted(), event)  # known at 102
    assert judged(ledger, 101.9) == []
    assert judged(ledger, 102.1) == [ID]


def test_a_cancel_under_way_counts_as_a_change() -> None:
    ledger = after(accepted())
    ledger.cancel_sent(ID, 105)
    assert judged(ledger, 104) == []
    assert judged(ledger, 106) == [ID]


def test_an_order_missing_from_a_listing_is_asked_for_and_not_ended() -> None:
    ledger = after(accepted())
    assert judged(ledger, 110) == [ID]
    assert state_of(ledger) is State.OPEN
    assert [order.client_id for order in ledger.unsettled()] == [ID]
    ledger.apply(seen(110), 111)
    assert not ledger.unsettled()


def test_an_older_listing_does_not_settle_the_doubt_of_a_newer_one() -> None:
    ledger = after(accepted())
    judged(ledger, 110)
    ledger.apply(seen(109), 111)
    assert [order.client_id for order in ledger.unsettled()] == [ID]


@pytest.mark.parametrize("events", [[], [unsettled()], [accepted(), ended()]], ids=["in flight", "unknown", "ended"])
def test_a_listing_judges_no_order_without_an_answer_and_none_that_is_over(events: list[OrderEvent]) -> None:
    assert judged(after(*events), 1000) == []


# Orders that this ledger never sent


def test_an_own_order_of_an_earlier_engine_is_adopted_as_it_is_seen() -> None:
    ledger = Ledger(BTC, LANDING_S)
    client_id = own_id(9, Layer.FAR, Side.SELL)
    change = ledger.apply(seen(50, 30, client_id, Side.SELL), 51)
    assert change is not None
    assert (change.before, change.appeared, change.fault) == (None, True, "")
    (order,) = ledger.live()
    assert order == change.order
    assert (order.layer, order.side, order.price, order.qty, order.filled) == (Layer.FAR, Side.SELL, 10_000, 100, 30)
    assert (order.epoch, order.state, order.signed_at_s, ledger.position) == (17, State.OPEN, None, 0)
    # Its earlier trades are not known: the venue's own word on the end settles what is counted.
    ledger.apply(fill(70, "t9", client_id, Side.SELL), 52)
    ledger.apply(Ended(client_id, "v1", State.FILLED), 53)
    assert ledger.position == -lots(70)
    assert not ledger.live()


def test_an_adopted_order_off_the_tick_counts_as_nearer_than_it_is() -> None:
    ledger = Ledger(BTC, LANDING_S)
    for side in Side:
        ledger.apply(Seen(own_id(1, side=side), "v", side, Decimal("100.005"), lots(1), lots(0), 1), 1)
    assert {order.side: order.price for order in ledger.live()} == {Side.BUY: 10_001, Side.SELL: 10_000}


def test_an_adopted_order_that_is_not_found_twice_is_gone() -> None:
    ledger = Ledger(BTC, LANDING_S)
    ledger.apply(seen(50), 51)
    for asked_at_s in (50, 52, 53):
        ledger.apply(not_found(asked_at_s), asked_at_s)
    assert state_of(ledger) is State.GONE


@pytest.mark.parametrize("event", [accepted(), fill(), unsettled(), refused()])
def test_an_own_id_unheard_of_has_to_be_asked_for(event: OrderEvent) -> None:
    change = Ledger(BTC, LANDING_S).apply(event, 1)
    assert change is not None
    assert (change.before, change.order) == (None, None)


def test_a_foreign_id_is_none_of_ours() -> None:
    ledger = Ledger(BTC, LANDING_S)
    assert ledger.apply(Accepted("BTCUSDT_20044_51840123", "v"), 1) is None
    assert ledger.apply(seen(1, client_id="web_123"), 1) is None
    assert not ledger.live()


def test_a_cancelled_order_without_trades_is_forgotten_some_time_after_its_landing_time() -> None:
    ledger = Ledger(BTC, LANDING_S)
    for n, at_s in ((1, 0.0), (2, LANDING_S), (3, LANDING_S + REMEMBERED_BEYOND_LANDING_S + 1)):
        ledger.sent(Order(own_id(n), Layer.NEAR, Side.BUY, 1, 1, signed_at_s=at_s), at_s)
        ledger.apply(Ended(own_id(n), None, State.CANCELLED), at_s)
    assert ledger.find(own_id(1)) is None
    assert ledger.find(own_id(2)) is not None


def test_a_ghost_is_told_long_after_it_was_given_up() -> None:
    ledger = sent()
    for at_s in (LANDED_S, LANDED_S + 1):
        ledger.apply(Unsettled(ID, Request.PLACE, "lost"), at_s)
        ledger.apply(NotFound(ID, at_s), at_s)
    assert ledger.find(ID).state is State.NEVER_LANDED
    for n in range(2, 50):
        at_s = LANDED_S + 100 * n
        ledger.sent(Order(own_id(n), Layer.NEAR, Side.BUY, 1, 1, signed_at_s=at_s), at_s)
        ledger.apply(Ended(own_id(n), None, State.CANCELLED), at_s)
    change = ledger.apply(accepted(), LANDED_S + 10_000)
    assert change.appeared
    assert change.fault


def test_a_trade_of_a_filled_order_counts_once_long_after_it() -> None:
    ledger = sent()
    ledger.apply(fill(QTY), SIGNED_S + 1)
    position = ledger.position
    ledger.apply(fill(QTY), SIGNED_S + 10_000)
    assert ledger.position == position == lots(QTY)


@pytest.mark.parametrize("event", [ended(), not_found(1), rejected()])
def test_an_own_id_that_is_unheard_of_and_over_needs_no_asking(event: OrderEvent) -> None:
    assert Ledger(BTC, LANDING_S).apply(event, 1) is None


@pytest.mark.parametrize(
    ("state", "filled", "most"), [(State.CANCELLED, 0, REMEMBERED_ENDS), (State.FILLED, 1, REMEMBERED_TOLD)]
)
def test_the_memory_of_ends_is_bounded(state: State, filled: int, most: int) -> None:
    ledger = Ledger(BTC, LANDING_S)
    for n in range(most + 10):
        client_id = own_id(n)
        ledger.sent(Order(client_id, Layer.NEAR, Side.BUY, 1, 1, signed_at_s=0.0), 0.0)
        ledger.apply(Ended(client_id, str(n), state, lots(filled)), 0.0)
    assert ledger.find(own_id(9)) is None
    assert ledger.find(own_id(10)) is not None
    assert not ledger.live()
