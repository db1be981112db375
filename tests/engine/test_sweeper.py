"""The sweeper on its own, as the stop verbs use it: from a process that runs no engine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from mmctl.core.events import Ended
from mmctl.core.order import CancelOrder, Layer, NewOrder, Side, State, encode_own_id
from mmctl.engine.records import EngineRecord, LayerRecord, PairRecord
from mmctl.engine.registered import EngineState, Life
from mmctl.engine.roll import Roll
from mmctl.engine.sweep import Sweeper
from mmctl.engine.swept import Scope, Swept
from mmctl.errors import VenueUnreachable

from .world import VIRTUAL, World, foreign, ghost, ids, make_world, now_s, pair_spec, strangers

pytestmark = VIRTUAL

OLD, NEW = 500, 600
BOTH = ("BTCUSDT", "ETHUSDT")


def plant(world: World, *orders: NewOrder) -> None:
    for order in orders:
        world.venue._exchange.place(order, now_s(), world.clock.wall_ms())


def ladder(symbol: str = "BTCUSDT", epoch: int = OLD) -> list[NewOrder]:
    """Two near orders and two far ones."""
    made = []
    for layer, bid, ask in ((Layer.NEAR, "99", "101"), (Layer.FAR, "95", "105")):
        made.append(ghost(next(strangers(epoch, Side.BUY, layer)), Side.BUY, bid, symbol))
        made.append(ghost(next(strangers(epoch, Side.SELL, layer)), Side.SELL, ask, symbol))
    return made


def stopped_world(state_dir: Path) -> World:
    """Two symbols with the orders of an engine that is gone, and somebody else's."""
    world = make_world(state_dir, pair_spec("BTC"), pair_spec("ETH"))
    plant(world, *ladder("BTCUSDT", OLD), *ladder("ETHUSDT", OLD + 1))
    foreign(world, Side.BUY, "90")
    return world


def roll_of(states: list[EngineState], stranger_wait_s: float, uids: tuple[str, ...] = ("halt",)) -> Roll:
    """The engines of ``states``, which a test may change."""
    return Roll(
        lambda: tuple(states),
        uids,
        layer=None,
        symbols=None,
        landing_time_s=1.0,
        stranger_interval_s=stranger_wait_s - 1.0,
    )


def sweeper(world: World, scope: Scope, deadline_s: float = 60.0, stranger_wait_s: float = 0.0) -> Sweeper:
    roll = None if not stranger_wait_s else roll_of([], stranger_wait_s)
    made = Sweeper(world.venue, world.clock, scope, deadline_s=deadline_s, roll=roll)
    world.venue.listen(lambda symbol, event: made.on_event(event))
    return made


async def swept(world: World, scope: Scope, **changes: float) -> Swept:
    result = await sweeper(world, scope, **changes).run()
    await asyncio.sleep(0.1)
    return result


async def test_everything_of_the_account_goes_and_foreign_orders_stay(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    result = await swept(world, Scope(BOTH))
    assert result.proven
    assert result.remaining == ()
    assert (result.foreign, result.others) == (1, 0)
    assert len(result.cancelled) == 8
    assert not result.late_epochs
    assert len(world.venue.open_now().foreign) == 1
    assert not world.venue.open_now().own
    assert result.first_empty_ms is not None
    assert 0 < result.first_empty_ms <= result.took_ms < 1000
    await world.venue.close()


async def test_the_whole_account_is_a_scope(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    result = await swept(world, Scope(None), deadline_s=10.0)
    assert result.proven
    assert not world.venue.open_now().own
    await world.venue.close()


async def test_one_listing_that_fails_holds_up_no_cancel_of_another_symbol(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    whole = world.venue.open_orders

    async def open_orders(symbol: str | None) -> object:
        if symbol == "BTCUSDT":
            raise VenueUnreachable("no answer")
        return await whole(symbol)

    world.venue.open_orders = open_orders  # type: ignore[method-assign, assignment]
    result = await swept(world, Scope(BOTH), deadline_s=5.0)
    assert not result.proven
    assert result.remaining is None
    assert "no answer" in result.unread
    assert not world.venue.open_now("ETHUSDT").own
    assert len(world.venue.open_now("BTCUSDT").own) == 4
    await world.venue.close()


async def test_one_listing_that_takes_long_holds_up_no_cancel_of_another_symbol(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    whole = world.venue.open_orders

    async def open_orders(symbol: str | None) -> object:
        if symbol == "BTCUSDT":
            await asyncio.sleep(9)
        return await whole(symbol)

    world.venue.open_orders = open_orders  # type: ignore[method-assign, assignment]
    result = await swept(world, Scope(BOTH))
    first_s = {cancel.symbol: one.at_s for one in reversed(world.venue.sent) for cancel in one.cancels}
    assert first_s["ETHUSDT"] < 0.1
    assert first_s["BTCUSDT"] > 9
    assert len(world.venue.cancels()) == 8, "each once"
    assert (result.proven, result.late_epochs) == (True, set())
    await world.venue.close()


async def test_a_symbol_is_a_scope(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    result = await swept(world, Scope(("ETHUSDT",)))
    assert result.proven
    assert (result.foreign, result.others) == (0, 0)
    assert ids(world.venue.open_now("BTCUSDT")) == {order.client_id for order in ladder()}
    assert not world.venue.open_now("ETHUSDT").own
    await world.venue.close()


async def test_a_layer_is_a_scope_and_the_other_is_counted(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    result = await swept(world, Scope(BOTH, Layer.NEAR))
    assert result.proven
    assert (result.foreign, result.others) == (1, 4)
    assert len(result.cancelled) == 4
    assert {layer for layer, _, _ in world.venue.own()} == {Layer.FAR}
    await world.venue.close()


async def test_an_empty_venue_is_proven_by_two_listings(state_dir: Path) -> None:
    world = make_world(state_dir, pair_spec("BTC"), pair_spec("ETH"))
    listed = []
    whole = world.venue.open_orders

    async def open_orders(symbol: str | None) -> object:
        listed.append(symbol)
        return await whole(symbol)

    world.venue.open_orders = open_orders  # type: ignore[method-assign, assignment]
    result = await swept(world, Scope(BOTH))
    assert result.proven
    assert listed == [*BOTH, *BOTH]
    assert not world.venue.sent
    assert result.proof == "none"
    await world.venue.close()


async def test_once_a_strangers_order_was_found_the_venue_is_watched(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    began_s = now_s()
    result = await swept(world, Scope(BOTH), stranger_wait_s=13.0)
    assert result.proven
    assert result.proof == "waited"
    assert 13 <= now_s() - began_s <= 15
    assert result.first_empty_ms is not None
    assert result.first_empty_ms < 1000
    await world.venue.close()


async def test_without_any_own_order_nobody_is_waited_for(state_dir: Path) -> None:
    world = make_world(state_dir, pair_spec("BTC"), pair_spec("ETH"))
    foreign(world, Side.BUY, "90")
    result = await swept(world, Scope(BOTH), stranger_wait_s=13.0)
    assert result.proven
    assert result.proof == "none"
    assert result.took_ms < 1000
    await world.venue.close()


async def test_an_order_that_comes_later_names_the_engine_that_still_places(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    late = ghost(next(strangers(NEW, Side.BUY)), Side.BUY, "98")
    asyncio.get_running_loop().call_later(5, plant, world, late)
    result = await swept(world, Scope(BOTH), stranger_wait_s=13.0)
    assert result.proven
    assert result.late_epochs == {NEW}
    assert late.client_id in result.cancelled
    assert not world.venue.open_now().own
    assert result.first_empty_ms is not None
    assert result.first_empty_ms > 4000, "the first of the last empty stretch"
    await world.venue.close()


async def test_an_engine_that_never_stops_placing_is_never_proven_empty(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    fresh = strangers(NEW, Side.BUY)

    async def place() -> None:
        while True:
            plant(world, ghost(next(fresh), Side.BUY, "98"))
            await asyncio.sleep(0.3)

    placing = asyncio.create_task(place())
    result = await swept(world, Scope(BOTH), deadline_s=10.0, stranger_wait_s=3.0)
    placing.cancel()
    await asyncio.gather(placing, return_exceptions=True)
    assert not result.proven
    assert result.late_epochs == {NEW}
    await world.venue.close()


async def test_a_deadline_of_zero_cancels_and_proves_nothing(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    result = await swept(world, Scope(BOTH), deadline_s=0.0)
    assert not result.proven
    assert result.remaining == (), "they were there, and the venue has said since that they are gone"
    assert len(result.cancelled) == 8
    assert result.looks == [(result.looks[0][0], 8)]
    assert not world.venue.open_now().own
    await world.venue.close()


async def test_the_deadline_holds_whatever_the_venue_does(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    world.venue.stall()
    began_s = now_s()
    result = await swept(world, Scope(("BTCUSDT", "ETHUSDT")), deadline_s=7.0)
    assert now_s() - began_s <= 7.2
    assert not result.proven
    assert result.remaining is None
    assert result.unread
    world.venue.resume()
    await world.venue.close()


async def test_failing_listings_are_asked_for_again(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    world.set_faults(read_failure_rate=0.4)
    result = await swept(world, Scope(BOTH))
    assert result.proven
    assert not world.venue.open_now().own
    assert result.unread == ""
    assert not result.late_epochs, "an order that could not be read before is no new one"
    await world.venue.close()


async def test_a_cancel_without_effect_is_sent_again_after_a_second(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    world.set_faults(timeout_rate=1.0)
    asyncio.get_running_loop().call_later(5, lambda: world.set_faults(timeout_rate=0.0))
    result = await swept(world, Scope(BOTH))
    assert result.proven
    times: dict[str, list[float]] = {}
    for at_s, client_id in world.venue.cancels():
        times.setdefault(client_id, []).append(at_s)
    assert max(len(one) for one in times.values()) <= 8
    for one in times.values():
        assert all(after - before >= 1.0 - 1e-9 for before, after in pairwise(one))
    await world.venue.close()


async def test_a_venue_that_takes_no_cancels_is_no_end(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    whole = world.venue.submit

    def broken(places: object, cancels: object) -> None:
        raise OSError("no socket")

    world.venue.submit = broken  # type: ignore[method-assign]
    asyncio.get_running_loop().call_later(3, lambda: setattr(world.venue, "submit", whole))
    result = await swept(world, Scope(BOTH))
    assert result.proven
    assert not world.venue.open_now().own
    await world.venue.close()


async def test_only_ends_that_it_asked_for_are_its_own(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    made = sweeper(world, Scope(BOTH, Layer.NEAR))
    far_one = ladder()[2]
    world.venue._exchange.cancel(CancelOrder("BTCUSDT", far_one.client_id), now_s())
    made.on_event(Ended(far_one.client_id, "1", State.CANCELLED))
    result = await made.run()
    made.on_event(Ended(result.cancelled[0], "1", State.CANCELLED))
    await asyncio.sleep(0.1)
    assert far_one.client_id not in result.cancelled
    assert len(result.cancelled) == len(set(result.cancelled)) == 4
    await world.venue.close()


async def test_two_sweeps_at_once_both_end_proven(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    first, second = sweeper(world, Scope(BOTH)), sweeper(world, Scope(BOTH))
    results = await asyncio.gather(first.run(), second.run())
    assert all(one.proven for one in results)
    assert not world.venue.open_now().own
    await world.venue.close()


async def test_a_deadline_of_zero_lists_what_the_venue_does_not_answer_for(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    world.venue.submit = lambda places, cancels: None  # type: ignore[method-assign]
    began_s = now_s()
    result = await swept(world, Scope(BOTH), deadline_s=0.0)
    assert now_s() - began_s < 3
    assert not result.proven
    assert result.remaining is not None
    assert len(result.remaining) == 8
    await world.venue.close()


# Engines that can be asked


def engine(
    epoch: int = OLD,
    *,
    life: Life = Life.LIVE,
    acknowledged: tuple[str, ...] = ("halt",),
    unanswered: int = 0,
    signed_age_s: float | None = None,
) -> EngineState:
    layers = (LayerRecord(Layer.NEAR, 3.0, "ok", 0, unanswered), LayerRecord(Layer.FAR, 30.0))
    record = EngineRecord(
        "mock", "main", None, epoch, "here", "boot", 7, "1", "mock", 12.0, 0, 0, 0.0, 1,
        (PairRecord("BTC-USDT", "BTCUSDT", layers),), acknowledged,
    )  # fmt: skip
    return EngineState(f"engine {epoch}", life, record, signed_age_s=signed_age_s)


UNREADABLE = EngineState("some-record", Life.UNREADABLE, detail="it holds rubbish")


async def swept_with(world: World, states: list[EngineState], **changes: object) -> Swept:
    made = Sweeper(world.venue, world.clock, Scope(BOTH), deadline_s=60.0, roll=roll_of(states, 13.0, **changes))  # type: ignore[arg-type]
    world.venue.listen(lambda symbol, event: made.on_event(event))
    result = await made.run()
    await asyncio.sleep(0.1)
    return result


async def test_an_engine_that_knows_of_an_order_is_believed_more_than_a_listing_that_lags(state_dir: Path) -> None:
    """It has acknowledged, and its cancel has no answer yet: two empty listings may both be older than the order."""
    world = stopped_world(state_dir)
    knows = engine(OLD)
    record = knows.record
    assert record is not None
    layers = (LayerRecord(Layer.NEAR, 3.0, "ok", 1, 0), LayerRecord(Layer.FAR, 30.0))
    states = [replace(knows, record=replace(record, pairs=(replace(record.pairs[0], layers=layers),))), engine(OLD + 1)]
    asyncio.get_running_loop().call_later(3.0, lambda: states.__setitem__(0, knows))
    result = await swept_with(world, states)
    assert (result.proven, result.proof, result.not_reached) == (True, "acknowledged", ())
    assert 3_000 <= result.took_ms < 6_000
    await world.venue.close()


async def test_engines_that_acknowledge_prove_it_at_once(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    result = await swept_with(world, [engine(OLD), engine(OLD + 1)])
    assert (result.proven, result.proof, result.not_reached) == (True, "acknowledged", ())
    assert [(one.name, one.epoch, one.state) for one in result.engines] == [
        (f"engine {epoch}", epoch, "acknowledged") for epoch in (OLD, OLD + 1)
    ]
    assert result.first_empty_ms is not None
    assert result.took_ms - result.first_empty_ms < 100
    assert not world.venue.open_now().own
    await world.venue.close()


async def test_an_engine_that_acknowledges_late_is_waited_for_and_no_longer(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    states = [engine(OLD, acknowledged=()), engine(OLD + 1, unanswered=1)]

    def acknowledge() -> None:
        states[:] = [engine(OLD), engine(OLD + 1)]

    asyncio.get_running_loop().call_later(4, acknowledge)
    result = await swept_with(world, states)
    assert (result.proven, result.proof) == (True, "acknowledged")
    assert 4000 <= result.took_ms < 4200
    await world.venue.close()


async def test_an_engine_whose_record_a_flushed_redis_lost_has_acknowledged_nothing(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    states = [replace(engine(OLD, acknowledged=()), where="Redis"), replace(engine(OLD + 1), where="Redis")]
    asyncio.get_running_loop().call_later(0.01, states.clear)
    result = await swept_with(world, states)
    assert (result.proven, result.proof) == (True, "waited")
    assert result.took_ms > 42_000, "its longest interval and the landing time"
    assert result.not_reached == (
        f"engine {OLD}: its record cannot be seen in Redis now: did not acknowledge the halt",
    )
    await world.venue.close()


async def test_an_engine_that_acknowledged_and_whose_record_is_gone_then_is_not_none(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    states = [engine(OLD, acknowledged=()), engine(OLD + 1)]
    asyncio.get_running_loop().call_later(0.5, states.pop)
    asyncio.get_running_loop().call_later(1.0, lambda: states.__setitem__(slice(None), [engine(OLD)]))
    asyncio.get_running_loop().call_later(1.1, states.clear)
    result = await swept_with(world, states)
    assert (result.proven, result.proof, len(result.engines)) == (True, "acknowledged", 2)
    await world.venue.close()


@pytest.mark.parametrize(("ended", "proof", "left"), [(False, "waited", 2), (True, "none", 0)])
async def test_a_record_that_is_gone_from_the_state_folder_is_no_end_and_a_last_word_is(
    state_dir: Path, ended: bool, proof: str, left: int
) -> None:
    world = stopped_world(state_dir)
    states = [engine(OLD, acknowledged=()), engine(OLD + 1, acknowledged=())]

    def go() -> None:
        states[:] = [replace(one, life=Life.ENDED) for one in states] if ended else []

    asyncio.get_running_loop().call_later(1.0, go)
    result = await swept_with(world, states)
    assert (result.proven, result.proof, len(result.engines)) == (True, proof, left)
    await world.venue.close()


async def test_who_ended_in_good_order_before_and_left_orders_standing_is_no_stranger(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    states = [replace(engine(epoch, acknowledged=()), life=Life.ENDED) for epoch in (OLD, OLD + 1)]
    result = await swept_with(world, states)
    assert (result.proven, result.proof, result.engines, result.not_reached) == (True, "none", (), ())
    assert len(result.cancelled) == 8
    assert result.took_ms < 1000
    await world.venue.close()


async def test_what_an_engine_sent_before_it_acknowledged_is_no_late_order(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    states = [engine(OLD, acknowledged=()), engine(OLD + 1)]
    fresh = ghost(encode_own_id(Layer.NEAR, Side.BUY, OLD, 99), Side.BUY, "98")

    def acknowledge() -> None:
        states[0] = engine(OLD)

    asyncio.get_running_loop().call_later(0.5, plant, world, fresh)
    asyncio.get_running_loop().call_later(1.0, acknowledge)
    result = await swept_with(world, states)
    assert (result.proven, result.proof, result.late_epochs) == (True, "acknowledged", set())
    assert fresh.client_id in result.cancelled
    await world.venue.close()


async def test_an_order_after_the_acknowledgement_is_told(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    states = [engine(OLD), engine(OLD + 1, acknowledged=())]
    fresh = ghost(encode_own_id(Layer.NEAR, Side.BUY, OLD, 99), Side.BUY, "98")
    asyncio.get_running_loop().call_later(2.0, plant, world, fresh)
    result = await swept_with(world, states)
    assert result.late_epochs == {OLD}
    await world.venue.close()


async def test_a_dead_engine_is_waited_for_until_nothing_of_it_can_land(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    began_s = now_s()

    def dead() -> list[EngineState]:
        age_s = 9.0 + now_s() - began_s
        return [engine(epoch, life=Life.DEAD, acknowledged=(), signed_age_s=age_s) for epoch in (OLD, OLD + 1)]

    roll = Roll(dead, ("halt",), layer=None, symbols=None, landing_time_s=12.0, stranger_interval_s=30.0)
    made = Sweeper(world.venue, world.clock, Scope(BOTH), deadline_s=60.0, roll=roll)
    world.venue.listen(lambda symbol, event: made.on_event(event))
    result = await made.run()
    assert (result.proven, result.proof) == (True, "dead")
    assert 3000 <= result.took_ms < 3300
    await asyncio.sleep(0.1)
    await world.venue.close()


async def test_an_engine_that_is_not_reached_is_named_and_watched_for(state_dir: Path) -> None:
    for states in ([engine(OLD, acknowledged=()), engine(OLD + 1)], [engine(OLD), engine(OLD + 1, unanswered=2)]):
        world = stopped_world(state_dir)
        result = await swept_with(world, states)
        assert (result.proven, result.proof) == (True, "waited")
        assert 42_000 <= result.took_ms < 44_000, "the longest interval and the landing time"
        assert len(result.not_reached) == 1
        await world.venue.close()


async def test_a_record_that_cannot_be_read_is_an_engine(state_dir: Path) -> None:
    world = make_world(state_dir, pair_spec("BTC"), pair_spec("ETH"))
    result = await swept_with(world, [UNREADABLE])
    assert (result.proven, result.proof) == (True, "waited")
    assert 13_000 <= result.took_ms < 15_000
    assert result.not_reached == ("some-record: it holds rubbish: did not acknowledge the halt",)
    await world.venue.close()


async def test_a_deadline_before_the_end_of_the_watching_proves_nothing_and_says_how_long_it_takes(
    state_dir: Path,
) -> None:
    world = stopped_world(state_dir)
    states = [engine(OLD, acknowledged=()), engine(OLD + 1)]
    made = Sweeper(world.venue, world.clock, Scope(BOTH), deadline_s=20.0, roll=roll_of(states, 13.0))
    world.venue.listen(lambda symbol, event: made.on_event(event))
    result = await made.run()
    assert (result.proven, result.proof, result.remaining, result.watch_s) == (False, "not_proven", (), 42.0)
    await world.venue.close()


async def test_without_a_halt_nothing_is_acknowledged(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    result = await swept_with(world, [engine(OLD), engine(OLD + 1)], uids=())
    assert (result.proven, result.proof, len(result.not_reached)) == (True, "waited", 2)
    await world.venue.close()


async def test_an_answer_outstanding_in_another_layer_is_no_concern(state_dir: Path) -> None:
    world = make_world(state_dir, pair_spec("BTC"), pair_spec("ETH"))
    states = [engine(OLD, unanswered=3)]
    roll = Roll(lambda: states, ("halt",), layer=Layer.FAR, symbols=BOTH, landing_time_s=1.0, stranger_interval_s=12.0)
    assert await Sweeper(world.venue, world.clock, Scope(BOTH), deadline_s=60.0, roll=roll).run()
    roll.call()
    assert roll.proof == "acknowledged"
    await world.venue.close()
