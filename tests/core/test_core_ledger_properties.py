"""Late, repeated and reordered events give the ledger that ordered ones give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from core_samples import BTC, examples, own_id
from hypothesis import given
from hypothesis import strategies as st

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
from mmctl.core.ledger import Ledger
from mmctl.core.order import LIVE, Layer, Order, Side, State

LANDING_S = 12.0
SIGNED_S = 100.0


@dataclass(frozen=True)
class History:
    """One order's true life: what it was, and all that the venue tells of it, in order."""

    order: Order
    events: tuple[OrderEvent, ...]
    end: State
    filled: int


def lots(count: int) -> Decimal:
    return BTC.qty(count)


@st.composite
def histories(draw: st.DrawFn, number: int) -> History:
    side = draw(st.sampled_from(Side))
    client_id = own_id(number, side=side)
    qty = draw(st.integers(1, 20))
    order = Order(client_id, Layer.NEAR, side, 10_000, qty, epoch=17, signed_at_s=SIGNED_S)
    noise: list[OrderEvent] = draw(
        st.lists(
            st.sampled_from(
                [
                    Unsettled(client_id, Request.PLACE, "lost"),
                    Unsettled(client_id, Request.CANCEL, "lost"),
                    CancelRefused(client_id, True, "unknown order"),
                    CancelRefused(client_id, False, "busy"),
                    NotFound(client_id, SIGNED_S + 1),
                    NotFound(client_id, SIGNED_S + LANDING_S - 0.1),
                ]
            ),
            max_size=3,
        )
    )
    if draw(st.integers(0, 5)) == 0:
        return History(order, (Rejected(client_id, "filter", "no"), *noise), State.REJECTED, 0)
    told: list[OrderEvent] = [Accepted(client_id, f"v{number}")]
    filled = 0
    for n, part in enumerate(draw(st.lists(st.integers(1, 7), max_size=5))):
        part = min(part, qty - filled)
        if part:
            filled += part
            price = BTC.price(order.price)
            told.append(
                Fill(client_id, f"v{number}", f"t{number}-{n}", side, price, lots(part), Decimal(0), "BTC", True, n)
            )
            if draw(st.booleans()):
                told.append(Seen(client_id, f"v{number}", side, price, lots(qty), lots(filled), SIGNED_S + 2 + n))
    over = draw(st.sampled_from([None, State.CANCELLED, State.EXPIRED]))
    if filled == qty:
        over = State.FILLED
        told += draw(st.sampled_from([[], [Ended(client_id, f"v{number}", State.FILLED)]]))
    elif over is not None:
        total = draw(st.sampled_from([None, lots(filled)]))
        told.append(Ended(client_id, f"v{number}", over, total, "as asked"))
        # Nothing but an end that the venue stated may be told in any order with answers after the landing time.
        noise += draw(
            st.lists(st.sampled_from([NotFound(client_id, SIGNED_S + LANDING_S + n) for n in (0, 1, 2)]), max_size=4)
        )
    return History(order, (*told, *noise), over or State.OPEN, filled)


def ledger_of(orders: Sequence[Order], events: Sequence[OrderEvent]) -> Ledger:
    ledger = Ledger(BTC, LANDING_S)
    for order in orders:
        ledger.sent(order, SIGNED_S)
    for n, event in enumerate(events):
        ledger.apply(event, SIGNED_S + 20 + n / 100)
    return ledger


def known(ledger: Ledger, orders: Sequence[Order]) -> list[tuple[State, int, str | None]]:
    found = [ledger.find(order.client_id) for order in orders]
    return [(order.state, order.filled, order.order_id) for order in found if order is not None]


@st.composite
def lives(draw: st.DrawFn) -> list[History]:
    return [draw(histories(number)) for number in range(draw(st.integers(1, 4)))]


@examples(250)
@given(lives(), st.data())
def test_any_order_of_events_with_any_repeats_gives_the_same_ledger(lives: list[History], data: st.DataObject) -> None:
    orders = [life.order for life in lives]
    ordered = [event for life in lives for event in life.events]
    repeats = data.draw(st.lists(st.sampled_from(ordered), max_size=6))
    shuffled = data.draw(st.permutations(ordered + repeats))
    straight, crooked = ledger_of(orders, ordered), ledger_of(orders, shuffled)
    assert known(crooked, orders) == known(straight, orders)
    assert crooked.position == straight.position
    # And both are the truth.
    assert [(state, filled) for state, filled, _ in known(straight, orders)] == [(one.end, one.filled) for one in lives]
    signed = [one.filled if one.order.side is Side.BUY else -one.filled for one in lives]
    assert straight.position == lots(sum(signed))
    live = {order.client_id for order in crooked.live()}
    assert live == {one.order.client_id for one in lives if one.end in LIVE}


@examples(250)
@given(lives(), st.data())
def test_at_no_point_is_a_fill_counted_twice_or_an_end_undone(lives: list[History], data: st.DataObject) -> None:
    orders = {one.order.client_id: one for one in lives}
    events = data.draw(st.permutations([event for one in lives for event in one.events] * 2))
    ledger = Ledger(BTC, LANDING_S)
    for one in lives:
        ledger.sent(one.order, SIGNED_S)
    final: dict[str, State] = {}
    for n, event in enumerate(events):
        change = ledger.apply(event, SIGNED_S + 20 + n / 100)
        assert change is not None
        order = change.order
        assert order is not None
        assert change.before is not None
        assert change.before.filled <= order.filled <= orders[order.client_id].filled
        assert (change.fill is not None) <= isinstance(event, Fill)
        if order.client_id in final:
            assert order.state not in LIVE
        if isinstance(event, Ended) or order.state is State.FILLED:
            final[order.client_id] = order.state
    bought = sum(o.filled if o.side is Side.BUY else -o.filled for o in map(ledger.find, orders) if o is not None)
    assert ledger.position == lots(bought)


@examples(150)
@given(lives(), st.data())
def test_each_trade_is_told_once(lives: list[History], data: st.DataObject) -> None:
    events = data.draw(st.permutations([event for one in lives for event in one.events] * 2))
    ledger = Ledger(BTC, LANDING_S)
    for one in lives:
        ledger.sent(one.order, SIGNED_S)
    told = [change.fill.trade_id for event in events if (change := ledger.apply(event, 200.0)) and change.fill]
    trades = {event.trade_id for event in events if isinstance(event, Fill)}
    assert sorted(told) == sorted(trades)
