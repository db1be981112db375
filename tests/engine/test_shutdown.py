"""Shutdown: everything known goes at once, what is unanswered is settled, and the venue is proven empty."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from mmctl.core.order import CancelOrder, Layer, NewOrder, Side, State
from mmctl.engine.loop import Engine, Limits
from mmctl.engine.pair import Pair

from .world import (
    T0_MS,
    VIRTUAL,
    World,
    both,
    foreign,
    ghost,
    ids,
    keep_all,
    lose_all,
    make_world,
    now_s,
    quoting,
    strangers,
)

pytestmark = VIRTUAL


async def test_all_known_orders_go_at_once_and_the_venue_is_proven_empty(state_dir: Path) -> None:
    async with quoting(state_dir, both("BTC"), both("ETH")) as world:
        foreign(world, Side.BUY, "90")
        await asyncio.sleep(0.5)
        known = {order.client_id for pair in world.engine.pairs for order in pair.ledger.live()}
        assert len(known) == 20
        began_s = now_s()
        swept = await world.stop()
        assert swept is not None
        assert {client_id for _, client_id in world.venue.cancels()} == known
        assert {at_s for at_s, _ in world.venue.cancels()} == {began_s}
        assert swept.proven
        assert swept.remaining == ()
        assert (swept.foreign, swept.others, swept.unread) == (1, 0, "")
        assert ids(world.venue.open_now()) == set()
        assert len(world.venue.open_now().foreign) == 1
        assert swept.took_ms < 300
        summary = world.engine.summary({world.desk: swept})
        assert [pair.open_orders for pair in summary.pairs] == [(), ()]
        assert summary.placed == 20
        assert summary.cancelled == 20


async def test_nothing_is_placed_from_then_on(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.98)
        stopping = asyncio.create_task(world.engine.stop(leave_orders=False))
        await asyncio.sleep(0)
        placed = len(world.venue.placed())
        await asyncio.sleep(5)  # the turns go on, as when a stop comes from elsewhere
        await stopping
        assert len(world.venue.placed()) == placed
        assert not world.venue.own()


async def test_orders_in_flight_go_too(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        world.set_faults(latency_jitter_ms=200)
        await asyncio.sleep(0.02)
        flying = {order.client_id for order in world.pair.ledger.live()}
        assert {order.state for order in world.pair.ledger.live()} == {State.IN_FLIGHT}
        began_s = now_s()
        swept = await world.stop()
        assert swept is not None
        assert {client_id for at_s, client_id in world.venue.cancels() if at_s == began_s} == flying
        assert swept.proven
        assert not world.venue.own()
        assert not world.pair.ledger.live()


async def test_leaving_the_orders_cancels_none_and_proves_none(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        assert await world.stop(leave_orders=True) is None
        await asyncio.sleep(5)
        assert not world.venue.cancels()
        assert len(world.venue.own()) == 10
        summary = world.engine.summary({})
        assert summary.pairs[0].open_orders is not None
        assert len(summary.pairs[0].open_orders) == 10


async def test_a_placement_that_lands_during_the_sweep_is_cancelled(state_dir: Path) -> None:
    def late(world: World) -> None:
        world.set_faults(timeout_rate=1.0)
        original = world.venue._line._drawn

        def drawn(order: NewOrder | CancelOrder, at_s: float) -> object:
            request = original(order, at_s)
            request.arrives, request.late_by_s = True, 8.0 if isinstance(order, NewOrder) else None
            return request

        world.venue._line._drawn = drawn  # type: ignore[method-assign, assignment]

    async with quoting(state_dir, before=late) as world:
        sent_s = now_s()
        await asyncio.sleep(5.5)
        vars(world.venue._line).pop("_drawn")
        world.set_faults(timeout_rate=0.0)
        assert {order.state for order in world.pair.ledger.live()} == {State.UNKNOWN}
        assert not world.venue.own()
        swept = await world.stop()
        assert swept is not None
        assert now_s() >= sent_s + 8
        assert swept.proven
        assert not world.venue.own()
        assert not world.pair.ledger.live()


async def test_a_placement_that_never_landed_is_waited_for_until_it_cannot(state_dir: Path) -> None:
    async with quoting(state_dir, before=lambda world: lose_all(world, arrives=False)) as world:
        sent_s = now_s()
        await asyncio.sleep(5.5)
        keep_all(world)
        swept = await world.stop()
        assert swept is not None
        assert swept.proven
        assert 10 <= now_s() - sent_s <= 10 + 5 + 1.5
        assert swept.first_empty_ms is not None
        assert swept.first_empty_ms < 1000, "empty at once, and proven only later"
        assert swept.took_ms > 4000


async def test_a_placement_whose_cancel_was_refused_before_it_timed_out_is_asked_for(state_dir: Path) -> None:
    def lost(world: World) -> None:
        original = world.venue._line._drawn

        def drawn(order: NewOrder | CancelOrder, at_s: float) -> object:
            request = original(order, at_s)
            request.arrives = isinstance(order, CancelOrder)
            return request

        world.venue._line._drawn = drawn  # type: ignore[method-assign, assignment]

    async with quoting(state_dir, before=lost) as world:
        await asyncio.sleep(0.1)
        assert {order.state for order in world.pair.ledger.live()} == {State.IN_FLIGHT}
        began_s = now_s()
        swept = await world.stop()
        assert swept is not None
        assert {at_s for at_s, _ in world.venue.cancels()} == {began_s}, "in flight or not, they were cancelled at once"
        assert swept.proven
        assert now_s() - began_s < 20
        assert not world.pair.ledger.live()


@pytest.mark.parametrize("lag_ms", [500, 2000])
@pytest.mark.parametrize("seed", range(5))
async def test_a_listing_that_lags_proves_nothing_while_an_order_is_known_to_rest(
    state_dir: Path, lag_ms: int, seed: int
) -> None:
    """The orders were accepted a moment ago; the venue's listings do not show them yet."""
    async with quoting(state_dir, both()) as world:
        world.venue._line._random.seed(seed)
        await asyncio.sleep(0.09)
        assert {order.state for order in world.pair.ledger.live()} >= {State.OPEN}
        world.set_faults(listing_lag_ms=lag_ms, timeout_rate=1.0)
        stopping = asyncio.create_task(world.stop())
        await asyncio.sleep(0.01)
        world.set_faults(timeout_rate=0.0)
        swept = await stopping
        assert swept is not None
        assert swept.proven
        assert not world.venue.own()


async def test_lost_cancels_are_sent_again_until_the_venue_is_empty(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        world.set_faults(timeout_rate=0.5, read_failure_rate=0.3, listing_lag_ms=200)
        swept = await world.stop()
        assert swept is not None
        assert swept.proven
        assert not world.venue.own()


async def test_one_lost_answer_does_not_put_off_the_others(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        original, lost = world.venue._line._drawn, world.pair.ledger.live()[0].client_id

        def drawn(order: NewOrder | CancelOrder, at_s: float) -> object:
            request = original(order, at_s)
            request.arrives = order.client_id != lost or at_s > began_s
            return request

        world.venue._line._drawn = drawn  # type: ignore[method-assign, assignment]
        began_s = now_s()
        swept = await world.stop()
        assert swept is not None
        assert swept.proven
        assert now_s() - began_s < 1.5
        assert not world.venue.own()


async def test_at_the_deadline_what_remains_is_listed(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        whole = world.venue.submit
        world.venue.submit = lambda places, cancels: None  # type: ignore[method-assign]
        began_s = now_s()
        swept = await world.stop(deadline_s=3.0)
        assert swept is not None
        assert now_s() - began_s == pytest.approx(3, abs=0.2)
        assert not swept.proven
        assert swept.remaining is not None
        assert {seen.client_id for _, seen in swept.remaining} == ids(world.venue.open_now())
        left = world.engine.summary({world.desk: swept}).pairs[0].open_orders
        assert left is not None
        assert sorted((order.layer, order.side, world.pair.instrument.price(order.price)) for order in left) == (
            world.venue.own()
        )
        world.venue.submit = whole  # type: ignore[method-assign]


async def test_a_deadline_of_zero_still_cancels(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        swept = await world.stop(deadline_s=0.0)
        assert swept is not None
        assert not swept.proven
        await asyncio.sleep(0.1)
        assert len(world.venue.cancels()) == 10
        assert not world.venue.own()


async def test_listings_that_fail_leave_what_remains_unread(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        world.set_faults(read_failure_rate=1.0)
        swept = await world.stop(deadline_s=5.0)
        assert swept is not None
        assert not swept.proven
        assert swept.remaining is None
        assert swept.foreign is None
        assert "did not answer" in swept.unread
        assert not world.venue.own(), "they were cancelled all the same"
        (pair,) = world.engine.summary({world.desk: swept}).pairs
        assert pair.open_orders is None
        assert pair.unread == swept.unread


async def test_a_venue_that_hangs_does_not_hold_up_the_deadline(state_dir: Path) -> None:
    specs = [both(base) for base in ("BTC", "ETH", "XRP")]
    async with quoting(state_dir, *specs) as world:
        await asyncio.sleep(0.5)

        async def hang(symbol: str | None) -> object:
            await asyncio.Event().wait()
            return None

        world.venue.open_orders = hang  # type: ignore[method-assign, assignment]
        began_s = now_s()
        swept = await world.stop(deadline_s=4.0)
        assert swept is not None
        assert now_s() - began_s <= 4.5
        assert not swept.proven
        assert swept.remaining is None
        assert swept.unread


async def test_a_venue_that_stands_still_is_given_up_on_at_the_deadline(state_dir: Path) -> None:
    specs = [both(base) for base in ("BTC", "ETH", "XRP")]
    async with quoting(state_dir, *specs) as world:
        await asyncio.sleep(0.5)
        world.venue.stall()
        began_s = now_s()
        swept = await world.stop(deadline_s=8.0)
        assert swept is not None
        assert now_s() - began_s <= 8.5
        assert swept.remaining is None
        world.venue.resume()


async def test_a_venue_that_takes_no_cancels_raises_nothing(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        whole = world.venue.submit

        def broken(places: Sequence[NewOrder], cancels: Sequence[CancelOrder]) -> None:
            raise OSError("no socket")

        world.venue.submit = broken  # type: ignore[method-assign]
        asyncio.get_running_loop().call_later(2, lambda: setattr(world.venue, "submit", whole))
        swept = await world.stop()
        assert swept is not None
        assert swept.proven
        assert not world.venue.own()


async def test_an_outage_during_the_sweep_is_waited_out(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        world.venue.stall()
        asyncio.get_running_loop().call_later(20, world.venue.resume)
        swept = await world.stop()
        assert swept is not None
        assert swept.proven
        assert not world.venue.own()


async def test_a_stop_in_the_middle_of_a_round(state_dir: Path) -> None:
    for step in range(12):
        async with quoting(state_dir, both()) as world:
            await asyncio.sleep(0.5)
            world.move("100.05")
            await asyncio.sleep(0.495 + step * 0.007)
            swept = await world.stop()
            assert swept is not None
            assert swept.proven
            assert not world.venue.own(), step
            assert not world.pair.ledger.live()


async def test_ghosts_of_earlier_engines_go_too(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        lost = ghost(next(strangers(T0_MS // 1000 - 9, Side.BUY, Layer.FAR)), Side.BUY, "95")
        world.venue._exchange.place(lost, now_s(), world.clock.wall_ms())
        swept = await world.stop()
        assert swept is not None
        assert swept.proven
        assert not world.venue.own()


async def test_a_stop_before_the_first_turn(state_dir: Path) -> None:
    async with quoting(state_dir, both()) as world:
        swept = await world.stop()
        assert swept is not None
        assert swept.proven
        assert not world.venue.sent


async def test_two_accounts_are_swept_side_by_side(state_dir: Path) -> None:
    slow, world = make_world(state_dir, both("BTC")), make_world(state_dir, both("ETH"))
    engine = Engine([slow.pair, world.pair], world.feed, world.clock)
    await engine.prepare(lambda desk, seen: 5)
    running = asyncio.create_task(engine.run(Limits()))
    await asyncio.sleep(0.5)
    running.cancel()
    slow.venue.stall()
    swept = await engine.stop(leave_orders=False, deadline_s=10.0)
    assert (swept[world.desk].proven, swept[slow.desk].proven) == (True, False)
    assert swept[world.desk].took_ms < 500
    await asyncio.gather(running, return_exceptions=True)
    for one in (slow, world):
        await one.venue.close()


async def test_guards_end_with_the_stop_and_the_venue_can_be_closed(state_dir: Path) -> None:
    before = asyncio.all_tasks()
    async with quoting(state_dir, both("BTC"), both("ETH")) as world:
        await asyncio.sleep(0.5)
        assert len(asyncio.all_tasks() - before) >= 12
        await world.stop()
        await asyncio.sleep(0)
        assert not asyncio.all_tasks() - before
        assert not world.venue._line._unanswered


async def test_a_deadline_counts_the_unanswered_as_remaining(state_dir: Path) -> None:
    """An unknown placement may still land: the end says so."""
    async with quoting(state_dir, before=lambda world: world.set_faults(timeout_rate=1.0, landing_time_s=9)) as world:
        await asyncio.sleep(0.2)
        world.venue.stall()
        swept = await world.stop(deadline_s=2.0)
        assert swept is not None
        assert not swept.proven
        (pair,) = world.engine.summary({world.desk: swept}).pairs
        assert pair.open_orders is None or len(pair.open_orders) == 6
        world.venue.resume()


async def test_a_sweep_that_breaks_ends_no_other_accounts(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with quoting(state_dir, both()) as world:
        await asyncio.sleep(0.5)
        sweep = Engine._sweep
        broken = object()

        async def breaks(engine: Engine, desk: object, deadline_s: float) -> object:
            if desk is broken:
                raise RuntimeError("something unforeseen")
            return await sweep(engine, desk, deadline_s)  # type: ignore[arg-type]

        monkeypatch.setattr(Engine, "_sweep", breaks)
        monkeypatch.setattr(world.engine, "_desks", (broken, world.desk))
        with pytest.raises(RuntimeError, match="unforeseen"):
            await world.engine.stop(leave_orders=False)
        assert not world.venue.own()
        monkeypatch.undo()


async def test_a_watchdog_hears_of_pairs_that_take_no_turns(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with quoting(state_dir, both("BTC"), both("ETH")) as world:
        await asyncio.sleep(60)
        assert world.engine.overdue() == ()
        hung, take_turn = world.engine.pairs[1], Engine._take_turn

        async def hangs(engine: Engine, pair: Pair, layer: Layer) -> None:
            await (asyncio.Event().wait() if pair is hung else take_turn(engine, pair, layer))

        monkeypatch.setattr(Engine, "_take_turn", hangs)
        await asyncio.sleep(60)
        assert world.engine.overdue() == ("ETH-USDT",)
        world.engine.place_no_more()
        assert world.engine.overdue() == (), "a stop may take longer than a turn"


async def test_a_pair_that_has_had_its_rounds_is_not_overdue(state_dir: Path) -> None:
    async with quoting(state_dir, both(), limits=Limits(rounds=2)) as world:
        await asyncio.sleep(120)
        assert world.engine.overdue() == ()
