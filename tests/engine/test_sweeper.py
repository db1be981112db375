"""The sweeper on its own, as the stop verbs use it: from a process that runs no engine."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

from mmctl.core.events import Ended
from mmctl.core.order import CancelOrder, Layer, NewOrder, Side, State
from mmctl.engine.sweep import Scope, Sweeper, Swept
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


def sweeper(world: World, scope: Scope, deadline_s: float = 60.0, stranger_wait_s: float = 0.0) -> Sweeper:
    made = Sweeper(world.venue, world.clock, scope, deadline_s=deadline_s, stranger_wait_s=stranger_wait_s)
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
    assert not result.waited
    await world.venue.close()


async def test_once_a_strangers_order_was_found_the_venue_is_watched(state_dir: Path) -> None:
    world = stopped_world(state_dir)
    began_s = now_s()
    result = await swept(world, Scope(BOTH), stranger_wait_s=13.0)
    assert result.proven
    assert result.waited
    assert 13 <= now_s() - began_s <= 15
    assert result.first_empty_ms is not None
    assert result.first_empty_ms < 1000
    await world.venue.close()


async def test_without_any_own_order_nobody_is_waited_for(state_dir: Path) -> None:
    world = make_world(state_dir, pair_spec("BTC"), pair_spec("ETH"))
    foreign(world, Side.BUY, "90")
    result = await swept(world, Scope(BOTH), stranger_wait_s=13.0)
    assert result.proven
    assert not result.waited
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
    assert result.remaining is not None
    assert len(result.remaining) == 8
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
