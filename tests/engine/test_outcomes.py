"""What becomes of each request: joined by id, unknown until it is known, and never sent twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mmctl.core.events import (
    Accepted,
    CancelRefused,
    Ended,
    Event,
    Fill,
    NotFound,
    OrderEvent,
    Rejected,
    Request,
    Seen,
    Unsettled,
)
from mmctl.core.order import CancelOrder, CancelState, Layer, NewOrder, Side, State
from mmctl.core.report import Filled
from mmctl.engine.batch import Batch
from mmctl.engine.loop import Limits
from mmctl.errors import VenueRefused

from .world import BTC, SURE, VIRTUAL, D, World, keep_all, lose_all, near, now_s, pair_spec, quoting, until

pytestmark = VIRTUAL

LANDING_S = SURE.landing_time_s
TIMEOUT_S = SURE.request_timeout_s


async def unknown_at_start(world: World, *, arrives: bool) -> None:
    """Wait for the first ladder to have timed out."""
    await until(lambda: world.pair.totals.unknown == 6, 10)
    keep_all(world)


async def test_answers_are_joined_by_id_however_they_overtake_each_other(state_dir: Path) -> None:
    async with quoting(state_dir, options=SURE) as world:
        world.set_faults(latency_jitter_ms=300, reject_rate=0.4)
        for step in range(20):
            world.move(f"{D(100) + D(step % 3) / 20}")
            await asyncio.sleep(2)
        world.set_faults(latency_jitter_ms=0, reject_rate=0.0)
        await asyncio.sleep(5)
        assert world.pair.totals.rejected > 10
        assert world.venue.own() == world.target()
        live = {order.client_id: (order.side, order.price) for order in world.pair.ledger.live()}
        truth = {
            seen.client_id: (seen.side, world.pair.instrument.ticks(seen.price, seen.side))
            for seen in world.venue.open_now().own
        }
        assert live == truth
        for done in world.rounds():
            assert done.placed + done.rejected + done.unknown == len(done.place)
            assert done.cancelled <= len(done.cancel)


async def test_a_timed_out_placement_is_unknown_and_found_by_asking(state_dir: Path) -> None:
    async with quoting(state_dir, before=lambda world: lose_all(world, arrives=True)) as world:
        began_s = now_s()
        await until(lambda: world.pair.ledger.live(), 1)
        assert {order.state for order in world.pair.ledger.live()} == {State.IN_FLIGHT}
        await unknown_at_start(world, arrives=True)
        assert now_s() - began_s == pytest.approx(TIMEOUT_S, abs=0.1)
        await until(lambda: all(order.state is State.OPEN for order in world.pair.ledger.live()), 3)
        await asyncio.sleep(30)
        assert len(world.venue.placed_ids) == 6, "the orders are there: nothing was placed beside them"
        assert world.venue.own() == world.target()
        assert world.rounds()[0].unknown == 6


async def test_a_placement_that_never_arrives_holds_its_level_until_it_can_no_longer_land(state_dir: Path) -> None:
    async with quoting(state_dir, before=lambda world: lose_all(world, arrives=False)) as world:
        signed_s = now_s()
        await unknown_at_start(world, arrives=False)
        while now_s() < signed_s + LANDING_S - 0.1:
            assert {order.state for order in world.pair.ledger.live()} == {State.UNKNOWN}
            assert len(world.venue.placed_ids) == 6, "the level of an unknown order is not quoted again"
            await asyncio.sleep(0.1)
        await until(lambda: len(world.venue.own()) == 6, 10)
        assert now_s() > signed_s + LANDING_S
        ended = world.faults("order")
        assert len(ended) == 6
        assert all("never_landed" in fault.detail for fault in ended)
        assert {one.reason for done in world.rounds() for one in done.refused} <= {"unsettled_at_price"}


async def test_the_trades_are_read_once_for_all_orders_that_were_not_found(state_dir: Path) -> None:
    """They weigh as much as twenty cancels: one reading for each order would use up what a stop needs."""
    readings: list[float] = []

    def listen(world: World) -> None:
        lose_all(world, arrives=False)
        whole = world.venue.fills

        async def fills(symbol: str, after_trade_id: str | None) -> Sequence[Fill]:
            readings.append(now_s())
            return await whole(symbol, after_trade_id)

        world.venue.fills = fills  # type: ignore[method-assign]

    async with quoting(state_dir, before=listen) as world:
        await unknown_at_start(world, arrives=False)
        before = len(readings)
        await until(lambda: len(world.faults("order")) == 6, 30)
        assert len(readings) - before <= 4, "six orders, and a few rounds of asking"


async def test_an_order_that_cannot_be_asked_for_keeps_no_other_in_doubt(state_dir: Path) -> None:
    async with quoting(state_dir, before=lambda world: lose_all(world, arrives=False)) as world:
        await until(lambda: len(world.pair.ledger.unsettled()) == 6, 10)
        keep_all(world)
        whole, first = world.venue.query, world.pair.ledger.unsettled()[0].client_id

        async def query(symbol: str, client_id: str) -> object:
            if client_id == first:
                raise VenueRefused("this one order is of an unknown shape")
            return await whole(symbol, client_id)

        world.venue.query = query  # type: ignore[method-assign, assignment]
        await until(lambda: [one.client_id for one in world.pair.ledger.unsettled()] == [first], 30)
        assert len(world.faults("query")) == 1


async def test_never_landed_takes_two_answers_after_the_landing_time(state_dir: Path) -> None:
    asked: list[tuple[float, str, object]] = []

    def listen(world: World) -> None:
        lose_all(world, arrives=False)
        whole = world.venue.query

        async def query(symbol: str, client_id: str) -> Seen | Ended | NotFound:
            asked_s = now_s()
            answer = await whole(symbol, client_id)
            asked.append((asked_s, client_id, answer))
            return answer

        world.venue.query = query  # type: ignore[method-assign]

    async with quoting(state_dir, before=listen) as world:
        signed_s = now_s()
        await unknown_at_start(world, arrives=False)
        first = world.pair.ledger.live()[0].client_id
        await until(lambda: world.pair.ledger.find(first).state is State.NEVER_LANDED, 20)  # type: ignore[union-attr]
        answers = [(at_s, answer) for at_s, client_id, answer in asked if client_id == first]
        assert all(isinstance(answer, NotFound) for _, answer in answers)
        late = [at_s for at_s, _ in answers if at_s >= signed_s + LANDING_S]
        assert len(late) == 2
        assert len(answers) > 2, "it was asked for before, too"


async def test_an_order_that_lands_late_is_kept(state_dir: Path) -> None:
    def late(world: World) -> None:
        lose_all(world)
        original = world.venue._line._drawn

        def drawn(order: NewOrder | CancelOrder, at_s: float) -> object:
            request = original(order, at_s)
            request.arrives, request.late_by_s = True, LANDING_S - 1
            return request

        world.venue._line._drawn = drawn  # type: ignore[method-assign, assignment]

    async with quoting(state_dir, before=late) as world:
        await unknown_at_start(world, arrives=True)
        await asyncio.sleep(LANDING_S + 10)
        assert len(world.venue.placed_ids) == 6
        assert world.venue.own() == world.target()
        assert not world.faults("order")


async def test_a_ghost_is_cancelled_at_once_and_told(state_dir: Path) -> None:
    """The venue lies: an order appears after its landing time, when two answers have said that it never was."""
    async with quoting(state_dir, before=lambda world: lose_all(world, arrives=False)) as world:
        await unknown_at_start(world, arrives=False)
        lost = world.venue.placed()[0]
        await until(lambda: world.pair.ledger.find(lost.client_id).state is State.NEVER_LANDED, 25)  # type: ignore[union-attr]
        await asyncio.sleep(3)
        moved = NewOrder(lost.symbol, lost.client_id, lost.side, D("100.92"), lost.qty, lost.time_in_force)
        world.venue._exchange.place(moved, now_s(), world.clock.wall_ms())
        appeared_s = now_s()
        world.venue._line._tell("BTCUSDT", Accepted(lost.client_id, "77"))
        assert (appeared_s, lost.client_id) in world.venue.cancels()
        assert any("never_landed appeared" in fault.detail for fault in world.faults("order"))
        await asyncio.sleep(0.1)
        assert lost.client_id not in {seen.client_id for seen in world.venue.open_now().own}


async def test_a_ghost_that_only_a_listing_shows_is_cancelled_too(state_dir: Path) -> None:
    async with quoting(state_dir, before=lambda world: lose_all(world, arrives=False)) as world:
        await unknown_at_start(world, arrives=False)
        lost = world.venue.placed()[0]
        await until(lambda: world.pair.ledger.find(lost.client_id).state is State.NEVER_LANDED, 25)  # type: ignore[union-attr]
        moved = NewOrder(lost.symbol, lost.client_id, lost.side, D("100.92"), lost.qty, lost.time_in_force)
        world.venue._exchange.place(moved, now_s(), world.clock.wall_ms())
        await until(lambda: lost.client_id in {one for _, one in world.venue.cancels()}, 65)
        await asyncio.sleep(0.1)
        assert lost.client_id not in {seen.client_id for seen in world.venue.open_now().own}


async def test_a_lost_cancel_is_sent_again(state_dir: Path) -> None:
    async with quoting(state_dir, pair_spec("BTC", near(quote_timeout_s=60.0))) as world:
        await asyncio.sleep(0.5)
        old = {seen.client_id for seen in world.venue.open_now().own}
        lose_all(world, arrives=False)
        whole = world.venue.submit

        def cancels_lost(places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
            keep_all(world)
            whole(places, ())
            lose_all(world, arrives=False)
            whole((), cancels)

        world.venue.submit = cancels_lost  # type: ignore[method-assign]
        world.move("100.05")
        await asyncio.sleep(1)
        world.venue.submit = whole  # type: ignore[method-assign]
        keep_all(world)
        assert {order.cancel for order in world.pair.ledger.live() if order.client_id in old} == {CancelState.SENT}
        await until(lambda: not old & {seen.client_id for seen in world.venue.open_now().own}, 10)
        await asyncio.sleep(0.5)
        assert world.venue.own() == world.target()
        asked = [client_id for _, client_id in world.venue.cancels() if client_id in old]
        assert len(asked) == 12, "each was asked twice, no more"


async def test_a_cancel_that_finds_nothing_is_asked_about(state_dir: Path) -> None:
    """An order ends and the news of it is lost; its cancel then finds nothing, which alone proves nothing."""
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        gone = world.pair.ledger.live()[0]
        world.venue._exchange.cancel(CancelOrder("BTCUSDT", gone.client_id), now_s())
        world.move("100.05")
        told: list[Event] = []
        hearing = world.venue._line.listener

        def hear(symbol: str, event: Event) -> None:
            hearing(symbol, event)
            if getattr(event, "client_id", "") == gone.client_id:
                told.append(event)
                after = world.pair.ledger.find(gone.client_id)
                assert after is not None
                assert (after.state, after.cancel) == (State.OPEN, CancelState.UNKNOWN)

        world.venue.listen(hear)
        await until(lambda: not world.pair.ledger.find(gone.client_id).is_live, 3)  # type: ignore[union-attr]
        assert [type(event) for event in told] == [CancelRefused]
        await asyncio.sleep(2)
        assert world.venue.own() == world.target()


async def test_a_venue_that_has_forgotten_an_order_is_believed_after_the_landing_time(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        gone = world.pair.ledger.live()[0]
        world.venue._exchange.cancel(CancelOrder("BTCUSDT", gone.client_id), now_s())
        world.venue._exchange._ended.clear()
        world.pair.compare_wanted.set()
        await asyncio.sleep(1)
        assert world.faults("listing")
        await asyncio.sleep(5)
        assert world.pair.ledger.find(gone.client_id).is_live  # type: ignore[union-attr]
        await asyncio.sleep(15)
        assert world.pair.ledger.find(gone.client_id).state is State.GONE  # type: ignore[union-attr]
        assert world.venue.own() == world.target()


async def test_orders_that_end_by_an_answer_give_their_funds_back(state_dir: Path) -> None:
    """Reservations must fall however the end became known: 20 lost ladders must not eat the balance."""
    async with quoting(state_dir, pair_spec("BTC", near(quote_timeout_s=60.0)), limits=Limits()) as world:
        await asyncio.sleep(0.5)
        free = {asset: world.desk.budget.free(asset) for asset in ("BTC", "USDT")}
        for step in range(6):
            lose_all(world, arrives=False)
            world.move(f"{D(100) + D(step % 2 + 1) / 20}")
            await asyncio.sleep(6)
            keep_all(world)
            await asyncio.sleep(20)
        world.move("100")
        await asyncio.sleep(3)
        assert world.pair.totals.unknown >= 30
        assert {order.state for order in world.pair.ledger.live()} == {State.OPEN}
        after = {asset: world.desk.budget.free(asset) for asset in ("BTC", "USDT")}
        assert after["BTC"] == pytest.approx(free["BTC"], abs=D(5))
        assert not world.desk.budget._reserved


@pytest.mark.parametrize("kind", ["ended", "seen"])
async def test_what_a_query_says_reaches_the_budget_too(state_dir: Path, kind: str) -> None:
    async with quoting(state_dir, before=lambda world: lose_all(world, arrives=True)) as world:
        await until(lambda: world.pair.totals.unknown == 6, 10)
        keep_all(world)
        if kind == "ended":
            for seen in world.venue.open_now().own:
                world.venue._exchange.cancel(CancelOrder("BTCUSDT", seen.client_id), now_s())
            await asyncio.sleep(3)
            world.venue.deposit("USDT", D(1))
        await asyncio.sleep(5)
        world.venue.deposit("USDT", D(1))
        await asyncio.sleep(1)
        assert world.venue.own() == world.target()
        assert not world.desk.budget._reserved, "what the venue locks is no longer reserved beside it"


async def test_a_venue_that_takes_no_batch_leaves_every_fate_unknown_and_nothing_is_sent_again(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        whole, handed = world.venue.submit, []

        def broken(places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
            handed.extend(order.client_id for order in places)
            raise RuntimeError("no socket")

        world.venue.submit = broken  # type: ignore[method-assign]
        world.move("100.05")
        await asyncio.sleep(1)
        assert handed
        assert {world.pair.ledger.find(one).state for one in handed} == {State.UNKNOWN}  # type: ignore[union-attr]
        assert world.running is not None
        assert not world.running.done(), "one bad batch does not end the engine"
        world.venue.submit = whole  # type: ignore[method-assign]
        await asyncio.sleep(LANDING_S + 15)
        assert {world.pair.ledger.find(one).state for one in handed} == {State.NEVER_LANDED}  # type: ignore[union-attr]
        assert not set(handed) & set(world.venue.placed_ids)
        assert world.venue.own() == world.target()


async def test_a_venue_that_breaks_its_promise_of_an_answer_is_told_and_asked(state_dir: Path) -> None:
    async with quoting(state_dir, pair_spec("BTC", near(quote_timeout_s=60.0))) as world:
        await asyncio.sleep(0.5)
        deaf = world.venue._line.listener
        world.venue.listen(lambda symbol, event: None)
        world.move("100.05")
        await asyncio.sleep(TIMEOUT_S + 2.5)
        world.venue.listen(deaf)
        assert world.faults("venue_silent")
        await asyncio.sleep(5)
        assert world.venue.own() == world.target()
        assert {order.cancel for order in world.pair.ledger.live()} == {CancelState.NONE}


async def test_a_guards_cancel_without_an_answer_is_sent_again(state_dir: Path) -> None:
    """Nobody awaits what a guard sends; still no order may stay marked as on its way out for ever."""
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        hearing, whole = world.venue._line.listener, world.venue.submit
        world.venue.submit = lambda places, cancels: None  # type: ignore[method-assign]
        world.venue.listen(lambda symbol, event: None)
        world.fake.silent(BTC)
        await asyncio.sleep(3)
        assert {order.cancel for order in world.pair.ledger.live()} == {CancelState.SENT}
        world.venue.submit = whole  # type: ignore[method-assign]
        world.venue.listen(hearing)
        await until(lambda: not world.venue.own(), 15)


async def test_an_event_that_cannot_be_taken_in_does_not_break_the_venues_reader(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        original, listings = world.pair.on_event, []

        def broken(event: OrderEvent) -> None:
            raise ValueError("no such state")

        world.pair.on_event = broken  # type: ignore[method-assign]
        whole = world.venue.open_orders

        async def listed(symbol: str | None) -> object:
            listings.append(now_s())
            return await whole(symbol)

        world.venue.open_orders = listed  # type: ignore[method-assign, assignment]
        first = world.venue.placed()[0].client_id
        world.venue._line._tell("BTCUSDT", Accepted(first, "1"))
        world.pair.on_event = original  # type: ignore[method-assign]
        await asyncio.sleep(0.2)
        assert world.faults("event")
        assert listings, "what was missed is looked up"


async def test_a_fill_that_was_never_told_is_found_in_the_listing(state_dir: Path) -> None:
    async with quoting(state_dir) as world:
        await asyncio.sleep(0.5)
        hearing = world.venue._line.listener
        world.venue.listen(lambda symbol, event: None)
        best = world.pair.ledger.live()[1]
        assert best.side is Side.BUY
        order = world.venue._exchange._open[best.client_id]
        from .world import make_book

        world.venue.observe("BTCUSDT", make_book(BTC, world.clock.wall_ms(), D("99.88")))
        world.show()
        await asyncio.sleep(0.2)
        world.venue.listen(hearing)
        filled = world.pair.instrument.lots(order.filled)
        assert 0 < filled < best.qty
        world.pair.on_gap("the stream was cut")
        await asyncio.sleep(0.3)
        assert world.pair.ledger.find(best.client_id).filled == filled  # type: ignore[union-attr]
        assert world.pair.ledger.position == order.filled
        assert [filled.fill.qty for filled in world.told(Filled)] == [order.filled], "the trade itself is found, too"
        assert world.pair.totals.fills == 1


# Batches, without an engine.

PLACED, CANCELLED = "N0S1", "N0B2"


def rejected(client_id: str) -> Rejected:
    return Rejected(client_id, "filter", "no")


@pytest.mark.parametrize(
    ("event", "placed", "cancelled", "unknown", "rejections", "left"),
    [
        (Accepted(PLACED, "1"), 1, 0, 0, 0, [(Request.CANCEL, CANCELLED)]),
        (rejected(PLACED), 0, 0, 0, 1, [(Request.CANCEL, CANCELLED)]),
        (Unsettled(PLACED, Request.PLACE, ""), 0, 0, 1, 0, [(Request.CANCEL, CANCELLED)]),
        (Unsettled(CANCELLED, Request.CANCEL, ""), 0, 0, 1, 0, [(Request.PLACE, PLACED)]),
        (Unsettled(PLACED, Request.CANCEL, ""), 0, 0, 0, 0, [(Request.CANCEL, CANCELLED), (Request.PLACE, PLACED)]),
        (Ended(PLACED, "1", State.FILLED), 1, 0, 0, 0, [(Request.CANCEL, CANCELLED)]),
        (Ended(CANCELLED, "1", State.CANCELLED), 0, 1, 0, 0, [(Request.PLACE, PLACED)]),
        (Ended(CANCELLED, "1", State.FILLED), 0, 0, 0, 0, [(Request.PLACE, PLACED)]),
        (CancelRefused(CANCELLED, True, ""), 0, 0, 0, 0, [(Request.PLACE, PLACED)]),
        (CancelRefused(PLACED, True, ""), 0, 0, 0, 0, [(Request.CANCEL, CANCELLED), (Request.PLACE, PLACED)]),
        (Accepted("N0S9", "1"), 0, 0, 0, 0, [(Request.CANCEL, CANCELLED), (Request.PLACE, PLACED)]),
    ],
)
async def test_a_batch_counts_each_answer_once(
    event: OrderEvent, placed: int, cancelled: int, unknown: int, rejections: int, left: list[tuple[Request, str]]
) -> None:
    batch = Batch([PLACED], [CANCELLED])
    for _ in range(3):
        batch.take(event)
    assert (batch.placed, batch.cancelled, batch.unknown, len(batch.rejections)) == (
        placed,
        cancelled,
        unknown,
        rejections,
    )
    assert batch.unanswered == left
    assert not await batch.answered(0.1)


async def test_an_empty_batch_is_answered_at_once() -> None:
    began_s = now_s()
    assert await Batch([], []).answered(5)
    assert now_s() == began_s


async def test_a_batch_is_answered_with_its_last_answer() -> None:
    batch = Batch(["a"], ["b"])
    loop = asyncio.get_running_loop()
    loop.call_later(1, batch.take, Ended("b", None, State.CANCELLED))
    loop.call_later(2, batch.take, Accepted("a", "1"))
    began_s = now_s()
    assert await batch.answered(5)
    assert now_s() - began_s == pytest.approx(2)


Listener = Callable[[str, Event], None]


async def test_orders_of_the_far_layer_are_joined_as_far_ones(state_dir: Path) -> None:
    from .world import both

    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        layers = [order.layer for order in world.pair.ledger.live()]
        assert layers.count(Layer.NEAR) == 6
        assert layers.count(Layer.FAR) == 4
